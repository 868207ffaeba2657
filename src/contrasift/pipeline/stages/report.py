"""From a run folder to the report. Unfinished runs show what there is, and how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from contrasift.errors import ContrasiftError
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.measure import measure
from contrasift.report import ReportData, write_report
from contrasift.report.files import RunFiles
from contrasift.report.sections import conclusions as report_words
from contrasift.report.sections import results as report_results
from contrasift.report.sections import selection as report_selection
from contrasift.report.sections.pictures import Pictures
from contrasift.store.atomic import read_json

_PACKAGES = (
    "contrasift",
    "numpy",
    "numba",
    "faiss-cpu",
    "scikit-learn",
    "torch",
    "timm",
    "lightly",
    "kornia",
)


def report(run: Run) -> Path:
    """Write `report.html` and return its path; measures what its curves need, if that is not done."""
    notes = []
    if "select" in run.folder.records():
        try:
            measure(run)
            if "coverage" not in read_json(run.folder.path / "measures.json"):
                notes.append(
                    "Fractions were measured by an earlier version, as distances: remove "
                    "measures.json and report again."
                )
        except (ContrasiftError, OSError) as error:
            # Embeddings that were cleared away must not keep the rest from being seen.
            notes.append(f"Coverage at other fractions could not be measured: {error}")
            run.narrator.say(f"  note: {notes[0]}")
    with run.narrator.progress("report") as progress:
        progress(0, 1)
        path = write_report(report_data(run, notes), run.folder.path / "report.html")
        progress(1, 1)
    return path


def report_data(run: Run, notes: Sequence[str] = ()) -> ReportData:
    """Everything that the page shows of a run, as plain values."""
    files, options = RunFiles(run), run.options
    pictures = Pictures(files)
    return ReportData(
        title=f"{Path(options.pool.pool).name or options.pool.pool}: what is worth training on",
        summary=report_words.summary(files),
        headlines=report_words.headlines(files),
        notes=[*files.selection.get("notes", ()), *notes],
        pending=report_words.pending(files),
        further=report_words.further(files),
        arms=report_results.arms(files),
        comparison_note=report_results.comparison_note(files),
        differences=report_results.differences(files),
        other_readings=report_results.other_readings(files),
        coverage=report_selection.coverage(files),
        map=pictures.map(),
        gallery=pictures.gallery(),
        near_pairs=pictures.pairs("small"),
        far_pairs=pictures.pairs("large"),
        gains=report_selection.gains(files),
        certificate=report_selection.certificate_of(files.selection),
        classes=report_selection.class_bars(files),
        class_facts=report_selection.class_facts(files),
        rounds=report_selection.rounds(files),
        negatives=report_results.negatives(files),
        bounds=report_results.bounds(files),
        training=report_results.training_curves(files),
        unreadable=_unreadable(files),
        options=options.as_dict(),
        versions=_versions(_PACKAGES),
        commands=[
            f"contrasift run --recipe {shlex.quote(str(run.folder.options_path))} "
            f"--out {shlex.quote(str(run.folder.path) + '-again')}"
        ],
    )


def _unreadable(files: RunFiles) -> list[tuple[str, str]]:
    if not files.examples:
        return []
    pairs = zip(files.examples["id"], files.examples["error"], strict=True)
    return [(str(id), str(error)) for id, error in pairs if error is not None]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
