"""The dot product has one order, and sums have none."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from contrasift.errors import DataError, UsageError
from contrasift.selection.kernels import dots as kernels
from contrasift.selection.kernels import greedy_passes
from contrasift.selection.kernels import linear_form as objectives
from reference import dots, exact_sum

DIMENSIONS = [1, 2, 7, 8, 9, 15, 31, 32, 33, 40, 63, 64, 100, 128, 130]


def random_rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_dot_has_the_documented_order(d):
    rows = random_rows(20, d)
    vector = np.random.default_rng(1).standard_normal(d) * 10.0 ** np.arange(d).clip(0, 9)
    scores = objectives.scores(rows, vector)
    assert scores.tolist() == dots(rows, vector).tolist()
    squares = objectives.squared_norms(rows)
    assert squares.tolist() == dots(rows, rows.astype(np.float64)).tolist()
    wide = rows[0].astype(np.float64)
    assert kernels.dot(wide, vector) == dots(wide[None], vector)[0]


@pytest.mark.parametrize("d", [1, 9, 33, 64, 130])
def test_two_dots_at_once_are_those_of_one(d):
    rows = kernels.embedding_rows(random_rows(20, d))
    weight, direction = np.random.default_rng(1).standard_normal((2, d))
    gains, alpha, spread = np.empty(20), np.empty(20, np.float32), np.empty(20, np.float32)
    is_open = np.arange(20) != 3
    greedy_passes.refresh_block(
        rows, 0, 20, weight, direction, 0.0, objectives.squared_norms(rows), is_open,
        np.zeros(0, np.int64), gains, alpha, spread,
    )  # fmt: skip
    assert gains[is_open].tolist() == dots(rows, weight)[is_open].tolist()
    along = dots(rows, direction).astype(np.float32)
    assert alpha[is_open].tolist() == along[is_open].tolist()
    assert gains[3] == -np.inf


@pytest.mark.parametrize("d", [1, 13, 64])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_scores_are_the_same_in_any_block_thread_or_row(d, threads, monkeypatch):
    monkeypatch.setattr(kernels, "_ROWS_WORTH_A_THREAD", 10)
    rows = random_rows(257, d)
    vector = np.random.default_rng(2).standard_normal(d)
    scores = objectives.scores(rows, vector, threads)
    alone = [objectives.scores(rows[i : i + 1], vector)[0] for i in range(len(rows))]
    assert scores.tolist() == alone
    order = np.random.default_rng(3).permutation(len(rows))
    assert np.array_equal(objectives.scores(rows[order], vector, threads), scores[order])


def test_memory_map_and_read_only_rows_give_the_same(tmp_path):
    rows = random_rows(50, 12)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    vector = np.arange(12.0)
    assert np.array_equal(objectives.scores(mapped, vector), objectives.scores(rows, vector))
    assert np.array_equal(objectives.total_of(mapped), objectives.total_of(rows))


@pytest.mark.parametrize("n", [1, 2, 3, 100])
@pytest.mark.parametrize("d", [1, 7, 8, 20])
def test_sums_are_exact_for_unit_rows(n, d):
    rows = random_rows(n, d)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    total = objectives.total_of(rows)
    exact = exact_sum(rows, np.arange(n))
    # 2^-50 of the largest entry and half of that per row: the documented error.
    assert np.allclose(total, [float(x) for x in exact], rtol=0, atol=n * 2.0**-50)


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_do_not_depend_on_order_or_blocks(threads, monkeypatch):
    monkeypatch.setattr(kernels, "_ROWS_WORTH_A_THREAD", 10)
    rows = random_rows(500, 19) * np.logspace(-12, 3, 500, dtype=np.float32)[:, None]
    order = np.random.default_rng(5).permutation(500)
    total = objectives.total_of(rows, threads)
    assert np.array_equal(total, objectives.total_of(np.ascontiguousarray(rows[order])))
    assert np.array_equal(total, objectives.sum_of(rows, order, threads=threads))
    half, other = order[:200], order[200:]
    parts = objectives.sum_of(rows, half) + objectives.sum_of(rows, other)
    assert np.allclose(parts, total, rtol=1e-15)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 3e38])
def test_scale_holds_extreme_entries_without_overflow(size):
    rows = np.full((10_000, 9), size, dtype=np.float32)
    rows[::2, 3] *= -1
    scale = kernels.fixed_point_scale(rows)
    assert np.log2(scale) == round(np.log2(scale))
    total = objectives.total_of(rows)
    expected = rows.astype(np.float64).sum(axis=0)
    assert np.allclose(total, expected, rtol=1e-12, atol=0)
    assert total[3] == 0.0
    assert (np.abs(objectives.fixed_total(kernels.embedding_rows(rows), scale)) < 2**62).all()


def test_zero_rows_and_no_rows():
    assert objectives.total_of(np.zeros((3, 4), np.float32)).tolist() == [0.0] * 4
    assert objectives.total_of(np.zeros((0, 4), np.float32)).tolist() == [0.0] * 4
    assert objectives.squared_norms(np.zeros((0, 4), np.float32)).shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    rows = random_rows(10, 5)
    rows[7, 2] = bad
    with pytest.raises(DataError, match="NaN or infinity"):
        objectives.total_of(rows)


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((4, 3), np.float64),
        np.zeros(4, np.float32),
        np.zeros((4, 3), np.float32).T,
        np.zeros((4, 6), np.float32)[:, ::2],
    ],
)
def test_other_types_shapes_and_orders_are_refused(rows):
    with pytest.raises(UsageError, match="C-contiguous float32"):
        kernels.embedding_rows(rows)


def test_threads_follow_the_request_then_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert kernels.available_threads() == 3
    assert kernels.available_threads(5) == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert kernels.available_threads() >= 1
    with pytest.raises(UsageError, match="at least one thread"):
        kernels.available_threads(0)


def test_blocks_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(kernels, "_ROWS_WORTH_A_THREAD", 4)
    for n in (0, 1, 3, 4, 5, 100):
        for threads in (1, 2, 7):
            blocks = kernels.map_blocks(lambda a, b: (a, b), n, threads, block_rows=6)
            assert [i for a, b in blocks for i in range(a, b)] == list(range(n))


def test_a_block_that_fails_is_told_as_without_threads(monkeypatch):
    monkeypatch.setattr(kernels, "_ROWS_WORTH_A_THREAD", 4)
    done = []

    def work(start, stop):
        if start >= 12:
            time.sleep(0.01 if start == 12 else 0)  # a later one fails before it
            raise DataError("rows", f"from {start}")
        done.append(start)

    for threads in (2, 7):
        with pytest.raises(DataError, match="from 12"):
            kernels.map_blocks(work, 96, threads, block_rows=6)
    assert {0, 6} <= set(done)


def test_a_folder_that_cannot_hold_a_cache_is_no_reason_to_fail(monkeypatch):
    real = kernels.njit

    def without_cache(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(kernels, "njit", without_cache)

    def double(x):
        return 2 * x

    assert kernels.compiled(double)(4) == 8


def test_what_an_earlier_version_compiled_is_compiled_anew(tmp_path):
    """Types that are gone by now, or a damaged file, in the cache on disk."""
    module = tmp_path / "kept.py"
    module.write_text(
        "from contrasift.selection.kernels.dots import compiled\n"
        "@compiled\ndef twice(x):\n    return 2 * x\n"
    )
    code = "import kept; assert kept.twice(3) == 6; print(len(kept.twice._cache_hits))"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run()
    assert run() == "1\n"
    (index,) = (tmp_path / "cache").rglob("*.nbi")
    version = pickle.dumps(pickle.loads(index.read_bytes()))
    index.write_bytes(version + b"cno_such_module\nSetting\n.")
    assert run() == "0\n"
    assert run() == "1\n"
