"""Selections of one pool beside each other: what they share, and what each is worth by every measure."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import class_codes, finite_or_none, unit_rows
from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.matrices import Matrix, open_embeddings
from contrasift.narration import SilentNarrator
from contrasift.pipeline.stages.selection_rows import source_of
from contrasift.selection.diagnostics.overlap import (
    class_balance,
    overlap,
    rank_correlation,
    rank_correlation_within,
)
from contrasift.store.atomic import write_json
from contrasift.store.inputs import load_classes_file, load_indices_file
from contrasift.store.made import is_there
from contrasift.store.selections import read_facts, read_selection
from contrasift.store.tables import read_table

SAMPLE = 5000  # examples whose coverage is measured, unless all are asked for


@dataclass(frozen=True)
class Listed:
    """A selection as it was given.

    Attributes:
        name: what it is called in tables.
        chosen: int64; the pool indices selected.
        ranking: int64 [n]; all pool indices, best first; None where only a list was given.
        index: int64 [n]; the pool, as `latent_class` runs over it; None with `ranking`.
        latent_class: [n]; None with `ranking`.
        objective: by which it was made; empty if unknown.
    """

    name: str
    chosen: np.ndarray
    ranking: np.ndarray | None = None
    index: np.ndarray | None = None
    latent_class: np.ndarray | None = None
    objective: str = ""


@dataclass(frozen=True)
class _Pool:
    """What all were selected from, in ascending order of index.

    Attributes:
        index: int64 [n].
        codes: int64 [n]; latent classes.
        n_classes: K.
        values: float32 [n, d]; None without embeddings.
        labels: int64 [n]; true classes, −1 unknown; None without.
        n_labels: how many of them.
    """

    index: np.ndarray
    codes: np.ndarray
    n_classes: int
    values: np.ndarray | None
    labels: np.ndarray | None
    n_labels: int


def compare_selections(
    paths: Sequence[Path],
    *,
    embeddings: Any = None,
    classes: Path | None = None,
    redundancy: float | int | None = None,
    whole: bool = False,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Measure selections of one pool alike.

    Sums of measures run over latent classes: F_λ and its share of the possible gain over random,
    (F − E)/(bound − E), for the same number in every class; coverage Σ_i max_{j∈S} s_ij / n;
    centre E s_ij; gap ‖μ − μ_S‖; the latter two as means over classes, weighted by size.

    Args:
        paths: folders that `select` or `run` wrote, a `selection.parquet` in one, or lists of pool
            indices (`.npy`, or a number a line).
        embeddings: whatever `open_embeddings` opens; default: those of the first run or selection
            whose embeddings are still there. Without any, what needs embeddings is left out.
        classes: latent classes; default: those of the first selection.
        redundancy: λ for all; default: that of the largest selection.
        whole: take coverage over all examples, instead of a sample with an interval.
        seed: of that sample.
        out: folder for `comparison.json` and `comparison.html`.

    Returns:
        `selections`, one entry each, and `pairs`, one for every two, as plain values.

    Raises:
        UsageError: fewer than two selections, or too few files to know the pool.
        DataError: selections of different pools; files that cannot be read.
    """
    if len(paths) < 2:
        raise UsageError("at least two selections to compare", f"{len(paths)}")
    if redundancy is not None and not 0 <= redundancy < math.inf:
        raise UsageError("a redundancy λ of at least 0", f"{redundancy}")
    listed = [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    matrix = _embeddings_of(paths) if embeddings is None else open_embeddings(embeddings)
    pool = _pool_of(listed, matrix, classes)
    masks = [np.isin(pool.index, one.chosen) for one in listed]
    places = [_places(pool, one) for one in listed]
    rows = [_describe(one, mask, pool) for one, mask in zip(listed, masks, strict=True)]
    result: dict[str, Any] = {"n": pool.index.size, "n_classes": pool.n_classes}
    if pool.values is not None:
        from contrasift.selection.kernels.linear_form import default_redundancy

        largest = max(int(mask.sum()) for mask in masks) / pool.index.size
        if redundancy is None:
            redundancy = default_redundancy(largest) if largest > 0 else 1.0
        result["redundancy"] = redundancy
        sample = None if whole else SAMPLE
        for row, found in zip(rows, _measure(pool, masks, redundancy, sample, seed), strict=True):
            row.update(found)
    result["selections"] = rows
    result["pairs"] = [
        {
            "first": listed[a].name,
            "second": listed[b].name,
            **dataclasses.asdict(overlap(masks[a], masks[b])),
            **_rank_correlations(places[a], places[b], pool),
        }
        for a, b in itertools.combinations(range(len(listed)), 2)
    ]
    if out is not None:
        _write(out, result)
    return result


def _names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, or more of them until no two are alike."""
    resolved = [path.parent if path.name == "selection.parquet" else path for path in paths]
    parts = [(path if path.name else path.resolve()).parts for path in resolved]
    for length in range(1, max(len(part) for part in parts) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UsageError("different selections", f"{paths[0]} among {len(paths)}, one of them twice")


def _read(path: Path, name: str) -> Listed:
    if path.name == "selection.parquet":
        path = path.parent
    if not path.is_dir():
        chosen = load_indices_file(path)
        if np.unique(chosen).size != chosen.size:
            raise DataError(f"every index once in {path}", "some more than once")
        return Listed(name, chosen)
    if not (path / "selection.parquet").exists():
        raise DataError(
            "a folder with a selection", f"{path}, without one", "Run `contrasift select` first"
        )
    found = read_selection(path)
    return Listed(
        name, found.indices, found.ranking, found.index, found.latent_class, found.objective
    )


def _embeddings_of(paths: Sequence[Path]) -> Matrix | None:
    """Those of the first folder that has some, or that was selected from some that are still there."""
    for path in paths:
        folder = path.parent if path.name == "selection.parquet" else path
        if (folder / "embeddings.npy").exists():
            return open_embeddings(folder)
        if (folder / "selection.json").exists():
            with contextlib.suppress(ContrasiftError, OSError, KeyError):
                return source_of(read_facts(folder), SilentNarrator())
    return None


def _pool_of(listed: Sequence[Listed], source: Matrix | None, classes: Path | None) -> _Pool:
    """The pool that all speak of.

    Raises:
        DataError: they do not speak of the same.
        UsageError: only lists of indices, and no embeddings.
    """
    values, labels, n_labels, index = None, None, 0, None
    first = next((one for one in listed if one.index is not None), None)
    if source is not None:
        known = source.numbers
        order = np.argsort(known, kind="stable")
        index = known[order]
        values = source[order]
        values = (
            np.ascontiguousarray(values, dtype=np.float32)
            if source.described
            else unit_rows(values)
        )
        labels, n_labels = _labels(Path(str(source.source["place"])).parent, index)
    elif first is None or first.index is None:
        raise UsageError(
            "embeddings=, or a selection with its ranking, to know the pool",
            "lists of indices alone",
        )
    else:
        index = np.sort(first.index)
    for one in listed:
        known = one.chosen if one.index is None else np.sort(one.index)
        if not (np.isin(known, index).all() if one.index is None else np.array_equal(known, index)):
            raise DataError(
                f"selections of one pool, of {index.size} examples",
                f"{one.name}, of {known.size} others",
                "Compare selections that were made from the same embeddings",
            )
    names = None
    if classes is not None:
        names = load_classes_file(classes, index)
    elif first is not None and first.index is not None and first.latent_class is not None:
        names = first.latent_class[np.argsort(first.index, kind="stable")]
    codes, known_names = class_codes(names, index.size)
    return _Pool(index, codes, len(known_names), values, labels, n_labels)


def _labels(folder: Path, index: np.ndarray) -> tuple[np.ndarray | None, int]:
    """True classes from `examples.parquet`, where it has them."""
    path = folder / "examples.parquet"
    if not is_there(path):
        return None, 0
    table = read_table(path)
    if "label" not in table or "index" not in table:
        return None, 0
    by_index = dict(zip(table["index"].tolist(), table["label"].tolist(), strict=True))
    given = [by_index.get(number) for number in index.tolist()]
    known = [label is not None and label == label for label in given]
    if not any(known):
        return None, 0
    labels = np.full(index.size, -1, dtype=np.int64)
    names, codes = np.unique(
        [str(label) for label, here in zip(given, known, strict=True) if here], return_inverse=True
    )
    labels[np.array(known)] = codes
    return labels, len(names)


def _places(pool: _Pool, one: Listed) -> np.ndarray | None:
    """Place of every example of the pool in a ranking."""
    if one.ranking is None:
        return None
    places = np.empty(pool.index.size, dtype=np.int64)
    places[np.searchsorted(pool.index, one.ranking)] = np.arange(pool.index.size)
    return places


def _rank_correlations(
    first: np.ndarray | None, second: np.ndarray | None, pool: _Pool
) -> dict[str, float | None]:
    if first is None or second is None:
        return {"rank_correlation": None, "rank_correlation_within": None}
    return {
        "rank_correlation": finite_or_none(rank_correlation(first, second)),
        "rank_correlation_within": finite_or_none(
            rank_correlation_within(first, second, pool.codes)
        ),
    }


def _describe(one: Listed, mask: np.ndarray, pool: _Pool) -> dict[str, Any]:
    balance = class_balance(mask, pool.codes, pool.n_classes)
    row: dict[str, Any] = {
        "name": one.name,
        "objective": one.objective,
        "kept": int(mask.sum()),
        "fraction": float(mask.mean()),
        "classes": dataclasses.asdict(balance),
    }
    if pool.labels is not None:
        row["labels"] = dataclasses.asdict(class_balance(mask, pool.labels, pool.n_labels))
    return row


def _measure(
    pool: _Pool, masks: Sequence[np.ndarray], redundancy: float, sample: int | None, seed: int
) -> list[dict[str, Any]]:
    """F, coverage, centre and gap of every selection, class by class."""
    from contrasift.selection.gather import ClassRows

    assert pool.values is not None  # the caller's branch
    partition = ClassRows.of(pool.codes, pool.n_classes)
    n = pool.index.size
    parts: list[list[dict[str, float | int]]] = [[] for _ in masks]
    for code in range(pool.n_classes):
        rows = partition.of_class(code)
        values = pool.values[rows]
        drawn = None
        if sample is not None and sample < n:
            drawn = max(2, -(-sample * rows.size // n))
            drawn = None if drawn >= rows.size else drawn
        chosen = [np.flatnonzero(mask[rows]) for mask in masks]
        for place, found in enumerate(_measure_class(values, chosen, redundancy, drawn, seed)):
            parts[place].append(found)
    return [_together(found, n) for found in parts]


def _measure_class(
    values: np.ndarray,
    selections: Sequence[np.ndarray],
    redundancy: float | int,
    sample: int | None,
    seed: int,
) -> list[dict[str, float | int]]:
    from contrasift.selection.diagnostics.measures import centre_of, coverage_of, herding_gap
    from contrasift.selection.kernels import linear_form
    from contrasift.selection.optimizers.relaxation import upper_bound

    n = values.shape[0]
    total = linear_form.total_of(values)
    squares = float(linear_form.squared_norms(values).sum())
    bounds: dict[int, float] = {}
    found = []
    for chosen in selections:
        k = chosen.size
        if k not in bounds:
            # From the mean of random selections: the same bound for all of this size.
            bounds[k] = upper_bound(values, total * (k / n), k, redundancy=redundancy, total=total)
        coverage = coverage_of(values, chosen, sample=sample, seed=seed)
        found.append(
            {
                "size": n,
                "value": linear_form.value(total, linear_form.sum_of(values, chosen), redundancy),
                "random": linear_form.random_value(total, squares, n, k, redundancy),
                "bound": bounds[k],
                "coverage": coverage.value,
                "half_width": (coverage.high - coverage.low) / 2,
                "centre": centre_of(values, chosen),
                "gap": herding_gap(values, chosen),
            }
        )
    return found


def _together(parts: Sequence[Mapping[str, float | int]], n: int) -> dict[str, Any]:
    """Sums over classes; half-widths of independent samples add in squares."""
    value, chance, bound = (
        sum(part[key] for part in parts) for key in ("value", "random", "bound")
    )
    possible = max(bound, value) - chance
    half = math.sqrt(sum(part["half_width"] ** 2 for part in parts)) / n
    coverage = sum(part["coverage"] for part in parts) / n
    return {
        "value": value,
        "random_value": chance,
        "share_over_random": (value - chance) / possible
        if possible > 1e-12 * abs(chance)
        else None,
        "coverage": coverage,
        "coverage_interval": [coverage - half, coverage + half] if half > 0 else None,
        "centre": sum(part["centre"] * part["size"] for part in parts) / n,
        "herding_gap": sum(part["gap"] * part["size"] for part in parts) / n,
    }


def _write(out: Path, result: Mapping[str, Any]) -> None:
    from contrasift.report.figures.page import write_figures
    from contrasift.report.figures.selections import selection_figures

    write_json(out / "comparison.json", result)
    write_figures(out / "comparison.html", "Selections compared", selection_figures(result))
