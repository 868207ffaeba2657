"""Selection on Ray: the bytes of one process, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from contrasift.engines.solving import RayEngine, solve_group
from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.matrices import open_embeddings
from contrasift.selection.select import select
from contrasift.store.selections import write_selection

N, WIDTH = 6_000, 10


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A matrix with equal rows and classes of very different sizes, and its classes."""
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((N, WIDTH)) + 0.7).astype(np.float32)
    values[200:260] = values[100]
    values[3000:3300:2] = values[3001]
    path = tmp_path_factory.mktemp("pool") / "values.npy"
    np.save(path, values)
    classes = rng.integers(0, 12, N)
    classes[:2500] = 40
    return np.load(path, mmap_mode="r"), classes


def digests(selection, folder: Path) -> dict[str, str]:
    """Hashes of what a selection leaves on disk."""
    write_selection(folder, selection)
    names = ("selection.parquet", "ranking.npy", "rule.npz")
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in names
        if (folder / name).exists()
    }


def engine_of(cluster, folder, **changes) -> RayEngine:
    settings = {"task_rows": 700, "spread_rows": 2_000, "part_rows": 613, **changes}
    return RayEngine(cluster, Path(folder), **settings)


def both(pool, cluster, folder, **options):
    """The same selection by one process and by the cluster."""
    alone = select(*pool, **options)
    spread = select(*pool, **options, engine=engine_of(cluster, folder / "work"))
    return alone, spread


@pytest.mark.parametrize(
    "options",
    [
        {"fraction": 0.3},
        {"fraction": 0.3, "allocate": "global", "min_per_class": 0},
        {"fractions": [0.1, 0.2], "min_per_class": 5},
        {"fraction": 0.3, "refine": "double-greedy-random"},
        {"budget": 900, "objective": "random"},
        {"budget": 5},
        {"budget": 900, "must_keep": np.arange(0, N, 91), "must_drop": np.arange(5, N, 7)},
        {"fraction": 0.2, "optimizer": "relaxed"},
        {"fraction": 0.2, "optimizer": "relaxed", "allocate": "global"},
        {"fraction": 0.45, "optimizer": "relaxed", "normalize": "none", "allocate": "equal"},
        {
            "budget": 1200,
            "optimizer": "relaxed",
            "must_keep": np.arange(0, N, 91),
            "must_drop": np.arange(5, N, 7),
        },
    ],
    ids=lambda options: "-".join(f"{name}" for name in options),
)
def test_the_same_bytes_as_in_one_process(pool, cluster, tmp_path, options):
    alone, spread = both(pool, cluster, tmp_path, **options)
    assert digests(spread, tmp_path / "b") == digests(alone, tmp_path / "a")
    assert spread.certificate == alone.certificate
    assert spread.classes == alone.classes
    assert spread.notes == alone.notes
    relaxed = options.get("optimizer") == "relaxed"
    assert spread.facts["spread_classes"] == int(relaxed)
    assert spread.facts["tasks"] > 1 or options.get("allocate") == "global"


def test_scores_and_a_matrix_in_memory(pool, cluster, tmp_path):
    values, classes = pool
    held = np.asarray(values[:500], dtype=np.float64)
    scores = np.random.default_rng(1).random(500)
    options = {"fraction": 0.2, "objective": "scores", "scores": scores}
    alone = select(held, classes[:500], **options)
    engine = engine_of(cluster, tmp_path / "work")
    spread = select(held, classes[:500], **options, engine=engine)
    assert digests(spread, tmp_path / "b") == digests(alone, tmp_path / "a")
    engine.remove_shards()
    assert not list((tmp_path / "work").iterdir())


def test_rows_that_cannot_be_used_are_dropped_alike(pool, cluster, tmp_path):
    values, classes = np.array(pool[0][:500]), pool[1][:500]
    bad = [3, 77, 400]
    values[bad] = np.nan
    for place in ("memory", "file"):
        np.save(tmp_path / "z.npy", values)
        given = values if place == "memory" else open_embeddings(tmp_path / "z.npy")
        options = {"fraction": 0.2, "must_drop": bad}
        alone = select(values, classes, **options)
        engine = engine_of(cluster, tmp_path / place)
        spread = select(given, classes, **options, engine=engine)
        assert digests(spread, tmp_path / "b") == digests(alone, tmp_path / "a")


def test_one_row(cluster, tmp_path):
    alone = select(np.ones((1, 3)), fraction=1.0)
    spread = select(np.ones((1, 3)), fraction=1.0, engine=engine_of(cluster, tmp_path / "work"))
    assert digests(spread, tmp_path / "b") == digests(alone, tmp_path / "a")


def test_a_worker_is_killed(pool, cluster, tmp_path):
    marker = tmp_path / "killed"

    def dies_once(job, shard, *rest):
        if shard == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return solve_group(job, shard, *rest)

    engine = engine_of(cluster, tmp_path / "work", task=dies_once)
    spread = select(*pool, fraction=0.3, engine=engine)
    assert marker.exists()
    expected = digests(select(*pool, fraction=0.3), tmp_path / "a")
    assert digests(spread, tmp_path / "b") == expected


