"""Remedies of clusters, followed, with a stand-in for Ray: what a task is given, it does here."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import contrasift as cs
from contrasift.engines import cluster as clusters
from contrasift.engines import solving
from contrasift.engines.cluster import Cluster, check_versions, connect, versions_here
from contrasift.engines.embedding import EmbeddingJob, ShardEmbedder, merge_embedded
from contrasift.engines.opening import opened, share_pool
from contrasift.engines.solving import RayEngine
from contrasift.store.shards import ShardFolder
from remedies.cases import picture, pictures, rows, saved, written
from remedies.networks import own_file


class Reference:
    """What a task has returned."""

    def __init__(self, value: Any):
        self.value = value


class Ray(ModuleType):
    """The part of Ray's interface that the library calls, on one machine and at once."""

    def __init__(self, versions: dict[str, str] | None = None):
        super().__init__("ray")
        self.version, self.of_the_cluster = "2.40", "2.40"
        self.versions = versions or versions_here()
        self.busy = self.dying = self.silent = False
        self.exceptions = ModuleType("ray.exceptions")
        for name in ("RayError", "TaskUnschedulableError"):
            setattr(self.exceptions, name, type(name, (Exception,), {}))
        self.util = ModuleType("ray.util")
        self.util.scheduling_strategies = ModuleType("ray.util.scheduling_strategies")
        self.util.scheduling_strategies.NodeAffinitySchedulingStrategy = lambda *_, **__: None

    def init(self, **_: Any) -> None:
        if self.busy:
            raise RuntimeError("The current node timed out during startup")
        if self.version != self.of_the_cluster:
            raise RuntimeError(f"Version mismatch: Ray: {self.of_the_cluster}")

    def is_initialized(self) -> bool:
        return False

    def nodes(self) -> list[dict[str, Any]]:
        resources = {"CPU": 2.0, "memory": 1e9}
        return [
            {"Alive": True, "Resources": resources, "NodeID": "n", "NodeManagerAddress": "node"}
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "memory": 1e9}

    def remote(self, function: Callable[..., Any]) -> Any:
        def call(*arguments: Any) -> Any:
            if function.__name__ == "<lambda>":  # what every node is asked: its versions
                return Reference(dict(self.versions))
            return Reference(function(*map(resolved, arguments)))

        task = SimpleNamespace(remote=call)
        task.options = lambda **given: split(task) if given.get("num_returns") == 2 else task
        return task

    def get(self, what: Any, timeout: float | None = None) -> Any:
        if self.silent or (self.dying and what is None):
            raise self.exceptions.RayError("The node is dead.")
        if isinstance(what, list):
            return [self.get(one) for one in what]
        return what.value

    def put(self, value: Any) -> Any:
        return Reference(value)

    def wait(self, waiting: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return waiting[:num_returns], waiting[num_returns:]


def resolved(argument: Any) -> Any:
    return argument.value if isinstance(argument, Reference) else argument


def split(task: Any) -> Any:
    def call(*arguments: Any) -> Any:
        return [Reference(one) for one in task.remote(*arguments).value]

    return SimpleNamespace(remote=call)


@contextmanager
def instead(ray: Ray | None) -> Iterator[Ray | None]:
    parts = ("exceptions", "util", "util.scheduling_strategies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", ray)
        for part in parts if ray is not None else ():
            found: Any = ray
            for name in part.split("."):
                found = getattr(found, name)
            patch.setitem(sys.modules, f"ray.{part}", found)
        yield ray


def joined(ray: Ray | None, address: str | None = None) -> Cluster:
    with instead(ray), connect(address) as cluster:
        if ray is not None and ray.dying:
            ray.get(None)
        return cluster


def ray_with(**facts: Any) -> Ray:
    ray = Ray()
    for name, value in facts.items():
        setattr(ray, name, value)
    return ray


@contextmanager
def head_node() -> Iterator[str]:
    """Somebody who listens, and who answers when Ray's own command asks."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "_ASK", "print()")
        yield f"127.0.0.1:{server.getsockname()[1]}"


def at_a_head_node() -> Cluster:
    with head_node() as address:
        return joined(Ray(), address)


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def installed(there: dict[str, str], command: str) -> dict[str, str]:
    """What a machine has after `pip install`."""
    pinned = re.findall(r"([\w-]+)(?:\[\w+\])?==([\w.+]+)", command)
    return there | dict(pinned)


def node_with(versions: dict[str, str]) -> None:
    """What a worker on a node with these versions does first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "versions_here", lambda *_: versions)
        check_versions(HERE)


