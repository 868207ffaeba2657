"""What is said of mined negatives: sentences and tables from `mined.json`; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrasift.report.data import TextTable
from contrasift.report.page import write_page
from contrasift.report.words import small_percent


def mined_sentences(result: Mapping[str, Any]) -> list[str]:
    """What the numbers say, most important first."""
    kept, left_out = result["queries_kept"], result["queries_left_out"]
    found = [
        f"{result['negatives']:,} negatives for {kept:,} of {result['queries']:,} queries, from a "
        f"corpus of {result['corpus']:,}, by {result['policy']}."
    ]
    found += _false(result)
    if left_out:
        why = ", ".join(f"{name} ({count:,})" for name, count in result["too_few_because"].items())
        are, have = ("query is", "it has") if left_out == 1 else ("queries are", "they have")
        found.append(
            f"{left_out:,} {are} left out: {have} fewer than {result['per_query']}, because of {why}."
        )
    stored = result.get("stored", result)
    for side, one, name in (
        ("queries", "query", "queries"),
        ("corpus", "row of the corpus", "rows of the corpus"),
    ):
        if stored[side] > result[side]:
            count = stored[side] - result[side]
            are = f"{one} is" if count == 1 else f"{name} are"
            found.append(f"{count:,} {are} skipped: skipped.parquet says why.")
    if result["above_their_positive"] > 0:
        found.append(
            f"{small_percent(result['above_their_positive'])} of the negatives score above the query's "
            "positive."
        )
    if result["search"] == "approximate":
        found.append(
            f"The search was approximate: recall {result['measured_recall']:.3f} on a sample of "
            f"{result['sample']:,} queries."
        )
    return found


def _false(result: Mapping[str, Any]) -> list[str]:
    found = []
    if "truth" in result:
        low, high = small_percent(result["truth_low"]), small_percent(result["truth_high"])
        found.append(
            f"{small_percent(result['truth'])} of them are known to be false ({low} to {high})."
        )
    if "estimate" in result:
        by = "two encoders" if result["encoders_that_judge"] == 2 else "one encoder"
        found.append(
            f"{small_percent(result['estimate'])} are thought to be false, by latent classes of {by}."
        )
    elif result["classes_used_by_the_policy"]:
        found.append(
            "How many are false cannot be estimated: the policy itself compares the latent classes. "
            "Give those of another encoder: other classes."
        )
    return found


@dataclass(frozen=True)
class Member:
    """One of those that belong to a suspect pair.

    Attributes:
        text: its text, or its id.
        note: what is known of it.
        image: data URI, or empty.
    """

    text: str
    note: str = ""
    image: str = ""


@dataclass(frozen=True)
class SuspectPair:
    """A query, its positive, and a negative that is probably false.

    Attributes:
        members: by what they are: `query`, `positive`, `negative`.
    """

    members: Sequence[tuple[str, Member]]


@dataclass(frozen=True)
class MinedPage:
    """Everything that the page shows.

    Attributes:
        summary: sentences; the first in larger type.
        judged: whether a share of false negatives is known or estimated.
        by_rank: columns of numbers, by name.
        positive: the positives' cosines: lowest tenth, median, highest tenth.
        tables: in order.
        pairs: the gallery.
    """

    summary: Sequence[str]
    judged: bool
    by_rank: Mapping[str, Sequence[float | int]]
    positive: Sequence[float]
    tables: Sequence[TextTable]
    pairs: Sequence[SuspectPair] = ()


def mined_page(result: Mapping[str, Any], pairs: Sequence[SuspectPair] = ()) -> MinedPage:
    """The page of what mined.json holds."""
    lines = result["by_rank"]
    columns = {name: [line[name] for line in lines] for name in (lines[0] if lines else ())}
    tables = [_rank_table(lines)]
    if result["too_few_because"]:
        rows = [[name, f"{count:,}"] for name, count in result["too_few_because"].items()]
        note = (
            "The part of the policy that leaves the fewest; `search`: an approximate search ended."
        )
        tables.append(
            TextTable("Queries with too few negatives", ["because of", "queries"], rows, note)
        )
    judged = "estimate" in columns or "truth" in columns
    return MinedPage(
        mined_sentences(result), judged, columns, result["positive_similarity"], tables, pairs
    )


def _rank_table(lines: Sequence[Mapping[str, Any]]) -> TextTable:
    judged = [name for name in ("estimate", "truth") if lines and name in lines[0]]
    heads = {"estimate": "false, estimated", "truth": "false, known"}
    rows = [
        [
            str(line["rank"]),
            f"{line['queries']:,}",
            f"{line['place']:,.0f}",
            f"{line['similarity']:.3f}",
            f"{line['below_positive']:.3f}",
            *(small_percent(line[name]) for name in judged),
        ]
        for line in lines
    ]
    return TextTable(
        "Every rank",
        [
            "rank",
            "queries",
            "median place",
            "mean cosine",
            "below positive",
            *(heads[name] for name in judged),
        ],
        rows,
        "Place: among all of the query's candidates, 1 the hardest.",
    )


def write_mined_page(page: MinedPage, path: Path) -> Path:
    """Write the page, whole or not at all; it opens from disk, without a network.

    Every text from outside is shown as text: see `write_report`.

    Raises:
        ContrasiftError: the file cannot be written.
    """
    payload = {**page.by_rank, "positive": list(page.positive)}
    payload.setdefault("rank", [])
    return write_page(path, "mined.html.j2", page, payload)
