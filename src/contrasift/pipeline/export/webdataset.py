"""A selection as WebDataset shards, which any loader of tar files reads in sequence."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from pathlib import Path

from contrasift.narration import Progress
from contrasift.pipeline.export.chosen import ChosenExamples

_WHOLE_NUMBER = re.compile(r"[0-9]+")


def write_shards(chosen: ChosenExamples, folder: Path, shard_size: int, progress: Progress) -> None:
    """Write `shard-000000.tar` and so on, the same bytes for the same selection.

    An example is `KEY.EXT` with the image's bytes as they were, `KEY.cls` with its label where
    labels are numbers or `KEY.txt` where they are names, and `KEY.json` with `id`, `index`,
    `latent_class`, `rank` and `label`. The key is the pool index in nine digits: an id may hold
    anything, a key may not.

    Raises:
        DataError: an image can no longer be read.
    """
    known = [label for label in chosen.labels if label is not None]
    kind = "cls" if all(_WHOLE_NUMBER.fullmatch(label) for label in known) else "txt"
    for first in range(0, len(chosen), shard_size):
        path = folder / f"shard-{first // shard_size:06d}.tar"
        with open(path, "xb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for row in range(first, min(first + shard_size, len(chosen))):
                    _add_example(tar, chosen, row, kind)
                    progress(row + 1, len(chosen))
            file.flush()
            os.fsync(file.fileno())


def _add_example(tar: tarfile.TarFile, chosen: ChosenExamples, row: int, kind: str) -> None:
    key = f"{int(chosen.index[row]):09d}"
    data, suffix = chosen.image(row)
    _add(tar, f"{key}{suffix.lower()}", data)
    label = chosen.labels[row]
    if label is not None:
        _add(tar, f"{key}.{kind}", label.encode())
    _add(tar, f"{key}.json", json.dumps(chosen.facts(row), ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner and no time: the same content gives the same bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
