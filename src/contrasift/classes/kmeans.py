"""k-means by faiss: fitted on a sample, assigned in blocks, with the number of classes perhaps chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.classes.graph import build_graph, modularity
from contrasift.classes.rows import Rows, sample_of
from contrasift.errors import UsageError

# k-means fits on all rows up to this many, or this many a class if that is more; beyond, on a
# sample. faiss's own default is 256 a class, which is few when there are few classes.
FIT_ROWS = 262_144
FIT_ROWS_PER_CLASS = 256
# Float32 matrix products agree with exact ones to about 1e-6 of the lengths that enter: two
# centroids closer than this are compared again in float64, so that rounding decides nothing.
_CLOSE_CALL = 2e-5
# Numbers of classes that are tried between the ends of a range, and on how many rows at most.
_CURVE_POINTS = 8
_CURVE_ROWS = 32_768
_CURVE_ROWS_PER_CLASS = 16
_CURVE_NEIGHBOURS = 10


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        codes: int64 [n]; number of the nearest centroid.
        score: float32 [n]; 1 − a/b for the similarity to the own centroid and the next.
        inertia: Σ_i ‖x_i − c_{k(i)}‖².
        fitted_on: rows that the centroids were fitted on.
    """

    codes: np.ndarray
    score: np.ndarray
    inertia: float
    fitted_on: int


Assigned = tuple[np.ndarray, np.ndarray, float]


def kmeans(
    rows: Rows,
    n_classes: int,
    *,
    seed: int = 0,
    restarts: int = 5,
    iterations: int = 25,
    assigning: Callable[[Rows, np.ndarray], Assigned] | None = None,
) -> Clusters:
    """Minimise Σ_i ‖x_i − c_{k(i)}‖² over centroids c and assignments k.

    Above 262,144 rows (or 256 a class, if that is more) the centroids are fitted on a sample; every
    row is then assigned in blocks.

    Args:
        rows: of the pool.
        n_classes: number of centroids.
        seed: of the starts and of the sample.
        restarts: starts; the one with the best objective is kept.
        iterations: steps a start.
        assigning: does what `assign` does, elsewhere (`contrasift.engines.assigning`).

    Raises:
        UsageError: fewer than 1 or more classes than rows, a count below 1.
        DataError: NaN, infinity, or a row without a direction.
    """
    n = rows.shape[0]
    if restarts < 1 or iterations < 1:
        raise UsageError("restarts and iterations of at least 1", f"{restarts} and {iterations}")
    if not 1 <= n_classes <= n:
        raise UsageError(
            f"between 1 class and as many as there are examples ({n})", f"n_classes = {n_classes}"
        )
    sample = sample_of(n, max(FIT_ROWS, FIT_ROWS_PER_CLASS * n_classes), seed)
    points = rows.gather(sample)
    centroids = _fit(points, n_classes, seed, restarts, iterations, rows.spherical)
    fitted_on = points.shape[0]
    del points
    codes, score, inertia = (assigning or assign)(rows, centroids)
    return Clusters(codes, score, inertia, fitted_on)


def choose_n_classes(
    rows: Rows, lowest: int, highest: int, *, seed: int = 0
) -> tuple[int, list[dict[str, Any]]]:
    """The number of classes in a range that cuts the fewest neighbours apart, as chance goes.

    The criterion looks at no labels: it is the modularity of the classes in the graph of the 10
    nearest neighbours (`graph.modularity`). It is reckoned at up to 8 numbers, spaced by equal
    factors, on up to 32,768 rows (or 16 a class, if that is more); the smallest number of those
    with the highest value is taken.

    Args:
        rows: of the pool.
        lowest: first number of the range.
        highest: last number of the range.
        seed: of the starts and of the sample.

    Returns:
        The number, and one `{n_classes, modularity, silhouette}` for every number tried; the
        silhouette is the mean score of the rows.

    Raises:
        UsageError: an empty range, or one outside 1 … n.
    """
    n = rows.shape[0]
    if not 1 <= lowest <= highest <= n:
        raise UsageError(
            f"a range of classes within 1 and the number of examples ({n})", f"{lowest}:{highest}"
        )
    which = sample_of(n, max(_CURVE_ROWS, _CURVE_ROWS_PER_CLASS * highest), seed)
    some = Rows(rows.gather(which), None, spherical=False)
    graph = build_graph(some.values, _CURVE_NEIGHBOURS, "union", seed)
    tried = np.unique(np.geomspace(lowest, highest, _CURVE_POINTS).round().astype(int))
    curve: list[dict[str, Any]] = []
    for number in tried.tolist():
        centroids = _fit(some.values, number, seed, 2, 25, rows.spherical)
        codes, score, _ = assign(some, centroids)
        value = modularity(graph, codes)
        curve.append({"n_classes": number, "modularity": value, "silhouette": float(score.mean())})
    return int(max(curve, key=lambda point: point["modularity"])["n_classes"]), curve


def _fit(
    points: np.ndarray, k: int, seed: int, restarts: int, iterations: int, spherical: bool
) -> np.ndarray:
    """Centroids by faiss; the points themselves if there is one for each class."""
    n, d = points.shape
    if k == n:
        return points.copy()
    import faiss

    solver = faiss.Kmeans(
        d,
        k,
        niter=iterations,
        nredo=restarts,
        spherical=spherical,
        seed=seed % (1 << 31),
        min_points_per_centroid=1,  # fewer are fine, and faiss would say otherwise on stderr
        max_points_per_centroid=n,
    )
    solver.train(points)
    return np.asarray(solver.centroids, dtype=np.float32).reshape(k, d)


