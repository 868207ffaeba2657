"""One small Ray cluster for all tests of the engines, which are skipped where Ray is missing."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What Ray takes for dead within seconds may only be slow where all processors are busy, and a full
# memory is another's doing: only tests kill workers here. By its default they wait for everything
# else that runs, which beside other tests is always something.
os.environ.update(
    RAY_worker_niceness="0",
    RAY_worker_register_timeout_seconds="600",
    RAY_health_check_timeout_ms="60000",
    RAY_memory_monitor_refresh_ms="0",
)

# Ray leaves sockets and processes to the system, and warns of its own plans.
FILTERS = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::Warning:ray",
)


def pytest_collection_modifyitems(items):
    """Let Ray's own warnings pass, and skip where it is not installed."""
    marks = [pytest.mark.filterwarnings(text) for text in FILTERS]
    if find_spec("ray") is None:
        marks.append(pytest.mark.skip(reason="needs the extra `ray`"))
    for item in items:
        if "tests/engines" in item.path.as_posix():
            for mark in marks:
                item.add_marker(mark)


@pytest.fixture(scope="session")
def nodes():
    """A head node with two processors; tests add further nodes and take them away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = _started()
        yield cluster
        cluster.shutdown()


def _started(attempts=3):
    """A head node; again where a busy machine did not bring one up in Ray's 30 seconds.

    Without the processes that nothing here asks for: the others are up the sooner.
    """
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 2, "object_store_memory": 100 << 20, "no_monitor": True}
    settings |= {"include_log_monitor": False, "include_dashboard": False}
    for attempt in range(attempts):
        try:
            return Cluster(initialize_head=True, head_node_args=settings)
        except Exception as error:  # Ray raises nothing finer
            if "timed out" not in str(error) or attempt == attempts - 1:
                raise
    raise AssertionError("at least one attempt")


@pytest.fixture(scope="session")
def cluster(nodes):
    """The connection of this process to it."""
    from contrasift.engines.cluster import connect

    with connect(nodes.address) as connected:
        yield connected