HERE = {"contrasift": "1.0", "numpy": "2.0", "numba": "0.60"}
OTHER = {"contrasift": "0.9", "numpy": "1.26", "numba": "0.60"}
COMMAND = "pip install 'contrasift[ray]==1.0' numpy==2.0 numba==0.60"
CLUSTERS = {
    "Ray's port": (
        lambda: joined(Ray(), "somewhere"),
        "Ray's port is 6379",
        at_a_head_node,
    ),
    "a head node": (
        lambda: joined(Ray(), nobody()),
        "leave address= away for a cluster on this machine",
        lambda: (at_a_head_node(), joined(Ray())),
    ),
    "the cluster's versions": (
        lambda: joined(ray_with(version="2.50")),
        "Install the cluster's versions here",
        lambda: (joined(ray_with(version="2.40")), joined(ray_with(of_the_cluster="2.40"))),
    ),
    "a busy machine": (
        lambda: joined(ray_with(busy=True)),
        "Repeat the command",
        lambda: joined(Ray()),
    ),
    "versions of the nodes": (
        lambda: node_with(OTHER),
        COMMAND,
        lambda: node_with(installed(OTHER, COMMAND)),
    ),
    "a node that does not answer": (
        lambda: joined(ray_with(silent=True)),
        "`ray status` shows the node",
        lambda: joined(Ray()),
    ),
    "a task that dies": (
        lambda: joined(ray_with(dying=True)),
        "Repeat the same command",
        lambda: joined(Ray()),
    ),
    "the package": (
        lambda: joined(None),
        "contrasift[ray]",
        lambda: joined(Ray()),
    ),
}


def on_a_node() -> Any:
    """A pool of three images, as workers are told of it."""
    return share_pool(cs.open_pool("p", labels="none"), {"source": "p", "labels": "none"})


def opened_without_a_file() -> Any:
    pictures("p", 3)
    shared = on_a_node()
    Path("p/1.png").unlink()
    return opened(shared)


def embedded(lost: bool = False) -> None:
    """A worker embeds three images, of which one may be lost after the pool is opened."""
    pictures("p", 3)
    job = EmbeddingJob(on_a_node(), own_file(), {"views": 1, "device": "cpu"}, shards())
    worker = ShardEmbedder(job)
    worker._open()
    if lost:
        Path("p/1.png").unlink()
    worker.embed_shard(0, np.arange(3))


def shards() -> ShardFolder:
    return ShardFolder(Path("shards").absolute(), "f")


def merged(width: int) -> Any:
    """Two shards of rows, of which the second has a width of its own."""
    folder = shards()
    for shard, wide in enumerate((3, width)):
        saved(rows(4, wide).astype(np.float32), f"shards/{shard:05d}-values.npy")
        folder.finish(shard, ("values.npy",))
    return merge_embedded(folder, [4, 4], Path("whole.npy"))


def on_a_cluster(classes: Any = None, **given: Any) -> Any:
    """A selection where a node has room for 40 rows in a task."""
    engine = RayEngine(
        Cluster(2, 0, 10_000, 0.0, None), Path("o"), task_rows=1, spread_rows=8, part_rows=8
    )
    with instead(Ray()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(solving, "_WORKER_BYTES", 0)
        patch.setattr(solving, "_rounded", int)
        return cs.select(rows(64), classes, fraction=0.3, engine=engine, **given)


WORK = {
    "the files of a pool": (
        opened_without_a_file,
        "look for shards that are missing",
        lambda: (written(picture(), "p/1.png"), opened(on_a_node())),
    ),
    "files while they are embedded": (
        lambda: embedded(lost=True),
        "Check that the node sees all files of the pool",
        embedded,
    ),
    "shards of one width": (
        lambda: merged(2),
        "shards and repeat the same command",
        lambda: (shutil.rmtree("shards"), merged(3)),
    ),
    "classes that fit a node": (
        on_a_cluster,
        "optimizer='relaxed', which needs no class to fit, or more classes",
        lambda: (
            on_a_cluster(optimizer="relaxed", redundancy=0.5),
            on_a_cluster(np.arange(64) % 4),
        ),
    ),
}
CASES = {"clusters": CLUSTERS, "work": WORK}
