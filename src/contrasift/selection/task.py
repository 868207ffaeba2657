"""What is chosen from, how, and the answer: the terms in which a class is solved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np

from contrasift.arrays import largest_first
from contrasift.options import ChoiceOptions
from contrasift.selection.kernels.linear_form import RowSizes, default_redundancy
from contrasift.selection.watch import Watch

SORTED_AT_ONCE = 1 << 24  # entries
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class SettledOptions(ChoiceOptions):
    """The options of a selection once λ is known: how each class is solved."""

    redundancy: float = 1.0

    @classmethod
    def of(cls, options: ChoiceOptions, share: float) -> SettledOptions:
        """The same options; λ, where it is not given, as the share of the pool asks for."""
        values = options.as_dict()
        if options.redundancy is None:
            values["redundancy"] = default_redundancy(share) if share > 0 else 1.0
        return cls(**values)


@dataclass(frozen=True)
class Task:
    """One class to choose from.

    Attributes:
        code: its number; part of the seed of what is random in it.
        budget: how many to choose.
        keep: int64; rows that must be chosen, ascending.
        eligible: bool [n]; rows that may be chosen; None for all.
        later: bool [n]; copies, which come behind all other rows that may be chosen; None for none.
        order: int64 [n]; a ranking that was made outside (the random one of a whole pool).
        split: tell each chosen row's part of F.
        scores: float64 [n]; of a file, for the objective that keeps the highest or lowest.
        work: gains that greedy may compute under optimizer='auto', before it hurries.
        watch: who is told how far it is.
        distinct: no two rows that may be chosen are equal.
        sizes: of the rows, where they are known.
        aim: float64 [d]; what every row of the class adds to T beside itself: a weighted target.
    """

    code: int
    budget: int
    keep: np.ndarray | None = None
    eligible: np.ndarray | None = None
    order: np.ndarray | None = None
    split: bool = False
    scores: np.ndarray | None = None
    work: int | None = None
    watch: Watch | None = None
    distinct: bool = False
    sizes: RowSizes | None = None
    aim: np.ndarray | None = None
    later: np.ndarray | None = None

    def sizes_without_choice(self, n: int) -> tuple[int, int]:
        """The budgets for which there is only one set: what must be kept, and all that may be."""
        kept = 0 if self.keep is None else self.keep.size
        return kept, n if self.eligible is None else int(self.eligible.sum())


@dataclass(frozen=True)
class Rule:
    """Keep e iff ⟨z_e, direction⟩ ≥ threshold; `exceptions` are the rows judged otherwise."""

    direction: np.ndarray
    threshold: float
    exceptions: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is known of a class once it is ranked.

    Attributes:
        budget: how many are selected; fewer than asked if a refinement dropped some.
        value: F, or the value of another objective.
        upper_bound: of the value over all sets of this size; None where there is none.
        random_value: mean of the value over random sets of this size; None where unknown.
        ranked_to: how many ranks the objective itself decided.
        first_negative_gain: first selected rank with a negative gain.
        total: T [d]; empty where an engine found that nothing needs it.
        parts: float64 [budget]; ⟨z_e, T − λM⟩ of each chosen row, which sum to F; if asked for.
        rule: what the relaxation leaves.
        facts: counts of what a refinement did; λ where it had to be lowered; the path taken.
    """

    budget: int
    value: float
    upper_bound: float | None
    random_value: float | None
    ranked_to: int
    first_negative_gain: int | None
    total: np.ndarray
    parts: np.ndarray | None = None
    rule: Rule | None = None
    facts: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Solved(Outcome):
    """A ranked class.

    Attributes:
        order: int64 [n]; rows, best first; the first `budget` are selected.
        gains: float64 [n]; in that order: what each brought, or, past the budget, would bring now.
    """

    order: np.ndarray
    gains: np.ndarray

    @property
    def outcome(self) -> Outcome:
        """All but the ranking."""
        return Outcome(**{part.name: getattr(self, part.name) for part in fields(Outcome)})


def with_limits(
    order: np.ndarray, keep: np.ndarray | None, eligible: np.ndarray | None
) -> np.ndarray:
    """A ranking with the rows to keep first and those that may not be chosen last."""
    if eligible is not None:
        order = np.concatenate([order[eligible[order]], order[~eligible[order]]])
    return kept_first(order, keep)


def kept_first(order: np.ndarray, keep: np.ndarray | None) -> np.ndarray:
    """A ranking with the rows to keep first."""
    if keep is None or keep.size == 0:
        return order
    return np.concatenate([keep, order[~np.isin(order, keep)]])


def with_the_rest(
    chosen: np.ndarray, gains: np.ndarray, final: np.ndarray, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Behind the chosen rows, all others by what they would bring now; what may not be chosen last."""
    others = np.ones(final.size, dtype=bool)
    others[chosen] = False
    kinds = [others]
    if task.eligible is not None:
        kinds = [others & task.eligible, others & ~task.eligible]
    order, all_gains = np.empty(final.size, dtype=np.int64), np.empty(final.size)
    order[: chosen.size], all_gains[: chosen.size] = chosen, gains
    filled = chosen.size
    for kind in kinds:
        for rows in _largest_first(final, kind):
            own = slice(filled, filled + rows.size)
            order[own], all_gains[own] = rows, final[rows]
            filled += rows.size
    return order, all_gains


def _largest_first(values: np.ndarray, some: np.ndarray) -> Iterator[np.ndarray]:
    """Some entries from the largest, of equal ones the first first; not more than fit at once."""
    pieces = -(-values.size // SORTED_AT_ONCE)
    sample = np.sort(values[:: -(-values.size // _SAMPLE) or 1]) if pieces > 1 else values[:0]
    floors = sample[[sample.size * part // pieces for part in range(pieces - 1, 0, -1)]]
    left = some
    for floor in [*floors, None]:
        rows = np.flatnonzero(left if floor is None else left & (values >= floor))
        if floor is not None:
            left = left & (values < floor)
        yield rows[largest_first(values[rows])]
