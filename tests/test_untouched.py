"""Public functions leave what they are given, and the process's random numbers, as they were (fault 6)."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import contrasift as cs
from contrasift import negatives
from contrasift.options import TrainOptions
from contrasift.training.encoders import wrap_encoder

N = 24
RUN = Path(__file__).parent / "fixtures" / "run-0.1" / "run"


class Net(nn.Module):
    """Convolutions, a frozen part in another mode, a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 6)

    def forward(self, images):
        return self.last(self.drop(self.norm(self.first(images))).mean(dim=(2, 3)))


def module() -> Net:
    torch.manual_seed(0)
    net = Net().train()
    net.norm.eval()
    net.first.weight.requires_grad_(False)
    return net


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (N, 12, 12)).astype(np.uint8)


POLICIES = {
    "above": negatives.above(0.3),
    "difficulty": negatives.difficulty(50, 100),
    "duplicates": negatives.duplicates,
    "everything": negatives.everything,
    "random": negatives.random(0.5),
    "same_class": negatives.same_class,
    "same_latent_class": negatives.same_latent_class,
    "parse_policy": negatives.parse_policy("difficulty(50,100) & ~same_class"),
}


def state_of_module(net: nn.Module) -> list:
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return [
        [(name, part.training) for name, part in net.named_modules()],
        [
            (name, t.dtype, t.device, t.stride(), t.requires_grad, t.data_ptr(), t.tolist())
            for name, t in tensors
        ],
    ]


def state_of(value: object) -> object:
    if isinstance(value, nn.Module):
        return state_of_module(value)
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.flags.writeable, value.tobytes()
    if isinstance(value, torch.Tensor):
        return value.dtype, value.stride(), value.requires_grad, value.tolist()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, dict):
        return {name: state_of(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [state_of(part) for part in value]
    if type(value).__module__.startswith("contrasift"):
        own = {k: v for k, v in vars(value).items() if k not in ("_kept", "_have")}
        kinds = (np.ndarray, nn.Module, torch.Tensor, negatives.Tags)
        return {k: state_of(v) for k, v in own.items() if isinstance(v, kinds)}
    return repr(value)


def globals_of() -> list:
    """Without Python's own `random`, from which beartype draws in tests; see below."""
    return [
        str(np.random.get_state()),  # noqa: NPY002
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
    ]


class Step(nn.Module):
    """Somebody's Lightning module, as far as a callback sees it."""

    def __init__(self):
        super().__init__()
        self.net = module()

    def log_dict(self, figures, **_):
        assert all(np.isfinite(float(value)) for value in figures.values())


def sifted(stream, **options) -> None:
    assert len(list(cs.sift(stream, RUN, device="cpu", **options))) == len(stream)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def matrix() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N, 5))


