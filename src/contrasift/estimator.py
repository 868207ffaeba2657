"""Selecting as a scikit-learn estimator: `fit`, attributes with an underscore, clones, pipelines."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from contrasift.options.declaring import plain
from contrasift.results import Certificate
from contrasift.selection.select import select

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    from contrasift.options.words import (
        Allocation,
        Copies,
        ObjectiveName,
        Optimizer,
        Refinement,
        Scaling,
    )
else:  # scikit-learn hands in whatever it likes, and wants it checked in `fit`
    Allocation = Copies = ObjectiveName = Optimizer = Refinement = Scaling = Any
    SupportsFloat = SupportsIndex = Any


class AugmentationSimilaritySelector(BaseEstimator):
    """Chooses the rows of a matrix that are most worth training on, as a scikit-learn estimator.

    The same work as `contrasift.select`, where every argument is explained. Steps of a
    scikit-learn pipeline cannot drop rows, hence this has no `transform`: it is the last step, and
    `indices_` says which rows to take.

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> pipeline = make_pipeline(StandardScaler(), AugmentationSimilaritySelector(fraction=0.5))
    >>> pipeline.fit(np.random.default_rng(0).normal(size=(10, 3)))[-1].indices_.size
    5

    Args:
        fraction: share of the rows to keep, in (0, 1]; unused where `budget` is given.
        budget: how many to keep, instead.
        objective: a name of `contrasift.catalogue.OBJECTIVES`.
        redundancy: λ; default min(1, 1/(4·fraction)).
        optimizer: `auto`, `greedy`, `relaxed` or `stochastic`.
        steps: passes over the rows that `relaxed` may make.
        refine: `none`, `swaps`, `double-greedy` or `double-greedy-random`.
        allocate: places by class: `proportional`, `equal`, `density-quota` or `global`.
        min_per_class: at least this many from every class that has them.
        normalize: `rows` scales every row to length one, and so does `auto` here; `none` takes
            them as means of unit views.
        threshold: τ; similarities below it count zero.
        coverage_weight: of coverage in `coverage-centre`.
        centre_weight: of centre in `coverage-centre`.
        epsilon: of `semantic-dedup` and `stochastic`.
        neighbours: of `typicality`.
        levels: of `balanced`: clusters of every level, coarse to fine.
        quota_temperature: τ of `density-quota`.
        copies: `one` of equal rows stands for all, or `keep` all.
        threads: None for all processors. The selection does not depend on it.
        random_state: of what is random: a number, a `RandomState`, or None for 0.

    Attributes:
        indices_: int64 [k]; the selected rows, ascending.
        support_: bool [n]; whether each row is selected.
        ranking_: int64 [n]; every row, best first: any prefix is the selection for that budget.
        certificate_: how good the selection is, provably; None where the objective has no bound.
        selection_: all of it, a `contrasift.Selection`.
        n_features_in_: columns of the matrix.
        feature_names_in_: their names, where it had names.
    """

    def __init__(
        self,
        fraction: SupportsFloat | None = 0.2,
        *,
        budget: SupportsIndex | None = None,
        objective: ObjectiveName = "sas",
        redundancy: SupportsFloat | None = None,
        optimizer: Optimizer = "auto",
        steps: SupportsIndex = 20,
        refine: Refinement = "none",
        allocate: Allocation = "proportional",
        min_per_class: SupportsIndex = 0,
        normalize: Scaling = "rows",
        threshold: SupportsFloat | None = None,
        coverage_weight: SupportsFloat = 1.0,
        centre_weight: SupportsFloat = 1.0,
        epsilon: SupportsFloat | None = None,
        neighbours: SupportsIndex = 20,
        levels: Any = None,
        quota_temperature: SupportsFloat = 0.1,
        copies: Copies = "one",
        threads: SupportsIndex | None = None,
        random_state: Any = None,
    ):
        # scikit-learn wants arguments kept as they came, and checked in `fit`.
        self.fraction = fraction
        self.budget = budget
        self.objective = objective
        self.redundancy = redundancy
        self.optimizer = optimizer
        self.steps = steps
        self.refine = refine
        self.allocate = allocate
        self.min_per_class = min_per_class
        self.normalize = normalize
        self.threshold = threshold
        self.coverage_weight = coverage_weight
        self.centre_weight = centre_weight
        self.epsilon = epsilon
        self.neighbours = neighbours
        self.levels = levels
        self.quota_temperature = quota_temperature
        self.copies = copies
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> AugmentationSimilaritySelector:
        """Choose rows.

        Args:
            X: real [n, d]; one row an example.
            y: latent class of every row (integers or text), from labels or a clustering; None: the
                rows are one class.

        Returns:
            self.

        Raises:
            ValueError: arguments out of range, rows that are not finite or zero, classes of another
                length.
        """
        rows = validate_data(self, X, dtype=[np.float32, np.float64])
        classes = None if y is None else _labels(y)
        given = {name: plain(value) for name, value in self.get_params(deep=False).items()}
        seed = _seed(given.pop("random_state"))
        if given["budget"] is not None:
            given["fraction"] = None
        selection = select(rows, classes, seed=seed, **given)
        self.selection_ = selection
        self.indices_: np.ndarray = selection.indices
        self.ranking_: np.ndarray = selection.ranking
        self.certificate_: Certificate | None = selection.certificate
        self.support_: np.ndarray = np.zeros(len(rows), dtype=bool)
        self.support_[self.indices_] = True
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.non_deterministic = False
        return tags


def _labels(y: Any) -> np.ndarray:
    """One label a row; those of pandas, which are objects, as integers or text."""
    labels = column_or_1d(y, warn=True)
    type_of_target(labels, input_name="y", raise_unknown=True)
    return np.asarray(labels.tolist()) if labels.dtype.kind == "O" else labels


def _seed(random_state: Any) -> int:
    """A seed out of whatever scikit-learn takes as one."""
    if random_state is None:
        return 0
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
