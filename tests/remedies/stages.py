"""Remedies of stages and checks that commands reach late or at a cost, followed by themselves."""

from __future__ import annotations

import contextlib
import shutil
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contrasift as cs
from contrasift.arrays import HeldColumns
from contrasift.classes.assign import fit_assigner
from contrasift.cli.console import print_json
from contrasift.narration import SilentNarrator
from contrasift.options import RunOptions
from contrasift.pipeline.beforehand import check_run
from contrasift.pipeline.export.chosen import ChosenExamples
from contrasift.pipeline.full import run_all
from contrasift.pipeline.run import Run
from contrasift.pipeline.side_by_side import _result
from contrasift.pipeline.stages.evaluate import labels_and_test
from contrasift.pipeline.stages.within import check_switch
from contrasift.pipeline.stages.zero_shot import zero_shot_of_run
from contrasift.selection.diagnostics.measures import coverage_of
from contrasift.selection.gather import ClassRows
from contrasift.selection.kernels.dots import fixed_point_scale
from contrasift.selection.memory import estimate_memory, plan_memory
from contrasift.selection.optimizers.relaxation import relax
from contrasift.selection.ranking import RankedRows
from contrasift.selection.task import Solved
from contrasift.store.arms import Arm
from contrasift.store.run import RunFolder
from contrasift.store.shards import ShardFolder
from contrasift.store.solved_shards import read_solved, write_solved
from contrasift.training.loading import load_encoder
from remedies.cases import images, picture, pictures, rows, written
from remedies.networks import clip_model, saved_clip, small_file
from remedies.storage import little_room

N = 12
LABELS = np.array([0, 1] * 6)


def unit(n: int = N, d: int = 3) -> np.ndarray:
    found = rows(n, d)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def spoilt(n: int = N) -> np.ndarray:
    found = unit(n)
    found[2] = np.nan
    return found


def assigned(width: int = 3, scale: float = 1.0) -> Any:
    """New rows, in the classes of points that others have."""
    found = fit_assigner(rows(), LABELS, 2, whiten=0, metric="euclidean")
    return found.classes_of(rows(4, width) * scale)


def planned(sizes: list[int], limit: int, in_place: bool = False) -> Any:
    values = np.zeros((4000, 1000), np.float32)
    return plan_memory(values, np.array(sizes), in_place=in_place, limit=limit)


def too_little() -> int:
    """A little less than a selection of 4,000 rows in one class needs at least."""
    need = estimate_memory(4000, 1000, largest_class=4000, buffer_bytes=0, resident_bytes=16 << 20)
    return need - (2 << 20)


def solved(code: int) -> None:
    """A shard of one class, read as class 1 of a selection."""
    partition = ClassRows.of(np.array([0, 1] * 6), 2)
    folder = ShardFolder(Path("shards"), "f")
    found = Solved(
        order=np.arange(6), gains=np.zeros(6), budget=3, value=0.1, upper_bound=None,
        random_value=None, ranked_to=6, first_negative_gain=None, total=np.zeros(3),
    )  # fmt: skip
    write_solved(folder, 0, [code], [partition.of_class(code)], [found])
    read_solved(folder, 0, [1], RankedRows.empty(partition, HeldColumns()), totals=False)


