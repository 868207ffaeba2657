"""The figures of a batch against loops, and the callback in somebody else's modules."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch

import contrasift as cs
from contrasift.errors import DataError, UsageError
from contrasift.training.callbacks import BANDS, NegativeStatistics, negative_figures

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def _naive(query, key, labels, temperature, bands):
    """One query after another, one negative after another."""
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    key = key / np.linalg.norm(key, axis=1, keepdims=True)
    b, n = len(query), len(query) - 1
    found, pairs = {}, {}
    for i in range(b):
        negatives = sorted((float(query[i] @ key[j]), j) for j in range(b) if j != i)
        weights = [math.exp(cosine / temperature) for cosine, _ in negatives]
        own = float(query[i] @ key[i])
        add = found.setdefault
        add("cosine", []).append(np.mean([cosine for cosine, _ in negatives]))
        add("positive_cosine", []).append(own)
        add("harder_than_positive", []).append(np.mean([cosine > own for cosine, _ in negatives]))
        probability = math.exp(own / temperature) / (math.exp(own / temperature) + sum(weights))
        add("positive_probability", []).append(probability)
        for low, high in [(0, 100), *bands]:
            inside = [r for r in range(1, n + 1) if low * n / 100 < r <= high * n / 100]
            name = f"_{low}_{high}" if (low, high) != (0, 100) else ""
            if name and inside:
                mass = sum(weights[r - 1] for r in inside) / sum(weights)
                add(f"loss_mass{name}", []).append(mass)
            for r in inside:
                other = labels[negatives[r - 1][1]]
                if labels[i] >= 0 and other >= 0:
                    pairs.setdefault(f"same_class{name}", []).append(other == labels[i])
    return {name: np.mean(values) for name, values in (found | pairs).items()}


@pytest.mark.parametrize("b", [2, 3, 8, 41])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_figures_are_those_of_loops(rng, b, temperature):
    query, key = rng.standard_normal((2, b, 5))
    labels = rng.integers(-1, 3, b)
    found = negative_figures(
        torch.tensor(query), torch.tensor(key), torch.tensor(labels), temperature=temperature
    )
    expected = _naive(query, key, labels, temperature, BANDS)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-5), name


def test_extremes():
    one = torch.eye(4)
    alone = negative_figures(one[:1], one[:1])
    assert alone == {}
    apart = negative_figures(one, one, torch.tensor([0, 0, 1, 1]), bands=[(0, 100)])
    assert apart["cosine"] == 0
    assert apart["harder_than_positive"] == 0
    assert apart["loss_mass_0_100"] == pytest.approx(1)
    assert apart["same_class"] == pytest.approx(1 / 3)
    wrong = negative_figures(one, one.roll(1, 0))
    assert wrong["harder_than_positive"] == pytest.approx(1 / 3)
    assert "same_class" not in negative_figures(one, one, torch.full((4,), -1))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: NegativeStatistics(every=0), UsageError, "at least 1 step"),
        (lambda: NegativeStatistics(temperature=0.0), UsageError, "temperature above 0"),
        (lambda: NegativeStatistics(bands=[(50, 40)]), UsageError, "within 0 and 100"),
        (lambda: negative_figures(torch.eye(3), torch.eye(2)), DataError, "one shape"),
        (
            lambda: negative_figures(torch.eye(3), torch.eye(3), torch.zeros(2)),
            DataError,
            "a label for each of the 3",
        ),
    ],
)
def test_what_does_not_fit_is_said(call, error, match):
    with pytest.raises(error, match=match):
        call()


class _Module(lightning.LightningModule):
    """A contrastive module as one finds it elsewhere."""

    def __init__(self, returned):
        super().__init__()
        self.head = torch.nn.Linear(6, 4)
        self.returned = returned

    def training_step(self, batch, batch_index):
        views, labels = batch
        z0, z1 = self.head(views), self.head(views + 0.1)
        loss = -torch.nn.functional.cosine_similarity(z0, z1).mean()
        self.seen = (z0.detach(), z1.detach(), labels)
        return self.returned(loss, z0, z1, labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _train(returned, *, epochs=1, **arguments):
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(40, 6), torch.arange(40) % 4)
    loader = torch.utils.data.DataLoader(data, batch_size=10)
    module = _Module(returned)
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[cs.NegativeStatistics(**arguments)], **QUIET
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's, about its own parts and few workers
        trainer.fit(module, loader)
    return module, {
        name.removeprefix("negatives/"): value.item()
        for name, value in trainer.callback_metrics.items()
        if name.startswith("negatives/")
    }


def _mapping(loss, z0, z1, labels):
    return {"loss": loss, "query": z0, "key": z1, "labels": labels}


def test_a_module_that_returns_its_projections(monkeypatch):
    calls = []

    def spy(*given, **options):
        calls.append(given)
        return negative_figures(*given, **options)

    monkeypatch.setattr("contrasift.training.callbacks.negative_figures", spy)
    module, logged = _train(_mapping, every=3, temperature=0.2)
    assert len(calls) == 2  # batches 0 and 3 of four
    for given, seen in zip(calls[-1], module.seen, strict=True):
        assert torch.equal(given, seen)
    expected = [negative_figures(*given, temperature=0.2) for given in calls]
    assert logged.keys() == expected[0].keys()
    for name, value in logged.items():
        assert value == pytest.approx(np.mean([one[name] for one in expected]), abs=1e-6)


def test_a_module_that_keeps_them_to_itself():
    _, logged = _train(
        lambda loss, z0, z1, labels: loss, every=1, pairs=lambda out, batch, module: module.seen[:2]
    )
    assert "positive_cosine" in logged
    assert "same_class" not in logged


def test_watching_changes_no_weight():
    plain, _ = _train(_mapping, every=1000)
    watched, _ = _train(_mapping, every=1)
    assert torch.equal(plain.head.weight, watched.head.weight)


def test_a_module_that_hands_nothing_over_is_told_how():
    with pytest.raises(UsageError, match=r"loss.*query.*key"):
        _train(lambda loss, z0, z1, labels: loss)
