"""`latent_classes`: one door to every method."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from contrasift.arrays import check_matrix
from contrasift.classes.agreement import class_agreement, label_codes, renumber
from contrasift.classes.few_labels import few_label_classes, propagate_classes
from contrasift.classes.given import check_known, classes_from_labels, draw_known, named, one_class
from contrasift.classes.graph_classes import graph_classes
from contrasift.classes.kmeans import Assigned, choose_n_classes, kmeans, split_large
from contrasift.classes.neighbours import Searching
from contrasift.classes.rows import Rows, prepare_rows
from contrasift.errors import UsageError
from contrasift.options.arguments import checked_arguments
from contrasift.options.choosing import ClassesOptions
from contrasift.options.matrix import LEAST_ROWS_FOR_CLASSES
from contrasift.options.words import ClassMethod, GraphKind, Metric
from contrasift.results import LatentClasses

METHODS: tuple[ClassMethod, ...] = typing.get_args(ClassMethod)
_OF_KNOWN = ("few-labels", "propagate")

Found = tuple[np.ndarray, np.ndarray, dict[str, Any]]


@checked_arguments
def latent_classes(
    embeddings: object,
    *,
    method: ClassMethod = "auto",
    n_classes: int | str | None = None,
    labels: object = None,
    label_names: Sequence[str] = (),
    known: object = None,
    label_share: float | None = None,
    whiten: int = 128,
    metric: Metric = "spherical",
    restarts: int = 5,
    iterations: int = 25,
    max_class_size: int | None = None,
    graph_neighbours: int | str = 10,
    resolution: float | str = 3.0,
    graph: GraphKind = "union",
    seed: int = 0,
    assigning: Callable[[Rows, np.ndarray], Assigned] | None = None,
    searching: Searching | None = None,
    resolutions: Sequence[float] = (),
) -> LatentClasses:
    """Partition the pool into latent classes.

    `graph`: communities of the graph of nearest neighbours (Leiden), which find their own number.
    `kmeans`: faiss, with a number of classes that is given or chosen. `few-labels`: logistic
    regression on the rows whose labels are known. `propagate`: known labels spread over the graph.
    `labels`: the labels as they are. `none`: one class. `auto`: `graph`, unless a number of classes is asked for; then
    `kmeans`; of fewer than 20 rows one class, since nearly all are each other's neighbours.

    Rows are whitened first by default: centred, reduced to their leading components, brought to
    the same variance in each and scaled to length one. Without, they are scaled to length one
    (spherical) or left as they are (euclidean).

    Classes found are numbered by decreasing size, then by their lowest member; labelled ones keep
    the order of their labels. The score of a row, in [0, 1], is for `kmeans` 1 − a/b (a and b its
    Euclidean lengths to its own centroid and to the next), for `graph` the share of its nearest
    neighbours in its class, for `few-labels` the predicted probability, for `propagate` the share
    of its class in what arrived, for `labels` 1.

    One seed on one machine gives one result. Neighbours and communities are the same for every
    block size and thread count, and so are, given k-means' centroids, assignments.

    Args:
        embeddings: real [n, d]; the rows to cluster, or a memory map of them. `kmeans` and
            `few-labels` read them in blocks.
        method: as above.
        n_classes: for `kmeans`: a number; `LOWEST:HIGHEST` or `auto`: chosen by the
            modularity (`choose_n_classes`), `auto` from √n / 10 to 2 √n; default: as many as `labels`
            has, else `auto`.
        labels: [n], integers or text; the classes for `labels`. Otherwise no method looks at them
            but for their number (`kmeans`) and for the share that is drawn (`label_share`); the
            agreement with them is reckoned. Negative integers: unlabelled.
        label_names: what the integers in `labels` and `known` stand for.
        known: [n]; for `few-labels` and `propagate`: labels, negative where unknown.
        label_share: instead of `known`: the share of `labels` to draw, at least one a label.
        whiten: components to keep, one for 8 rows at most; 0: rows are not whitened.
        metric: of rows that are not whitened: `spherical` or `euclidean`.
        restarts: k-means starts; the one with the best objective is kept.
        iterations: k-means steps a start.
        max_class_size: larger classes of `kmeans` and `graph` are split by k-means within them.
        graph_neighbours: k of the graph; `auto` (graph only): 10, 20 or 30, by the agreement of
            seeds.
        resolution: of Leiden; more makes more classes; `auto`: chosen by the agreement of
            seeds; `consensus`: communities that runs at many resolutions agree on.
        graph: `union`: two rows are joined if one is among the k nearest of the other; `mutual`:
            if each is.
        seed: of everything random.
        assigning: where rows of `kmeans` get their centroids; default: in this process. See
            `contrasift.engines.assigning`.
        searching: how `graph` and `propagate` find neighbours among more than 65,536 rows: the
            wished recall, where pieces of the work are kept, a limit of memory.
        resolutions: for `graph`: others, at which nested classes are found: each lies within one of
            every coarser level.

    Returns:
        The classes. `facts` holds `sizes`, `seed`, `whiten` (what was kept, and the share of the
        variance in it), with labels `agreement`, and each method's own figures: for k-means
        `requested`, `empty_removed`, `inertia`, `restarts`, `iterations`, `metric`, `fitted_on`
        and `curve`; for the graph `resolution`, `edges`, `smallest`, `communities_joined`,
        `rows_joined` (their share of all rows), where rows repeat others `distinct`, and of many
        rows `neighbours_search` with the measured `recall`; for a few labels `labelled` and `heldout_accuracy`.

    Raises:
        UsageError: an unknown method, a count below 1, more classes than examples, no labels.
        DataError: NaN, infinity, a row of zeros (spherical), labels of another length, of too few
            classes, or missing.
    """
    if method not in METHODS:
        raise UsageError(f"a method among {', '.join(METHODS)}", repr(method))
    ClassesOptions(
        whiten=whiten,
        metric=metric,
        restarts=restarts,
        iterations=iterations,
        max_class_size=max_class_size,
        label_share=label_share,
        seed=seed,
        classes="few-labels" if label_share is not None else "auto",
    )
    if not all(isinstance(level, Real) and 0 < level < np.inf for level in resolutions):
        raise UsageError("resolutions= of numbers above 0", f"{tuple(resolutions)}")
    if method not in _OF_KNOWN and not (known is None and label_share is None):
        expected = "method='few-labels' or 'propagate' for known= and label_share="
        raise UsageError(expected, repr(method))
    n = check_matrix(embeddings).shape[0]
    if method == "labels":
        return classes_from_labels(n, labels, label_names)
    too_few = method == "auto" and n_classes is None and n < LEAST_ROWS_FOR_CLASSES
    if method == "none" or too_few:
        return one_class(n)
    if method == "auto":
        method = "graph" if n_classes is None else "kmeans"
    rows = prepare_rows(embeddings, whiten=whiten, metric=metric, seed=seed)
    names, levels = None, {}
    if method in _OF_KNOWN:
        few, values = (
            check_known(known, n, len(label_names))
            if label_share is None
            else draw_known(labels, n, label_share, seed)
        )
        names = named(values, label_names)
        if method == "few-labels":
            codes, score, facts = few_label_classes(rows, few, names.size, seed=seed)
        else:
            codes, score, facts = propagate_classes(
                rows,
                few,
                names.size,
                n_neighbours=int(graph_neighbours),
                kind=graph,
                seed=seed,
                searching=searching,
            )
    elif method == "graph":
        codes, score, facts, levels = graph_classes(
            rows,
            n_neighbours=graph_neighbours,
            resolution=resolution,
            kind=graph,
            seed=seed,
            searching=searching,
            levels=resolutions,
        )
    else:
        codes, score, facts = _kmeans_classes(
            rows, n_classes, labels, seed, restarts, iterations, assigning
        )
        facts["metric"] = metric
    if names is None and max_class_size is not None:
        codes, score, facts["splitting"] = split_large(
            rows, codes, score, max_class_size, seed=seed
        )
    codes, present = renumber(codes) if names is None else _present(codes)
    facts["sizes"] = np.bincount(codes).tolist()
    facts["seed"] = seed
    if rows.whitening is not None:
        kept, explained = rows.whitening.width, rows.whitening.explained
        facts["whiten"] = {"components": kept, "explained": explained}
    if labels is not None:
        facts["agreement"] = class_agreement(codes, labels)
    names = np.arange(present.size) if names is None else names[present]
    return LatentClasses(codes, names, score, method, facts, levels)


def range_of_classes(n: int, n_classes: int | str | None, n_labels: int = 0) -> tuple[int, int]:
    """The numbers of classes to choose among; one number is a range of itself.

    `auto` is √n / 10 to 2 √n; nothing is as many as there are labels, and else `auto`.

    Args:
        n: rows.
        n_classes: a number, the text of one, `LOWEST:HIGHEST`, `auto`, or None.
        n_labels: how many labels there are; 0: none.

    Raises:
        UsageError: any other text.
    """
    if n_classes is None and n_labels:
        n_classes = min(n_labels, n)
    if isinstance(n_classes, int):
        return n_classes, n_classes
    if n_classes in (None, "auto"):
        lowest = max(1, round(n**0.5 / 10))
        return lowest, max(lowest, min(n, round(2 * n**0.5)))
    ends = str(n_classes).split(":")
    if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends):
        raise UsageError(
            "a number of classes, a range such as 50:400, or auto", f"n_classes = {n_classes}"
        )
    return int(ends[0]), int(ends[-1])


def _kmeans_classes(
    rows: Rows,
    n_classes: int | str | None,
    labels: object,
    seed: int,
    restarts: int,
    iterations: int,
    assigning: Callable[[Rows, np.ndarray], Assigned] | None = None,
) -> Found:
    n = rows.shape[0]
    n_labels = 0
    if labels is not None and n_classes is None:
        known = label_codes(labels, n)
        n_labels = np.unique(known[known >= 0]).size
    lowest, highest = range_of_classes(n, n_classes, n_labels)
    facts: dict[str, Any] = {}
    wanted = lowest
    if lowest != highest:
        wanted, facts["curve"] = choose_n_classes(rows, lowest, highest, seed=seed)
    found = kmeans(
        rows, wanted, seed=seed, restarts=restarts, iterations=iterations, assigning=assigning
    )
    facts |= {
        "requested": wanted,
        "empty_removed": wanted - np.unique(found.codes).size,
        "inertia": _unscaled(found.inertia, rows.shift),
        "restarts": restarts,
        "iterations": iterations,
        "fitted_on": found.fitted_on,
    }
    return found.codes, found.score, facts


def _unscaled(inertia: float, shift: int) -> float | None:
    """The sum of squares of the rows as they came; None where no float can hold it."""
    with np.errstate(over="ignore"):
        value = float(np.ldexp(inertia, -2 * shift))
    return value if np.isfinite(value) else None


def _present(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes without gaps, in the old order, and which old code each new one was."""
    present, dense = np.unique(codes, return_inverse=True)
    return dense.reshape(-1).astype(np.int64), present
