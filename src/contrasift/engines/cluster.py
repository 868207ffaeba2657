"""A Ray cluster for a while: one on this machine, or one that runs already and is reached in time."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Any

from contrasift.errors import ContrasiftError, UsageError, first_line, with_extra

# Ray itself waits for minutes for an address that does not answer.
_ANSWER_SECONDS = 8.0
_PROBE_SECONDS = 3.0
_VERSIONS_SECONDS = 300.0  # a node that answers, but whose processors others keep busy
# Asks in a process of its own, which can be ended, and says when it begins: on a busy machine the
# import of Ray alone may take longer than a head node needs to answer.
_ASK = """
import sys
from ray.scripts.scripts import cli
print(flush=True)
cli(["health-check", "--address", sys.argv[1]])
"""
# What tasks hand to each other is small: rows are read from files.
_LOCAL_STORE_BYTES = 512 << 20
# What must agree between the machines for the same bits to come out.
_PACKAGES = ("contrasift", "numpy", "numba")


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers, and whose workers have the right versions.

    Attributes:
        cpus: processors of all nodes.
        gpus: the same of GPUs.
        memory: bytes that the roomiest node gives to tasks.
        seconds: from the call to the first answer of a worker on every node.
        address: as given; None for a cluster on this machine that ends with the work.
    """

    cpus: int
    gpus: int
    memory: int
    seconds: float
    address: str | None


@contextlib.contextmanager
def connect(
    address: str | None = None, say: Callable[[str], None] | None = None, cpus: int | None = None
) -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine, and leave it (or stop it) in the end.

    Errors of tasks leave the block as they were raised in the task, when they are ours.

    Args:
        address: `host:port` of a head node, or `auto` for the cluster that this machine is part
            of; None: a cluster of this machine's processors.
        say: told how long it took.
        cpus: processors of a cluster on this machine; default: all.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: an address of another form.
        ContrasiftError: nobody answers within 15 s, or workers have other versions.
    """
    begun = time.perf_counter()
    ray = check_reachable(address)
    try:
        with warnings.catch_warnings():
            # Ray tells of its own changes to come, and its processes outlive open sockets.
            warnings.simplefilter("ignore")
            _init(ray, address, cpus)
            _check_nodes(ray)
        cluster = _describe(ray, address, time.perf_counter() - begun)
        if say is not None:
            where = "on this machine" if address is None else f"at {address}"
            say(
                f"Ray {where}: {cluster.cpus} processors"
                + (f", {cluster.gpus} GPUs" if cluster.gpus else "")
                + f"; ready after {cluster.seconds:.1f} s"
            )
        with plain_errors():
            yield cluster
    finally:
        if ray.is_initialized():
            ray.shutdown()


def check_reachable(address: str | None) -> Any:
    """Make sure within 15 s that Ray is installed and that a cluster answers; Ray itself.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: an address that is neither `host:port` nor `auto`.
        ContrasiftError: nobody answers there.
    """
    ray = _import_ray()
    if address is not None and address != "auto":
        check_address(address)
    return ray


def check_address(address: str) -> None:
    """Make sure within 15 s that a cluster answers at an address.

    Raises:
        UsageError: not `host:port`.
        ContrasiftError: no connection, or whoever is there is no Ray head node.
    """
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(
            "the address of a head node as host:port, or `auto`",
            address,
            "Ray's port is 6379 unless `ray start --port` says otherwise; run the command on a "
            "machine of the cluster's network",
        )
    begun = time.monotonic()
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from error
    left = _ANSWER_SECONDS - (time.monotonic() - begun)
    with subprocess.Popen(  # noqa: S603  this very interpreter, an address that was checked
        [sys.executable, "-c", _ASK, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        try:
            status = asking.wait(timeout=left)
        except subprocess.TimeoutExpired as error:
            asking.kill()
            raise _no_answer(
                address, f"somebody listens, but says nothing for {left:.0f} s"
            ) from error
    if status != 0:
        raise _no_answer(address, "somebody listens, but is no Ray head node that is well")


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raise what a task raised, if it is ours, and put Ray's own failures into words."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        own = _own_error(error)
        if own is not None:
            raise own from None
        first = getattr(error, "cause", None) or error
        raise ContrasiftError(
            "tasks that end",
            f"{type(first).__name__}: {first_line(first)}",
            "Repeat the same command: it goes on from the last finished shard. A worker that "
            "dies again and again may lack memory: see Ray's logs",
        ) from error


def _own_error(error: BaseException | None) -> ContrasiftError | None:
    """The error of ours behind one of Ray's, if there is one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ContrasiftError) and type(error).__module__ == "contrasift.errors":
            return error
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    return with_extra("ray", "ray")


