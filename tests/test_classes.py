from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift import classes as module
from contrasift.classes import class_agreement, default_n_classes, latent_classes
from contrasift.errors import DataError, UsageError


def blobs(n: int, d: int, k: int, seed: int = 0, noise: float = 0.05) -> tuple:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(n) % k
    return (centres[labels] + noise * rng.normal(size=(n, d))).astype(np.float32), labels


def naive_assignment(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    rows, centroids = rows.astype(np.float64), centroids.astype(np.float64)
    return np.array([[((x - c) ** 2).sum() for c in centroids] for x in rows]).argmin(axis=1)


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


class TestKmeans:
    def test_finds_separated_groups(self):
        rows, labels = blobs(200, 8, 5)
        found = latent_classes(rows, n_classes=5, labels=labels)
        assert found.facts["agreement"] == {"ari": 1.0, "nmi": 1.0, "purity": 1.0, "n": 200.0}
        assert found.facts["sizes"] == [40] * 5
        assert found.method == "kmeans"
        assert found.score.min() > 0.5

    @pytest.mark.parametrize("spherical", [True, False])
    @pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (2, 2), (7, 3), (50, 7), (50, 50)])
    def test_any_size_gives_a_partition_with_scores(self, n, k, spherical):
        rows = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        found = latent_classes(rows, n_classes=k, spherical=spherical, restarts=2)
        assert found.codes.dtype == np.int64
        assert found.score.dtype == np.float32
        assert found.score.shape == (n,)
        assert ((found.score >= 0) & (found.score <= 1)).all()
        assert sum(found.facts["sizes"]) == n
        assert len(found.names) == found.codes.max() + 1 == k - found.facts["empty_removed"]

    @settings(max_examples=40, deadline=None)
    @given(
        n=st.integers(1, 60), k=st.integers(1, 12), d=st.integers(1, 5), seed=st.integers(0, 999)
    )
    def test_assignment_score_and_inertia_match_a_naive_loop(self, n, k, d, seed):
        rng = np.random.default_rng(seed)
        # Few distinct values, so that distances tie.
        rows = rng.integers(-2, 3, size=(n, d)).astype(np.float32)
        centroids = rng.integers(-2, 3, size=(k, d)).astype(np.float32)
        codes, score, inertia = module._assign(rows, centroids, spherical=False)
        assert (codes == naive_assignment(rows, centroids)).all()
        distances = np.linalg.norm(rows[:, None].astype(float) - centroids[None], axis=2)
        assert inertia == pytest.approx((distances.min(axis=1) ** 2).sum())
        if k == 1:
            assert (score == 1).all()
        else:
            own, other = np.sort(distances, axis=1)[:, :2].T
            expected = np.where(other > 0, 1 - own / np.where(other > 0, other, 1), 0)
            np.testing.assert_allclose(score, expected, atol=1e-6)

    def test_close_calls_are_decided_in_float64(self):
        # A large mean in common, as networks have: float32 products alone get these wrong.
        rng = np.random.default_rng(3)
        centroids = (50 + 1e-3 * rng.normal(size=(6, 64))).astype(np.float32)
        rows = (50 + 1e-3 * rng.normal(size=(400, 64))).astype(np.float32)
        expected = naive_assignment(rows, centroids)
        plain = rows @ centroids.T - (centroids**2).sum(axis=1) / 2
        assert (plain.argmax(axis=1) != expected).any()
        assert (module._assign(rows, centroids, spherical=False)[0] == expected).all()

    def test_assignment_is_the_same_in_any_blocks(self, monkeypatch):
        rows, _ = blobs(500, 16, 9, noise=0.5)
        centroids = rows[:20].copy()
        whole = module._assign(rows, centroids, spherical=True)
        monkeypatch.setattr(
            module,
            "row_blocks",
            lambda n, size: [slice(i, min(i + 7, n)) for i in range(0, n, 7)],
        )
        parts = module._assign(rows, centroids, spherical=True)
        assert (whole[0] == parts[0]).all()
        assert (whole[1] == parts[1]).all()

    def test_numbering_is_by_size_then_lowest_member(self):
        codes = np.array([9, 4, 4, 2, 2, 7, 7, 7])
        assert module._renumber(codes).tolist() == [3, 1, 1, 2, 2, 0, 0, 0]

    def test_is_repeatable_and_reads_the_seed(self):
        rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
        first, again, other = (
            latent_classes(rows, n_classes=20, seed=seed, restarts=1) for seed in (1, 1, 2)
        )
        assert (first.codes == again.codes).all()
        assert (first.score == again.score).all()
        assert (first.codes != other.codes).any()

    def test_is_the_same_for_any_thread_count(self):
        import faiss

        rows = np.random.default_rng(5).normal(size=(5000, 32)).astype(np.float32)
        before = faiss.omp_get_max_threads()
        results = []
        try:
            for threads in (1, 2, 4):
                faiss.omp_set_num_threads(threads)
                results.append(latent_classes(rows, n_classes=30, restarts=2))
        finally:
            faiss.omp_set_num_threads(before)
        assert all((result.codes == results[0].codes).all() for result in results)

    def test_more_restarts_never_end_worse(self):
        rows = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
        one, many = (
            latent_classes(rows, n_classes=15, restarts=restarts).facts["inertia"]
            for restarts in (1, 8)
        )
        # faiss compares objectives before the last update of the centroids.
        assert many <= one * 1.01

    def test_spherical_sees_directions_only(self):
        rows, labels = blobs(90, 6, 3)
        scaled = rows * np.random.default_rng(0).uniform(0.1, 10, size=(90, 1)).astype(np.float32)
        assert (
            latent_classes(scaled, n_classes=3).codes == latent_classes(rows, n_classes=3).codes
        ).all()
        euclid = latent_classes(scaled, n_classes=3, spherical=False, labels=labels)
        assert euclid.facts["agreement"]["ari"] < 1

    def test_a_large_matrix_is_fitted_on_a_sample_and_streamed(self, monkeypatch, tmp_path):
        rows, labels = blobs(3000, 8, 4)
        np.save(tmp_path / "rows.npy", rows)
        monkeypatch.setattr(module, "_FIT_ROWS", 500)
        monkeypatch.setattr(module, "_FIT_ROWS_PER_CLASS", 10)
        found = latent_classes(
            np.load(tmp_path / "rows.npy", mmap_mode="r"), n_classes=4, labels=labels
        )
        assert found.facts["fitted_on"] == 500
        assert found.facts["agreement"]["ari"] == 1.0

    def test_identical_rows_leave_one_class_and_a_count(self):
        found = latent_classes(np.ones((20, 3), dtype=np.float32), n_classes=4)
        assert found.codes.tolist() == [0] * 20
        assert found.facts["empty_removed"] == 3

    def test_number_of_classes_comes_from_labels_or_the_square_root(self):
        rows = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
        labels = np.arange(400) % 8 - 1  # −1 is no label
        assert latent_classes(rows, labels=labels).facts["requested"] == 7
        assert latent_classes(rows).facts["requested"] == 10
        assert [default_n_classes(n) for n in (1, 2, 100, 10_000)] == [1, 1, 5, 50]
        assert default_n_classes(5, 9) == 5

    def test_faiss_prints_nothing_about_few_points(self, capfd):
        latent_classes(np.eye(12, dtype=np.float32), n_classes=9)
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""


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


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"n_classes": 5}, "as many as there are examples"),
            ({"n_classes": 0}, "between 1 class"),
            ({"method": "guess"}, "kmeans, labels"),
            ({"restarts": 0}, "at least 1"),
            ({"iterations": 0}, "at least 1"),
        ],
    )
    def test_arguments(self, arguments, match):
        with pytest.raises(UsageError, match=match):
            latent_classes(np.eye(4), **arguments)

    def test_nan_and_zero_rows_name_the_row(self):
        rows = np.ones((5, 3))
        rows[3, 1] = np.nan
        with pytest.raises(DataError, match="row 3"):
            latent_classes(rows, n_classes=2)
        rows[3] = 0
        with pytest.raises(DataError, match=r"zeros, the first of them row 3.*spherical=False"):
            latent_classes(rows, n_classes=2)
        assert latent_classes(rows, n_classes=2, spherical=False).codes.tolist() == [0, 0, 0, 1, 0]


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


def test_import_is_light():
    code = (
        "import sys, contrasift.classes, contrasift.evaluation, contrasift.projection;"
        "print([m for m in ('torch', 'faiss', 'sklearn', 'scipy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
