"""Which fraction? Coverage and centre of a run's ranking, and what short trainings say of accuracy."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.errors import UsageError
from contrasift.evaluation import METRIC_NAMES
from contrasift.fingerprints import array_sha256
from contrasift.narration import Narrator
from contrasift.options.plan import PlanRequest
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.pipeline.stages.evaluate import evaluate, require_evaluation_data
from contrasift.pipeline.stages.measure import ranking_curves
from contrasift.pipeline.stages.selection_rows import SelectionRows
from contrasift.pipeline.stages.train import train
from contrasift.store.arms import Arm
from contrasift.store.atomic import read_json, write_json
from contrasift.store.run import RunFolder
from contrasift.store.selections import read_facts, read_selection
from contrasift.store.tables import read_latent_classes

if TYPE_CHECKING:
    from contrasift.pipeline.studies.extrapolate import Advice
    from contrasift.selection.diagnostics.curves import Curves, FractionCurve

_MEASURES = ("coverage", "centre", "nu_align", "nu_div")


_WHICH_METHOD = (
    "Which method served which pool: https://contrasift.readthedocs.io/en/latest/findings/"
    "#which-method-for-which-pool"
)


def plan(run: Run, request: PlanRequest) -> dict[str, Any]:
    """Measure the ranking at every fraction, extrapolate accuracy if asked, and say what follows.

    Writes plan.json and plan.html. Short trainings are a run of their own in `plan/epochs-N`, whose
    finished trainings are kept: asking again, for more seeds or other fractions, only adds to them.

    Args:
        run: with a selection.
        request: what is asked.

    Returns:
        What plan.json holds.

    Raises:
        RunFolderError: nothing was selected yet.
        DataError: accuracy is asked of a pool without labels or without held-out data.
        UsageError: a fraction below one batch.
    """
    from contrasift.selection.diagnostics.curves import FRACTIONS

    select = run.record("select")
    if request.accuracy:
        require_evaluation_data(run)  # before any work
    curves = ranking_curves(run, FRACTIONS, request.draws, request.seed, request.sample)
    result = _measured(curves, int(select.facts["budget"]))
    if request.accuracy:
        found = _accuracy(run, request)
        result["accuracy"] = found
        result["sentences"] += found.pop("sentences")
    else:
        result["sentences"].append(
            "These curves do not say what a fraction costs in accuracy: --accuracy tries it."
        )
    return _written(run.folder.path, result)


def plan_selection(folder: Path, request: PlanRequest, narrator: Narrator) -> dict[str, Any]:
    """The same for a selection from bare embeddings, but for the trainings.

    What was dropped counts as not in the pool.

    Args:
        folder: of the selection; plan.json and plan.html are written there.
        request: what is asked.
        narrator: who tells of it.

    Returns:
        What plan.json holds.

    Raises:
        UsageError: accuracy is asked.
        RunFolderError: no selection there, or the embeddings are others by now.
    """
    from contrasift.selection.diagnostics.curves import FRACTIONS, coverage_and_centre_curve

    if request.accuracy:
        raise UsageError(
            "a run, with images to train on, for accuracy=True",
            f"{folder}, a selection from embeddings",
            "Train your own model on a few fractions: select with fractions=",
        )
    chosen = read_selection(folder)
    rows = SelectionRows(read_facts(folder), chosen.index, narrator)
    table = (
        np.arange(chosen.index.size) if chosen.dropped is None else np.flatnonzero(~chosen.dropped)
    )
    codes, _ = class_codes(chosen.latent_class[table], table.size)
    # The relaxation's own choice need not be the first of its ranking: what is kept comes first.
    order = chosen.order[np.argsort(~chosen.selected[chosen.order], kind="stable")][: table.size]
    curves = coverage_and_centre_curve(
        rows.values(table),
        np.searchsorted(table, order),
        codes,
        sorted({*FRACTIONS, chosen.budget / table.size} - {0.0}),
        sample=request.sample,
        draws=request.draws,
        seed=request.seed,
    )
    result = _measured(curves, chosen.budget)
    result["sentences"].append(
        "These curves do not say what a fraction costs in accuracy: only training does."
    )
    return _written(folder, result)


def _measured(curves: Curves, kept: int) -> dict[str, Any]:
    return {
        "n": int(curves.budgets[-1]),
        "budget": kept,
        "curves": _plain_curves(curves),
        "sentences": _curve_sentences(curves, kept),
    }


def _written(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    from contrasift.report.figures.page import write_figures
    from contrasift.report.figures.plan import plan_figures

    result["sentences"].append(_WHICH_METHOD)
    write_json(folder / "plan.json", result)
    write_figures(folder / "plan.html", "Which fraction?", plan_figures(result))
    return result


def _plain_curves(curves: Curves) -> dict[str, Any]:
    return {
        "fractions": curves.fractions.tolist(),
        "budgets": curves.budgets.tolist(),
        "rows": curves.rows,
        "whole": curves.whole,
        "draws": curves.draws,
        **{
            name: {key: part.tolist() for key, part in vars(getattr(curves, name)).items()}
            for name in _MEASURES
        },
    }


def _curve_sentences(curves: Curves, kept: int) -> list[str]:
    """What the run's own selection reaches, beside random ones."""
    place = int(np.searchsorted(curves.budgets, kept))
    if kept == 0 or place >= curves.budgets.size:
        return []
    share = curves.fractions[place]
    over = (
        "all examples" if curves.whole else f"a sample of {curves.rows:,} examples"
    ) + f" and {curves.draws} random selections with as many of every class"
    sentences = [f"At {share:.3g} of the pool, over {over}:"]
    for name, title in (("coverage", "Coverage"), ("centre", "Centre")):
        curve: FractionCurve = getattr(curves, name)
        sentences.append(
            f"{title} is {curve.value[place]:.4f}"
            + ("" if curves.whole else f" ±{curve.half_width[place]:.4f}")
            + f"; random's is {curve.random[place]:.4f} "
            f"({curve.random_low[place]:.4f} to {curve.random_high[place]:.4f}): "
            f"{_standing(curve, place)} (larger is better)."
        )
    reached = np.flatnonzero(curves.coverage.random >= curves.coverage.value[place])
    if reached.size and curves.fractions[reached[0]] > share:
        sentences.append(
            f"A random selection reaches this coverage with {curves.fractions[reached[0]]:.3g} of "
            "the pool."
        )
    return sentences


