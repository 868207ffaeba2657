from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from contrasift.classes import (
    class_agreement,
    class_stability,
    latent_classes,
    selection_overlap,
)
from contrasift.errors import DataError, UsageError


def naive_ari(a: np.ndarray, b: np.ndarray) -> float:
    """Hubert and Arabie 1985, by counting pairs."""
    pairs = list(combinations(range(len(a)), 2))
    both = sum(a[i] == a[j] and b[i] == b[j] for i, j in pairs)
    in_a = sum(a[i] == a[j] for i, j in pairs)
    in_b = sum(b[i] == b[j] for i, j in pairs)
    expected = in_a * in_b / len(pairs)
    return (both - expected) / ((in_a + in_b) / 2 - expected)


def entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


class TestAgreement:
    @pytest.mark.parametrize("seed", range(5))
    def test_matches_the_definitions(self, seed):
        rng = np.random.default_rng(seed)
        found, labels = rng.integers(0, 4, 40), rng.integers(0, 3, 40)
        table = np.array(
            [[((found == k) & (labels == c)).sum() for c in range(3)] for k in range(4)]
        )
        h_found, h_labels = entropy(table.sum(axis=1)), entropy(table.sum(axis=0))
        mutual = h_found + h_labels - entropy(table.ravel())
        agreement = class_agreement(found, labels)
        assert agreement["ari"] == pytest.approx(naive_ari(found, labels))
        assert agreement["nmi"] == pytest.approx(2 * mutual / (h_found + h_labels))
        assert agreement["purity"] == pytest.approx(table.max(axis=1).sum() / 40)

    def test_unlabelled_rows_do_not_count(self):
        assert class_agreement([0, 0, 1, 1], [3, 3, -1, 8])["n"] == 3
        assert class_agreement([0, 0, 1, 1], [3, 3, -1, 8])["purity"] == 1.0
        assert class_agreement([0, 1], [-1, -1]) == {"n": 0.0}

    def test_lengths_must_match(self):
        with pytest.raises(DataError, match="one class for each"):
            class_agreement([0, 1], [0])


class TestStability:
    def test_is_the_mean_index_of_all_pairs(self):
        rng = np.random.default_rng(0)
        runs = [rng.integers(0, 3, 30) for _ in range(3)]
        pairs = [naive_ari(a, b) for a, b in combinations(runs, 2)]
        stability = class_stability(runs)
        assert stability["ari"] == pytest.approx(np.mean(pairs))
        assert stability["ari_min"] == pytest.approx(min(pairs))
        assert stability["partitions"] == 3

    def test_names_do_not_matter(self):
        codes = np.array([0, 0, 1, 2, 2])
        assert class_stability([codes, (codes + 1) % 3])["ari"] == 1.0

    def test_bad_input(self):
        with pytest.raises(DataError, match="at least two partitions"):
            class_stability([np.zeros(3, int)])
        with pytest.raises(DataError, match="lengths 3 and 4"):
            class_stability([np.zeros(3, int), np.zeros(4, int)])

    def test_overlap_of_selections(self):
        a, b, c = np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6]), np.array([1, 2, 3, 4])
        assert selection_overlap([a, b]) == 0.5
        assert selection_overlap([a, b, c]) == pytest.approx((0.5 + 1.0 + 0.5) / 3)
        assert selection_overlap([a[:0], b[:0]]) == 1.0
        assert selection_overlap([a, b[:0]]) == 0.0


class TestLabels:
    def test_labels_are_taken_as_they_are(self):
        found = latent_classes(np.ones((4, 2)), method="labels", labels=[5, 2, 5, 9])
        assert found.codes.tolist() == [1, 0, 1, 2]
        assert found.labels.tolist() == [5, 2, 5, 9]
        assert found.score.tolist() == [1.0] * 4
        assert found.facts["sizes"] == [1, 2, 1]

    def test_names_and_text(self):
        rows = np.ones((3, 2))
        names = ["ant", "bee", "cat"]
        named = latent_classes(rows, method="labels", labels=[2, 0, 2], label_names=names)
        assert named.labels.tolist() == ["cat", "ant", "cat"]
        text = latent_classes(rows, method="labels", labels=["<b>", "ä", "<b>"])
        assert text.labels.tolist() == ["<b>", "ä", "<b>"]

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"labels": None}, UsageError, "labels for the method"),
            ({"labels": [0, 1]}, DataError, "one class for each of the 3 examples"),
            ({"labels": [0, -1, 1]}, DataError, "1 of 3 without one"),
            ({"labels": [0, 1, 2], "label_names": ["a"]}, DataError, "label 2"),
        ],
    )
    def test_bad_labels(self, arguments, error, match):
        with pytest.raises(error, match=match):
            latent_classes(np.ones((3, 2)), method="labels", **arguments)


def test_import_is_light():
    code = (
        "import sys, contrasift.classes, contrasift.evaluation, contrasift.embedding.projection;"
        "print([m for m in ('torch', 'faiss', 'sklearn', 'scipy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
