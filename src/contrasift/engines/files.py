"""The matrix as a file that every node opens by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contrasift.store.atomic import atomic_path, load_array


def shared_matrix(values: np.ndarray, folder: Path) -> Path:
    """The file behind a memory-mapped matrix; one that is in memory is written into the folder.

    Raises:
        ContrasiftError: the folder cannot be written.
    """
    file = getattr(values, "filename", None)
    if file is not None:
        path = Path(file).resolve()
        there = load_array(path) if path.suffix == ".npy" else None
        same = (
            there is not None
            and (there.shape, there.dtype, there.strides)
            == (values.shape, values.dtype, values.strides)
            and getattr(there, "offset", 0) == getattr(values, "offset", -1)
        )
        if same:
            return path
    path = Path(folder).resolve() / "matrix.npy"
    with atomic_path(path) as temporary, open(temporary, "wb") as target:
        np.save(target, np.asarray(values), allow_pickle=False)
    return path
