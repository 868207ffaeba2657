"""Naive versions of the selection algorithms: loops over rows and subsets, nothing clever.

Independent of what they judge: nothing here imports contrasift (`test_reference.py`). Where results
have to agree to the last bit, the arithmetic that the library promises is written out in NumPy:
sums in fixed point (`fixed_point`), products in one order of additions (`dots`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np


def exact_sum(values: np.ndarray, rows: np.ndarray) -> list[Fraction]:
    """Σ z over rows without any rounding."""
    return [sum((Fraction(float(x)) for x in values[rows, j]), Fraction(0))
            for j in range(values.shape[1])]  # fmt: skip


def similarity_value(similarity: np.ndarray, subset: list[int], redundancy: float) -> float:
    """F from the similarity matrix: Σ_{i∈V,j∈S} s_ij − λ Σ_{i,j∈S} s_ij."""
    subset = list(subset)
    return float(
        similarity[:, subset].sum() - redundancy * similarity[np.ix_(subset, subset)].sum()
    )


def value(values: np.ndarray, subset: list[int], redundancy: float) -> float:
    """F_λ by its double sums over pairs, in float64."""
    wide = values.astype(np.float64)
    return similarity_value(wide @ wide.T, subset, redundancy)


def dots(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """⟨row, vector⟩ of every row (or each with a vector of its own), in the promised order.

    Four groups of eight running sums, a fixed tree over them, then the tail.
    """
    return _dots_by_column(np.ascontiguousarray(rows.T.astype(np.float64)), vector.T)


def _dots_by_column(columns: np.ndarray, vector: np.ndarray) -> np.ndarray:
    products = columns * (vector[:, None] if vector.ndim == 1 else vector)
    d, n = products.shape
    whole, eights = d - d % 32, d - d % 8
    sums = np.zeros((4, 8, n))
    for start in range(0, whole, 32):
        sums += products[start : start + 32].reshape(4, 8, n)
    for start in range(whole, eights, 8):
        sums[0] += products[start : start + 8]
    lanes = (sums[0] + sums[1]) + (sums[2] + sums[3])
    for half in (4, 2, 1):
        lanes = lanes[:half] + lanes[half:]
    tail = np.zeros(n)
    for place in range(eights, d):
        tail += products[place]
    return lanes[0] + tail


def fixed_point(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Entries as integers of 2^(e − min(50, 62 − b)), for entries below 2^e and n ≤ 2^b; the scale.

    Sums of these integers have no rounding and no order.
    """
    exponent = int(np.frexp(float(np.abs(values).max()))[1])
    scale = 2.0 ** (min(50, 62 - (len(values) - 1).bit_length()) - exponent)
    return np.rint(values.astype(np.float64) * scale).astype(np.int64), scale


def gains(values: np.ndarray, subset: list[int], redundancy: float) -> np.ndarray:
    """gain(e | S) = ⟨z_e, T − 2λM⟩ − λ‖z_e‖² of every row."""
    whole, scale = fixed_point(values)
    total, selected = whole.sum(axis=0) / scale, whole[subset].sum(axis=0) / scale
    squares = dots(values, values.astype(np.float64))
    return dots(values, total - (2.0 * redundancy) * selected) - redundancy * squares


def greedy(
    values: np.ndarray,
    budget: int,
    redundancy: float,
    keep: list[int] | None = None,
    eligible: np.ndarray | None = None,
) -> tuple[list[int], list[float]]:
    """Plain argmax of every row's gain at every step; the lowest row among equals."""
    whole, scale = fixed_point(values)
    columns = np.ascontiguousarray(values.T.astype(np.float64))
    total, squares = whole.sum(axis=0) / scale, _dots_by_column(columns, columns)
    selected = np.zeros_like(whole[0])
    order = sorted(keep or [])
    open_rows = np.ones(len(values), bool) if eligible is None else eligible.copy()
    open_rows[order] = False
    found = []
    for step in range(budget):
        direction = total - (2.0 * redundancy) * (selected / scale)
        now = _dots_by_column(columns, direction) - redundancy * squares
        if step >= len(order):
            order.append(int(np.argmax(np.where(open_rows, now, -np.inf))))
            open_rows[order[-1]] = False
        found.append(float(now[order[step]]))
        selected += whole[order[step]]
    return order, found


