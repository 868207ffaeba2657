"""Too few negatives to see all classes (υ = 0) can still suffice: the advisor says so, and when.

The experiment of docs/mathematics.md#fewer-negatives-than-classes: a table of scores g_j(x) over a finite space is trained on
L_sub = E CE_T with K + 1 < C draws, and compared with what the loss over all classes wants,
g_j(x) = ln P(j|x) up to a shift for each x.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

POINTS = 4


def sets_seen(priors: np.ndarray, anchor: int, negatives: int) -> dict[frozenset[int], float]:
    """P(T | class of the anchor) for K independent negatives."""
    chances: dict[frozenset[int], float] = {}
    for drawn in itertools.product(range(len(priors)), repeat=negatives):
        seen = frozenset({anchor, *drawn})
        chances[seen] = chances.get(seen, 0.0) + math.prod(priors[c] for c in drawn)
    return chances


def best_scores(priors: np.ndarray, densities: np.ndarray, negatives: int) -> np.ndarray:
    """The g [C, POINTS] that minimises E CE_T."""
    n_classes = len(priors)
    terms = [
        (anchor, sorted(seen), chance * priors[anchor])
        for anchor in range(n_classes)
        for seen, chance in sets_seen(priors, anchor, negatives).items()
    ]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        g = flat.reshape(n_classes, POINTS)
        value, slope = 0.0, np.zeros_like(g)
        for anchor, seen, weight in terms:
            scale = weight * densities[anchor]
            top = g[seen].max(axis=0)
            exponentials = np.exp(g[seen] - top)
            total = exponentials.sum(axis=0)
            value += float(scale @ (np.log(total) + top - g[anchor]))
            slope[seen] += scale * exponentials / total
            slope[anchor] -= scale
        return value, slope.ravel()

    found = minimize(
        loss,
        np.zeros(n_classes * POINTS),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-11, "maxiter": 5000},
    )
    return found.x.reshape(n_classes, POINTS)


def distance_up_to_shifts(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference once every point's scores are centred."""
    gap = (first - first.mean(axis=0)) - (second - second.mean(axis=0))
    return float(np.abs(gap).max())


@pytest.mark.parametrize(("n_classes", "negatives"), [(3, 1), (4, 1), (4, 2)])
def test_equally_likely_classes_need_no_more(
    n_classes: int, negatives: int, rng: np.random.Generator
) -> None:
    densities = rng.dirichlet(np.ones(POINTS), n_classes)
    priors = np.full(n_classes, 1 / n_classes)
    found = best_scores(priors, densities, negatives)
    assert distance_up_to_shifts(found, np.log(densities)) < 1e-5


def test_classes_of_different_sizes_lose_their_priors(rng: np.random.Generator) -> None:
    priors = np.array([0.5, 0.3, 0.2])
    densities = rng.dirichlet(np.ones(POINTS), 3)
    found = best_scores(priors, densities, 1)
    likelihood, posterior = np.log(densities), np.log(densities * priors[:, None])
    # One negative: only the likelihood is learned, so that the prior is missing from the scores.
    assert distance_up_to_shifts(found, likelihood) < 1e-5
    missing = np.abs(np.log(priors) - np.log(priors).mean()).max()
    assert distance_up_to_shifts(found, posterior) == pytest.approx(missing, abs=1e-5)
    # docs/mathematics.md#fewer-negatives-than-classes
    assert missing == pytest.approx(0.476, abs=5e-4)


def test_enough_negatives_learn_the_priors_too(rng: np.random.Generator) -> None:
    # All classes always there, by construction: the posterior, whatever the priors.
    priors = np.array([0.5, 0.3, 0.2])
    densities = rng.dirichlet(np.ones(POINTS), 3)
    few = distance_up_to_shifts(
        best_scores(priors, densities, 1), np.log(densities * priors[:, None])
    )
    many = distance_up_to_shifts(
        best_scores(priors, densities, 7), np.log(densities * priors[:, None])
    )
    assert many < few / 3
