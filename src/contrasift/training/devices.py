"""Where a training runs: one device, or several that share each batch (Lightning's DDP)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from contrasift.errors import ContrasiftError, UsageError
from contrasift.narration import Progress
from contrasift.options import TrainOptions

_START = "spawn"  # CUDA does not live through a fork


def choose_device(device: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else MPS, else the CPU.

    Raises:
        UsageError: a device that this machine or torch does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    if not available.get(device.split(":")[0], False):
        known = ", ".join(["auto", *(name for name, there in available.items() if there)])
        raise UsageError(f"a device of this machine: {known}", device)
    return torch.device(device)


def where_to_train(device: torch.device, options: TrainOptions) -> dict[str, Any]:
    """Lightning's settings for a device, or for several of its kind.

    Batch norm takes its statistics over all devices, as SimCLR (arXiv 2002.05709, §2.2), SimSiam
    (2011.10566) and the others do where they use several; except for MoCo, whose keys must not
    share statistics with their queries.

    Raises:
        UsageError: more devices than there are, or several beside a numbered one.
    """
    accelerator = "gpu" if device.type == "cuda" else device.type
    settings = {"accelerator": accelerator, "precision": options.precision}
    if options.devices == 1:
        devices: Any = [device.index or 0] if device.type == "cuda" else 1
        return {**settings, "devices": devices}
    there = torch.cuda.device_count() if device.type == "cuda" else 1
    if (
        device.type == "mps"
        or device.index is not None
        or (device.type == "cuda" and (options.devices > there))
    ):
        raise UsageError(
            f"devices= of at most {there} for device='{device}'",
            str(options.devices),
            "Several devices are of one kind: device='cuda', or device='cpu' for processes",
        )
    from pytorch_lightning.strategies import DDPStrategy

    from contrasift.training.joining import JoinedBatchNorm

    return {
        **settings,
        "devices": options.devices,
        # The queue is the same everywhere: to send it round before every step would take long.
        "strategy": DDPStrategy(start_method=_START, broadcast_buffers=False),
        "plugins": [] if options.method == "moco" else [JoinedBatchNorm(device.type)],
    }


class _Sender:
    """A progress callback that another process may call."""

    def __init__(self, pipe: Any):
        self._pipe = pipe

    def __call__(self, done: int, total: int) -> None:
        self._pipe.send((done, total))
        if self._pipe.poll():
            raise InterruptedError("the progress callback raised an error")


@contextmanager
def reports(report: Progress, devices: int) -> Iterator[Progress]:
    """The callback, or one that reaches it from the processes of several devices.

    An error that the callback raises ends their work within a few steps, and is raised here.
    """
    if devices == 1:
        yield report
        return
    ours, theirs = torch.multiprocessing.get_context("spawn").Pipe()
    errors: list[BaseException] = []

    def receive() -> None:
        for step in iter(ours.recv, None):
            if errors:
                continue
            try:
                report(*step)
            except BaseException as error:  # whatever it is, the caller gets it
                errors.append(error)
                ours.send("stop")

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    try:
        yield _Sender(theirs)
    finally:
        theirs.send(None)
        receiver.join()
        if errors:
            raise errors[0] from None


@contextmanager
def errors_of_processes() -> Iterator[None]:
    """What went wrong in another process, without its call stack."""
    from torch.multiprocessing.spawn import ProcessException

    try:
        yield
    except ProcessException as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ContrasiftError("every process to finish", lines[-1]) from error
