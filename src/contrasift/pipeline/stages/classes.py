"""The stage that finds latent classes, and how stable they and their selections are."""

from __future__ import annotations

from typing import Any

from contrasift.fingerprints import fingerprint_of
from contrasift.options import ClassesOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import (
    SAME_ENCODER,
    class_embeddings_fingerprint,
    embed_for_classes,
)
from contrasift.pipeline.stages.find_classes import ClassTask, agreement_in_words
from contrasift.pipeline.stages.rounds import home_of, refine
from contrasift.pipeline.stages.zero_shot import naming_inputs
from contrasift.results import LatentClasses
from contrasift.store.atomic import sha256_of, write_json
from contrasift.store.remote import local_file
from contrasift.store.run import StageRecord
from contrasift.store.tables import write_classes

# From this share on it is said that examples were in communities too small to be classes.
_MUCH_JOINED = 0.3


def classes(run: Run) -> StageRecord:
    """Find latent classes; hold them, and what would be selected, against other seeds' and labels.

    With `--rounds` they are refined first, and those of the last round are taken; its embeddings
    then are the run's similarities (`RunFolder.matrix`).
    """
    options = run.options.classes
    if options.classes == "labels":
        upstream = run.record("embed").fingerprint
    else:
        if run.options.embed.classes_encoder == SAME_ENCODER:
            embed_for_classes(run)
        upstream = class_embeddings_fingerprint(run)
    files = [local_file(name) for name in (options.few_labels, options.classes_file) if name]
    read = [sha256_of(file) for file in files if file.is_file()]
    fingerprint = options.fingerprint(upstream, *read, *naming_inputs(run))
    used, rounds = 0, {}
    if options.rounds:
        used, last, rounds = refine(run, fingerprint)
        fingerprint = fingerprint_of(fingerprint, last)

    def work() -> dict[str, Any]:
        task = ClassTask(run, home_of(used))
        found = task.find(options.seed)
        facts = {"method": found.method, "n_classes": len(found.names), **found.facts}
        stability = task.stability(found)
        if stability:
            facts["stability"] = stability
        if rounds:
            facts["rounds"] = rounds
        write_classes(run.folder.path / "classes.parquet", task.embeddings.index, found)
        write_json(run.folder.path / "classes.json", facts)
        task.clean()
        for note in _notes(options, found, stability):
            run.narrator.say(f"  note: {note}")
        result = {"n_classes": len(found.names), "note": _headline(found, stability)}
        return result | ({"rounds": used, "matrix": f"{home_of(used)}embeddings"} if used else {})

    return run.do("classes", fingerprint, ["classes.parquet", "classes.json"], work)


def _headline(found: LatentClasses, stability: dict[str, Any]) -> str:
    """One line for the terminal."""
    parts = [f"{len(found.names)} classes by {found.method}"]
    facts = found.facts
    if "heldout_accuracy" in facts:
        parts.append(f"{facts['heldout_accuracy']:.1%} right on labels held out")
    parts += agreement_in_words(facts)
    if "ari" in stability:
        parts.append(f"between seeds: ARI {stability['ari']:.2f}")
    if "selection_overlap" in stability:
        parts.append(f"selections overlap {stability['selection_overlap']:.0%}")
    return "; ".join(parts)


def _notes(options: ClassesOptions, found: LatentClasses, stability: dict[str, Any]) -> list[str]:
    """What the user should know besides."""
    notes = []
    joined = found.facts.get("rows_joined", 0.0)
    if joined > _MUCH_JOINED:
        notes.append(
            f"{joined:.0%} of the examples were in communities of fewer than "
            f"{found.facts['smallest']} and joined the nearest larger one: the classes are unsure; "
            "fewer graph_neighbours= leave more, n_classes= gives their number"
        )
    if stability.get("ari", 1.0) < 0.5:
        notes.append(
            "other seeds find quite different classes: try another resolution=, n_classes= or "
            "encoder"
        )
    return notes
