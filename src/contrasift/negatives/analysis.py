"""What makes negatives hard: the measurements of Cai et al. (arXiv 2010.06682, §4) on any vectors.

Queries meet negatives in blocks of rows, so that a whole queue can be analysed. Everything is
computed per query first; draws of other queries and negatives are replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, row_blocks, unit_rows
from contrasift.errors import DataError, UsageError
from contrasift.evaluation import Interval, mean_and_interval
from contrasift.negatives.ranks import band_counts

Number = float | int
Band = tuple[Number, Number]

# The bands of the paper's figures and tables, in percentiles of difficulty.
BANDS: tuple[Band, ...] = (
    (0, 0.1), (0, 5), (0, 50), (0, 95), (85, 90), (90, 95), (95, 100), (98, 100), (99, 100),
    (99.5, 100), (99.8, 100), (99.9, 100),
)  # fmt: skip
ALL: Band = (0, 100)
HARD: Band = (95, 100)
REST: Band = (0, 95)


@dataclass(frozen=True)
class Relation:
    """Something that holds between a query and a negative: a number of each pair of classes.

    Attributes:
        queries: int [q]; codes from 0.
        negatives: int [n]; codes from 0.
        table: [C, C]; the number of each pair of codes. None: 1 for equal codes, else 0.
    """

    queries: np.ndarray
    negatives: np.ndarray
    table: np.ndarray | None = None

    def values(self, rows: slice) -> np.ndarray:
        """float32 [rows, n]."""
        if self.table is None:
            return (self.queries[rows, None] == self.negatives).astype(np.float32)
        return self.table[self.queries[rows]][:, self.negatives].astype(np.float32)


@dataclass(frozen=True)
class Profile:
    """What negatives are like, by difficulty, for each query of one draw.

    `similarity` (the cosine) is one of the measures; the others are the relations' names.

    Attributes:
        n: negatives a query.
        edges: ranks where the percentile bins end, [bins + 1].
        by_bin: measure to float64 [q, bins]: its mean over the negatives in each bin.
        by_band: measure to band to float64 [q]: its mean over the band. Bands without a single
            negative are left out.
        overall: measure to float64 [q]: its mean over all negatives.
        hard_counts: int64 [n]; for how many queries each negative is among the hardest 5 %.
        shuffled_counts: int64 [n]; the same with the negatives permuted for every query.
        n_hard: how many negatives of a query are among its hardest 5 %.
    """

    n: int
    edges: np.ndarray
    by_bin: Mapping[str, np.ndarray]
    by_band: Mapping[str, Mapping[Band, np.ndarray]]
    overall: Mapping[str, np.ndarray]
    hard_counts: np.ndarray
    shuffled_counts: np.ndarray
    n_hard: int


def difficulty_profile(
    queries: np.ndarray,
    negatives: np.ndarray,
    relations: Mapping[str, Relation] | None = None,
    *,
    bins: int = 100,
    seed: int = 0,
) -> Profile:
    """Rank every query's negatives by cosine and average what is known of them by rank.

    Ranks and bands are those of `difficulty`: ascending, of equal cosines the later negative the
    harder; bin b of B holds the ranks in (⌊b·n/B⌋, ⌊(b + 1)·n/B⌋].

    Args:
        queries: real [q, d]; scaled to length one.
        negatives: real [n, d]; scaled to length one.
        relations: name to a number for each pair, e.g. whether they share a class.
        bins: percentile bins; at most n are made.
        seed: of the shuffled baseline.

    Returns:
        The profile.

    Raises:
        DataError: vectors that are not finite, zero or of different widths; relations that do not
            fit them.
        UsageError: no bins.
    """
    if bins < 1:
        raise UsageError("at least one bin", str(bins))
    first, second = _checked(queries, negatives)
    relations = dict(relations or {})
    n_queries, n = len(first), len(second)
    for name, relation in relations.items():
        if len(relation.queries) != n_queries or len(relation.negatives) != n:
            raise DataError(
                f"{name} of {n_queries} queries and {n} negatives",
                f"{len(relation.queries)} and {len(relation.negatives)}",
            )
    edges = np.array([b * n // min(bins, n) for b in range(min(bins, n) + 1)])
    bands = {band: band_counts(*band, n) for band in BANDS}
    bands = {band: ends for band, ends in bands.items() if ends[0] < ends[1]}
    names = ["similarity", *relations]
    by_bin = {name: np.empty((n_queries, len(edges) - 1)) for name in names}
    by_band = {name: {band: np.empty(n_queries) for band in bands} for name in names}
    overall = {name: np.empty(n_queries) for name in names}
    hard_from = band_counts(*HARD, n)[0]
    hard_counts, shuffled_counts = np.zeros((2, n), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for rows, similarity in _similarities(first, second):
        order = np.argsort(similarity, axis=1, kind="stable")
        for name in names:
            values = similarity if name == "similarity" else relations[name].values(rows)
            running = np.zeros((len(values), n + 1))
            np.cumsum(np.take_along_axis(values, order, 1), axis=1, out=running[:, 1:])
            by_bin[name][rows] = np.diff(running[:, edges]) / np.diff(edges)
            for band, (low, high) in bands.items():
                by_band[name][band][rows] = (running[:, high] - running[:, low]) / (high - low)
            overall[name][rows] = running[:, -1] / n
        hard_counts += np.bincount(order[:, hard_from:].ravel(), minlength=n)
        shuffled = rng.random(order.shape, dtype=np.float32).argpartition(hard_from, axis=1)
        shuffled_counts += np.bincount(shuffled[:, hard_from:].ravel(), minlength=n)
    return Profile(n, edges, by_bin, by_band, overall, hard_counts, shuffled_counts, n - hard_from)


def _checked(queries: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for name, values in (("queries", queries), ("negatives", negatives)):
        matrix = check_matrix(values, name)
        check_finite_rows(matrix, name)
        rows.append(unit_rows(matrix))
    if rows[0].shape[1] != rows[1].shape[1]:
        raise DataError(
            "queries and negatives of one width", f"{rows[0].shape[1]} and {rows[1].shape[1]}"
        )
    return rows[0], rows[1]


def _similarities(queries: np.ndarray, negatives: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosines of a block of queries with all negatives, block after block."""
    for rows in row_blocks(len(queries), 64 * len(negatives)):
        yield rows, queries[rows] @ negatives.T


