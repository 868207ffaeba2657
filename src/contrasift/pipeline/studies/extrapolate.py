"""What a fraction costs in accuracy, extrapolated from trainings at a few of them.

The accuracy at fraction f is taken as

    acc(f) = a − b·(f^(−c) − 1)/c,    b ≥ 0,   −1 ≤ c ≤ 3

a power law for c > 0, the usual form of learning curves; −1 leaves room for short trainings that gain
evenly with every step (a straight line), and c → 0 is the logarithm a + b·ln f. It is fitted by least
squares to the means over seeds. a is the accuracy of the whole pool; a fraction costs

    loss(f) = acc(1) − acc(f) = b·(f^(−c) − 1)/c

and the smallest one that costs at most L is f* = (1 + cL/b)^(−1/c), never below the smallest that was
tried. Intervals are those of a parametric bootstrap: the means are moved by Student's t times their
standard error, which is estimated from what is left of the accuracies after the effects of fraction and
of seed (a seed that is better everywhere says nothing of the loss), and the law is fitted anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

_EXPONENTS = np.delete(np.round(np.linspace(-1.0, 3.0, 81), 3), 20)  # without 0
_DRAWS = 4000
GRID = np.round(np.geomspace(0.01, 1.0, 61), 4)


@dataclass(frozen=True)
class Advice:
    """The smallest fraction that is good enough, as far as it can be told.

    Attributes:
        tells: whether the fraction can be told.
        reason: why not, in words, and what would help; empty where it can.
        fraction: f*, rounded up to a hundredth; None where there is nothing to fit.
        fraction_low: lower end of the 95 % interval of f*.
        fraction_high: upper end.
        loss: what the law says that this fraction costs.
        loss_low: lower end of its 95 % interval.
        loss_high: upper end.
        sure: share of the bootstrap's laws by which it costs at most what it may.
        law: a, b and c.
        standard_error: of a mean over seeds.
        freedom: degrees of freedom of this error.
        grid: float64 [g]; fractions.
        grid_loss: float64 [g]; the law's loss at each.
        grid_low: float64 [g]; lower end of its 95 % interval.
        grid_high: float64 [g]; upper end.
    """

    tells: bool
    reason: str
    fraction: float | None = None
    fraction_low: float | None = None
    fraction_high: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    sure: float | None = None
    law: tuple[float, float, float] | None = None
    standard_error: float | None = None
    freedom: int | None = None
    grid: np.ndarray | None = None
    grid_loss: np.ndarray | None = None
    grid_low: np.ndarray | None = None
    grid_high: np.ndarray | None = None


def advise_fraction(
    fractions: Float64[np.ndarray, " f"],
    accuracies: Float64[np.ndarray, "f s"],
    loss: float,
    *,
    seed: int = 0,
) -> Advice:
    """Suggest the smallest fraction that costs at most a given loss, or say why none can be told.

    Args:
        fractions: ascending.
        accuracies: one row a fraction, one column a seed, in the unit of the loss.
        loss: L, what a fraction may cost.
        seed: of the bootstrap.

    Returns:
        The advice; it does not tell where there are fewer than three fractions or two seeds, or
        where the interval of the suggested fraction's loss is wider than L.
    """
    count, seeds = accuracies.shape
    if count < 3:
        return Advice(False, f"three fractions are needed to fit the law, there are {count}")
    if seeds < 2:
        return Advice(False, "two seeds at least are needed to know how far accuracies vary")
    means = accuracies.mean(axis=1)
    error, freedom = _standard_error(accuracies)
    generator = np.random.default_rng(seed)
    moved = means + error * generator.standard_t(freedom, (_DRAWS, count))
    law = fit_law(fractions, means[None])[0]
    laws = fit_law(fractions, moved)
    best = smallest_fraction(law[None], loss, fractions[0])[0]
    chosen = min(1.0, math.ceil(round(100 * best, 6)) / 100)
    reached = np.quantile(smallest_fraction(laws, loss, fractions[0]), [0.025, 0.975])
    lost = losses(laws, np.array([chosen]))[:, 0]
    low, high = np.quantile(lost, [0.025, 0.975])
    band = np.quantile(losses(laws, GRID), [0.025, 0.975], axis=0)
    reason = ""
    if high - low > loss:
        needed = math.ceil(seeds * ((high - low) / loss) ** 2)
        reason = (
            f"the loss at {chosen:g} lies between {low:.2f} and {high:.2f} points, an interval wider "
            f"than the {loss:g} allowed; about {needed} seeds would narrow it enough"
        )
    return Advice(
        tells=not reason,
        reason=reason,
        fraction=chosen,
        fraction_low=float(reached[0]),
        fraction_high=float(reached[1]),
        loss=float(losses(law[None], np.array([chosen]))[0, 0]),
        loss_low=float(low),
        loss_high=float(high),
        sure=float((lost <= loss).mean()),
        law=(float(law[0]), float(law[1]), float(law[2])),
        standard_error=error,
        freedom=freedom,
        grid=GRID,
        grid_loss=losses(law[None], GRID)[0],
        grid_low=band[0],
        grid_high=band[1],
    )


def fit_law(
    fractions: Float64[np.ndarray, " f"], accuracies: Float64[np.ndarray, "r f"]
) -> Float64[np.ndarray, "r 3"]:
    """a, b ≥ 0 and c by least squares, for every row of accuracies.

    c is a multiple of 0.05 between −1 and 3; for each, a and b are a straight line's. Accuracies
    that do not rise with the fraction give b = 0.
    """
    best = np.full(len(accuracies), np.inf)
    laws = np.zeros((len(accuracies), 3))
    middle = accuracies.mean(axis=1, keepdims=True)
    for exponent in _EXPONENTS:
        x = (1.0 - fractions**-exponent) / exponent
        spread = x - x.mean()
        slope = np.maximum(0.0, (accuracies - middle) @ spread / (spread @ spread))
        squares = ((accuracies - middle - slope[:, None] * spread) ** 2).sum(axis=1)
        better = squares < best
        found = (middle[:, 0] - slope * x.mean(), slope, np.full(slope.size, exponent))
        best[better], laws[better] = squares[better], np.stack(found, axis=1)[better]
    return laws


def losses(
    laws: Float64[np.ndarray, "r 3"], fractions: Float64[np.ndarray, " g"]
) -> Float64[np.ndarray, "r g"]:
    """b·(f^(−c) − 1)/c of every law at every fraction."""
    exponent = laws[:, 2:3]
    return laws[:, 1:2] * (fractions**-exponent - 1.0) / exponent


def smallest_fraction(
    laws: Float64[np.ndarray, "r 3"], loss: float, least: float | np.floating
) -> Float64[np.ndarray, " r"]:
    """f* = (1 + cL/b)^(−1/c) of every law, but not below the smallest fraction that was tried."""
    _, scale, exponent = laws.T
    # A straight line that never loses L, and a level one, have no f*.
    inside = np.maximum(1.0 + exponent * loss / np.maximum(scale, 1e-9), 1e-300)
    return np.maximum(float(least), inside ** (-1.0 / exponent))


def _standard_error(accuracies: np.ndarray) -> tuple[float, int]:
    """Of a mean over seeds, without what seeds have in common over fractions."""
    count, seeds = accuracies.shape
    rest = accuracies - accuracies.mean(axis=1, keepdims=True)
    rest = rest - rest.mean(axis=0)
    freedom = (count - 1) * (seeds - 1)
    return float(np.sqrt((rest**2).sum() / freedom / seeds)), freedom
