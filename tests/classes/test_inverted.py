from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from contrasift.classes import inverted, latent_classes
from contrasift.classes import neighbours as module
from contrasift.classes.agreement import class_agreement
from contrasift.classes.assign import fit_assigner
from contrasift.classes.neighbours import Searching, check_memory, nearest_neighbours
from contrasift.errors import UsageError
from contrasift.selection.kernels import dots
from contrasift.selection.kernels.nearest_rows import nearest_rows
from forking import started


class Kept:
    """Pieces in a dictionary, which can be told to die."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.pieces: dict[int, dict[str, np.ndarray]] = {}
        self.left = dies_after
        self.asked = 0

    def get(self, number: int) -> dict[str, np.ndarray] | None:
        self.asked += 1
        return self.pieces.get(number)

    def put(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt("killed")
        assert number not in self.pieces
        self.pieces[number] = arrays


def clustered(n: int = 6000, d: int = 16, k: int = 30, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    rows = rng.normal(size=(k, d))[labels] + 0.3 * rng.normal(size=(n, d))
    return rows.astype(np.float32), labels


@pytest.fixture(autouse=True)
def _small_lists(monkeypatch):
    monkeypatch.setattr(module, "EXACT_ROWS", 500)
    monkeypatch.setattr(inverted, "ROWS_A_LIST", 64)
    monkeypatch.setattr(inverted, "PIECE", 4)


def share_found(found: np.ndarray, points: np.ndarray) -> float:
    true = nearest_rows(points, points, found.shape[1], own=np.arange(len(points)))
    return float(np.mean([len(set(a) & set(b)) for a, b in zip(found, true, strict=True)])) / len(
        found[0]
    )


class TestLists:
    def test_hold_every_row_once(self):
        points, _ = clustered(1000)
        lists = inverted.make_lists(points, 0)
        assert sorted(lists.order.tolist()) == list(range(1000))
        names = lists.columns.names
        for t in range(lists.count):
            own = np.flatnonzero(lists.home == t)
            inside = names[lists.panels[t] : lists.panels[t + 1]]
            assert inside[inside >= 0].tolist() == own.tolist()
        there = names.reshape(-1) >= 0
        back = np.moveaxis(lists.columns.packed, 1, 2).reshape(-1, points.shape[1])
        assert (back[there] == points[names.reshape(-1)[there]]).all()
        nearest = nearest_rows(points, lists.centroids, 1)[:, 0]
        assert (lists.home == nearest).all()

    @pytest.mark.parametrize("probed", [1, 5, 1000])
    def test_what_is_found_are_the_nearest_of_the_lists_looked_into(self, probed):
        points, _ = clustered(900)
        lists = inverted.make_lists(points, 0)
        rows = np.arange(40, 90)
        found = inverted.search_lists(points[rows], rows, lists, 7, probed)
        near = nearest_rows(points[rows], lists.centroids, min(probed, lists.count))
        for row, own, mine in zip(rows, found, near, strict=True):
            allowed = np.flatnonzero(np.isin(lists.home, mine) & (np.arange(900) != row))
            k = min(7, allowed.size)
            true = allowed[nearest_rows(points[row : row + 1], points[allowed], k)[0]] if k else []
            assert own.tolist() == [*true, *[-1] * (7 - k)]

    def test_the_recall_that_is_said_is_the_recall(self):
        points, _ = clustered()
        for wished in (0.7, 0.9, 0.99):
            found, facts = nearest_neighbours(points, 8, 0, Searching(recall=wished))
            assert facts["recall"] >= wished
            assert share_found(found, points) == pytest.approx(facts["recall"], abs=0.02)
        assert facts["probed"] < facts["lists"] / 2

    def test_the_last_neighbours_are_not_worth_every_list(self, monkeypatch):
        points = np.random.default_rng(0).normal(size=(4000, 40)).astype(np.float32)
        _, dear = nearest_neighbours(points, 8, 0, Searching(recall=0.99))
        monkeypatch.setattr(inverted, "MOST_LISTS", 5)
        found, cheap = nearest_neighbours(points, 8, 0, Searching(recall=0.99))
        assert dear["recall"] >= 0.99
        assert dear["probed"] > cheap["probed"] > 5
        assert cheap["recall"] == pytest.approx(0.9, abs=0.01)
        assert share_found(found, points) == pytest.approx(cheap["recall"], abs=0.02)

    def test_all_lists_are_all_rows(self):
        points, _ = clustered(800)
        found, _ = nearest_neighbours(points, 8, 0, Searching(recall=1.0))
        assert share_found(found, points) > 0.999

    @pytest.mark.parametrize("threads", [1, 2, 4])
    def test_threads_change_nothing(self, threads):
        points, _ = clustered(3000)
        one, facts = nearest_neighbours(points, 6, 1, Searching(threads=1))
        again, other = nearest_neighbours(points, 6, 1, Searching(threads=threads))
        assert (one == again).all()
        assert facts == other


class TestResuming:
    @pytest.mark.parametrize("dies_after", [0, 1, 4, 9])
    def test_goes_on_where_it_was_broken_off(self, dies_after):
        points, _ = clustered(3000)
        whole, facts = nearest_neighbours(points, 6)
        kept = Kept(dies_after)
        with pytest.raises(KeyboardInterrupt, match="killed"):
            nearest_neighbours(points, 6, 0, Searching(pieces=kept))
        there = len(kept.pieces)
        kept.left = None
        told = []
        found, other = nearest_neighbours(
            points, 6, 0, Searching(pieces=kept, told=lambda *at: told.append(at))
        )
        assert there == dies_after
        assert (found == whole).all()
        assert facts == other
        assert max(told) == (3000, 3000)


def search_and_die(pipe):
    """Search, until the fourth piece is written."""
    from contrasift.store.pieces import KeptPieces
    from contrasift.store.shards import ShardFolder

    class Dying(ShardFolder):
        left = 3

        def finish(self, *given):
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            super().finish(*given)

    module.EXACT_ROWS, inverted.ROWS_A_LIST, inverted.PIECE = 500, 64, 4
    pieces = KeptPieces(Dying(Path("pieces"), "x"))
    nearest_neighbours(np.load("points.npy"), 6, 0, Searching(pieces=pieces, threads=1))


class TestKilled:
    def test_goes_on_with_the_same_bytes(self, tmp_path, monkeypatch):
        """SIGKILL when a piece is written, and not yet vouched for."""
        from contrasift.store.pieces import KeptPieces
        from contrasift.store.shards import ShardFolder

        points, _ = clustered(3000)
        np.save("points.npy", points)
        process, _ = started(search_and_die)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        folder = ShardFolder(tmp_path / "pieces", "x")
        assert len(list((tmp_path / "pieces").glob("*.json"))) >= 3
        whole, facts = nearest_neighbours(points, 6)
        found, other = nearest_neighbours(points, 6, 0, Searching(pieces=KeptPieces(folder)))
        assert (found == whole).all()
        assert facts == other


class TestClasses:
    def test_are_those_of_exact_neighbours(self, monkeypatch):
        rows, labels = clustered()
        near = latent_classes(rows, labels=labels)
        monkeypatch.setattr(module, "EXACT_ROWS", 10_000)
        exact = latent_classes(rows, labels=labels)
        other = latent_classes(rows, labels=labels, seed=1)
        assert "neighbours_search" not in exact.facts
        assert near.facts["neighbours_search"]["recall"] >= 0.95
        seeds = class_agreement(exact.codes, other.codes)["ari"]
        assert class_agreement(near.codes, exact.codes)["ari"] >= seeds - 0.02

    @pytest.mark.parametrize("exact_rows", [500, 10_000])
    def test_are_the_same_for_any_number_of_threads(self, monkeypatch, exact_rows):
        monkeypatch.setattr(module, "EXACT_ROWS", exact_rows)
        rows, _ = clustered(2500)
        found = []
        for threads in (1, 2, 4):
            monkeypatch.setattr(dots, "available_threads", lambda asked, count=threads: count)
            one = latent_classes(rows, resolutions=(1.0, 8.0))
            arrays = [one.codes, one.score, *(one.levels[level] for level in (1.0, 8.0))]
            found.append(([array.tobytes() for array in arrays], one.facts))
        assert found[0] == found[1] == found[2]

    def test_propagation_uses_the_same_graph(self):
        rows, labels = clustered()
        found = latent_classes(rows, method="propagate", label_share=0.02, labels=labels)
        assert found.facts["neighbours_search"]["recall"] >= 0.95
        assert found.facts["agreement"]["ari"] > 0.9

    def test_new_rows_are_judged_by_the_lists(self, monkeypatch):
        from contrasift.classes import assign

        rows, labels = clustered()
        monkeypatch.setattr(assign, "EXACT_ROWS", 500)
        near = fit_assigner(rows[:5600], labels[:5600], 30, way="neighbours")
        assert near.probed >= 1
        assert (near.classes_of(rows[5600:])[0] == labels[5600:]).mean() > 0.95
        assert near.agreement() > 0.95


class TestMemory:
    def test_a_limit_that_cannot_be_met_says_what_would(self):
        rows, _ = clustered(1000)
        for limit, remedy in {300_000: "Raise it.*kmeans", 410_000: "whiten=8.*kmeans"}.items():
            with pytest.raises(UsageError, match=remedy):
                latent_classes(rows, searching=Searching(memory_limit=limit << 10))
        latent_classes(rows, searching=Searching(memory_limit=2 << 30))

    def test_ten_million_rows_fit_where_they_were_measured(self):
        assert 9e9 < check_memory(10_000_000, 64, 10, limit=12 * 10**9) < 12e9

    def test_grows_with_the_rows(self):
        assert check_memory(10_000_000, 64, 10, None) > 9 * check_memory(
            1_000_000, 64, 10, None
        ) - (4 << 30)


class TestBadInput:
    """What is odd about a pool changes neither the shape of a result nor that it comes."""

    def classes(self, rows: np.ndarray, **options) -> np.ndarray:
        found = latent_classes(rows, **options)
        assert found.codes.shape == (len(rows),)
        assert found.codes.min() == 0
        assert sum(found.facts["sizes"]) == len(rows)
        assert np.isfinite(found.score).all()
        return found.codes

    def test_all_rows_equal(self):
        assert self.classes(np.ones((3000, 5), np.float32)).max() == 0

    def test_hubs(self):
        rows, _ = clustered(2000)
        rows = np.concatenate([rows, np.repeat(rows[:1], 20_000, axis=0)])
        codes = self.classes(rows)
        assert np.unique(codes[2000:]).size == 1
        assert (codes == codes[-1]).sum() == 20_001

    def test_hubs_under_propagation(self):
        rows, labels = clustered(2000)
        rows = np.concatenate([rows, np.repeat(rows[:1], 3_000, axis=0)])
        labels = np.concatenate([labels, np.full(3000, labels[0])])
        codes = self.classes(rows, method="propagate", labels=labels, label_share=0.05)
        assert (codes == labels).mean() > 0.9

    def test_two_far_clusters(self):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(2000, 4)) + 1e4 * (np.arange(2000)[:, None] % 2)
        codes = self.classes(rows.astype(np.float32), metric="euclidean", whiten=0, resolution=0.01)
        assert codes.tolist() == (np.arange(2000) % 2).tolist()

    def test_a_disconnected_graph_of_many_components(self):
        rng = np.random.default_rng(0)
        centres = 1e3 * rng.normal(size=(1000, 8))
        rows = np.repeat(centres, 8, axis=0) + rng.normal(size=(8000, 8))
        codes = self.classes(rows, metric="euclidean", whiten=0, graph_neighbours=4)
        assert class_agreement(codes, np.repeat(np.arange(1000), 8))["purity"] > 0.9

    def test_very_wide_rows(self):
        rows = np.random.default_rng(0).normal(size=(600, 4096)).astype(np.float32)
        self.classes(rows, whiten=0)

    @pytest.mark.parametrize(("n", "d"), [(2000, 1), (600, 64), (12, 3), (5, 3)])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_shapes_and_types(self, n, d, dtype):
        rows = np.random.default_rng(0).normal(size=(n, d)).astype(dtype)
        self.classes(rows)

    def test_isolated_rows(self):
        rows, _ = clustered(1000)
        far = 50 * np.eye(16, dtype=np.float32)
        self.classes(np.concatenate([rows, far]), graph="mutual")
