"""Stages of `contrasift dynamics`: supervised trainings, scores, and how they agree with SAS."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError
from contrasift.evaluation.difficulty_scores import (
    confidence_and_variability,
    forgetting_events,
    rank_correlation,
)
from contrasift.options import DynamicsOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.evaluate import require_labels
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.store.atomic import load_array, read_json, write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_table, write_table

if TYPE_CHECKING:
    from contrasift.training.supervised import Recorded

SCORES = ("forgetting_events", "confidence", "variability", "el2n", "grand")
# What a high score means, in the words of the table.
HIGH = {
    "forgetting_events": "often forgotten",
    "confidence": "easy",
    "variability": "ambiguous",
    "el2n": "hard",
    "grand": "hard",
}


def labelled(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the readable examples that have a label, and their classes as codes.

    Raises:
        DataError: no labels, or all of one class.
    """
    labels = require_labels(run.pool)
    positions = readable_positions(run)
    positions = positions[labels[positions] >= 0]
    names, codes = np.unique(labels[positions], return_inverse=True)
    if names.size < 2:
        raise DataError(
            "labelled examples of at least two classes",
            f"{positions.size} of {names.size} class(es)",
        )
    return positions, codes.reshape(-1).astype(np.int64)


def score_dynamics(run: Run, options: DynamicsOptions) -> dict[str, Any]:
    """Train once a seed, write `scores.parquet` and `dynamics.json`, and compare with a selection.

    Args:
        run: with a finished scan.
        options: of the trainings.

    Returns:
        What `dynamics.json` holds.

    Raises:
        DataError: no labels, or all of one class.
    """
    positions, codes = labelled(run)
    for seed in range(options.seeds):
        _train(run, options, seed, positions, codes)
    _score(run, options, positions, codes)
    facts = read_json(run.folder.path / "dynamics.json")
    if "select" in run.folder.records():
        facts["selection"] = compare_with_selection(run)
        write_json(run.folder.path / "dynamics.json", facts)
    return facts


def _fingerprint(run: Run, options: DynamicsOptions, *more: str) -> str:
    return options.fingerprint(run.record("scan").fingerprint, *more)


def _folder(seed: int) -> str:
    return f"dynamics-seed{seed}"


def _record(
    run: Run, options: DynamicsOptions, seed: int, positions: np.ndarray, codes: np.ndarray
) -> Recorded:
    """The records of one training; at once, if it is finished."""
    from contrasift.training.supervised import record_dynamics

    alone = dataclasses.replace(options, seeds=1, early_epoch=None)
    fingerprint = _fingerprint(run, alone, f"seed {seed}")
    with run.narrator.progress(f"training {_folder(seed)}", "steps") as progress:
        return record_dynamics(
            run.pool,
            positions,
            codes,
            options,
            seed=seed,
            folder=run.training_folder(_folder(seed), fingerprint),
            device=run.device,
            progress=progress,
        )


def _train(
    run: Run, options: DynamicsOptions, seed: int, positions: np.ndarray, codes: np.ndarray
) -> StageRecord:
    alone = dataclasses.replace(options, seeds=1, early_epoch=None)

    def work() -> dict[str, Any]:
        recorded = _record(run, options, seed, positions, codes)
        right = float(recorded.correct[-1].mean())
        return {"note": f"{positions.size:,} examples, {right:.1%} right in the last epoch"}

    return run.do(
        f"dynamics seed{seed}",
        _fingerprint(run, alone, f"seed {seed}"),
        [f"training/{_folder(seed)}/last.ckpt"],
        work,
    )


def _score(
    run: Run, options: DynamicsOptions, positions: np.ndarray, codes: np.ndarray
) -> StageRecord:
    def work() -> dict[str, Any]:
        recorded = [_record(run, options, seed, positions, codes) for seed in range(options.seeds)]
        columns = combine(recorded, options.early)
        write_table(
            run.folder.path / "scores.parquet", {"index": run.pool.index[positions], **columns}
        )
        never = int(columns["never_learned"].sum())
        write_json(
            run.folder.path / "dynamics.json",
            {
                "options": options.as_dict(),
                "early_epoch": options.early,
                "n": positions.size,
                "without_label": readable_positions(run).size - positions.size,
                "never_learned": never,
                "accuracy": [float(part.correct[-1].mean()) for part in recorded],
                "means": {name: float(columns[name].mean()) for name in SCORES},
            },
        )
        return {"note": f"{positions.size:,} examples, {never:,} never learned"}

    return run.do("dynamics", _fingerprint(run, options), ["scores.parquet"], work)


def combine(recorded: Sequence[Recorded], early_epoch: int) -> dict[str, np.ndarray]:
    """The columns of `scores.parquet`: each score's mean over the trainings.

    A training in which an example was never right counts as T forgetting events, T being the number
    of epochs: more than any count can reach, so that ∞ keeps its place at the end of the order and
    a mean exists.

    Args:
        recorded: one a seed.
        early_epoch: the epoch, from 1, after which EL2N and GraNd are taken.

    Returns:
        Columns by name; `never_learned` is true where no training ever had the example right.
    """
    epochs = recorded[0].correct.shape[0]
    events = np.stack([forgetting_events(part.correct) for part in recorded])
    pairs = [confidence_and_variability(part.probability) for part in recorded]
    return {
        "forgetting_events": np.where(np.isinf(events), float(epochs), events).mean(axis=0),
        "never_learned": np.asarray(np.isinf(events).all(axis=0)),
        "confidence": np.mean([mean for mean, _ in pairs], axis=0),
        "variability": np.mean([deviation for _, deviation in pairs], axis=0),
        "el2n": np.mean(
            [part.error_norm[early_epoch - 1] for part in recorded], axis=0, dtype=float
        ),
        "grand": np.mean(
            [part.gradient_norm[early_epoch - 1] for part in recorded], axis=0, dtype=float
        ),
    }


def compare_with_selection(run: Run) -> dict[str, Any]:
    """How each score goes along with the run's ranking, and its mean in the selection and outside.

    The correlation is Spearman's, of the score with how early an example stands in `ranking.npy`:
    positive where what is ranked first has high scores.
    """
    table = read_table(run.folder.path / "scores.parquet")
    chosen = read_table(run.folder.path / "selection.parquet", "index", "selected")
    ranking = load_array(run.folder.path / "ranking.npy")
    order = np.argsort(ranking)
    shared = np.isin(table["index"], ranking)
    index = table["index"][shared]
    place = order[np.searchsorted(ranking[order], index)]
    selected = np.isin(index, chosen["index"][chosen["selected"]])
    result: dict[str, Any] = {
        "objective": run.options.select.objective,
        "selected": int(selected.sum()),
    }
    for name in SCORES:
        score = table[name][shared]
        found = rank_correlation(score, -place)
        result[name] = {
            "correlation": dataclasses.asdict(found),
            "mean_selected": float(score[selected].mean()) if selected.any() else None,
            "mean_rest": float(score[~selected].mean()) if (~selected).any() else None,
            "in_words": in_words(name, found.low, found.high),
        }
    return result


def in_words(name: str, low: float | None, high: float | None) -> str:
    """What the sign of a correlation with the ranking says, if its interval leaves 0 out."""
    opposite = {
        "often forgotten": "seldom forgotten",
        "easy": "hard",
        "ambiguous": "steady",
        "hard": "easy",
    }[HIGH[name]]
    if low is None or high is None or low <= 0 <= high:
        return "no relation that the interval would show"
    return f"what is ranked first is rather {HIGH[name] if low > 0 else opposite}"
