"""`contrasift mine`: negatives of queries from a corpus, by policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.cli.common import How
from contrasift.cli.console import print_json
from contrasift.cli.flags import pick, with_options
from contrasift.options.mining import MiningFiles, MiningOptions


@with_options(MiningOptions, MiningFiles, how=["update"])
def mine_command(
    queries: Annotated[
        str,
        typer.Argument(
            metavar="QUERIES", help="Embeddings of the queries, in any form that `select` takes."
        ),
    ],
    corpus: Annotated[
        str | None,
        typer.Argument(
            metavar="CORPUS", help="Embeddings of the corpus; none: the queries are the corpus."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the result.")] = Path(
        "mined"
    ),
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Mine negatives for retrieval and embedding models, and say how many of them are false.

    For every query the hardest rows of the corpus that the policy allows, from embeddings alone; no
    similarity matrix is held. Writes mined.parquet (query, negative, rank, place, similarity,
    positive_similarity, false_probability), mined.json and mined.html.

    Examples:
        contrasift mine queries.npy corpus.npy --positives qrels.tsv --out mined/

        contrasift mine queries.npy corpus.npy --positives rows --policy "difficulty(99,99.9) & ~same_latent_class" --per-query 8 --out mined/
    """
    from contrasift.pipeline.studies.mine import mine_files

    options = MiningOptions(**pick(given, MiningOptions))
    files = MiningFiles(**pick(given, MiningFiles))
    result = mine_files(
        queries, corpus, out, options, files, narrator=how.narrator, update=how.update
    )
    if how.as_json:
        print_json(result)
        return
    _show(result, out)


def _show(result: Mapping[str, Any], out: Path) -> None:
    from contrasift.report.mined import mined_sentences

    for sentence in mined_sentences(result):
        print(sentence)
    for name in ("mined.parquet", "mined.json", "mined.html"):
        if (out / name).exists():
            print(out / name)
