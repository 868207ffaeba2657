"""`open_embeddings`: from whatever a user has to rows with ids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.matrices.matrix import Matrix
from contrasift.matrices.naming import held_ids, id_source
from contrasift.matrices.parts import MappedPart, Part, ScaledPart, SideBySide, Stored
from contrasift.matrices.places import Files, files_of
from contrasift.matrices.readers import open_stored
from contrasift.matrices.readers.arrow import open_frame, stored_rows
from contrasift.narration import Progress
from contrasift.options.arguments import checked_arguments
from contrasift.store.atomic import read_json, sha256_of
from contrasift.store.embeddings import read_description
from contrasift.store.made import is_there
from contrasift.store.objects import RemoteFile, file_name, is_url
from contrasift.store.remote import RemoteMatrix, beside, exists, local_file
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table

Scale = float | int | tuple[float | int, float | int]


@checked_arguments
def open_embeddings(
    place: Any,
    *,
    column: str | None = None,
    id: str | None = None,
    scale: Scale | None = None,
    progress: Progress | None = None,
    remote_rows: bool = False,
) -> Matrix:
    """Embeddings that somebody has, as rows with ids; nothing is read but heads and footers.

    Args:
        place: a file: `.npy`, `.npz`, `.safetensors`, `.pt`, `.pth`, `.arrow`, `.feather`,
            `.parquet`, `.csv`, `.h5`, a `.lance` or `.zarr` folder (`FILE:NAME` for one array of
            several); a folder or a quoted pattern of such shards, in numeric order, also as
            clip-retrieval and DataComp leave them; the address of a file, or a pattern of
            addresses; `hf:NAME:SPLIT#column`, or a folder that `save_to_disk` made; a run folder;
            two towers side by side as `image.npy+text.npy`. Or an object: an array, a
            `datasets.Dataset`, a frame of pandas, Polars, DuckDB or pyarrow.
        column: the array or column of vectors; None: the only one that can be it.
        id: the column that names the rows, in the files or in the Parquet tables beside them; or a
            file of ids: `.npy`, `.txt` with one a line, `TABLE.parquet:COLUMN`; `none`: rows have
            no ids. None: a column that is called as ids mostly are, if there is one.
        scale: of 8-bit entries: one step, or (one step, the entry that stands for zero).
        progress: called with (bytes done, bytes) while an object is copied into the cache.
        remote_rows: leave a `.npy` object where it is, and read its rows when they are asked for.

    Returns:
        the rows, in one order that depends on the names of the files alone.

    Raises:
        UsageError: a place that names a column twice, or a split that there is not.
        DataError: nothing there; shards of different widths or types; a file that is damaged;
            several columns that could be it, or none; metadata of another length.
        MissingExtraError: a format whose library is not installed.
        ContrasiftError: storage that does not answer.
    """
    if isinstance(place, Matrix):
        return place
    if not isinstance(place, (str, Path)):
        stored = _open_object(place, column)
        label = type(place).__name__
        return _joined([stored], (), label, column, id, scale)
    text = str(place)
    if text.startswith("hf:"):
        from contrasift.matrices.readers.huggingface import open_named

        return _joined([open_named(text[3:], column)], (), text, column, id, scale)
    if "+" in text and not is_url(text) and not Path(text).exists():
        return _side_by_side(text.split("+"), column, id, scale)
    folder = Path(text).expanduser()
    if not is_url(text) and folder.is_dir() and (folder / "embeddings.npy").exists():
        text = str(folder / f"{RunFolder(folder).matrix}.npy")
    files = files_of(text, column)
    stored = [_open_file(one, files, progress, remote_rows) for one in files.places]
    matrix = _joined(stored, files.metadata, text, files.column, id, None)
    if len(files.places) == 1 and file_name(files.places[0]).endswith(".npy"):
        matrix = _described(matrix, files.places[0], id)
    return _with_scale(matrix, scale)


def _open_object(found: Any, column: str | None) -> Stored:
    package = type(found).__module__.partition(".")[0]
    if package == "datasets":
        from contrasift.matrices.readers.huggingface import dataset_part

        return dataset_part(found, column)
    if package == "torch" and hasattr(found, "detach"):
        found = found.detach().cpu().numpy()
    if isinstance(found, np.ndarray):
        if found.ndim != 2:
            raise DataError(
                "embeddings as a matrix with one row an example",
                f"an array of shape {list(found.shape)}",
                "Flatten every example's features into one row",
            )
        return stored_rows("the array", [MappedPart("the array", found)])
    return open_frame(found, column)


def _open_file(place: Path | str, files: Files, progress: Progress | None, remote: bool) -> Stored:
    if files.saved:
        from contrasift.matrices.readers.huggingface import open_saved

        return open_saved(Path(place), files.column)
    if isinstance(place, Path):
        return open_stored(place, files.column)
    ending = Path(file_name(place)).suffix.lower()
    if ending == ".lance":  # which opens addresses by itself
        from contrasift.matrices.readers.lance import open_lance

        return open_lance(place, files.column)
    if ending in (".parquet", ".pq"):
        from contrasift.matrices.readers.parquet import open_parquet

        return open_parquet(RemoteFile.look_up(place), files.column)
    if remote and ending == ".npy":
        rows: Any = RemoteMatrix(RemoteFile.look_up(place))
        return Stored(rows.file.name, [MappedPart(rows.file.name, rows)], lambda: rows.file.digest)
    return replace(open_stored(local_file(place, progress), files.column), name=str(place))


def _joined(
    stored: Sequence[Stored],
    metadata: Sequence[Path | str],
    place: str,
    column: str | None,
    id: str | None,
    scale: Scale | None,
) -> Matrix:
    """One matrix of several files, which must be alike."""
    parts = [part for one in stored for part in one.parts]
    first = parts[0]
    for part in parts:
        if part.shape[1] != first.shape[1] or part.dtype != first.dtype:
            raise DataError(
                f"rows of one width and type in all files: {first.shape[1]} of {first.dtype}, as in "
                f"{first.name}",
                f"{part.shape[1]} of {part.dtype} in {part.name}",
                "Write them all in one way, or name fewer",
            )
    if first.dtype.kind not in "fiu":
        raise DataError(f"embeddings of real numbers in {first.name}", f"{first.dtype}")
    parts = [part for part in parts if part.shape[0]]
    if not parts or not first.shape[1]:
        raise DataError(
            "embeddings with at least one row and one column",
            f"shape {[sum(part.shape[0] for part in parts), first.shape[1]]} in {place}",
        )
    reads, named = id_source(stored, metadata, id)
    source = {"place": place, "files": len(stored), "column": column, "id": named}
    if metadata:
        source["metadata"] = [str(one) for one in metadata]
    matrix = Matrix(tuple(stored), tuple(parts), source=source, id_source=reads)
    return _with_scale(matrix, scale) if scale is not None else matrix


def _described(matrix: Matrix, place: Path | str, id: str | None) -> Matrix:
    """With what is written about a `.npy` file: its JSON, and the examples of its run."""
    about = beside(place, str(Path(file_name(place)).with_suffix(".json")))
    if not exists(about):
        return matrix
    found = read_description(about)
    if found is None:
        return _with_stated_scale(matrix, place, about)
    matrix = replace(matrix, about=found, known_digest=_checked_hash(matrix, found, place, about))
    return _of_run(matrix, beside(place, "examples.parquet"), id)


def _with_stated_scale(matrix: Matrix, place: Path | str, about: Path | str) -> Matrix:
    """With the scale that a file of somebody else's states, if it states one."""
    try:
        found = read_json(local_file(about))
        step, zero = float(found["scale"]), float(found.get("zero_point", 0))
    except (DataError, KeyError, TypeError, ValueError):
        note = f"{about} is passed over: it does not say that it describes {file_name(place)}"
        return replace(matrix, notes=(*matrix.notes, note))
    return _with_scale(matrix, (step, zero))


