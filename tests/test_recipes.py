"""The recipes that come with the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift.cli.common import merge_options
from contrasift.errors import UsageError
from contrasift.pools.named import NAMED
from contrasift.store.run import RECIPES, find_recipe, read_recipe

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))


def test_there_are_the_papers_settings():
    assert {"cifar10", "cifar100", "stl10", "tiny-imagenet", "imagenet"} <= set(NAMES)
    assert {"fashion-mnist", "mnist", "demo"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_a_whole_run(name):
    options = merge_options(name, {"epochs": 7, "proxy_epochs": 2})
    assert options.train.epochs == 7  # flags win
    assert options.pool.pool in {"", *NAMED}
    assert read_recipe(find_recipe(name)).train.method == options.train.method


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10", "tiny-imagenet"])
def test_sas_settings(name):
    # peers.md §5: Adam 1e-3 (Tiny 2e-3), weight decay 1e-6, constant; batch 512, 400 epochs, T .5.
    train = read_recipe(find_recipe(name)).train
    assert train.method == "simclr"
    assert (train.batch_size, train.epochs, train.temperature) == (512, 400, 0.5)
    assert train.learning_rate == (2e-3 if name == "tiny-imagenet" else 1e-3)
    assert (train.optimizer_name, train.weight_decay) == ("adam", 1e-6)
    assert (train.schedule, train.warmup_epochs, train.projection_dim) == ("constant", 0, 128)


def test_the_proxy_of_cifar100_is_small():
    # The published code; the text of the paper (Section 5) has a ResNet-50 choose.
    options = read_recipe(find_recipe("cifar100"))
    assert (options.embed.proxy_architecture, options.train.architecture) == (
        "resnet10",
        "resnet50",
    )


def test_moco_v2_settings():
    # peers.md §5: SGD .03, momentum .9, weight decay 1e-4, cosine; queue 65,536, m .999, T .2.
    train = read_recipe(find_recipe("imagenet")).train
    assert (train.method, train.architecture, train.optimizer_name) == ("moco", "resnet50", "sgd")
    assert (train.learning_rate, train.weight_decay, train.schedule) == (0.03, 1e-4, "cosine")
    assert (train.batch_size, train.epochs, train.augmentation) == (256, 200, "moco-v2")
    assert (train.queue_size, train.momentum, train.temperature) == (65536, 0.999, 0.2)


def test_the_name_of_no_recipe(tmp_path):
    with pytest.raises(UsageError, match=r"cifar10, cifar100.*got cifar11.*cifar10"):
        find_recipe("cifar11")
    own = tmp_path / "cifar10"
    own.write_text("train: {epochs: 3}")
    assert find_recipe(own) == own


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_a_dry_run_with_a_stand_in(name, tmp_path):
    from contrasift.cli import app

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 120, (60, 16, 16, 3)) + 60 * labels[:, None, None, None] // 2
    np.savez(tmp_path / "stand-in.npz", images=images.astype(np.uint8), labels=labels)
    small = [
        "--architecture",
        "narrow:0.25",
        "--epochs",
        "1",
        "--proxy-epochs",
        "1",
        "--views",
        "1",
    ]
    small += ["--batch-size", "16", "--queue-size", "32", "--fraction", "0.5", "--seeds", "1"]
    out = tmp_path / "run"
    command = ["run", str(tmp_path / "stand-in.npz"), "--recipe", name, *small]
    done = CliRunner().invoke(app, [*command, "--out", str(out)])
    assert done.exit_code == 0, done.output
    summary = json.loads((out / "evaluation.json").read_text())
    assert {row["subset"] for row in summary["table"]} >= {"selected", "full"}
    assert (
        read_recipe(out / "options.yaml").train.schedule
        == read_recipe(find_recipe(name)).train.schedule
    )