# Tests --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contrast:
    """Whether a measure differs between the hardest 5 % and the rest.

    Attributes:
        hard: mean over the hardest 5 %, over replicates.
        rest: mean over the rest.
        t: of an unpaired t-test between the replicates' means; None for one replicate.
        p: its two-sided p-value; None for one replicate.
        difference: hard − rest, its mean over all queries.
        low: lower end of its 95 % bootstrap interval over queries.
        high: upper end.
        bootstrap_p: two-sided; at least 2/(draws + 1), as few draws can tell no more.
    """

    hard: Interval
    rest: Interval
    t: float | None
    p: float | None
    difference: float
    low: float
    high: float
    bootstrap_p: float


def contrast(
    profiles: Sequence[Profile], measure: str, *, draws: int = 2000, seed: int = 0
) -> Contrast:
    """Compare the hardest 5 % with the rest: the paper's t-test, and a bootstrap over queries.

    The unit of the t-test is a replicate (the paper does not say what its was): the mean of all
    its queries. The bootstrap draws queries with replacement from all replicates and takes the
    mean of each query's own difference.

    Args:
        profiles: one a replicate.
        measure: `similarity` or the name of a relation.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Both tests.

    Raises:
        UsageError: no replicates.
    """
    if not profiles:
        raise UsageError("at least one replicate", "none")
    hard = [profile.by_band[measure][HARD] for profile in profiles]
    rest = [profile.by_band[measure][REST] for profile in profiles]
    t = p = None
    if len(profiles) > 1:
        t, p = unpaired_t_test([part.mean() for part in hard], [part.mean() for part in rest])
    differences = np.concatenate(hard) - np.concatenate(rest)
    rng = np.random.default_rng(seed)
    means = np.array([
        differences[rng.integers(0, differences.size, differences.size)].mean()
        for _ in range(draws)
    ])  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return Contrast(
        mean_and_interval([part.mean() for part in hard]),
        mean_and_interval([part.mean() for part in rest]),
        t,
        p,
        float(differences.mean()),
        float(low),
        float(high),
        float(min(1.0, 2 * (tail + 1) / (draws + 1))),
    )