def assign(rows: Rows, centroids: np.ndarray) -> Assigned:
    """The nearest centroid of every row, its score, and the sum of squared lengths to it."""
    n = rows.shape[0]
    codes, score = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float32)
    inertia = 0.0
    for block in assigned_blocks(rows, len(centroids)):
        codes[block], score[block], own = assign_block(rows, block, centroids)
        inertia += own
    return codes, score, inertia


def assigned_blocks(rows: Rows, n_classes: int) -> list[slice]:
    """The blocks in which `assign` reads rows; sums of floats depend on them."""
    n, d = rows.shape
    return row_blocks(n, 4 * n_classes + 24 * d + rows.row_bytes)


def assign_block(rows: Rows, block: slice, centroids: np.ndarray) -> Assigned:
    """`assign` for the rows of one block."""
    wide = centroids.astype(np.float64)
    part = rows.read(block)
    first, second = _two_nearest(part, wide)
    own = _lengths(part, wide, first)
    score = np.ones(len(part), dtype=np.float32)
    if len(centroids) > 1:
        other = _lengths(part, wide, second)
        ratio = np.divide(own, other, out=np.ones_like(own), where=other > 0)
        score = np.clip(1 - ratio, 0, 1).astype(np.float32)
    return first.astype(np.int64), score, float(np.sum(own**2))


def _lengths(part: np.ndarray, centroids: np.ndarray, which: np.ndarray) -> np.ndarray:
    """‖x_i − c_{which(i)}‖ for each row, in float64."""
    difference = centroids[which]
    np.subtract(part, difference, out=difference)
    return np.sqrt(np.einsum("ij,ij->i", difference, difference))


def _two_nearest(part: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest and the second nearest centroid; the lower number on equal lengths.

    For a row x, argmin_c ‖x − c‖² = argmax_c ⟨x, c⟩ − ‖c‖²/2.
    """
    # Lengths of differences do not change when the origin moves, but rounding errors shrink with
    # the lengths that enter: embeddings of one network often share a large mean.
    origin = centroids.mean(axis=0)
    near, centres = part - origin, centroids - origin
    half_norms = np.einsum("ij,ij->i", centres, centres) / 2
    closeness = near.astype(np.float32) @ centres.astype(np.float32).T
    closeness -= half_norms.astype(np.float32)
    first, second, margin = _best_two(closeness)
    lengths = np.einsum("ij,ij->i", near, near) / 2 + half_norms.max()
    close = np.flatnonzero(margin <= _CLOSE_CALL * lengths)
    half_norms = np.einsum("ij,ij->i", centroids, centroids) / 2
    for some in row_blocks(close.size, 8 * centroids.size):
        # Sums in one order, not a matrix product: the same bits for every block size.
        exact = np.einsum(
            "ij,kj->ik", part[close[some]].astype(np.float64), centroids, optimize=False
        )
        first[close[some]], second[close[some]], _ = _best_two(exact - half_norms)
    return first, second


def _best_two(closeness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of the largest and second largest entry of each row, and their difference."""
    each = np.arange(closeness.shape[0])
    first = closeness.argmax(axis=1)
    best = closeness[each, first].astype(np.float64)
    closeness[each, first] = -np.inf
    second = closeness.argmax(axis=1)
    return first, second, best - closeness[each, second]


def split_large(
    rows: Rows, codes: np.ndarray, score: np.ndarray, largest: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Split every class of more than `largest` rows by k-means within it, again and again.

    A class of m rows is cut into ⌈m / largest⌉ parts, whose parts are looked at in turn. Rows that
    k-means cannot part (they are equal) are cut in their order. Rows of a class that was split
    get the score of the last split.

    Args:
        rows: of the pool.
        codes: int64 [n]; classes, 0..K−1.
        score: float32 [n].
        largest: size that no class may exceed.
        seed: of the k-means starts.

    Returns:
        New codes, new scores, and `{split, parts}`: how many classes were split into how many.

    Raises:
        UsageError: a largest size below 1.
    """
    if largest < 1:
        raise UsageError("a largest class of at least 1 example", f"{largest}")
    codes, score = codes.copy(), score.copy()
    n_before = n_classes = int(codes.max()) + 1
    waiting = np.flatnonzero(np.bincount(codes) > largest).tolist()
    split = len(waiting)
    while waiting:
        code = waiting.pop()
        members = np.flatnonzero(codes == code)
        wanted = -(-members.size // largest)
        part = Rows(rows.gather(members), None, spherical=False)
        centroids = _fit(part.values, wanted, seed, 2, 25, rows.spherical)
        within, score[members], _ = assign(part, centroids)
        if np.unique(within).size == 1:
            within = np.arange(members.size) // largest
        names = np.unique(within)
        for name in names[1:]:
            codes[members[within == name]] = n_classes
            n_classes += 1
        fresh = [code, *range(n_classes - names.size + 1, n_classes)]
        waiting += [new for new in fresh if (codes == new).sum() > largest]
    return codes, score, {"split": split, "parts": n_classes - n_before + split}
