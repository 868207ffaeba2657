"""What both optimisers ask of their arguments."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64

from contrasift.arrays import check_budget
from contrasift.errors import UsageError
from contrasift.options.selecting import MOST_REDUNDANCY
from contrasift.selection.kernels import linear_form


def check_redundancy(redundancy: float) -> None:
    """λ must be a number from 0 to 10⁹.

    Raises:
        UsageError: it is not.
    """
    if not 0 <= redundancy <= MOST_REDUNDANCY:
        raise UsageError(
            f"a redundancy λ of at least 0 and at most {MOST_REDUNDANCY:g}", f"{redundancy}"
        )


def check_places(
    n: int,
    budget: int,
    keep: Int64[np.ndarray, " m"] | None,
    eligible: Bool[np.ndarray, " n"] | None,
) -> tuple[Int64[np.ndarray, " m"], Bool[np.ndarray, " n"]]:
    """The rows to keep, ascending, and which of the others may be taken.

    Raises:
        UsageError: they do not leave room for exactly `budget` rows.
    """
    check_budget(budget, n)
    kept = linear_form.checked_rows(np.zeros(0) if keep is None else keep, n, "rows to keep")
    kept = np.unique(kept)
    open_rows = np.ones(n, dtype=np.bool_) if eligible is None else np.array(eligible, np.bool_)
    if open_rows.shape != (n,):
        raise UsageError(f"`eligible` as one flag for each of the {n} rows", f"{open_rows.shape}")
    open_rows[kept] = False
    if kept.size > budget:
        raise UsageError(
            f"at most {budget} rows to keep, the budget", f"{kept.size}", "Raise the budget"
        )
    if int(np.count_nonzero(open_rows)) < budget - kept.size:
        raise UsageError(
            f"{budget - kept.size} rows that may be taken beside those to keep",
            f"{np.count_nonzero(open_rows)}",
            "Lower the budget or exclude fewer rows",
        )
    return kept, open_rows
