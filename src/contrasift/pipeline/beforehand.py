"""What a whole run will need, looked at before its first expensive stage."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np

from contrasift.arrays import class_codes
from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.options import EmbedOptions
from contrasift.pipeline.arms import comparison_arms
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import SAME_ENCODER, class_encoders
from contrasift.pipeline.stages.proxy import proxy_options
from contrasift.store.inputs import load_classes_file, load_few_labels_file, read_target
from contrasift.store.remote import local_file
from contrasift.store.scores import read_scores

# Logs, tables, the report.
_SPARE_BYTES = 4_000_000


def check_run(run: Run) -> None:
    """Stop before any work at what would stop a run hours later.

    Looked at are the names of policies, encoders, devices and files, the packages that later stages
    import, the labels that classes are taken from, and the room for embeddings and encoders. That
    the folder can be written is known since it was locked. Files are read by `check_read_run`.

    A pool that cannot be evaluated on is no mistake: a selection and its encoders are worth having
    without labels, and a pool of one class has no more to tell apart than one of none. Such a run
    trains without evaluation, as an unlabelled one does, and says why as soon as the scan knows which
    labelled images can be read (`why_not_evaluated`).

    Args:
        run: whose pool was found, but not necessarily read.

    Raises:
        UsageError: a name that is none, or labels that are needed and not there.
        DataError: a file that is missing.
        MissingExtraError: a package that a later stage needs.
        ContrasiftError: not enough room.
    """
    _check_names(run)
    _check_files(run)
    _check_labels(run)
    _check_room(run)


def check_read_run(run: Run, index: np.ndarray) -> None:
    """Read what classes and scores are taken from, as soon as the scan knows which images there are.

    Args:
        run: whose pool was scanned.
        index: int64 [n]; of the images that can be read.

    Raises:
        DataError: a file that cannot be used, or that is about other examples.
    """
    classes, select = run.options.classes, run.options.select
    if classes.classes_file:
        class_codes(load_classes_file(classes.classes_file, index), index.size)
    if classes.few_labels:
        load_few_labels_file(classes.few_labels, index)
    if select.scores:
        read_scores(select.scores, index, select.scores_column)
    if select.target:
        read_target(select.target, index)


def _check_names(run: Run) -> None:
    """Encoders, policies, the device; what they are made with is imported, so that it must be there."""
    from contrasift.negatives.parsing import parse_schedule
    from contrasift.training.devices import choose_device
    from contrasift.training.encoders import check_architecture

    options = run.options
    parse_schedule(options.train.negatives, options.train.negatives_schedule)
    importlib.import_module("contrasift.training.pretrain")
    choose_device(run.device)
    check_architecture(options.train.architecture)
    names = _encoders(options.embed)
    if options.classes.clip:
        names.append(options.classes.clip)
    if "proxy" in names:
        check_architecture(proxy_options(options).architecture)
    for name in names:
        if name not in ("proxy", SAME_ENCODER):
            _check_encoder(name)


def _check_encoder(name: str) -> None:
    from contrasift.training.encoders import check_architecture
    from contrasift.training.sources import parse_source

    where = parse_source(name)
    if where.kind == "timm":
        check_architecture(where.name)
    elif where.kind == "torchvision":
        from contrasift.training.foreign import check_torchvision

        check_torchvision(where.name)
    elif where.kind == "open-clip":
        importlib.import_module("open_clip")


def _check_files(run: Run) -> None:
    """Files that classes and selections are made with."""
    classes, select = run.options.classes, run.options.select
    for argument, name in (
        ("few_labels", classes.few_labels),
        ("labels", classes.classes_file),
        ("scores", select.scores),
        ("target", select.target),
    ):
        if name and not local_file(name).is_file():
            raise DataError(f"a file for {argument}=", f"{name}, which does not exist")
    if classes.classes == "zero-shot":
        from contrasift.training.clip import read_class_names, read_templates

        read_class_names(classes.class_names)
        read_templates(classes.templates)


def _check_labels(run: Run) -> None:
    options, labels = run.options.classes, run.found_pool.labels
    none = labels is None or not (labels >= 0).any()
    if none and options.classes == "labels" and not options.classes_file:
        raise UsageError(
            "a pool with labels for classes='labels'",
            f"{run.found_pool.name} without them",
            "Take the classes from a file, or use classes='auto'",
        )
    if none and options.label_share is not None:
        raise UsageError(
            "a pool with labels for label_share=", f"{run.found_pool.name} without them"
        )


def _check_room(run: Run) -> None:
    """Room for what is not there yet: matrices, encoders, and the largest checkpoint."""
    needed = _bytes_needed(run) + _SPARE_BYTES
    free = shutil.disk_usage(run.folder.path).free
    if needed > free:
        raise ContrasiftError(
            f"room for {needed / 1e6:,.0f} MB of embeddings and encoders in {run.folder.path}",
            f"{free / 1e6:,.0f} MB free",
            "Make room, choose another out=, or fewer seeds=",
        )


def _bytes_needed(run: Run) -> int:
    """A bound from below: some encoders do not say how wide they are before they are loaded.

    The map for the report has two thousand rows, and the rest of the report less.
    """
    from contrasift.training.pretrain import untrained_encoder

    options, pool, folder = run.options, run.found_pool, run.folder.path
    encoder = untrained_encoder(options.train, pool.channels, pool.image_size, 0)
    needed = _missing_encoders(folder, [arm.name for arm in comparison_arms(run)], encoder)
    if "proxy" in _encoders(options.embed):
        proxy = untrained_encoder(proxy_options(options), pool.channels, pool.image_size, 0)
        needed += _missing_encoders(folder, ["proxy"], proxy)
    if not (folder / "embeddings.npy").exists():
        needed += 4 * len(pool) * _width(run, options.embed.encoder, options.embed.layer)
    if not (folder / "class_embeddings.npy").exists():
        names = _encoders(options.embed)[1:]
        widths = [_width(run, name, options.embed.classes_layer) for name in names]
        # Matrices of several encoders are there twice while they are brought side by side.
        needed += 4 * len(pool) * sum(widths) * min(len(widths), 2)
    return needed


def _encoders(options: EmbedOptions) -> list[str]:
    """The encoder of the similarities, then those in whose features classes are found, if others."""
    same = options.classes_encoder in ("", SAME_ENCODER)
    return [options.encoder, *([] if same else class_encoders(options))]


def _width(run: Run, name: str, layer: str) -> int:
    """Numbers a row; 0 where only the weights would tell."""
    from contrasift.training.foreign import width_of
    from contrasift.training.pretrain import untrained_encoder
    from contrasift.training.sources import parse_source

    if name != "proxy":
        source = parse_source(name)
        return 0 if source.kind == "own" else width_of(source)
    options, pool = proxy_options(run.options), run.found_pool
    about = untrained_encoder(options, pool.channels, pool.image_size, 0).description
    return int(about["projection_dim" if layer == "head" else "feature_dim"])


def _missing_encoders(folder: Path, names: list[str], encoder: object) -> int:
    """Bytes of encoders that are not there, and of one checkpoint with Adam's two moments."""
    size = _bytes_of(encoder)
    files = [folder / "training" / name / "encoder.safetensors" for name in names]
    missing = sum(not file.exists() for file in files)
    return size * (missing + 3) if missing else 0


def _bytes_of(encoder: object) -> int:
    from torch import nn

    assert isinstance(encoder, nn.Module)
    return sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
