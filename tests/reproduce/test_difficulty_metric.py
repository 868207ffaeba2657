from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from contrasift.embedding import embed as embedding
from contrasift.errors import DataError
from contrasift.negatives import wordnet
from reproduce.cell import Cell
from reproduce.metrics.difficulty import DIFFICULTY_METRICS, measure_difficulty


def reading(monkeypatch, rows, labels, names):
    monkeypatch.setattr(embedding, "features", lambda pool, positions, *_, **__: rows[positions])
    return measure_difficulty(
        SimpleNamespace(
            cell=Cell.of({"pool.pool": "digits"}, 3),
            labelled=lambda: (np.arange(labels.size), labels),
            encoder=SimpleNamespace(description={"projection_dim": 4}),
            pool=SimpleNamespace(label_names=names),
            artifacts=SimpleNamespace(device="cpu"),
        )
    )


@pytest.fixture
def drawn(rng):
    """Rows of 80 examples of four classes, near to their classes' directions."""
    labels = np.arange(80) % 4
    rows = 2 * np.eye(4)[labels] + rng.normal(size=(80, 4))
    return rows.astype(np.float32), labels


def test_shares_by_difficulty_are_those_counted_one_by_one(drawn, monkeypatch):
    rows, labels = drawn
    found = reading(monkeypatch, rows, labels, ["a", "b", "c", "d"])
    lists = {"by_percentile", "hard_for_histogram", "pairs"}
    assert lists < set(found) <= set(DIFFICULTY_METRICS) | lists
    assert not any(name.startswith("depth") for name in found)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rng = np.random.default_rng(3)
    hard, rest, cosines, easiest, ranks = [], [], [], [], []
    often = []
    for _ in range(3):
        order = rng.permutation(80)
        hard_for = dict.fromkeys(order[40:].tolist(), 0)
        for query in order[:40]:
            ranked = sorted(order[40:], key=lambda one, query=query: unit[one] @ unit[query])
            same = [labels[one] == labels[query] for one in ranked]
            hard.append(np.mean(same[38:]))
            rest.append(np.mean(same[:38]))
            cosines.append(np.mean([unit[one] @ unit[query] for one in ranked[38:]]))
            easiest.append(np.mean(same[:2]) - np.mean(same))
            ranks.append(same)
            for one in ranked[38:]:
                hard_for[int(one)] += 1
        often += hard_for.values()
    assert found["same_class_95_100"] == pytest.approx(np.mean(hard))
    assert found["same_class_excess"] == pytest.approx(np.mean(hard) - np.mean(rest))
    assert found["similarity_95_100"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert found["hard_for_excess"] == pytest.approx(
        found["hard_for"] - found["hard_for_by_chance"]
    )
    assert found["same_class_easiest_excess"] == pytest.approx(np.mean(easiest))
    by_percentile = found["by_percentile"]
    assert by_percentile["percentile"] == [2.5 * (place + 1) for place in range(40)]
    np.testing.assert_allclose(by_percentile["same_class"], np.mean(ranks, axis=0), atol=1e-5)
    assert by_percentile["similarity"] == sorted(by_percentile["similarity"])
    histogram = found["hard_for_histogram"]
    # So many of 40 queries, in bins of half a percent: five bins a query.
    expected = np.bincount([5 * count for count in often])
    assert (histogram["width"], histogram["found"]) == (0.005, expected.tolist())
    assert sum(histogram["by_chance"]) == 3 * 40
    assert -1 <= found["most_anticorrelated"] < found["most_correlated"] <= 1


def test_pairs_of_classes_have_names(drawn, monkeypatch):
    rows, labels = drawn
    found = reading(monkeypatch, rows, labels, ["a", "b", "c", "d"])["pairs"]
    assert {len(pairs) for pairs in found.values()} == {10}
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rng = np.random.default_rng(3)
    orders = [rng.permutation(80) for _ in range(3)]
    queries = np.concatenate([order[:40] for order in orders])
    negatives = np.concatenate([order[40:] for order in orders])
    means = {
        (first, second): np.mean([
            unit[q] @ unit[k]
            for q in queries[labels[queries] == "abcd".index(first)]
            for k in negatives[labels[negatives] == "abcd".index(second)]
        ])
        for first in "abcd"
        for second in "abcd"
        if first != second
    }  # fmt: skip
    for kind, key in (("correlated", lambda one: -means[one]), ("anticorrelated", means.get),
                      ("orthogonal", lambda one: abs(means[one]))):  # fmt: skip
        wanted = sorted(means, key=key)[:10]
        assert [tuple(one[:2]) for one in found[kind]] == wanted
        assert [one[2] for one in found[kind]] == pytest.approx(
            [means[one] for one in wanted], abs=1e-5
        )


def test_depths_where_classes_have_synsets(drawn, monkeypatch):
    rows, labels = drawn
    table = np.where(np.eye(4, dtype=bool), 9, 2).astype(np.float32)
    monkeypatch.setattr(wordnet, "find_wordnet", lambda: "somewhere")
    monkeypatch.setattr(wordnet, "read_wordnet", lambda path: None)
    monkeypatch.setattr(wordnet, "depth_table", lambda nouns, synsets: table)
    found = reading(monkeypatch, rows, labels, ["cat", "dog", "ship", "truck"])
    assert found["depth_95_100"] == pytest.approx(2 + 7 * found["same_class_95_100"])
    assert found["depth_excess"] == pytest.approx(7 * found["same_class_excess"])
    assert found["depth_easiest_excess"] == pytest.approx(
        7 * (found["same_class_0_5"] - found["same_class_0_50"])
    )
    assert len(found["by_percentile"]["depth"]) == 40


def test_too_few_to_draw_from(monkeypatch):
    with pytest.raises(DataError, match="at least 4"):
        reading(monkeypatch, np.eye(4, dtype=np.float32), np.arange(3), ["a", "b", "c"])
