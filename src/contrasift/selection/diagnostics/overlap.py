"""How alike two selections of one pool are: what they share, how they rank, which classes they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from contrasift.errors import UsageError


@dataclass(frozen=True)
class Overlap:
    """What two selections share, beside what chance gives to random ones of their sizes.

    Attributes:
        shared: |A ∩ B|.
        share: |A ∩ B| / min(|A|, |B|); 0 if one is empty.
        share_by_chance: its mean over independent random selections, max(|A|, |B|)/n.
        jaccard: |A ∩ B| / |A ∪ B|; 0 if both are empty.
        jaccard_by_chance: the same ratio at the mean |A ∩ B| = |A||B|/n.
    """

    shared: int
    share: float
    share_by_chance: float
    jaccard: float
    jaccard_by_chance: float


@dataclass(frozen=True)
class Balance:
    """How a selection is spread over classes.

    Attributes:
        entropy: −Σ p ln p / ln K of the kept shares p; 1 where all classes are held alike, 0 with
            one class.
        pool_entropy: the same of the pool.
        total_variation: ½ Σ |p_kept − p_pool|; 0 where every class is kept in proportion.
    """

    entropy: float
    pool_entropy: float
    total_variation: float


def overlap(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Overlap:
    """What two selections share.

    Args:
        first: one flag an example.
        second: the same of another selection.
    """
    n, a, b = first.size, int(first.sum()), int(second.sum())
    shared = int((first & second).sum())
    expected = a * b / n if n else 0.0
    return Overlap(
        shared=shared,
        share=_ratio(shared, min(a, b)),
        share_by_chance=_ratio(expected, min(a, b)),
        jaccard=_ratio(shared, a + b - shared),
        jaccard_by_chance=_ratio(expected, a + b - expected),
    )


def rank_correlation(first: Int64[np.ndarray, " n"], second: Int64[np.ndarray, " n"]) -> float:
    """Spearman's ρ of two rankings without ties: 1 − 6 Σ (a_i − b_i)² / (n(n² − 1)).

    Args:
        first: place of every example in one ranking, a permutation of 0..n−1.
        second: in the other.

    Returns:
        in [−1, 1]; NaN of fewer than two examples.
    """
    n = first.size
    if n < 2:
        return float("nan")
    gap = (first - second).astype(np.float64)
    return float(1 - 6 * (gap @ gap) / (n * (float(n) ** 2 - 1)))


def rank_correlation_within(
    first: Int64[np.ndarray, " n"],
    second: Int64[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"],
) -> float:
    """Mean over classes of Spearman's ρ within each; classes of one example have none.

    Args:
        first: place of every example in one ranking.
        second: in the other.
        codes: class of every example.

    Returns:
        in [−1, 1]; NaN if no class has two examples.
    """
    found = []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        if rows.size > 1:
            found.append(rank_correlation(_places(first[rows]), _places(second[rows])))
    return float(np.mean(found)) if found else float("nan")


def class_balance(
    selected: Bool[np.ndarray, " n"], codes: Int64[np.ndarray, " n"], n_classes: int
) -> Balance:
    """How evenly, and how much in proportion, a selection holds the classes.

    Args:
        selected: one flag an example.
        codes: class of every example; negative: unknown, left out.
        n_classes: K.

    Raises:
        UsageError: a code of K or more.
    """
    known = codes >= 0
    if known.any() and codes.max() >= n_classes:
        raise UsageError(f"classes below {n_classes}", f"{codes.max()}")
    pool = np.bincount(codes[known], minlength=n_classes)
    kept = np.bincount(codes[known & selected], minlength=n_classes)
    share = kept / max(kept.sum(), 1)
    whole = pool / max(pool.sum(), 1)
    return Balance(_entropy(share), _entropy(whole), float(np.abs(share - whole).sum() / 2))


def _places(ranks: np.ndarray) -> np.ndarray:
    places = np.empty(ranks.size, dtype=np.int64)
    places[np.argsort(ranks, kind="stable")] = np.arange(ranks.size)
    return places


def _entropy(shares: np.ndarray) -> float:
    if shares.size < 2:
        return 0.0
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum() / np.log(shares.size)) + 0.0


def _ratio(part: float | int, whole: float | int) -> float:
    return float(part / whole) if whole else 0.0
