"""HDF5: mapped where it lies in one piece, else chunk by chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.matrices.parts import (
    HeldIds,
    MappedPart,
    Part,
    Stored,
    StreamedPart,
    choose_matrix,
    file_digest,
)
from contrasift.store.faults import reading_remedy

_PIECE_BYTES = 32 << 20


def open_hdf5(path: Path, column: str | None) -> Stored:
    """A data set of two axes; those of one axis beside it may be ids.

    Raises:
        DataError: damaged, or without such a data set.
        MissingExtraError: h5py is not installed.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
        found: dict[str, Any] = {}
        file.visititems(
            lambda name, item: (
                found.update({name: item}) if isinstance(item, h5py.Dataset) else None
            )
        )
    except FileNotFoundError as error:
        raise DataError("an existing HDF5 file", f"{path}, which does not exist") from error
    except OSError as error:
        reason = str(error).split("\n")[0]
        remedy = reading_remedy(error, "Copy it again")
        raise DataError("a whole HDF5 file", f"{path}: {reason}", remedy) from error
    name = choose_matrix({key: item.shape for key, item in found.items()}, column, str(path))
    data, where = found[name], f"{path}:{name}"
    ids = HeldIds(
        str(path),
        {
            key: lambda item=item: item[:]
            for key, item in found.items()
            if item.shape == data.shape[:1] and item.dtype.kind in "iuSO"
        },
    )
    offset = data.id.get_offset()
    if offset is not None and data.size and not data.external:
        part: Part = MappedPart(where, np.memmap(path, data.dtype, "r", offset, data.shape))
        return Stored(where, [part], file_digest(path), ids)
    step = max(1, _PIECE_BYTES // max(1, data.shape[1] * data.dtype.itemsize))
    chunk = data.chunks[0] if data.chunks else 1
    step = max(chunk, step // chunk * chunk)  # no chunk is decoded twice
    starts = np.append(np.arange(0, data.shape[0], step), data.shape[0])

    def piece(number: int) -> np.ndarray:
        try:
            return data[starts[number] : starts[number + 1]]
        except OSError as error:
            raise DataError("a whole HDF5 file", f"{where}: {error}", "Copy it again") from error

    part = StreamedPart(where, data.shape, data.dtype, starts, piece)
    return Stored(where, [part], file_digest(path), ids)
