"""Classes from a few labels: a linear classifier on the embeddings, or labels spread over the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.graph import NeighbourGraph, build_graph, class_means, propagate, unit_means
from contrasift.classes.neighbours import Searching, check_memory
from contrasift.classes.rows import Rows
from contrasift.evaluation.softmax import LinearFit, covariance_of, fit_softmax

# Inverse strengths of regularisation that are tried, from strong to weak; features have a mean
# square of 1 a column.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_FOLDS = 3
# Gradients to which fits are brought while strengths are compared, and the one that is kept.
_CHOOSING, _FINAL = 1e-4, 1e-5


def few_label_classes(
    rows: Rows, known: np.ndarray, n_classes: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Logistic regression on the labelled rows, which then predicts all.

    Minimises C · Σ_i −log p(y_i | x_i) + ‖W‖²/2 (multinomial, L-BFGS) on rows that are centred and
    scaled to a mean square of 1 a column. C is the one among 0.001 … 10 with the highest accuracy in
    cross-validation in 3 folds, stratified by label; the strongest regularisation on equal ones.

    Args:
        rows: of the pool.
        known: int64 [n]; codes 0..K−1, −1 where unknown.
        n_classes: K.
        seed: of the folds.

    Returns:
        codes int64 [n]: predicted, but given for labelled rows; score float32 [n], the predicted
        probability of the class, 1 for labelled rows; facts, with `heldout_accuracy`, that of the
        folds on labelled rows that they did not see.
    """
    from threadpoolctl import threadpool_limits

    labelled = np.flatnonzero(known >= 0)
    points, targets = rows.gather(labelled), known[labelled]
    mean = points.mean(axis=0)
    points -= mean
    scale = np.float32(1 / (np.sqrt(np.mean(points**2)) or 1.0))
    points *= scale
    # Products this small are no faster on more threads, and much slower where cores are busy.
    with threadpool_limits(1, "blas"):
        curve = _cross_validate(points, targets, seed)
        best = max(curve, key=lambda point: point["accuracy"]) if curve else None
        strength = best["strength"] if best else STRENGTHS[len(STRENGTHS) // 2]
        weight = _weight(strength, targets.size)
        fit = fit_softmax(points, targets, n_classes, weight, tolerance=_FINAL)
    codes = np.empty(rows.shape[0], dtype=np.int64)
    score = np.empty(rows.shape[0], dtype=np.float32)
    for block in row_blocks(rows.shape[0], rows.row_bytes + 16 * n_classes):
        scores = fit.scores((rows.read(block) - mean) * scale)
        codes[block] = scores.argmax(axis=1)
        scores -= scores.max(axis=1, keepdims=True)
        score[block] = 1 / np.exp(scores).sum(axis=1)
    codes[labelled], score[labelled] = targets, 1
    facts: dict[str, Any] = {"labelled": int(labelled.size), "strength": strength}
    if best:
        facts |= {"heldout_accuracy": best["accuracy"], "strength_curve": curve}
    return codes, score, facts


def propagate_classes(
    rows: Rows,
    known: np.ndarray,
    n_classes: int,
    *,
    n_neighbours: int = 10,
    kind: str = "union",
    seed: int = 0,
    searching: Searching | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """A few labels spread over the graph of nearest neighbours: see `graph.propagate`.

    Rows that no label reaches get the class whose mean row is nearest by cosine, and score 0.

    Args:
        rows: of the pool.
        known: int64 [n]; codes 0..K−1, −1 where unknown.
        n_classes: K.
        n_neighbours: k of the graph.
        kind: `mutual` or `union`.
        seed: of the folds and of approximate neighbours.
        searching: how neighbours among many rows are searched.

    Returns:
        codes int64 [n], score float32 [n], and facts, with `heldout_accuracy` in 3 folds of the
        labelled rows and `unreached`, the number of rows that no label reached.
    """
    limit = searching.memory_limit if searching else None
    check_memory(*rows.shape, n_neighbours, limit)
    points = rows.gather()
    graph = build_graph(points, n_neighbours, kind, seed, searching)
    labelled = np.flatnonzero(known >= 0)
    hits = np.zeros(labelled.size)
    for learn, held in _folds(known[labelled], seed):
        some = np.full(known.size, -1, dtype=np.int64)
        some[labelled[learn]] = known[labelled[learn]]
        guess, _, _ = _spread(points, graph, some, n_classes)
        hits[held] = guess[labelled[held]] == known[labelled[held]]
    codes, score, unreached = _spread(points, graph, known, n_classes)
    facts: dict[str, Any] = {
        "labelled": int(labelled.size),
        "neighbours": n_neighbours,
        "graph": kind,
        "edges": int(graph.first.size),
        "unreached": unreached,
    }
    if graph.search:
        facts["neighbours_search"] = dict(graph.search)
    if labelled.size >= _FOLDS:
        facts["heldout_accuracy"] = float(hits.mean())
    return codes, score, facts


def _spread(
    points: np.ndarray, graph: NeighbourGraph, known: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Propagated codes and scores, with unreached rows by the nearest class mean."""
    codes, score = propagate(graph, known, n_classes)
    unreached = np.flatnonzero(codes < 0)
    if unreached.size:
        means = unit_means(class_means(points, codes, n_classes))
        for block in row_blocks(unreached.size, 8 * (n_classes + points.shape[1])):
            some = unreached[block]
            codes[some] = (points[some] @ means.T).argmax(axis=1)
    return codes, score, int(unreached.size)


def _folds(targets: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places to learn from and places held out, with every label spread evenly over the folds.

    The m-th label of a class (in an order drawn with the seed) is held out in fold m mod 3, the
    first of each class counted on from the last of the one before: so a class with one label is
    held out once, and then not known at all. None if there are fewer labels than folds.
    """
    if targets.size < _FOLDS:
        return []
    order = np.random.default_rng(seed).permutation(targets.size)
    order = order[np.argsort(targets[order], kind="stable")]
    fold = np.empty(targets.size, dtype=np.int64)
    fold[order] = np.arange(targets.size) % _FOLDS
    return [(np.flatnonzero(fold != turn), np.flatnonzero(fold == turn)) for turn in range(_FOLDS)]


def _cross_validate(points: np.ndarray, targets: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Held-out accuracy at every strength; empty where folds cannot be made."""
    folds = [
        (learn, held) for learn, held in _folds(targets, seed) if np.unique(targets[learn]).size > 1
    ]
    if len(folds) < _FOLDS:
        return []
    hits = np.zeros(len(STRENGTHS))
    for learn, held in folds:
        for place, (names, fit) in enumerate(_fit_path(points[learn], targets[learn])):
            guess = names[fit.scores(points[held]).argmax(axis=1)]
            hits[place] += (guess == targets[held]).sum()
    return [
        {"strength": strength, "accuracy": float(hit / targets.size)}
        for strength, hit in zip(STRENGTHS, hits, strict=True)
    ]


def _fit_path(points: np.ndarray, targets: np.ndarray) -> list[tuple[np.ndarray, LinearFit]]:
    """The classes that are there, and a fit at each strength, begun where the last one ended."""
    names, codes = np.unique(targets, return_inverse=True)
    covariance = covariance_of(points)
    path: list[tuple[np.ndarray, LinearFit]] = []
    fit = None
    for strength in STRENGTHS:
        weight = _weight(strength, codes.size)
        fit = fit_softmax(points, codes, names.size, weight, fit, covariance, tolerance=_CHOOSING)
        path.append((names, fit))
    return path


def _weight(strength: float, n: int) -> float:
    """λ against the mean loss, for C against the sum of n losses."""
    return 1 / (strength * n)
