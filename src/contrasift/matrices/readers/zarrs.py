"""zarr arrays and groups, a few chunks at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.matrices.parts import HeldIds, Stored, StreamedPart, choose_matrix, folder_digest

_PIECE_BYTES = 32 << 20


def open_zarr(path: Path, column: str | None) -> Stored:
    """An array of two axes; those of one axis in the same group may be ids.

    Raises:
        DataError: damaged, or without such an array.
        MissingExtraError: zarr is not installed.
    """
    import zarr

    try:
        root: Any = zarr.open(str(path), mode="r")
        arrays = dict(root.arrays()) if hasattr(root, "arrays") else {path.name: root}
    except Exception as error:  # zarr, its codecs and JSON have errors of their own
        raise DataError("a zarr array or group", f"{path}: {error}") from error
    single = not hasattr(root, "arrays") and column is None
    shapes = {key: tuple(item.shape) for key, item in arrays.items()}
    name = choose_matrix(shapes, path.name if single else column, str(path))
    data, where = arrays[name], str(path) if single else f"{path}:{name}"
    ids = HeldIds(
        str(path),
        {
            key: lambda item=item: np.asarray(item[:])
            for key, item in arrays.items()
            if item.shape == data.shape[:1] and np.dtype(item.dtype).kind in "iuSUOT"
        },
    )
    step = max(1, _PIECE_BYTES // max(1, data.shape[1] * data.dtype.itemsize))
    step = max(data.chunks[0], step // data.chunks[0] * data.chunks[0])  # no chunk decoded twice
    starts = np.append(np.arange(0, data.shape[0], step), data.shape[0])

    def piece(number: int) -> np.ndarray:
        try:
            return np.asarray(data[starts[number] : starts[number + 1]])
        except Exception as error:  # of whatever codec
            raise DataError("a whole zarr array", f"{where}: {error}", "Write it again") from error

    part = StreamedPart(where, data.shape, np.dtype(data.dtype), starts, piece)
    return Stored(where, [part], folder_digest(path), ids)