def stochastic_greedy(
    values: np.ndarray, prefix: list[int], places: list[int], budget: int, redundancy: float,
    sample: int, word: int,
) -> list[int]:  # fmt: skip
    """The best of `sample` places drawn by xorshift64*, again and again, behind a prefix."""
    order, places = list(prefix), list(places)
    while len(order) < budget:
        now = gains(values, order, redundancy)
        for i in range(min(sample, len(places))):
            word ^= word >> 12
            word = (word ^ (word << 25)) & (2**64 - 1)
            word ^= word >> 27
            high = ((word * 0x2545F4914F6CDD1D) & (2**64 - 1)) >> 32
            j = i + (high * (len(places) - i) >> 32)
            places[i], places[j] = places[j], places[i]
        at = max(range(min(sample, len(places))), key=lambda i: (now[places[i]], -places[i]))
        order.append(places[at])
        places[at] = places[-1]
        places.pop()
    return order


def best_value(
    values: np.ndarray,
    budget: int,
    redundancy: float,
    keep: list[int] | None = None,
    eligible: np.ndarray | None = None,
) -> float:
    """The largest F_λ over all subsets of a size."""
    return max(subset_values(values, budget, redundancy, keep, eligible))


def subset_values(
    values: np.ndarray,
    budget: int,
    redundancy: float,
    keep: list[int] | None = None,
    eligible: np.ndarray | None = None,
) -> list[float]:
    """F_λ of every subset of a size that holds `keep` and else only eligible rows."""
    kept = list(keep or [])
    free = [
        i for i in range(len(values)) if i not in kept and (eligible is None or bool(eligible[i]))
    ]
    return [
        value(values, kept + list(chosen), redundancy)
        for chosen in combinations(free, budget - len(kept))
    ]


def nearest(queries: np.ndarray, points: np.ndarray, k: int, own: np.ndarray | None) -> list:
    """The k nearest points of each query, one pair after the other, the lower row first."""
    found = []
    for i, query in enumerate(queries.astype(np.float64)):
        lengths = [
            (float(((query - point) ** 2).sum()), j)
            for j, point in enumerate(points.astype(np.float64))
            if own is None or j != own[i]
        ]
        found.append([j for _, j in sorted(lengths)[:k]])
    return found


def mixed(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014), in whole numbers."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def hashed(seed: int, purpose: int, query: int, row: int) -> int:
    """A random number of a pair: of nothing but the seed, its purpose, the query and the row."""
    step = 0x9E3779B97F4A7C15
    own = mixed((mixed((seed + purpose * step) % 2**64) + (query + 1) * step) % 2**64)
    return mixed((own + (row + 1) * step) % 2**64)


def mined(
    similarity: np.ndarray,
    positives: list[list[int]],
    named: Callable[[int, int, int, int], bool],
    per_query: int,
    *,
    top: int | None = None,
    randoms: int = 0,
    seed: int = 0,
    same: bool = False,
) -> list[list[tuple[int, int]]]:
    """Negatives of each query as (row, place), query after query and row after row.

    `named(query, row, place, k)` says whether the policy names a row, which is at this place of k,
    1 the hardest; of equal similarities the later row is the harder.
    """
    found = []
    for i, row in enumerate(similarity):
        candidates = [j for j in range(len(row)) if j not in positives[i] and not (same and j == i)]
        order = sorted(candidates, key=lambda j: (-row[j], -j))
        eligible = [(j, p) for p, j in enumerate(order, start=1) if named(i, j, p, len(candidates))]
        hard = per_query - randoms
        taken = eligible[: hard if top is None else top if hard else 0]
        if top is not None:
            taken = sorted(taken, key=lambda one: hashed(seed, 2, i, one[0]))[:hard]
        rest = [one for one in eligible if one not in taken]
        taken += sorted(rest, key=lambda one: hashed(seed, 3, i, one[0]))[:randoms]
        found.append(sorted(taken, key=lambda one: one[1]))
    return found


def view_distances(views: np.ndarray) -> np.ndarray:
    """d_ij = E‖x − x'‖ over views x of i and x' of j, [n, n]."""
    n = len(views)
    table = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            table[i, j] = np.mean([np.linalg.norm(a - b) for a in views[i] for b in views[j]])
    return table


