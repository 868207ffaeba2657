"""Stages that hold the theory against trained encoders: bounds on the supervised loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import finite_or_none
from contrasift.errors import RunFolderError
from contrasift.fingerprints import fingerprint_of
from contrasift.options.words import Layer
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.evaluate import evaluate, require_evaluation_data, require_labels
from contrasift.store.arms import Arm, trained_arms
from contrasift.store.atomic import read_json, write_json
from contrasift.store.run import StageRecord

if TYPE_CHECKING:
    from contrasift.pools import Pool
    from contrasift.theory.terms import LabelledViews, Terms
    from contrasift.training.encoders import Encoder

BATCHES = (32, 64, 128, 256, 512)
VIEWS = 4
_MOST_EXAMPLES = 10_000


def bound_run(run: Run) -> dict[str, Any]:
    """Measure the bounds for every trained encoder of a run; bounds.json and bounds.html.

    Raises:
        RunFolderError: nothing is trained yet.
        DataError: no labels or held-out data, or a class that the held-out data lack.
    """
    require_evaluation_data(run)
    arms = trained_arms(run.folder)
    if not arms:
        raise RunFolderError(
            f"a trained encoder in {run.folder.path}",
            "none",
            f"Train one first: contrasift train {run.folder.path}",
        )
    for arm in arms:
        evaluate(run, arm)
        bound(run, arm)
    results = [read_json(run.folder.path / f"bounds/{arm.name}.json") for arm in arms]
    summary = {"encoders": results, "plot": str(run.folder.path / "bounds.html")}
    write_json(run.folder.path / "bounds.json", summary)

    from contrasift.report.figures.bounds import bound_figures
    from contrasift.report.figures.page import write_figures
    from contrasift.theory.means import mean_over_seeds

    write_figures(
        run.folder.path / "bounds.html",
        "Which bounds hold",
        bound_figures(mean_over_seeds(results)),
    )
    return summary


def bound(run: Run, arm: Arm) -> StageRecord:
    """Every term of the bounds for one encoder, on the views of held-out examples."""
    trained = run.record(f"train {arm.name}").fingerprint
    fingerprint = fingerprint_of(f"bounds {arm.name} {trained} {BATCHES} {VIEWS} {_MOST_EXAMPLES}")
    result_file = f"bounds/{arm.name}.json"

    def work() -> dict[str, Any]:
        from contrasift.theory.terms import measure_terms, same_class_spread

        data = held_out_views(run, arm)
        temperature = run.options.train.resolved().temperature or 0.0
        rows = [
            describe_terms(measure_terms(data, size - 1, temperature, seed=arm.seed))
            for size in BATCHES
        ]
        evaluation = read_json(run.folder.path / f"evaluation/{arm.name}.json")
        result = {
            "subset": arm.subset,
            "seed": arm.seed,
            "temperature": temperature,
            "examples": int(data.codes.size),
            "views": VIEWS,
            "n_classes": data.urn.n_classes,
            "uniform": data.urn.uniform,
            "same_class_spread": same_class_spread(data),
            "accuracy": {
                "linear": evaluation["linear"],
                "mean_classifier": evaluation["mean_classifier"],
                "mean_classifier_of_the_loss": head_accuracy(data),
            },
            "rows": rows,
        }
        write_json(run.folder.path / result_file, result)
        best = min(row["upper_bounds"]["nozawa-sato"]["log_value"] or math.inf for row in rows)
        return {
            "note": f"tightest bound on L_sup: e^{best:.2f}, L_sup {rows[-1]['supervised']:.3f}"
        }

    return run.do(f"bounds {arm.name}", fingerprint, [result_file], work)


def held_out_views(run: Run, arm: Arm) -> LabelledViews:
    """Unit features of the contrastive head for several random views of held-out examples."""
    from contrasift.theory.terms import label_views

    _, test = require_evaluation_data(run)
    labels = require_labels(test)
    positions = run.test_positions[labels[run.test_positions] >= 0]
    if positions.size > _MOST_EXAMPLES:
        chosen = np.random.default_rng(0).permutation(positions.size)[:_MOST_EXAMPLES]
        positions = np.sort(positions[chosen])
    views = unit_views(run, test, positions, arm_encoder(run, arm), seed=arm.seed, title=arm.name)
    return label_views(views, labels[positions], n_classes=len(test.label_names))


def arm_encoder(run: Run, arm: Arm) -> Encoder:
    """The trained encoder of one arm."""
    from contrasift.training.loading import load_encoder

    return load_encoder(str(run.folder.path / "training" / arm.name / "encoder.safetensors"))


def unit_views(
    run: Run,
    pool: Pool,
    positions: np.ndarray,
    encoder: Encoder,
    *,
    seed: int,
    title: str,
    layer: Layer = "head",
) -> np.ndarray:
    """Features of length one for several random views of every example, [n, VIEWS, d]."""
    from contrasift.embedding.embed import embed

    views = []
    for view in range(VIEWS):
        with run.narrator.progress(f"views of {title}, {view + 1} of {VIEWS}") as progress:
            # One view at a time, each with its own seed: rows of length one, not their mean.
            rows = embed(
                pool,
                positions,
                encoder,
                layer=layer,
                views=1,
                seed=seed * VIEWS + view,
                device=run.device,
                progress=progress,
            )
        views.append(rows.values)
    return np.stack(views, axis=1)


def head_accuracy(data: LabelledViews) -> float:
    """How often the mean classifier that L_sup is about names a view's class: argmax_j f(a)·μ_j.

    Its means are those of the same views, so that this errs upwards by about a class's own share.
    """
    guesses = (data.views @ data.means.T).argmax(axis=2)
    return float((guesses == data.codes[:, None]).mean())


def describe_terms(terms: Terms) -> dict[str, Any]:
    """One row of bounds.json: terms, their standard errors, both lower bounds and all upper bounds."""
    from contrasift.theory.bounds import lower_bounds, upper_bounds

    trivial = math.log(terms.n_classes)
    return {
        "draws": terms.negatives + 1,
        "negatives": terms.negatives,
        "coverage_probability": terms.coverage,
        "log_coverage_probability": finite_or_none(terms.log_coverage),
        "collision_probability": terms.collision,
        "log_no_collision_probability": finite_or_none(terms.log_no_collision),
        "log_arora_weight": finite_or_none(terms.log_arora_weight),
        "expected_log_collisions": terms.log_collisions,
        "contrastive_loss": terms.loss,
        "shift": terms.shift,
        "supervised": terms.supervised,
        "supervised_weighted": terms.coverage * terms.supervised,
        "partial_weighted": terms.partial,
        "supervised_without_collision": terms.supervised_without_collision,
        "partial_without_collision": terms.partial_without_collision,
        "collision_loss": terms.collision_loss,
        "collision_loss_bound": terms.log_collisions + terms.collision_excess,
        "standard_errors": terms.errors,
        "lower_bounds": lower_bounds(terms),
        "upper_bounds": {
            name: {
                "value": finite_or_none(bound.value),
                "log_value": bound.log_value,
                "valid": bound.valid,
                "vacuous": not bound.value < trivial,
            }
            for name, bound in upper_bounds(terms).items()
        },
        "trivial": trivial,
    }
