"""How many of the hardest negatives are of the query's own class, without labels, and which should go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.negatives.profiles import (
    ALL,
    HARD,
    Band,
    Profile,
    Relation,
    similarity_blocks,
    unit_vectors,
)


@dataclass(frozen=True)
class FalseNegatives:
    """How many of the hardest negatives are of the query's own class, by latent classes.

    Attributes:
        band: percentiles of difficulty.
        estimate: share with the query's latent class: without labels, and upwards where similarity
            decides both what is hard and what is one class.
        agreed: share with the query's latent class under two encoders; None with one.
        truth: share with its label; None without labels.
        precision: of the negatives in the band with its latent class, the share with its label.
        recall: of those with its label, the share with its latent class.
    """

    band: Band
    estimate: float
    agreed: float | None = None
    truth: float | None = None
    precision: float | None = None
    recall: float | None = None


def false_negatives(
    profiles: Sequence[Profile], latent: str, label: str = "", both: str = "", agreed: str = ""
) -> tuple[FalseNegatives, ...]:
    """Estimate the share of false negatives in every band, and hold it against labels.

    Look-alikes of another class are hard, and k-means on the same vectors puts them into one
    latent class: its estimate errs upwards. Many of these errors are the encoder's own, so that
    requiring the same of a second encoder's classes removes them. Measured for encoders of 10,000
    images beside their run's proxy, hardest 0.1, 1 and 5 %: 62 kinds of glyphs 85, 70, 32 % by one,
    58, 37, 13 % by both, 65, 38, 18 % true; Fashion-MNIST 95, 91, 84 % by one, 85, 81, 71 % by
    both, 70, 68, 61 % true. What looks alike to every encoder still counts as false.

    Args:
        profiles: one a replicate.
        latent: name of the relation that tells the same latent class.
        label: name of the one that tells the same label; empty: none.
        both: name of the one that tells both at once; empty: none.
        agreed: name of the one that tells the same latent class under two encoders; empty: none.

    Returns:
        One estimate a band, and one for all negatives, (0, 100).
    """
    found = []
    for band in [*profiles[0].by_band[latent], ALL]:

        def mean(name: str, band: Band = band) -> float:
            whole = band == ALL
            return float(
                np.mean([(p.overall[name] if whole else p.by_band[name][band]) for p in profiles])
            )

        estimate, twice = mean(latent), mean(agreed) if agreed else None
        if not label:
            found.append(FalseNegatives(band, estimate, twice))
            continue
        truth, shared = mean(label), mean(both)
        found.append(
            FalseNegatives(
                band,
                estimate,
                twice,
                truth,
                shared / estimate if estimate else None,
                shared / truth if truth else None,
            )
        )
    return tuple(found)


# Which share of a band must be thought false before it is suggested to go: see `suggest_band`.
_ENOUGH_OF_TWO, _ENOUGH_OF_ONE = 0.5, 0.75


@dataclass(frozen=True)
class Suggestion:
    """Which band to leave out of training.

    Attributes:
        policy: text of the policy that leaves it out; `all` where nothing should go.
        reason: in words and numbers.
    """

    policy: str
    reason: str


def suggest_band(estimates: Sequence[FalseNegatives]) -> Suggestion:
    """Suggest which of the hardest negatives to drop, from estimates without labels.

    The widest band (100 − p, 100) of the analysis is suggested in which at least half of the
    negatives are thought false, and which is no wider than the share of all negatives that are
    thought false: in paper 002 removing the hardest 0.1 % helps where 0.1 % of all negatives are
    of the query's class, while the hardest 5 % as a whole are what a run learns from. One encoder's
    estimate errs upwards by up to a factor of 1.9 (see `false_negatives`): where no second one
    agrees, three quarters are asked for instead of half.
    """
    twice = all(estimate.agreed is not None for estimate in estimates)
    rates = {one.band: one.estimate if one.agreed is None else one.agreed for one in estimates}
    needed = _ENOUGH_OF_TWO if twice else _ENOUGH_OF_ONE
    overall = next(one.estimate for one in estimates if one.band == ALL)
    by = "share the query's latent class" + (
        " under two encoders" if twice else " (an upper estimate: look-alikes count as one class)"
    )
    fits = [
        band
        for band, rate in rates.items()
        if band[1] == 100
        and band[0] >= HARD[0]
        and rate >= needed
        and (100 - band[0]) / 100 <= overall
    ]
    if fits:
        low = min(band[0] for band in fits)
        width = float(f"{100 - low:.10g}")
        return Suggestion(
            f"difficulty(0,{low:g})",
            f"among the hardest {width:g} %, {rates[(low, 100)]:.0%} {by}; of all negatives "
            f"{overall:.1%}: more harm than use",
        )
    hardest = max((band for band in rates if band[1] == 100 and band[0] > 0), key=lambda b: b[0])
    width = float(f"{100 - hardest[0]:.10g}")
    return Suggestion(
        "all",
        f"even among the hardest {width:g} %, only {rates[hardest]:.0%} {by}; of all negatives "
        f"{overall:.1%}; {needed:.0%} are asked for: what would go is mostly worth learning from",
    )


@dataclass(frozen=True)
class LikelyPairs:
    """Pairs of a query and a negative that probably show the same.

    Attributes:
        queries: int64 [m]; rows.
        negatives: int64 [m]; rows.
        similarity: float64 [m]; descending.
    """

    queries: np.ndarray
    negatives: np.ndarray
    similarity: np.ndarray


def likeliest_false_negatives(
    queries: np.ndarray, negatives: np.ndarray, same: Relation | None = None, count: int = 24
) -> LikelyPairs:
    """Each query's hardest negative (of its latent class), the most similar pairs first.

    Args:
        queries: real [q, d]; scaled to length one.
        negatives: real [n, d]; scaled to length one.
        same: the same latent class; None: any.
        count: pairs at most; each query and each negative is in one of them.
    """
    first, second = unit_vectors(queries, negatives)
    column, value = np.zeros(len(first), dtype=np.int64), np.empty(len(first))
    for rows, similarity in similarity_blocks(first, second):
        if same is not None:
            similarity = np.where(same.values(rows) > 0, similarity, -np.inf)
        column[rows] = similarity.argmax(axis=1)
        value[rows] = similarity.max(axis=1)
    order = np.argsort(-value, kind="stable")
    order = order[np.isfinite(value[order])]
    # The first query to take a negative is the most similar to it.
    order = order[np.sort(np.unique(column[order], return_index=True)[1])][:count]
    return LikelyPairs(order, column[order], value[order])
