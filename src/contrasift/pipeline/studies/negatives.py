"""The stage that shows which negatives an encoder finds hard, and which are probably false."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from contrasift.errors import RunFolderError
from contrasift.fingerprints import fingerprint_of
from contrasift.options.negatives import NegativesRequest
from contrasift.pipeline.run import Run
from contrasift.pipeline.studies.negatives_page import negatives_page
from contrasift.pipeline.studies.negatives_study import Study
from contrasift.store.atomic import sha256_of, write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import write_table


def analyse_negatives(run: Run, request: NegativesRequest) -> tuple[StageRecord, Path]:
    """Analyse the negatives of one encoder; negatives/NAME.json, .parquet, -each.parquet, .html.

    Returns:
        The stage's record, and the JSON file.

    Raises:
        RunFolderError: the arm is not trained.
        DataError: fewer examples than queries and negatives need, unusable WordNet files.
    """
    name, source, upstream = _encoder_of(run, request)
    stem = f"negatives/{name}"
    classes = run.folder.path / "classes.parquet"
    inputs = [
        json.dumps({key: str(value) for key, value in vars(request).items()}, sort_keys=True),
        upstream,
        sha256_of(classes) if classes.exists() else "",
    ]
    fingerprint = fingerprint_of("\n".join(inputs))
    files = [f"{stem}{end}" for end in (".json", ".parquet", "-each.parquet", ".html")]

    def work() -> dict[str, Any]:
        from contrasift.training.loading import load_encoder

        encoder = load_encoder(source, channels=run.pool.channels)
        study = Study(run, request, encoder)
        result = {"encoder": name, "layer": request.layer, **study.result()}
        path = run.folder.path
        write_json(path / files[0], result)
        write_table(path / files[1], study.by_percentile())
        write_table(path / files[2], study.by_negative())
        from contrasift.report.negatives import write_negatives_page

        page = negatives_page(result, study.measures, study.profiles, study.pictures())
        write_negatives_page(page, path / files[3])
        return {"note": result["sentences"][0]}

    record = run.do(f"negatives {name}", fingerprint, files, work)
    return record, run.folder.path / files[0]


def _encoder_of(run: Run, request: NegativesRequest) -> tuple[str, str, str]:
    """Name, source and fingerprint of the encoder to analyse."""
    if request.encoder:
        path = Path(request.encoder)
        mark = sha256_of(path) if path.is_file() else request.encoder
        return (
            re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else request.encoder),
            (request.encoder),
            mark,
        )
    folder = run.folder.path / "training"
    there = sorted(path.parent.name for path in folder.glob("*/encoder.safetensors"))
    name = request.arm or next(
        (arm for arm in ("full-seed0", "selected-seed0", *there) if arm in there), "proxy"
    )
    if name not in there:
        raise RunFolderError(
            f"a trained encoder {name} in {run.folder.path}",
            f"only {', '.join(there)}" if there else "none",
            f"Train one: contrasift train {run.folder.path} --subset full; or name one with encoder=",
        )
    source = folder / name / "encoder.safetensors"
    return name, str(source), sha256_of(source)
