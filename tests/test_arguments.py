"""Public functions refuse what does not fit before any work, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import contrasift as cs
from contrasift import negatives
from contrasift.errors import UsageError
from contrasift.negatives.queue import check_tensors
from contrasift.options.arguments import checked_arguments

TENSOR = torch.ones(4, 8)
ROWS = np.abs(np.random.default_rng(0).normal(size=(60, 4))).astype(np.float32)
LABELS = np.arange(60) % 3


@checked_arguments
def sample(
    rows: object,
    count: int = 1,
    share: float | None = None,
    word: Literal["a", "b"] = "a",
    exact: bool = False,
    place: Path | str = "",
) -> tuple[object, ...]:
    return rows, count, share, word, exact, place


def test_numbers_of_numpy_become_plain_ones():
    given = sample([1], np.int64(3), np.float32(0.5), exact=np.bool_(True))
    assert given == ([1], 3, 0.5, "a", True, "")
    assert [type(value) for value in given[1:5]] == [int, float, str, bool]


def test_an_integer_may_be_a_float_and_nothing_else_is_converted():
    assert type(sample(0, share=1)[2]) is float
    assert sample(0, place=Path("a"))[5] == Path("a")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 1.0}, "count= to be int; got 1.0"),
        ({"count": True}, "count= to be int; got True"),
        ({"count": None}, "count= to be int; got None"),
        ({"share": "0.5"}, "share= to be float or nothing; got '0.5'"),
        ({"share": True}, "share= to be float or nothing; got True"),
        ({"word": 1}, "word= to be str; got 1"),
        ({"exact": 1}, "exact= to be bool; got 1"),
        ({"place": None}, "place= to be Path or str; got None"),
    ],
)
def test_another_type_is_refused(given, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        sample(0, **given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sample(0, cuont=1), r"sample\(\) .*'cuont'. Did you mean count"),
        (lambda: sample(), r"sample\(\) missing a required argument: 'rows'"),
        (lambda: cs.select(ROWS, frac=0.2), r"select\(\) .*'frac'. Did you mean fraction"),
    ],
)
def test_a_slip_in_a_name_is_a_type_error_as_ever(call, said):
    with pytest.raises(TypeError, match=said):
        call()


def within(**given):
    sampler = cs.SelectedSampler(ROWS, batch_size=10)
    return cs.SelectWithin(sampler, lambda model: ROWS, after=1, **given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cs.select(ROWS, budget=2, threads=1.5), "threads= to be int"),
        (lambda: cs.select(ROWS, 0.2), "classes as one label an example; got 0.2"),
        (lambda: cs.latent_classes(ROWS, restarts=-1), "restarts= of at least 1"),
        (lambda: cs.latent_classes(ROWS, iterations=0), "iterations= of at least 1"),
        (lambda: cs.latent_classes(ROWS, seed=-1), "seed= of at least 0"),
        (lambda: cs.latent_classes(ROWS, whiten=1.5), "whiten= to be int"),
        (lambda: cs.latent_classes(ROWS, known=LABELS), "method='few-labels' or 'propagate' for"),
        (lambda: cs.latent_classes(ROWS, label_share=2.0), r"label_share= in \(0, 1\]"),
        (lambda: cs.latent_classes(ROWS, resolutions=(0.0,)), "resolutions= of numbers above 0"),
        (lambda: cs.mine(ROWS, ROWS, LABELS, policy=3), "policy= to be Policy or str; got 3"),
        (lambda: cs.mine(ROWS, ROWS, LABELS, per_query="a"), "per_query= to be int"),
        (lambda: cs.evaluate(ROWS, LABELS, ROWS, LABELS, seed=-1), "seed= of at least 0"),
        (lambda: negatives.above("a"), "cosine= to be float or int; got 'a'"),
        (lambda: negatives.Queue(1.5, 8), "size= to be int; got 1.5"),
        (lambda: negatives.InfoNCE("a"), "temperature= to be float or int; got 'a'"),
        (lambda: negatives.InfoNCE(negatives=3), "negatives= to be Policy or str or nothing"),
        (lambda: negatives.InfoNCE(negatives="difficult(95,100)"), "a policy made of difficulty"),
        (lambda: check_tensors(query=TENSOR, key=ROWS), "a tensor as key; got numpy.ndarray"),
        (lambda: check_tensors(queue=None, mined=[TENSOR]), "a tensor as mined; got builtins.list"),
        (lambda: cs.load_matrix(3), "place= to be Path or str; got 3"),
        (lambda: cs.Sifter(3), "run= to be str or Path; got 3"),
        (lambda: cs.SelectedSampler(ROWS, seed=-1), "seed= of at least 0"),
        (lambda: cs.SelectedSampler(ROWS, rank=1), "rank= from 0 to below num_replicas=1"),
        (lambda: cs.SelectedSampler(ROWS, num_replicas=0), "num_replicas= of at least 1"),
        # What is due after many epochs is told before the first.
        (lambda: within(fraction=2), r"fraction= in \(0, 1\]"),
        (lambda: within(budget=61), "a budget between 0 and the 60"),
        (lambda: within(fraction=0.05), "at least 10 examples"),
        (lambda: within(), "fraction= or budget=; got neither"),
        (lambda: within(fraction=0.5, classes="grph"), "Did you mean graph"),
        (lambda: within(fraction=0.5, options={"objectiv": "sas"}), "Did you mean objective"),
        (lambda: within(fraction=0.5, options={"objective": "kcenter"}), "Did you mean k-center"),
    ],
)
def test_it_is_told_before_any_work(call, said):
    with pytest.raises(cs.ContrasiftError, match=said):
        call()


def test_a_loss_takes_the_text_of_a_policy():
    by_text = negatives.InfoNCE(negatives="difficulty(50, 100) & ~same_class").negatives
    assert by_text == negatives.difficulty(50, 100) & ~negatives.same_class


def test_no_pair_has_no_loss():
    nothing = torch.zeros(0, 4)
    with pytest.raises(cs.DataError, match="b ≥ 1"):
        negatives.InfoNCE()(nothing, nothing)
