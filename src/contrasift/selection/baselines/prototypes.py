"""Similarity to the mean of the class: the easy or the hard."""

from __future__ import annotations

import numpy as np

from contrasift.arrays import EmbeddingMatrix
from contrasift.errors import UsageError
from contrasift.selection.baselines.ranked import Ranked, ranked_by
from contrasift.selection.kernels import linear_form

_TIE_DECIMALS = 12  # duplicates of different length divide to cosines that differ in the last bits


def prototype_order(values: EmbeddingMatrix, keep: str = "near") -> Ranked:
    """By the cosine to the class mean, the prototype (Sorscher et al. 2022, section 6).

        cos_i = ⟨z_i, T⟩ / (‖z_i‖ ‖T‖),   T = Σ_i z_i

    There the prototypes are k-means centroids: our latent classes. `near` keeps the easy, better
    where examples are few; `far` keeps the hard, better where they abound.

    Args:
        values: z [n, d], the rows of one class.
        keep: `near` or `far`.

    Returns:
        the ranking; scores are cos_i for `near` and −cos_i for `far`; 0 where a length is 0.

    Raises:
        UsageError: another `keep`.
        DataError: NaN or infinity.
    """
    if keep not in ("near", "far"):
        raise UsageError("near or far for what is kept", keep)
    total = linear_form.total_of(values)
    lengths = np.sqrt(linear_form.squared_norms(values) * float(total @ total))
    products = linear_form.scores(values, total)
    cosine = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    cosine = cosine.round(_TIE_DECIMALS)
    return ranked_by(cosine if keep == "near" else -cosine)
