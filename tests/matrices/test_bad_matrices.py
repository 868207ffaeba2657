"""What is wrong with files is said in one message; nothing is left half-written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from producers import PRODUCERS, fixed, table

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.matrices import leave_out_bad, open_embeddings
from contrasift.matrices.copying import mapped_copy

ROWS = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
IDS = [f"{number:032x}" for number in range(20)]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (ROWS, ROWS[:, :3], "3 of float32 in .*b.npy"),
        (ROWS, ROWS.astype(np.float16), "4 of float16 in .*b.npy"),
    ],
)
def test_shards_that_differ(tmp_path: Path, first, second, said):
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    with pytest.raises(DataError, match=said):
        open_embeddings(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["npy_shards", "datacomp", "safetensors", "torch_tensor", "arrow", "parquet", "hdf5", "lance"],
)
def test_a_file_cut_short(tmp_path: Path, name: str):
    place, how = PRODUCERS[name](tmp_path, ROWS, IDS)
    endings = (".npy", ".npz", ".safetensors", ".pt", ".arrow", ".parquet", ".h5", ".lance")
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    victim = [path for path in files if path.suffix in endings][-1]
    if name in ("npy_shards", "datacomp", "torch_tensor"):
        victim = [path for path in files if path.suffix in (".npy", ".npz", ".pt")][-1]
    data = victim.read_bytes()
    victim.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError) as caught:
        open_embeddings(place, **how)[:]
    assert victim.name in str(caught.value) or str(tmp_path) in str(caught.value)


def test_metadata_of_another_length(tmp_path: Path):
    place, how = PRODUCERS["clip_retrieval"](tmp_path, ROWS, IDS)
    pq.write_table(pa.table({"image_path": ["one"]}), tmp_path / "metadata" / "metadata_2.parquet")
    with pytest.raises(DataError, match=r"img_emb_2\.npy.*1 in .*metadata_2\.parquet.*id='none'"):
        open_embeddings(place, **how)
    assert len(open_embeddings(place, **how, id="none")) == 20


def test_metadata_of_some_shards(tmp_path: Path):
    place, how = PRODUCERS["clip_retrieval"](tmp_path, ROWS, IDS)
    (tmp_path / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(DataError, match=r"each of the 3 shards of img_emb; got 2 tables"):
        open_embeddings(place, **how)
    other = tmp_path / "other"
    other.mkdir()
    place, how = PRODUCERS["npy_shards"](other, ROWS, IDS)
    (other / "part_10.parquet").unlink()
    with pytest.raises(DataError, match=r"no .*part_10\.parquet"):
        open_embeddings(place, **how)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 4)])
def test_null_vectors(tmp_path: Path, kind: pa.DataType):
    listed = ROWS.tolist()
    listed[5] = None
    listed[17][2] = None
    whole = pa.table({"id": IDS, "v": pa.array(listed, kind)})
    pq.write_table(whole, tmp_path / "e.parquet", row_group_size=8)
    matrix = open_embeddings(tmp_path / "e.parquet")
    wanted = ROWS.copy()
    wanted[5] = np.nan
    wanted[17, 2] = np.nan
    np.testing.assert_array_equal(matrix[:], wanted)
    kept, left_out = leave_out_bad(matrix)
    assert left_out.rows.tolist() == [5, 17]
    assert set(left_out.reasons) == {"NaN, infinity or null"}
    assert "row 5 of" in left_out.places[0]
    assert IDS[5] in left_out.places[0]
    np.testing.assert_array_equal(kept[:], np.delete(ROWS, [5, 17], axis=0))


def test_nulls_among_whole_numbers(tmp_path: Path):
    listed = np.arange(12).reshape(3, 4).tolist()
    listed[1] = None
    pq.write_table(
        pa.table({"v": pa.array(listed, pa.list_(pa.int8(), 4))}), tmp_path / "e.parquet"
    )
    with pytest.raises(DataError, match="without nulls"):
        open_embeddings(tmp_path / "e.parquet", scale=0.1)[:]


def test_ragged_lists(tmp_path: Path):
    listed = ROWS.tolist()
    listed[13] = listed[13][:3]
    pq.write_table(pa.table({"v": listed}), tmp_path / "e.parquet", row_group_size=8)
    matrix = open_embeddings(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="3 entries in row 13"):
        matrix[:]
    with pytest.raises(DataError, match="3 entries in row 13"):
        mapped_copy(matrix, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_column_that_is_no_vector(tmp_path: Path):
    pq.write_table(table(ROWS, IDS), tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"'text' in .*; got string; columns .*'vector'"):
        open_embeddings(tmp_path / "e.parquet", column="text")
    pq.write_table(pa.table({"id": IDS, "n": range(20)}), tmp_path / "n.parquet")
    with pytest.raises(DataError, match=r"got columns 'id' \(string\), 'n' \(int64\)"):
        open_embeddings(tmp_path / "n.parquet")


def test_two_columns_that_could_be_it(tmp_path: Path):
    pq.write_table(pa.table({"a": fixed(ROWS), "b": fixed(ROWS)}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"2 that can be it: 'a', 'b'.*column="):
        open_embeddings(tmp_path / "e.parquet")
    np.savez(tmp_path / "e.npz", a=ROWS, b=ROWS)
    with pytest.raises(DataError, match=r"2 of them; there are: a \[20, 4\], b \[20, 4\].*column="):
        open_embeddings(tmp_path / "e.npz")
    place, _ = PRODUCERS["clip_retrieval"](tmp_path, ROWS, IDS)
    with pytest.raises(DataError, match="img_emb and text_emb.*column='img_emb'"):
        open_embeddings(place)


@pytest.mark.parametrize("ending", ["parquet", "npy", "arrow"])
def test_a_table_without_rows(tmp_path: Path, ending: str):
    path = tmp_path / f"e.{ending}"
    empty = table(ROWS, IDS)[:0]
    if ending == "parquet":
        pq.write_table(empty, path)
    elif ending == "npy":
        np.save(path, ROWS[:0])
    else:
        with pa.ipc.new_file(path, empty.schema) as file:
            file.write_table(empty)
    with pytest.raises(DataError, match="without rows|at least one row"):
        open_embeddings(path)


def test_ids_twice(tmp_path: Path):
    ids = [*IDS[:10], *IDS[:10]]
    pq.write_table(table(ROWS, ids), tmp_path / "e.parquet")
    matrix = open_embeddings(tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"10 of them more than once: '0{32}', .*, ….*id='none'"):
        _ = matrix.ids
    numbers = pa.table({"id": [3, 4, 3, 5], "v": fixed(ROWS[:4])})
    with pytest.raises(DataError, match="1 of them more than once: 3"):
        _ = open_embeddings(numbers).ids


def test_rows_without_an_id():
    numbers = pa.table({"id": ["a", None, "c"], "v": fixed(ROWS[:3])})
    with pytest.raises(DataError, match="1 rows without one, the first of them row 1"):
        _ = open_embeddings(numbers).ids


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_that_are_not_finite(bad: float, dtype: type):
    rows = ROWS.astype(dtype)
    rows[3, 1] = bad
    rows[7] = 0
    kept, left_out = leave_out_bad(open_embeddings(rows))
    assert left_out.rows.tolist() == [3, 7]
    assert left_out.reasons == ("NaN, infinity or null", "zero")
    assert kept.shape == (18, 4)
    kept, left_out = leave_out_bad(open_embeddings(rows), zeros=False)
    assert left_out.rows.tolist() == [3]


def test_tiny_and_huge_rows_are_kept():
    rows = ROWS.copy()
    rows[3] *= 1e-30
    rows[4] *= 1e30
    kept, left_out = leave_out_bad(open_embeddings(rows))
    assert not len(left_out)
    assert len(kept) == 20


def test_no_row_that_can_be_used():
    with pytest.raises(DataError, match="none among 3: zero"):
        leave_out_bad(open_embeddings(np.zeros((3, 2), dtype=np.float32)))


class Evil:
    """Whoever loads it runs what it says."""

    def __reduce__(self):
        raise_if_run = "import builtins; builtins.contrasift_was_here = True"
        return exec, (raise_if_run,)


def test_a_pickle_is_not_run(tmp_path: Path):
    import builtins

    torch = pytest.importorskip("torch")
    torch.save({"embeddings": torch.zeros(2, 2), "x": Evil()}, tmp_path / "e.pth")
    with pytest.raises(DataError, match="tensors alone, without Python objects"):
        open_embeddings(tmp_path / "e.pth")
    np.save(tmp_path / "e.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="without Python objects"):
        open_embeddings(tmp_path / "e.npy")
    np.savez(tmp_path / "e.npz", x=np.array([[{}]]))
    with pytest.raises(DataError, match="without Python objects"):
        open_embeddings(tmp_path / "e.npz")
    assert not hasattr(builtins, "contrasift_was_here")


def test_a_zip_bomb(tmp_path: Path):
    np.savez_compressed(tmp_path / "e.npz", x=np.zeros((4_000_000, 4), dtype=np.float32))
    with pytest.raises(DataError, match=r"64,000,128 bytes out of .*a zip bomb"):
        open_embeddings(tmp_path / "e.npz")


def test_an_archive_whose_array_is_longer_than_it_says(tmp_path: Path):
    np.save(tmp_path / "x.npy", ROWS)
    data = (tmp_path / "x.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("x.npy", data + b"more")
    with pytest.raises(DataError, match="452 bytes where 448 are announced"):
        open_embeddings(tmp_path / "e.npz")


def test_a_pattern_that_matches_nothing(tmp_path: Path):
    with pytest.raises(DataError, match=r"files that match .*\*\.npy; got none.*in quotes"):
        open_embeddings(f"{tmp_path}/*.npy")
    with pytest.raises(DataError, match="embeddings in .*; got none"):
        open_embeddings(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_embeddings(tmp_path / "none.npy")


def test_files_of_several_kinds(tmp_path: Path):
    np.save(tmp_path / "a.npy", ROWS)
    np.savez(tmp_path / "a.npz", x=ROWS)
    with pytest.raises(DataError, match=r"files of one kind in .*\.npy, \.npz"):
        open_embeddings(tmp_path)


def test_a_file_that_nobody_reads(tmp_path: Path):
    (tmp_path / "e.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.parquet.*got .*e\.xlsx"):
        open_embeddings(tmp_path / "e.xlsx")


def test_a_column_named_twice(tmp_path: Path):
    np.savez(tmp_path / "e.npz", a=ROWS, b=ROWS)
    with pytest.raises(UsageError, match="one array or column"):
        open_embeddings(f"{tmp_path}/e.npz:a", column="b")


def test_no_library_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    (tmp_path / "e.h5").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ContrasiftError, match=r"pip install 'contrasift\[formats\]'"):
        open_embeddings(tmp_path / "e.h5")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_eight_bits_need_a_scale(tmp_path: Path, dtype: type):
    rows = np.arange(12, dtype=dtype).reshape(3, 4)
    np.save(tmp_path / "e.npy", rows)
    with pytest.raises(DataError, match="scale="):
        open_embeddings(tmp_path / "e.npy")
    found = open_embeddings(tmp_path / "e.npy", scale=(0.5, 2))
    np.testing.assert_array_equal(found[:], (rows.astype(np.float32) - 2) * 0.5)
    assert found.in_place
    assert found.fingerprint != open_embeddings(tmp_path / "e.npy", scale=0.25).fingerprint
    (tmp_path / "e.json").write_text('{"scale": 0.5, "zero_point": 2}')
    np.testing.assert_array_equal(open_embeddings(tmp_path / "e.npy")[:], found[:])
    with pytest.raises(UsageError, match="above 0"):
        open_embeddings(tmp_path / "e.npy", scale=0.0)
    with pytest.raises(UsageError, match="8-bit"):
        open_embeddings(ROWS, scale=1.0)


def test_towers_of_other_lengths(tmp_path: Path):
    np.save(tmp_path / "image.npy", ROWS)
    np.save(tmp_path / "text.npy", ROWS[:19])
    with pytest.raises(DataError, match="20 in .*image.npy, 19 in .*text.npy"):
        open_embeddings(f"{tmp_path}/image.npy+{tmp_path}/text.npy")


def test_no_room_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import shutil

    pq.write_table(table(ROWS, IDS), tmp_path / "e.parquet")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("U", (), {"free": 1000}))
    with pytest.raises(ContrasiftError, match="room for .* MB"):
        mapped_copy(open_embeddings(tmp_path / "e.parquet"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
