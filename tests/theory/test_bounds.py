"""The bounds on toy problems, where every expectation is enumerated."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from contrasift.errors import DataError, UsageError
from contrasift.theory.bounds import lower_bounds, upper_bounds
from contrasift.theory.terms import (
    LabelledViews,
    Terms,
    exact_terms,
    label_views,
    measure_terms,
    same_class_spread,
)


def circle(degrees: object, half_width: float = 10.0) -> np.ndarray:
    """Points on the unit circle with two views, ± a few degrees: [n, 2, 2]."""
    angles = np.radians(np.asarray(degrees)[:, None] + np.array([-half_width, half_width]))
    return np.stack([np.cos(angles), np.sin(angles)], axis=2)


def enumerate_terms(data: LabelledViews, negatives: int, temperature: float) -> Terms:
    """Every anchor, positive and tuple of negatives, one after another; independent of the package."""
    n, m, _ = data.views.shape
    keys = [(x, v) for x in range(n) for v in range(m)]
    n_classes = int(data.codes.max()) + 1
    mu = np.array(
        [data.views[data.codes == c].reshape(-1, 2).mean(axis=0) for c in range(n_classes)]
    )
    sums = dict.fromkeys(
        (
            *("loss", "sup", "cover", "sub", "free_sub", "free_sup", "free_cover", "log_col"),
            *("tau", "collision_loss", "excess", "d"),
        ),
        0.0,
    )
    weight = 1.0 / (len(keys) ** (negatives + 1))
    for x, a in keys:
        positives = [b for b in range(m) if b != a or not data.distinct]
        f, c = data.views[x, a], data.codes[x]
        mean = np.mean([data.views[x, b] for b in positives], axis=0)
        sums["d"] += min(0.0, f @ (mu[c] - mean)) / temperature / len(keys)
        for drawn in itertools.product(keys, repeat=negatives):
            others = [data.codes[y] for y, _ in drawn]
            T = {c, *others}
            ce = math.log(sum(math.exp(f @ (mu[j] - mu[c]) / temperature) for j in T))
            col = others.count(c)
            covered = len(T) == n_classes
            for b in positives:
                w = weight / len(positives)
                u = [f @ (data.views[y, v] - data.views[x, b]) / temperature for y, v in drawn]
                same = [value for value, k in zip(u, others, strict=True) if k == c]
                sums["loss"] += w * math.log(1 + sum(math.exp(value) for value in u))
                sums["collision_loss"] += w * math.log(1 + sum(math.exp(value) for value in same))
                sums["excess"] += w * max([0.0, *same])
                sums["log_col"] += w * math.log1p(col)
                sums["tau"] += w * (col > 0)
                sums["cover"] += w * covered
                sums["sup"] += w * covered * ce
                sums["sub"] += w * (not covered) * ce
                sums["free_sub"] += w * (col == 0 and not covered) * ce
                sums["free_sup"] += w * (col == 0 and covered) * ce
                sums["free_cover"] += w * (col == 0 and covered)
    log = lambda p: math.log(p) if p > 0 else -math.inf  # noqa: E731
    shares = np.bincount(data.codes)
    return Terms(
        n_classes=n_classes,
        uniform=bool((shares == shares[0]).all()),
        negatives=negatives,
        loss=sums["loss"],
        shift=sums["d"],
        supervised=sums["sup"] / sums["cover"] if sums["cover"] else math.nan,
        partial=sums["sub"],
        partial_without_collision=sums["free_sub"],
        log_coverage=log(sums["cover"]),
        log_no_collision=log(1 - sums["tau"]),
        supervised_without_collision=sums["free_sup"],
        log_arora_weight=log(sums["free_cover"]),
        collision=sums["tau"],
        log_collisions=sums["log_col"],
        collision_loss=sums["collision_loss"],
        collision_excess=sums["excess"],
        errors={},
    )


TWO = label_views(circle([0, 40, 120, 170]), np.array([0, 0, 1, 1]), distinct=False)
THREE = label_views(
    circle([0, 40, 120, 170, 240, 290]), np.array([0, 0, 1, 1, 2, 2]), distinct=False
)


def test_two_classes_by_enumeration() -> None:
    # docs/mathematics.md#example-toys-on-the-circle: K = 2, t = .5.
    terms = enumerate_terms(TWO, 2, 0.5)
    assert terms.loss == pytest.approx(0.587546, abs=5e-7)
    assert terms.collision == pytest.approx(0.75)
    assert terms.coverage == pytest.approx(0.75)
    assert terms.supervised == pytest.approx(0.087142, abs=5e-7)
    assert terms.partial == pytest.approx(0, abs=1e-15)
    assert terms.log_collisions == pytest.approx(math.log(2) / 2 + math.log(3) / 4)
    assert terms.shift == pytest.approx(-0.286671, abs=5e-7)
    low, high = lower_bounds(terms), upper_bounds(terms)
    assert low["nozawa-sato"] == pytest.approx(0.056621, abs=1e-6)
    assert low["arora"] == pytest.approx(0.356341, abs=1e-6)
    assert high["nozawa-sato"].value == pytest.approx(1.502943, abs=2e-6)
    assert high["arora"].value == pytest.approx(1.011961, abs=4e-6)


def test_three_classes_by_enumeration() -> None:
    # docs/mathematics.md#example-toys-on-the-circle: a third class, K = 3.
    terms = enumerate_terms(THREE, 3, 0.5)
    assert terms.loss == pytest.approx(0.643298, abs=5e-7)
    assert terms.collision == pytest.approx(0.703704, abs=5e-7)
    assert terms.coverage == pytest.approx(0.444444, abs=5e-7)
    assert terms.supervised == pytest.approx(0.200604, abs=5e-7)
    assert terms.partial / (1 - terms.coverage) == pytest.approx(0.096642, abs=5e-7)
    assert terms.log_collisions == pytest.approx(0.603546, abs=5e-7)
    assert terms.shift == pytest.approx(-0.306594, abs=5e-7)
    low, high = lower_bounds(terms), upper_bounds(terms)
    assert low["nozawa-sato"] == pytest.approx(0.066602, abs=1e-6)
    assert low["arora"] == pytest.approx(0.349200, abs=1e-6)
    assert high["nozawa-sato"].value == pytest.approx(2.795734, abs=5e-6)
    assert high["arora"].value == pytest.approx(1.524043, abs=5e-6)


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("codes", [[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 2], [0, 0, 0, 0]])
def test_exact_terms_against_enumeration(codes: list[int], distinct: bool) -> None:
    data = label_views(circle([0, 47, 118, 171]), np.array(codes), distinct=distinct)
    for negatives in (1, 2, 3):
        naive = enumerate_terms(data, negatives, 0.5)
        for name, value in exact_terms(data, negatives, 0.5).items():
            if name == "supervised" and negatives + 1 < data.urn.n_classes:
                continue  # no draw covers all classes
            if name == "log_arora_weight" and not data.urn.uniform:
                assert value <= naive.log_arora_weight + 1e-12
                assert not naive.coverage or naive.supervised_without_collision >= (
                    math.exp(value) * naive.supervised - 1e-12
                )
                continue
            expected = getattr(naive, name)
            assert value == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize("distinct", [True, False])
def test_sampled_terms_against_enumeration(distinct: bool) -> None:
    data = label_views(circle([0, 47, 118, 171]), np.array([0, 1, 1, 2]), distinct=distinct)
    naive = enumerate_terms(data, 3, 0.5)
    measured = measure_terms(data, 3, 0.5, batches=12_000, seed=3)
    for name, error in measured.errors.items():
        assert abs(getattr(measured, name) - getattr(naive, name)) < 4.5 * error, name


def test_no_violation_on_a_hundred_random_toys() -> None:
    rng = np.random.default_rng(0)
    for trial in range(100):
        n_classes = int(rng.integers(2, 4))
        codes = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=4 - n_classes)])
        views = circle(rng.uniform(0, 360, 4), rng.uniform(0, 60))
        data = label_views(views, codes, distinct=bool(trial % 2))
        terms = enumerate_terms(data, int(rng.integers(1, 4)), rng.choice([0.1, 0.5, 1.0]))
        supervised = 0.0 if math.isnan(terms.supervised) else terms.coverage * terms.supervised
        ours = (supervised + terms.partial + terms.log_collisions) / 2 + terms.shift
        free = terms.supervised_without_collision + terms.partial_without_collision
        assert terms.loss >= ours - 1e-12
        assert terms.loss >= free + terms.log_collisions + terms.shift - 1e-12
        assert terms.collision_loss <= terms.log_collisions + terms.collision_excess + 1e-12
        weight = exact_terms(data, terms.negatives, 0.5)["log_arora_weight"]
        terms = dataclasses.replace(terms, log_arora_weight=weight)
        if not math.isnan(terms.supervised):
            assert lower_bounds(terms)["nozawa-sato"] == pytest.approx(ours)
            for name, bound in upper_bounds(terms).items():
                if bound.valid and bound.log_weight > -math.inf:
                    assert bound.value >= terms.supervised - 1e-12, name


def table_terms(**values: float) -> Terms:
    """A column of the paper's Table 2."""
    given = dict.fromkeys(Terms.__dataclass_fields__, 0.0) | values
    return Terms(**(given | {"n_classes": 10, "uniform": True, "negatives": 31, "errors": {}}))


