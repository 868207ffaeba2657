"""Views of texts: words erased, or replaced by near ones; nothing random but by (seed, example)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from contrasift.errors import UsageError
from contrasift.text.options import AUGMENTATIONS
from contrasift.training.views import counter_uniforms


@dataclass(frozen=True)
class WordChanges:
    """How a view differs from its text.

    Attributes:
        kind: `erase` or `replace`.
        rate: probability of each word to be erased or replaced.
        near: [vocabulary, k]; what each word may be replaced by. None for `erase`.
    """

    kind: str
    rate: float
    near: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the rate, and that there is something to replace with."""
        if self.kind not in AUGMENTATIONS:
            raise UsageError(f"views to be one of {', '.join(AUGMENTATIONS)}", self.kind)
        if not 0 <= self.rate < 1:
            raise UsageError("a rate in [0, 1)", str(self.rate))
        if self.kind == "replace" and self.near is None:
            raise UsageError("near words for the views replace", "none")


@dataclass(frozen=True)
class Bags:
    """Some texts, one behind the other.

    Attributes:
        words: int64 [total]; numbers of all their words.
        starts: int64 [b]; where each text begins. None is empty.
    """

    words: np.ndarray
    starts: np.ndarray


def join_texts(documents: Sequence[np.ndarray]) -> Bags:
    """Texts as they are."""
    lengths = np.array([len(words) for words in documents], dtype=np.int64)
    words = np.concatenate([np.empty(0, dtype=np.int64), *documents])
    return Bags(words, np.cumsum(lengths) - lengths)


def word_views(
    documents: Sequence[np.ndarray],
    index: Int64[np.ndarray, " b"],
    view: int,
    changes: WordChanges,
    *,
    seed: int,
    epoch: int,
) -> Bags:
    """One view of every text.

    `erase`: each word is left out with probability `rate`; the one with the largest random number
    always stays. `replace`: each word gives way, with that probability, to one of its near words,
    each of them equally likely.

    Args:
        documents: b texts, none empty, as numbers of words.
        index: their stable index.
        view: number of the view.
        changes: what is changed.
        seed: of the run.
        epoch: the pass over the texts.
    """
    whole = join_texts(documents)
    lengths = np.diff(np.append(whole.starts, len(whole.words)))
    longest = int(lengths.max(initial=1))
    inside = np.arange(longest) < lengths[:, None]
    # Every word has its own two counters, whatever else is in the batch.
    draws = counter_uniforms(seed, epoch, index, view, 2 * longest)
    first, second = draws[:, 0::2][inside], draws[:, 1::2][inside]
    if changes.near is not None and changes.kind == "replace":
        options = changes.near[whole.words]
        column = np.minimum((second * options.shape[1]).astype(np.int64), options.shape[1] - 1)
        other = np.take_along_axis(options, column[:, None], axis=1)[:, 0]
        return Bags(np.where(first < changes.rate, other, whole.words), whole.starts)
    rows = np.where(inside, draws[:, 0::2], -1.0)
    stays = rows >= changes.rate
    stays[np.arange(len(rows)), rows.argmax(axis=1)] = True
    kept = stays.sum(axis=1)
    return Bags(whole.words[stays[inside]], np.cumsum(kept) - kept)
