"""Greedy within bounded work, what is said where F says nothing, and an interrupt that hurries."""

from __future__ import annotations

import signal
import warnings

import numpy as np
import pytest
from test_greedy import KINDS, make_rows

import contrasift as cs
import reference
from contrasift.errors import DegenerateObjectiveWarning, WorseThanRandomWarning
from contrasift.selection import local, plan
from contrasift.selection.kernels import dots
from contrasift.selection.kernels.passes import HeldRows
from contrasift.selection.local import LocalEngine
from contrasift.selection.optimizers import greedy as module
from contrasift.selection.optimizers.greedy import greedy
from contrasift.selection.rule import LinearRule
from contrasift.selection.select import select
from contrasift.selection.watch import Watch


def centred(n=300, d=12, seed=0):
    rows = np.abs(np.random.default_rng(seed).standard_normal((n, d)))
    return (rows - rows.mean(axis=0)).astype(np.float32)


def first_word(seed, budget):
    return int(np.random.default_rng([seed, budget]).integers(1, 1 << 63, 1, dtype=np.uint64)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", [1, 3, 100])
def test_the_rest_is_stochastic_greedy(kind, sample, monkeypatch):
    monkeypatch.setattr(module, "_LEAST_SAMPLE", sample)
    monkeypatch.setattr(module, "_DRAWS_A_ROW", 0.0)
    monkeypatch.setattr(module, "_STEPS_A_TELLING", 7)
    rows = make_rows(kind, 60, 5, seed=sample)
    eligible = np.ones(60, np.bool_)
    eligible[[3, 8, 40]] = False
    path = greedy(rows, 30, redundancy=0.7, keep=np.array([8, 20]), eligible=eligible, work=0)
    assert path.exact == 2
    open_rows = [row for row in range(60) if eligible[row] and row != 20]
    word = first_word(0, 30)
    expected = reference.stochastic_greedy(rows, [8, 20], open_rows, 30, 0.7, sample, word)
    assert path.order.tolist() == expected
    assert path.value == pytest.approx(reference.value(rows, expected, 0.7), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("threads", [1, 2])
def test_work_that_ends_leaves_the_exact_prefix(threads, monkeypatch):
    monkeypatch.setattr(dots, "_ROWS_WORTH_A_THREAD", 10)
    rows = np.ascontiguousarray(centred(400, 8))
    whole = greedy(rows, 200, redundancy=1.0)
    parts = [
        greedy(rows, 200, redundancy=1.0, work=8000, threads=count, _window_rows=30)
        for count in (1, threads)
    ]
    assert 0 < parts[0].exact < 200
    assert np.array_equal(parts[0].order[: parts[0].exact], whole.order[: parts[0].exact])
    assert parts[1].exact == parts[0].exact
    assert np.array_equal(parts[1].order, parts[0].order)
    assert sorted(set(parts[0].order.tolist())) == sorted(parts[0].order.tolist())


def test_more_rows_drawn_than_there_are(monkeypatch):
    rows = make_rows("positive", 20, 4, seed=0)
    path = greedy(rows, 20, redundancy=1.0, work=0)
    assert path.order.tolist() == greedy(rows, 20, redundancy=1.0).order.tolist()


def test_only_auto_hurries(monkeypatch):
    monkeypatch.setattr(plan, "_PASSES", 0)
    monkeypatch.setattr(plan, "_NUMBERS", 0)
    rows = make_rows("positive", 300, 8, seed=0)
    codes = np.arange(300) % 2
    exact = select(rows, codes, budget=120, optimizer="greedy")
    quick = select(rows, codes, budget=120)
    assert exact.facts["optimizer"] == "greedy"
    assert "sampled_ranks" not in exact.facts
    assert quick.facts["optimizer"] == "auto"
    assert quick.facts["sampled_ranks"] == 120
    assert [part.ranked_to for part in quick.classes] == [0, 0]
    assert any("120 ranks in 2 of 2 classes are stochastic" in note for note in quick.notes)
    assert 0 < quick.certificate.share <= exact.certificate.share


def test_auto_is_greedy_where_work_suffices():
    rows = make_rows("positive", 300, 8, seed=0)
    one, two = select(rows, budget=90), select(rows, budget=90, optimizer="greedy")
    assert np.array_equal(one.ranking, two.ranking)
    assert one.facts["optimizer"] == "greedy"


def test_rows_of_which_similarity_says_nothing_are_named():
    with pytest.warns(DegenerateObjectiveWarning, match="similarity to the rest says nothing"):
        chosen = select(centred(), budget=60)
    assert any("says nothing in the pool" in note for note in chosen.notes)
    assert chosen.certificate.share >= 0
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select(centred(), budget=60, announce=said.append)  # told, where somebody listens
        select(centred(), budget=60, objective="k-center")
        select(centred(99), budget=20)  # too few to judge
        select(np.abs(centred()), budget=60)
    assert sum("says nothing" in line for line in said) == 1


def test_a_class_of_which_it_says_nothing_is_named_among_others():
    rows = np.concatenate([np.abs(centred()), centred(seed=1)])
    with pytest.warns(DegenerateObjectiveWarning, match="in class 1"):
        chosen = select(rows, np.arange(600) // 300, budget=60)
    assert any("says nothing in class 1:" in note for note in chosen.notes)


def test_a_rule_that_is_worse_than_random_is_replaced():
    rows = centred(400, 6)
    codes = np.arange(400) // 200
    chosen = select(rows, codes, budget=80, optimizer="relaxed", redundancy=1.0)
    assert chosen.certificate.share >= 0
    assert any("best linear rule is worse than random" in note for note in chosen.notes)
    rule = LinearRule.from_arrays(chosen.rule)
    assert rule.exception_keep.sum() >= 80  # the pool is judged as it was selected


def test_below_random_is_never_silent(monkeypatch):
    rows = make_rows("positive", 40, 4, seed=0)
    chosen = select(rows, budget=8, objective="prototype-far")
    assert chosen.certificate.share < 0
    assert any("prototype-far does not seek it" in note for note in chosen.notes)
    worse = greedy(rows, 8, redundancy=1.0)
    order = np.argsort(rows.sum(1))[:8]
    bad = {"order": order, "selected_sum": rows[order].sum(0, dtype=float)}
    turned = module.GreedyPath(**{**worse.__dict__, **bad})
    from contrasift.selection.objectives import sas

    monkeypatch.setattr(sas, "greedy", lambda *_, **__: turned)
    with pytest.warns(WorseThanRandomWarning, match="below the mean of random selections"):
        select(rows, budget=8)


def test_a_watch_is_told_and_can_stop_it():
    seen = []
    watch = Watch(seen.append)
    rows = np.ascontiguousarray(centred(400, 8))
    greedy(rows, 100, redundancy=1.0, watch=watch, _window_rows=30)
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len(seen) > 3
    watch = Watch(lambda position: setattr(watch, "stopped", position >= 20))
    path = greedy(rows, 100, redundancy=1.0, watch=watch, _window_rows=30)
    assert 20 <= path.exact < 100


def test_the_first_interrupt_hurries_and_the_second_ends(monkeypatch):
    rows = make_rows("positive", 200, 6, seed=0)
    codes = np.arange(200) // 50
    said, interrupts = [], [1]

    def interrupt(done, total):
        if done and interrupts:
            interrupts.pop()
            signal.raise_signal(signal.SIGINT)

    engine = LocalEngine(threads=1, hurries=True)
    before = signal.getsignal(signal.SIGINT)
    chosen = select(rows, codes, budget=80, engine=engine, progress=interrupt, announce=said.append)
    assert chosen.facts["hurried"] is True
    assert chosen.budget == 80
    assert any("once more Ctrl-C" in line for line in said)
    assert chosen.facts["sampled_ranks"] > 0
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        select(rows, codes, budget=80, engine=LocalEngine(1), progress=lambda *_: interrupt_now())
    assert local._hurrying is not None


def interrupt_now():
    signal.raise_signal(signal.SIGINT)


def test_heavy_tails_take_no_more_than_others():
    rng = np.random.default_rng(0)
    rows = np.abs(rng.standard_normal((4000, 8))) * (rng.pareto(1.5, (4000, 1)) + 0.1)
    rows = rows.astype(np.float32)
    path = greedy(rows, 800, redundancy=1.0, _window_rows=200)
    assert path.evaluations < 0.1 * 800 * 4000
    assert HeldRows(rows).squares().max() > 100 * np.median(HeldRows(rows).squares())


def test_warning_classes_are_public():
    assert issubclass(cs.DegenerateObjectiveWarning, UserWarning)
    assert issubclass(cs.WorseThanRandomWarning, UserWarning)