def test_upper_bounds_of_the_papers_table() -> None:
    # Nozawa & Sato, Table 2, CIFAR-10 and K+1 = 32: 6.55 by the theorem, 6.93 in their notebook.
    terms = table_terms(
        loss=2.02, shift=-1.16, partial=0.52, log_collisions=1.32, log_coverage=math.log(0.69)
    )
    bounds = upper_bounds(terms)
    assert bounds["nozawa-sato"].value == pytest.approx(6.55, abs=0.005)
    assert bounds["nozawa-sato-notebook"].value == pytest.approx(6.93, abs=0.005)
    assert lower_bounds(table_terms(**{**vars(terms), "supervised": 2 * 0.63 / 0.69}))[
        "nozawa-sato"
    ] == pytest.approx(0.39, abs=0.005)


def test_bounds_beyond_the_float_range() -> None:
    bound = upper_bounds(table_terms(loss=3.0, log_coverage=-2000.0))["nozawa-sato"]
    assert bound.value == math.inf
    assert bound.log_value == pytest.approx(2000 + math.log(6))
    assert (
        upper_bounds(table_terms(loss=3.0, log_coverage=-math.inf))["nozawa-sato"].log_value is None
    )


def test_same_class_spread() -> None:
    exact = []
    views, codes = TWO.views, TWO.codes
    for x, y in itertools.permutations(range(4), 2):
        if codes[x] == codes[y]:
            for a, b, c in itertools.product(range(2), repeat=3):
                exact.append(abs(views[x, a] @ (views[y, b] - views[x, c])))
    assert same_class_spread(TWO, pairs=200_000) == pytest.approx(np.mean(exact), rel=0.01)
    single = label_views(circle([0, 90]), np.array([0, 1]))
    assert same_class_spread(single) == 0


@pytest.mark.parametrize(
    ("views", "labels", "message"),
    [
        (np.ones((3, 2)), [0, 1, 1], "shape"),
        (circle([0, 1]) * 2, [0, 1], "length one"),
        (circle([0, 1])[:, :1], [0, 1], "two views"),
        (circle([0, 1]), [0, -1], "without one"),
        (circle([0, 1]), [0], "2 labels"),
        (circle([0, 1, 2, 3]), [0, 0, 2, 2], "none of class 1"),
        (circle([0, 1]), [0, 5], "at most 2 classes"),
    ],
)
def test_bad_data(views: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_views(views, np.array(labels))


def test_a_class_that_evaluation_lacks() -> None:
    with pytest.raises(DataError, match="none of class 2"):
        label_views(circle([0, 1, 2]), np.array([0, 0, 1]), n_classes=3)


def test_bad_arguments() -> None:
    with pytest.raises(UsageError, match="at least one negative"):
        measure_terms(TWO, 0)
    with pytest.raises(UsageError, match="temperature"):
        measure_terms(TWO, 1, 0.0)
    with pytest.raises(UsageError, match="two batches"):
        measure_terms(TWO, 1, batches=1)
