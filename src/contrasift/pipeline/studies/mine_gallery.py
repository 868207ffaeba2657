"""The likeliest false negatives as texts or images, for the page."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.matrices import Matrix
from contrasift.mining import Mined
from contrasift.mining.judging import likeliest_false
from contrasift.options.mining import MiningFiles
from contrasift.pipeline.stages.selection_images import SourceImages
from contrasift.report.mined import Member, SuspectPair
from contrasift.report.thumbnails import thumbnail
from contrasift.store.mined import read_texts

_LONGEST = 300  # signs of a text
_SIDE = 96


def suspect_pairs(
    mined: Mined, left: Matrix, right: Matrix, files: MiningFiles
) -> list[SuspectPair]:
    """The pairs that are most probably false, each with a positive of its query."""
    queries, columns = likeliest_false(mined)
    positives = mined.positives.rows[mined.positives.starts[queries]]
    negatives = mined.negatives[queries, columns]
    corpus_texts = files.corpus_texts or ("" if left is not right else files.query_texts)
    query_of = _Members(left, files.query_texts, files.images)
    corpus_of = _Members(right, corpus_texts, files.images)
    query_of.fetch(queries)
    corpus_of.fetch(np.concatenate([positives, negatives]))
    return [
        SuspectPair(
            [
                ("query", query_of.member(int(query))),
                (
                    "positive",
                    corpus_of.member(int(own), f"cosine {mined.positive_similarity[query]:.3f}"),
                ),
                ("negative", corpus_of.member(int(other), _note(mined, int(query), int(column)))),
            ]
        )
        for query, column, own, other in zip(queries, columns, positives, negatives, strict=True)
    ]


def _note(mined: Mined, query: int, column: int) -> str:
    note = f"cosine {mined.similarity[query, column]:.3f}, rank {column + 1}"
    if mined.false_probability is not None:
        note += f", false with probability {mined.false_probability[query, column]:.2f}"
    if mined.known_false is not None and mined.known_false[query, column]:
        note += ", known to be false"
    return note


def check_images(images: str, *sides: Matrix) -> None:
    """Stop where `images` is no folder, and no column of images of either side.

    Raises:
        DataError: neither has it.
    """
    if not images or Path(images).is_dir():
        return
    errors = []
    for side in sides:
        try:
            SourceImages.of(side, images)
        except DataError as error:
            errors.append(error)
    if len(errors) == len(sides):
        raise errors[0]


class _Members:
    """Rows of a matrix as a person sees them."""

    def __init__(self, matrix: Matrix, texts: str, images: str) -> None:
        self.matrix, self.ids = matrix, matrix.ids
        stored = sum(one.n for one in matrix.stored)
        self.texts: Any = read_texts(texts, stored) if texts else None
        self.folder = Path(images) if images and Path(images).is_dir() else None
        self.images: SourceImages | None = None
        if self.folder is None:
            with contextlib.suppress(DataError):  # the other side has the column
                self.images = SourceImages.of(matrix, images or None)

    def fetch(self, rows: np.ndarray) -> None:
        """Read the images of these rows."""
        if self.images is not None:
            self.images.fetch(np.unique(self.matrix.stored_rows(rows)))

    def member(self, row: int, note: str = "") -> Member:
        """One row."""
        stored = int(self.matrix.stored_rows(np.array([row]))[0])
        name = f"row {stored:,}" if self.ids is None else str(self.ids[row].as_py())
        text = name if self.texts is None else str(self.texts[stored])
        short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        return Member(short, note, self._image(name, stored))

    def _image(self, name: str, stored: int) -> str:
        if self.folder is not None:
            return _of_file(self.folder / name)
        image = None if self.images is None else self.images.image(stored)
        return "" if image is None else thumbnail(image, _SIDE)


def _of_file(path: Path) -> str:
    if not path.is_file():
        return ""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return thumbnail(np.asarray(image.convert("RGB")), _SIDE)
    except OSError:
        return ""
