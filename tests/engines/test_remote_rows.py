"""Tasks read their rows from an object by themselves, and the selection is the same."""

from __future__ import annotations

import io
import re

import fsspec
import numpy as np
import pytest

from contrasift.engines import solving
from contrasift.engines.cluster import Cluster, plain_errors
from contrasift.engines.solving import RayEngine
from contrasift.errors import DataError
from contrasift.matrices import open_embeddings
from contrasift.results import Embeddings
from contrasift.selection.select import select
from contrasift.store.objects import RemoteFile
from contrasift.store.remote import RemoteMatrix
from web_server import served


@pytest.fixture
def stored(rng):
    """A matrix in order of its classes, and the web server that has it."""
    values = rng.standard_normal((60, 5)).astype(np.float32)
    file = io.BytesIO()
    np.save(file, values)
    with served(**{"values.npy": file.getvalue()}) as (web, folder):
        yield values, np.repeat(np.arange(3), 20), web, f"{folder}/values.npy"


def test_a_task_reads_its_own_rows_and_no_others(rng, tmp_path, monkeypatch):
    """The engine itself, with its tasks done one by one in this process."""
    values = rng.standard_normal((60, 5)).astype(np.float32)
    classes = np.repeat(np.arange(3), 20)
    file = io.BytesIO()
    np.save(file, values)
    storage = fsspec.filesystem("memory")
    storage.pipe_file("memory://rows/values.npy", file.getvalue())
    read = []

    def in_turn(function, calls, **_):
        for name, arguments in calls:
            read.clear()
            yield name, function(*arguments)
            assert [(first - 128) // 20 for first, _ in read] == [20 * name]
            assert [(stop - 128) // 20 for _, stop in read] == [20 * name + 20]

    asked = RemoteFile.read_ranges
    monkeypatch.setattr(
        RemoteFile,
        "read_ranges",
        lambda self, spans: read.extend(s for s in spans if s[0]) or asked(self, spans),
    )
    monkeypatch.setattr(solving, "in_tasks", in_turn)
    rows = open_embeddings("memory://rows/values.npy", remote_rows=True)
    engine = RayEngine(Cluster(2, 0, 1 << 40, 0.0, None), tmp_path / "out", task_rows=20)
    # Copies are looked for in parts of their own, through all rows.
    there = select(rows, classes, fraction=0.3, normalize="rows", engine=engine, copies="keep")
    here = select(values, classes, fraction=0.3)
    copied = select(rows.values, classes, fraction=0.3)  # in this process: all of it is read
    for other in (there, copied):
        np.testing.assert_array_equal(other.ranking, here.ranking)
        np.testing.assert_array_equal(other.gain, here.gain)


@pytest.mark.parametrize("options", [{}, {"optimizer": "relaxed"}])
def test_the_same_selection_without_a_copy(stored, cluster, tmp_path, options):
    values, classes, web, url = stored
    rows = open_embeddings(url, remote_rows=True)
    assert isinstance(rows.values, RemoteMatrix)
    assert not rows.described
    web.asked.clear()
    # Classes of 20 rows: tasks of their own, or, relaxed, spread over parts of 7 rows.
    engine = RayEngine(cluster, tmp_path / "out", task_rows=20, spread_rows=10, part_rows=7)
    options = {"fraction": 0.3, "normalize": "rows", "copies": "keep", **options}
    there = select(rows, classes, engine=engine, **options)
    here = select(values, classes, **options)
    np.testing.assert_array_equal(there.ranking, here.ranking)
    np.testing.assert_array_equal(there.gain, here.gain)
    spans = [
        tuple(map(int, found.groups()))
        for line in web.asked
        if (found := re.search(r"bytes=(\d+)-(\d+)", line)) and found[1] != "0"
    ]
    assert spans
    assert max(last + 1 - first for first, last in spans) <= 20 * 20  # bytes: a class, no more
    assert not (tmp_path / "cache" / "contrasift" / "objects").exists()


def test_an_object_that_changed_stops_the_tasks(stored, cluster, tmp_path):
    _, classes, web, url = stored
    rows = Embeddings(RemoteMatrix(RemoteFile.look_up(url)), np.arange(60))
    web.tag = '"2"'
    with pytest.raises(DataError, match="changed while it was read"), plain_errors():
        select(rows, classes, fraction=0.3, engine=RayEngine(cluster, tmp_path / "out"))
