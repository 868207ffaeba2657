"""open-clip models: the image tower as an encoder, the text tower for the names of classes."""

from __future__ import annotations

import difflib
import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from contrasift.errors import DataError, UsageError
from contrasift.reading import read_filled_lines
from contrasift.training.encoders import Encoder, count_features
from contrasift.training.foreign import refused_pickle
from contrasift.training.hub import without_waiting
from contrasift.training.sources import HUB, Source, parse_source

_TEXTS_AT_A_TIME = 256


@dataclass(frozen=True)
class Clip:
    """A model that embeds images and texts in one space.

    Attributes:
        image_encoder: the image tower, projection into the joint space included.
        model: the whole model of open-clip, on the CPU, in evaluation mode.
        tokenizer: texts to token numbers, int64 [b, context].
        logit_scale: what cosines are multiplied by before the softmax, 1/temperature.
        source: as the user named it.
    """

    image_encoder: Encoder
    model: Any
    tokenizer: Any
    logit_scale: float
    source: str

    def embed_texts(self, texts: Sequence[str], device: str = "cpu") -> Float32[np.ndarray, "k d"]:
        """Unit vectors of texts, in batches.

        Args:
            texts: any; what exceeds the model's context is cut by its tokenizer.
            device: where the text tower runs.

        Returns:
            One row a text.
        """
        rows = []
        self.model.to(device)
        try:
            with torch.inference_mode():
                for start in range(0, len(texts), _TEXTS_AT_A_TIME):
                    tokens = self.tokenizer(list(texts[start : start + _TEXTS_AT_A_TIME]))
                    found = self.model.encode_text(tokens.to(device), normalize=True)
                    rows.append(found.float().cpu().numpy())
        finally:
            self.model.to("cpu")
        return np.concatenate(rows)

    def embed_classes(
        self, names: Sequence[str], templates: Sequence[str], device: str = "cpu"
    ) -> Float32[np.ndarray, "k d"]:
        """One unit vector a class: w_c ∝ Σ_t u(template_t with name c), u of length one.

        The ensemble of prompts of CLIP (arXiv 2103.00020, §3.1.4).

        Args:
            names: of the classes.
            templates: texts with `{}` where the name goes.
            device: where the text tower runs.

        Returns:
            One row a class.
        """
        prompts = [template.replace("{}", name) for name in names for template in templates]
        each = self.embed_texts(prompts, device).reshape(len(names), len(templates), -1)
        means = each.mean(axis=1, dtype=np.float64)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


class _ImageTower(nn.Module):
    """The image half alone, so that hashing and moving it leave the text half out."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual = visual

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output = self.visual(images)
        return output[0] if isinstance(output, tuple) else output  # some give their tokens too


def load_clip(source: str) -> Clip:
    """A model of open-clip with its tokenizer and its preprocessing.

    Args:
        source: `open-clip:ARCHITECTURE/TAG` (published weights), `open-clip:ARCHITECTURE=FILE`,
            `open-clip:hf-hub:OWNER/MODEL`, or `open-clip:FOLDER` with open_clip_config.json and
            the weights, as open-clip saves models.

    Returns:
        The model on the CPU.

    Raises:
        UsageError: no open-clip model, an unknown architecture or tag, a pickle with more than
            tensors.
        DataError: weights that cannot be had, are broken, or belong to another architecture.
    """
    where = parse_source(source)
    if where.kind != "open-clip":
        raise UsageError("a model that embeds texts too, open-clip:...", source)
    import open_clip

    name, tag = _open_clip_names(where)
    with _quiet(), without_waiting():
        try:
            model = open_clip.create_model(
                name, pretrained=tag, require_pretrained=True, weights_only=True
            )
            tokenizer = open_clip.get_tokenizer(name)
        except pickle.UnpicklingError as error:
            raise refused_pickle(where.path or source, error) from None
        except Exception as error:  # files, configurations, the hub and the network fail variously
            raise DataError(
                f"the open-clip model {source}",
                f"{type(error).__name__}: {' '.join(str(error).split())[:400]}",
                "Check the network, or that the weights belong to the architecture",
            ) from error
    model: Any = model.float().eval().requires_grad_(False)
    return Clip(
        image_encoder=_image_encoder(model, where),
        model=model,
        tokenizer=tokenizer,
        logit_scale=float(model.logit_scale.detach().exp()),
        source=source,
    )


def _open_clip_names(where: Source) -> tuple[str, str | None]:
    """The model and the weights as open-clip calls them.

    Raises:
        UsageError: it knows no such model, or no such weights of it.
    """
    import open_clip

    if not where.name:
        folder = where.path or Path()
        if not (folder / "open_clip_config.json").is_file():
            raise UsageError(
                "a folder with open_clip_config.json, as open-clip saves models", str(folder)
            )
        return f"local-dir:{folder}", None
    if where.name.startswith(HUB):
        return where.name, None
    name, _, tag = where.name.partition("/")
    known = open_clip.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise UsageError(
            "an architecture of open-clip",
            repr(name),
            f"Nearest names: {', '.join(near or known[:3])}",
        )
    if where.path is not None:
        return name, str(where.path)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise UsageError(
            f"weights of {name}: {', '.join(tags) or 'there are none published'}", repr(tag)
        )
    return name, tag


@contextmanager
def _quiet() -> Iterator[None]:
    """open-clip logs by the root logger, which would give the whole process a handler."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Of libraries to one another; ours to the user are errors.
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(handler)


