"""`contrasift export`: a selection to where it is used."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from contrasift.cli.common import How, RunArgument
from contrasift.cli.console import print_json
from contrasift.cli.flags import with_options


class Form(StrEnum):
    """Forms in which a selection leaves a run."""

    indices = "indices"
    ids = "ids"
    datacomp = "datacomp"
    rows = "rows"
    metadata = "metadata"
    images = "images"
    webdataset = "webdataset"
    hf = "hf"
    fiftyone = "fiftyone"
    triplet = "triplet"
    n_tuple = "n-tuple"
    labeled_list = "labeled-list"


_OF_MINED = (Form.triplet, Form.n_tuple, Form.labeled_list)


class Link(StrEnum):
    """How image files come into a folder."""

    hard = "hard"
    copy = "copy"


@with_options(how=["moved_to"])
def export_command(
    folder: RunArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="What to make: a .npy or .txt file, or a folder.")
    ],
    to: Annotated[
        Form,
        typer.Option(
            "--to",
            help="`indices` of the pool; `ids` (paths or keys, or those of the embeddings); `datacomp`, its uids as sorted pairs; the `rows` with all columns of the source's table; the `metadata` beside the shards, filtered; the `images` themselves; "
            "`webdataset` shards; an `hf` data set for `datasets.load_from_disk`; every example "
            "with its rank for `fiftyone`. Of a folder that `mine` wrote: `triplet`, `n-tuple` or "
            "`labeled-list`, to a .jsonl file or a data set of Hugging Face.",
        ),
    ] = Form.indices,
    link: Annotated[
        Link | None,
        typer.Option(
            "--link",
            help="Of image files, for `images` and `fiftyone`: `hard` links take no space and share "
            "every later change; or `copy`. [default: hard]",
            show_default=False,
        ),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            "--shard-size",
            help="Examples in a shard of `webdataset`. [default: 1000]",
            show_default=False,
        ),
    ] = None,
    texts: Annotated[
        bool,
        typer.Option(
            "--texts",
            help="Of mined negatives: the texts that were named when they were mined, not ids.",
        ),
    ] = False,
    *,
    how: How,
) -> None:
    """Hand the selection on: indices, ids, images, WebDataset shards, Hugging Face, FiftyOne.

    The export is whole or not there, and never goes over files that exist.

    Examples:
        contrasift export runs/photos --to images --out photos-selected

        contrasift export runs/photos --to webdataset --shard-size 5000 --out shards

        contrasift export runs/photos --to fiftyone --out gallery

        contrasift export mined/ --to n-tuple --texts --out train.jsonl
    """
    from contrasift.errors import UsageError
    from contrasift.pipeline.export import SHARD_SIZE, export

    if link is not None and to not in (Form.images, Form.fiftyone):
        raise UsageError("--link with --to images or fiftyone", f"--to {to}")
    if shard_size is not None and to is not Form.webdataset:
        raise UsageError("--shard-size with --to webdataset", f"--to {to}")
    if texts and to not in _OF_MINED:
        raise UsageError(f"texts=True with to= one of {', '.join(_OF_MINED)}", to.value)
    narrator = how.narrator
    if to in _OF_MINED:
        from contrasift.pipeline.export.mined import export_mined

        count = export_mined(folder, to.value, out, texts=texts, say=narrator.say)
        _show(count, to, out, as_json=how.as_json)
        return
    if how.moved_to is not None:
        from contrasift.pipeline.pool_of_run import move_pool

        move_pool(folder, how.moved_to, narrator.say)
    with narrator.progress("exporting") as progress:
        count = export(
            folder,
            to.value,
            out,
            link=(link or Link.hard).value,
            shard_size=SHARD_SIZE if shard_size is None else shard_size,
            say=narrator.say,
            progress=progress,
        )
    _show(count, to, out, as_json=how.as_json)


def _show(count: int, to: Form, out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"examples": count, "to": to.value, "out": str(out)}, indent=None)
    else:
        print(f"{count:,} examples -> {out}")
