"""Reaching a cluster: every way in which it does not answer is told in time and in words."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from contrasift.engines import cluster as clusters
from contrasift.errors import ContrasiftError, MissingExtraError, UsageError


@pytest.fixture
def silent_port():
    """Somebody who listens and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server.getsockname()[1]


@pytest.mark.parametrize("address", ["", "host", "host:", ":6379", "host:0", "host:x", "ray://h:1"])
def test_an_address_is_host_and_port(address):
    with pytest.raises(UsageError, match="host:port"):
        clusters.check_reachable(address)


def test_nobody_answers(silent_port):
    import ray  # noqa: F401  its import is not what is timed

    begun = time.monotonic()
    with pytest.raises(ContrasiftError, match="answers at 127.0.0.1:1"):
        clusters.check_reachable("127.0.0.1:1")
    assert time.monotonic() - begun < 15


def test_somebody_listens_and_says_nothing(silent_port, monkeypatch):
    monkeypatch.setattr(clusters, "_ANSWER_SECONDS", 1.0)
    with pytest.raises(ContrasiftError, match="somebody listens, but says nothing"):
        clusters.check_reachable(f"127.0.0.1:{silent_port}")


def test_the_deadline_is_within_what_is_promised():
    assert clusters._ANSWER_SECONDS + clusters._PROBE_SECONDS < 15


def test_a_cluster_that_answers(nodes):
    clusters.check_reachable(nodes.address)


def test_no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'contrasift\[ray\]'"):
        clusters.check_reachable(None)


def test_workers_of_another_version(cluster, monkeypatch):
    import ray

    here = clusters.versions_here()
    monkeypatch.setattr(clusters, "versions_here", lambda *_: here | {"contrasift": "99.0"})
    with pytest.raises(ContrasiftError, match=r"contrasift 99\.0 on the node .*==99\.0"):
        clusters._check_nodes(ray)
    with pytest.raises(ContrasiftError, match="contrasift 98"):
        clusters.check_versions({"contrasift": "98"})


def test_another_ray_or_python(monkeypatch):
    class Other:
        def init(self, **_):
            raise RuntimeError("Version mismatch: The cluster was started with:\n  Ray: 1.0")

    with pytest.raises(ContrasiftError, match=r"the same Ray and Python.*Ray: 1\.0"):
        clusters._init(Other(), "host:6379", None)


def test_a_cluster_that_does_not_start():
    class Slow:
        def init(self, **_):
            raise Exception("The current node timed out\n during startup.")

    with pytest.raises(
        ContrasiftError, match="this machine; got The current node timed out during"
    ):
        clusters._init(Slow(), None, 1)


def test_a_package_that_is_not_installed_is_no_error():
    assert clusters.versions_here(["numpy", "no-such-package"])["no-such-package"] == "none"
