"""How many of the mined negatives are false: an estimate from latent classes, and the truth if known."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.mining.listed import Known
from contrasift.mining.results import Mined
from contrasift.results import LatentClasses

_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Tellers:
    """Latent classes of the corpus by which negatives are judged.

    Attributes:
        classes: one or two, of different encoders.
        used_up: how many were left out because the policy itself compares with them: what it keeps
            out, or lets in, says nothing.
    """

    classes: Sequence[LatentClasses]
    used_up: int = 0


def tellers_of(
    policy_compares: bool, own: LatentClasses | None, other: LatentClasses | None
) -> Tellers:
    """Which classes can judge: not those that the policy decided by."""
    given = [one for one in (None if policy_compares else own, other) if one is not None]
    return Tellers(given, int(policy_compares and own is not None))


def judged(mined: Mined, known: Known, tellers: Tellers) -> Mined:
    """The same with `false_probability` and `known_false`.

    A pair's probability is that a negative is in the latent class of one of the query's positives:
    the score of its class if its class is one of theirs, else 0; of two encoders, the lower. Where
    look-alikes share a class it errs upwards (see `false_negatives`).
    """
    queries = np.arange(len(mined.negatives))
    there = mined.negatives >= 0
    probability = None
    for classes in tellers.classes:
        same = known.of_own_class(classes.codes, queries, mined.negatives)
        own = np.where(same, np.asarray(classes.score, np.float32)[mined.negatives], np.float32(0))
        probability = own if probability is None else np.minimum(probability, own)
    if probability is not None:
        probability = np.where(there, probability, np.float32(np.nan))
    false = None
    if known.labels is not None or known.relevant is not None:
        false = np.zeros(there.shape, dtype=bool)
        if known.labels is not None:
            false |= known.of_own_class(known.labels, queries, mined.negatives)
        if known.relevant is not None:
            false |= known.relevant.holds(queries, mined.negatives)
    return dataclasses.replace(mined, false_probability=probability, known_false=false)


def by_rank(mined: Mined) -> list[dict[str, Any]]:
    """For every rank from the hardest: similarity, estimated and true share of false negatives."""
    rows = []
    for rank in range(mined.negatives.shape[1]):
        there = mined.negatives[:, rank] >= 0
        if not there.any():
            break
        similar = mined.similarity[there, rank]
        low, median, high = np.quantile(similar, [0.1, 0.5, 0.9])
        row: dict[str, Any] = {
            "rank": rank + 1,
            "queries": int(there.sum()),
            "place": float(np.median(mined.places[there, rank])),
            "similarity": float(similar.mean()),
            "similarity_10": float(low),
            "similarity_50": float(median),
            "similarity_90": float(high),
            "below_positive": float((mined.positive_similarity[there] - similar).mean()),
        }
        if mined.false_probability is not None:
            row["estimate"] = float(mined.false_probability[there, rank].mean())
        if mined.known_false is not None:
            row |= _share("truth", mined.known_false[there, rank])
        rows.append(row)
    return rows


def _share(name: str, flags: np.ndarray) -> dict[str, float]:
    """A share and its 95 % interval (Wilson 1927)."""
    n, share = flags.size, float(flags.mean())
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return {name: share, f"{name}_low": float(centre - half), f"{name}_high": float(centre + half)}


def judgement(mined: Mined, tellers: Tellers) -> dict[str, Any]:
    """Everything that is said of what was mined, in numbers."""
    there = mined.negatives >= 0
    found: dict[str, Any] = {
        "negatives": int(there.sum()),
        "queries_kept": int(mined.kept.sum()),
        "queries_left_out": int((~mined.kept).sum()),
        "too_few_because": dict(Counter(mined.reasons[mined.reasons != ""].tolist()).most_common()),
        "encoders_that_judge": len(tellers.classes),
        "classes_used_by_the_policy": tellers.used_up,
        "positive_similarity": _quantiles(mined.positive_similarity),
        "above_their_positive": float(
            (mined.similarity > mined.positive_similarity[:, None])[there].mean()
        )
        if there.any()
        else 0.0,
        "by_rank": by_rank(mined),
    }
    if mined.false_probability is not None and there.any():
        found["estimate"] = float(mined.false_probability[there].mean())
    if mined.known_false is not None and there.any():
        found |= _share("truth", mined.known_false[there])
    return found


def _quantiles(values: np.ndarray) -> list[float]:
    return [float(one) for one in np.quantile(values, [0.1, 0.5, 0.9])] if values.size else []


def likeliest_false(mined: Mined) -> tuple[np.ndarray, np.ndarray]:
    """The 24 pairs that are most probably false: by probability, then by similarity to the query.

    Each query is in one of them at most.

    Args:
        mined: judged.

    Returns:
        Queries and the column of each one's negative, int64 [m].
    """
    score = np.where(
        mined.negatives >= 0, mined.similarity - mined.positive_similarity[:, None], -9
    )
    if mined.false_probability is not None:
        score = score + 4 * np.nan_to_num(mined.false_probability)
    column = score.argmax(axis=1)
    best = score[np.arange(column.size), column]
    order = np.argsort(-best, kind="stable")[:24]
    order = order[best[order] > -5]
    return order, column[order]
