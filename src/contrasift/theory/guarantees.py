"""What a subset promises about the encoder trained on it: SAS's theorems 4.1 and 4.3, with numbers.

Joshi & Mirzasoleiman 2023 (arXiv 2302.09195) after Huang et al. (arXiv 2111.00743). Everything is
measured in the encoder's own space, on given views of unit length (r = 1, L = 1):

    d_ij = E‖f(x) − f(x')‖ over views x of i and x' of j                                     (14)
    ν_align^k = (2η/n_k) Σ_{i∈V_k∖S_k} min_{j∈S_k} d_ij                                       (20)
    ν_div^k = E_{i∈V_k, j∈S_k} d_ij ≥ ‖μ_k − μ_k^S‖                                           (36)
    R_ε = P(sup over views ‖f(x1) − f(x2)‖ > ε)                                               (10)
    ρ_ℓ = 2(1−σ) + R_ε/p_ℓ + σ(δ + 2ε),  Δ_μ = 1 − min_k‖μ_k‖²
    4.1: μ_ℓ·μ_k < φ_ℓ = 1 − ρ_ℓ − √(2ρ_ℓ) − Δ_μ/2 for all k ≠ ℓ  ⟹  ξ ≤ (1−σ) + R_ε           (12, 13)
    4.3: the same with ρ'_ℓ = ρ_ℓ + ν_R/p_ℓ and φ − G, G = 2ν + ν²  ⟹  ξ ≤ (1−σ) + R_ε + ν_R  (50, 51)

Which way the measured constants err: R_ε is a maximum over the given views only and errs low, towards
meeting a condition. δ is a minimum over the given views and errs high, and σ is found greedily and errs
low, both towards failing it. Means, alignment and ν_div are estimates without a side. The true η(ε) is at
least 4/ε. So "fails" means: with the main parts found here; and what is met here is *not refuted*, no more.
Numbers to check against: docs/mathematics.md#what-a-subset-promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contrasift.arrays import row_blocks
from contrasift.errors import DataError, UsageError


def expected_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """d_ij = E‖x − x'‖ over independent views x of i and x' of j, so that d_ii ≠ 0 (equation 14).

    Args:
        first: [p, m, d]; unit rows.
        second: [q, m, d]; unit rows.

    Returns:
        float64 [p, q].
    """
    return _over_view_pairs(first, second, "mean")


def nearest_view_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """d_A(i, j) = min over views ‖x − x'‖ (Huang et al.), on the given views: errs high, [p, q]."""
    return _over_view_pairs(first, second, "min")


def _over_view_pairs(first: np.ndarray, second: np.ndarray, how: str) -> np.ndarray:
    p, m, _ = first.shape
    q, other, _ = second.shape
    # In float64: 2 − 2 cos of near views would be rounding in float32.
    flat = second.reshape(q * other, -1).astype(np.float64)
    out = np.empty((p, q))
    for rows in row_blocks(p, 8 * m * q * other):
        block = first[rows].astype(np.float64)
        cosines = block.reshape(-1, block.shape[2]) @ flat.T
        squared = np.maximum(0.0, 2.0 - 2.0 * cosines).reshape(len(block), m, q, other)
        if how == "min":
            out[rows] = np.sqrt(squared.min(axis=(1, 3)))
        else:
            out[rows] = np.sqrt(squared).mean(axis=(1, 3))
    return out


