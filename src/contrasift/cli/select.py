"""`contrasift select`: from a matrix of embeddings to the part that is worth training on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.catalogue import OBJECTIVES
from contrasift.cli.common import Json, Quiet, Update
from contrasift.cli.console import Narrator, print_json
from contrasift.cli.engine import Address, EngineFlag, EngineName, reached
from contrasift.cli.flags import pick, with_options
from contrasift.errors import RunFolderError, UsageError
from contrasift.options import SelectOptions

if TYPE_CHECKING:
    from contrasift.cli.engine import Connect

_SHOWN_CLASSES = 8


class Normalize(StrEnum):
    """What becomes of the rows before the work."""

    auto = "auto"
    none = "none"
    rows = "rows"


@with_options(SelectOptions)
def select_command(
    embeddings: Annotated[
        str,
        typer.Argument(
            metavar="EMBEDDINGS",
            help="A .npy matrix with one row an example, its address (s3://…/embeddings.npy), or a "
            "run folder.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the result; default, for a run folder: that folder."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="Latent class of every row: .npy of integers or text, classes.parquet, or lines "
            "of text; this and the lists below may be addresses too. Without it the pool is one "
            "class.",
        ),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            "--fractions",
            metavar="F,F,...",
            help="Several nested selections in one run, instead of --fraction: columns "
            "`selected_F`.",
        ),
    ] = None,
    must_keep: Annotated[
        str | None,
        typer.Option(
            "--must-keep", metavar="FILE", help="Indices that are kept in any case: .npy or lines."
        ),
    ] = None,
    must_drop: Annotated[
        str | None,
        typer.Option(
            "--must-drop",
            metavar="FILE",
            help="Indices that are dropped in any case: .npy or lines.",
        ),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(
            "--class-weights",
            metavar="FILE",
            help="Factor on every class's share: JSON {name: weight}, or a list in the order of "
            "names.",
        ),
    ] = None,
    normalize: Annotated[
        Normalize,
        typer.Option(
            "--normalize",
            help="`rows`: scale rows to length one; `none`: they are mean view embeddings; "
            "`auto`: none beside an embeddings.json, else rows.",
        ),
    ] = Normalize.auto,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Default: all processors.", min=1)
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option("--memory-limit", metavar="SIZE", help="Stay below it, e.g. 2GB."),
    ] = None,
    engine: EngineFlag = EngineName.local,
    address: Address = None,
    update: Update = False,
    quiet: Quiet = False,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Choose the part of a pool that is most worth training on, and certify how good it is.

    Works from embeddings alone: no images, no torch, no n×n matrix. Writes selection.parquet
    (every example: index, latent_class, rank, gain, selected), selection.json (value, upper
    bound, certificate, budgets, time, memory), ranking.npy (any prefix is the selection for that
    budget) and, for --optimizer relaxed, rule.npz (see `contrasift filter`).

    Examples:
        contrasift select embeddings.npy --classes classes.npy --fraction 0.2 --out chosen/

        contrasift select embeddings.npy --budget 10000 --optimizer relaxed --out chosen/

        contrasift select embeddings.npy --fraction 0.2 --engine ray --out chosen/
    """
    files = {
        "classes": classes,
        "must_keep": must_keep,
        "must_drop": must_drop,
        "class_weights": class_weights,
        "scores": given.get("scores") or None,
    }
    narrator = Narrator(quiet=quiet or as_json)
    if out is None:
        extra = [name for name, path in files.items() if path and name != "scores"]
        extra += ["fractions"] if fractions else []
        with reached(engine, address, narrator.say) as connect:
            folder = Path(embeddings)
            _select_in_run(folder, given, extra, connect, update=update, quiet=quiet or as_json)
        _show(folder, as_json=as_json)
        return
    options = SelectOptions(**pick(given, SelectOptions))
    shares = _parse_fractions(fractions)
    _require_one_budget(options, shares)
    _check_out(out)
    if engine is EngineName.ray and (threads or memory_limit):
        raise UsageError(
            "--threads and --memory-limit for the engine local",
            "one of them with --engine ray",
            "Ray's workers have one processor each, and the memory that their nodes give",
        )
    request = {
        **options.arguments(),
        "fractions": shares,
        "normalize": normalize.value,
    }
    with reached(engine, address, narrator.say) as connect:
        _select_from_matrix(
            embeddings,
            out,
            request,
            files,
            narrator,
            connect,
            scores_column=options.scores_column,
            threads=threads,
            memory_limit=memory_limit,
            update=update,
        )
    _show(out, as_json=as_json)


