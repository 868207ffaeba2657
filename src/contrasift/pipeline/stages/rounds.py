"""Rounds of refinement: select, train the proxy anew on the selection, embed, find classes again."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from contrasift.classes import class_stability, selection_overlap
from contrasift.errors import UsageError
from contrasift.fingerprints import fingerprint_of
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.batch import check_batch
from contrasift.pipeline.stages.embed import SAME_ENCODER, embed_pool
from contrasift.pipeline.stages.find_classes import ClassTask, agreement_in_words
from contrasift.pipeline.stages.proxy import proxy_options
from contrasift.store.run import StageRecord
from contrasift.store.tables import positions_of, read_table, write_classes, write_table

# Facts of a round that `classes.json` tells.
_TOLD = ("n_classes", "ari_to_previous", "selection_overlap_with_previous", "agreement")


def home_of(number: int) -> str:
    """Where a round's embeddings are: round 0 has the run's own."""
    return f"rounds/{number}/" if number else ""


def refine(run: Run, fingerprint: str) -> tuple[int, str, dict[str, Any]]:
    """Refine classes until they no longer agree better with those of the round before.

    Round 0 finds classes in the run's embeddings and selects by them, under the run's own options.
    Round r trains a proxy (the options of the run's) on what round r − 1 selected, embeds the whole
    pool with it, finds classes and selects. With a_r the adjusted Rand index between the classes of
    rounds r and r − 1, it ends after the first r ≥ 2 with a_r ≤ a_{r−1}, or after `--rounds`. Every
    round is a stage of its own that resumes, under `rounds/<r>/` and `training/round-<r>/`.

    Args:
        run: embedded.
        fingerprint: of its classes as they would be without rounds.

    Returns:
        the last round made, which is the one to use; its fingerprint; and what `classes.json` says.

    Raises:
        UsageError: embeddings or scores that no new proxy would change, or a selection smaller
            than a batch.
    """
    _check(run)
    select = run.options.select.fingerprint()
    records = [_round(run, 0, fingerprint_of(fingerprint, select))]
    ended = "rounds"
    for number in range(1, run.options.classes.rounds + 1):
        made_of = [records[-1].fingerprint, _proxy_fingerprint(run)]
        records.append(_round(run, number, fingerprint_of("round", *made_of)))
        if number >= 2 and _ari(records[-1]) <= _ari(records[-2]):
            ended = "stability"
            break
    history = [
        {"round": number, "seconds": record.seconds}
        | {name: record.facts[name] for name in _TOLD if name in record.facts}
        for number, record in enumerate(records)
    ]
    used = len(records) - 1
    return used, records[-1].fingerprint, {"used": used, "ended_by": ended, "history": history}


def _check(run: Run) -> None:
    encoder = run.options.embed.classes_encoder
    if encoder not in ("", "proxy", SAME_ENCODER):
        raise UsageError(
            "classes_encoder= as same, proxy or empty for rounds=, which train the proxy anew",
            encoder,
        )
    if run.options.select.scores:
        raise UsageError(
            "a selection by embeddings for rounds=", f"one by scores, {run.options.select.scores}"
        )
    if run.options.select.target:
        raise UsageError(
            "a selection without target= for rounds=, which train the proxy anew",
            run.options.select.target,
        )


def _round(run: Run, number: int, fingerprint: str) -> StageRecord:
    """One round as a stage."""
    folder = f"rounds/{number}"
    files = [f"{folder}/classes.parquet", f"{folder}/selection.parquet"]
    if number:
        files += [f"{folder}/embeddings.npy", f"{folder}/embeddings.json"]
        files.append(f"training/round-{number}/encoder.safetensors")

    def work() -> dict[str, Any]:
        (run.folder.path / folder).mkdir(parents=True, exist_ok=True)
        trained = _train(run, number, fingerprint) if number else 0.0
        begun = time.perf_counter()
        if number:
            _embed(run, number)
        task = ClassTask(run, home_of(number))
        found = task.find(run.options.classes.seed)
        index, chosen = task.rows.index, task.selected(found.codes)
        facts: dict[str, Any] = {"n_classes": len(found.names)}
        if "agreement" in found.facts:
            facts["agreement"] = found.facts["agreement"]
        if number:
            facts |= _beside_previous(run, number, found.labels, chosen)
        write_classes(run.folder.path / files[0], index, found)
        write_table(
            run.folder.path / files[1], {"index": index, "selected": np.isin(index, chosen)}
        )
        # A training that was resumed knows better how long it took in all.
        seconds = trained + time.perf_counter() - begun
        return facts | {"note": _headline(facts), "seconds": seconds}

    return run.do(f"round {number}", fingerprint, files, work)


def _train(run: Run, number: int, fingerprint: str) -> float:
    """A new proxy from what the round before selected; its seconds."""
    from contrasift.training.pretrain import pretrain

    chosen = _chosen(run, number - 1)
    check_batch(run, chosen.size)
    name = f"round-{number}"
    with run.narrator.progress(f"training the proxy, round {number}", "steps") as progress:
        trained = pretrain(
            run.pool,
            positions_of(chosen, run.pool.index),
            proxy_options(run.options),
            seed=run.options.embed.seed,
            folder=run.training_folder(name, fingerprint),
            device=run.device,
            progress=progress,
        )
    return trained.seconds


def _embed(run: Run, number: int) -> None:
    """The whole pool by a round's proxy: for similarities, and where that is another, for classes."""
    encoder = str(run.folder.path / "training" / f"round-{number}" / "encoder.safetensors")
    options, home = run.options.embed, home_of(number)
    embed_pool(run, encoder, f"{home}embeddings", options.layer, options.views, options.plain_view)
    if options.classes_encoder:
        layer, views = options.classes_layer, options.classes_views
        embed_pool(run, encoder, f"{home}class_embeddings", layer, views, plain_view=True)


def _chosen(run: Run, number: int) -> np.ndarray:
    """Pool indices that a finished round selected, ascending."""
    path = run.folder.path / f"rounds/{number}/selection.parquet"
    table = read_table(path, "index", "selected")
    return np.sort(table["index"][table["selected"]])


def _beside_previous(
    run: Run, number: int, labels: np.ndarray, chosen: np.ndarray
) -> dict[str, float]:
    """How much of the round before is left."""
    path = run.folder.path / f"rounds/{number - 1}/classes.parquet"
    before = read_table(path, "latent_class")["latent_class"].astype(str)
    return {
        "ari_to_previous": class_stability([before, labels.astype(str)])["ari"],
        "selection_overlap_with_previous": selection_overlap([_chosen(run, number - 1), chosen]),
    }


def _headline(facts: dict[str, Any]) -> str:
    """One line for the terminal."""
    parts = [f"{facts['n_classes']} classes"]
    if "ari_to_previous" in facts:
        parts.append(f"with the round before: ARI {facts['ari_to_previous']:.2f}")
        parts.append(f"selections overlap {facts['selection_overlap_with_previous']:.0%}")
    parts += agreement_in_words(facts)
    return "; ".join(parts)


def _proxy_fingerprint(run: Run) -> str:
    """Of what a round's proxy and embeddings depend on besides the selection."""
    options = run.options.embed
    what = (options.layer, options.views, options.plain_view, options.seed)
    own = (options.classes_encoder, options.classes_layer, options.classes_views)
    return proxy_options(run.options).fingerprint(*map(str, what + own))


def _ari(record: StageRecord) -> float:
    return float(record.facts["ari_to_previous"])