SELECTING = {
    "rows as wide as the pool's": (
        lambda: assigned(width=4),
        "the same encoder and layer",
        assigned,
    ),
    "units": (
        lambda: assigned(scale=1e200),
        "Check the units",
        assigned,
    ),
    "finite rows": (
        lambda: fixed_point_scale(spoilt()),
        "Leave these examples out, or embed them again",
        lambda: (fixed_point_scale(np.delete(spoilt(), 2, 0)), fixed_point_scale(unit())),
    ),
    "a sample of two": (
        lambda: coverage_of(unit(), np.arange(2), sample=1),
        "no spread",
        lambda: coverage_of(unit(), np.arange(2), sample=2),
    ),
    "below the turn": (
        lambda: relax(unit(), 6, redundancy=3.0),
        "lower λ or the budget, or use greedy",
        lambda: (
            relax(unit(), 6, redundancy=0.5),
            relax(unit(), 2, redundancy=3.0),
            cs.select(unit(), budget=6, redundancy=3.0),
        ),
    ),
    "a target as wide": (
        lambda: cs.select(rows(), fraction=0.5, objective="target", target=rows(2, 4)),
        "the same encoder and layer",
        lambda: cs.select(rows(), fraction=0.5, objective="target", target=rows(2, 3)),
    ),
    "a target with a direction": (
        lambda: cs.select(
            rows(), fraction=0.5, objective="target", target=np.eye(3)[[0, 1]] * [[0], [1]]
        ),
        "Leave these examples out",
        lambda: cs.select(rows(), fraction=0.5, objective="target", target=np.eye(3)[[1]]),
    ),
    "more classes": (
        lambda: planned([4000], too_little()),
        "Use more classes, or save the rows as float32 of length one",
        lambda: (
            planned([1000] * 4, too_little()),
            planned([4000], too_little(), in_place=True),
        ),
    ),
    "shards of this selection": (
        lambda: solved(0),
        "Remove the folder of shards and repeat",
        lambda: (shutil.rmtree("shards"), solved(1)),
    ),
    "a target alone": (
        lambda: cs.select(rows(), fraction=0.5, target=[0, 1]),
        "objective='target' needs no weight",
        lambda: cs.select(rows(), fraction=0.5, objective="target", target=[0, 1]),
    ),
    "no least number of a class": (
        lambda: cs.select(rows(), LABELS, fraction=0.5, objective="balanced", min_per_class=1),
        "Leave it away",
        lambda: cs.select(rows(), LABELS, fraction=0.5, objective="balanced"),
    ),
}


def run_of(folder: str = "r", **sections: Any) -> Run:
    """A run whose options are read and whose pool is found, and no more."""
    np.savez("plain.npz", images=images())
    np.savez("labelled.npz", images=images(), labels=LABELS)
    usual = {"pool": {"pool": "plain.npz"}, "train": {"architecture": "narrow:0.125"}}
    options = RunOptions.from_mapping(usual | sections)
    Path(folder).mkdir(exist_ok=True)
    return Run(RunFolder(Path(folder)), options, SilentNarrator(), device="cpu")


def checked(full: bool = False, folder: str = "r", **sections: Any) -> None:
    with little_room() if full else contextlib.nullcontext():
        check_run(run_of(folder, **sections))


def done(fingerprint: str, folder: str = "r", *, update: bool = False) -> None:
    """A stage without work, under some options."""
    run = run_of(folder)
    run.update = update
    run.do("explore", fingerprint, [], dict)


class PastIt(Exception):
    """What comes after the checks is begun."""


def begun(**sections: Any) -> None:
    """A run up to where it reads its files, once it is past the checks."""

    def past(*_: Any) -> None:
        raise PastIt

    usual = {"pool": {"pool": "labelled.npz"}, "select": {"fraction": 0.5}}
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(PastIt):
        patch.setattr("contrasift.pipeline.full.check_read_run", past)
        run_all(run_of(**usual | sections))
        raise AssertionError


def policy(words: str) -> dict[str, Any]:
    return {"negatives": words, "epochs": 2, "batch_size": 4, "architecture": "narrow:0.125"}


def switched(n: int = N, **sections: Any) -> None:
    usual = {"pool": {"pool": "x"}, "switch": {"select_after": 1}, "select": {"fraction": 0.5}}
    train = {"epochs": 4, "batch_size": 4} | sections.pop("train", {})
    check_switch(RunOptions.from_mapping(usual | {"train": train} | sections), n)


def arm(*fates: BaseException | None) -> Any:
    """A training in a process of its own, which may be killed."""
    for fate in fates:
        process: Future[Any] = Future()
        process.set_exception(fate) if fate else process.set_result({})
        _result(process, Arm("full", 0))


def gone_images() -> ChosenExamples:
    """A selection of two images of a folder."""
    given = cs.open_pool(pictures("p"), labels="none", holdout=0)
    index = np.arange(2)
    return ChosenExamples(
        index=index, latent_class=index, rank=index, gain=index * 1.0, selected=index >= 0,
        ids=list(given.ids), labels=[None, None], pool=given, positions=index,
    )  # fmt: skip


