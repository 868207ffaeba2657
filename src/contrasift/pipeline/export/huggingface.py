"""A selection as a Hugging Face data set on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contrasift.errors import with_extra
from contrasift.narration import Progress
from contrasift.pipeline.export.chosen import ChosenExamples
from contrasift.pools.labels import encode_labels

_BATCH = 100


def write_dataset(chosen: ChosenExamples, folder: Path, progress: Progress) -> None:
    """Write what `datasets.load_from_disk` reads.

    A pool that is such a data set keeps its columns: it is `dataset.select(indices)`. Any other gets
    the columns image (bytes as they were), label (with its names), id, index, latent_class, rank.

    Raises:
        DataError: an image can no longer be read.
        MissingExtraError: the package datasets is not installed.
    """
    datasets = with_extra("datasets", "hf")
    assert chosen.pool is not None
    if chosen.pool.dataset is not None:
        save_quietly(datasets, chosen.pool.dataset.select(chosen.index), folder)
        progress(len(chosen), len(chosen))
        return
    rows = folder / ".rows"
    rows.mkdir()
    codes, names = encode_labels(["" if label is None else label for label in chosen.labels])
    schema = _features(datasets, chosen, names).arrow_schema
    with pa.OSFile(str(rows / "rows.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as out:
        for first in range(0, len(chosen), _BATCH):
            last = min(first + _BATCH, len(chosen))
            batch = [_row(chosen, row, codes, names) for row in range(first, last)]
            out.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            progress(last, len(chosen))
    save_quietly(datasets, datasets.Dataset.from_file(str(rows / "rows.arrow")), folder)
    shutil.rmtree(rows)


def save_quietly(datasets: Any, dataset: Any, folder: Path) -> None:
    """Save without the package's own progress bar; there is one already."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset.save_to_disk(folder)
    finally:
        if shown:
            datasets.enable_progress_bars()


def _features(datasets: Any, chosen: ChosenExamples, names: tuple[str, ...]) -> Any:
    numbers = np.asarray(chosen.latent_class).dtype.kind in "iu"
    return datasets.Features(
        {
            "image": datasets.Image(),
            **({"label": datasets.ClassLabel(names=list(names))} if names else {}),
            "id": datasets.Value("string"),
            "index": datasets.Value("int64"),
            "latent_class": datasets.Value("int64" if numbers else "string"),
            "rank": datasets.Value("int64"),
        }
    )


def _row(
    chosen: ChosenExamples, row: int, codes: np.ndarray, names: tuple[str, ...]
) -> dict[str, Any]:
    facts = chosen.facts(row) | {"image": {"bytes": chosen.image(row)[0], "path": None}}
    return facts | {"label": int(codes[row])} if names else facts
