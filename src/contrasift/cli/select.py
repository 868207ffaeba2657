"""`contrasift select`: from a matrix of embeddings to the part that is worth training on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contrasift.catalogue import OBJECTIVES
from contrasift.cli.common import How
from contrasift.cli.console import plain_console, print_json
from contrasift.cli.flags import as_flags, pick, with_options
from contrasift.errors import UsageError, visible
from contrasift.options import MatrixOptions, SelectOptions

_SHOWN_CLASSES = 8


@with_options(
    *(SelectOptions, MatrixOptions),
    first=["fraction", "classes"],
    how=["engine", "address", "update"],
)
def select_command(
    embeddings: Annotated[
        str,
        typer.Argument(
            metavar="EMBEDDINGS",
            help="Embeddings, one row an example: .npy, .npz, .safetensors, .pth, .parquet, .lance, "
            ".arrow, .h5, .zarr, .csv; a folder or 'pattern' of shards; hf:NAME:SPLIT#column; the "
            "address of a file (s3://…/embeddings.npy); or a run folder.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the result; default, for a run folder: that folder."
        ),
    ] = None,
    *,
    how: How,
    given: dict[str, Any],
) -> None:
    """Choose the part of a pool that is most worth training on, and certify how good it is.

    Works from embeddings alone: no images, no torch, no n×n matrix. Writes selection.parquet
    (every example: index, id, latent_class, rank, gain, selected), selection.json (value, upper
    bound, certificate, budgets, time, memory), ranking.npy (any prefix is the selection for that
    budget; what was dropped is last, as many as selection.json says) and, for --optimizer
    relaxed, rule.npz (see `contrasift filter`).

    Latent classes, within which is selected, are found first (--classes auto) and left in
    classes.parquet for the next selection.

    Examples:
        contrasift select embeddings.npy --fraction 0.2 --out chosen/

        contrasift select embeddings.npy --classes classes.npy --fraction 0.2 --out chosen/

        contrasift select embeddings.npy --budget 10000 --optimizer relaxed --out chosen/

        contrasift select embeddings.npy --fraction 0.2 --engine ray --out chosen/
    """
    options = SelectOptions(**pick(given, SelectOptions))
    beside = MatrixOptions(**pick(given, MatrixOptions))
    if out is None:
        folder = Path(embeddings)
        _refuse_outside_of_run(folder, beside)
        with how.run(folder, given) as run:
            from contrasift.pipeline.stages.select import select

            select(run)
    else:
        folder = out
        with how.reached() as connect:
            from contrasift.pipeline.stages.select_matrix import select_from_matrix

            select_from_matrix(
                embeddings,
                out,
                options,
                beside,
                narrator=how.narrator,
                connect=connect,
                update=how.update,
            )
    _show(folder, as_json=how.as_json)


def _refuse_outside_of_run(folder: Path, beside: MatrixOptions) -> None:
    """What only a selection beside a run takes cannot change the run's own."""
    if not folder.is_dir():
        raise UsageError("out= for a selection from a matrix", "none")
    defaults = MatrixOptions().as_dict()
    extra = [f"{name}=" for name, value in beside.as_dict().items() if value != defaults[name]]
    if extra:
        given = " and ".join(extra)
        raise UsageError(
            f"out= beside {given}", "none", f"{given} cannot change a run's selection; add out="
        )


def _show(out: Path, *, as_json: bool) -> None:
    """The result in words, or as JSON."""
    from contrasift.store.atomic import sha256_of
    from contrasift.store.selections import read_facts

    facts = read_facts(out)
    digest = sha256_of(out / "selection.parquet")
    names = ("selection.parquet", "selection.json", "ranking.npy", "rule.npz", "selection.md")
    written = [str(out / name) for name in names if (out / name).exists()]
    if as_json:
        print_json({**facts, "files": written, "sha256": digest})
        return

    from rich.markup import escape
    from rich.table import Table

    console = plain_console()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, text in _summary(facts):
        table.add_row(f"[bold]{name}[/]", escape(visible(text)))
    table.add_row("[bold]files[/]", escape(visible("\n".join(written))))
    table.add_row("[bold]sha256[/]", f"{digest}  selection.parquet")
    console.print(table)
    for note in facts["notes"]:
        console.print("[bold yellow]note[/] ", end="")
        console.print(as_flags(note), markup=False)


