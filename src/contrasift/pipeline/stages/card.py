"""`selection.md`: what a data card of a published subset needs, from the facts of the selection alone."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contrasift.catalogue import OBJECTIVES
from contrasift.errors import visible
from contrasift.options import MatrixOptions, SelectOptions
from contrasift.store.atomic import sha256_of, write_text
from contrasift.store.selections import read_facts

CARD = "selection.md"
_METHODS = {
    "graph": "communities of nearest neighbours (Leiden)",
    "kmeans": "k-means",
    "none": "the whole pool is one class",
    "labels": "as given",
}


def write_card(out: Path) -> Path:
    """Write the card of the selection in a folder, from its `selection.json` and nothing else.

    Args:
        out: the folder.
    """
    facts = read_facts(out)
    lines = [f"# {facts['budget']:,} of {facts['n']:,} examples, selected by contrasift", ""]
    for title, entries in (
        ("Source", _source(facts)),
        ("Latent classes", _classes(facts)),
        ("Selection", _selection(facts)),
        ("Left out", _left_out(facts)),
        ("Beside random selections of this size", _beside_random(facts)),
        ("Repeat it", _repeat(out, facts)),
    ):
        lines += [f"## {title}", "", *(f"- {visible(entry)}" for entry in entries), ""]
    path = out / CARD
    write_text(path, "\n".join(lines))
    return path


def repeating(place: str, out: Path, options: SelectOptions, beside: MatrixOptions) -> str:
    """The command that makes this selection: every option that is not at its default."""
    words = ["contrasift", "select", place]
    for group in (options, beside):
        for item in dataclasses.fields(group):
            value = getattr(group, item.name)
            flag = "--" + item.name.replace("_", "-")
            if value == item.default:
                continue
            words += [flag] if value is True else [flag, f"{value}"]
    return shlex.join([*words, "--out", str(out)])


def _source(facts: Mapping[str, Any]) -> Iterator[str]:
    source = facts.get("source", {})
    yield f"`{source.get('place', 'unknown')}`: {facts['n']:,} rows of {facts['dim']:,} columns"
    for name in ("format", "files", "column"):
        if source.get(name):
            yield f"{name}: {source[name]}"
    yield f"SHA-256 of the embeddings: `{facts['inputs']['embeddings']}`"
    if "ids" in facts["inputs"]:
        yield f"ids: {source.get('ids') or source.get('id') or 'given'}; SHA-256 `{facts['inputs']['ids']}`"
    else:
        yield "ids: none, examples are row numbers"
    made = facts.get("made_by", {})
    told = [f"{name} {made[name]}" for name in ("encoder", "layer", "views") if made.get(name)]
    yield "encoder: " + (", ".join(told) or "unknown")
    yield f"rows are {facts['rows']}"


def _classes(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("latent_classes", {})
    if "file" in found:
        yield f"{len(facts['classes']):,} from `{found['file']}`, SHA-256 `{facts['inputs']['classes']}`"
        return
    method = found.get("method", "none")
    yield f"{len(facts['classes']):,} by {method}: {_METHODS.get(method, method)}"
    if method == "none":
        yield "within one class a selection was no better than random in contrasift's own experiments"
    for name in ("resolution", "neighbours", "seed"):
        if name in found:
            yield f"{name} {found[name]}"
    ari = found.get("stability", {}).get("ari")
    if ari is not None:
        yield f"agreement of classes that other seeds find, adjusted Rand index: {ari:.2f}"
    elif method != "none":
        yield "stability: not measured (of more than 20,000 examples it is not, unasked)"
    sizes = sorted((part["size"] for part in facts["classes"]), reverse=True)
    yield f"sizes from {sizes[0]:,} to {sizes[-1]:,}"


def _selection(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"kept: {facts['budget']:,} ({facts['budget'] / facts['n']:.2%})"
    yield f"objective {facts['objective']}: {OBJECTIVES[facts['objective']].description}"
    if facts["objective"] == "sas":
        yield f"λ = {facts['redundancy']:g}; optimizer {facts['optimizer']}, refined by {facts['refine']}"
    yield f"places by class: {facts['allocate']}"
    yield "certificate: " + certificate_in_words(facts)
    for note in facts["notes"]:
        yield f"note: {note}"


def certificate_in_words(facts: Mapping[str, Any]) -> str:
    """What a certificate proves, never rounded up; of one class also what it does not."""
    share, bound = facts["certificate"], facts["upper_bound"]
    if bound is None:
        return "none for this objective"
    if share is None:
        if bound <= 0:
            return f"at most {bound - facts['value']:.6g} below the best selection of its size"
        percent = math.floor(facts["value"] / bound * 1e5) / 1e3
        return f"reaches at least {percent:.3f} % of the best value of any selection of this size"
    if share <= 0:
        return "no better than a random selection of its size"
    percent = math.floor(share * 1e5) / 1e3
    words = (
        "proved to be the best selection of its size"
        if share >= 1
        else f"reaches at least {percent:.3f} % of what any selection of this size could gain over random"
    )
    if facts.get("n_classes", 0) == 1:
        words += (
            " in this objective over the one class there is; of training it says nothing: within "
            "one class it was no better than random in our experiments"
        )
    return words


def _left_out(facts: Mapping[str, Any]) -> Iterator[str]:
    reasons = facts.get("left_out_reasons", {})
    for reason, count in reasons.items():
        yield f"{count:,} rows with {reason}, listed in skipped.parquet"
    copies = facts.get("duplicates")
    if copies:
        yield (
            f"{copies['dropped']:,} near-copies of an example that stays (similarity above "
            f"{1 - copies['epsilon']:g})"
        )
    equal = facts.get("copies")
    if equal:
        chosen = f"; {equal['selected']:,} of them had to be kept" if equal["selected"] else ""
        yield f"{equal['n']:,} equal another, which stands for them: they rank behind the rest{chosen}"
    listed = facts.get("dropped", 0) - (copies["dropped"] if copies else 0)
    if listed:
        yield f"{listed:,} on the list of what must be dropped"
    rest = facts["n"] - facts["budget"] - facts.get("dropped", 0)
    yield f"{rest:,} that rank behind the budget; `rank` and `gain` in selection.parquet say how far"


def _beside_random(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("beside_random", {})
    said = {
        "coverage": "coverage, mean similarity to the nearest kept example of the class (more is better)",
        "centre": "centre, mean similarity to the kept examples of the class (more is better)",
        "balance": "balance, how far shares of classes are from the pool's (less is closer)",
    }
    for name, words in said.items():
        if name in found:
            one = found[name]
            yield (
                f"{words}: {one['value']:.4f}; random {one['random']:.4f} "
                f"({one['random_low']:.4f} to {one['random_high']:.4f})"
            )
    if "coverage" not in found:
        yield "coverage and centre: not measured"
    yield "whether training gains by it is not known from embeddings alone: compare a training on a random subset"


def _repeat(out: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"`{facts.get('command', 'contrasift select')}`"
    yield "SHA-256 of selection.parquet: `" + sha256_of(out / "selection.parquet") + "`"
    versions = facts["versions"]
    yield "versions: " + ", ".join(f"{name} {number}" for name, number in versions.items())
    yield f"options: {', '.join(f'{name} {value}' for name, value in facts['options'].items())}"
