"""Processes of their own that begin at once: forked from one that has loaded torch and its like.

Started as Python, each would import them for seconds. The tests of files that use this run in one
worker (`conftest.GROUPS`), so that there is one such process to fork from.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

# Nothing of these starts threads, which do not live through a fork.
_SLOW = [
    "contrasift.training.pretrain", "contrasift.pipeline.full", "faiss", "lightly.loss",
    "networkit", "pytorch_lightning", "sklearn.manifold", "timm", "torch.utils.tensorboard",
]  # fmt: skip
_SECONDS = 120


def started(target: Callable[..., Any], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A process that does `target(pipe, *arguments)`, and the end of the pipe that hears it.

    The pipe ends when the process does.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW)
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(writer, *arguments))
    process.start()
    writer.close()
    return process, reader


def killed_after(said: object, target: Callable[..., Any], *arguments: Any) -> None:
    """Start a process and kill it as soon as it says something."""
    process, reader = started(target, *arguments)
    try:
        while reader.poll(_SECONDS):
            if reader.recv() == said:
                break
        else:
            raise AssertionError(f"{said} within {_SECONDS} s")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode == -signal.SIGKILL
