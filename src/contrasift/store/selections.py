"""A selection on disk: `selection.parquet`, `selection.json`, `ranking.npy`, and `rule.npz`."""

from __future__ import annotations

import platform
import sys
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import column_blocks, forget_pages
from contrasift.errors import ContrasiftError, DataError, RunFolderError
from contrasift.ids import as_ids
from contrasift.results import Certificate, ClassSummary, Selection
from contrasift.store.atomic import load_array, read_json, write_arrays, write_json, write_rows
from contrasift.store.tables import read_table, write_blocks

if TYPE_CHECKING:
    from contrasift.selection.rule import LinearRule

_MARK = "selected_"
_OWN_KEYS = frozenset(
    (
        *("objective", "value", "budget", "redundancy", "certificate", "upper_bound", "gap"),
        *("random_value", "seconds", "peak_memory_bytes", "marked_budgets", "notes", "classes"),
        *("options", "inputs", "fingerprint", "versions"),
    )
)  # of selection.json; what else is there belongs to the selection's facts
_COLUMNS = ("index", "latent_class", "rank", "gain", "selected")


def write_selection(
    folder: Path,
    selection: Selection,
    *,
    options: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    fingerprint: str = "",
) -> list[Path]:
    """Write a selection; `selection.json` comes last, so that it vouches for the others.

    `selection.parquet` has the columns index, id where the source has ids, latent_class, rank,
    gain, selected, `copy_of` where examples are copies of others, and one `selected_F` for each of several fractions: every example, by class, best
    first.
    `ranking.npy` has all indices in one order over all classes: the first b are the selection for
    a budget of b, and the last `dropped` of `selection.json` those that were dropped. The same selection gives the same bytes of both.

    Args:
        folder: where; made if need be.
        selection: what.
        options: under which it was made.
        inputs: files it was made from, with their hashes.
        fingerprint: of options and inputs together.

    Returns:
        the files.

    Raises:
        ContrasiftError: the folder cannot be written.
    """
    folder = Path(folder)
    table, ranking, facts = (
        folder / name for name in ("selection.parquet", "ranking.npy", "selection.json")
    )
    _remove(facts)
    write_blocks(table, _blocks(selection))
    write_rows(ranking, selection.order.shape, selection.index.dtype, _ranking(selection))
    written = [table, ranking]
    rule = folder / "rule.npz"
    if selection.rule is None:
        _remove(rule)
    else:
        write_arrays(rule, selection.rule)
        written.append(rule)
    write_json(
        facts,
        {
            **describe_selection(selection),
            "options": dict(options or {}),
            "inputs": dict(inputs or {}),
            "fingerprint": fingerprint,
            "versions": _versions(),
        },
    )
    return [*written, facts]


def _blocks(selection: Selection) -> Iterator[dict[str, object]]:
    """The columns of `selection.parquet`, a row group at a time."""
    ids, dropped, copy_of = selection.ids, selection.dropped, selection.copy_of
    for block in column_blocks(selection.index.size):
        names, ranks = selection.classes_at(block)
        yield {
            "index": selection.index[block],
            **({} if ids is None else {"id": ids.slice(block.start, block.stop - block.start)}),
            "latent_class": names,
            "rank": ranks,
            "gain": selection.gain[block],
            "selected": selection.selected[block],
            **({} if dropped is None else {"dropped": dropped[block]}),
            **({} if copy_of is None else {"copy_of": copy_of[block]}),
            **{_MARK + share: mark[block] for share, mark in selection.marks.items()},
        }
        forget_pages(selection.index, selection.gain, selection.selected)
        forget_pages(*selection.marks.values())


def _ranking(selection: Selection) -> Iterator[np.ndarray]:
    """`Selection.ranking`, block by block."""
    for block in column_blocks(selection.order.size):
        yield selection.index[selection.order[block]]
        forget_pages(selection.index, selection.order)


def describe_selection(selection: Selection) -> dict[str, Any]:
    """The facts of a selection as plain values, certificate and classes included."""
    certificate = selection.certificate
    return {
        "objective": selection.objective,
        "value": selection.value,
        "budget": selection.budget,
        "redundancy": selection.redundancy,
        "certificate": None if certificate is None else certificate.share,
        "upper_bound": None if certificate is None else certificate.upper_bound,
        "gap": None if certificate is None else certificate.gap,
        "random_value": None if certificate is None else certificate.random_value,
        "seconds": selection.seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        **selection.facts,
        "marked_budgets": {share: _count(mark) for share, mark in selection.marks.items()},
        "notes": list(selection.notes),
        "classes": [vars(part) for part in selection.classes],
    }


