"""What the report draws of the embeddings: a map in two dimensions, and telling pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, class_codes
from contrasift.errors import UsageError

METHODS = ("tsne", "pca")

_TSNE_COLUMNS = 50  # t-SNE works on so many leading components, as its authors advise
_TSNE_PERPLEXITY = 30.0
_TSNE_ITERATIONS = 750
_TSNE_LEAST_ROWS = 5


@dataclass(frozen=True)
class Pairs:
    """Pairs of examples of one latent class, nearest or farthest first.

    Attributes:
        first: int64 [p]; row of one example.
        second: int64 [p]; row of the other.
        distance: float64 [p]; expected squared distance between their views, 2 − 2⟨z_i, z_j⟩.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


def project(
    embeddings: object, *, sample: int = 2000, seed: int = 0, method: str = "tsne"
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in the plane for a random sample of the rows.

    t-SNE begins at the principal components, on the 50 leading ones, with perplexity 30 (a third
    of the rows if they are few); fewer than five rows are drawn by their principal components.
    Coordinates are centred and scaled so that the larger spread is 1.

    Args:
        embeddings: real [n, d], or a memory map.
        sample: rows to draw; all of them if there are fewer.
        seed: of the sample and of t-SNE.
        method: `tsne` or `pca`.

    Returns:
        rows: int64 [s], ascending.
        xy: float32 [s, 2].

    Raises:
        UsageError: an unknown method, a sample below 1.
        DataError: NaN or infinity in a sampled row.
    """
    if method not in METHODS:
        raise UsageError(f"a method among {', '.join(METHODS)}", repr(method))
    matrix = check_matrix(embeddings)
    rows = _sample(matrix.shape[0], sample, seed)
    points = np.asarray(matrix[rows], dtype=np.float64)
    check_finite_rows(points)
    components = _principal_components(points, _TSNE_COLUMNS)
    xy = components[:, :2]
    # Identical rows have nothing to spread.
    if method == "tsne" and rows.size >= _TSNE_LEAST_ROWS and xy.std() > 0:
        xy = _tsne(components, seed)
    spread = xy.std(axis=0).max()
    centred = xy - xy.mean(axis=0)
    return rows, (centred / spread if spread > 0 else np.zeros_like(xy)).astype(np.float32)


def telling_pairs(
    embeddings: object,
    classes: object = None,
    *,
    count: int = 6,
    sample: int = 2000,
    seed: int = 0,
) -> tuple[Pairs, Pairs]:
    """Pairs within a latent class whose views are expected nearest, and farthest (SAS, Fig. 1–2).

    For mean view embeddings z (views of length one) the expected squared distance between a view
    of i and a view of j is E‖v_i − v_j‖² = 2 − 2⟨z_i, z_j⟩. Among a sample of the rows, every pair
    of one class is compared; no example is in two pairs of a list. Equal distances: lowest rows
    first.

    Args:
        embeddings: real [n, d]; mean view embeddings.
        classes: [n] latent classes; None: one class.
        count: pairs in each list, or fewer if there are not so many.
        sample: rows looked at.
        seed: of the sample.

    Returns:
        The nearest pairs, ascending, and the farthest, descending.

    Raises:
        UsageError: a count below 0, a sample below 1.
        DataError: NaN or infinity in a sampled row, classes of another length.
    """
    if count < 0:
        raise UsageError("a count of pairs of at least 0", f"{count}")
    matrix = check_matrix(embeddings)
    codes, _ = class_codes(classes, matrix.shape[0])
    rows = _sample(matrix.shape[0], sample, seed)
    points = np.asarray(matrix[rows], dtype=np.float64)
    check_finite_rows(points)
    near: list[tuple[float, int, int]] = []
    far: list[tuple[float, int, int]] = []
    for code in np.unique(codes[rows]):
        members = np.flatnonzero(codes[rows] == code)
        distance = 2 - 2 * (points[members] @ points[members].T)
        near += _extreme_pairs(distance, rows[members], count)
        far += _extreme_pairs(-distance, rows[members], count)
    return _as_pairs(sorted(near), count, 1.0), _as_pairs(sorted(far), count, -1.0)


def _sample(n: int, sample: int, seed: int) -> np.ndarray:
    if sample < 1:
        raise UsageError("a sample of at least 1 row", f"{sample}")
    if sample >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size=sample, replace=False))


def _principal_components(points: np.ndarray, columns: int) -> np.ndarray:
    """Centred rows in the basis of their leading directions, at least two columns."""
    centred = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction's sign is arbitrary: its largest entry is made positive.
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    components = centred @ directions[:columns].T
    return np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))


def _tsne(components: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = components[:, :2] / components[:, 0].std() * 1e-4
    return TSNE(
        perplexity=min(_TSNE_PERPLEXITY, (components.shape[0] - 1) / 3),
        init=start.astype(np.float32),
        max_iter=_TSNE_ITERATIONS,
        random_state=seed % (1 << 32),
        n_jobs=-1,
    ).fit_transform(components.astype(np.float32))


def _extreme_pairs(
    values: np.ndarray, rows: np.ndarray, count: int
) -> list[tuple[float, int, int]]:
    """Pairs i < j with the smallest values, each example at most once, as (value, row, row)."""
    left, right = np.triu_indices(values.shape[0], k=1)
    flat = values[left, right]
    # Disjoint pairs: one kept pair rules out fewer than 2n others.
    enough = min(flat.size, 2 * count * values.shape[0])
    if enough < flat.size:
        kept = np.flatnonzero(flat <= np.partition(flat, enough)[enough])
    else:
        kept = np.arange(flat.size)
    kept = kept[np.lexsort((right[kept], left[kept], flat[kept]))]
    triples = zip(
        flat[kept].tolist(), rows[left[kept]].tolist(), rows[right[kept]].tolist(), strict=True
    )
    return _disjoint(list(triples), count)


def _disjoint(ordered: list[tuple[float, int, int]], count: int) -> list[tuple[float, int, int]]:
    """The first `count` pairs, passing over those with an example that was already taken."""
    taken: set[int] = set()
    kept: list[tuple[float, int, int]] = []
    for pair in ordered:
        if len(kept) == count:
            break
        if pair[1] not in taken and pair[2] not in taken:
            taken.update(pair[1:])
            kept.append(pair)
    return kept


def _as_pairs(ordered: list[tuple[float, int, int]], count: int, sign: float) -> Pairs:
    chosen = ordered[:count]
    return Pairs(
        np.array([pair[1] for pair in chosen], dtype=np.int64),
        np.array([pair[2] for pair in chosen], dtype=np.int64),
        np.array([sign * pair[0] for pair in chosen], dtype=np.float64),
    )