def _select_from_matrix(
    place: str,
    out: Path,
    request: dict[str, Any],
    files: Mapping[str, Path | str | None],
    narrator: Narrator,
    connect: Connect | None,
    *,
    scores_column: str,
    threads: int | None,
    memory_limit: str | None,
    update: bool,
) -> None:
    from contrasift.store.atomic import sha256_of
    from contrasift.store.columns import MappedColumns
    from contrasift.store.inputs import (
        load_classes_file,
        load_embeddings_file,
        load_indices_file,
        load_weights_file,
        parse_bytes,
        read_scores,
    )
    from contrasift.store.remote import local_file
    from contrasift.store.selections import write_selection

    limit = None if memory_limit is None else parse_bytes(memory_limit)
    with narrator.progress("copying", "bytes") as progress:
        embeddings, described = load_embeddings_file(
            place,
            in_place=connect is not None,
            progress=progress,
            columns=None if connect is None else MappedColumns(_what_is_there(out)),
        )
    if files["classes"] is None and (Path(place) / "classes.parquet").exists():
        files = {**files, "classes": Path(place) / "classes.parquet"}
    labels = None
    if files["classes"] is not None:
        labels = load_classes_file(files["classes"], embeddings.index)
    keep = None if files["must_keep"] is None else load_indices_file(files["must_keep"])
    drop = None if files["must_drop"] is None else load_indices_file(files["must_drop"])
    weights = files["class_weights"]
    weights = None if weights is None else load_weights_file(weights)
    scores = None
    if files["scores"] is not None:
        scores = read_scores(files["scores"], embeddings.index, scores_column)
    inputs = {"embeddings": embeddings.description["sha256"]} | {
        name: sha256_of(local_file(given)) for name, given in files.items() if given is not None
    }
    fingerprint = _fingerprint(request, inputs)
    if _is_finished(out, fingerprint, update=update):
        narrator.say(f"{out} holds this selection already; nothing to do")
        return

    from contrasift.selection.select import select

    arguments = dict(request)
    if arguments["normalize"] == "auto" and not described:
        arguments["normalize"] = "rows"
    with _held(out, narrator):
        engine = None
        if connect is not None:
            from contrasift.engines.solving import RayEngine

            engine = RayEngine(connect(), out)
        with narrator.progress("selecting") as progress:
            chosen = select(
                embeddings,
                labels,
                **arguments,
                must_keep=keep,
                must_drop=drop,
                class_weights=weights,
                scores=scores,
                threads=threads,
                memory_limit=limit,
                progress=progress,
                announce=narrator.say,
                engine=engine,
            )
        write_selection(out, chosen, options=request, inputs=inputs, fingerprint=fingerprint)
        if engine is not None:
            engine.remove_shards()


@contextlib.contextmanager
def _held(out: Path, narrator: Narrator) -> Iterator[None]:
    """Hold the folder against a second selection; one that stays empty is taken away again."""
    from contrasift.store.run import RunFolder

    new = not out.exists()
    try:
        with RunFolder(out).locked(narrator.say):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is not empty
                out.rmdir()


def _select_in_run(
    folder: Path,
    given: dict[str, Any],
    extra: list[str],
    connect: Connect | None,
    *,
    update: bool,
    quiet: bool,
) -> None:
    """The stage of a run: from its embeddings and classes into its folder."""
    if not folder.is_dir():
        raise UsageError("--out DIR for a selection from a matrix", "none")
    if extra:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in extra)
        raise UsageError("a run's own options", flags, "Add --out DIR to select beside the run")

    from contrasift.cli.common import continue_run

    with continue_run(folder, given, update=update, quiet=quiet, connect=connect) as run:
        from contrasift.pipeline.stages.select import select

        select(run)


