"""Whether similarity to the class says anything about its rows, and what to say where it does not."""

from __future__ import annotations

from contrasift.selection.kernels.passes import Passes

# Sums of the similarities of fewer rows are small whatever the rows are.
_LEAST_ROWS = 100


def similarity_says_nothing(passes: Passes) -> bool:
    """Whether a row is, on average, less similar to all other rows together than to itself.

        ‖T‖² = Σ_i Σ_j s_ij < 2 Σ_i ‖z_i‖²

    The left side is n times the mean row's similarity to its class, its own similarity to itself
    included; the latter is Σ‖z‖². So below twice that the others add less than the row itself. Where
    rows are centred T = 0, and for n rows of independent directions ‖T‖² = Σ‖z‖² on average. Then
    F_λ is −λ‖M‖² up to the size of a few rows: any set whose rows cancel each other is as good as
    any other, and a linear rule, whose rows point one way, is far worse than chance. A mean
    similarity of 1/n is enough to pass: 0.01 in a class of a hundred rows. Smaller classes are
    not judged.
    """
    if passes.n < _LEAST_ROWS:
        return False
    total = passes.fixed_total() / passes.scale
    return bool(total @ total < 2.0 * float(passes.squares().sum()))


def why_nothing(where: str) -> str:
    """The warning, with its remedies.

    Args:
        where: such as `the pool` or `class 7`.
    """
    return (
        f"similarity to the rest says nothing in {where}: an example is less similar to all others "
        "together than to itself, as where the mean was taken off the rows, so that F hardly "
        "prefers any selection; rows that are not centred, latent classes (classes=), or another "
        "objective= (coverage, k-center) help"
    )
