"""How well two partitions of the same rows agree, and how sure one can be of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.errors import DataError


def class_agreement(classes: object, labels: object) -> dict[str, float]:
    """How well classes match labels that they did not see; rows with negative labels are left out.

    purity = (1/n) Σ_k max_l |{i: class k, label l}|; ARI is the Rand index adjusted for chance
    (Hubert and Arabie), NMI = I(class; label) / mean of both entropies.

    Args:
        classes: [n]; integers or text.
        labels: [n]; integers or text.

    Returns:
        `ari`, `nmi` and `purity`, each at most 1, and `n`, the number of labelled rows; only
        `n` when there is none.

    Raises:
        DataError: the two have different lengths.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    found = np.asarray(classes)
    found, _ = class_codes(found, found.shape[0])
    true = label_codes(labels, found.shape[0])
    found, true = found[true >= 0], true[true >= 0]
    if found.size == 0:
        return {"n": 0.0}
    table = np.zeros((found.max() + 1, true.max() + 1), dtype=np.int64)
    np.add.at(table, (found, true), 1)
    return {
        "ari": float(adjusted_rand_score(true, found)),
        "nmi": float(normalized_mutual_info_score(true, found)),
        "purity": float(table.max(axis=1).sum() / found.size),
        "n": float(found.size),
    }


def class_stability(partitions: Sequence[np.ndarray]) -> dict[str, Any]:
    """How much a method's own seeds agree: the adjusted Rand index of every pair of partitions.

    Args:
        partitions: [n] each; codes found with different seeds.

    Returns:
        `ari`, the mean over pairs; `ari_min`, the worst pair; `partitions`, how many there are.

    Raises:
        DataError: fewer than two, or of different lengths.
    """
    from sklearn.metrics import adjusted_rand_score

    if len(partitions) < 2:
        raise DataError("at least two partitions to compare", f"{len(partitions)}")
    lengths = sorted({len(codes) for codes in partitions})
    if len(lengths) > 1:
        raise DataError(
            "partitions of the same examples", f"lengths {lengths[0]} and {lengths[-1]}"
        )
    values = [float(adjusted_rand_score(a, b)) for a, b in combinations(partitions, 2)]
    return {"ari": float(np.mean(values)), "ari_min": min(values), "partitions": len(partitions)}


def selection_overlap(selections: Sequence[np.ndarray]) -> float:
    """Mean over pairs of |A ∩ B| / max(|A|, |B|); 1 for selections that keep nothing.

    Two random selections of a share f of the pool overlap by f.

    Args:
        selections: ascending indices each, at least two.
    """
    shares = [
        np.intersect1d(a, b).size / max(len(a), len(b), 1) if len(a) or len(b) else 1.0
        for a, b in combinations(selections, 2)
    ]
    return float(np.mean(shares))


def label_codes(labels: object, n: int) -> np.ndarray:
    """Codes from 0, with −1 wherever the label is a negative integer."""
    codes, names = class_codes(labels, n)
    if names.dtype.kind in "iu":
        n_missing = int((names < 0).sum())
        codes = np.maximum(codes - n_missing, -1)
    return codes


def renumber(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same partition, numbered by decreasing size, then by lowest member, without gaps.

    Args:
        codes: int64 [n].

    Returns:
        The new codes, and which old code each new one was.
    """
    old, lowest, dense, sizes = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((lowest, -sizes))
    new = np.empty(sizes.size, dtype=np.int64)
    new[order] = np.arange(sizes.size)
    return new[dense.reshape(-1)], old[order]
