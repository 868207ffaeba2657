"""Contrastive learning on texts, from a collection to embeddings and the table of the bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.narration import Progress as Done
from contrasift.store.atomic import read_json, sha256_of, write_array, write_json, write_text
from contrasift.store.provenance import made_with
from contrasift.text.collection import Texts
from contrasift.text.encoder import TrainedWords, load_words, save_words, train_words
from contrasift.text.options import TextOptions

VIEWS = 4
_ENCODER = "encoder.safetensors"
Progress = Callable[[str], AbstractContextManager[Done]]


def embed_texts(
    texts: Texts, options: TextOptions, folder: Path, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Train an encoder of words and embed the collection with it, as `contrasift embed` does images.

    Writes encoder.safetensors, embeddings.npy (mean of unit-norm views), embeddings.json,
    index.npy, texts.txt (one text a line) and, where there are labels, labels.txt in the same order.

    Args:
        texts: the collection.
        options: the training.
        folder: where to; a folder with the same collection, options and seed is left as it is.
        seed: of everything random.
        progress: makes a progress display from a title.

    Returns:
        What embeddings.json says.

    Raises:
        RunFolderError: the folder holds other embeddings.
    """
    fingerprint = _fingerprint(texts, options, seed)
    about = folder / "embeddings.json"
    if about.is_file():
        known = read_json(about)
        if known.get("fingerprint") != fingerprint:
            raise RunFolderError(
                "a folder that is new, or holds these embeddings",
                f"{folder}, made of other texts or with other options",
                "Choose another out=",
            )
        return known
    folder.mkdir(parents=True, exist_ok=True)
    trained = _trained(texts, options, folder / _ENCODER, seed, progress)
    values = trained.embed(texts, VIEWS, seed)
    for name, array in (("embeddings", values), ("index", texts.index)):
        write_array(folder / f"{name}.npy", array)
    write_text(folder / "texts.txt", "".join(" ".join(t.split()) + "\n" for t in texts.texts))
    if texts.labels is not None:
        names = (texts.label_names[code] if code >= 0 else "" for code in texts.labels)
        write_text(folder / "labels.txt", "".join(name + "\n" for name in names))
    result = {
        "fingerprint": fingerprint,
        "collection": texts.name,
        "texts": len(texts),
        "vocabulary": len(trained.vocabulary) - 1,
        "views": VIEWS,
        "normalised": "mean of unit views",
        "sha256": sha256_of(folder / "embeddings.npy"),
        "options": options.as_dict(),
        "seed": seed,
        "loss": trained.losses[-1],
        **({} if texts.test is None else {"accuracy": _accuracy(trained, texts, texts.test)}),
    }
    write_json(about, result)
    return result


def bound_texts(
    texts: Texts,
    options: TextOptions,
    folder: Path,
    *,
    draws: Sequence[int],
    seeds: int,
    progress: Progress,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The table of paper 003 on a collection: one training for every K + 1 and seed.

    Writes cells/…json one by one (what is there is not done again), then bounds.json, bounds.md and
    bounds.html.

    Args:
        texts: a collection with labels and held-out texts.
        options: the training, but for its batch size.
        folder: where to.
        draws: values of K + 1, the batch sizes.
        seeds: how many trainings for each.
        progress: makes a progress display from a title.
        source: where the collection came from, kept in bounds.json, so that it can be asked for again.

    Returns:
        What bounds.json says.

    Raises:
        DataError: no labels, or a label without held-out texts.
        UsageError: K + 1 below 2, or no seed.
    """
    import torch

    from contrasift.pipeline.studies.bound_table import measure_cell, write_table

    test = _labelled(texts)
    if seeds < 1 or not draws or min(draws) < 2:
        raise UsageError("at least one seed, and K + 1 of at least 2", f"{seeds}, {list(draws)}")
    cells = []
    for size in draws:
        settings = dataclasses.replace(options, batch_size=size)
        for seed in range(seeds):
            name = f"{size}-seed{seed}-{_fingerprint(texts, settings, seed)}"
            path = folder / "cells" / f"{name}.json"
            if not path.is_file():
                begun = time.perf_counter()
                encoder = folder / "cells" / f"{name}.safetensors"
                trained = _trained(texts, settings, encoder, seed, progress, f"K+1 = {size}, ")
                assert test.labels is not None  # as `_labelled` has checked
                cell = measure_cell(
                    trained.views(test, VIEWS, seed),
                    test.labels,
                    n_classes=len(test.label_names),
                    draws=size,
                    temperature=options.temperature,
                    seed=seed,
                )
                cell["accuracy"] = _accuracy(trained, texts, test)
                cell["seconds"] = time.perf_counter() - begun
                cell["made_with"] = made_with(torch.get_num_threads())
                write_json(path, cell)
            cells.append(read_json(path))
    about = {
        "collection": texts.name,
        "source": dict(source or {}),
        "texts": len(texts),
        "held_out": len(test),
        "classes": list(texts.label_names),
        "options": options.as_dict(),
    }
    title = f"Bounds on {texts.name}: {len(texts.label_names)} classes, {options.augmentation}"
    write_table(folder, title, about, cells)
    return read_json(folder / "bounds.json")


def _labelled(texts: Texts) -> Texts:
    """The held-out texts, after checking that every label is among them."""
    if texts.labels is None or texts.test is None or texts.test.labels is None:
        raise DataError(
            "labels and held-out texts for the bounds",
            f"none in {texts.name}",
            "Name a labelled collection, or a column with label_column=",
        )
    sizes = np.bincount(texts.test.labels[texts.test.labels >= 0], minlength=len(texts.label_names))
    if (sizes == 0).any():
        absent = [texts.label_names[code] for code in np.flatnonzero(sizes == 0)]
        raise DataError(
            "held-out texts of every label",
            f"none of {', '.join(absent[:5])}",
            "Leave rare labels out with least=20",
        )
    return texts.test.part(np.flatnonzero(texts.test.labels >= 0), texts.test.name)


def _trained(
    texts: Texts,
    options: TextOptions,
    path: Path,
    seed: int,
    progress: Progress,
    title: str = "",
) -> TrainedWords:
    """The encoder of a file, or a new one that is put there."""
    if path.is_file():
        return load_words(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with progress(f"training on {texts.name}, {title}seed {seed}") as report:
        trained = train_words(texts, options, seed=seed, progress=report)
    save_words(trained, path)
    return trained


def _accuracy(trained: TrainedWords, texts: Texts, test: Texts) -> dict[str, float]:
    from contrasift.pipeline.studies.bound_table import measure_accuracy

    assert texts.labels is not None
    assert test.labels is not None
    known, seen = np.flatnonzero(texts.labels >= 0), np.flatnonzero(test.labels >= 0)
    train_part, test_part = texts.part(known), test.part(seen)
    return measure_accuracy(
        lambda layer: (
            trained.features(train_part.texts, layer),
            trained.features(test_part.texts, layer),
        ),
        texts.labels[known],
        test.labels[seen],
    )


def _fingerprint(texts: Texts, options: TextOptions, seed: int) -> str:
    digest = hashlib.sha256()
    parts = [texts] if texts.test is None else [texts, texts.test]
    for part in parts:
        digest.update("\0".join(part.texts).encode())
        digest.update(part.index.tobytes())
        digest.update(b"" if part.labels is None else part.labels.tobytes())
    return options.fingerprint(digest.hexdigest(), str(seed))
