"""`--classes zero-shot`: the run's images beside the names of classes, in the space of a CLIP model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contrasift.errors import DataError, UsageError
from contrasift.pipeline.run import Run
from contrasift.results import Embeddings, LatentClasses
from contrasift.store.atomic import sha256_of
from contrasift.training.sources import OPEN_CLIP

if TYPE_CHECKING:
    from contrasift.training.clip import Clip


def naming_inputs(run: Run) -> list[str]:
    """Hashes of the files that zero-shot classes depend on; empty for other methods."""
    options = run.options.classes
    if options.classes != "zero-shot":
        return []
    files = [Path(name) for name in (options.class_names, options.templates)]
    return [sha256_of(file) for file in files if file.is_file()]


def zero_shot_of_run(
    run: Run, embeddings: Embeddings, labels: np.ndarray | None = None
) -> LatentClasses:
    """Zero-shot classes of the embedded images.

    Args:
        run: whose options name the classes, the templates and perhaps the model.
        embeddings: made with the image tower of that model.
        labels: int [m], −1 unknown; they are only held against the result.

    Returns:
        The classes; `facts` names the model and the templates besides.

    Raises:
        UsageError: embeddings of another encoder, names or templates that cannot be found.
        DataError: weights that are not those that embedded the images, empty or broken files.
    """
    from contrasift.classes import class_agreement
    from contrasift.classes.zero_shot import zero_shot_classes
    from contrasift.training.clip import load_clip, read_class_names, read_templates

    options = run.options.classes
    names, templates = read_class_names(options.class_names), read_templates(options.templates)
    source = options.clip or str(embeddings.description["encoder"]["pretrained"])
    if not source.startswith(OPEN_CLIP):
        raise UsageError(
            "images embedded with an open-clip model, for zero-shot classes",
            f"embeddings of {embeddings.description['encoder']['architecture']}",
            "Embed with classes_encoder='open-clip:ViT-B-32/laion2b_s34b_b79k', or another",
        )
    clip = load_clip(source)
    _check_tower(clip, embeddings)
    texts = clip.embed_classes(names, templates, _device(run))
    found = zero_shot_classes(embeddings.values, texts, names, logit_scale=clip.logit_scale)
    facts = {**found.facts, "clip": source, "templates": templates}
    if labels is not None:
        facts["agreement"] = class_agreement(found.codes, labels)
    return dataclasses.replace(found, facts=facts)


def _device(run: Run) -> str:
    from contrasift.training.pretrain import choose_device

    return str(choose_device(run.device))


def _check_tower(clip: Clip, embeddings: Embeddings) -> None:
    """Texts of one model say nothing of images of another, even where the widths agree."""
    from contrasift.training.encoders import weights_sha256

    if weights_sha256(clip.image_encoder) != embeddings.description["weights_sha256"]:
        raise DataError(
            "the model that embedded the images",
            f"{clip.source}, whose image tower has other weights",
            "Name that model with clip=, or embed again with this one",
        )
