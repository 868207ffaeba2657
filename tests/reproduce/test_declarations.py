from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift.errors import UsageError
from contrasift.store.run import RECIPES, read_recipe
from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.declaring import (
    Claim,
    Experiment,
    parse_changes,
    place_name,
    select_planned,
)
from reproduce.declared.scales import SCALES


def command(*arguments, code=0):
    from reproduce.cli import app

    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exit_code != code:
        raise AssertionError(f"exit {done.exit_code}: {done.output}") from done.exception
    return done


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_whole_plan_at_every_scale(name, scale):
    experiment = EXPERIMENTS[name]
    planned = experiment.plan(scale, seeds=1)
    assert {one.arm for one in planned} == set(experiment.arms)
    assert not any(one.cell.measure.explore for one in planned)
    names = [place_name(one.place(name, scale, "confirm")) for one in planned]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 200
    # Within a setting and a seed, arms are what they say: no two of them the same cell.
    for setting in {tuple(one.setting.items()) for one in planned}:
        own = [one for one in planned if tuple(one.setting.items()) == setting]
        assert len({one.cell.key for one in own}) == len(own), (name, setting)


def test_seeds_of_both_phases():
    planned = EXPERIMENTS["classes"].plan("cpu", seeds=2)
    assert {one.cell.seed for one in planned} == {100, 101}
    explored = EXPERIMENTS["classes"].plan("cpu", seeds=2, explore=True)
    assert {one.cell.seed for one in explored} == {0, 1}
    assert all(one.cell.measure.explore for one in explored)
    assert {one.cell.options.select.seed for one in explored} == {0, 1}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_claims_speak_of_arms_and_settings_that_are_there(name):
    experiment = EXPERIMENTS[name]
    for claim in experiment.claims:
        alone = list(claim.weights.values()) in ([1], [-1])
        assert alone or sum(claim.weights.values()) == pytest.approx(0)
        assert claim.rule in ("above", "within")
        pools = [pool for named in experiment.pools.values() for pool in named]
        for axis, label in claim.where.items():
            assert label in (pools if axis == "pool" else experiment.axes[axis])
    for further in experiment.axes_at.values():
        assert all(set(labels) <= set(experiment.axes[axis]) for axis, labels in further.items())


@pytest.mark.parametrize("pool", ["cifar10", "cifar100", "stl10", "tiny-imagenet"])
def test_the_papers_settings(pool):
    # arXiv 2302.09195 and its code, as in the recipes that come with the package.
    wanted = read_recipe(RECIPES / f"{pool}.yaml")
    cells = [one.cell for one in EXPERIMENTS["fractions"].plan("paper", seeds=1)
             if one.setting["pool"] == pool]  # fmt: skip
    assert len(cells) == 9 * 4
    assert {cell.options.select.fraction for cell in cells} == {n / 10 for n in range(1, 11)}
    for cell in cells:
        assert cell.options.train == wanted.train
        assert cell.options.pool == wanted.pool
        if cell.needs_proxy:
            assert cell.options.embed.proxy_epochs == 400


def test_imagenet_with_bands_of_negatives():
    wanted = read_recipe(RECIPES / "imagenet.yaml").train
    for one in EXPERIMENTS["negative-bands"].plan("paper", seeds=1):
        train = one.cell.options.train
        assert (train.architecture, train.epochs, train.queue_size) == ("resnet50", 200, 65536)
        assert (train.learning_rate, train.momentum, train.split_bn) == (0.03, 0.999, 8)
        assert train.temperature == wanted.temperature == 0.2
    assert EXPERIMENTS["temperatures"].plan("paper", seeds=1)[0].cell.options.train.split_bn == 8


def test_what_methods_ask_for_on_few_images_is_for_that_scale_alone():
    experiment = EXPERIMENTS["methods"]
    batches = {
        scale: {
            one.setting["method"]: one.cell.options.train.batch_size
            for one in experiment.plan(scale, seeds=1)
        }
        for scale in ("cpu", "tiny")
    }
    assert batches["cpu"] == {"byol": 128, "simsiam": 128, "moco": 256}
    assert set(batches["tiny"].values()) == {16}


def test_a_recipes_queue_is_dropped_where_the_method_has_none():
    trial = Experiment(
        "trial", "", "", {"simclr": {"train.method": "simclr"}}, "simclr",
        pools={"paper": ("imagenet",)},
    )  # fmt: skip
    (one,) = trial.plan("paper", seeds=1)
    assert (one.cell.options.train.method, one.cell.options.train.split_bn) == ("simclr", 1)


def test_changes_become_part_of_the_setting_and_win():
    (one, *_) = EXPERIMENTS["headroom"].plan(
        "cpu", seeds=1, changes=parse_changes(["train.epochs=3", "select.fraction=0.1"])
    )
    assert one.setting["train.epochs"] == "3"
    cells = EXPERIMENTS["headroom"].plan("cpu", changes={"train.epochs": 3})
    assert {p.cell.options.train.epochs for p in cells if p.cell.arm.trained} == {3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.epochs", "GROUP.OPTION=VALUE, .* got train.epochs"),
        ("epochs=3", "GROUP.OPTION=VALUE, .* got epochs=3"),
        ("train=3", "an option such as train.epochs, .* got train"),
    ],
)
def test_changes_that_are_none(text, message):
    with pytest.raises(UsageError, match=message):
        EXPERIMENTS["headroom"].plan("cpu", changes=parse_changes([text]))