def _parse_fractions(text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError("fractions separated by commas, e.g. 0.1,0.2", text) from None


def _require_one_budget(options: SelectOptions, shares: list[float]) -> None:
    given = [options.fraction is not None, options.budget is not None, bool(shares)]
    if sum(given) != 1:
        raise UsageError(
            "one of --fraction, --budget and --fractions",
            "none" if sum(given) == 0 else "more than one",
            "A fifth of the pool is --fraction 0.2",
        )


def _what_is_there(out: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not out.exists() and out != out.parent:
        out = out.parent
    return out


def _check_out(out: Path) -> None:
    """Say before the work, not after it, that the result could not be written."""
    place = out
    try:
        place = _what_is_there(out)
        usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    except OSError:  # a folder on the way may not even be looked into
        usable = False
    if not usable:
        what = "a file" if place.is_file() else "which cannot be written"
        raise RunFolderError("a folder for --out", f"{place}, {what}", "Choose another --out")


def _fingerprint(request: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    text = json.dumps([request, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_finished(out: Path, fingerprint: str, *, update: bool) -> bool:
    """Whether `out` holds this very selection, whole.

    Raises:
        RunFolderError: it holds another selection, or a run.
    """
    if update:
        return False
    if (out / "options.yaml").exists():
        raise RunFolderError(
            "a folder of its own for this selection",
            f"{out}, the folder of a run",
            "Choose another --out, or leave --out away to select within the run",
        )
    facts = out / "selection.json"
    if not facts.exists():
        return False

    from contrasift.store.atomic import read_json

    if read_json(facts).get("fingerprint") != fingerprint:
        raise RunFolderError(
            f"the options and data of the selection in {out}",
            "others",
            "Choose another --out, or pass --update to replace it",
        )
    return all((out / name).exists() for name in ("selection.parquet", "ranking.npy"))


def _show(out: Path, *, as_json: bool) -> None:
    """The result in words, or as JSON."""
    from contrasift.store.atomic import read_json, sha256_of

    facts = read_json(out / "selection.json")
    digest = sha256_of(out / "selection.parquet")
    names = ("selection.parquet", "selection.json", "ranking.npy", "rule.npz")
    written = [str(out / name) for name in names if (out / name).exists()]
    if as_json:
        print_json(json.dumps({**facts, "files": written, "sha256": digest}, indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, text in _summary(facts):
        table.add_row(f"[bold]{name}[/]", text)
    table.add_row("[bold]files[/]", "\n".join(written))
    table.add_row("[bold]sha256[/]", f"{digest}  selection.parquet")
    console.print(table)
    for note in facts["notes"]:
        console.print("[bold yellow]note[/] ", end="")
        console.print(note, markup=False)


def _summary(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    n, kept = facts["n"], facts["budget"]
    lines = [
        ("kept", f"{kept:,} of {n:,} examples ({kept / n:.2%})"),
        ("by", _objective_in_words(facts)),
        ("value", _value_in_words(facts)),
        ("certificate", certificate_in_words(facts)),
        ("classes", _classes_in_words(facts["classes"])),
    ]
    if facts["objective"] == "sas":
        lines.insert(4, ("gains", _turn_in_words(facts["turn"])))
    lines += [
        (f"at {share}", f"{count:,} examples, in the column selected_{share}")
        for share, count in facts["marked_budgets"].items()
    ]
    memory = facts["peak_memory_bytes"]
    used = f", {memory / 2**20:,.0f} MiB at most" if memory else ""
    lines.append(("time", f"{facts['seconds']:.2f} s for the selection{used}"))
    if "engine" in facts:
        lines.append(("engine", _engine_in_words(facts)))
    return lines


def certificate_in_words(facts: Mapping[str, Any]) -> str:
    """What a certificate proves, never rounded up."""
    share, bound = facts["certificate"], facts["upper_bound"]
    if bound is None:
        return "none for this objective"
    if share is None:
        if bound <= 0:
            return f"at most {bound - facts['value']:.6g} below the best selection of its size"
        percent = math.floor(facts["value"] / bound * 1e5) / 1e3
        return f"reaches at least {percent:.3f} % of the best value of any selection of this size"
    if share >= 1:
        return "proved to be the best selection of its size"
    if share <= 0:
        return "no better than a random selection of its size"
    percent = math.floor(share * 1e5) / 1e3
    return f"reaches at least {percent:.3f} % of what any selection of this size could gain over random"


def _objective_in_words(facts: Mapping[str, Any]) -> str:
    name = facts["objective"]
    if name == "sas":
        refined = "" if facts["refine"] == "none" else f", {facts['refine']}"
        name += f" ({facts['optimizer']}{refined}), λ = {facts['redundancy']:g}"
    if "threshold" in facts:
        name += f", τ = {facts['threshold']:g}"
        if facts["linear_classes"]:
            name += f" (without effect in {facts['linear_classes']} of the classes: {facts['linear_because']})"
    return f"{name}: {OBJECTIVES[facts['objective']].says}"


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


def _turn_in_words(turn: int | None) -> str:
    if turn is None:
        return "every example raised F when it was added"
    return f"negative from place {turn:,} of the ranking: from there on examples lower F"


def _classes_in_words(classes: list[Mapping[str, Any]]) -> str:
    if len(classes) == 1:
        return "one"
    shown = [f"{part['name']}: {part['budget']} of {part['size']}" for part in classes]
    more = f"; and {len(shown) - _SHOWN_CLASSES} more" if len(shown) > _SHOWN_CLASSES else ""
    return f"{len(shown)} ({'; '.join(shown[:_SHOWN_CLASSES])}{more})"