def _image_encoder(model: Any, where: Source) -> Encoder:
    import open_clip

    about = open_clip.get_model_preprocess_cfg(model)
    size = about["size"]
    size = int(size if isinstance(size, int) else size[0])
    architecture = f"open-clip:{where.name or where.path}"
    tower = _ImageTower(model.visual)
    description = {
        "architecture": architecture,
        "channels": 3,
        "image_size": size,
        "mean": list(about.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        "std": list(about.get("std") or open_clip.OPENAI_DATASET_STD),
        "interpolation": about.get("interpolation") or "bicubic",
        "feature_dim": count_features(tower, 3, size, architecture),
        "projection_dim": 0,
        "pretrained": where.text,
    }
    if description["interpolation"] not in ("bilinear", "bicubic"):  # "random": of its training
        description["interpolation"] = "bicubic"
    return Encoder(tower, None, description).eval()


def read_class_names(source: str) -> list[str]:
    """Names of classes: one a line in a file, or `imagenet-1k`.

    Args:
        source: a UTF-8 text file (empty lines do not count), or `imagenet-1k`: the first lemma of
            each synset in the order of the ImageNet labels, with its definition where two
            synsets share a lemma.

    Returns:
        At least two different names.

    Raises:
        UsageError: neither a file nor a built-in list.
        DataError: an unreadable file, fewer than two names, a name twice.
    """
    if source == "imagenet-1k":
        return _imagenet_names()
    names = _read_lines(source, "the names of classes: a file with one a line, or imagenet-1k")
    if len(names) < 2:
        raise DataError("at least two classes", f"{len(names)} in {source}")
    twice = (
        sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) < len(names)
        else []
    )
    if twice:
        raise DataError("names that differ", f"{', '.join(twice[:3])} more than once in {source}")
    return names


def read_templates(source: str) -> list[str]:
    """Prompts with `{}` for the name: one a line in a file, or a built-in list.

    Args:
        source: a UTF-8 text file; `openai` (the 80 prompts that CLIP was evaluated with on
            ImageNet) or `simple` (seven of them); empty: `a photo of a {}.` alone.

    Returns:
        At least one.

    Raises:
        UsageError: neither a file nor a built-in list.
        DataError: an unreadable or empty file, a line without exactly one `{}`.
    """
    if not source:
        return ["a photo of a {}."]
    if source in ("openai", "simple"):
        import open_clip

        lists = {
            "openai": open_clip.OPENAI_IMAGENET_TEMPLATES,
            "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
        }
        return [make("{}") for make in lists[source]]
    templates = _read_lines(source, "templates: a file with one a line, openai or simple")
    for template in templates:
        if template.count("{}") != 1:
            raise DataError(
                "templates with one {} where the name of the class goes", f"{template!r}"
            )
    if not templates:
        raise DataError("at least one template", f"none in {source}")
    return templates


def _read_lines(source: str, expected: str) -> list[str]:
    if not Path(source).is_file():
        raise UsageError(expected, f"{source or 'nothing'}, which is neither")
    return read_filled_lines(source, "names")


def _imagenet_names() -> list[str]:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    count = info.num_classes()
    lemmas = [info.index_to_description(place).split(",")[0] for place in range(count)]
    shared = {name for name in lemmas if lemmas.count(name) > 1}
    return [
        info.index_to_description(place, detailed=True) if name in shared else name
        for place, name in enumerate(lemmas)
    ]
