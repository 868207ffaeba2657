"""Every test: an own temporary folder as the current one, and the same random state.

And how files are dealt out to several workers.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import re
import signal

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets what it starts in the background ignore Ctrl-C, and that would be handed on to all
# that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What is imported and collected stays until the end: nobody need look through it for garbage.
gc.disable()

_FOLDERS = itertools.count()

# In one worker: one Ray cluster, not one a worker; and one process to fork others from.
GROUPS = {
    "engines": ("tests/engines/",),
    "forking": ("tests/pipeline/test_run.py", "tests/training/test_pretrain.py",
                "tests/test_embedding.py", "tests/negatives/test_queue.py",
                "tests/pipeline/test_faults.py", "tests/cli/test_select_by_default.py",
                "tests/classes/test_inverted.py"),
}  # fmt: skip
# Files of more than ten seconds, or how their names begin: they are first, so that no worker ends long before the others.
LONG = [
    *(file for files in GROUPS.values() for file in files),
    "tests/training/test_several_devices.py",
    "tests/pipeline/test_evaluating.py", "tests/pipeline/test_extending.py",
    "tests/pipeline/test_exporting.py", "tests/pipeline/test_clustering.py",
    "tests/training/test_methods.py", "tests/training/test_choosing.py",
    "tests/training/test_switching.py", "tests/training/test_selected_sampler.py",
    "tests/test_remedies", "tests/test_untouched.py", "tests/pipeline/test_earlier_version.py",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    """The long files first."""
    places = {file: place for place, file in enumerate(LONG)}

    def place(item):
        file = item.nodeid.partition("::")[0]
        return min((at for name, at in places.items() if file.startswith(name)), default=len(LONG))

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop():
    """From here on garbage is collected, of what the tests make alone."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """File by file, or group by group, in the order in which they are collected."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # by their number of tests

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((name for name, own in GROUPS.items() if file.startswith(own)), file)

    return Scheduling(config, log)


@pytest.fixture
def tmp_path(request, tmp_path_factory):
    """As pytest's own, which looks through the folders of all tests before it for a free name."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}-{next(_FOLDERS)}"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _own_folder_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  what a library may draw from behind our back


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
