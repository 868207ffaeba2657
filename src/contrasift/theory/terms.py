"""The terms of the bounds, measured on labelled views: losses, coverage, collisions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.theory.coupon import (
    collision_probability,
    expected_log_collisions,
    log_coverage_by_anchor,
    log_coverage_probability,
    log_no_collision_probability,
)
from contrasift.theory.urns import Urn, urn_from_priors

_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Terms:
    """Every term of the bounds for one K.

    Attributes:
        n_classes: C.
        uniform: whether all classes are equally likely.
        negatives: K.
        loss: L_Info.
        shift: d ≤ 0.
        supervised: L_sup, the cross-entropy of the mean classifier given that all classes are there.
        partial: (1−υ) L_sub = E[CE_T; |T| < C].
        partial_without_collision: E[CE_T; Col = 0, |T| < C].
        log_coverage: ln υ_{K+1}.
        log_no_collision: ln(1 − τ_K).
        supervised_without_collision: E[CE_T; Col = 0, |T| = C].
        log_arora_weight: ln of the largest w with supervised_without_collision ≥ w L_sup whatever
            the features: min_c of P(c, Col = 0, |T| = C) / P(c | |T| = C). For equally likely classes
            it is P(Col = 0, |T| = C), and there is equality.
        collision: τ_K.
        log_collisions: E ln(Col + 1).
        collision_loss: E ln(1 + Σ e^{u_k}) over the negatives of the anchor's class, a part of L_Info.
        collision_excess: E max_k (u_k)⁺ over them; collision_loss ≤ log_collisions + this.
        errors: standard errors of the terms that were sampled; what is missing here is exact.
    """

    n_classes: int
    uniform: bool
    negatives: int
    loss: float
    shift: float
    supervised: float
    partial: float
    partial_without_collision: float
    log_coverage: float
    log_no_collision: float
    supervised_without_collision: float
    log_arora_weight: float
    collision: float
    log_collisions: float
    collision_loss: float
    collision_excess: float
    errors: dict[str, float]

    @property
    def coverage(self) -> float:
        """υ_{K+1}."""
        return math.exp(self.log_coverage)


@dataclass(frozen=True)
class LabelledViews:
    """Unit features of several views of labelled examples, and what they have in common.

    Attributes:
        views: float64 [n, m, d]; m ≥ 2 when positives are distinct.
        codes: int64 [n]; classes 0..C−1, none of them empty.
        distinct: whether the positive is another view than the anchor's.
        means: [C, d]; μ_c.
        urn: the classes as they are drawn: with replacement, by their frequency.
    """

    views: np.ndarray
    codes: np.ndarray
    distinct: bool
    means: np.ndarray
    urn: Urn

    @property
    def shares(self) -> np.ndarray:
        """Frequency of every class."""
        return np.bincount(self.codes) / self.codes.size

    def positive_means(self) -> np.ndarray:
        """μ(x) for every anchor: the mean of the views that its positive can be, [n, m, d]."""
        total = self.views.sum(axis=1, keepdims=True)
        m = self.views.shape[1]
        if self.distinct:
            return (total - self.views) / (m - 1)
        return np.broadcast_to(total / m, self.views.shape)


def label_views(
    views: object, labels: object, *, distinct: bool = True, n_classes: int | None = None
) -> LabelledViews:
    """Check views and labels and take their class means.

    Args:
        views: [n, m, d]; rows of length one.
        labels: int [n]; classes 0..C−1.
        distinct: draw the positive from the other views (the law of independent random views,
            without bias); else from all of them.
        n_classes: C; default: the largest label + 1.

    Returns:
        What every function here takes.

    Raises:
        DataError: wrong shapes, NaN, rows of another length, too few views, missing labels, or a
            class without examples.
    """
    array = np.asarray(views)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind != "f":
        raise DataError(
            "features of views as a float array of shape [examples, views, width]",
            f"shape {array.shape} and dtype {array.dtype}",
        )
    if distinct and array.shape[1] < 2:
        raise DataError("at least two views of every example", "one")
    wide = array.astype(np.float64)
    norms = np.linalg.norm(wide, axis=2)
    if not (np.abs(norms - 1) < _UNIT_TOLERANCE).all():
        raise DataError(
            "features of length one",
            f"lengths from {norms.min():.4g} to {norms.max():.4g}",
            "Divide every feature vector by its length",
        )
    wide /= norms[:, :, None]
    codes = _checked_labels(labels, wide.shape[0], n_classes)
    sums = np.zeros((codes.max() + 1, wide.shape[2]))
    np.add.at(sums, codes, wide.mean(axis=1))
    sizes = np.bincount(codes)
    urn = urn_from_priors(sizes / codes.size)
    return LabelledViews(wide, codes, distinct, sums / sizes[:, None], urn)


def _checked_labels(labels: object, n: int, n_classes: int | None) -> np.ndarray:
    codes = np.asarray(labels)
    if codes.shape != (n,) or codes.dtype.kind not in "iu":
        raise DataError(f"{n} labels, all integers", f"shape {codes.shape} and dtype {codes.dtype}")
    if (codes < 0).any():
        raise DataError(
            "a class for every example",
            f"{int((codes < 0).sum())} without one (a negative label)",
            "Leave these examples out: supervised losses need labels",
        )
    sizes = np.bincount(codes, minlength=n_classes or 0)
    if n_classes is not None and sizes.size > n_classes:
        raise DataError(f"labels below {n_classes}", f"{codes.max()}")
    if sizes.size > n:
        raise DataError(f"at most {n} classes, one example each", f"{sizes.size} classes")
    absent = np.flatnonzero(sizes == 0)
    if absent.size:
        raise DataError(
            "examples of every class",
            f"none of class {absent[0]}" + (f" and {absent.size - 1} more" * (absent.size > 1)),
            "Evaluate on data that has all classes, or number them without gaps",
        )
    return codes.astype(np.int64)


def shift(data: LabelledViews, temperature: float) -> float:
    """d(f) = (1/t) E min{0, f(a)·(μ_c − μ(x))}: what an example differs from its class, ≤ 0.

    Args:
        data: the views.
        temperature: t.

    Returns:
        d, exact for the given views.
    """
    own_class = np.einsum("nmd,nd->nm", data.views, data.means[data.codes])
    own_example = np.einsum("nmd,nmd->nm", data.views, data.positive_means())
    return float(np.minimum(0.0, own_class - own_example).mean() / temperature)


def supervised_losses(
    data: LabelledViews, negatives: int, temperature: float
) -> tuple[float, float, float]:
    """L_sup = E[CE over all classes | |T| = C], and what Arora's bound has of it; exact.

    Given that K+1 draws cover all classes, the anchor is of class c with a probability proportional
    to π_c P(K draws cover the others). With equally likely classes this is 1/C and L_sup the ordinary
    cross-entropy of the mean classifier; by convention it is the ordinary one also where K+1 draws
    cannot cover C classes.

    Args:
        data: the views.
        negatives: K.
        temperature: t.

    Returns:
        L_sup; E[CE; Col = 0, |T| = C]; and ln of the weight that L_sup has in it at least.
    """
    losses = _cross_entropies(data, temperature).mean(axis=1)
    by_class = np.bincount(data.codes, weights=losses) / np.bincount(data.codes)
    urn, shares = data.urn, data.shares
    full, free = log_coverage_by_anchor(urn, negatives)
    group = np.abs(urn.shares[None, :] - shares[:, None]).argmin(axis=1)
    if full[0] == -math.inf:
        return float(shares @ by_class), 0.0, -math.inf
    law = shares * np.exp(full - full.max())[group]
    law /= law.sum()
    weights = np.log(shares) + free[group] - np.log(law)
    return (
        float(law @ by_class),
        float((shares * np.exp(free[group])) @ by_class),
        float(weights.min()),
    )


def _cross_entropies(data: LabelledViews, temperature: float) -> np.ndarray:
    """CE over all classes for every view, [n, m]."""
    logits = data.views @ data.means.T / temperature
    own = np.take_along_axis(logits, data.codes[:, None, None], axis=2)[:, :, 0]
    return _log_sum_exp(logits, axis=2) - own


def _log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    top = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - top).sum(axis=axis)) + np.squeeze(top, axis=axis)


def measure_terms(
    data: LabelledViews,
    negatives: int,
    temperature: float = 0.5,
    *,
    batches: int | None = None,
    seed: int = 0,
) -> Terms:
    """All terms for one K, by random batches where they cannot be computed exactly.

    A batch is K+1 examples drawn with replacement, two views of each: every example's first view is
    an anchor, its second the positive; the other examples' second views are the negatives.

    Args:
        data: the views.
        negatives: K ≥ 1.
        temperature: t > 0.
        batches: how many; default: for about 20,000 anchors, at least 30.
        seed: of the batches.

    Returns:
        The terms; standard errors are those between batches.

    Raises:
        UsageError: K < 1, t ≤ 0, or fewer than two batches.
    """
    if not temperature > 0:
        raise UsageError("a temperature above 0", f"{temperature}")
    if batches is not None and batches < 2:
        raise UsageError("at least two batches", str(batches))
    known = exact_terms(data, negatives, temperature)
    count = batches or max(30, math.ceil(20_000 / (negatives + 1)))
    rows = np.array(list(_batch_terms(data, negatives, temperature, count, seed)))
    means, errors = rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(count)
    return Terms(
        **known,
        **dict(zip(_SAMPLED, means.tolist(), strict=True)),
        errors=dict(zip(_SAMPLED, errors.tolist(), strict=True)),
    )


_SAMPLED = (
    "loss",
    "partial",
    "partial_without_collision",
    "collision_loss",
    "collision_excess",
)


def exact_terms(data: LabelledViews, negatives: int, temperature: float) -> dict[str, Any]:
    """The terms that need no sampling, by their names in `Terms`."""
    urn = data.urn
    supervised, without_collision, log_weight = supervised_losses(data, negatives, temperature)
    return {
        "n_classes": urn.n_classes,
        "uniform": urn.uniform,
        "negatives": negatives,
        "shift": shift(data, temperature),
        "supervised": supervised,
        "supervised_without_collision": without_collision,
        "log_arora_weight": log_weight,
        "log_coverage": log_coverage_probability(urn, negatives + 1),
        "log_no_collision": log_no_collision_probability(urn, negatives),
        "collision": collision_probability(urn, negatives),
        "log_collisions": expected_log_collisions(urn, negatives),
    }


def _batch_terms(
    data: LabelledViews, negatives: int, temperature: float, count: int, seed: int
) -> Iterator[tuple[float, ...]]:
    """The sampled terms of each batch, in the order of `_SAMPLED`."""
    rng = np.random.default_rng(seed)
    n, m, _ = data.views.shape
    size, n_classes = negatives + 1, data.urn.n_classes
    itself = np.eye(size, dtype=bool)
    for _ in range(count):
        examples = rng.integers(n, size=size)
        first = rng.integers(m, size=size)
        second = (first + rng.integers(1 if data.distinct else 0, m, size=size)) % m
        anchors, keys = data.views[examples, first], data.views[examples, second]
        codes = data.codes[examples]
        logits = anchors @ keys.T / temperature
        positives = np.diag(logits)
        losses = _log_sum_exp(logits, axis=1) - positives
        drawn = np.bincount(codes, minlength=n_classes)
        present = np.flatnonzero(drawn)
        to_means = anchors @ data.means[present].T / temperature
        own = to_means[np.arange(size), np.searchsorted(present, codes)]
        entropies = _log_sum_exp(to_means, axis=1) - own
        free = drawn[codes] == 1
        missing = present.size < n_classes
        colliding = (codes[:, None] == codes) & ~itself
        gaps = np.where(colliding, logits - positives[:, None], -np.inf)
        largest = np.maximum(gaps.max(axis=1), 0.0)
        collision = np.log(np.exp(-largest) + np.exp(gaps - largest[:, None]).sum(axis=1)) + largest
        yield (
            float(losses.mean()),
            float(entropies.mean() * missing),
            float((entropies * free).mean() * missing),
            float(collision.mean()),
            float(largest.mean()),
        )


def same_class_spread(data: LabelledViews, *, pairs: int = 100_000, seed: int = 0) -> float:
    """E |f(a(x))·(f(a'(x')) − f(a'(x)))| over x ≠ x' of one class: the row "Collision bound".

    As the paper's notebook reports it: without 1/t, and not a bound on E ln(Col + 1). Small when
    examples of a class do not spread.

    Args:
        data: the views; classes of one example are left out.
        pairs: how many are sampled.
        seed: of the sampling.

    Returns:
        The mean; 0 when no class has two examples.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(data.codes)
    usable = np.flatnonzero(sizes[data.codes] > 1)
    if usable.size == 0:
        return 0.0
    order = np.argsort(data.codes, kind="stable")
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty(data.codes.size, dtype=np.int64)
    place[order] = np.arange(data.codes.size) - start[data.codes[order]]
    anchor = usable[rng.integers(usable.size, size=pairs)]
    codes = data.codes[anchor]
    jump = 1 + rng.integers(sizes[codes] - 1)
    other = order[start[codes] + (place[anchor] + jump) % sizes[codes]]
    m = data.views.shape[1]
    first = rng.integers(m, size=pairs)
    second = (first + rng.integers(1 if data.distinct else 0, m, size=pairs)) % m
    view = data.views[anchor, first]
    gap = data.views[other, rng.integers(m, size=pairs)] - data.views[anchor, second]
    return float(np.abs(np.einsum("pd,pd->p", view, gap)).mean())
