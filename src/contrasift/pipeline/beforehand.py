"""What a whole run will need, looked at before its first expensive stage."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.pipeline.arms import comparison_arms
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import SAME_ENCODER, class_encoders
from contrasift.pipeline.stages.proxy import proxy_options
from contrasift.store.remote import local_file

# Logs, tables, the report.
_SPARE_BYTES = 4_000_000


def check_run(run: Run) -> None:
    """Stop before any work at what would stop a run hours later.

    Looked at are the names of policies, encoders, devices and files, the packages that later stages
    import, the labels that classes are taken from, and the room for embeddings and encoders. That
    the folder can be written is known since it was locked.

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


def _check_names(run: Run) -> None:
    """Encoders, policies, the device; what they are made with is imported, so that it must be there."""
    from contrasift.negatives.policies import parse_schedule
    from contrasift.training.devices import choose_device
    from contrasift.training.encoders import check_architecture

    options = run.options
    parse_schedule(options.train.negatives, options.train.negatives_schedule)
    importlib.import_module("contrasift.training.pretrain")
    choose_device(run.device)
    check_architecture(options.train.architecture)
    names = [options.embed.encoder]
    if options.embed.classes_encoder not in ("", SAME_ENCODER):
        names += class_encoders(options.embed)
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
    """A bound from below: of encoders from elsewhere the width is not known before they are loaded."""
    from contrasift.training.pretrain import untrained_encoder

    options, pool, folder = run.options, run.found_pool, run.folder.path
    encoder = untrained_encoder(options.train, pool.channels, pool.image_size, 0)
    trained = [arm.name for arm in comparison_arms(run)]
    needed = 0
    if options.embed.encoder == "proxy":
        proxy = untrained_encoder(proxy_options(options), pool.channels, pool.image_size, 0)
        width = int(proxy.description["feature_dim"])
        if options.embed.layer == "head":
            width = int(proxy.description["projection_dim"])
        needed += 0 if (folder / "embeddings.npy").exists() else 4 * len(pool) * width
        needed += _missing_encoders(folder, ["proxy"], _bytes_of(proxy))
    return needed + _missing_encoders(folder, trained, _bytes_of(encoder))


def _missing_encoders(folder: Path, names: list[str], size: int) -> int:
    """Bytes of encoders that are not there, and of one checkpoint with Adam's two moments."""
    files = [folder / "training" / name / "encoder.safetensors" for name in names]
    missing = sum(not file.exists() for file in files)
    return size * (missing + 3) if missing else 0


def _bytes_of(encoder: object) -> int:
    from torch import nn

    assert isinstance(encoder, nn.Module)
    return sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
