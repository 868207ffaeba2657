"""Stages that ask what a selection guarantees: SAS's theorems, measured before and after training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.fingerprints import fingerprint_of
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.pipeline.studies.bounds import VIEWS, arm_encoder, unit_views
from contrasift.store.arms import Arm, trained_arms
from contrasift.store.atomic import read_json, write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes, read_table

if TYPE_CHECKING:
    from contrasift.theory.guarantees import Condition, Constants

DIRECTIONS = (
    "R_ε: maximum over the given views, errs low",
    "δ: minimum over the given views, errs high",
    "σ: found greedily on up to 300 examples of each class, errs low for these",
    "η: taken as 4/ε, its smallest possible value, so that ν_R errs low",
    "L: 1, distances are those of the encoder's own space",
    "ν_div, μ_k, alignment: means over the given views, either way",
)


def guarantee_run(run: Run) -> dict[str, Any]:
    """What the selection promises by the proxy, and what every trained encoder keeps; guarantee.json.

    Raises:
        RunFolderError: nothing is selected yet.
        DataError: a class of which nothing is selected.
    """
    promise(run)
    arms = trained_arms(run.folder)
    for arm in arms:
        check_encoder(run, arm)
    path = run.folder.path
    summary = {
        "directions": list(DIRECTIONS),
        "promise": read_json(path / "guarantee/proxy.json"),
        "encoders": [read_json(path / f"guarantee/{arm.name}.json") for arm in arms],
        "plot": str(path / "guarantee.html"),
    }
    write_json(path / "guarantee.json", summary)

    from contrasift.report.figures.bounds import guarantee_figures
    from contrasift.report.figures.page import write_figures

    write_figures(
        path / "guarantee.html", "What the selection guarantees", guarantee_figures(summary)
    )
    return summary


def promise(run: Run) -> StageRecord:
    """ν_align and ν_div of the selection in the proxy's space, and theorems 4.1 and 4.3 there."""
    fingerprint = fingerprint_of(f"guarantee {run.record('select').fingerprint} {VIEWS}")

    def work() -> dict[str, Any]:
        from contrasift.theory import guarantees

        options = run.options.embed
        positions, codes, names, kept = _selection(run)
        views = unit_views(
            run,
            run.pool,
            positions,
            _proxy_encoder(run),
            seed=options.seed,
            title="the proxy",
            layer=options.layer,
        )
        classes = [
            guarantees.subset_class(views[codes == code], kept[codes == code])
            for code in range(len(names))
        ]
        constants = guarantees.measure_constants(views, codes)
        eta = 4 / max(constants.epsilon, 1e-12)
        nu_align = eta * np.array([found.nu_align for found in classes])
        nu_div = np.array([found.nu_div for found in classes])
        nu_misaligned = float(constants.shares @ nu_align)
        means = guarantees.class_means(views[kept], codes[kept])
        conditions = {
            "theorem 4.3": guarantees.subset_condition(means, constants, nu_div, nu_misaligned),
            "theorem 4.3, as printed": guarantees.subset_condition(
                means, constants, nu_div, nu_misaligned, linear=True
            ),
            "theorem 4.3, safe ρ": guarantees.subset_condition(
                means, constants, nu_div, nu_misaligned, safe=True
            ),
        }
        result = {
            **_describe_encoder(views, codes, constants, conditions),
            "eta": eta,
            "nu_misaligned": nu_misaligned,
            "classes": [
                {"name": str(name), **dataclasses.asdict(found)}
                for name, found in zip(names, classes, strict=True)
            ],
        }
        write_json(run.folder.path / "guarantee/proxy.json", result)
        return {"note": conditions["theorem 4.3"].verdict}

    return run.do("guarantee", fingerprint, ["guarantee/proxy.json"], work)


def check_encoder(run: Run, arm: Arm) -> StageRecord:
    """Alignment and centres of a trained encoder on the whole pool, and theorem 4.1 for it (Fig. 8)."""
    records = (run.record("classes").fingerprint, run.record(f"train {arm.name}").fingerprint)
    fingerprint = fingerprint_of(f"guarantee {arm.name} {records} {VIEWS}")
    result_file = f"guarantee/{arm.name}.json"

    def work() -> dict[str, Any]:
        from contrasift.theory.guarantees import measure_constants

        positions, codes, _, _ = _selection(run)
        views = unit_views(
            run, run.pool, positions, arm_encoder(run, arm), seed=arm.seed, title=arm.name
        )
        constants = measure_constants(views, codes)
        result = {
            "subset": arm.subset,
            "seed": arm.seed,
            **_describe_encoder(views, codes, constants, {}),
        }
        write_json(run.folder.path / result_file, result)
        return {"note": result["conditions"]["theorem 4.1"]["verdict"]}

    return run.do(f"guarantee {arm.name}", fingerprint, [result_file], work)


def _selection(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Readable positions, their latent class codes, the classes' names, and what is selected."""
    run.record("select")
    positions = readable_positions(run)
    index = run.pool.index[positions]
    labels = read_latent_classes(run.folder.path / "classes.parquet", index)
    codes, names = class_codes(labels, positions.size)
    table = read_table(run.folder.path / "selection.parquet", "index", "selected")
    kept = np.isin(index, table["index"][table["selected"]])
    return positions, codes, names, kept


def _proxy_encoder(run: Run) -> Any:
    from contrasift.training.loading import load_encoder

    source = run.options.embed.encoder
    if source == "proxy":
        source = str(run.folder.path / "training" / "proxy" / "encoder.safetensors")
    return load_encoder(source, channels=run.pool.channels)


def _describe_encoder(
    views: np.ndarray, codes: np.ndarray, constants: Constants, conditions: dict[str, Condition]
) -> dict[str, Any]:
    """Constants, alignment, centres and conditions of one encoder on the whole pool."""
    from contrasift.theory import guarantees

    means = guarantees.class_means(views, codes)
    conditions = {
        "theorem 4.1": guarantees.full_condition(means, constants),
        "theorem 4.1, safe ρ": guarantees.full_condition(means, constants, safe=True),
        **conditions,
    }
    spread, widest = guarantees.view_spread(views)
    products = means @ means.T
    off_diagonal = products[~np.eye(len(means), dtype=bool)]
    return {
        "examples": int(codes.size),
        "views": int(views.shape[1]),
        "alignment": float(spread.mean()),
        "widest": float(widest.mean()),
        "largest_center_product": float(off_diagonal.max()),
        "mean_center_product": float(off_diagonal.mean()),
        "mean_classifier_error": guarantees.mean_classifier_error(views, codes, means),
        "constants": {
            "sigma": constants.sigma,
            "delta": constants.delta,
            "epsilon": constants.epsilon,
            "misaligned": constants.misaligned,
            "mean_gap": constants.mean_gap,
            "lipschitz": constants.lipschitz,
            "radius": constants.radius,
            "rho": constants.rho(),
            "rho_safe": constants.rho(safe=True),
            "shares": constants.shares,
        },
        "conditions": {
            name: {
                "verdict": condition.verdict,
                "vacuous": condition.vacuous,
                "smallest_threshold": float(condition.thresholds.min()),
                "largest_product": condition.largest_product,
                "excess": condition.excess,
                "error_bound": condition.error_bound,
            }
            for name, condition in conditions.items()
        },
    }
