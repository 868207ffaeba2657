"""Latent classes: the groups within which SAS selects, found by k-means or given as labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, class_codes, row_blocks
from contrasift.errors import DataError, UsageError
from contrasift.results import LatentClasses

METHODS = ("kmeans", "labels")

# k-means fits on all rows up to this many, or this many a class if that is more; beyond, on a
# sample. faiss's own default is 256 a class, which is few when there are few classes.
_FIT_ROWS = 262_144
_FIT_ROWS_PER_CLASS = 256
# Float32 matrix products agree with exact ones to about 1e-6 of the lengths that enter: two
# centroids closer than this are compared again in float64, so that rounding decides nothing.
_CLOSE_CALL = 2e-5


def latent_classes(
    embeddings: object,
    *,
    method: str = "kmeans",
    n_classes: int | None = None,
    labels: object = None,
    label_names: Sequence[str] = (),
    seed: int = 0,
    restarts: int = 5,
    spherical: bool = True,
    iterations: int = 25,
) -> LatentClasses:
    """Partition the pool into latent classes.

    `kmeans` minimises Σ_i ‖x_i − c_{k(i)}‖² over centroids c and assignments k (faiss, the best
    of `restarts`). Spherical: the x are rows scaled to length one and so are the centroids, which
    maximises Σ_i cos(x_i, c_{k(i)}). Above 262,144 rows (or 256 a class, if that is more) the
    centroids are fitted on a sample; every row is then assigned in blocks, so a memory-mapped
    matrix streams. Classes are numbered by decreasing size, then by their lowest member; classes
    that end up empty are removed and counted in `facts["empty_removed"]`.

    The score of a row is 1 − a/b, where a and b are its distances to its own centroid and to the
    next one: 1 at the centroid, 0 half-way (the simplified silhouette of Hruschka et al.).

    Given the centroids, assignments do not depend on block size or thread count: close calls are
    decided in float64, equal ones in favour of the centroid that faiss lists first. The fit
    itself is repeatable for one seed on one machine; faiss adds up a centroid in the order of the
    rows whatever the number of threads.

    `labels` takes the labels as they are: codes in the order of the labels, score 1.

    Args:
        embeddings: real [n, d]; the rows to cluster, or a memory map of them.
        method: `kmeans` or `labels`.
        n_classes: number of k-means classes; default: `default_n_classes`.
        labels: [n], integers or text; the classes for `labels`; for `kmeans`, if given, only
            their number and the agreement with them are used. Negative integers: unlabelled.
        label_names: what the integers in `labels` stand for.
        seed: of the k-means starts and of the sample.
        restarts: k-means starts; the one with the best objective is kept.
        spherical: cluster directions (cosines) instead of points.
        iterations: k-means steps a start.

    Returns:
        The classes; `facts` holds `sizes`, `seed`, for k-means `requested`, `empty_removed`,
        `inertia`, `restarts`, `iterations`, `spherical`, `fitted_on`, and with labels `agreement`.

    Raises:
        UsageError: an unknown method, a count below 1, more classes than examples.
        DataError: NaN, infinity, a row of zeros (spherical), labels of another length or missing.
    """
    if method not in METHODS:
        raise UsageError(f"a method among {', '.join(METHODS)}", repr(method))
    rows = check_matrix(embeddings)
    if method == "labels":
        return _classes_from_labels(rows.shape[0], labels, label_names)
    if restarts < 1 or iterations < 1:
        raise UsageError("restarts and iterations of at least 1", f"{restarts} and {iterations}")
    codes = None if labels is None else _label_codes(labels, rows.shape[0])
    if n_classes is None:
        known = None if codes is None else np.unique(codes[codes >= 0]).size
        n_classes = default_n_classes(rows.shape[0], known)
    if not 1 <= n_classes <= rows.shape[0]:
        raise UsageError(
            f"between 1 class and as many as there are examples ({rows.shape[0]})",
            f"n_classes = {n_classes}",
        )
    centroids, fitted_on = _fit(rows, n_classes, seed, restarts, iterations, spherical)
    raw, score, inertia = _assign(rows, centroids, spherical)
    classes = _renumber(raw)
    sizes = np.bincount(classes)
    facts: dict[str, Any] = {
        "requested": n_classes,
        "empty_removed": n_classes - sizes.size,
        "sizes": sizes.tolist(),
        "inertia": inertia,
        "seed": seed,
        "restarts": restarts,
        "iterations": iterations,
        "spherical": spherical,
        "fitted_on": fitted_on,
    }
    if codes is not None:
        facts["agreement"] = class_agreement(classes, codes)
    return LatentClasses(classes, np.arange(sizes.size), score, "kmeans", facts)


def default_n_classes(n: int, n_labels: int | None = None) -> int:
    """As many classes as there are labels; without labels round(√n / 2), at least 1, at most n."""
    wanted = n_labels if n_labels else round(n**0.5 / 2)
    return max(1, min(int(wanted), n))


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
    true = _label_codes(labels, found.shape[0])
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


def _label_codes(labels: object, n: int) -> np.ndarray:
    """Codes from 0, with −1 wherever the label is a negative integer."""
    codes, names = class_codes(labels, n)
    if names.dtype.kind in "iu":
        n_missing = int((names < 0).sum())
        codes = np.maximum(codes - n_missing, -1)
    return codes


def _classes_from_labels(n: int, labels: object, label_names: Sequence[str]) -> LatentClasses:
    if labels is None:
        raise UsageError(
            "labels for the method `labels`", "none", "Give them, or use the method `kmeans`"
        )
    codes, names = class_codes(labels, n)
    if names.dtype.kind in "iu":
        unlabelled = int((_label_codes(labels, n) < 0).sum())
        if unlabelled:
            raise DataError(
                "a label for every example",
                f"{unlabelled} of {n} without one (a negative label)",
                "Leave these examples out, or use the method `kmeans`",
            )
        if len(label_names):
            if names.max() >= len(label_names):
                raise DataError(
                    f"labels below {len(label_names)}, the number of label names",
                    f"label {names.max()}",
                    "Give one name for each label",
                )
            names = np.asarray([str(label_names[name]) for name in names])
    facts = {"sizes": np.bincount(codes).tolist()}
    return LatentClasses(codes, names, np.ones(n, dtype=np.float32), "labels", facts)


def _prepared(rows: np.ndarray, first_row: int, spherical: bool) -> np.ndarray:
    """A float32 copy of some rows, checked, and scaled to length one if spherical."""
    check_finite_rows(rows, first_row=first_row)
    if not spherical:
        return np.ascontiguousarray(rows, dtype=np.float32)
    wide = np.asarray(rows, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    zero = np.flatnonzero(norms == 0)
    if zero.size:
        raise DataError(
            "rows that have a direction",
            f"{zero.size} row(s) of zeros, the first of them row {first_row + zero[0]}",
            "Leave these examples out, or cluster points with spherical=False",
        )
    return (wide / norms[:, None]).astype(np.float32)


def _fit(
    rows: np.ndarray, k: int, seed: int, restarts: int, iterations: int, spherical: bool
) -> tuple[np.ndarray, int]:
    """Centroids by faiss, and the number of rows that they were fitted on."""
    n, d = rows.shape
    limit = max(_FIT_ROWS, _FIT_ROWS_PER_CLASS * k)
    sample = np.arange(n)
    if n > limit:
        sample = np.sort(np.random.default_rng(seed).choice(n, size=limit, replace=False))
    points = np.empty((sample.size, d), dtype=np.float32)
    for block in row_blocks(sample.size, 16 * d):
        chosen = rows[block] if n <= limit else rows[sample[block]]
        points[block] = _prepared(np.asarray(chosen), int(sample[block.start]), spherical)
    if k == n:
        return points, n
    import faiss

    kmeans = faiss.Kmeans(
        d,
        k,
        niter=iterations,
        nredo=restarts,
        spherical=spherical,
        seed=seed % (1 << 31),
        min_points_per_centroid=1,  # fewer are fine, and faiss would say otherwise on stderr
        max_points_per_centroid=sample.size,
    )
    kmeans.train(points)
    return np.asarray(kmeans.centroids, dtype=np.float32).reshape(k, d), int(sample.size)


def _assign(
    rows: np.ndarray, centroids: np.ndarray, spherical: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """The nearest centroid of every row, its score, and the sum of squared distances."""
    n, d = rows.shape
    codes = np.zeros(n, dtype=np.int64)
    score = np.ones(n, dtype=np.float32)
    inertia = 0.0
    wide = centroids.astype(np.float64)
    for block in row_blocks(n, 4 * len(centroids) + 48 * d):
        part = _prepared(np.asarray(rows[block]), block.start, spherical)
        first, second = _two_nearest(part, wide)
        own = _distances(part, wide[first])
        codes[block] = first
        inertia += float(np.sum(own**2))
        if len(centroids) > 1:
            other = _distances(part, wide[second])
            ratio = np.divide(own, other, out=np.ones_like(own), where=other > 0)
            score[block] = np.clip(1 - ratio, 0, 1)
    return codes, score, inertia


def _distances(part: np.ndarray, points: np.ndarray) -> np.ndarray:
    """‖x_i − p_i‖ for each row, in float64."""
    difference = part - points
    return np.sqrt(np.einsum("ij,ij->i", difference, difference))


def _two_nearest(part: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest and the second nearest centroid; the lower number on equal distances.

    For a row x, argmin_c ‖x − c‖² = argmax_c ⟨x, c⟩ − ‖c‖²/2.
    """
    # Distances do not change when the origin moves, but rounding errors shrink with the lengths:
    # embeddings of one network often share a large mean.
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


def _renumber(codes: np.ndarray) -> np.ndarray:
    """The same partition, numbered by decreasing size, then by lowest member, without gaps."""
    _, lowest, dense, sizes = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    new = np.empty(sizes.size, dtype=np.int64)
    new[np.lexsort((lowest, -sizes))] = np.arange(sizes.size)
    return new[dense.reshape(-1)]