def _count(mark: np.ndarray) -> int:
    count = 0
    for block in column_blocks(mark.size):
        count += int(np.count_nonzero(mark[block]))
        forget_pages(mark)
    return count


def read_facts(folder: Path) -> dict[str, Any]:
    """`selection.json` in today's words: version 0.1 called a first negative gain `turn`."""
    facts = read_json(folder / "selection.json")
    for part in (facts, *facts.get("classes", ())):
        if "turn" in part:
            part.setdefault("first_negative_gain", part.pop("turn"))
    return facts


def read_selection(folder: Path) -> Selection:
    """Read back what `write_selection` wrote.

    Raises:
        DataError: a file is missing, truncated, or does not belong to the others.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    table = read_table(folder / "selection.parquet")
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise DataError(f"the column {missing[0]} in selection.parquet", ", ".join(table))
    classes = tuple(ClassSummary(**part) for part in facts["classes"])
    if sum(part.size for part in classes) != table["index"].size:
        raise DataError("selection.parquet of the classes in selection.json", "others")
    rule = folder / "rule.npz"
    return Selection(
        index=table["index"],
        gain=table["gain"],
        selected=table["selected"],
        order=_order_of(table["index"], load_array(folder / "ranking.npy", memory_map=False)),
        objective=facts["objective"],
        redundancy=facts["redundancy"],
        budget=facts["budget"],
        value=facts["value"],
        certificate=_certificate(facts),
        classes=classes,
        seconds=facts["seconds"],
        notes=tuple(facts["notes"]),
        facts={name: part for name, part in facts.items() if name not in _OWN_KEYS},
        rule=read_rule(rule).as_arrays() if rule.exists() else None,
        marks={
            name.removeprefix(_MARK): mark for name, mark in table.items() if name.startswith(_MARK)
        },
        ids=as_ids(table["id"], "selection.parquet") if "id" in table else None,
        dropped=table.get("dropped"),
        copy_of=table.get("copy_of"),
    )


def refuse_sampled(folder: Path, optimizer: str) -> None:
    """Stop before a run goes on as greedy where `auto` sampled ranks.

    Both have one fingerprint, as runs have kept it: what was trained on the one would be taken for
    the other's.

    Raises:
        RunFolderError: the selection in the folder is such a one.
    """
    path = folder / "selection.json"
    if optimizer == "greedy" and path.exists() and read_json(path).get("optimizer") == "auto":
        raise RunFolderError(
            "a selection whose ranks are all greedy's, for optimizer='greedy'",
            f"one with ranks of stochastic greedy in {folder}",
            "Choose another out=, or leave optimizer= at auto",
        )


def read_rule(path: Path) -> LinearRule:
    """Read `rule.npz`; never a pickle.

    Raises:
        DataError: missing, truncated, or not a rule.
    """
    # Reading a selection without a rule, as the report does, must not load numba.
    from contrasift.selection.rule import LinearRule

    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"a rule.npz at {path}", "a single array")
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError("an existing rule.npz", f"{path}, which does not exist") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            "a whole rule.npz", f"{path}: {error}", "Select again with optimizer='relaxed'"
        ) from error
    return LinearRule.from_arrays(arrays)


def peak_memory_bytes() -> int | None:
    """The most memory this process held so far; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage tells on Linux begins with the size of the process that started this one.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if sizes:
            return int(sizes[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ContrasiftError(
            f"to replace {path}", error.strerror or str(error), "Choose another place"
        ) from error


def _certificate(facts: Mapping[str, Any]) -> Certificate | None:
    if facts["upper_bound"] is None:
        return None
    return Certificate(facts["value"], facts["upper_bound"], facts["random_value"])


def _order_of(index: np.ndarray, ranking: np.ndarray) -> np.ndarray:
    by_index = np.argsort(index, kind="stable")
    place = np.minimum(np.searchsorted(index, ranking, sorter=by_index), max(index.size - 1, 0))
    order = by_index[place]
    if ranking.shape != index.shape or not np.array_equal(index[order], ranking):
        raise DataError("ranking.npy of the examples of selection.parquet", "others")
    return order


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("contrasift", "numpy", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree
            found[package] = "unknown"
    return found