def _summary(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    from contrasift.pipeline.stages.card import certificate_in_words

    n, kept = facts["n"], facts["budget"]
    lines = [
        ("kept", f"{kept:,} of {n:,} examples ({kept / n:.2%})"),
        ("by", _objective_in_words(facts)),
        ("value", _value_in_words(facts)),
        ("certificate", certificate_in_words(facts)),
        ("classes", _classes_in_words(facts)),
    ]
    if facts["objective"] == "sas":
        lines.insert(4, ("gains", _first_negative_in_words(facts["first_negative_gain"])))
    lines += [
        (f"at {share}", f"{count:,} examples, in the column selected_{share}")
        for share, count in facts["marked_budgets"].items()
    ]
    if "duplicates" in facts:
        one = facts["duplicates"]
        text = f"{one['dropped']:,} near-copies at ε = {one['epsilon']:g}"
        lines.append(("dropped", text))
    if "copies" in facts:
        one = facts["copies"]
        text = f"{one['n']:,} examples equal another, which stands for them"
        lines.append(("copies", text + (f"; {one['selected']:,} kept" if one["selected"] else "")))
    memory = facts["peak_memory_bytes"]
    used = f", {memory / 2**20:,.0f} MiB at most" if memory else ""
    once = facts.get("compile_seconds", 0.0)
    used += f"; and {once:.1f} s of compiling, which is kept for the next time" if once else ""
    lines.append(("time", f"{facts['seconds']:.2f} s for the selection{used}"))
    if "engine" in facts:
        lines.append(("engine", _engine_in_words(facts)))
    return lines


def _objective_in_words(facts: Mapping[str, Any]) -> str:
    name = facts["objective"]
    if name == "sas":
        refined = "" if facts["refine"] == "none" else f", {facts['refine']}"
        name += f" ({facts['optimizer']}{refined}), λ = {facts['redundancy']:g}"
    if "threshold" in facts:
        name += f", τ = {facts['threshold']:g}"
        if facts["linear_classes"]:
            name += f" (without effect in {facts['linear_classes']} of the classes: {facts['linear_because']})"
    return f"{name}: {OBJECTIVES[facts['objective']].description}"


def _value_in_words(facts: Mapping[str, Any]) -> str:
    words = f"{facts['measures']} = {facts['value']:.9g}"
    if facts["upper_bound"] is not None:
        words += f"; no selection of this size exceeds {facts['upper_bound']:.9g}"
    if facts["random_value"] is not None:
        words += f"; random ones have {facts['random_value']:.9g} on average"
    return words


def _engine_in_words(facts: Mapping[str, Any]) -> str:
    before = facts["tasks_finished_before"]
    return (
        f"ray, {facts['tasks']:,} tasks on {facts['cpus']:,} processors"
        + (f", {before:,} of them finished before" if before else "")
        + f"; {facts['start_up_seconds']:.1f} s to start, not counted above"
    )


def _first_negative_in_words(rank: int | None) -> str:
    if rank is None:
        return "every example raised F when it was added"
    return f"negative from place {rank:,} of the ranking: from there on examples lower F"


def _classes_in_words(facts: Mapping[str, Any]) -> str:
    classes = facts["classes"]
    if len(classes) == 1:
        return "one"
    shown = [f"{part['name']}: {part['budget']} of {part['size']}" for part in classes]
    more = f"; and {len(shown) - _SHOWN_CLASSES} more" if len(shown) > _SHOWN_CLASSES else ""
    method = facts.get("latent_classes", {}).get("method")
    by = f" by {method}" if method else ""
    return f"{len(shown)}{by} ({'; '.join(shown[:_SHOWN_CLASSES])}{more})"
