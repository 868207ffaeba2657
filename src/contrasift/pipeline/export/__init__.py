"""A selection on its way out: indices, ids, images, shards, a Hugging Face data set, FiftyOne."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from contrasift.catalogue import check_choice
from contrasift.errors import UsageError
from contrasift.ids import as_ids, uid_halves
from contrasift.narration import Progress
from contrasift.pipeline.export.chosen import ChosenExamples, Say, read_chosen, with_pool
from contrasift.pipeline.export.fiftyone import write_fiftyone
from contrasift.pipeline.export.images import write_images
from contrasift.pipeline.export.rows import write_metadata, write_rows
from contrasift.pipeline.export.webdataset import write_shards
from contrasift.pipeline.export.whole import refuse_file, whole_folder
from contrasift.store.atomic import write_array, write_text
from contrasift.store.run import RunFolder

FORMS = (
    *("indices", "ids", "datacomp", "rows", "metadata"),
    *("images", "webdataset", "hf", "fiftyone"),
)
LINKS = ("hard", "copy")
SHARD_SIZE = 1000


def export(
    run: Path,
    form: str,
    out: Path,
    *,
    link: str = "hard",
    shard_size: int = SHARD_SIZE,
    say: Say = lambda text: None,
    progress: Progress = lambda done, total: None,
) -> int:
    """Write the selection of a run folder to `out`, which must be new.

    Everything is written under another name beside `out` and renamed when it is whole: what has the
    name `out` is a finished export.

    Args:
        run: the run folder.
        form: `indices` (a .npy or .txt file), `ids` (a text file), `datacomp` (a .npy of its uids as
            pairs of uint64, sorted), `rows` (a Parquet file of what else the source's table says of
            them), `metadata` (a folder with the tables beside the shards, filtered); or a folder of `images`,
            `webdataset` shards, a `hf` data set (as `datasets.save_to_disk` writes it), or a
            `fiftyone` data set, which holds every example and says which are selected.
        out: the file or folder to make.
        link: how image files come into `images` and `fiftyone`: `hard` links, which take no space
            but share every later change, or copies.
        shard_size: examples in a shard of `webdataset`.
        say: told what is done differently from what was asked.
        progress: called with (done, total).

    Returns:
        How many examples were written.

    Raises:
        UsageError: a form, a link, a size or a suffix that means nothing, or `out` in the pool.
        RunFolderError: there is no selection, no pool behind it, or `out` holds something already.
        DataError: an image can no longer be read.
    """
    check_choice("to=", form, FORMS)
    check_choice("link=", link, LINKS)
    if shard_size < 1:
        raise UsageError("shard_size= of at least 1", str(shard_size))
    chosen = read_chosen(run, everything=form == "fiftyone")
    if form == "indices":
        _write_indices(out, chosen.index)
    elif form == "ids":
        refuse_file(out)
        write_text(
            out, "".join(f"{id}\n" for id in _on_one_line([str(id) for id in chosen.need_ids()]))
        )
    elif form == "datacomp":
        _write_pairs(out, chosen)
    elif form == "rows":
        refuse_file(out)
        write_rows(run, chosen.index, out, progress)
    elif form == "metadata":
        with whole_folder(out, say) as folder:
            write_metadata(run, chosen.index, folder, progress)
    else:
        chosen = with_pool(chosen, run, say)
        _refuse_inside_pool(run, out)
        writers: dict[str, Callable[[ChosenExamples, Path], object]] = {
            "images": lambda what, folder: write_images(what, folder, link, say, progress),
            "webdataset": lambda what, folder: write_shards(what, folder, shard_size, progress),
            "hf": lambda what, folder: _write_dataset(what, folder, progress),
            "fiftyone": lambda what, folder: write_fiftyone(what, folder, link, say, progress),
        }
        with whole_folder(out, say) as folder:
            writers[form](chosen, folder)
    return len(chosen)


def _write_dataset(chosen: ChosenExamples, folder: Path, progress: Progress) -> None:
    from contrasift.pipeline.export.huggingface import write_dataset

    write_dataset(chosen, folder, progress)


def _write_indices(out: Path, index: np.ndarray) -> None:
    if out.suffix not in (".npy", ".txt"):
        raise UsageError("out= ending in .npy or .txt for indices", str(out))
    refuse_file(out)
    if out.suffix == ".txt":
        write_text(out, "".join(f"{number}\n" for number in index))
        return
    write_array(out, index)


def _write_pairs(out: Path, chosen: ChosenExamples) -> None:
    if out.suffix != ".npy":
        raise UsageError("out= ending in .npy for the index of DataComp", str(out))
    refuse_file(out)
    write_array(out, uid_halves(as_ids(chosen.need_ids(), "the selection")))


def _on_one_line(ids: list[str]) -> list[str]:
    r"""Ids with the line ends that hostile file names have written as `\n` and `\r`."""
    return [id.replace("\n", "\\n").replace("\r", "\\r") for id in ids]


def _refuse_inside_pool(run: Path, out: Path) -> None:
    """An export in the folder of the pool would become part of it, and move every index."""
    pool = Path(RunFolder.existing(run).read_options().pool.pool).expanduser()
    if pool.is_dir() and out.resolve().is_relative_to(pool.resolve()):
        raise UsageError("out= outside of the pool", f"{out}, which is inside {pool}")