def unpaired_t_test(
    first: Sequence[Number] | np.ndarray, second: Sequence[Number] | np.ndarray
) -> tuple[float | None, float | None]:
    """Student's t and its two-sided p for two samples of equal variance, as the paper uses it.

    Returns:
        t and p; None and None where neither sample varies.
    """
    from scipy.special import stdtr

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    freedom = a.size + b.size - 2
    pooled = (((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / freedom
    if pooled == 0:
        return None, None
    t = float((a.mean() - b.mean()) / np.sqrt(pooled * (1 / a.size + 1 / b.size)))
    return t, float(2 * stdtr(freedom, -abs(t)))


@dataclass(frozen=True)
class Consistency:
    """Whether some negatives are hard for more queries than chance would have it.

    Attributes:
        shares: [n]; share of the queries for which each negative is among the hardest 5 %. Their
            mean is 5 % by construction.
        shuffled: [n]; the same after permuting the negatives for every query.
        sd: standard deviation of `shares`.
        shuffled_sd: that of `shuffled`.
        expected_sd: of the baseline, √(p(1 − p)/q) for a share p of each of q queries.
        q: Cochran's Q.
        log10_p: logarithm of its p-value, which may be too small for a number.
        never: share of the negatives that are hard for no query.
    """

    shares: np.ndarray
    shuffled: np.ndarray
    sd: float
    shuffled_sd: float
    expected_sd: float
    q: float
    log10_p: float
    never: float


def consistency(profile: Profile) -> Consistency:
    """Test whether negatives differ in how often they are hard: Cochran's Q.

    Each of q queries marks m of n negatives as hard. With G_k the marks of negative k,
    Q = (n − 1)·Σ_k (G_k − Ḡ)² / (q·m·(n − m)/n) follows χ² with n − 1 degrees of freedom when
    every query marks at random.
    """
    from scipy.special import gammaincc

    n_queries = len(profile.overall["similarity"])
    n, m = profile.n, profile.n_hard
    counts = profile.hard_counts.astype(np.float64)
    if n == 1 or m == n:
        raise UsageError("more negatives than are among the hardest 5 %", f"{n}")
    q = float((n - 1) * ((counts - counts.mean()) ** 2).sum() / (n_queries * m * (n - m) / n))
    p = float(gammaincc((n - 1) / 2, q / 2))
    shares, shuffled = counts / n_queries, profile.shuffled_counts / n_queries
    share = m / n
    return Consistency(
        shares,
        shuffled,
        float(shares.std()),
        float(shuffled.std()),
        float(np.sqrt(share * (1 - share) / n_queries)),
        q,
        float(np.log10(p)) if p > 1e-300 else _log10_chi2_tail(n - 1, q),
        float((counts == 0).mean()),
    )


def _log10_chi2_tail(freedom: int, value: float) -> float:
    """Far tail of χ²: x^{a−1} e^{−x} / (Γ(a)·(1 − (a − 1)/x)), a = freedom/2, x = value/2."""
    from scipy.special import gammaln

    a, x = freedom / 2, value / 2
    log_tail = (a - 1) * np.log(x) - x - gammaln(a) - np.log1p(-(a - 1) / x)
    return float(log_tail / np.log(10))


# Pairs of classes ------------------------------------------------------------------------------------


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
    first, second = _checked(queries, negatives)
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


# Without labels ---------------------------------------------------------------------------------------


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

    Returns:
        The pairs.
    """
    first, second = _checked(queries, negatives)
    column, value = np.zeros(len(first), dtype=np.int64), np.empty(len(first))
    for rows, similarity in _similarities(first, second):
        if same is not None:
            similarity = np.where(same.values(rows) > 0, similarity, -np.inf)
        column[rows] = similarity.argmax(axis=1)
        value[rows] = similarity.max(axis=1)
    order = np.argsort(-value, kind="stable")
    order = order[np.isfinite(value[order])]
    # The first query to take a negative is the most similar to it.
    order = order[np.sort(np.unique(column[order], return_index=True)[1])][:count]
    return LikelyPairs(order, column[order], value[order])


@dataclass(frozen=True)
class Shape:
    """Means over replicates of one measure by difficulty, with 95 % intervals.

    Attributes:
        percentile: [bins]; where each bin ends.
        mean: [bins].
        low: [bins]; None for one replicate.
        high: [bins]; None for one replicate.
    """

    percentile: np.ndarray
    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def shape_over_difficulty(profiles: Sequence[Profile], measure: str) -> Shape:
    """A measure by percentile of difficulty: mean over queries, interval over replicates."""
    from scipy.special import stdtrit

    means = np.stack([profile.by_bin[measure].mean(axis=0) for profile in profiles])
    percentile = 100 * profiles[0].edges[1:] / profiles[0].n
    if len(means) == 1:
        return Shape(percentile, means[0])
    reach = stdtrit(len(means) - 1, 0.975) * means.std(axis=0, ddof=1) / np.sqrt(len(means))
    middle = means.mean(axis=0)
    return Shape(percentile, middle, middle - reach, middle + reach)
