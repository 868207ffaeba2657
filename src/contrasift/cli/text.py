"""`contrasift text`: the same learning and the same bounds on a collection of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.flags import pick, with_options
from contrasift.errors import UsageError
from contrasift.options.declaring import numbers_of
from contrasift.text.options import TextOptions, TextPoolOptions


@with_options(TextPoolOptions, TextOptions)
def text_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TEXTS",
            help="`fortunes`, `ag-news:FOLDER`, `hf:NAME`, a .csv, .tsv or .txt file, or a folder of files whose names are the labels.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the result.")],
    bounds: Annotated[
        str,
        typer.Option(
            "--bounds",
            metavar="K+1,K+1,...",
            help="Instead of embeddings: the table of the bounds, one training for every K+1 (its batch size), for example 16,32,64,128,256.",
        ),
    ] = "",
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings for every K+1.", min=1)] = 2,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Learn embeddings of texts without labels, or hold the theory against them.

    SimCLR on words: a text is the mean of learned word vectors, and its views are the text with
    words erased or replaced by near ones. Writes embeddings.npy and labels.txt, which `select`,
    and everything that begins with embeddings, takes.

    Examples:
        contrasift text fortunes --out runs/fortunes

        contrasift select runs/fortunes/embeddings.npy --classes runs/fortunes/labels.txt --fraction 0.2 --out chosen/

        contrasift text fortunes --least 500 --bounds 16,32,64,128,256 --out runs/fortunes-bounds
    """
    from contrasift.pipeline.studies.text import bound_texts, embed_texts
    from contrasift.text.collection import open_texts

    narrator = how.narrator
    pool = TextPoolOptions(**pick(given, TextPoolOptions))
    options = TextOptions(**pick(given, TextOptions))
    draws = _draws(bounds)
    texts = open_texts(source, **pool.as_dict())

    def progress(title: str) -> Any:
        return narrator.progress(title, "steps")

    if draws:
        result = bound_texts(
            texts,
            options,
            out,
            draws=draws,
            seeds=seeds,
            progress=progress,
            source={"texts": source, **pool.as_dict()},
        )
    else:
        result = embed_texts(texts, options, out, seed=pool.seed, progress=progress)
    if how.as_json:
        print_json(result)
    elif draws:
        print((out / "bounds.md").read_text(encoding="utf-8"))
        print(out / "bounds.html")
    else:
        print(
            f"{result['texts']:,} texts, {result['vocabulary']:,} words: {out / 'embeddings.npy'}"
        )
        for name, value in result.get("accuracy", {}).items():
            print(f"{name.replace('_', ' ')}: {value:.1%}")


def _draws(text: str) -> list[int]:
    found = numbers_of(text, int)
    if found is None:
        raise UsageError("--bounds as whole numbers, 16,32,64", repr(text))
    return found