def _checked_hash(
    matrix: Matrix, found: Mapping[str, Any], place: Path | str, about: Any
) -> str | None:
    """The hash in a description, if it is right; of an object that is read by its rows, as it is."""
    known = str(found["sha256"])
    if isinstance(matrix.stored[0].parts[0].mapped, RemoteMatrix):
        return known
    if known != (sha256_of(place) if isinstance(place, Path) else matrix.fingerprint):
        raise DataError(
            f"{about} to describe {place}",
            "a description with another sha256",
            "Move the matrix away from it, or embed again",
        )
    return None


def _of_run(matrix: Matrix, examples: Path | str, id: str | None) -> Matrix:
    """With the pool index and the ids of a run's examples."""
    if not is_there(examples):
        return matrix
    table = read_table(local_file(examples))
    if not {"row", "index"} <= set(table):
        note = f"{examples} is passed over: it has no columns `index` and `row`"
        return replace(matrix, notes=(*matrix.notes, note))
    rows = table["row"] >= 0
    index = table["index"][rows]
    if index.size != len(matrix):
        raise DataError(f"{len(matrix)} readable examples in {examples}", f"{index.size}")
    matrix = replace(matrix, pool_index=index)
    if id is None and matrix.id_source is None and "id" in table:
        names = table["id"][rows]
        if len(set(names.tolist())) < len(names):  # of an extended run: two folders, one name
            note = f"names in {examples} stand twice, so rows go by their numbers"
            return replace(matrix, notes=(*matrix.notes, note))
        reads = held_ids(names, str(examples))
        matrix = replace(matrix, id_source=reads, source={**matrix.source, "id": "id"})
    return matrix