def mean_distances(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """‖z̄_i − z̄_j‖ and √(2 − 2z̄_iᵀz̄_j), between which d_ij lies, [n, n] each."""
    wide = means.astype(np.float64)
    lower = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    return lower, np.sqrt(np.maximum(0.0, 2.0 - 2.0 * wide @ wide.T))


def nu(
    distances: np.ndarray, kept: np.ndarray, codes: np.ndarray | None = None
) -> tuple[list[float], list[float], float, float]:
    """ν_align^k/η and ν_div^k of every class, and both weighted by the classes' shares p_k.

    ν_align^k/η = (2/n_k) Σ_{i∈V_k∖S_k} min_{j∈S_k} d_ij       ν_div^k = E_{i∈V_k, j∈S_k} d_ij
    """
    codes = np.zeros(len(kept), np.int64) if codes is None else codes
    align, div, shares = [], [], []
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        chosen = members[kept[members]]
        nearest = [distances[i, chosen].min() for i in members if not kept[i]]
        align.append(float(2.0 * sum(nearest) / members.size))
        div.append(float(distances[np.ix_(members, chosen)].mean()))
        shares.append(members.size / len(kept))
    return align, div, float(np.dot(shares, align)), float(np.dot(shares, div))


def selected_batches(index, selected, key, *, batch_size, seed, first_step, mix, count):
    """The batches of `count` steps after a switch, one place after another; see `SelectedBatches`.

    `key(seed, step, index)` is the number that a place is sorted by in the pass that begins at a step.
    """
    others = round(mix * batch_size)
    rest = [place for place in range(len(index)) if place not in selected]
    parts = [(selected, batch_size - others), (rest, others)]
    passes = []
    for places, size in parts:
        batches = []
        while size and len(batches) < count:
            begun = first_step + len(batches)
            ordered = sorted(places, key=lambda i, at=begun: (key(seed, at, index[i]), index[i]))
            batches += [ordered[at : at + size] for at in range(0, len(ordered) - size + 1, size)]
        passes.append(batches if size else [[]] * count)
    return [first + second for first, second in zip(*passes, strict=False)][:count]


def balanced_draw(paths: list[np.ndarray], turn: np.ndarray, budget: int) -> set[int]:
    """Rows that a balanced draw of this budget takes down a tree; `paths`: nodes, coarse to fine.

    At every node places go one by one to the child with the fewest so far that has rows left, the
    lowest number first; in a leaf to the rows whose turn it is.
    """

    def draw(rows: list[int], level: int, places: int) -> set[int]:
        if level == len(paths):
            return set(sorted(rows, key=lambda row: turn[row])[:places])
        children = sorted({int(paths[level][row]) for row in rows})
        inside = {c: [row for row in rows if paths[level][row] == c] for c in children}
        given = dict.fromkeys(children, 0)
        for _ in range(places):
            open_ones = [c for c in children if given[c] < len(inside[c])]
            given[min(open_ones, key=lambda c: (given[c], c))] += 1
        return set().union(*(draw(inside[c], level + 1, given[c]) for c in children))

    return draw(list(range(len(turn))), 0, budget)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """⟨a, b⟩ / (‖a‖ ‖b‖)."""
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def class_means(values: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """The mean of every class's rows, each of length one, in float64."""
    unit = values.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return [unit[codes == code].mean(axis=0) for code in range(codes.max() + 1)]


def margin(values: np.ndarray, codes: np.ndarray, row: int) -> float:
    """Cosine of a row to the mean of its class less the largest to that of another."""
    found = [cosine(values[row].astype(np.float64), mean) for mean in class_means(values, codes)]
    own = found.pop(codes[row])
    return own - max(found, default=0.0)


def class_complexity(values: np.ndarray, codes: np.ndarray, neighbours: int) -> list[float]:
    """Mean of 1 − cos of a class's rows to its mean, times that of its mean to the nearest means."""
    means = class_means(values, codes)
    found = []
    for code, own in enumerate(means):
        inside = [1 - cosine(row.astype(np.float64), own) for row in values[codes == code]]
        gaps = sorted(1 - cosine(own, other) for k, other in enumerate(means) if k != code)
        found.append(float(np.mean(inside) * np.mean(gaps[:neighbours])))
    return found


def leaders(values: np.ndarray, order: np.ndarray, fixed: np.ndarray, epsilon: float) -> list[int]:
    """The earlier row that each row is dropped for: one that stays and is nearer than ε; else −1."""
    wide, owner = values.astype(np.float64), [-1] * len(values)
    for place, row in enumerate(order):
        before = [other for other in order[:place] if owner[other] < 0]
        gaps = [float(((wide[row] - wide[other]) ** 2).sum() / 2) for other in before]
        near = [other for other, gap in zip(before, gaps, strict=True) if gap < epsilon]
        if near and not fixed[row]:
            owner[row] = int(near[0])
    return owner
