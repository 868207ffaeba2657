"""Words: where they begin and end, which of them are known, and which are near."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from contrasift.errors import DataError, UsageError

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_UNKNOWN = ""
_WINDOW = 5
_DIM = 100
_BLOCK_BYTES = 64 << 20


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, without what stands between them."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


@dataclass(frozen=True)
class Vocabulary:
    """The words that an encoder knows; number 0 is none of them.

    Attributes:
        words: by number, the most frequent first; the first is empty.
    """

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words) if word}

    def encode(self, text: str) -> Int64[np.ndarray, " n"]:
        """Numbers of the known words of a text; [0] for a text without any."""
        found = [self._numbers[word] for word in words_of(text) if word in self._numbers]
        return np.array(found or [0], dtype=np.int64)


def build_vocabulary(texts: Sequence[str], min_count: int = 5) -> Vocabulary:
    """The words that occur at least `min_count` times; equally frequent ones by the alphabet.

    Raises:
        DataError: there are none.
    """
    counts = Counter(word for text in texts for word in words_of(text))
    kept = [(word, count) for word, count in counts.items() if count >= min_count]
    if not kept:
        raise DataError(
            f"words that occur {min_count} times", f"{len(counts)} rarer words", "Lower min_count="
        )
    ordered = sorted(kept, key=lambda pair: (-pair[1], pair[0]))
    return Vocabulary((_UNKNOWN, *(word for word, _ in ordered)))


def cooccurrence_vectors(
    documents: Sequence[np.ndarray], size: int, *, window: int = _WINDOW, dim: int = _DIM
) -> Float[np.ndarray, "size d"]:
    """Word vectors from what stands near: the leading singular vectors of positive PMI.

    PPMI_wc = max{0, ln(n_wc N / (n_w m_c))}, n_wc how often c stands within `window` words of w,
    n_w = Σ_c n_wc, m_c ∝ n_c^{3/4} with Σ_c m_c = N (Levy, Goldberg and Dagan, TACL 2015, §3.1);
    with PPMI ≈ U Σ Vᵀ the vectors are the rows of U Σ^{1/2}, scaled to length one.

    Args:
        documents: numbers of the words of each text.
        size: of the vocabulary.
        window: words to each side.
        dim: how many singular vectors, at most size − 1.

    Returns:
        One row a word; zero for words that never stand near another.
    """
    from scipy import sparse
    from scipy.sparse.linalg import svds

    counts = sparse.csr_matrix((size, size))
    flat = np.concatenate([np.empty(0, dtype=np.int64), *documents])
    of_text = np.repeat(np.arange(len(documents)), [len(words) for words in documents])
    for gap in range(1, window + 1):
        near = (of_text[:-gap] == of_text[gap:]) & (flat[:-gap] > 0) & (flat[gap:] > 0)
        pairs = (flat[:-gap][near], flat[gap:][near])
        counts += sparse.coo_matrix((np.ones(near.sum()), pairs), shape=(size, size)).tocsr()
    counts = (counts + counts.T).tocoo()
    if counts.nnz == 0 or size < 3:
        return np.zeros((size, 1))
    totals = np.asarray(counts.sum(axis=1)).ravel()
    smoothed = totals**0.75
    smoothed *= totals.sum() / smoothed.sum()
    information = np.log(counts.data * totals.sum() / (totals[counts.row] * smoothed[counts.col]))
    positive = np.maximum(information, 0)
    matrix = sparse.csr_matrix((positive, (counts.row, counts.col)), shape=(size, size))
    # ARPACK begins with a random vector unless it is given one.
    start = np.random.default_rng(0).standard_normal(size)
    left, values, _ = svds(matrix, k=min(dim, size - 1), v0=start)
    return _unit(left * np.sqrt(values))


def read_word_vectors(path: Path, vocabulary: Vocabulary) -> Float[np.ndarray, "n d"]:
    """Vectors of known words from a text file, as fastText (`.vec`) and GloVe write them.

    A line is a word and its numbers; fastText's first line has two counts instead.

    Returns:
        One row a word, of length one; zero for words that the file lacks.

    Raises:
        UsageError: no such file.
        DataError: rows of different widths, no numbers, or none of the words.
    """
    if not path.is_file():
        raise UsageError("a file with word vectors", f"{path}, which is no file")
    numbers = {word: number for number, word in enumerate(vocabulary.words) if word}
    rows: dict[int, np.ndarray] = {}
    width = None
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line_number, line in enumerate(file, start=1):
            word, *values = line.rstrip().split(" ")
            if line_number == 1 and len(values) == 1:
                continue  # fastText's header
            width = width or len(values)
            if len(values) != width:
                raise DataError(
                    f"{width} numbers in every line of {path}",
                    f"{len(values)} in line {line_number}",
                )
            if word in numbers:
                rows[numbers[word]] = _numbers(values, path, line_number)
    if not rows or width is None:
        raise DataError(f"vectors of the collection's words in {path}", "none of them")
    vectors = np.zeros((len(vocabulary), width))
    for number, row in rows.items():
        vectors[number] = row
    return _unit(vectors)


def _numbers(values: list[str], path: Path, line_number: int) -> np.ndarray:
    try:
        row = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"numbers in line {line_number} of {path}", str(error)) from error
    if not np.isfinite(row).all():
        raise DataError(f"finite numbers in line {line_number} of {path}", "NaN or infinity")
    return row


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 1e-12)


def near_words(vectors: Float[np.ndarray, "n d"], count: int = 5) -> Int64[np.ndarray, "n k"]:
    """The `count` most similar other words of every word; of equally similar ones, the first.

    A word without a vector is near itself alone, and so never replaced.

    Args:
        vectors: rows of length one, or zero; row 0 is no word.
        count: how many; fewer if there are fewer words.

    Returns:
        Numbers of words, the nearest first.
    """
    known = np.flatnonzero(vectors.any(axis=1))
    known = known[known > 0]
    count = max(1, min(count, known.size - 1))
    near = np.repeat(np.arange(len(vectors))[:, None], count, axis=1)
    if known.size < 2:
        return near
    rows = vectors[known]
    step = max(1, _BLOCK_BYTES // (8 * known.size))
    for start in range(0, known.size, step):
        similarity = rows[start : start + step] @ rows.T
        own = np.arange(len(similarity))
        similarity[own, own + start] = -np.inf
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
        near[known[start : start + step]] = known[order]
    return near
