"""A selection on its way out: indices, ids, or the images themselves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from contrasift.errors import RunFolderError, UsageError
from contrasift.pipeline.run import open_run_pool, positions_of
from contrasift.store.atomic import atomic_path, write_text
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table


def export(folder: Path, form: str, out: Path) -> int:
    """Write the selection of a run folder to `out`; returns how many examples.

    Raises:
        RunFolderError: there is no selection, or `out` is a folder with files in it.
    """
    if not (folder / "selection.parquet").exists():
        raise RunFolderError(
            f"a selection in {folder}",
            "none",
            f"Make one first: contrasift select {folder} --fraction 0.2",
        )
    table = read_table(folder / "selection.parquet", "index", "selected")
    index = np.sort(table["index"][table["selected"]])
    if form == "indices":
        _write_indices(out, index)
    elif form == "ids":
        write_text(out, "".join(f"{id}\n" for id in _ids(folder, index)))
    else:
        _write_images(folder, index, out)
    return int(index.size)


def _write_indices(out: Path, index: np.ndarray) -> None:
    if out.suffix == ".txt":
        write_text(out, "".join(f"{number}\n" for number in index))
        return
    if out.suffix != ".npy":
        raise UsageError("--out ending in .npy or .txt for indices", str(out))
    with atomic_path(out) as temporary, open(temporary, "wb") as file:
        np.save(file, index)


def _ids(folder: Path, index: np.ndarray) -> list[str]:
    if not (folder / "examples.parquet").exists():
        raise RunFolderError(
            "a run made from a pool", "a selection from a bare matrix", "Export its indices"
        )
    table = read_table(folder / "examples.parquet", "index", "id")
    return table["id"][np.searchsorted(table["index"], index)].tolist()


def _write_images(folder: Path, index: np.ndarray, out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise RunFolderError("an empty or new folder for images", f"{out}, which holds files")
    options = RunFolder.existing(folder).read_options().pool
    pool = open_run_pool(options)
    source = Path(options.pool)
    for id, position in zip(_ids(folder, index), positions_of(index, pool.index), strict=True):
        if source.is_dir():
            _link_or_copy(source / id, out / id)
        else:
            target = out / f"{id}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pool.read(position).squeeze()).save(target)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
