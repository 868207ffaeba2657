"""Which negatives are mined: every option of it, once.

`MiningOptions` are the words and numbers that `contrasift.mine` and the flags share. `MiningFiles`
adds what Python takes as arrays: pairs, classes, labels and texts from files.
"""

from __future__ import annotations

from dataclasses import dataclass

from contrasift.options.declaring import Options, option
from contrasift.options.words import Search

POLICY = "~duplicates & ~above_positive(0.95)"


@dataclass(frozen=True)
class MiningOptions(Options):
    """Which negatives."""

    policy: str = option(
        POLICY,
        "Which candidates may be negatives: `difficulty(LOW,HIGH)` (percentiles of a query's candidates), `above(COSINE)`, `above_positive(SHARE)`, `margin(WIDTH)`, `same_latent_class`, `same_class`, `duplicates`, `relevant`, `random(SHARE)`, joined by & | ~. All name negatives that are used; ~ leaves them out.",
        metavar="POLICY",
    )
    per_query: int = option(8, "Negatives a query.", legal="of at least 1")
    draw: str = option(
        "hardest",
        "How to draw among them: `hardest`; `sample(top=K)`: at random from the K hardest; `random(K)`: K from all of them; `hardest + random(2)`.",
        metavar="DRAW",
    )
    search: Search = option(
        "auto",
        "`exact` compares every pair; `approximate` those of near lists, its recall measured and told; `auto`: exact up to 17 billion pairs.",
    )
    recall: float = option(
        0.95, "Share of the true candidates that an approximate search finds.", legal="in (0, 1]"
    )
    allow_fewer: bool = option(
        False, "Keep queries that have fewer negatives than asked for; else they are left out."
    )
    seed: int = option(0, "Seed of random draws, and of the search.")


@dataclass(frozen=True)
class MiningFiles(Options):
    """What is known of queries and corpus, in files."""

    positives: str = option(
        "",
        "Pairs of query and corpus, by id or row number: .parquet, .csv or .tsv with two columns (a third, `score`, above 0), as BEIR's qrels; .npy [m, 2]; or `rows`: query 1 belongs to row 1 of the corpus, and so on.",
        metavar="PAIRS",
    )
    relevant: str = option(
        "", "Further pairs that belong together: to judge, and for `relevant`.", metavar="PAIRS"
    )
    classes: str = option(
        "auto",
        "Latent classes of the corpus: `auto`, `graph`, `kmeans`: find them; `none`; or a file of them.",
        metavar="FILE|METHOD",
    )
    other_classes: str = option(
        "",
        "Latent classes of the corpus by another encoder, a file: a negative counts as false where both agree.",
        metavar="FILE",
    )
    labels: str = option(
        "",
        "Labels of the corpus, a file: for `same_class`, and for the true share.",
        metavar="FILE",
    )
    query_texts: str = option(
        "",
        "Texts of the queries for the gallery: a .txt file, one a line, or TABLE.parquet:COLUMN in their order.",
        metavar="FILE",
    )
    corpus_texts: str = option("", "Texts of the corpus, likewise.", metavar="FILE")
    images: str = option(
        "",
        "What the gallery shows: a folder of images whose names are the ids, or a column of images, their files or addresses. Default: a column that is called so and lies here.",
        metavar="FOLDER|COLUMN",
    )
    column: str = option("", "Which array or column holds the vectors.", metavar="NAME")
    id: str = option("", "What names the rows, as for `select`.", metavar="NAME")
    skip_bad: bool = option(
        False,
        "List rows with NaN, infinity, nulls or nothing but zeros, and queries that lose all their positives with them, in skipped.parquet, and leave them out.",
    )
    threads: int | None = option(None, "Default: all processors.", legal="of at least 1")
