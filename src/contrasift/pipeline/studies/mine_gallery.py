"""The likeliest false negatives as texts or images, for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contrasift.matrices import Matrix
from contrasift.mining import Mined
from contrasift.mining.judging import likeliest_false
from contrasift.options.mining import MiningFiles
from contrasift.report.mined import Member, SuspectPair
from contrasift.report.thumbnails import thumbnail
from contrasift.store.mined import read_texts

_LONGEST = 300  # signs of a text
_SIDE = 96


def suspect_pairs(
    mined: Mined, left: Matrix, right: Matrix, files: MiningFiles
) -> list[SuspectPair]:
    """The pairs that are most probably false, each with a positive of its query."""
    query_of = _Members(left, files.query_texts, files.images)
    corpus_of = _Members(
        right, files.corpus_texts or ("" if left is not right else files.query_texts), files.images
    )
    found = []
    for query, column in zip(*likeliest_false(mined), strict=True):
        positive = int(mined.positives.rows[mined.positives.starts[query]])
        negative = int(mined.negatives[query, column])
        note = f"cosine {mined.similarity[query, column]:.3f}, rank {column + 1}"
        if mined.false_probability is not None:
            note += f", false with probability {mined.false_probability[query, column]:.2f}"
        if mined.known_false is not None and mined.known_false[query, column]:
            note += ", known to be false"
        found.append(
            SuspectPair(
                [
                    ("query", query_of.member(int(query))),
                    (
                        "positive",
                        corpus_of.member(
                            positive, f"cosine {mined.positive_similarity[query]:.3f}"
                        ),
                    ),
                    ("negative", corpus_of.member(negative, note)),
                ]
            )
        )
    return found


class _Members:
    """Rows of a matrix as a person sees them."""

    def __init__(self, matrix: Matrix, texts: str, images: str) -> None:
        self.ids = matrix.ids
        self.texts: Any = read_texts(texts, len(matrix)) if texts else None
        self.images = images

    def member(self, row: int, note: str = "") -> Member:
        """One row."""
        name = f"row {row:,}" if self.ids is None else str(self.ids[row].as_py())
        text = name if self.texts is None else str(self.texts[row])
        short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        return Member(short, note, self._image(name))

    def _image(self, name: str) -> str:
        path = Path(self.images) / name
        if not self.images or not path.is_file():
            return ""
        from PIL import Image

        try:
            with Image.open(path) as image:
                return thumbnail(np.asarray(image.convert("RGB")), _SIDE)
        except OSError:
            return ""
