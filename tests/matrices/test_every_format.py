"""Every format gives the same rows, ids and order, however it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from producers import PRODUCERS, WIDE

from contrasift.errors import DataError
from contrasift.matrices import open_embeddings
from contrasift.matrices.copying import mapped_copy
from contrasift.matrices.readers import FILES, FOLDERS

N, D = 23, 8


@pytest.fixture(params=["float16", "float32"])
def rows(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, D)).astype(request.param)


@pytest.fixture
def ids() -> list[str]:
    return [f"{number * 7919 % 1009:032x}" for number in range(N)]


@pytest.fixture(params=sorted(PRODUCERS))
def made(
    request: pytest.FixtureRequest, rows: np.ndarray, ids: list[str], tmp_path: Path
) -> tuple[Any, dict[str, Any]]:
    if rows.dtype == np.float16 and request.param in WIDE:
        pytest.skip("holds no half floats")
    return PRODUCERS[request.param](tmp_path, rows, ids)


def test_every_reader_has_a_producer():
    named = {"npy", "npz", "safetensors", "pt", "pth", "arrow", "feather", "parquet", "csv", "h5"}
    aliases = {".ipc", ".pq", ".hdf5"}
    assert {f".{name}" for name in named} | aliases == set(FILES)
    assert set(FOLDERS) == {".lance", ".zarr"}


def test_rows_ids_and_order(made: Any, rows: np.ndarray, ids: list[str], tmp_path: Path):
    place, how = made
    matrix = open_embeddings(place, **how)
    assert matrix.shape == (N, D)
    assert matrix.dtype == rows.dtype
    assert matrix.ndim == 2
    assert len(matrix) == N
    assert matrix.nbytes == rows.nbytes
    np.testing.assert_array_equal(matrix[:], rows)
    np.testing.assert_array_equal(np.asarray(matrix), rows)
    for begin, end in ((0, 0), (0, 1), (5, 9), (3, 22), (22, 23), (20, 99), (9, 4)):
        np.testing.assert_array_equal(matrix[begin:end], rows[begin:end])
    np.testing.assert_array_equal(matrix[::-3], rows[::-3])
    picked = np.array([22, 0, -1, 7, 7, 8, 16])
    np.testing.assert_array_equal(matrix[picked], rows[picked])
    assert matrix[np.empty(0, dtype=np.int64)].shape == (0, D)
    found = matrix.ids.to_pylist()
    assert found == ids or found == [int(text, 16) % 2**62 for text in ids]
    assert matrix.index is None


def test_blocks_are_the_rows(made: Any, rows: np.ndarray):
    place, how = made
    matrix = open_embeddings(place, **how)
    for _ in range(2):
        begins, blocks = zip(*matrix.blocks(), strict=True)
        np.testing.assert_array_equal(np.concatenate(blocks), rows)
        ends = np.cumsum([len(block) for block in blocks])
        assert list(begins) == [0, *ends[:-1]]
    matrix.forget()
    np.testing.assert_array_equal(matrix[3:5], rows[3:5])


def test_a_part_of_the_rows(made: Any, rows: np.ndarray, ids: list[str]):
    place, how = made
    whole = open_embeddings(place, **how)
    kept = np.array([0, 1, 2, 6, 7, 19, 22])
    matrix = whole.keeping(kept)
    np.testing.assert_array_equal(matrix[:], rows[kept])
    np.testing.assert_array_equal(matrix[2:5], rows[kept][2:5])
    np.testing.assert_array_equal(matrix[np.array([6, 0])], rows[kept][[6, 0]])
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in matrix.blocks()]), rows[kept]
    )
    np.testing.assert_array_equal(matrix.index, kept)
    assert matrix.ids.to_pylist() == whole.ids.take(kept).to_pylist()
    assert matrix.fingerprint != whole.fingerprint
    again = matrix.keeping(np.array([1, 6]))
    np.testing.assert_array_equal(again[:], rows[[1, 22]])
    assert again.index.tolist() == [1, 22]


def test_the_fingerprint_stays_and_tells_changes(
    request: pytest.FixtureRequest, made: Any, rows: np.ndarray, ids: list[str], tmp_path: Path
):
    place, how = made
    assert open_embeddings(place, **how).fingerprint == open_embeddings(place, **how).fingerprint
    other = tmp_path / "other"
    other.mkdir()
    name = request.node.callspec.params["made"]
    changed = rows.copy()
    changed[-1, -1] += 1
    place, again = PRODUCERS[name](other, changed, ids)
    assert (
        open_embeddings(place, **again).fingerprint
        != open_embeddings(*[made[0]], **how).fingerprint
    )


def test_what_is_not_mapped_is_copied_once(
    made: Any, rows: np.ndarray, ids: list[str], tmp_path: Path
):
    place, how = made
    matrix = open_embeddings(place, **how)
    said: list[str] = []
    copied = mapped_copy(matrix, tmp_path / "out" / "cache", said.append)
    np.testing.assert_array_equal(copied[:], rows)
    assert copied.in_place
    assert copied.fingerprint == matrix.fingerprint
    assert copied.ids.to_pylist() == matrix.ids.to_pylist()
    files = list((tmp_path / "out").rglob("*.npy"))
    if matrix.in_place:
        assert copied is matrix
        assert not files
        assert not said
        return
    assert len(files) == 1
    assert f"{rows.nbytes / 1e6:,.0f} MB" in said[0]
    assert np.load(files[0]).dtype == rows.dtype
    written = files[0].stat().st_mtime_ns
    mapped_copy(open_embeddings(place, **how), tmp_path / "out" / "cache", said.append)
    assert files[0].stat().st_mtime_ns == written
    assert len(said) == 1


def test_rows_that_are_not_there(made: Any):
    place, how = made
    matrix = open_embeddings(place, **how)
    with pytest.raises(IndexError, match=r"0\.\.22"):
        matrix[np.array([23])]
    with pytest.raises(TypeError, match="row numbers"):
        matrix[np.ones(N, dtype=bool)]


def test_ids_may_be_left_away(made: Any):
    place, how = made
    assert open_embeddings(place, **{**how, "id": "none"}).ids is None


def test_a_place_names_file_and_row(made: Any):
    place, how = made
    said = open_embeddings(place, **how).place(22)
    assert said.startswith("row 22, which is row ")
    assert ", id " in said


def test_a_column_that_is_not_there(request: pytest.FixtureRequest, made: Any):
    place, how = made
    with pytest.raises((DataError, ValueError), match="absent"):
        open_embeddings(place, **{**how, "column": "absent"})
