"""Which examples are kept: every option of a selection, once.

`ChoiceOptions` are the words and numbers that `contrasift.select`, the estimator, the flags and a
recipe share. `SelectOptions` adds the file of scores, which Python takes as an array. What a matrix
of embeddings takes besides is in `matrix`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from operator import lt
from typing import Any

from contrasift.catalogue import OBJECTIVES, refuse_unused
from contrasift.errors import UsageError
from contrasift.options.declaring import Options, numbers_of, option, require
from contrasift.options.words import (
    Allocation,
    Copies,
    ObjectiveName,
    Optimizer,
    Refinement,
    ScoresEnd,
)

# λ‖M‖² must stay finite for all rows that float32 holds; above 1, λ hardly means anything.
MOST_REDUNDANCY = 1e9


@dataclass(frozen=True)
class ChoiceOptions(Options):
    """How a part of a pool is chosen."""

    fraction: float | None = option(
        None,
        "Share of the pool to keep, in (0, 1].",
        legal="in (0, 1]",
        remedy="A fifth of the pool is 0.2",
    )
    budget: int | None = option(
        None, "Number of examples to keep (instead of --fraction).", legal="of at least 0"
    )
    objective: ObjectiveName = option(
        "sas",
        "What is kept: "
        + "; ".join(f"`{one.name}`: {one.description}" for one in OBJECTIVES.values())
        + ".",
    )
    redundancy: float | None = option(
        None,
        "λ of F_λ: how much similarity among the selected counts against them; default: min(1, 1 / (4·fraction)).",
        legal=f"of at least 0 and at most {MOST_REDUNDANCY:g}",
    )
    optimizer: Optimizer = option(
        "auto",
        "`greedy` (nested ranking, exact however long it takes); `auto`: greedy, but for sas in classes where it would take very long, as where rows are centred, the rest of the ranking by stochastic greedy, and says so; for sas also `relaxed` (Frank–Wolfe: fastest, streams, leaves a linear rule); for coverage also `stochastic` (greedy over a random part of the candidates each time).",
    )
    steps: int = option(
        20,
        "Passes over the rows that --optimizer relaxed may make.",
        later=True,
        legal="of at least 1",
    )
    refine: Refinement = option(
        "none",
        "After greedy: `swaps` (same size), or the paper's `double-greedy` or `double-greedy-random` (both may shrink the set).",
    )
    allocate: Allocation = option(
        "proportional",
        "How the budget is shared among classes: `proportional`, `equal`, `density-quota` (more to wide classes far from others), or `global` (one objective over the whole pool).",
    )
    quota_temperature: float = option(
        0.1, "τ of density-quota: shares are as exp(complexity / τ).", later=True, legal="above 0"
    )
    min_per_class: int = option(
        0, "At least this many from every class that has them.", legal="of at least 0"
    )
    threshold: float | None = option(
        None,
        "τ: averaged similarities below it count zero; for sas and published (the papers' experiments used 0 and 0.5). Where no similarity can be below it the linear path runs.",
        legal="in [-1, 1], a cosine",
    )
    coverage_weight: float = option(
        1.0,
        "Weight of coverage in coverage-centre.",
        legal="above 0",
        remedy="objective='centre' has none",
    )
    centre_weight: float = option(
        1.0, "Weight of centre in coverage-centre.", legal="of at least 0"
    )
    epsilon: float | None = option(
        None,
        "semantic-dedup: two examples whose similarity exceeds 1 − ε are one, and how many are distinct is told (the budget decides what is kept). --optimizer stochastic: the part of the optimum that chance may cost (0.1).",
        legal="in [0, 2]",
    )
    neighbours: int = option(
        20, "typicality: how many nearest neighbours tell the density.", legal="of at least 1"
    )
    scores_keep: ScoresEnd = option("high", "Which scores are kept.")
    levels: str = option(
        "",
        "balanced: clusters of every level of the tree, coarse to fine; default: one for 64 examples, at most 10,000, and a tenth at each coarser level.",
        metavar="K,K,...",
        later=True,
    )
    target_weight: float = option(
        0.0,
        "sas: weight of the mean similarity to --target beside that to the class.",
        later=True,
        legal=f"of at least 0 and at most {MOST_REDUNDANCY:g}",
    )
    copies: Copies = option(
        "one",
        "Examples with equal rows: `one` stands for all, and the others rank behind everything else (column `copy_of`); `keep`: each has its own place.",
        later=True,
    )
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check every number, and that the choices go together."""
        super().__post_init__()
        if self.fraction is not None and self.budget is not None:
            raise UsageError("fraction= or budget=", "both", "Give only one of them")
        self.check_places()
        self.level_counts()
        require(
            self.refine == "none" or self.greedy,
            f"optimizer='greedy' for refine='{self.refine}'",
            f"optimizer='{self.optimizer}'",
        )
        require(
            self.steps == 20 or self.optimizer == "relaxed",
            "optimizer='relaxed' for steps=",
            f"optimizer='{self.optimizer}'",
        )

    def identity(self) -> dict[str, Any]:
        """As of all options; `auto` has the name of what was the default before it, and did the same."""
        return super().identity() | {"optimizer": "greedy" if self.greedy else self.optimizer}

    @property
    def greedy(self) -> bool:
        """Whether ranks are greedy's, all of them or as far as its work is bounded."""
        return self.optimizer in ("auto", "greedy")

    def level_counts(self) -> list[int]:
        """Clusters of every level of `balanced`, coarse to fine; none where the rule decides.

        Raises:
            UsageError: no numbers, or none that grow.
        """
        expected = "levels= as numbers that grow, coarse to fine, e.g. 10,100,1000"
        counts = numbers_of(self.levels, int)
        grow = counts is not None and all(map(lt, [0, *counts], counts))
        require(grow, expected, self.levels)
        return counts or []

    def check_places(self, *, weighted: bool = False) -> None:
        """Budgets by class must go with the objective and the allocation.

        Args:
            weighted: class weights are given.

        Raises:
            UsageError: they do not; says which was given.
        """
        given = [f"min_per_class={self.min_per_class}"] if self.min_per_class else []
        given += ["class_weights="] if weighted else []
        if self.allocate == "global" and given:
            raise UsageError(
                "no budgets by class for allocate='global'",
                " and ".join(given),
                "Use allocate='proportional' or allocate='equal'",
            )
        by_class = self.allocate in ("equal", "density-quota")
        given += [f"allocate='{self.allocate}'"] if by_class else []
        if OBJECTIVES[self.objective].blind and given:
            raise UsageError(
                f"no budgets by class for objective='{self.objective}', which is blind to classes",
                " and ".join(given),
                "Use objective='random-per-class'"
                if self.objective == "random"
                else "Leave it away",
            )
        require(
            self.quota_temperature == 0.1 or self.allocate == "density-quota",
            "allocate='density-quota' for quota_temperature=",
            f"allocate='{self.allocate}'",
        )

    def check_uses(self, *, scored: bool, targeted: bool = False) -> None:
        """What only some objectives take must be taken by this one, and what it needs be there.

        Args:
            scored: scores are given.
            targeted: a target is given.

        Raises:
            UsageError: an option would have no effect, or one is missing.
        """
        further = set().union(*(one.uses for one in OBJECTIVES.values()))
        given = [
            item.name
            for item in dataclasses.fields(self)
            if item.name in further and getattr(self, item.name) != item.default
        ]
        given += [] if self.greedy else [self.optimizer]
        given += ["scores"] if scored else []
        given += ["target"] if targeted and "target" not in given else []
        refuse_unused(self.objective, given)
        if self.objective == "sas":
            require(
                targeted == (self.target_weight > 0),
                "target= and target_weight= above 0 together for objective='sas'",
                "one of them",
                "objective='target' needs no weight",
            )
            require(
                not targeted or self.threshold is None,
                "no threshold= beside target_weight=",
                f"threshold={self.threshold}",
            )


@dataclass(frozen=True)
class SelectOptions(ChoiceOptions):
    """Which examples are kept."""

    scores: str = option(
        "",
        "File with a score an example, for the objective scores: .parquet or .csv with columns `index` and the scores, .npy, or a number a line.",
    )
    scores_column: str = option("", "Column of the scores; default: the only one beside `index`.")
    target: str = option(
        "",
        "For the objective target, and for sas with --target-weight: examples to be near to. Their ids, or indices where there are none, as for --must-keep; or a .npy matrix of vectors.",
        metavar="FILE",
        later=True,
    )

    def __post_init__(self) -> None:
        """Check that the objective takes what is given."""
        super().__post_init__()
        self.check_uses(scored=bool(self.scores), targeted=bool(self.target))

    def arguments(self) -> dict[str, Any]:
        """What `contrasift.select` takes of these; the file of scores is read by the caller."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(ChoiceOptions)}