def _standing(curve: FractionCurve, place: int) -> str:
    value = curve.value[place]
    if value > curve.random_high[place]:
        return "better than random"
    return "worse than random" if value < curve.random_low[place] else "as random"


# Accuracy -----------------------------------------------------------------------------------------


def _accuracy(run: Run, request: PlanRequest) -> dict[str, Any]:
    """Train at a few fractions, evaluate, and extrapolate."""
    from contrasift.pipeline.studies.extrapolate import advise_fraction

    if request.metric == "few_labels" and not run.options.compare.labels_per_class:
        raise UsageError("a run with labels_per_class= above 0 for metric='few_labels'", "0")
    short = _short_run(run, request)
    arms = _arms(run, request, short)
    accuracies = np.empty((len(arms), request.seeds))
    seconds = 0.0
    with short.folder.locked():
        for seed in range(request.seeds):
            for row, (subset, index) in enumerate(arms.values()):
                arm = Arm(subset, seed, index)
                seconds += train(short, arm).seconds
                seconds += evaluate(short, arm).seconds
                found = read_json(short.folder.path / "evaluation" / f"{arm.name}.json")
                accuracies[row, seed] = 100.0 * found[request.metric]
    fractions = np.array(list(arms))
    advice = advise_fraction(fractions, accuracies, request.loss, seed=request.seed)
    return {
        "metric": request.metric,
        "epochs": short.options.train.epochs,
        "match": run.options.compare.match,
        "allowed_loss": request.loss,
        "model": "accuracy = a - b * (fraction ** -c - 1) / c, b >= 0, -1 <= c <= 3; "
        "parametric bootstrap, Student's t",
        "fractions": fractions.tolist(),
        "examples": [index.size for _, index in arms.values()],
        "accuracies": accuracies.tolist(),
        "seconds": seconds,
        "advice": {
            key: part.tolist() if isinstance(part, np.ndarray) else part
            for key, part in vars(advice).items()
        },
        "sentences": _advice_sentences(advice, request, short, fractions, accuracies, seconds),
    }


