"""The stage that reads what an encoder is worth: probe, neighbours, class means."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.evaluation import METRICS, Evaluation
from contrasift.fingerprints import fingerprint_of
from contrasift.options import CompareOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.pools import Pool
from contrasift.store.arms import Arm
from contrasift.store.atomic import write_json
from contrasift.store.run import StageRecord

_LABELS_PER_CLASS = CompareOptions().labels_per_class
_SETTINGS = {"labels_per_class": _LABELS_PER_CLASS, "regularisation": None}


@dataclass(frozen=True)
class EvaluationProtocol:
    """One way to read an encoder's worth.

    Attributes:
        layer: `backbone` (before the projection head) or `head` (after it).
        probe: `logistic` or `sgd`, see `contrasift.evaluation`.
    """

    layer: str = "backbone"
    probe: str = "logistic"

    @property
    def suffix(self) -> str:
        """What its stages are called beside those of the first protocol."""
        return "" if self == EvaluationProtocol() else f" {self.layer}-{self.probe}"

    @property
    def folder(self) -> str:
        """Where its results are in a run."""
        return (
            "evaluation"
            if self == EvaluationProtocol()
            else f"evaluation/{self.layer}-{self.probe}"
        )


def evaluate(
    run: Run, arm: Arm, protocol: EvaluationProtocol | None = None, encoder: Any = None
) -> StageRecord:
    """What one arm's encoder is worth, by every judge.

    Args:
        run: whose pool and held-out data are used.
        arm: a trained one, or `untrained`.
        protocol: layer and probe; default: the backbone, by logistic regression.
        encoder: another encoder, from elsewhere, which the arm only names.
    """
    protocol = protocol or EvaluationProtocol()
    stage, settings = f"evaluate {arm.name}{protocol.suffix}", _settings(run, protocol)
    fingerprint = _fingerprint(run, arm, protocol, encoder)
    result_file = f"{protocol.folder}/{arm.name}.json"

    def work() -> dict[str, Any]:
        require_evaluation_data(run)
        result = evaluate_encoder(
            run.pool,
            readable_positions(run),
            run.test_positions,
            encoder or _arm_encoder(run, arm),
            protocol,
            seed=arm.seed,
            **settings,
            device=run.device,
        )
        write_json(
            run.folder.path / result_file,
            {
                "subset": arm.subset,
                "seed": arm.seed,
                "layer": protocol.layer,
                "probe": protocol.probe,
                "train_examples": result.details["train"],
                "test_examples": result.details["test"],
                **dataclasses.asdict(result),
            },
        )
        found = {metric: getattr(result, metric) for metric in METRICS}
        told = (f"{m.replace('_', ' ')} {v:.1%}" for m, v in found.items() if v is not None)
        return {"note": ", ".join(told)}

    return run.do(stage, fingerprint, [result_file], work)


def is_evaluated(run: Run, arm: Arm) -> bool:
    """Whether the first reading of an arm's encoder is finished under the run's options."""
    stage = f"evaluate {arm.name}"
    return run.folder.is_finished(stage, _fingerprint(run, arm, EvaluationProtocol(), None))


def _settings(run: Run, protocol: EvaluationProtocol) -> dict[str, Any]:
    compare = run.options.compare
    return {
        "labels_per_class": compare.labels_per_class,
        "regularisation": compare.regularisation if protocol.probe == "logistic" else None,
    }


def _fingerprint(run: Run, arm: Arm, protocol: EvaluationProtocol, encoder: Any) -> str:
    if encoder is not None:
        from contrasift.training.encoders import weights_sha256

        upstream = run.record("scan").fingerprint + weights_sha256(encoder)
    elif arm.subset == "untrained":
        upstream = run.options.train.fingerprint(run.record("scan").fingerprint, str(arm.seed))
    else:
        upstream = run.record(f"train {arm.name}").fingerprint
    settings = _settings(run, protocol)
    # Version 0.1 had no judge with few labels: what it evaluated stays, without.
    told = "" if settings == _SETTINGS else f" {settings}"
    return fingerprint_of(f"evaluate {arm.name}{protocol.suffix} {upstream}{told}")


def evaluate_encoder(
    pool: Pool,
    positions: np.ndarray,
    held_out: np.ndarray,
    encoder: Any,
    protocol: EvaluationProtocol,
    *,
    seed: int,
    labels_per_class: int = _LABELS_PER_CLASS,
    regularisation: float | None = None,
    device: str = "auto",
) -> Evaluation:
    """What an encoder is worth: trained on the pool's labels, judged on its held-out part.

    Args:
        pool: with labels and a held-out part.
        positions: readable examples of the pool; those without a label are left out.
        held_out: readable examples of the held-out part.
        encoder: images to vectors.
        protocol: layer and probe.
        seed: of the probes.
        labels_per_class: of the probe with few labels; 0: none.
        regularisation: λ of the linear probe with all labels; default: chosen.
        device: where the encoder runs.

    Raises:
        UsageError: the head of an encoder that has none.
        DataError: no labels, or no held-out part.
    """
    from contrasift.embedding.embed import features
    from contrasift.evaluation import evaluate as evaluate_features

    if protocol.layer == "head" and not encoder.description["projection_dim"]:
        raise UsageError(
            "layer='backbone' for an encoder without a projection head", f"layer='{protocol.layer}'"
        )
    labels, test = labels_and_test(pool)
    positions = positions[labels[positions] >= 0]
    test_labels = require_labels(test)
    held_out = held_out[test_labels[held_out] >= 0]
    return evaluate_features(
        features(pool, positions, encoder, protocol.layer, device=device),
        labels[positions],
        features(test, held_out, encoder, protocol.layer, device=device),
        test_labels[held_out],
        seed=seed,
        probe=protocol.probe,
        labels_per_class=labels_per_class,
        regularisation=regularisation,
    )


def external_arm(source: str) -> Arm:
    """The name under which an encoder from elsewhere stands in a run."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", source).strip(".-")[-60:]
    return Arm(f"encoder-{slug}", 0)