def _with_scale(matrix: Matrix, scale: Scale | None) -> Matrix:
    """8-bit entries as the numbers that they stand for."""
    eight_bit = matrix.dtype in (np.int8, np.uint8)
    if scale is None:
        if eight_bit:
            raise DataError(
                f"the scale of 8-bit entries in {matrix.stored[0].name}",
                f"{matrix.dtype}, and nothing that says what an entry stands for",
                "State it with scale=, the step or step,zero (1 takes entries as they are), or in "
                'a .json beside a .npy: {"scale": STEP, "zero_point": ZERO}',
            )
        return matrix
    step, zero = scale if isinstance(scale, tuple) else (scale, 0.0)
    if not (math.isfinite(step) and step > 0 and math.isfinite(zero)):
        raise UsageError("a scale above 0", f"{scale}")
    if not eight_bit:
        if matrix.source.get("scale") is not None:
            return matrix
        raise UsageError("a scale for 8-bit entries", f"{matrix.dtype} in {matrix.stored[0].name}")
    parts: list[Part] = [ScaledPart(part, float(step), float(zero)) for part in matrix.parts]
    source = {**matrix.source, "scale": [float(step), float(zero)]}
    return replace(matrix, parts=tuple(parts), source=source)


def _side_by_side(
    places: Sequence[str], column: str | None, id: str | None, scale: Scale | None
) -> Matrix:
    """Two towers or more: the rows of each beside each other, the ids of the first that has any."""
    towers = [open_embeddings(one, column=column, id=id, scale=scale) for one in places]
    lengths = [len(tower) for tower in towers]
    if len(set(lengths)) > 1:
        raise DataError(
            "towers with as many rows each",
            ", ".join(f"{n:,} in {one}" for n, one in zip(lengths, places, strict=True)),
        )
    part = SideBySide(towers)
    stored = tuple(
        Stored(place, tower.parts, lambda tower=tower: tower.fingerprint)
        for place, tower in zip(places, towers, strict=True)
    )
    named = next((tower for tower in towers if tower.id_source is not None), towers[0])
    source = {"place": "+".join(places), "files": len(places), "column": column}
    source |= {"id": named.source.get("id"), "widths": [tower.shape[1] for tower in towers]}
    # Of the stored files only the first counts for row numbers.
    return Matrix(stored, (part,), source=source, id_source=named.id_source)
