from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.classes import kmeans as module
from contrasift.classes import latent_classes
from contrasift.classes.agreement import renumber
from contrasift.classes.find import range_of_classes
from contrasift.classes.rows import Rows
from contrasift.errors import DataError, UsageError


def blobs(n: int, d: int, k: int, seed: int = 0, noise: float = 0.05) -> tuple:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(n) % k
    return (centres[labels] + noise * rng.normal(size=(n, d))).astype(np.float32), labels


def clusters(rows: np.ndarray, **arguments):
    return latent_classes(rows, **({"method": "kmeans", "whiten": 0} | arguments))


def assign(rows: np.ndarray, centroids: np.ndarray, spherical: bool = False):
    return module.assign(Rows(rows, None, spherical), centroids)


def naive_assignment(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    rows, centroids = rows.astype(np.float64), centroids.astype(np.float64)
    return np.array([[((x - c) ** 2).sum() for c in centroids] for x in rows]).argmin(axis=1)


class TestKmeans:
    def test_finds_separated_groups(self):
        rows, labels = blobs(200, 8, 5)
        found = clusters(rows, n_classes=5, labels=labels)
        assert found.facts["agreement"] == {"ari": 1.0, "nmi": 1.0, "purity": 1.0, "n": 200.0}
        assert found.facts["sizes"] == [40] * 5
        assert found.method == "kmeans"
        assert found.score.min() > 0.5

    @pytest.mark.parametrize("spherical", [True, False])
    @pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (2, 2), (7, 3), (50, 7), (50, 50)])
    def test_any_size_gives_a_partition_with_scores(self, n, k, spherical):
        rows = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        found = clusters(
            rows, n_classes=k, metric="spherical" if spherical else "euclidean", restarts=2
        )
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
        codes, score, inertia = assign(rows, centroids, spherical=False)
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
        assert (assign(rows, centroids, spherical=False)[0] == expected).all()

    def test_assignment_is_the_same_in_any_blocks(self, monkeypatch):
        rows, _ = blobs(500, 16, 9, noise=0.5)
        centroids = rows[:20].copy()
        whole = assign(rows, centroids, spherical=True)
        monkeypatch.setattr(
            module,
            "row_blocks",
            lambda n, size: [slice(i, min(i + 7, n)) for i in range(0, n, 7)],
        )
        parts = assign(rows, centroids, spherical=True)
        assert (whole[0] == parts[0]).all()
        assert (whole[1] == parts[1]).all()

    def test_numbering_is_by_size_then_lowest_member(self):
        codes = np.array([9, 4, 4, 2, 2, 7, 7, 7])
        assert renumber(codes)[0].tolist() == [3, 1, 1, 2, 2, 0, 0, 0]

    def test_is_repeatable_and_reads_the_seed(self):
        rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
        first, again, other = (
            clusters(rows, n_classes=20, seed=seed, restarts=1) for seed in (1, 1, 2)
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
                results.append(clusters(rows, n_classes=30, restarts=2))
        finally:
            faiss.omp_set_num_threads(before)
        assert all((result.codes == results[0].codes).all() for result in results)

    def test_more_restarts_never_end_worse(self):
        rows = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
        one, many = (
            clusters(rows, n_classes=15, restarts=restarts).facts["inertia"] for restarts in (1, 8)
        )
        # faiss compares objectives before the last update of the centroids.
        assert many <= one * 1.01

    def test_spherical_sees_directions_only(self):
        rows, labels = blobs(90, 6, 3)
        scaled = rows * np.random.default_rng(0).uniform(0.1, 10, size=(90, 1)).astype(np.float32)
        assert (clusters(scaled, n_classes=3).codes == clusters(rows, n_classes=3).codes).all()
        euclid = clusters(scaled, n_classes=3, metric="euclidean", labels=labels)
        assert euclid.facts["agreement"]["ari"] < 1

    def test_a_large_matrix_is_fitted_on_a_sample_and_streamed(self, monkeypatch, tmp_path):
        rows, labels = blobs(3000, 8, 4)
        np.save(tmp_path / "rows.npy", rows)
        monkeypatch.setattr(module, "FIT_ROWS", 500)
        monkeypatch.setattr(module, "FIT_ROWS_PER_CLASS", 10)
        found = clusters(np.load(tmp_path / "rows.npy", mmap_mode="r"), n_classes=4, labels=labels)
        assert found.facts["fitted_on"] == 500
        assert found.facts["agreement"]["ari"] == 1.0

    def test_identical_rows_leave_one_class_and_a_count(self):
        found = clusters(np.ones((20, 3), dtype=np.float32), n_classes=4)
        assert found.codes.tolist() == [0] * 20
        assert found.facts["empty_removed"] == 3

    def test_number_of_classes_comes_from_labels_or_is_chosen(self):
        rows = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
        labels = np.arange(400) % 8 - 1  # −1 is no label
        assert clusters(rows, labels=labels).facts["requested"] == 7
        facts = clusters(rows).facts
        tried = [point["n_classes"] for point in facts["curve"]]
        assert (tried[0], tried[-1]) == (2, 40)
        best = max(facts["curve"], key=lambda point: point["modularity"])
        assert facts["requested"] == best["n_classes"]

    @pytest.mark.parametrize(
        ("n", "n_classes", "labels", "expected"),
        [
            (100, None, 7, (7, 7)),
            (5, None, 9, (5, 5)),
            (100, 12, 7, (12, 12)),
            (100, "12", 0, (12, 12)),
            (100, "3:40", 7, (3, 40)),
            (100, None, 0, (1, 20)),
            (10_000, "auto", 62, (10, 200)),
            (1, "auto", 0, (1, 1)),
            (2, "auto", 0, (1, 2)),
        ],
    )
    def test_ranges(self, n, n_classes, labels, expected):
        assert range_of_classes(n, n_classes, labels) == expected

    @pytest.mark.parametrize("text", ["many", "3:4:5", "-3", "3:", "2.5"])
    def test_ranges_that_are_none(self, text):
        with pytest.raises(UsageError, match="50:400"):
            range_of_classes(100, text)

    @pytest.mark.parametrize("text", ["9:3", "0:5", "5:21"])
    def test_ranges_outside_the_pool(self, text):
        with pytest.raises(UsageError, match="a range of classes within"):
            clusters(np.random.default_rng(0).normal(size=(20, 3)), n_classes=text)

    def test_the_planted_number_is_chosen(self):
        rows, labels = blobs(600, 16, 12, noise=0.08)
        found = clusters(rows, n_classes="3:48", labels=labels)
        # Tried: 3, 4, 7, 10, 15, 22, 32, 48: the nearest to 12 are 10 and 15.
        assert found.facts["requested"] in (10, 15)
        values = {point["n_classes"]: point["modularity"] for point in found.facts["curve"]}
        assert values[3] < values[10] > values[48]

    def test_large_classes_are_split_within_themselves(self):
        rows, labels = blobs(400, 8, 8, noise=0.05)
        coarse = clusters(rows, n_classes=2)
        fine = clusters(rows, n_classes=2, max_class_size=60, labels=labels)
        assert max(fine.facts["sizes"]) <= 60
        assert fine.facts["agreement"]["purity"] > 0.95
        for code in range(len(fine.names)):
            assert np.unique(coarse.codes[fine.codes == code]).size == 1
        assert fine.facts["splitting"]["split"] == 2
        same = clusters(rows, n_classes=2, max_class_size=400)
        assert (same.codes == coarse.codes).all()

    def test_equal_rows_are_split_in_their_order(self):
        found = clusters(np.ones((25, 3), dtype=np.float32), n_classes=1, max_class_size=10)
        assert sorted(found.facts["sizes"]) == [5, 10, 10]
        with pytest.raises(UsageError, match="max_class_size= of at least 1"):
            clusters(np.ones((25, 3)), n_classes=1, max_class_size=0)

    def test_faiss_prints_nothing_about_few_points(self, capfd):
        clusters(np.eye(12, dtype=np.float32), n_classes=9)
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"n_classes": 5}, "as many as there are examples"),
            ({"n_classes": 0}, "between 1 class"),
            ({"method": "guess"}, "kmeans, few-labels"),
            ({"metric": "city"}, "spherical, euclidean"),
            ({"whiten": -1}, "0 for none"),
            ({"restarts": 0}, "at least 1"),
            ({"iterations": 0}, "at least 1"),
        ],
    )
    def test_arguments(self, arguments, match):
        with pytest.raises(UsageError, match=match):
            clusters(np.eye(4), **arguments)

    def test_nan_and_zero_rows_name_the_row(self):
        rows = np.ones((5, 3))
        rows[3, 1] = np.nan
        with pytest.raises(DataError, match="row 3"):
            clusters(rows, n_classes=2)
        rows[3] = 0
        with pytest.raises(DataError, match=r"zeros, the first of them row 3.*metric='euclidean'"):
            clusters(rows, n_classes=2)
        assert clusters(rows, n_classes=2, metric="euclidean").codes.tolist() == [0, 0, 0, 1, 0]
