"""A run's map with all that is known of its examples, as one Parquet file for Embedding Atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.map import make_map
from contrasift.store.tables import positions_of, read_latent_classes, read_table, write_table

FILE = "explore.parquet"


def write_explore_table(run: Run, side: int = 64) -> tuple[Path, int]:
    """Write `explore.parquet`: one row for every point of the run's map.

    Columns: index, id, x, y, latent_class; label where the pool has labels; rank, gain, selected
    where there is a selection; image, a PNG as a data URI, empty where it cannot be had.

    Args:
        run: with latent classes; its map is drawn if there is none.
        side: of a thumbnail, in pixels.

    Returns:
        The file, and how many rows it has.

    Raises:
        RunFolderError: no classes yet.
    """
    folder = run.folder.path
    run.record("classes")
    make_map(run)
    points = read_table(folder / "map.parquet", "index", "x", "y")
    index = points["index"]
    examples = read_table(folder / "examples.parquet", "index", "id", "label", "row")
    everything = examples["index"][examples["row"] >= 0]
    names = read_latent_classes(folder / "classes.parquet", everything)
    spots = np.searchsorted(examples["index"], index)
    columns: dict[str, Any] = {
        "index": index,
        "id": [str(id) for id in examples["id"][spots].tolist()],
        "x": points["x"],
        "y": points["y"],
        "latent_class": [str(name) for name in names[np.searchsorted(everything, index)].tolist()],
    }
    labels = examples["label"][spots].tolist()
    if any(label is not None for label in labels):
        columns["label"] = [None if label is None else str(label) for label in labels]
    columns |= _selection(folder, index)
    columns["image"] = _images(run, index, side)
    write_table(folder / FILE, columns)
    return folder / FILE, index.size


def _selection(folder: Path, index: np.ndarray) -> dict[str, Any]:
    """Rank, gain and choice of some examples; nothing where nothing was selected."""
    if not (folder / "selection.parquet").exists():
        return {}
    table = read_table(folder / "selection.parquet", "index", "rank", "gain", "selected")
    by_index = np.argsort(table["index"], kind="stable")
    rows = by_index[np.searchsorted(table["index"], index, sorter=by_index)]
    return {name: table[name][rows] for name in ("rank", "gain", "selected")}


def _images(run: Run, index: np.ndarray, side: int) -> list[str]:
    """Thumbnails; empty ones where the pool has moved or an image has gone."""
    from contrasift.report.thumbnails import thumbnail

    try:
        positions = positions_of(index, run.pool.index)
    except (ContrasiftError, OSError) as error:
        run.narrator.say(f"  note: the pool cannot be shown, so there are no pictures: {error}")
        return [""] * index.size
    images, missing = [], 0
    with run.narrator.progress("drawing thumbnails") as progress:
        for number, position in enumerate(positions.tolist()):
            try:
                images.append(thumbnail(run.pool.read(position), side))
            except (ContrasiftError, OSError, ValueError, KeyError):
                images.append("")
                missing += 1
            progress(number + 1, positions.size)
    if missing:
        run.narrator.say(f"  note: {missing:,} images cannot be read and have no picture")
    return images