@pytest.mark.slow
def test_a_node_is_lost(pool, nodes, cluster, tmp_path):
    """Tasks run on a second node; it goes; they end on the first, which is let in by then."""
    import ray

    started, gate = tmp_path / "started", tmp_path / "gate"
    second = nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
    nodes.wait_for_nodes()
    lost = second.node_id

    def slow_there(job, shard, *rest):
        if ray.get_runtime_context().get_node_id() == lost:
            started.touch()
            time.sleep(60)
        while not gate.exists():
            time.sleep(0.02)
        return solve_group(job, shard, *rest)

    from concurrent.futures import ThreadPoolExecutor

    def take_away():
        while not started.exists():
            time.sleep(0.02)
        nodes.remove_node(second, allow_graceful=False)
        gate.touch()

    engine = engine_of(cluster, tmp_path / "work", task=slow_there)
    with ThreadPoolExecutor(1) as beside:
        gone = beside.submit(take_away)
        spread = select(*pool, fraction=0.3, engine=engine)
        gone.result()
    expected = digests(select(*pool, fraction=0.3), tmp_path / "a")
    assert digests(spread, tmp_path / "b") == expected


DRIVER = """
import sys, time
from pathlib import Path
import numpy as np
from contrasift.engines.cluster import connect
from contrasift.engines.solving import RayEngine, solve_group
from contrasift.selection.select import select

def slow(job, shard, *rest):
    if shard not in (0, 2):  # the largest class comes first
        time.sleep(60)
    return solve_group(job, shard, *rest)

matrix, classes, folder, address = sys.argv[1:]
with connect(address) as cluster:
    engine = RayEngine(cluster, Path(folder), 700, 2000, 613, slow)
    select(np.load(matrix, mmap_mode="r"), np.load(classes), fraction=0.3, engine=engine)
"""


@pytest.mark.slow
def test_the_driver_is_killed_and_the_same_command_goes_on(pool, nodes, cluster, tmp_path):
    values, classes = pool
    np.save(tmp_path / "classes.npy", classes)
    folder = tmp_path / "work"
    paths = [values.filename, tmp_path / "classes.npy", folder]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, paths), nodes.address])
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("selection.shards/0000*.json")):
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
    spread = select(*pool, fraction=0.3, engine=engine_of(cluster, folder))
    assert spread.facts["tasks_finished_before"] >= 1
    expected = digests(select(*pool, fraction=0.3), tmp_path / "a")
    assert digests(spread, tmp_path / "b") == expected


def test_damaged_missing_and_foreign_shards(pool, cluster, tmp_path):
    engine = engine_of(cluster, tmp_path / "work")
    first = select(*pool, fraction=0.3, engine=engine)
    assert first.facts["tasks_finished_before"] == 0
    n_tasks = first.facts["tasks"]
    shards = engine.shards_path
    # A missing file is made again, and so is one that is cut short.
    (shards / "00001-rows.parquet").unlink()
    short = shards / "00002-rows.parquet"
    short.write_bytes(short.read_bytes()[:-7])
    again = select(*pool, fraction=0.3, engine=engine)
    assert again.facts["tasks_finished_before"] == n_tasks - 2
    assert digests(again, tmp_path / "b") == digests(first, tmp_path / "a")
    # One of the same size and another content is not believed.
    content = bytearray(short.read_bytes())
    content[50] ^= 1
    short.write_bytes(bytes(content))
    with pytest.raises(DataError, match="as it was written"):
        select(*pool, fraction=0.3, engine=engine)
    # Under other options nothing is taken over.
    other = select(*pool, fraction=0.2, engine=engine)
    assert other.facts["tasks_finished_before"] == 0


def test_errors_of_tasks_arrive_in_their_own_words(pool, cluster, tmp_path):
    from contrasift.engines.cluster import plain_errors

    values, classes = pool
    broken = np.array(values)
    broken[4_321, 2] = np.nan
    with (
        pytest.raises(
            DataError, match=r"NaN or infinity in 1 row\(s\), the first of them row 4321"
        ),
        plain_errors(),
    ):
        select(broken, classes, fraction=0.3, engine=engine_of(cluster, tmp_path / "a"))
    broken[4_321] = 0
    relaxed = {"fraction": 0.3, "optimizer": "relaxed", "allocate": "global"}
    with pytest.raises(DataError, match=r"zeros, the first of them row 4321"), plain_errors():
        select(broken, classes, **relaxed, engine=engine_of(cluster, tmp_path / "b"))

    def runs_into_a_bug(*_):
        raise RuntimeError("something unforeseen")

    engine = engine_of(cluster, tmp_path / "c", task=runs_into_a_bug)
    with pytest.raises(ContrasiftError, match="something unforeseen"), plain_errors():
        select(*pool, fraction=0.3, engine=engine)


def test_a_class_that_fits_no_node(pool, cluster, tmp_path):
    small = dataclasses.replace(cluster, memory=1 << 20)
    with pytest.raises(UsageError, match=r"class 40 of 2,500 examples.*optimizer='relaxed'"):
        select(*pool, fraction=0.3, engine=engine_of(small, tmp_path))