def _init(ray: Any, address: str | None, cpus: int | None) -> None:
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": True,
    }
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_LOCAL_STORE_BYTES,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises nothing finer when a node does not start in time
        text = " ".join(str(error).split())
        if "ersion mismatch" in text:
            raise ContrasiftError(
                "the same Ray and Python here as on the cluster",
                text,
                "Install the cluster's versions here, or ours there",
            ) from error
        where = "a Ray cluster on this machine" if address is None else f"a cluster at {address}"
        raise ContrasiftError(
            where,
            text or type(error).__name__,
            "Repeat the command; a busy machine may be too slow",
        ) from error


def _no_answer(address: str, why: str) -> ContrasiftError:
    return ContrasiftError(
        f"a Ray cluster that answers at {address}",
        why,
        "Start one with `ray start --head`, check the address and the firewall, or leave "
        "address= away for a cluster on this machine",
    )


def versions_here(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """The versions on which the bits of a result depend; `none` for what is not installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def check_versions(expected: Mapping[str, str]) -> None:
    """Make sure, in a task, that this worker has the driver's versions.

    Raises:
        ContrasiftError: it has others, as a node may that joined the cluster later.
    """
    _compare(expected, versions_here(list(expected)), socket.gethostname())


def _compare(expected: Mapping[str, str], there: Mapping[str, str], host: str) -> None:
    for name, wanted in expected.items():
        if there[name] != wanted:
            raise ContrasiftError(
                f"{name} {wanted} on the node {host}, as where the command runs",
                there[name],
                f"Install the same versions on all machines: pip install {_pinned(expected)}",
            )


def _pinned(versions: Mapping[str, str]) -> str:
    """What pip installs to have these versions."""
    names = {"contrasift": "'contrasift[ray]=={}'"}
    return " ".join(names.get(name, name + "=={}").format(v) for name, v in versions.items())


def _check_nodes(ray: Any) -> None:
    """Ask every node for its versions.

    Raises:
        ContrasiftError: one has others, or lacks contrasift.
    """
    # Sent by value, as nothing with a name is: a node without contrasift must be able to say so.
    versions_there = lambda names: {  # noqa: E731
        name: next((found.version for found in distributions(name=name)), "none") for name in names
    }
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    ask = ray.remote(versions_there)
    asked = {
        node["NodeManagerAddress"]: ask.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(_PACKAGES)
        for node in nodes
    }
    if not asked:
        raise ContrasiftError("a cluster with processors", "no node that has any")
    here = versions_here()
    for host, answer in asked.items():
        try:
            there = ray.get(answer, timeout=_VERSIONS_SECONDS)
        except ray.exceptions.TaskUnschedulableError:
            continue  # the node left in this moment
        except ray.exceptions.RayError as error:
            raise ContrasiftError(
                f"an answer from the node {host}",
                first_line(error),
                "Repeat the command when `ray status` shows the node",
            ) from error
        _compare(here, there, host)


def _describe(ray: Any, address: str | None, seconds: float) -> Cluster:
    total = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(
        cpus=int(total.get("CPU", 0)),
        gpus=int(total.get("GPU", 0)),
        memory=int(max(node.get("memory", 0) for node in nodes)),
        seconds=seconds,
        address=address,
    )
