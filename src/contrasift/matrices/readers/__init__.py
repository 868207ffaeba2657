"""One small reader a format, each on that format's own library, imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from contrasift.errors import missing_extra
from contrasift.matrices.parts import Stored

Reader = Callable[[Path, str | None], Stored]

# By the end of a name; the modules are loaded one by one, when a file needs them.
FILES = {
    ".npy": "numpy_files:open_npy",
    ".npz": "numpy_files:open_npz",
    ".safetensors": "tensors:open_safetensors",
    ".pt": "tensors:open_torch",
    ".pth": "tensors:open_torch",
    ".arrow": "arrow:open_ipc",
    ".feather": "arrow:open_ipc",
    ".ipc": "arrow:open_ipc",
    ".parquet": "parquet:open_parquet",
    ".pq": "parquet:open_parquet",
    ".csv": "csv:open_csv",
    ".h5": "hdf5:open_hdf5",
    ".hdf5": "hdf5:open_hdf5",
}
FOLDERS = {".lance": "lance:open_lance", ".zarr": "zarrs:open_zarr"}


def open_stored(path: Path, column: str | None) -> Stored:
    """One file, or one folder that is a single array or table.

    Args:
        path: with an ending that is in `FILES` or `FOLDERS`.
        column: which array of the file; None for the only one that can be it.

    Raises:
        DataError: what the file holds cannot be read as rows of embeddings.
        MissingExtraError: the format's library is not installed.
    """
    module, _, name = {**FILES, **FOLDERS}[path.suffix.lower()].partition(":")
    try:
        reader: Reader = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return reader(path, column)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
