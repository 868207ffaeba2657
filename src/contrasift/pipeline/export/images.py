"""A selection as a folder of images: hard links or copies of files, else their bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from contrasift.narration import Progress
from contrasift.pipeline.export.chosen import ChosenExamples, Say
from contrasift.pipeline.export.whole import candidates, place


def write_images(
    chosen: ChosenExamples, folder: Path, link: str, say: Say, progress: Progress
) -> list[str]:
    """Put every image into a folder under its id, or its index where the id cannot be a file name.

    Args:
        chosen: the examples.
        folder: an empty folder.
        link: `hard` links to files where there are files, or copies.
        say: told when links turn out to be impossible.
        progress: called with (done, total).

    Returns:
        The name of each image, relative to the folder.

    Raises:
        DataError: an image can no longer be read.
    """
    linker = _Linker(link == "hard", say)
    names = []
    for row, id in enumerate(chosen.need_ids()):
        source = chosen.file(row)
        if source is None:
            data, suffix = chosen.image(row)
            put = lambda target, data=data: _write_new(target, data)  # noqa: E731
        else:
            suffix = source.suffix
            put = lambda target, source=source: linker.put(source, target)  # noqa: E731
        names.append(place(folder, candidates(id, suffix, int(chosen.index[row])), put))
        progress(row + 1, len(chosen))
    return names


class _Linker:
    """Hard links as long as they are possible, then copies."""

    def __init__(self, hard: bool, say: Say) -> None:
        self._hard = hard
        self._say = say

    def put(self, source: Path, target: Path) -> None:
        if self._hard:
            try:
                os.link(os.path.realpath(source), target)  # a link to a link would break when moved
                return
            except (FileExistsError, FileNotFoundError, NotADirectoryError):
                raise
            except OSError as error:
                self._hard = False
                self._say(
                    f"hard links from {source.parent} are not possible here ({error.strerror}): "
                    "copying instead"
                )
        with open(source, "rb") as old, open(target, "xb") as new:
            shutil.copyfileobj(old, new)
        shutil.copystat(source, target)


def _write_new(target: Path, data: bytes) -> None:
    with open(target, "xb") as file:
        file.write(data)
