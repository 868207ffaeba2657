"""The sampler against its promises, and in other people's trainers; docs/one-training.md has these."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import contrasift as cs
from contrasift.errors import DataError, UsageError


def epoch(sampler) -> np.ndarray:
    return np.array(list(sampler)).reshape(-1, sampler._batch_size // sampler._replicas)


@settings(deadline=None, max_examples=40)
@given(
    size=st.integers(1, 30),
    batch_size=st.integers(1, 8),
    kept=st.integers(1, 30),
    mix=st.sampled_from([0.0, 0.25, 0.5]),
    seed=st.integers(0, 5),
)
def test_an_epoch_is_full_batches_of_distinct_selected_rows(size, batch_size, kept, mix, seed):
    if batch_size > size:
        with pytest.raises(UsageError, match="batch_size= between 1"):
            cs.SelectedSampler(size, batch_size=batch_size)
        return
    sampler = cs.SelectedSampler(size, batch_size=batch_size, seed=seed, mix=mix)
    whole = epoch(sampler)
    assert whole.shape == (size // batch_size, batch_size)
    assert len(np.unique(whole)) == whole.size
    rows = np.random.default_rng(seed).permutation(size)[: min(kept, size)]
    others = round(mix * batch_size) if len(rows) < size else 0
    if len(rows) < batch_size - others or size - len(rows) < others:
        with pytest.raises(UsageError, match="as many as a batch takes"):
            sampler.select(rows)
        return
    sampler.select(rows)
    found = epoch(sampler)
    assert found.shape == whole.shape == (len(sampler) // batch_size, batch_size)
    for batch in found:
        assert len(set(batch)) == batch_size
        assert np.isin(batch, rows).sum() == batch_size - others
    counts = np.bincount(found.ravel(), minlength=size)[rows]
    per_pass = len(rows) // (batch_size - others)
    assert counts.max() <= -(-len(found) // per_pass)
    sampler.select(range(size))
    assert len(np.unique(epoch(sampler))) == whole.size


def test_processes_share_every_batch():
    whole = cs.SelectedSampler(50, batch_size=8, mix=0.25, seed=3)
    parts = [
        cs.SelectedSampler(50, batch_size=8, mix=0.25, seed=3, num_replicas=2, rank=rank)
        for rank in range(2)
    ]
    for sampler in (whole, *parts):
        sampler.select(np.arange(0, 50, 2))
    together = np.concatenate([epoch(part) for part in parts], axis=1)
    np.testing.assert_array_equal(epoch(whole), together)
    assert all(
        (together[:, half] % 2).sum(axis=1).tolist() == [1] * 6 for half in (slice(4), slice(4, 8))
    )


@pytest.mark.parametrize("weights", [None, np.arange(20.0)])
@pytest.mark.parametrize("at", [0, 3, 4])
def test_it_goes_on_where_its_state_was_taken(weights, at):
    def new():
        return cs.SelectedSampler(40, batch_size=7, seed=1)

    sampler = new()
    list(sampler)
    sampler.select(np.arange(20), weights)
    list(sampler)
    expected = [list(sampler), list(sampler)]
    sampler = new()
    list(sampler)
    sampler.select(np.arange(20), weights)
    list(sampler)
    given = iter(sampler)
    got = [next(given) for _ in range(7 * at)]
    state = torch_round_trip(sampler.state_dict(at or None))  # 0: between two epochs
    other = new()
    other.load_state_dict(state)
    assert [got + list(other), list(other)] == expected
    with pytest.raises(UsageError, match="the state of a sampler"):
        cs.SelectedSampler(40, batch_size=8).load_state_dict(state)


def torch_round_trip(state):
    import io

    held = io.BytesIO()
    torch.save(state, held)
    held.seek(0)
    return torch.load(held, weights_only=True)


def test_weights_draw_in_proportion():
    sampler = cs.SelectedSampler(6000, batch_size=2, seed=0)
    sampler.select([0, 1, 2, 3], [1, 2, 3, 0])
    found = epoch(sampler)
    assert (found[:, 0] != found[:, 1]).all()
    # The first of two is drawn by the weights themselves.
    np.testing.assert_allclose(np.bincount(found[:, 0]) / 3000, [1 / 6, 2 / 6, 3 / 6], atol=0.03)
    # Both: one after the other without putting back.
    p = np.array([1, 2, 3]) / 6
    both = [p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(3) if j != i) for i in range(3)]
    np.testing.assert_allclose(np.bincount(found.ravel()) / 3000, both, atol=0.03)


@pytest.mark.parametrize(
    ("rows", "weights", "words"),
    [
        ([0, 40], None, "positions between 0 and 39"),
        ([-1, 2], None, "positions between 0 and 39"),
        ([1, 1], None, "every position once"),
        ([], None, "at least one whole number"),
        ([0.5, 1.5], None, "whole number"),
        ([1, 2, 3], None, "at least 4 examples"),
        (range(5), [1, 1], "a weight of at least 0 for each of the 5"),
        (range(5), [1, 1, 1, 1, -1], "a weight of at least 0"),
        (range(5), [1, 1, 1, 0, 0], "at least 4 rows with a weight"),
    ],
)
def test_rows_that_cannot_be_given_out_are_refused(rows, weights, words):
    sampler = cs.SelectedSampler(40, batch_size=4)
    with pytest.raises(UsageError, match=words):
        sampler.select(rows, weights)
    assert len(np.unique(epoch(sampler))) == 40  # and nothing has changed


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(5)


@pytest.mark.parametrize("data", [Stream(), iter([1]), {1, 2}])
def test_data_without_stable_rows_are_told_how_to_get_them(data):
    with pytest.raises(DataError, match="row i stays row i.*datasets.Dataset"):
        cs.SelectedSampler(data)


def test_workers_need_not_be_restarted():
    data = TensorDataset(torch.arange(24))
    sampler = cs.SelectedSampler(data, batch_size=4)
    loader = DataLoader(data, batch_size=4, sampler=sampler, num_workers=1, persistent_workers=True)
    assert sorted(torch.cat([batch for (batch,) in loader]).tolist()) == list(range(24))
    workers = [worker.pid for worker in loader._iterator._workers]
    sampler.select([1, 3, 5, 7])
    seen = torch.cat([batch for (batch,) in loader])
    assert seen.unique().tolist() == [1, 3, 5, 7]
    assert len(seen) == 24
    assert [worker.pid for worker in loader._iterator._workers] == workers


# Selecting on the way -----------------------------------------------------------------------------


def vectors(model=None) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 4)) + 1


def test_it_selects_when_it_is_due():
    sampler = cs.SelectedSampler(40, batch_size=4)
    model = torch.nn.BatchNorm1d(3).train()
    modes = []

    def embed(given):
        modes.append(given.training)
        return torch.from_numpy(vectors())

    within = cs.SelectWithin(sampler, embed, after=2, every=3, classes="none", fraction=0.25)
    for number in range(9):
        list(sampler)
        within.epoch_ended(number, model)
    assert list(within.selections) == [2, 5, 8]
    assert within.overlaps == {5: 1.0, 8: 1.0}
    assert modes == [False] * 3
    assert model.training
    expected = cs.select(vectors(), None, fraction=0.25).indices
    np.testing.assert_array_equal(sampler.rows, expected)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"after": 0}, UsageError, "after= and every= of at least 1"),
        ({"embed": None}, UsageError, "a function from the model"),
        ({"fraction": None}, UsageError, "fraction= or budget="),
        ({"embed": lambda model: vectors()[:7]}, DataError, "each of the 40 rows"),
        ({"embed": lambda model: vectors()[0]}, DataError, r"real vectors \[n, d\]"),
        ({"fraction": 0.05}, UsageError, "at least 4 examples"),
    ],
)
def test_what_cannot_select_is_refused(settings, error, words):
    usual = {"embed": vectors, "after": 1, "fraction": 0.5, "classes": "none"} | settings
    with pytest.raises(error, match=words):
        within = cs.SelectWithin(cs.SelectedSampler(40, batch_size=4), usual.pop("embed"), **usual)
        within.epoch_ended(0, None)


# Trainings that are resumed by their trainers -------------------------------------------------------

# Of the trainers' own making.
quietly = pytest.mark.filterwarnings("ignore")


class Rows(torch.utils.data.Dataset):
    """Forty rows that are their numbers."""

    def __len__(self):
        return 40

    def __getitem__(self, row):
        return {"row": torch.tensor([float(row)])}


def selecting():
    sampler = cs.SelectedSampler(Rows(), batch_size=4, num_replicas=1)
    within = cs.SelectWithin(
        sampler, lambda model: vectors(), after=1, classes="none", fraction=0.25
    )
    return sampler, within


class Noting(lightning.LightningModule):
    """Notes what it is trained on, and stops at a step."""

    def __init__(self, stop=None):
        super().__init__()
        self.layer, self.seen, self.stop = torch.nn.Linear(1, 1), [], stop

    def training_step(self, batch, number):
        if len(self.seen) == self.stop:
            raise RuntimeError("the plug was pulled")
        self.seen.append(batch["row"].flatten().tolist())
        return self.layer(batch["row"]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)


@quietly
@pytest.mark.parametrize("every", [10, 4])
def test_lightning_goes_on_with_the_selected_rows(tmp_path, every):
    def fit(module, checkpoint=None):
        sampler, within = selecting()
        saving = lightning.callbacks.ModelCheckpoint(
            tmp_path, every_n_train_steps=every, save_top_k=-1, filename="{step}"
        )
        loader = torch.utils.data.DataLoader(Rows(), batch_size=4, sampler=sampler)
        lightning.Trainer(
            accelerator="cpu", max_epochs=3, callbacks=[within.lightning(), saving], logger=False,
            enable_progress_bar=False, enable_model_summary=False,
        ).fit(module, loader, ckpt_path=checkpoint, weights_only=True)  # fmt: skip
        return module.seen

    whole = fit(Noting())
    assert len({row for batch in whole[10:] for row in batch}) == 10
    for kept in sorted(tmp_path.iterdir()):
        step = int(kept.stem.split("=")[1])
        if step < len(whole):
            assert fit(Noting(), kept) == whole[step:], step


@quietly
@pytest.mark.parametrize("every", [10, 4])
def test_hugging_face_goes_on_with_the_selected_rows(tmp_path, every):
    transformers = pytest.importorskip("transformers")
    sampler = within = None

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(1, 1), []

        def forward(self, row):
            self.seen.append(row.flatten().tolist())
            return {"loss": self.layer(row).mean()}

    class Selecting(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return sampler

    def fit(checkpoint=None):
        nonlocal sampler, within
        sampler, within = selecting()
        arguments = transformers.TrainingArguments(
            tmp_path, num_train_epochs=3, per_device_train_batch_size=4, use_cpu=True, save_steps=every,
            report_to="none", disable_tqdm=True, logging_strategy="no", learning_rate=1e-6,
        )  # fmt: skip
        model = Model()
        Selecting(model, arguments, train_dataset=Rows(), callbacks=[within.transformers()]).train(
            resume_from_checkpoint=checkpoint
        )
        return model.seen

    whole = fit()
    assert len({row for batch in whole[10:] for row in batch}) == 10
    kept = [path for path in tmp_path.iterdir() if int(path.name.split("-")[1]) < len(whole)]
    for path in kept:
        step = int(path.name.split("-")[1])
        assert fit(str(path)) == whole[step:], step
    (kept[0] / "selected_sampler.pt").unlink()
    with pytest.raises(DataError, match="a checkpoint without them"):
        fit(str(kept[0]))
