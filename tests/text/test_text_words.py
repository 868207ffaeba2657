from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.text.views import WordChanges, join_texts, word_views
from contrasift.text.words import (
    Vocabulary,
    build_vocabulary,
    cooccurrence_vectors,
    near_words,
    read_word_vectors,
    words_of,
)


def test_words_and_vocabulary():
    assert words_of("Don’t PANIC -- it's 42!\n\t(x_y)") == ["don't", "panic", "it's", "42", "x_y"]
    vocabulary = build_vocabulary(["b a b", "c a B d"], min_count=2)
    assert vocabulary.words == ("", "b", "a")
    assert vocabulary.encode("A c b ?").tolist() == [2, 1]
    assert vocabulary.encode("c d").tolist() == [0]
    assert vocabulary.encode("").tolist() == [0]
    with pytest.raises(DataError, match="Lower min_count="):
        build_vocabulary(["a b"], min_count=2)


def naive_ppmi(documents: list[list[int]], size: int, window: int) -> np.ndarray:
    counts: Counter = Counter()
    for words in documents:
        for i, word in enumerate(words):
            for j in range(max(0, i - window), min(len(words), i + window + 1)):
                if i != j and word and words[j]:
                    counts[word, words[j]] += 1
    totals = np.zeros(size)
    for (word, _), count in counts.items():
        totals[word] += count
    smoothed = totals**0.75 / (totals**0.75).sum()
    matrix = np.zeros((size, size))
    for (word, other), count in counts.items():
        matrix[word, other] = max(0, np.log(count / (totals[word] * smoothed[other])))
    return matrix


def test_vectors_are_singular_vectors_of_positive_information(rng):
    size = 12
    documents = [rng.integers(0, size, rng.integers(1, 15)) for _ in range(30)]
    vectors = cooccurrence_vectors(documents, size, window=2, dim=4)
    left, values, _ = np.linalg.svd(naive_ppmi([d.tolist() for d in documents], size, 2))
    expected = left[:, :4] * np.sqrt(values[:4])
    norms = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.divide(expected, norms, out=np.zeros_like(expected), where=norms > 1e-12)
    # Singular vectors have no sign: similarities have.
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-8)


def test_words_in_the_same_company_are_near():
    # `cat` and `dog` are never side by side, but both beside `fur` and `paw`.
    sentences = ["cat fur paw", "dog fur paw", "car wheel road", "bus wheel road"] * 20
    vocabulary = build_vocabulary(sentences, 1)
    documents = [vocabulary.encode(text) for text in sentences]
    near = near_words(cooccurrence_vectors(documents, len(vocabulary)), 1)
    number = {word: place for place, word in enumerate(vocabulary.words)}
    assert vocabulary.words[near[number["cat"], 0]] in ("dog", "fur", "paw")
    assert vocabulary.words[near[number["car"], 0]] in ("bus", "wheel", "road")


def test_nothing_stands_together():
    assert not cooccurrence_vectors([np.array([1]), np.array([2])], 5).any()
    assert near_words(np.zeros((5, 1)), 3).tolist() == [[0], [1], [2], [3], [4]]


def test_near_words_against_a_sort(rng):
    vectors = rng.standard_normal((40, 3))
    vectors[7] = vectors[9]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[[0, 5]] = 0
    near = near_words(vectors, 4)
    assert near[5].tolist() == [5] * 4
    for word in set(range(1, 40)) - {5}:
        others = [w for w in range(1, 40) if w not in (word, 5)]
        best = sorted(others, key=lambda w: (-float(vectors[word] @ vectors[w]), w))[:4]
        assert near[word].tolist() == best
    assert near_words(vectors[:3], 9).shape == (3, 1)


def test_given_vectors(tmp_path):
    vocabulary = Vocabulary(("", "king", "queen", "car"))
    path = tmp_path / "v.vec"
    path.write_text("3 2\nking 3 4\nqueen 0 2\nother 1 1\n")
    vectors = read_word_vectors(path, vocabulary)
    np.testing.assert_allclose(vectors, [[0, 0], [0.6, 0.8], [0, 1], [0, 0]])
    assert near_words(vectors, 5).tolist() == [[0], [2], [1], [3]]
    for text, message in (
        ("king 1 2\nqueen 1\n", "2 numbers in every line.*1 in line 2"),
        ("king 1 x\n", "numbers in line 1"),
        ("king 1 nan\n", "finite numbers in line 1"),
        ("other 1 2\n", "none of them"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_word_vectors(path, vocabulary)
    with pytest.raises(UsageError, match="no file"):
        read_word_vectors(tmp_path / "none", vocabulary)


def documents_of(bags) -> list[list[int]]:
    return [part.tolist() for part in np.split(bags.words, bags.starts[1:])]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=6))
def test_views_of_single_texts_are_those_of_a_batch(lists):
    documents = [np.array(words, dtype=np.int64) for words in lists]
    index = np.arange(len(lists), dtype=np.int64) * 3
    near = (np.arange(10)[:, None] + [10, 20]) % 30
    for changes in (WordChanges("erase", 0.6), WordChanges("replace", 0.6, near)):
        whole = documents_of(word_views(documents, index, 1, changes, seed=4, epoch=2))
        for words, place, view in zip(documents, index, whole, strict=True):
            alone = word_views([words], np.array([place]), 1, changes, seed=4, epoch=2)
            assert documents_of(alone) == [view]
            assert view
            if changes.kind == "erase":
                rest = iter(words.tolist())
                assert all(word in rest for word in view)  # a subsequence
            else:
                assert len(view) == len(words)
                for old, new in zip(words.tolist(), view, strict=True):
                    assert new in (old, *near[old])


def test_rates_are_as_told():
    documents = [np.arange(1, 51)] * 400
    index = np.arange(400)
    erased = word_views(documents, index, 0, WordChanges("erase", 0.3), seed=0, epoch=0)
    assert len(erased.words) / 20_000 == pytest.approx(0.7, abs=0.01)
    near = np.arange(51)[:, None] + np.array([100, 200, 300, 400])
    changes = WordChanges("replace", 0.3, near)
    words = word_views(documents, index, 0, changes, seed=0, epoch=0).words
    shares = np.bincount(words // 100, minlength=5) / 20_000
    np.testing.assert_allclose(shares, [0.7, *[0.075] * 4], atol=0.01)
    other = word_views(documents, index, 1, changes, seed=0, epoch=0).words
    assert (words != other).any()


def test_no_change_and_bad_changes():
    documents = [np.array([3, 1]), np.array([2])]
    same = word_views(documents, np.arange(2), 0, WordChanges("erase", 0.0), seed=0, epoch=0)
    assert documents_of(same) == documents_of(join_texts(documents)) == [[3, 1], [2]]
    with pytest.raises(UsageError, match="erase, replace"):
        WordChanges("swap", 0.5)
    with pytest.raises(UsageError, match="rate in"):
        WordChanges("erase", 1.0)
    with pytest.raises(UsageError, match="near words"):
        WordChanges("replace", 0.5)
