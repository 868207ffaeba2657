"""Which column names the rows: asked for, or found by its own name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.ids import as_ids, check_unique
from contrasift.matrices.parts import IdColumns, Stored
from contrasift.matrices.readers.parquet import parquet_ids
from contrasift.store.atomic import load_array
from contrasift.store.objects import RemoteFile, is_url
from contrasift.store.remote import local_file

NONE = "none"
# What tools call their ids, the surest first. Others are taken when they are asked for.
ID_COLUMNS = (
    *("id", "ids", "uid", "uids", "_id", "key", "keys", "image_id", "image_path", "filename"),
    *("filenames", "path", "paths"),
)
_ID_FILES = (".npy", ".txt", ".parquet")


def id_source(
    stored: Sequence[Stored], metadata: Sequence[Path | str], asked: str | None
) -> tuple[Callable[[], Any] | None, str | None]:
    """What reads the ids of all rows, once, and what they are called; None where there are none.

    Args:
        stored: files, in order.
        metadata: a table for each, or none.
        asked: a column; a file of ids (`FILE`, `TABLE.parquet:COLUMN`); `none`; None: by itself.

    Raises:
        DataError: no such column, or a table of another length than its file.
    """
    if asked == NONE:
        return None, None
    n = sum(one.n for one in stored)
    if asked is not None and (file := _file_of_ids(asked)) is not None:
        return cache(lambda: _checked([_read_file(*file)], [n], asked)), asked
    columns = [one.ids for one in stored if one.ids is not None]
    lengths = [one.n for one in stored]
    if metadata:
        columns = [_metadata(place, one) for place, one in zip(metadata, stored, strict=True)]
    if len(columns) != len(stored):
        columns = []
    name = _choose(columns, asked, stored)
    if name is None:
        return None, None
    return cache(
        lambda: _checked([(one.read(name), one.where) for one in columns], lengths, name)
    ), (name)


def _metadata(place: Path | str, of: Stored) -> IdColumns:
    table = RemoteFile.look_up(place) if isinstance(place, str) and is_url(place) else Path(place)
    ids, n = parquet_ids(table)
    if n != of.n:
        raise DataError(
            f"metadata of {of.n:,} rows, as {of.name} has them",
            f"{n:,} in {place}",
            "Check that both were made together; without ids: id='none'",
        )
    return ids


def _choose(
    columns: Sequence[IdColumns], asked: str | None, stored: Sequence[Stored]
) -> str | None:
    """The name of a column that all have."""
    if not columns:
        if asked is not None:
            raise DataError(
                f"a column {asked!r} of ids in {stored[0].name}",
                "a file without any",
                "Name a file of ids instead: .npy, .txt with one a line, or TABLE.parquet:COLUMN",
            )
        return None
    for one in columns:
        if asked is not None and asked not in one.names():
            there = ", ".join(map(repr, one.names())) or "none"
            raise DataError(f"a column {asked!r} of text or whole numbers in {one.where}", there)
    if asked is not None:
        return asked
    everywhere = set.intersection(*(set(one.names()) for one in columns))
    return next((name for name in ID_COLUMNS if name in everywhere), None)


def _file_of_ids(asked: str) -> tuple[Path, str | None] | None:
    path, colon, column = asked.rpartition(":")
    for text, name in ((asked, None), (path, column)):
        place = Path(text)
        if text and place.suffix.lower() in _ID_FILES and (colon or name is None):
            if is_url(text):
                return local_file(text), name
            if place.exists():
                return place, name
    if Path(asked).suffix.lower() in _ID_FILES:
        raise DataError("a file of ids", f"{asked}, which does not exist")
    return None


def _read_file(path: Path, column: str | None) -> tuple[Any, str]:
    if path.suffix.lower() == ".npy":
        return load_array(path, memory_map=False), str(path)
    if path.suffix.lower() == ".txt":
        try:
            return path.read_text(encoding="utf-8").splitlines(), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError("ids, one a line", f"{path}: {error}") from error
    ids, _ = parquet_ids(path)
    names = ids.names()
    if column is None:
        column = names[0] if len(names) == 1 else next((n for n in ID_COLUMNS if n in names), None)
    if column not in names:
        raise DataError(
            f"a column of ids in {path}", ", ".join(names), f"Name it: id='{path}:COLUMN'"
        )
    return ids.read(column), f"{path}:{column}"


def _checked(found: list[tuple[Any, str]], lengths: list[int], name: str) -> Any:
    import pyarrow as pa

    pieces = []
    for (values, where), n in zip(found, lengths, strict=True):
        if len(values) != n:
            raise DataError(f"an id for each of the {n:,} rows", f"{len(values):,} in {where}")
        pieces.append(as_ids(values, f"{name!r} of {where}"))
    kinds = {piece.type for piece in pieces}
    if len(kinds) > 1:
        said = ", ".join(sorted(map(str, kinds)))
        raise DataError(f"ids of one type in {name!r} of every file", said)
    ids = pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], pieces[0].type)
    check_unique(ids, f"the column {name!r}" if len(found) > 1 else f"{name!r} of {found[0][1]}")
    return ids


def held_ids(values: Any, where: str) -> Callable[[], Any]:
    """Ids that are in memory already."""
    return cache(lambda: _checked([(values, where)], [len(np.asarray(values))], "id"))
