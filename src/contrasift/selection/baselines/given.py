"""Scores that were made elsewhere."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from contrasift.errors import DataError, UsageError
from contrasift.selection.baselines.ranked import Ranked, ranked_by


def scores_order(scores: Float64[np.ndarray, " n"], keep: str = "high") -> Ranked:
    """By a score that is known of every example, `high` or `low` first.

    Which way to keep the hard, as the sources do:

    - forgetting events (Toneva et al. 2019): `high`; an example that was never learned counts +inf
    - EL2N and GraNd (Paul et al. 2021): `high`
    - confidence, the mean probability of the label (Swayamdipta et al. 2020): `low`; its `high`
      are the easy ones

    Args:
        scores: one a row; ±inf is a score like others.
        keep: `high` or `low`.

    Returns:
        the ranking; its scores are the given ones, negated for `low`.

    Raises:
        UsageError: another `keep`.
        DataError: NaN.
    """
    if keep not in ("high", "low"):
        raise UsageError("high or low for the scores that are kept", keep)
    missing = np.flatnonzero(np.isnan(scores))
    if missing.size:
        raise DataError(
            "a score for every example",
            f"NaN for {missing.size} of them, the first in row {missing[0]}",
        )
    return ranked_by(scores if keep == "high" else -scores)