def _short_run(run: Run, request: PlanRequest) -> Run:
    """A run within the run, for trainings that are no part of its comparison."""
    train = run.options.train
    epochs = request.epochs or max(1, train.epochs // 4)
    warmup = train.warmup_epochs
    options = dataclasses.replace(
        run.options,
        train=dataclasses.replace(
            train,
            epochs=epochs,
            keep_epochs="",
            warmup_epochs=warmup if warmup is None or warmup < epochs else None,
        ),
    )
    folder = RunFolder(run.folder.path / "plan" / f"epochs-{epochs}")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_options(options)
    for stage, name in (("scan", "examples.parquet"), ("classes", "classes.parquet")):
        record = run.record(stage)
        if not folder.is_finished(stage, record.fingerprint):
            shutil.copyfile(run.folder.path / name, folder.path / name)
            folder.finish(stage, record.fingerprint, record.seconds, [name], **record.facts)
    short = Run(folder, options, run.narrator, device=run.device, update=run.update)
    short.__dict__["pool"] = run.pool  # opened once
    return short


def _arms(run: Run, request: PlanRequest, short: Run) -> dict[float, tuple[str, np.ndarray]]:
    """What `select` chooses at each fraction under the run's options, and a name for it."""
    from contrasift.selection.budget import resolve_budget
    from contrasift.selection.select import select
    from contrasift.store.inputs import read_target
    from contrasift.store.scores import read_scores

    embeddings = load_embeddings(run.folder.path)
    batch = short.options.train.batch_size
    least = resolve_budget(len(embeddings), fraction=request.shares()[0])
    if least < batch:
        raise UsageError(
            f"fractions= of at least one batch ({batch} examples)",
            f"{request.shares()[0]:g}, which is {least}",
        )
    labels = read_latent_classes(run.folder.path / "classes.parquet", embeddings.index)
    options = run.options.select
    scores = None
    if options.scores:
        scores = read_scores(options.scores, embeddings.index, options.scores_column)
    target = read_target(options.target, embeddings.index) if options.target else None
    arms = {}
    for share in request.shares():
        chosen = select(
            embeddings,
            labels,
            scores=scores,
            target=target,
            **{**options.arguments(), "fraction": share, "budget": None},
        ).indices
        digest = array_sha256(chosen)[:8]
        arms[share] = f"fraction-{share:g}-{digest}", chosen
    return arms


def _advice_sentences(
    advice: Advice,
    request: PlanRequest,
    short: Run,
    fractions: np.ndarray,
    accuracies: np.ndarray,
    seconds: float,
) -> list[str]:
    metric = METRIC_NAMES[request.metric]
    means = ", ".join(
        f"{mean:.2f} % at {share:g}"
        for share, mean in zip(fractions, accuracies.mean(axis=1), strict=True)
    )
    sentences = [
        f"Short trainings ({short.options.train.epochs} epochs, {accuracies.shape[1]} seeds, "
        f"{seconds:,.0f} s), {metric}: {means}."
    ]
    if advice.law is not None:
        a, b, c = advice.law
        sentences.append(f"Law: accuracy = {a:.2f} − {b:.3g}·(fraction^{-c:.3g} − 1)/{c:.3g}.")
    if not advice.tells:
        sentences.append(
            f"Cannot tell which fraction costs at most {request.loss:g} points: {advice.reason}."
        )
        return sentences
    low, high = advice.fraction_low or 0.0, advice.fraction_high or 1.0
    at_least = " (the smallest that was tried)" if advice.fraction == fractions[0] else ""
    sentences.append(
        f"Suggestion: --fraction {advice.fraction:g}{at_least} costs "
        f"{advice.loss:.2f} points ({advice.loss_low:.2f} to {advice.loss_high:.2f}); "
        f"the smallest fraction that costs at most {request.loss:g} lies between {low:.2f} and "
        f"{high:.2f} (95 %)."
    )
    sentences.append(
        "Short trainings say this; long ones may differ, and `contrasift run` shows by how much."
    )
    return sentences
