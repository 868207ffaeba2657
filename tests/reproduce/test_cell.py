from __future__ import annotations

import dataclasses

import pytest

from contrasift.errors import UsageError
from reproduce import cell as cells
from reproduce.cell import Cell

BASE = {"pool.pool": "digits", "select.fraction": 0.2}


def test_options_go_to_their_groups_and_the_seed_to_all_but_the_pool():
    cell = Cell.of({**BASE, "train.epochs": 7, "measure.draws": 2, "arm.kept": "last"}, 5)
    run = cell.options
    assert (run.train.epochs, cell.measure.draws, cell.arm.kept) == (7, 2, "last")
    assert (run.embed.seed, run.classes.seed, run.select.seed, cell.seed) == (5, 5, 5, 5)
    assert run.pool.seed == 0


@pytest.mark.parametrize("name", ["epochs", "trian.epochs", "train.epoch", "select.fraction.x"])
def test_an_option_that_does_not_exist(name):
    with pytest.raises(UsageError, match="one of the options|an option such as"):
        Cell.of({**BASE, name: 3}, 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"select.fraction": 1.0}, {"select.fraction": 1.0, "select.objective": "coverage"}),
        ({"select.fraction": 1.0}, {"select.fraction": 1.0, "switch.select_after": 5}),
        ({"select.objective": "random"}, {"select.objective": "random", "embed.views": 9}),
        (
            {"switch.select_after": 5},
            {"switch.select_after": 5, "embed.proxy_epochs": 9, "embed.proxy_method": "moco"},
        ),
        (
            {"select.objective": "random-per-class", "classes.classes": "labels"},
            {
                "select.objective": "random-per-class",
                "classes.classes": "labels",
                "embed.proxy_architecture": "resnet18",
            },
        ),
        ({"arm.trained": False}, {"arm.trained": False, "train.epochs": 3, "select.fraction": 0.4}),
    ],
)
def test_cells_that_differ_only_in_what_has_no_effect_are_equal(first, second):
    assert Cell.of({**BASE, **first}, 1).key == Cell.of({**BASE, **second}, 1).key
    assert Cell.of({**BASE, **first}, 1).key != Cell.of({**BASE, **first}, 2).key


@pytest.mark.parametrize(
    "change",
    [
        {"train.epochs": 3},
        {"embed.views": 9},
        {"arm.kept": "last"},
        {"measure.explore": True},
        {"mixture.corrupted": 0.5},
        {"compare.match": "steps"},
        {"select.objective": "random-per-class"},
        {"switch.select_after": 5},
        {"train.decay_after": 5},
    ],
)
def test_a_changed_option_makes_another_cell(change):
    assert Cell.of(BASE, 0).key != Cell.of({**BASE, **change}, 0).key


def test_random_per_found_class_needs_a_proxy():
    per_class = {**BASE, "select.objective": "random-per-class"}
    assert Cell.of({**per_class, "classes.classes": "graph"}, 0).needs_proxy
    assert not Cell.of({**per_class, "classes.classes": "labels"}, 0).needs_proxy
    assert not Cell.of({**BASE, "arm.kept": "labelled"}, 0).needs_proxy
    full = {**BASE, "select.fraction": 1.0}
    assert not Cell.of(full, 0).needs_proxy
    assert Cell.of({**full, "train.negatives": "~same_latent_class"}, 0).needs_proxy


def test_a_default_that_has_changed_is_noticed_and_a_new_option_is_not():
    cell = Cell.of(BASE, 0)
    options = cell.as_dict()
    assert cell.agrees(options)
    del options["embed"]["plain_view"]  # was not there when the cell was done
    assert cell.agrees(options)
    options["embed"]["views"] = 3  # the default of then
    assert not cell.agrees(options)


def test_the_default_learning_rate_counts_as_it_is_filled_in():
    options = Cell.of(BASE, 0).as_dict()
    assert options["train"]["learning_rate"] == 0.003
    options["train"]["learning_rate"] = 0.001
    assert not Cell.of(BASE, 0).agrees(options)


def test_the_default_redundancy_counts_as_it_is_filled_in():
    cell = Cell.of({**BASE, "select.fraction": 0.4}, 0)
    options = cell.as_dict()
    assert options["select"]["redundancy"] == 0.625
    assert "select.redundancy" not in cell.given()
    options["select"]["redundancy"] = 1.0  # the default of then
    assert not cell.agrees(options)
    for idle in ({"select.fraction": 1.0}, {"select.objective": "coverage"}):
        assert Cell.of({**BASE, **idle}, 0).as_dict()["select"]["redundancy"] is None


def test_every_group_has_defaults_for_all_its_options():
    for kind in cells.CELL_GROUPS.values():
        for item in dataclasses.fields(kind):
            assert item.default is not dataclasses.MISSING
