"""`contrasift bounds`: how many negatives, which bounds hold, what a subset guarantees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrasift.cli.common import How
from contrasift.cli.console import plain_console, print_json
from contrasift.cli.flags import with_options
from contrasift.errors import UsageError
from contrasift.narration import NO_NUMBER

if TYPE_CHECKING:
    from contrasift.theory.urns import Urn

_SHOWN_CLASSES = 20


@with_options(how=["moved_to", "device", "update"])
def bounds_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run with trained encoders; without it, the advisor.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", help="So many equally likely classes.", min=1)
    ] = None,
    priors: Annotated[
        Path | None,
        typer.Option("--priors", help="Class probabilities: .npy, or numbers in a text file."),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            "--counts",
            help="Examples of each class in a finite pool, drawn without replacement: .npy or text.",
        ),
    ] = None,
    negatives: Annotated[
        int | None, typer.Option("--negatives", "-k", help="K, the negatives of one anchor.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Instead of --negatives: K + 1 examples. [default: 256]"),
    ] = None,
    selection: Annotated[
        bool,
        typer.Option(
            "--selection", help="Of a run: what its selection guarantees, instead of the bounds."
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the curves to this HTML file.")
    ] = None,
    *,
    how: How,
) -> None:
    """Say how many negatives are enough, or which bounds hold for the encoders of a run.

    Without a run: how many examples see all classes, how many of them collide with the anchor, and
    what that says of a batch or a queue. Exact, from 1 to 100,000 classes and beyond.

    With a run: the contrastive loss of its encoders on held-out data against the supervised loss
    that it bounds, term by term, for several batch sizes; written to bounds.json and bounds.html.

    With a run and --selection: what SAS's theorems promise of its selection, every constant shown;
    written to guarantee.json and guarantee.html.

    Examples:
        contrasift bounds --classes 1000 --negatives 65536

        contrasift bounds runs/photos
    """
    asked = [value for value in (classes, priors, counts) if value is not None]
    if folder is None:
        if how.moved_to is not None:
            raise UsageError("a run folder for --pool", "none")
        if not asked:
            raise UsageError("--classes, --priors, --counts or a run folder", "none of them")
        if selection:
            raise UsageError("a run folder for --selection", "none")
        advice = _advise(_urn(classes, priors, counts), _negatives(negatives, batch_size), plot)
        if how.as_json:
            print_json(advice)
        else:
            _show_advice(advice)
        return
    if asked or negatives is not None or batch_size is not None or plot is not None:
        raise UsageError(
            "a run folder, or the options of the advisor",
            "both",
            "A run brings its own classes and gets its plots in bounds.html",
        )
    _measure_run(folder, selection, how)


def _urn(classes: int | None, priors: Path | None, counts: Path | None) -> Urn:
    from contrasift.store.inputs import load_numbers_file
    from contrasift.theory.urns import uniform_urn, urn_from_counts, urn_from_priors

    if priors is not None and counts is not None:
        raise UsageError("--priors or --counts", "both", "Counts make their own priors")
    if priors is not None:
        urn = urn_from_priors(load_numbers_file(priors))
    elif counts is not None:
        urn = urn_from_counts(load_numbers_file(counts))
    else:
        assert classes is not None  # the caller's branch
        return uniform_urn(classes)
    if classes is not None and urn.n_classes != classes:
        raise UsageError(
            f"{classes} numbers in {priors or counts}, as --classes says", f"{urn.n_classes}"
        )
    return urn


def _negatives(negatives: int | None, batch_size: int | None) -> int:
    if negatives is not None and batch_size is not None:
        raise UsageError("--negatives or --batch-size", "both", "A batch of b has K = b − 1")
    if negatives is None:
        negatives = (256 if batch_size is None else batch_size) - 1
    if negatives < 1:
        raise UsageError("at least one negative (K of 1)", str(negatives))
    return negatives


def _advise(urn: Urn, negatives: int, plot: Path | None) -> dict[str, Any]:
    from contrasift.theory.advice import advise, curve

    advice = advise(urn, negatives)
    if plot is not None:
        from contrasift.report.figures.bounds import advisor_figures
        from contrasift.report.figures.page import write_figures

        write_figures(plot, "How many negatives", advisor_figures(curve(urn), negatives))
        advice["plot"] = str(plot)
    return advice


def _show_advice(advice: dict[str, Any]) -> None:
    from contrasift.theory.advice import in_words

    console = plain_console()
    for paragraph in in_words(advice):
        console.print(paragraph, markup=False)
        console.print()
    if "plot" in advice:
        console.print(f"plot: {advice['plot']}", markup=False)


def _show_bounds(result: dict[str, Any]) -> None:
    """One table an encoder: the loss, its lower bounds, and the upper bounds on L_sup."""
    from rich.table import Table

    from contrasift.theory.advice import complement_text, probability_text

    console = plain_console()
    for encoder in result["encoders"]:
        accuracy = encoder["accuracy"]
        table = Table(
            title=f"{encoder['subset']}, seed {encoder['seed']}: {encoder['n_classes']} classes, "
            f"mean classifier {accuracy['mean_classifier']:.1%}, linear {accuracy['linear']:.1%}",
            title_justify="left",
        )
        names = ("K+1", "υ", "τ", "L_Info", "≥ N–S", "≥ Arora", "L_sup", "≤ N–S", "≤ Arora")
        for name in names:
            table.add_column(name, justify="right")
        for row in encoder["rows"]:
            table.add_row(
                f"{row['draws']:,}",
                probability_text(row["coverage_probability"], row["log_coverage_probability"]),
                complement_text(row["collision_probability"], row["log_no_collision_probability"]),
                f"{row['contrastive_loss']:.3f}",
                *(f"{row['lower_bounds'][name]:.3f}" for name in ("nozawa-sato", "arora")),
                f"{row['supervised']:.3f}",
                *(_bound_text(row["upper_bounds"][name]) for name in ("nozawa-sato", "arora")),
            )
        console.print(table)
    console.print(
        "Vacuous (v): above ln C, the loss of a classifier that knows nothing. Terms are means over random batches of "
        "held-out examples; their standard errors are in bounds.json. The bounds hold exactly for "
        "these examples and views, and are estimates for unseen ones."
    )
    console.print(f"plot: {result['plot']}", markup=False)


def _bound_text(bound: dict[str, Any]) -> str:
    from contrasift.theory.advice import power_of_ten

    if bound["log_value"] is None:
        return NO_NUMBER
    value = bound["value"]
    text = f"{value:.3f}" if value is not None and value < 1e4 else power_of_ten(bound["log_value"])
    return text + (" v" if bound["vacuous"] else "")


def _measure_run(folder: Path, selection: bool, how: How) -> None:
    with how.run(folder) as run:
        if selection:
            from contrasift.pipeline.studies.guarantees import guarantee_run

            result = guarantee_run(run)
        else:
            from contrasift.pipeline.studies.bounds import bound_run

            result = bound_run(run)
    if how.as_json:
        name = "guarantee.json" if selection else "bounds.json"
        print((folder / name).read_text(encoding="utf-8").rstrip())
    elif selection:
        _show_guarantee(result)
    else:
        _show_bounds(result)


def _show_guarantee(result: dict[str, Any]) -> None:
    """The constants and verdicts of every encoder, and which way each constant errs."""
    from rich.table import Table

    console = plain_console()
    table = Table(title="Latent classes, in the proxy's space", title_justify="left")
    for name in ("class", "examples", "kept", "ν_align / η", "ν_div", "‖μ − μ^S‖"):
        table.add_column(name, justify="right")
    classes = result["promise"]["classes"]
    for found in classes[:_SHOWN_CLASSES]:
        table.add_row(
            found["name"],
            f"{found['size']:,}",
            f"{found['kept']:,}",
            *(f"{found[key]:.4f}" for key in ("nu_align", "nu_div", "center_shift")),
        )
    console.print(table)
    if len(classes) > _SHOWN_CLASSES:
        console.print(f"... and {len(classes) - _SHOWN_CLASSES} more in guarantee.json")
    _show_conditions(console, "The proxy, and what it promises of the selection", result["promise"])
    for encoder in result["encoders"]:
        _show_conditions(
            console, f"Trained on {encoder['subset']}, seed {encoder['seed']}", encoder
        )
    console.print(
        "σ, δ and ε are those that make ρ smallest; the classes are the latent ones, also for errors.",
        markup=False,
    )
    console.print("Constants are estimates: " + "; ".join(result["directions"]) + ".", markup=False)
    console.print(f"plot: {result['plot']}", markup=False)


def _show_conditions(console: Any, title: str, encoder: dict[str, Any]) -> None:
    constants = encoder["constants"]
    shown = (
        f"σ = {constants['sigma']:.3f}, δ = {constants['delta']:.3f}, ε = {constants['epsilon']:.3f}, "
        f"R_ε = {constants['misaligned']:.4f}, Δ_μ = {constants['mean_gap']:.3f}, largest ρ = "
        f"{max(constants['rho']):.3f} (ρ̃ {max(constants['rho_safe']):.3f}), L = r = 1"
    )
    if "nu_misaligned" in encoder:
        shown += f", η = {encoder['eta']:.3g}, ν_R = {encoder['nu_misaligned']:.3g}"
    console.print(f"\n[bold]{title}[/]")
    console.print(f"  {shown}", markup=False)
    console.print(
        f"  alignment {encoder['alignment']:.4f}; class centres: largest product "
        f"{encoder['largest_center_product']:.4f}, mean {encoder['mean_center_product']:.4f}; measured "
        f"error of the mean classifier {encoder['mean_classifier_error']:.4f}",
        markup=False,
    )
    for name, condition in encoder["conditions"].items():
        console.print(f"  {name}: {condition['verdict']}", markup=False)
