"""Shards behind addresses: one object, a pattern, a numbered series, or all below a folder."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from contrasift.errors import DataError, UsageError
from contrasift.pools.shards import PARQUET, TAR, Shard, check_kinds, expand_braces, in_order
from contrasift.store.objects import RemoteFile, file_name, fixed_head, matching, shown

# Looking an object up is waiting for an answer.
_AT_ONCE = 16


def remote_shards(address: str) -> list[Shard]:
    """The shards that an address names: as `shards_named`, or a folder's as `shards_in_folder`.

    Raises:
        UsageError: objects of several kinds, or of another than .tar and .parquet.
        DataError: nothing matches, an object of a series is missing, or they are compressed.
        ContrasiftError: the storage does not answer.
    """
    found = _matched(address)
    if not found:
        raise DataError(
            f"shards that match {shown(address)}",
            "none",
            "Check the address. Folders of images are read where they are mounted or copied to; "
            "from other storage, pack them in .tar shards",
        )
    check_kinds(found)
    head = fixed_head(address if not _names_folder(address) else f"{address.rstrip('/')}/")
    return in_order(_looked_up(found, head))


def remote_name(address: str) -> str:
    """What to call a pool of shards behind an address."""
    if _names_folder(address):
        return file_name(address.rstrip("/"))
    if _varies(address):
        return file_name(fixed_head(address).rstrip("/"))
    return file_name(address).rpartition(".")[0]


def _matched(address: str) -> list[str]:
    if _names_folder(address):
        for suffix in (TAR, PARQUET):
            if found := matching(f"{address.rstrip('/')}/*{suffix}"):
                return found
        return []
    if not file_name(address).endswith((TAR, PARQUET)) and not _varies(address):
        raise UsageError(
            "the address of .tar or .parquet shards",
            shown(address),
            "Arrays: open_pool(contrasift.load_matrix(address)) in Python, or copy the file here",
        )
    found = []
    for name in expand_braces(address):
        found += matching(name) if _varies(name) else [name]
    return list(dict.fromkeys(found))


def _names_folder(address: str) -> bool:
    name = file_name(address)
    return address.endswith("/") or ("." not in name and not _varies(address))


def _varies(address: str) -> bool:
    # Behind a question mark, web addresses have no pattern but a query.
    bare = address.partition("?")[0] if address.startswith("http") else address
    return glob.has_magic(bare) or "{" in bare


def _looked_up(addresses: Sequence[str], head: str) -> list[Shard]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        files = list(threads.map(RemoteFile.look_up, addresses))
    return [
        Shard(
            file, shown(file.url).removeprefix(shown(head)), file.length, int(file.digest[:15], 16)
        )
        for file in files
    ]
