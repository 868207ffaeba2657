"""What a contrastive loss says about a supervised one, term by term.

The law that is bounded is the one that is measured: an anchor x, uniform among the given examples, its
view a, uniform among its given views, a positive view a⁺ of x (another one, or any: `distinct`), and
K negatives, each a view of an example, drawn with replacement. With t the temperature, c the classes,
μ_c the mean of all views of class c, T the set of classes among the K+1 examples, Col the number of
negatives of the anchor's class:

    L_Info = E ln(1 + Σ_k e^{f(a)·(f(a_k⁻) − f(a⁺))/t})
    CE_T   = ln Σ_{j∈T} e^{f(a)·(μ_j − μ_c)/t},  L_sup = E[CE_T | |T| = C],  L_sub = E[CE_T | |T| < C]
    d      = (1/t) E min{0, f(a)·(μ_c − μ(x))},  μ(x) the mean of what a⁺ can be

    L_Info ≥ ½ {υ L_sup + (1−υ) L_sub + E ln(Col+1)} + d                    (Nozawa & Sato 2021)
    L_Info ≥ E[CE_T; Col = 0] + E ln(Col+1) + d                             (after Arora et al. 2019)

Both hold exactly for this law. Jensen's inequality over a⁺ and a_k⁻ puts means in place of their
features, ln(1 + e^δ A) ≥ ln(1+A) + min(δ, 0) takes d out, and what remains, ln(1 + Col + Σ others), is
at least CE_T and at least ln(Col+1). About the law of unseen examples they are estimates.
Numbers to check against: docs/mathematics.md#the-bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contrasift.theory.terms import Terms


def lower_bounds(terms: Terms) -> dict[str, float]:
    """What L_Info cannot be below: `nozawa-sato` and `arora`, as the module's formulas say."""
    ours = 0.5 * (terms.coverage * terms.supervised + terms.partial + terms.log_collisions)
    free = terms.supervised_without_collision + terms.partial_without_collision
    return {
        "nozawa-sato": ours + terms.shift,
        "arora": free + terms.log_collisions + terms.shift,
    }


@dataclass(frozen=True)
class UpperBound:
    """A bound on L_sup, kept as a quotient: the weight may be below the float range.

    Attributes:
        numerator: what remains of L_Info.
        log_weight: ln of the weight of L_sup in it.
        valid: whether it really bounds L_sup (up to sampling error).
    """

    numerator: float
    log_weight: float
    valid: bool

    @property
    def value(self) -> float:
        """The quotient numerator / weight; infinite beyond the float range."""
        if self.log_weight < -700:
            return math.copysign(math.inf, self.numerator)
        return self.numerator / math.exp(self.log_weight)

    @property
    def log_value(self) -> float | None:
        """The logarithm of the value; None if it is not positive or the weight is zero."""
        if self.numerator <= 0 or self.log_weight == -math.inf:
            return None
        return math.log(self.numerator) - self.log_weight


def upper_bounds(terms: Terms) -> dict[str, UpperBound]:
    """The bounds, rearranged for L_sup, by name.

    - `nozawa-sato`: [2 L_Info − (1−υ) L_sub − E ln(Col+1) − 2d] / υ.
    - `arora`: [L_Info − E[CE_T; Col=0, |T|<C] − E ln(Col+1) − d] / w; w = P(Col=0, |T|=C) for equally
      likely classes, else the smaller weight that is safe (`Terms.log_arora_weight`).
    - `nozawa-sato-notebook`: as the paper's notebook plots it, with *half* of (1−υ) L_sub: looser.
    - `arora-notebook`: the same numerator divided by 1 − τ: not a bound.
    - `ash`: Ash et al. (AISTATS 2022), [2/(1−τ)] max{1, 2(C−1)H_{C−1}/K} (L_Info − E ln(Col+1)),
      equally likely classes only. Its positives are other examples of the class, so that with views
      as positives it is not a bound; for comparison.

    Args:
        terms: of one K.
    """
    ours = 2 * (terms.loss - terms.shift) - terms.log_collisions
    arora = terms.loss - terms.partial_without_collision - terms.log_collisions - terms.shift
    found = {
        "nozawa-sato": UpperBound(ours - terms.partial, terms.log_coverage, True),
        "arora": UpperBound(arora, terms.log_arora_weight, True),
        "nozawa-sato-notebook": UpperBound(ours - terms.partial / 2, terms.log_coverage, True),
        "arora-notebook": UpperBound(arora, terms.log_no_collision, False),
    }
    if terms.uniform and terms.n_classes > 1:
        others = terms.n_classes - 1
        harmonic = float(np.sum(1.0 / np.arange(1, others + 1)))
        factor = 2 * max(1.0, 2 * others * harmonic / terms.negatives)
        found["ash"] = UpperBound(
            factor * (terms.loss - terms.log_collisions), terms.log_no_collision, False
        )
    return found