def without_one(*names: str) -> None:
    chosen = gone_images()
    for name in names:
        Path("p", name).unlink()
    chosen.file(1)
    chosen.image(1)


def clip_classes(source: str, clip: str = "") -> Any:
    """Images by an encoder, in classes by the texts of a model."""
    given = cs.open_pool(images(4), holdout=0)
    embeddings = cs.embed(given, np.arange(4), load_encoder(source), device="cpu", views=1)
    run = run_of(classes={"classes": "zero-shot", "class_names": names(), "clip": clip})
    return zero_shot_of_run(run, embeddings)


def names() -> str:
    return str(written("a cat\na dog\n", "names.txt"))


def other_clip() -> str:
    """The same architecture with other weights."""
    from safetensors.torch import save_file

    saved_clip()
    Path("c").rename("other")
    weights = {name: tensor + 1 for name, tensor in clip_model().state_dict().items()}
    save_file(weights, "other/open_clip_model.safetensors")
    saved_clip()
    return "open-clip:other"


def resnet_file() -> str:
    return "test_resnet=" + small_file()


def to_output(stream: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        print_json({})


def to_file() -> None:
    with open("o.json", "w") as file:
        to_output(file)
    assert Path("o.json").read_text() == "{}\n"


def classes_in_folders() -> str:
    for name in "ab":
        pictures(f"f/{name}", 4)
    return "f"


RUNS = {
    "classes of a file": (
        lambda: checked(classes={"classes": "labels"}),
        "Take the classes from a file, or use classes='auto'",
        lambda: (
            checked(classes={"classes": "auto"}),
            checked(
                classes={"classes": "labels", "classes_file": str(written("a\nb\n" * 6, "c.txt"))}
            ),
        ),
    ),
    "room for a run": (
        lambda: checked(full=True),
        "Make room, choose another out=, or fewer seeds=",
        lambda: (checked(), checked(folder="other")),
    ),
    "an encoder of its own": (
        lambda: switched(embed={"encoder": "resnet50"}),
        "Leave encoder= away, or train without select_after=",
        lambda: (switched(), switched(switch={}, embed={"encoder": "resnet50"})),
    ),
    "classes on the way": (
        lambda: begun(train=policy("~same_latent_class"), switch={"select_after": 1}),
        "Leave select_after= away, or compare labels: same_class",
        lambda: (
            begun(train=policy("~same_latent_class")),
            begun(train=policy("~same_class"), switch={"select_after": 1}),
        ),
    ),
    "a stage under other options": (
        lambda: (done("a"), done("b")),
        "Choose another out=, or pass update=True",
        lambda: (done("b", "other"), done("b", update=True)),
    ),
    "a batch of what is left": (
        lambda: switched(select={"fraction": 0.2}),
        "Pass a smaller batch_size=, or another fraction=",
        lambda: (
            switched(select={"fraction": 0.2}, train={"batch_size": 2}),
            switched(select={"fraction": 0.5}),
        ),
    ),
    "a process that is killed": (
        lambda: arm(BrokenProcessPool()),
        "Pass jobs=1, or repeat the command",
        lambda: arm(None),
    ),
    "labels of folders": (
        lambda: labels_and_test(cs.open_pool(classes_in_folders(), labels="none")),
        "labels='folders'",
        lambda: labels_and_test(cs.open_pool("f", labels="folders", holdout=0.5)),
    ),
    "an image that is gone": (
        lambda: without_one("1.png"),
        "restore it, or embed the pool again",
        lambda: (written(picture(), "p/1.png"), without_one()),
    ),
    "an open-clip model": (
        lambda: clip_classes(resnet_file()),
        "open-clip:ViT-B-32/laion2b_s34b_b79k', or another",
        lambda: clip_classes(f"open-clip:{saved_clip()}"),
    ),
    "the model that embedded the images": (
        lambda: clip_classes("open-clip:c", clip=other_clip()),
        "Name that model with clip=, or embed again with this one",
        lambda: (
            clip_classes("open-clip:c", clip="open-clip:c"),
            clip_classes("open-clip:other", clip="open-clip:other"),
        ),
    ),
    "a standard output": (
        lambda: to_output(None),
        "Write to a file: > FILE",
        to_file,
    ),
}
CASES = {"selecting": SELECTING, "runs": RUNS}
