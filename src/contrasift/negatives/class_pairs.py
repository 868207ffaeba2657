"""Which classes lie near, against or across one another (arXiv 2010.06682, Tables A2–A4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.negatives.profiles import unit_vectors


@dataclass(frozen=True)
class ClassPair:
    """Two classes and how their examples lie to each other.

    Attributes:
        query: class of the queries.
        negative: class of the negatives.
        similarity: mean cosine.
        count: how many pairs of examples it is a mean of.
    """

    query: int
    negative: int
    similarity: float
    count: int


@dataclass(frozen=True)
class ClassPairs:
    """The extremes among pairs of different classes.

    Attributes:
        correlated: largest mean cosine first.
        anticorrelated: smallest first.
        orthogonal: nearest to 0 first.
        n_pairs: pairs of classes with enough examples.
        fewest: how many pairs of examples were asked for.
    """

    correlated: tuple[ClassPair, ...]
    anticorrelated: tuple[ClassPair, ...]
    orthogonal: tuple[ClassPair, ...]
    n_pairs: int
    fewest: int


def class_pairs(
    queries: np.ndarray,
    negatives: np.ndarray,
    query_labels: np.ndarray,
    negative_labels: np.ndarray,
    *,
    top: int = 10,
    fewest: int = 4,
) -> ClassPairs:
    """The most correlated, most anti-correlated and most orthogonal pairs of classes (Tables A2–A4).

    Args:
        queries: real [q, d]; scaled to length one.
        negatives: real [n, d]; scaled to length one.
        query_labels: int [q]; codes from 0.
        negative_labels: int [n]; codes from 0.
        top: pairs to name of each kind.
        fewest: leave out pairs of classes with fewer pairs of examples: their means are noise
            (the paper's cells average about 4).

    Returns:
        The pairs; a pair of equal classes is none of them.
    """
    first, second = unit_vectors(queries, negatives)
    n_classes = int(max(query_labels.max(), negative_labels.max())) + 1
    # Σ over pairs of examples = product of the classes' sums.
    sums = np.zeros((2, n_classes, first.shape[1]))
    np.add.at(sums[0], query_labels, first)
    np.add.at(sums[1], negative_labels, second)
    counts = np.outer(
        np.bincount(query_labels, minlength=n_classes),
        np.bincount(negative_labels, minlength=n_classes),
    )
    np.fill_diagonal(counts, 0)
    rows, columns = np.nonzero(counts >= fewest)
    means = (sums[0] @ sums[1].T)[rows, columns] / counts[rows, columns]

    def best(order: np.ndarray) -> tuple[ClassPair, ...]:
        return tuple(
            ClassPair(
                int(rows[i]), int(columns[i]), float(means[i]), int(counts[rows[i], columns[i]])
            )
            for i in order[:top]
        )

    ascending = np.argsort(means, kind="stable")
    return ClassPairs(
        best(ascending[::-1]),
        best(ascending),
        best(np.argsort(np.abs(means), kind="stable")),
        rows.size,
        fewest,
    )