def test_arms_that_do_not_exist():
    with pytest.raises(UsageError, match="reference of x"):
        Experiment("x", "", "", {"a": {}}, "b")
    with pytest.raises(UsageError, match="claims of x"):
        Experiment("x", "", "", {"a": {}}, "a", claims=(Claim("", {"b": 1}),))


def test_list_and_dry_run_train_nothing():
    said = command("--list").output
    assert all(name in said for name in EXPERIMENTS)
    said = command(
        "goal", "--scale", "paper", "--dry-run", "--seeds", 1, "--only", "cifar10"
    ).output
    assert "train.architecture=resnet50 train.epochs=400" in said
    said = command("goal", "--dry-run", "--only", "moco", "--only", "0.2", "--seeds", 1).output
    arms = len(EXPERIMENTS["goal"].arms)
    assert f"{arms} cells, {arms} of them different" in said


@pytest.mark.parametrize(
    ("texts", "arms", "fractions", "seeds"),
    [
        ((), 7, 5, 2),
        (("λ = 1",), 3, 5, 2),
        (("arm=λ = 1",), 1, 5, 2),
        (("0.2",), 7, 5, 2),
        (("fraction=0.2", "seed=101"), 7, 1, 1),
    ],
)
def test_only_takes_parts_and_an_axis_an_arm_or_a_seed_in_whole(texts, arms, fractions, seeds):
    found = select_planned(EXPERIMENTS["lambda"].plan("cpu", seeds=2), texts)
    assert len({one.arm for one in found}) == arms
    assert len({one.setting["fraction"] for one in found}) == fractions
    assert len({one.cell.seed for one in found}) == seeds


def test_list_and_dry_run_for_programs():
    listed = json.loads(command("--list", "--json", "--cells", "nowhere").stdout)["experiments"]
    assert [one["name"] for one in listed] == list(EXPERIMENTS)
    by_name = {one["name"]: one for one in listed}
    assert by_name["steps"]["axes"] == {"match": ["epochs", "steps"],
                                        "fraction": ["0.1", "0.2", "0.4"]}  # fmt: skip
    assert {one["finished"] for one in listed} == {0}
    said = json.loads(command("classes", "--dry-run", "--json", "--seeds", 2).stdout)
    assert said["different"] == len(said["cells"]) == by_name["classes"]["cells_a_seed"] * 2
    planned = EXPERIMENTS["classes"].plan("cpu", seeds=2)
    assert [one["key"] for one in said["cells"]] == [one.cell.key for one in planned]
    assert said["cells"][0]["arm"] == planned[0].arm
    assert said["cells"][0]["options"] == planned[0].cell.given()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "the name of an experiment"),
        (("headrom",), "Did you mean headroom?"),
        (("goal", "--scale", "gpu"), "--scale to be one of cpu, paper, tiny"),
        (("goal", "--only", "nothing"), "--only with a part of an arm"),
        (("goal", "--only", "fraction=0.3"), "fraction, method, arm, seed in"),
        (("goal", "--seeds", "0"), "--seeds of at least 1"),
        (("goal", "--set", "train.epochs=many"), "epochs= to be int"),
        (("--write-pages",), "finished cells in"),
        (("classes", "--pictures", "--cells", "nowhere"), "finished cells in which"),
        (("goal", "--set", "measure.extras=nothing"), "measure.extras to be one of alignment"),
        (("goal", "--scale", "paper", "--only", "cifar10"), "cifar"),
    ],
)
def test_mistakes_are_explained(arguments, says):
    from reproduce.cli import app

    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code in (1, 2)
    assert says in done.output
    assert "Traceback" not in done.output


def test_more_than_the_budget_is_refused_before_anything_is_done():
    done = command("headroom", "--scale", "tiny", "--budget", 0.0001, code=2)
    assert "work of at most 0.0001 h" in done.output
    assert "--budget" in done.output
    assert not list(CellStore(Path("reproduce/cells")).records())


def test_cifar100_as_the_paper_has_it_but_small(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTRASIFT_DATA", str(tmp_path))
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, n in (("train.bin", 120), ("test.bin", 40)):
        rows = rng.integers(0, 120, (n, 2 + 3072)).astype(np.uint8)
        rows[:, 1] = np.arange(n) % 4
        rows[:, 2:] += (30 * rows[:, 1:2]).astype(np.uint8)
        rows.tofile(folder / name)
    (folder / "fine_label_names.txt").write_text("\n".join(f"class {n}" for n in range(100)))
    small = {"train.architecture": "narrow:0.25", "train.epochs": 1, "embed.proxy_epochs": 1,
             "embed.views": 1, "train.batch_size": 16, "measure.draws": 1}  # fmt: skip
    changes = [part for name, value in small.items() for part in ("--set", f"{name}={value}")]
    command(
        "fractions", "--scale", "paper", "--only", "cifar100", "--only", "0.5", "--seeds", 1,
        "--threads", 1, "--device", "cpu", "--work", tmp_path / "work",
        "--cells", tmp_path / "reproduce" / "cells", "--quiet", *changes,
    )  # fmt: skip
    found = list(CellStore(tmp_path / "reproduce" / "cells").records())
    assert {record["arm"] for record in found} == set(EXPERIMENTS["fractions"].arms)
    assert {record["options"]["train"]["schedule"] for record in found} == {"constant"}
    assert found[0]["facts"]["pool"] == "cifar100"
    page = command("--write-pages", "--cells", tmp_path / "reproduce" / "cells").output
    assert page.strip().endswith("README.md")
