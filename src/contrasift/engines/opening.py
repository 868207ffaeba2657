"""A pool that every worker opens by itself, and must find as the process that commands found it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from contrasift.engines.cluster import check_versions, versions_here
from contrasift.errors import ContrasiftError, DataError
from contrasift.pools import Pool, open_pool

# What decides the bytes of an image and of its embedding.
_PACKAGES = ("contrasift", "numpy", "pillow", "torch", "timm", "kornia")


@dataclass(frozen=True)
class SharedPool:
    """What a worker needs to open the pool, and to know that it is the same.

    Attributes:
        arguments: of `open_pool`, with `source`.
        digest: as `pool_digest` says of it where the command runs.
        size: how many examples it has there.
        home: folder that relative paths start from.
        versions: that the worker must have.
    """

    arguments: tuple[tuple[str, Any], ...]
    digest: str
    size: int
    home: str = field(default_factory=os.getcwd)
    versions: tuple[tuple[str, str], ...] = field(
        default_factory=lambda: tuple(versions_here(_PACKAGES).items())
    )


def share_pool(pool: Pool, arguments: Mapping[str, Any]) -> SharedPool:
    """What workers are told of an open pool.

    Args:
        pool: as `open_pool` gave it for these arguments.
        arguments: of `open_pool`, with `source`.
    """
    return SharedPool(tuple(arguments.items()), pool_digest(pool), len(pool))


def pool_digest(pool: Pool) -> str:
    """Hash of the names of all examples, in their order, and of the form of their images.

    It changes when a file or a shard is missing, added, or has other members. Modification times do
    not count, as they do in `pool.fingerprint`: nodes may have copies of their own.
    """
    form = repr((len(pool), pool.channels, pool.image_size))
    digest = hashlib.blake2b(form.encode(), digest_size=16)
    digest.update(pool.index.tobytes())
    for id in pool.ids:
        digest.update(id.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


@lru_cache(maxsize=1)
def opened(shared: SharedPool) -> Pool:
    """The pool, in a worker; opened once, however many tasks of it a worker gets.

    Raises:
        ContrasiftError: other versions here, or a pool that cannot be opened here.
        DataError: another pool here, as when a shard is missing.
    """
    check_versions(dict(shared.versions))
    with contextlib.suppress(OSError):  # a folder of that machine alone: the pool may lie elsewhere
        os.chdir(shared.home)
    host = socket.gethostname()
    try:
        pool = open_pool(**dict(shared.arguments))
    except ContrasiftError as error:
        raise ContrasiftError(
            f"{error.expected}, on the node {host} as where the command runs",
            error.got,
            error.remedy,
        ) from error
    if pool_digest(pool) != shared.digest:
        raise DataError(
            f"the pool {pool.name} on the node {host} as where the command runs, with the same "
            f"{shared.size:,} examples",
            f"{len(pool):,}" if len(pool) != shared.size else "others of the same number",
            "Every node must see all files of the pool under the same path: look for shards that "
            "are missing or left over there",
        )
    return pool