def calls() -> dict:
    """Every public function that takes something of the caller's, with what it is given."""
    pool = cs.open_pool(images(), labels="none")
    labelled = cs.open_pool((images(), np.arange(N) % 3), holdout=0)
    labels = np.arange(N) % 3
    vectors = torch.tensor(matrix(), requires_grad=True)
    quick = {"views": 2, "batch_size": 8, "device": "cpu"}
    small = TrainOptions(architecture="narrow:0.125", epochs=1, batch_size=8)
    train = {"seed": 0, "device": "cpu", "progress": False}
    selection = cs.select(matrix(), labels, fraction=0.5)
    encoder = wrap_encoder(module(), 1, 12).train()
    sifter = cs.Sifter(RUN, device="cpu")
    vectors_of_run = np.random.default_rng(2).normal(size=(4, 16))
    small_images = images()[:4, :8, :8].copy()
    as_tensors = [torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    batch = {"image": small_images, "index": np.arange(900, 904)}
    queue = negatives.Queue(16, 6)
    queue.push(some(16, 6).detach(), negatives.Tags(labels=torch.arange(16) % 3))
    tags = negatives.Tags(labels=torch.arange(8) % 3)
    candidates = negatives.Candidates(
        np.random.default_rng(3).normal(size=(4, 9)),
        negatives.Tags(labels=np.arange(4) % 2, latent_classes=np.arange(4), examples=np.arange(4)),
        negatives.Tags(labels=np.arange(9) % 2, latent_classes=np.arange(9), examples=np.arange(9)),
        draws=np.random.default_rng(4).random((4, 9)),
    )
    both = (some(8, 6), torch.flip(some(8, 6), (0,)).detach().requires_grad_())
    masks = {f"mask {name}": (policy.mask, (candidates,), {}) for name, policy in POLICIES.items()}
    losses = {
        f"loss {name}": (
            lambda loss, query, key, **more: torch.autograd.grad(loss(query, key, **more), query),
            (getattr(negatives, name)(), *both),
            {"queue": queue, "tags": tags, "queue_tags": negatives.Tags()},
        )
        for name in ("InfoNCE", "Decoupled", "Debiased", "HardnessWeighted")
    }
    return {
        **masks,
        **losses,
        "sift vectors": (sifted, (vectors_of_run,), {}),
        "sift images": (sifted, (list(small_images),), {}),
        "sift tensors": (sifted, (as_tensors,), {}),
        "Sifter of a batch": (cs.Sifter(RUN, column="image", device="cpu"), (batch,), {}),
        "Sifter.judge": (sifter.judge, (vectors_of_run,), {}),
        "NegativeStatistics": (
            cs.NegativeStatistics(every=1).on_train_batch_end,
            (None, Step(), dict(zip(("query", "key"), both, strict=True)), tags.labels, 0),
            {},
        ),
        "queue.push": (negatives.Queue(16, 6).push, (some(8, 6).detach(), tags), {}),
        "queue.note_hard": (queue.note_hard, (some(8, 6),), {}),
        "schedule": (
            negatives.parse_schedule("all", "1: difficulty(50,100)").at(1).mask,
            (candidates,),
            {},
        ),
        "mine": (
            cs.mine,
            (matrix(), np.random.default_rng(5).normal(size=(40, matrix().shape[1])), np.arange(N)),
            {"per_query": 2},
        ),
        "SelectedSampler": (cs.SelectedSampler, (list(range(N)),), {"batch_size": 4}),
        "in_chunks": (negatives.in_chunks, (lambda part: 2 * part, some(8, 6), 4), {}),
        "open_embeddings": (cs.open_embeddings, (matrix(),), {}),
        "open_embeddings of a tensor": (cs.open_embeddings, (vectors,), {}),
        "untrained_encoder": (cs.untrained_encoder, (small, 1, 12, 0), {}),
        "load_encoder": (
            cs.load_encoder,
            (RUN / "training" / "proxy" / "encoder.safetensors",),
            {"channels": 1},
        ),
        "encoder": (encoder.prepare, (torch.rand(2, 1, 12, 12),), {}),
        "pool.images": (labelled.images, (np.arange(3),), {}),
        "latent_classes known": (
            cs.latent_classes,
            (matrix(),),
            {"method": "few-labels", "known": np.array([0, 1] * 3 + [-1] * (N - 6))},
        ),
        "embed a module": (cs.embed, (pool, np.arange(N), module()), quick),
        "embed an encoder": (cs.embed, (pool, np.arange(N), encoder), quick),
        "embed half": (cs.embed, (pool, np.arange(N), module().to(torch.bfloat16)), quick),
        "pretrain": (
            cs.pretrain,
            (labelled, np.arange(N), small),
            {**train, "folder": Path("trained")},
        ),
        "select": (cs.select, (matrix(), labels), {"fraction": 0.3, "must_drop": np.array([1])}),
        "select a tensor": (cs.select, (vectors, labels.tolist()), {"fraction": 0.3}),
        "select at random": (cs.select, (matrix(),), {"budget": 4, "objective": "random"}),
        "latent_classes": (
            cs.latent_classes,
            (matrix(),),
            {"method": "kmeans", "n_classes": 3, "labels": labels},
        ),
        "evaluate": (cs.evaluate, (matrix(), labels, matrix()[:9], labels[:9]), {}),
        "open_pool": (cs.open_pool, ((images(), labels),), {"limit": 5}),
        "subset": (selection.subset, (list(range(N)),), {}),
        "estimator": (
            cs.AugmentationSimilaritySelector(fraction=0.5).fit,
            (matrix(), labels),
            {},
        ),
    }


# Public names, and which calls above are theirs; or why they are given nothing that could change.
RESULT, ERROR, OPTIONS = "a result", "an error", "options"
PUBLIC: dict[str, tuple[str, ...] | str] = {
    "AugmentationSimilaritySelector": ("estimator",),
    "Certificate": RESULT,
    "ClassSummary": RESULT,
    "ContrasiftError": ERROR,
    "DataError": ERROR,
    "DegenerateObjectiveWarning": ERROR,
    "Embeddings": RESULT,
    "Encoder": ("encoder", "embed an encoder"),
    "Evaluation": RESULT,
    "LatentClasses": RESULT,
    "Mined": RESULT,
    "MissingExtraError": ERROR,
    "NegativeStatistics": ("NegativeStatistics",),
    "Pool": ("pool.images",),
    "RunFolderError": ERROR,
    "SelectWithin": "a sampler, which it is there to change",
    "SelectedSampler": ("SelectedSampler",),
    "Selection": ("subset",),
    "Sifted": RESULT,
    "Sifter": ("Sifter of a batch", "Sifter.judge"),
    "TrainOptions": OPTIONS,
    "TrainingResult": RESULT,
    "UsageError": ERROR,
    "WorseThanRandomWarning": ERROR,
    "__version__": "a text",
    "embed": ("embed a module", "embed an encoder", "embed half"),
    "evaluate": ("evaluate",),
    "latent_classes": ("latent_classes", "latent_classes known"),
    "load_encoder": ("load_encoder",),
    "load_matrix": "a path",
    "mine": ("mine",),
    "negatives": "its own names are below",
    "open_embeddings": ("open_embeddings", "open_embeddings of a tensor"),
    "open_pool": ("open_pool",),
    "pretrain": ("pretrain",),
    "select": ("select", "select a tensor", "select at random"),
    "sift": ("sift vectors", "sift images", "sift tensors"),
    "untrained_encoder": ("untrained_encoder",),
}
PUBLIC |= {
    f"negatives.{name}": (f"loss {name}",)
    for name in ("InfoNCE", "Decoupled", "Debiased", "HardnessWeighted")
}
PUBLIC |= {f"negatives.{name}": (f"mask {name}",) for name in POLICIES}
PUBLIC |= {
    "negatives.Candidates": ("mask difficulty",),
    "negatives.Policy": "made by the others",
    "negatives.Queue": ("queue.push", "queue.note_hard"),
    "negatives.Schedule": ("schedule",),
    "negatives.Tags": ("mask same_class",),
    "negatives.above_positive": "a number",
    "negatives.in_chunks": ("in_chunks",),
    "negatives.margin": "a number",
    "negatives.parse_schedule": ("schedule",),
    "negatives.relevant": "given nothing",
}


def test_every_public_name_is_walked_or_is_given_nothing():
    names = {*cs.__all__, *(f"negatives.{name}" for name in negatives.__all__)}
    assert set(PUBLIC) == names
    walked = {case for cases in PUBLIC.values() if isinstance(cases, tuple) for case in cases}
    assert walked == set(calls())


@pytest.mark.parametrize("name", list(calls()))
def test_nothing_of_the_callers_is_changed(name):
    function, arguments, options = calls()[name]
    given = [*arguments, options]
    before = copy.deepcopy([state_of(part) for part in given])
    around = globals_of()
    function(*arguments, **options)
    assert [state_of(part) for part in given] == before
    assert globals_of() == around


def test_pythons_own_random_numbers_are_left_alone():
    code = (
        "import random, numpy as np, torch, contrasift as cs\n"
        "z = np.random.default_rng(0).normal(size=(20, 4))\n"
        "pool = cs.open_pool(np.zeros((20, 8, 8), np.uint8), labels='none')\n"
        "net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))\n"
        "random.seed(0); before = random.getstate()\n"
        "cs.select(z, fraction=0.3)\n"
        "cs.latent_classes(z, method='kmeans', n_classes=3)\n"
        "cs.embed(pool, np.arange(20), net, views=1, device='cpu')\n"
        "assert random.getstate() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_read_only_stays_readable():
    values = matrix()
    values.flags.writeable = False
    labels = np.arange(N) % 3
    labels.flags.writeable = False
    cs.select(values, labels, fraction=0.5)
    cs.latent_classes(values, method="kmeans", n_classes=3)
    np.save("z.npy", values)
    mapped = np.load("z.npy", mmap_mode="r")
    written = Path("z.npy").stat().st_mtime_ns
    cs.select(mapped, labels, fraction=0.5)
    assert Path("z.npy").stat().st_mtime_ns == written


def test_a_module_that_fails_is_given_back_too():
    pool = cs.open_pool(images(), labels="none")
    net = module()
    net.last = nn.Linear(4, 6)
    with torch.no_grad():
        net.last.weight.fill_(float("nan"))
    before = state_of(net)[0]
    with pytest.raises(cs.ContrasiftError, match="NaN, infinity or zero"):
        cs.embed(pool, np.arange(N), net, views=1, device="cpu")
    assert state_of(net)[0] == before
