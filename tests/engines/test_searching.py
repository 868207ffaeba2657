"""Neighbours of many rows on Ray."""

from __future__ import annotations

import numpy as np
import pytest

from contrasift.classes import inverted, latent_classes, neighbours
from contrasift.classes.neighbours import Searching, nearest_neighbours
from contrasift.engines.searching import RaySearch, SharedLists, search_pieces
from contrasift.errors import DataError


@pytest.fixture
def rows(rng, monkeypatch):
    """Few rows in many lists."""
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 500)
    monkeypatch.setattr(inverted, "ROWS_A_LIST", 64)
    return rng.standard_normal((3_000, 6)) + 3 * rng.integers(0, 9, (3_000, 1))


def test_the_same_classes_as_in_one_process(cluster, rows, tmp_path):
    alone = latent_classes(rows, whiten=4)
    how = Searching(elsewhere=RaySearch(cluster, tmp_path / "index"))
    spread = latent_classes(rows, whiten=4, searching=how)
    assert "neighbours_search" in spread.facts
    assert np.array_equal(spread.codes, alone.codes)
    assert np.array_equal(spread.score, alone.score)
    assert spread.facts == alone.facts
    assert not (tmp_path / "index").exists()


def test_only_what_is_missing_is_searched(rows):
    """What one process had done is not done again on a cluster, and the other way round."""
    points = rows.astype(np.float32)
    kept, asked = {}, []

    class Pieces:
        def get(self, number):
            return kept.get(number)

        def put(self, number, arrays):
            kept[number] = arrays

    def elsewhere(points, lists, k, probed, pieces):
        asked.extend(pieces)
        for piece in reversed(pieces):
            own = lists.rows_of(piece)
            yield piece, inverted.search_lists(points[own], own, lists, k, probed)

    whole, _ = nearest_neighbours(points, 5, 0, Searching(pieces=Pieces()))
    del kept[1], kept[3]
    again, _ = nearest_neighbours(points, 5, 0, Searching(pieces=Pieces(), elsewhere=elsewhere))
    assert asked == [0, 2]
    assert np.array_equal(again, whole)


def test_mapped_lists_are_those_that_were_written(rows, tmp_path):
    from contrasift.engines.cluster import versions_here

    points = rows.astype(np.float32)
    lists = inverted.make_lists(points, 0)
    shared = SharedLists.write(tmp_path / "index", points, lists)
    (found,) = search_pieces(versions_here(), shared, [1], 5, 3)
    own = lists.rows_of(1)
    assert np.array_equal(found, inverted.search_lists(points[own], own, lists, 5, 3))
    (tmp_path / "index" / "names.npy").write_bytes(b"short")
    with pytest.raises(DataError, match=r"names\.npy"):
        shared.open()