def _arm_encoder(run: Run, arm: Arm) -> Any:
    from contrasift.training.loading import load_encoder
    from contrasift.training.pretrain import untrained_encoder

    if arm.subset == "untrained":
        return untrained_encoder(
            run.options.train, run.pool.channels, run.pool.image_size, arm.seed
        )
    return load_encoder(str(run.folder.path / "training" / arm.name / "encoder.safetensors"))


def why_not_evaluated(pool: Pool, positions: np.ndarray | None = None) -> str:
    """Why encoders cannot be evaluated on a pool; empty where they can.

    Args:
        pool: with or without labels.
        positions: the readable ones; default: all.
    """
    if pool.labels is None:
        return "the pool has no labels"
    if pool.test is None:
        return "the pool has no held-out part with labels"
    labels = pool.labels if positions is None else pool.labels[positions]
    held_out = require_labels(pool.test)
    for part, found in (("labels", labels), ("held-out labels", held_out)):
        classes = np.unique(found[found >= 0]).size
        if classes < 2:
            return f"the pool's {part} are of {'one class' if classes else 'no class'}, and judging needs two"
    return ""


def require_evaluation_data(run: Run) -> tuple[np.ndarray, Pool]:
    """The labels of the run's pool and its held-out part.

    Raises:
        DataError: there is nothing to evaluate on.
    """
    return labels_and_test(run.pool)


def labels_and_test(pool: Pool) -> tuple[np.ndarray, Pool]:
    """The labels of a pool and its held-out part.

    Raises:
        DataError: there is nothing to evaluate on.
    """
    if pool.test is None:
        raise DataError(
            "a pool with labels, to evaluate on",
            f"{pool.name} without them",
            "Class sub-folders serve as labels with labels='folders'",
        )
    return require_labels(pool), pool.test


def require_labels(pool: Pool) -> np.ndarray:
    """The labels of a pool, −1 where unknown.

    Raises:
        DataError: it has none.
    """
    if pool.labels is None:
        raise DataError("a pool with labels", f"{pool.name} without them")
    return pool.labels
