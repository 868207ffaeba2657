"""A matrix of embeddings and what is written about it, from a path or an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import Columns, HeldColumns, column_blocks, forget_pages
from contrasift.errors import DataError
from contrasift.options.arguments import checked_arguments
from contrasift.results import Embeddings
from contrasift.store.atomic import load_array, read_json, sha256_of
from contrasift.store.made import is_there
from contrasift.store.objects import file_name, is_local_url, is_url, local_path
from contrasift.store.remote import beside, exists, local_file
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table


def load_embeddings_file(place: Path | str) -> tuple[Embeddings, bool]:
    """A matrix, memory-mapped, with what is written about it.

    `X.npy` beside its own `X.json` is described there, and its rows are mean view embeddings that
    are taken as they are. A JSON file is a description if it says how rows were `normalised` and
    which `sha256` the matrix has; any other is passed over. Pool indices come from an
    `examples.parquet` in the same folder. Of a bare matrix nothing is known, and the index is the
    row number.

    Args:
        place: a `.npy` file; its address; or a folder that holds `embeddings.npy` (of a run refined
            in rounds, the matrix of its last round).

    Returns:
        the embeddings, with their hash in `description["sha256"]`, and whether they were described.

    Raises:
        DataError: not a whole `.npy` file, or one that its description does not fit.
        ContrasiftError: storage that does not answer.
    """
    if is_local_url(place):
        place = local_path(str(place))
    if not is_url(place) and Path(place).is_dir():
        place = Path(place) / f"{RunFolder(place).matrix}.npy"
    if is_url(place) and not file_name(place).endswith(".npy"):
        raise DataError(
            "the address of a .npy file",
            str(place),
            "Of a folder, name the matrix in it: …/embeddings.npy",
        )
    file = local_file(place)
    values = load_array(file)
    about = beside(place, str(Path(file_name(place)).with_suffix(".json")))
    description = read_description(about)
    digest = sha256_of(file)
    n = values.shape[0] if values.ndim else 0
    if description is None:
        return Embeddings(values, row_numbers(n), {"sha256": digest}), False
    if description["sha256"] != digest:
        raise DataError(
            f"{about} to describe {place}",
            "a description with another sha256",
            "Move the matrix away from it, or embed again",
        )
    index = _index_of_rows(beside(place, "examples.parquet"), n)
    return Embeddings(values, index, {**description, "sha256": digest}), True


def read_description(about: Path | str) -> dict[str, Any] | None:
    """What a file says of embeddings; None if it is about something else, or not there."""
    if not exists(about):
        return None
    try:
        found = read_json(local_file(about))
    except DataError:
        return None
    says = "sha256" in found and ("normalised" in found or "side_by_side" in found)
    return found if says else None


@checked_arguments
def load_matrix(place: Path | str) -> np.ndarray:
    """A `.npy` file, memory-mapped; an object behind an address is copied into the cache first.

    Args:
        place: a path, or an address that fsspec opens: `s3://bucket/embeddings.npy`.

    Raises:
        DataError: missing, cut short, pickled, or not a `.npy` file.
        ContrasiftError: storage that does not answer.
    """
    return load_array(local_file(place))


def row_numbers(n: int, columns: Columns | None = None) -> np.ndarray:
    """The numbers of n rows, ascending.

    Args:
        n: how many.
        columns: where they shall lie; default: in memory.
    """
    numbers = (columns or HeldColumns()).new(n, np.int64)
    for block in column_blocks(n):
        numbers[block] = np.arange(block.start, block.stop)
        forget_pages(numbers)
    return numbers


def _index_of_rows(examples: Path | str, n: int) -> np.ndarray:
    if not is_there(examples):
        return row_numbers(n)
    table = read_table(local_file(examples), "index", "row")
    index = table["index"][table["row"] >= 0]
    if index.size != n:
        raise DataError(f"{n} readable examples in {examples}", f"{index.size}")
    return index