def view_spread(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a_i = E‖f(x1) − f(x2)‖ over independent views of one example, and the largest of them.

    Args:
        views: [n, m, d]; unit rows.

    Returns:
        float64 [n] each.
    """
    cosines = np.einsum("nad,nbd->nab", views, views, dtype=np.float64)
    distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosines))
    m = views.shape[1]
    distances[:, np.arange(m), np.arange(m)] = 0.0  # not the rounding of 1 − 1
    return distances.mean(axis=(1, 2)), distances.max(axis=(1, 2))


@dataclass(frozen=True)
class SubsetClass:
    """What a subset keeps of one class; ν and bounds of alignment are per unit of η.

    Attributes:
        size: n_k.
        kept: |S_k|.
        alignment: E_{i∈V_k} a_i, the left side of (15).
        alignment_bound: what (19) makes of it: the subset's own, and nearest neighbours.
        nu_align: ν_align^k / η.
        center_shift: ‖μ_k − μ_k^S‖.
        nu_div: ν_div^k ≥ center_shift.
    """

    size: int
    kept: int
    alignment: float
    alignment_bound: float
    nu_align: float
    center_shift: float
    nu_div: float


def subset_class(views: np.ndarray, kept: np.ndarray) -> SubsetClass:
    """Alignment and centre of one class, against a subset of it.

    Args:
        views: [n_k, m, d]; unit rows.
        kept: bool [n_k].

    Raises:
        DataError: the subset has nothing of the class: no guarantee can speak of it.
    """
    if not kept.any():
        raise DataError(
            "something kept of every class",
            "a class of which nothing is kept",
            "Select with min_per_class=1",
        )
    spread, _ = view_spread(views)
    size, n_kept = len(views), int(kept.sum())
    total = nearest = own = 0.0
    for rows in row_blocks(size, 8 * n_kept * views.shape[1] ** 2):
        distances = expected_distances(views[rows], views[kept])
        left_out = ~kept[rows]
        total += float(distances.sum())
        nearest += float(distances[left_out].min(axis=1).sum())
        own += float((spread[kept] + 2 * distances[left_out]).min(axis=1).sum())
    means = views.mean(axis=1, dtype=np.float64)
    shift = means.mean(axis=0) - means[kept].mean(axis=0)
    return SubsetClass(
        size=size,
        kept=n_kept,
        alignment=float(spread.mean()),
        alignment_bound=(float(spread[kept].sum()) + own) / size,
        nu_align=2 * nearest / size,
        center_shift=float(np.linalg.norm(shift)),
        nu_div=total / (size * n_kept),
    )


def main_parts(
    views: np.ndarray, codes: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """How large a share σ of every class lies within d_A ≤ δ, for several δ.

    Greedy: the example that is far from most is taken out until all pairs are near. Finding the
    largest main part is as hard as finding cliques, so that σ errs low for the given examples.

    Args:
        views: [n, m, d]; unit rows.
        codes: int64 [n]; classes 0..K−1.
        seed: of the choice of 300 examples of each class, which are looked at.

    Returns:
        σ and δ, float64 [g] each; σ is the smallest of all classes and falls with δ.
    """
    rng = np.random.default_rng(seed)
    deltas = np.linspace(0.05, 2.0, 40)  # two unit vectors are at most 2 apart
    shares = np.ones((codes.max() + 1, deltas.size))
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        members = rng.permutation(members)[:300]
        distances = nearest_view_distances(views[members], views[members])
        for column, delta in enumerate(deltas):
            if distances.max() <= delta:
                break
            shares[code, column] = _mutually_near(distances <= delta) / members.size
    return shares.min(axis=0), deltas


def _mutually_near(near: np.ndarray) -> int:
    """Size of a set in which all are near one another, by taking out the loneliest, one by one."""
    kept = np.ones(len(near), dtype=bool)
    neighbours = near.sum(axis=1)
    while kept.any():
        lonely = int(np.where(kept, neighbours, len(near) + 1).argmin())
        if neighbours[lonely] == kept.sum():
            break
        kept[lonely] = False
        neighbours = neighbours - near[lonely]
    return int(kept.sum())


@dataclass(frozen=True)
class Constants:
    """What theorem 4.1 is evaluated with.

    Attributes:
        shares: p_k of every class.
        sigma: σ, share of every class in its main part.
        delta: δ, width of the main parts.
        epsilon: ε, what counts as aligned.
        misaligned: R_ε.
        min_mean_norm: min_k ‖μ_k‖.
        lipschitz: L; 1 in the encoder's own space.
        radius: r, the length of features.
    """

    shares: np.ndarray
    sigma: float
    delta: float
    epsilon: float
    misaligned: float
    min_mean_norm: float
    lipschitz: float = 1.0
    radius: float = 1.0

    @property
    def mean_gap(self) -> float:
        """Δ_μ = 1 − min_k ‖μ_k‖²/r²."""
        return 1 - (self.min_mean_norm / self.radius) ** 2

    def rho(self, *, safe: bool = False) -> np.ndarray:
        """ρ_ℓ as printed, or the ρ̃_ℓ = 2(1−σ) + (2−q')R_ε/p_ℓ + σq' that the natural proof gives.

        With q' = (Lδ + 2ε)/r; ρ̃ is the larger one when q' < 1.
        """
        reach = (self.lipschitz * self.delta + 2 * self.epsilon) / self.radius
        misaligned = self.misaligned / self.shares
        factor = 2 - reach if safe else 1.0
        return 2 * (1 - self.sigma) + factor * misaligned + self.sigma * reach


@dataclass(frozen=True)
class Condition:
    """One theorem's condition and what would follow.

    Attributes:
        thresholds: φ of every class, or the smallest over its partners.
        largest_product: max_{k≠ℓ} μ_ℓ·μ_k.
        excess: max over pairs of μ_ℓ·μ_k − φ; the condition is met when it is below 0.
        error_bound: the bound on ξ that would follow.
        guessing: error of naming the largest class always.
    """

    thresholds: np.ndarray
    largest_product: float
    excess: float
    error_bound: float
    guessing: float

    @property
    def vacuous(self) -> bool:
        """No encoder on the unit sphere can meet it, or what follows is worth no more than guessing."""
        return bool(self.thresholds.min() <= -1 or self.error_bound >= self.guessing)

    @property
    def verdict(self) -> str:
        """In words, never more than was measured."""
        if self.thresholds.min() <= -1:
            return (
                f"vacuous: it asks for class centres with a product below {self.thresholds.min():.3f}, "
                "which no unit vectors have"
            )
        if self.error_bound >= self.guessing:
            return (
                f"vacuous: all that would follow is an error of at most {self.error_bound:.3f}; always "
                f"naming the largest class errs on {self.guessing:.3f}"
            )
        if self.excess >= 0:
            return (
                f"fails by {self.excess:.4f}: class centres are nearer than it allows with the main "
                "parts found here"
            )
        return (
            f"not refuted: met with {-self.excess:.4f} to spare on these examples and views, and then "
            f"the error is at most {self.error_bound:.4f}; R_ε is a lower estimate, so that this is "
            "no proof"
        )


def _thresholds(rho: np.ndarray, mean_gap: float) -> np.ndarray:
    return 1 - rho - np.sqrt(2 * rho) - mean_gap / 2


def full_condition(means: np.ndarray, constants: Constants, *, safe: bool = False) -> Condition:
    """Theorem 4.1: the mean classifier errs on at most (1−σ) + R_ε if the centres are far apart.

    Args:
        means: [K, d]; μ_k.
        constants: measured or assumed.
        safe: with ρ̃ instead of the printed ρ.

    Returns:
        The condition, with r² taken out: products and thresholds are divided by it.

    Raises:
        DataError: fewer than two classes.
    """
    thresholds = _thresholds(constants.rho(safe=safe), constants.mean_gap)
    products = _products(means, constants)
    return Condition(
        thresholds=thresholds,
        largest_product=float(products.max()),
        excess=float((products - thresholds[:, None]).max()),
        error_bound=1 - constants.sigma + constants.misaligned,
        guessing=1 - float(constants.shares.max()),
    )


def subset_condition(
    subset_means: np.ndarray,
    constants: Constants,
    nu_div: np.ndarray,
    nu_misaligned: float,
    *,
    safe: bool = False,
    linear: bool = False,
) -> Condition:
    """Theorem 4.3: the same for an encoder trained on a subset, from the subset's centres.

    Exact: φ(ρ + ν_R/p) − G; as the paper prints it (`linear`): φ(ρ) − C ν_R − G with
    C = (1 + 1/√(2ρ))/p. G = 2ν + ν², ν = max(ν_div^k, ν_div^ℓ).

    Args:
        subset_means: [K, d]; μ_k^S.
        constants: of the full data.
        nu_div: [K].
        nu_misaligned: ν_R = Σ_k p_k ν_align^k, η included.
        safe: with ρ̃ instead of the printed ρ.
        linear: the printed, linearised threshold, never larger.

    Raises:
        DataError: fewer than two classes.
    """
    rho, shares = constants.rho(safe=safe), constants.shares
    if linear:
        with np.errstate(divide="ignore"):
            slope = (1 + 1 / np.sqrt(2 * rho)) / shares
        base = _thresholds(rho, constants.mean_gap) - slope * nu_misaligned
    else:
        base = _thresholds(rho + nu_misaligned / shares, constants.mean_gap)
    worse = np.maximum(nu_div[:, None], nu_div)
    thresholds = base[:, None] - (2 * worse + worse**2)
    np.fill_diagonal(thresholds, np.inf)
    products = _products(subset_means, constants)
    return Condition(
        thresholds=thresholds.min(axis=1),
        largest_product=float(products.max()),
        excess=float((products - thresholds).max()),
        error_bound=1 - constants.sigma + constants.misaligned + nu_misaligned,
        guessing=1 - float(shares.max()),
    )


def _products(means: np.ndarray, constants: Constants) -> np.ndarray:
    """μ_ℓ·μ_k / r², with −∞ on the diagonal."""
    if len(means) < 2:
        raise DataError("at least two classes", f"{len(means)}")
    products = means @ means.T / constants.radius**2
    np.fill_diagonal(products, -np.inf)
    return products


def measure_constants(
    views: np.ndarray, codes: np.ndarray, epsilons: Sequence[float] = (), *, seed: int = 0
) -> Constants:
    """The constants of theorem 4.1 on given views, with the ε, δ and σ that make its ρ smallest.

    Args:
        views: [n, m, d]; unit rows, m ≥ 2.
        codes: int64 [n]; classes 0..K−1, none empty.
        epsilons: what ε may be; default: the quantiles of the widest pairs of views.
        seed: of the examples on which main parts are looked for.

    Raises:
        UsageError: a negative ε.
        DataError: fewer than two views.
    """
    if views.shape[1] < 2:
        raise DataError("at least two views of every example", f"{views.shape[1]}")
    if any(epsilon < 0 for epsilon in epsilons):
        raise UsageError("every ε of at least 0", f"{list(epsilons)}")
    shares = np.bincount(codes) / codes.size
    _, widest = view_spread(views)
    # With ε at a quantile exactly the wider examples are misaligned.
    choices = np.asarray(epsilons or np.quantile(widest, np.linspace(0, 1, 41)))
    sigmas, deltas = main_parts(views, codes, seed=seed)
    misaligned = np.array([(widest > epsilon).mean() for epsilon in choices])
    reach = deltas[:, None] + 2 * choices
    rho = 2 * (1 - sigmas[:, None]) + misaligned / shares.min() + sigmas[:, None] * reach
    part, step = np.unravel_index(rho.argmin(), rho.shape)
    return Constants(
        shares=shares,
        sigma=float(sigmas[part]),
        delta=float(deltas[part]),
        epsilon=float(choices[step]),
        misaligned=float(misaligned[step]),
        min_mean_norm=float(np.linalg.norm(class_means(views, codes), axis=1).min()),
    )


def class_means(views: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """μ_k: the mean of all views of a class, [K, d]."""
    sums = np.zeros((codes.max() + 1, views.shape[2]))
    np.add.at(sums, codes, views.mean(axis=1, dtype=np.float64))
    return sums / np.bincount(codes)[:, None]


def mean_classifier_error(views: np.ndarray, codes: np.ndarray, means: np.ndarray) -> float:
    """ξ of the nearest-mean classifier on the given views: argmin_k ‖f(x) − μ_k‖ (equations 3, 4)."""
    scores = views.astype(np.float64) @ means.T - (means**2).sum(axis=1) / 2
    return float((scores.argmax(axis=2) != codes[:, None]).mean())
