"""What a stage hands to the next: frozen results, arrays and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from contrasift.arrays import Rows
from contrasift.errors import UsageError, missing_extra


@dataclass(frozen=True)
class Embeddings:
    """The pool as the proxy sees it.

    Attributes:
        values: float32 [m, d]; row r is the mean of the unit-norm view embeddings of one example,
            not renormalised, so that an inner product of two rows is exactly the expected cosine
            between their views (SAS, §4.5). May be memory-mapped, or a `RowReader`.
        index: int64 [m]; the pool index of each row.
        description: how they were made: encoder, layer, views, seed, normalisation.
    """

    values: Rows
    index: np.ndarray
    description: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.values.shape[0])


@dataclass(frozen=True)
class LatentClasses:
    """A partition of the pool into groups that nobody labelled (or that somebody did).

    Attributes:
        codes: int64 [m]; class of each row, 0..K-1.
        names: [K]; what each code stands for: cluster numbers or label names.
        score: float32 [m]; how sure the assignment is, in [0, 1]; ones for given labels.
        method: as in `latent_classes`, or `zero-shot`.
        facts: numbers worth keeping: inertia, restarts, sizes, agreement with labels.
        levels: int64 [m] for each other resolution that was asked for, coarse to fine.
    """

    codes: np.ndarray
    names: np.ndarray
    score: np.ndarray
    method: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    levels: Mapping[float, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        largest = int(np.bincount(self.codes).max(initial=0))
        return (
            f"LatentClasses({len(self.names):,} by {self.method} of {self.codes.size:,} rows, "
            f"the largest of {largest:,})"
        )

    @property
    def labels(self) -> np.ndarray:
        """Each row's class by its name."""
        return self.names[self.codes]


@dataclass(frozen=True)
class Certificate:
    """How good a selection is, provably.

    F_λ is concave in M = Σ_{j∈S} z_j, so its maximum over {x ∈ [0,1]^n, Σx = k} bounds every
    selection of the same size from above (Frank–Wolfe duality gap).

    Other objectives bring bounds of their own (see `contrasift.selection.solvers`).

    Attributes:
        value: F_λ(S), or the value of another objective.
        upper_bound: no selection with the same budget in every class can exceed it.
        random_value: the exact mean of the value over uniformly random subsets of the same sizes;
            None where it has no closed form.
    """

    value: float
    upper_bound: float
    random_value: float | None

    @property
    def gap(self) -> float:
        """upper_bound − value."""
        return self.upper_bound - self.value

    @property
    def share(self) -> float | None:
        """(F − E_random) / (bound − E_random): the part of the possible gain that was reached."""
        if self.random_value is None:
            return None
        possible = self.upper_bound - self.random_value
        if possible <= 0:
            return 1.0
        return (self.value - self.random_value) / possible


@dataclass(frozen=True)
class ClassSummary:
    """One latent class in a selection.

    Attributes:
        name: the class as the caller named it.
        size: examples in it.
        budget: how many of them were selected.
        value: its part of the selection's value; None where that does not split.
        upper_bound: its part of the certificate's bound; None where there is none.
        random_value: the mean of its part over random subsets; None where there is none.
        ranked_to: the rank at which greedy stopped; later ranks follow the gains there.
        first_negative_gain: the first rank with a negative gain; None if every gain so far was positive.
    """

    name: int | str
    size: int
    budget: int
    value: float | None
    upper_bound: float | None = None
    random_value: float | None = None
    ranked_to: int = 0
    first_negative_gain: int | None = None


