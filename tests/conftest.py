"""Every test: an own temporary folder as the current one, and the same random state."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets what it starts in the background ignore Ctrl-C, and that would be handed on to all
# that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """File by file, and all tests of the engines in one worker: one Ray cluster, not one a worker."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engines" if "/engines/" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _own_folder_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  what a library may draw from behind our back


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
