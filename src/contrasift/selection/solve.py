"""One class, or the whole pool as one, by any objective of the catalogue."""

from __future__ import annotations

from collections.abc import Callable

from contrasift.arrays import EmbeddingMatrix
from contrasift.selection import solvers as alternatives
from contrasift.selection.copies import solve_without_copies
from contrasift.selection.task import SettledOptions, Solved, Task

Solver = Callable[[EmbeddingMatrix, Task, SettledOptions, "int | None"], Solved]

SOLVERS: dict[str, Solver] = {
    "sas": alternatives.sas,
    "published": alternatives.published,
    "coverage": alternatives.coverage,
    "centre": alternatives.centre,
    "coverage-centre": alternatives.coverage_and_centre,
    "herding": alternatives.by_herding,
    "k-center": alternatives.by_k_center,
    "prototype-near": alternatives.by_prototype,
    "prototype-far": alternatives.by_prototype,
    "semantic-dedup": alternatives.by_deduplication,
    "typicality": alternatives.by_typicality,
    "scores": alternatives.by_scores,
    "easy-removal": alternatives.by_scores,
    "hard-removal": alternatives.by_scores,
    "target": alternatives.by_scores,
    "balanced": alternatives.by_chance,
    "random": alternatives.by_chance,
    "random-per-class": alternatives.by_chance,
}


def solve(
    values: EmbeddingMatrix, task: Task, options: SettledOptions, threads: int | None = None
) -> Solved:
    """Rank one class and measure the choice.

    Args:
        values: z [n, d], the rows of the class.
        task: what to choose.
        options: how; its objective must be one of the catalogue.
        threads: None for all processors.

    Raises:
        UsageError: the relaxation beyond the fraction 1/(2λ); an option that does not fit.
    """
    solver = SOLVERS[options.objective]
    return solve_without_copies(task, lambda task: solver(values, task, options, threads))