@dataclass(frozen=True)
class Selection:
    """Which examples to train on, how they rank, and how good the choice is.

    `index`, `latent_class`, `rank`, `gain` and `selected` are the columns of `selection.parquet`,
    sorted by class, then rank.

    Attributes:
        index: int64 [n]; the example.
        gain: float64 [n]; what adding it brought when it was added, or, past the budget, would
            have brought at the final selection.
        selected: bool [n].
        order: int64 [n]; positions of the rows above, best first over the whole pool: its first
            b entries are the selection for a budget of b. What was dropped is last.
        objective: a name of `contrasift.catalogue.OBJECTIVES`.
        redundancy: λ of F_λ.
        budget: how many are selected.
        value: of the objective, or F_λ where it has none of its own; facts["measures"] says which.
        certificate: None where the objective has no bound.
        classes: one summary a class.
        seconds: time of the selection alone.
        notes: warnings in words.
        facts: everything else worth keeping in `selection.json`.
        rule: arrays of the linear rule, when the relaxation made one.
        marks: bool [n] by fraction, as text; the nested selections that were asked for at once.
        ids: how the source calls each example, an Arrow array [n]; None where it does not.
        dropped: bool [n]; what must not be selected, and ranks last of its class and of the
            pool, whatever its gain; None where nothing was dropped.
        copy_of: int64 [n]; the example that stands for this one, which equals it; −1 of one that
            stands for itself; None where all do.
    """

    index: np.ndarray
    gain: np.ndarray
    selected: np.ndarray
    order: np.ndarray
    objective: str
    redundancy: float
    budget: int
    value: float
    certificate: Certificate | None
    classes: tuple[ClassSummary, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    rule: Mapping[str, np.ndarray] | None = None
    marks: Mapping[str, np.ndarray] = field(default_factory=dict)
    ids: Any = None
    dropped: np.ndarray | None = None
    copy_of: np.ndarray | None = None

    @cached_property
    def latent_class(self) -> np.ndarray:
        """The class of every example, by name [n]."""
        return self.classes_at(slice(0, self.index.size))[0]

    @cached_property
    def rank(self) -> np.ndarray:
        """The rank of every example in its class, int64 [n]; 0 is best."""
        return self.classes_at(slice(0, self.index.size))[1]

    @cached_property
    def _class_starts(self) -> tuple[np.ndarray, np.ndarray]:
        names = np.array([part.name for part in self.classes])
        return names, np.cumsum([0, *(part.size for part in self.classes)])

    def classes_at(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """`latent_class` and `rank` of the examples start … stop alone."""
        names, starts = self._class_starts
        inside = np.diff(starts.clip(rows.start, rows.stop))
        ranks = np.arange(rows.start, rows.stop) - np.repeat(starts[:-1], inside)
        return np.repeat(names, inside), ranks

    @property
    def indices(self) -> np.ndarray:
        """The selected examples, ascending."""
        return np.sort(self.index[self.selected])

    @property
    def selected_ids(self) -> list[Any] | None:
        """What the source calls the selected examples, in the order of `indices`; None: nothing."""
        if self.ids is None:
            return None
        rows = np.flatnonzero(self.selected)
        return self.ids.take(rows[np.argsort(self.index[rows], kind="stable")]).to_pylist()

    @property
    def ranking(self) -> np.ndarray:
        """Every example, best first: any prefix is the selection for that budget.

        The least central of what could be selected stand before what was dropped, which is the
        last `n_dropped`.
        """
        return self.index[self.order]

    @property
    def n_dropped(self) -> int:
        """How many examples were dropped: the last of `ranking`, in no order that says anything."""
        return 0 if self.dropped is None else int(np.count_nonzero(self.dropped))

    def subset(self, dataset: Any) -> Any:
        """The selected part of a torch dataset whose items are the pool's, in its order.

        For a Hugging Face dataset: `dataset.select(selection.indices)`.

        Raises:
            MissingExtraError: torch is not installed.
            UsageError: a dataset that is shorter than the pool.
        """
        try:
            from torch.utils.data import Subset
        except ModuleNotFoundError as error:
            raise missing_extra(error) or error from error
        indices = self.indices.tolist()
        if indices and hasattr(dataset, "__len__") and len(dataset) <= indices[-1]:
            raise UsageError(
                f"the dataset that was selected from, with an item {indices[-1]}",
                f"one of {len(dataset)} items",
            )
        return Subset(dataset, indices)

    def to_arrow(self) -> Any:
        """Every example as a `pyarrow.Table`: the columns of `selection.parquet`.

        index, id if the source has ids, latent_class, rank, gain, selected, `dropped` if anything
        was, and `selected_F` for every fraction that was asked for; sorted by class, then rank.
        """
        import pyarrow

        names = ("index", "latent_class", "rank", "gain", "selected")
        columns = {name: getattr(self, name) for name in names}
        if self.ids is not None:
            columns = {"index": self.index, "id": self.ids, **columns}
        if self.dropped is not None:
            columns["dropped"] = self.dropped
        if self.copy_of is not None:
            columns["copy_of"] = self.copy_of
        return pyarrow.table(columns | {f"selected_{part}": it for part, it in self.marks.items()})

    def to_pandas(self) -> Any:
        """The same as a `pandas.DataFrame`; pandas must be installed."""
        return self.to_arrow().to_pandas()
