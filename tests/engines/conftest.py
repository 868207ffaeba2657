"""One small Ray cluster for all tests of the engines, which are skipped where Ray is missing."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# Ray leaves sockets and processes to the system, and warns of its own plans.
FILTERS = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::FutureWarning:ray",
    "ignore::DeprecationWarning:ray",
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
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "object_store_memory": 100 << 20},
        )
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="session")
def cluster(nodes):
    """The connection of this process to it."""
    from contrasift.engines.cluster import connect

    with connect(nodes.address) as connected:
        yield connected
