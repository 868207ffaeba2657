from __future__ import annotations

import pytest

from contrasift.errors import UsageError
from contrasift.options import (
    CompareOptions,
    EmbedOptions,
    PoolOptions,
    RunOptions,
    SelectOptions,
    TrainOptions,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SelectOptions(fraction=0.0), r"fraction= in \(0, 1\]"),
        (lambda: SelectOptions(fraction=1.5), r"fraction= in \(0, 1\]"),
        (lambda: SelectOptions(fraction=float("nan")), r"fraction= in \(0, 1\]"),
        (lambda: SelectOptions(fraction=0.1, budget=3), "Give only one"),
        (lambda: SelectOptions(budget=-1), "budget= of at least 0"),
        (lambda: SelectOptions(fraction=0.1, seed=-1), "seed= of at least 0"),
        (lambda: SelectOptions(objective="best"), "one of sas, published, coverage"),
        (
            lambda: SelectOptions(objective="random", optimizer="relaxed"),
            "takes optimizer='relaxed': sas",
        ),
        (lambda: TrainOptions(batch_size=1), "no negatives"),
        (lambda: TrainOptions(temperature=0.0), "temperature= above 0"),
        (lambda: EmbedOptions(views=0), "at least one view"),
        (lambda: CompareOptions(against="full,best"), "against= with some of random-per-class"),
        (lambda: CompareOptions(first_seed=-1), "first_seed= of at least 0"),
        (lambda: CompareOptions(labels_per_class=-1), "labels_per_class= of at least 0"),
        (lambda: CompareOptions(regularisation=0.0), "regularisation= above 0"),
        (lambda: PoolOptions(limit=0), "limit= of at least 1"),
        (lambda: PoolOptions.from_mapping({"pol": 1}), "one of the options pool, limit"),
        (lambda: TrainOptions.from_mapping({"epochs": 1.5}), "epochs= to be int; got 1.5"),
        (lambda: PoolOptions.from_mapping({"limit": "all"}), "limit= to be int or nothing"),
    ],
)
def test_illegal_options_say_what_is_legal(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_a_fingerprint_depends_on_every_option_and_on_what_came_before():
    base = SelectOptions(fraction=0.2)
    assert base.fingerprint("a") == SelectOptions(fraction=0.2).fingerprint("a")
    assert base.fingerprint("a") != base.fingerprint("b")
    assert base.fingerprint("a") != SelectOptions(fraction=0.2, seed=1).fingerprint("a")


def test_the_groups_of_a_run_rebuild_it():
    options = RunOptions(PoolOptions(pool="digits"))
    assert RunOptions.from_mapping(options.as_dict()) == options


def test_a_recipe_may_write_whole_numbers_for_real_ones():
    assert TrainOptions.from_mapping({"temperature": 1}) == TrainOptions(temperature=1.0)


def test_what_is_compared_is_trained_once_and_the_selection_first():
    assert CompareOptions().subsets == ("selected", "random-per-class", "full")
    assert CompareOptions(against="full, full,random").subsets == ("selected", "full", "random")
    assert CompareOptions(against="").subsets == ("selected",)
    assert list(CompareOptions(seeds=2, first_seed=7).training_seeds) == [7, 8]
