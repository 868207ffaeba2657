"""Results that are written piece by piece: a shard is there once its manifest entry is, and only then.

`FOLDER/00007.json` vouches for shard 7: it names the shard's files with their sizes and hashes, and
the work that they belong to. It is written last, so that a worker that is killed leaves nothing
that is trusted; a shard that is written twice is the same twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrasift.errors import DataError
from contrasift.store.atomic import read_json, sha256_of, write_json


@dataclass(frozen=True)
class ShardFolder:
    """The shards of one piece of work.

    Attributes:
        path: where they lie.
        fingerprint: hash of all that decides what is in them; other shards are not looked at.
    """

    path: Path
    fingerprint: str

    def file(self, shard: int, name: str) -> Path:
        """Where a file of a shard lies: `00007-rows.parquet`."""
        return self.path / f"{shard:05d}-{name}"

    def finish(self, shard: int, names: Iterable[str], **facts: Any) -> None:
        """Vouch for a shard whose files are whole.

        Raises:
            DataError: a file is missing.
            ContrasiftError: the entry cannot be written.
        """
        files = {}
        for name in names:
            path = self.file(shard, name)
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        entry = {"shard": shard, "fingerprint": self.fingerprint, "files": files, **facts}
        write_json(self._entry(shard), entry)

    def finished(self, n_shards: int) -> set[int]:
        """Shards of this work that are there, whole as far as their sizes tell."""
        return {shard for shard in range(n_shards) if self._is_finished(shard)}

    def entry(self, shard: int) -> Mapping[str, Any]:
        """What is known of a finished shard, its files checked against their hashes.

        Raises:
            DataError: the shard is missing, or a file is not what was written.
        """
        if not self._is_finished(shard):
            raise DataError(
                f"shard {shard} in {self.path}",
                "none, or one of other work",
                "Repeat the same command: it makes what is missing",
            )
        entry = read_json(self._entry(shard))
        for name, known in entry["files"].items():
            path = self.file(shard, name)
            if sha256_of(path) != known["sha256"]:
                raise DataError(
                    f"{path} as it was written",
                    "another content",
                    f"Delete {self._entry(shard)} and repeat the same command",
                )
        return entry

    def remove(self) -> None:
        """Remove the folder; the result that was made of the shards has all that they held."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _entry(self, shard: int) -> Path:
        return self.path / f"{shard:05d}.json"

    def _is_finished(self, shard: int) -> bool:
        try:
            entry = read_json(self._entry(shard))
            sizes = {name: self.file(shard, name).stat().st_size for name in entry["files"]}
        except (DataError, OSError, KeyError, TypeError):
            return False
        return entry.get("fingerprint") == self.fingerprint and all(
            sizes[name] == known["bytes"] for name, known in entry["files"].items()
        )
