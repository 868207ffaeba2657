"""Images judged by a finished run as they pass: embedded batch by batch, nothing of them is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contrasift.inference.apply import (
    RunClasses,
    encoders_of_run,
    first_new_index,
    judge_run,
    rule_of_run,
)
from contrasift.narration import Narrator, Progress
from contrasift.pipeline.extend import labels_of, open_like
from contrasift.pools import scan_pool
from contrasift.store.run import RunFolder

# Batches of the encoder that are judged together.
_BATCHES = 16


def judged_images(
    run: Path,
    source: str,
    narrator: Narrator,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """Judge the images of a pool as `contrasift extend` would, and keep nothing but the judgements.

    Args:
        run: finished up to its selection.
        source: the new pool.
        narrator: told how classes and the rule come about, and what cannot be read.
        device: where the encoder runs.
        threads: for judging; None for all processors.
        progress: called with (images judged, images).

    Yields:
        columns of some examples: index, id, latent_class, score, keep; unreadable ones are left out.
    """
    base = RunFolder.existing(run)
    known = rule_of_run(run, threads)
    classes = RunClasses.of(run)
    encoders = encoders_of_run(run)
    narrator.say(f"{known.in_words}; {classes.in_words()}")
    pool = open_like(encoders["embeddings"], source, labels_of(base), first_new_index(run))
    examples = scan_pool(pool)
    for line in pool.passed_over.in_words():
        narrator.say(line)
    if examples.unreadable:
        narrator.say(f"{examples.unreadable} of {len(pool)} images cannot be read and are left out")
    positions = examples.positions
    step = _BATCHES * encoders["embeddings"].batch_size
    for start in range(0, positions.size, step):
        some = positions[start : start + step]
        found = {
            stem: encoder.embed(pool, some, device=device).values
            for stem, encoder in encoders.items()
        }
        done = start
        for judged, names in judge_run(
            known.rule, classes, found["embeddings"], found.get("class_embeddings"), threads
        ):
            here = some[judged.start : judged.start + len(judged.keep)]
            done += here.size
            yield {
                "index": pool.index[here],
                "id": [pool.ids[int(position)] for position in here],
                "latent_class": names,
                "score": judged.score,
                "keep": judged.keep,
            }
            progress(done, positions.size)
