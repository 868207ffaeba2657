from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.arrays import row_blocks
from contrasift.classes import zero_shot
from contrasift.classes.zero_shot import zero_shot_classes
from contrasift.errors import DataError, UsageError


def naive(images, texts, scale):
    """Loops over plain numbers, as the formula reads."""
    codes, scores = [], []
    for x in images.tolist():
        cosines = []
        for w in texts.tolist():
            product = math.fsum(a * b for a, b in zip(x, w, strict=True))
            cosines.append(product / math.hypot(*x) / math.hypot(*w))
        best = cosines.index(max(cosines))
        codes.append(best)
        scores.append(1 / math.fsum(math.exp(scale * (c - cosines[best])) for c in cosines))
    return codes, scores


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("scale", [0.5, 14.3, 100.0])
def test_agrees_with_the_formula(n, k, scale):
    rng = np.random.default_rng(n * 10 + k)
    images = rng.normal(size=(n, 5)).astype(np.float32)
    texts = rng.normal(size=(k, 5)).astype(np.float32)
    names = [f"class {place}" for place in range(k)]
    found = zero_shot_classes(images, texts, names, logit_scale=scale)
    codes, scores = naive(images, texts, scale)
    assert found.labels.tolist() == [names[code] for code in codes]
    np.testing.assert_allclose(found.score, scores, rtol=1e-4)
    assert found.facts["unused"] == [n for p, n in enumerate(names) if p not in codes]
    assert found.facts["sizes"] == np.bincount(found.codes).tolist()
    assert min(found.facts["sizes"]) > 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9))
def test_scores_are_probabilities_of_the_likeliest_class(seed, n, k):
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(k, 4))
    found = zero_shot_classes(rng.normal(size=(n, 4)), texts, [str(i) for i in range(k)])
    assert found.score.dtype == np.float32
    assert ((found.score >= 1 / k - 1e-6) & (found.score <= 1)).all()
    assert set(found.names) | set(found.facts["unused"]) == {str(i) for i in range(k)}


def test_equal_texts_give_the_first_and_share_the_confidence():
    found = zero_shot_classes(np.eye(2), np.array([[1.0, 0], [1, 0], [0, 1]]), ["a", "b", "c"])
    assert found.labels.tolist() == ["a", "c"]
    np.testing.assert_allclose(found.score, [0.5, 1.0], atol=1e-6)


def test_lengths_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(40, 6)), rng.normal(size=(5, 6))
    whole = zero_shot_classes(images, texts, list("abcde"))
    longer = zero_shot_classes(images * 8, texts * 0.5, list("abcde"))
    monkeypatch.setattr(zero_shot, "row_blocks", lambda n, size: row_blocks(n, 1, 3))
    parts = zero_shot_classes(images, texts, list("abcde"))
    for other in (longer, parts):
        assert np.array_equal(other.codes, whole.codes)
        np.testing.assert_allclose(other.score, whole.score, rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "texts", "names", "scale", "error", "words"),
    [
        (np.eye(2), np.eye(2), ["a"], 1.0, UsageError, "name for each of 2 texts"),
        (np.eye(2), np.eye(2), ["a", "a"], 1.0, DataError, "names that differ"),
        (np.eye(3), np.eye(2), ["a", "b"], 1.0, DataError, "image tower of the model"),
        (np.eye(2), np.eye(2), ["a", "b"], 0.0, UsageError, "logit scale"),
        (np.full((1, 2), np.nan), np.eye(2), ["a", "b"], 1.0, DataError, "NaN"),
        (np.eye(2), np.full((2, 2), np.inf), ["a", "b"], 1.0, DataError, "text embeddings"),
        (np.zeros((1, 2)), np.eye(2), ["a", "b"], 1.0, DataError, "zeros"),
        (np.empty((0, 2)), np.eye(2), ["a", "b"], 1.0, DataError, "at least one row"),
    ],
)
def test_mistakes_are_explained(images, texts, names, scale, error, words):
    with pytest.raises(error, match=words):
        zero_shot_classes(images, texts, names, logit_scale=scale)
