"""What a user names, as a list of files: one, a folder, a pattern, an address, a known layout."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from contrasift.catalogue import nearest
from contrasift.errors import DataError, UsageError
from contrasift.matrices.readers import FILES, FOLDERS
from contrasift.store.objects import (
    file_name,
    fixed_head,
    is_local_url,
    is_url,
    local_path,
    matching,
)

Place = Path | str  # a path, or the address of an object

_WILD = re.compile(r"[*?\[]")
# What holds nothing but matrices goes before tables, which may be metadata beside them.
_MATRICES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".h5", ".hdf5")
_TABLES = tuple(name for name in FILES if name not in _MATRICES)
_TOWERS = ("img_emb", "text_emb")


@dataclass(frozen=True)
class Files:
    """Files that make up one matrix, in the order of its rows.

    Attributes:
        places: of the files.
        column: the array or column that the place itself names, or None.
        metadata: a table for every file, whose rows are those of the matrix, or none.
        saved: whether `datasets.save_to_disk` made it.
    """

    places: tuple[Place, ...]
    column: str | None = None
    metadata: tuple[Place, ...] = field(default=())
    saved: bool = False


def files_of(text: str, column: str | None) -> Files:
    """The files that a place names.

    Args:
        text: a file, `FILE:NAME`, a folder, a pattern with `*`, `?` or `[…]`, or an address.
        column: what was asked for with it; of clip-retrieval's folders also `img_emb`, `text_emb`.

    Raises:
        DataError: nothing there, nothing that can be read, or files of several kinds.
        UsageError: a column that is named twice.
    """
    if is_local_url(text):
        text = local_path(text)
    if is_url(text):
        return _addresses(text, column)
    path = Path(text).expanduser()
    if path.exists():
        return _of_folder(path, column) if path.is_dir() else _of_files([path], column)
    if _WILD.search(text):
        found = sorted(
            path.parent.glob(path.name)
            if not _WILD.search(str(path.parent))
            else (
                Path(path.anchor or ".").glob(
                    str(path.relative_to(path.anchor) if path.anchor else path)
                )
            ),
            key=_natural,
        )
        return _of_files(_readable(found, text), column)
    file, colon, name = text.rpartition(":")
    if colon and name and Path(file).expanduser().exists():
        if column is not None and column != name:
            raise UsageError("one array or column", f"{text} and column='{column}'")
        return files_of(file, name)
    raise DataError(
        "embeddings: a file, a folder, a pattern, or an address",
        f"{text}, which does not exist",
        _meant(path) or "Check the path; hf:NAME:SPLIT is a data set of Hugging Face",
    )


def _meant(path: Path) -> str:
    """What beside it is called almost so."""
    try:
        near = nearest(path.name, [one.name for one in path.parent.iterdir()])
    except OSError:  # nor is there a folder
        return ""
    return near.replace("mean ", f"mean {path.parent}{os.sep}") if path.parent != Path() else near


def _addresses(url: str, column: str | None) -> Files:
    if _WILD.search(url[len(fixed_head(url)) :]):
        found = sorted(matching(url), key=_natural)
        if not found:
            raise _no_match(url)
    else:
        found = [url]
    for place in found:
        if _ending(place) not in (*FILES, *FOLDERS):
            raise DataError(
                "the address of a file of embeddings: " + ", ".join((*FILES, *FOLDERS)),
                str(place),
                "Of a folder, name the matrix in it: …/embeddings.npy; or a pattern: …/*.parquet",
            )
    _same_ending(found, url)
    return Files(tuple(found), column)


def _of_files(paths: list[Path], column: str | None) -> Files:
    metadata: tuple[Place, ...] = ()
    if paths and paths[0].suffix.lower() in _MATRICES:
        beside = [path.with_suffix(".parquet") for path in paths]
        there = [path for path in beside if path.exists()]
        if there and len(there) < len(beside):
            missing = next(path for path in beside if not path.exists())
            raise DataError(f"a table beside each of the {len(paths)} shards", f"no {missing}")
        metadata = tuple(there)
    for path in paths:
        if path.suffix.lower() not in (*FILES, *FOLDERS):
            raise DataError(
                "a file of embeddings: " + ", ".join((*FILES, *FOLDERS)),
                str(path),
                "Save them in one of these",
            )
    _same_ending(paths, str(paths[0].parent))
    return Files(tuple(paths), column, metadata)


def _of_folder(folder: Path, column: str | None) -> Files:
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        return Files((folder,), column, saved=True)
    if folder.suffix.lower() in FOLDERS:
        return Files((folder,), column)
    if (folder / "_versions").is_dir():
        raise DataError(
            f"a Lance table with the ending .lance at {folder}", "another name", "Rename it"
        )
    towers = [name for name in _TOWERS if (folder / name).is_dir()]
    if towers:
        return _clip_retrieval(folder, towers, column)
    inside = sorted((path for path in folder.iterdir() if _is_data(path)), key=_natural)
    for kinds in (_MATRICES, _TABLES, tuple(FOLDERS)):
        found = [path for path in inside if path.suffix.lower() in kinds]
        if found:
            return _of_files(found, column)
    raise DataError(
        f"files of embeddings in {folder}: {', '.join((*FILES, *FOLDERS))}",
        "none",
        "Deeper folders need a pattern: 'FOLDER/*/*.parquet'",
    )


def _clip_retrieval(folder: Path, towers: list[str], column: str | None) -> Files:
    """`img_emb/img_emb_0.npy`, … with `metadata/metadata_0.parquet`, …."""
    if column is None and len(towers) > 1:
        raise DataError(
            f"one kind of embeddings in {folder}",
            f"{' and '.join(towers)}",
            f"Name one: column='{towers[0]}'",
        )
    tower = column or towers[0]
    if tower not in towers:
        raise DataError(f"one of {', '.join(towers)} in {folder}", tower)
    shards = sorted((folder / tower).glob("*.npy"), key=_natural)
    if not shards:
        raise _no_match(f"{folder / tower}/*.npy")
    tables = sorted((folder / "metadata").glob("*.parquet"), key=_natural)
    if tables and [_number(path) for path in tables] != [_number(path) for path in shards]:
        raise DataError(
            f"a table in {folder / 'metadata'} for each of the {len(shards)} shards of {tower}",
            f"{len(tables)} tables: {', '.join(path.name for path in tables[:5])}",
        )
    return Files(tuple(shards), None, tuple(tables))


def _readable(found: list[Path], pattern: str) -> list[Path]:
    if not found:
        raise _no_match(pattern)
    return found


def _no_match(pattern: str) -> DataError:
    return DataError(
        f"files that match {pattern}", "none", "Check the pattern, and that the shell leaves it be: "
        "'shards/*.npy' in quotes"
    )  # fmt: skip


def _same_ending(places: list[Path] | list[str], where: str) -> None:
    endings = sorted({_ending(place) for place in places})
    if len(endings) > 1:
        raise DataError(
            f"files of one kind in {where}",
            f"{', '.join(endings)}",
            f"Name one kind: '{where}/*{endings[0]}'",
        )


def _is_data(path: Path) -> bool:
    return not path.name.startswith((".", "_"))


def _ending(place: Place) -> str:
    return Path(file_name(place)).suffix.lower()


def _natural(place: Place) -> list[tuple[int, str, str]]:
    """Digits by their value: shard_2 before shard_10."""
    pieces = re.split(r"(\d+)", str(place))
    return [(int(text) if text.isdigit() else -1, text, "") for text in pieces]


def _number(path: Path) -> int | str:
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found else path.stem
