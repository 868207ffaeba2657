"""Which files a place names, in which order, and how their rows are called."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from producers import PRODUCERS, fixed, table

from contrasift.errors import DataError, UsageError
from contrasift.matrices import open_embeddings
from contrasift.matrices.places import files_of
from contrasift.store.atomic import sha256_of, write_json
from contrasift.store.tables import write_table

ROWS = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
IDS = [f"{number:032x}" for number in range(20)]


def test_shards_come_in_numeric_order(tmp_path: Path):
    for number in (0, 1, 2, 10, 11, 100):
        np.save(tmp_path / f"img_emb_{number}.npy", np.full((1, 2), number, dtype=np.float32))
    for place in (tmp_path, f"{tmp_path}/img_*.npy", f"{tmp_path}/*.npy"):
        assert open_embeddings(place)[:].T[0].tolist() == [0, 1, 2, 10, 11, 100]


def test_wildcards_in_folders(tmp_path: Path):
    for number in (2, 10):
        (tmp_path / f"s{number}").mkdir()
        np.save(tmp_path / f"s{number}" / "e.npy", np.full((1, 2), number, dtype=np.float32))
    assert open_embeddings(f"{tmp_path}/s*/e.npy")[:].T[0].tolist() == [2, 10]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path):
    np.save(tmp_path / "a[0]+b:c.npy", ROWS)
    np.testing.assert_array_equal(open_embeddings(tmp_path / "a[0]+b:c.npy")[:], ROWS)


def test_hidden_files_are_not_looked_at(tmp_path: Path):
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "._a.npy").write_bytes(b"x")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    (tmp_path / "README.md").write_text("x")
    assert len(open_embeddings(tmp_path)) == 20


def test_the_fingerprint_does_not_depend_on_where_files_lie(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        PRODUCERS["npy_shards"](tmp_path / name, ROWS, IDS)
    first, second = (open_embeddings(tmp_path / name).fingerprint for name in ("a", "b"))
    assert first == second
    np.save(tmp_path / "whole.npy", ROWS)
    assert open_embeddings(tmp_path / "whole.npy").fingerprint == sha256_of(tmp_path / "whole.npy")


def test_two_arrays_of_one_file_have_two_fingerprints(tmp_path: Path):
    np.savez(tmp_path / "e.npz", a=ROWS, b=ROWS)
    marks = {open_embeddings(f"{tmp_path}/e.npz:{name}").fingerprint for name in "ab"}
    assert len(marks) == 2


def test_shards_are_not_copied(tmp_path: Path):
    for name in ("npy_shards", "datacomp", "clip_retrieval", "arrow", "huggingface"):
        (tmp_path / name).mkdir()
        place, how = PRODUCERS[name](tmp_path / name, ROWS, IDS)
        matrix = open_embeddings(place, **how)
        assert matrix.in_place, name
        assert len(matrix.parts) > 1, name


def test_one_mapped_file_is_the_array_itself(tmp_path: Path):
    np.save(tmp_path / "e.npy", ROWS)
    matrix = open_embeddings(tmp_path / "e.npy")
    assert isinstance(matrix.values, np.memmap)
    assert open_embeddings(matrix) is matrix
    assert matrix.keeping(np.arange(3)).values.shape == (3, 4)


def test_two_towers(tmp_path: Path):
    np.save(tmp_path / "image.npy", ROWS)
    np.save(tmp_path / "text.npy", ROWS[:, :3].astype(np.float16))
    pq.write_table(pa.table({"id": IDS}), tmp_path / "text.parquet")
    matrix = open_embeddings(f"{tmp_path}/image.npy+{tmp_path}/text.npy")
    wanted = np.hstack([ROWS, ROWS[:, :3].astype(np.float16)])
    np.testing.assert_array_equal(matrix[:], wanted)
    np.testing.assert_array_equal(matrix[np.array([3, 1])], wanted[[3, 1]])
    np.testing.assert_array_equal(np.concatenate([block for _, block in matrix.blocks()]), wanted)
    assert matrix.dtype == np.float32
    assert matrix.source["widths"] == [4, 3]
    assert matrix.ids.to_pylist() == IDS
    assert matrix.in_place
    assert matrix.place(3).startswith("row 3, which is row 3 of ")


def test_bfloat16_becomes_float32(tmp_path: Path):
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    tensor = torch.from_numpy(ROWS.copy()).bfloat16()
    save({"x": tensor}, tmp_path / "e.safetensors")
    torch.save(tensor, tmp_path / "e.pt")
    for name in ("e.safetensors", "e.pt"):
        matrix = open_embeddings(tmp_path / name)
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix[:], tensor.float().numpy())


def test_tensors_of_the_old_format(tmp_path: Path):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(ROWS.copy()).requires_grad_()
    torch.save(tensor, tmp_path / "e.pt", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(open_embeddings(tmp_path / "e.pt")[:], ROWS)


def test_arrays_and_tensors():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(open_embeddings(torch.from_numpy(ROWS.copy()))[:], ROWS)
    assert open_embeddings(ROWS).ids is None
    with pytest.raises(DataError, match=r"shape \[4\]"):
        open_embeddings(ROWS[0])
    with pytest.raises(DataError, match="hands out Arrow"):
        open_embeddings([1, 2])


def test_a_run_folder_brings_index_and_ids(tmp_path: Path):
    np.save(tmp_path / "embeddings.npy", ROWS[:3])
    known = {"normalised": "no", "sha256": sha256_of(tmp_path / "embeddings.npy")}
    write_json(tmp_path / "embeddings.json", known)
    columns = {"index": np.array([5, 6, 8, 9]), "row": np.array([0, -1, 1, 2]), "id": list("abcd")}
    write_table(tmp_path / "examples.parquet", columns)
    for place in (tmp_path, tmp_path / "embeddings.npy"):
        matrix = open_embeddings(place)
        assert matrix.described
        assert matrix.index.tolist() == [5, 8, 9]
        assert matrix.ids.to_pylist() == ["a", "c", "d"]
        assert matrix.keeping(np.array([1])).index.tolist() == [8]
    write_json(tmp_path / "embeddings.json", {**known, "sha256": "another"})
    with pytest.raises(DataError, match="another sha256"):
        open_embeddings(tmp_path)


@pytest.mark.parametrize("text", ["[1, 2]", '{"mine": 1}', "no json"])
def test_a_json_of_somebody_else_is_ignored(tmp_path: Path, text: str):
    np.save(tmp_path / "deb.npy", ROWS)
    (tmp_path / "deb.json").write_text(text)
    matrix = open_embeddings(tmp_path / "deb.npy")
    assert not matrix.described
    assert "passed over" in matrix.notes[0]


def test_an_id_column_of_another_name(tmp_path: Path):
    whole = table(ROWS, IDS).append_column("url", pa.array([f"u{x}" for x in range(20)]))
    assert open_embeddings(whole, id="url").ids[3].as_py() == "u3"
    with pytest.raises(DataError, match=r"'absent' of text or whole numbers.*'text', 'id', 'url'"):
        open_embeddings(whole, id="absent")
    with pytest.raises(DataError, match=r"a column 'x' of ids in the array"):
        open_embeddings(ROWS, id="x")


def test_ids_from_a_file(tmp_path: Path):
    pq.write_table(pa.table({"n": range(20), "key": IDS}), tmp_path / "about.parquet")
    assert open_embeddings(ROWS, id=f"{tmp_path}/about.parquet").ids.to_pylist() == IDS
    assert open_embeddings(ROWS, id=f"{tmp_path}/about.parquet:n").ids.to_pylist() == list(
        range(20)
    )
    np.save(tmp_path / "uids.npy", np.array([(0, x) for x in range(20)], dtype="u8,u8"))
    assert open_embeddings(ROWS, id=f"{tmp_path}/uids.npy").ids.to_pylist() == IDS
    with pytest.raises(DataError, match="does not exist"):
        open_embeddings(ROWS, id=f"{tmp_path}/absent.npy")
    (tmp_path / "few.txt").write_text("a\nb")
    with pytest.raises(DataError, match="an id for each of the 20 rows; got 2"):
        _ = open_embeddings(ROWS, id=f"{tmp_path}/few.txt").ids


def test_ids_of_several_types(tmp_path: Path):
    pq.write_table(pa.table({"id": range(10), "v": fixed(ROWS[:10])}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"id": IDS[:10], "v": fixed(ROWS[:10])}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match="int64, large_string"):
        _ = open_embeddings(tmp_path).ids


def test_a_split_must_be_named(tmp_path: Path):
    PRODUCERS["huggingface_name"](tmp_path, ROWS, IDS)
    with pytest.raises(UsageError, match="train, test"):
        open_embeddings(f"hf:{tmp_path}/saved")
    with pytest.raises(UsageError, match="one column"):
        open_embeddings(f"hf:{tmp_path}/saved:train#vector", column="text")


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("CONTRASIFT_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    for number, some in ((2, slice(0, 7)), (10, slice(7, 20))):
        with store.open(f"/bucket/p{number}.parquet", "wb") as file:
            pq.write_table(table(ROWS[some], IDS[some]), file, row_group_size=4)
        with store.open(f"/bucket/n{number}.npy", "wb") as file:
            np.save(file, ROWS[some])
    try:
        for pattern in ("p*.parquet", "n*.npy"):
            matrix = open_embeddings(f"memory://bucket/{pattern}")
            np.testing.assert_array_equal(matrix[:], ROWS)
            np.testing.assert_array_equal(np.concatenate([x for _, x in matrix.blocks()]), ROWS)
            assert len(matrix.fingerprint) == 64
        assert open_embeddings("memory://bucket/p*.parquet").ids.to_pylist() == IDS
        with pytest.raises(DataError, match="none"):
            open_embeddings("memory://bucket/x*.npy")
        with pytest.raises(DataError, match="name the matrix in it"):
            open_embeddings("memory://bucket/folder")
    finally:
        store.rm("/bucket", recursive=True)


def test_opening_reads_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place, how = PRODUCERS["parquet"](tmp_path, ROWS, IDS)
    monkeypatch.setattr("contrasift.matrices.readers.arrow.vectors", None)
    monkeypatch.setattr("contrasift.matrices.readers.parquet.vectors", None)
    assert open_embeddings(place, **how).shape == (20, 4)


def test_heavy_libraries_are_not_loaded_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = builtins.__import__

    def guarded(name, *rest, **more):
        assert name.partition(".")[0] not in {"torch", "lance", "zarr", "h5py", "datasets"}, name
        return wanted(name, *rest, **more)

    np.save(tmp_path / "e.npy", ROWS)
    monkeypatch.setattr(builtins, "__import__", guarded)
    assert open_embeddings(tmp_path / "e.npy").shape == (20, 4)


def test_files_of_a_pattern_keep_their_column():
    with pytest.raises(DataError, match="does not exist"):
        files_of("/nowhere/e.npz:x", None)
