"""The same rows and ids, written by each format's own library."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

Producer = Callable[[Path, np.ndarray, list[str]], tuple[Any, dict[str, Any]]]


def shards(n: int, count: int = 3) -> list[slice]:
    """Uneven consecutive slices."""
    ends = [0, *(n * (place + 1) ** 2 // count**2 for place in range(count))]
    return [slice(a, b) for a, b in pairwise(ends)]


def fixed(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def lists(rows: np.ndarray, kind: Any = pa.list_) -> pa.Array:
    flat = pa.array(rows.ravel())
    offsets = np.arange(0, rows.size + 1, rows.shape[1])
    if kind is pa.large_list:
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def table(rows: np.ndarray, ids: list[str], make: Any = fixed) -> pa.Table:
    return pa.table({"text": ["…"] * len(ids), "id": ids, "vector": make(rows)})


def npy(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    np.save(folder / "e.npy", rows)
    (folder / "names.txt").write_text("\n".join(ids))
    return folder / "e.npy", {"id": str(folder / "names.txt")}


def npy_fortran(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    np.save(folder / "e.npy", np.asfortranarray(rows))
    np.save(folder / "names.npy", np.array(ids))
    return folder / "e.npy", {"id": str(folder / "names.npy")}


def npz(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    np.savez(folder / "e.npz", emb=rows, ids=np.array(ids))
    return folder / "e.npz", {}


def npz_compressed(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    np.savez_compressed(folder / "e.npz", emb=rows, other=rows[:1], ids=np.array(ids))
    return f"{folder / 'e.npz'}:emb", {}


def npy_shards(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    for number, some in zip((2, 10, 100), shards(len(rows)), strict=True):
        np.save(folder / f"part_{number}.npy", rows[some])
        pq.write_table(pa.table({"key": ids[some]}), folder / f"part_{number}.parquet")
    return f"{folder}/part_*.npy", {}


def clip_retrieval(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir()
    for number, some in zip((1, 2, 11), shards(len(rows)), strict=True):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", rows[some])
        np.save(folder / "text_emb" / f"text_emb_{number}.npy", rows[some][:, ::-1])
        about = pa.table({"image_path": ids[some], "caption": ["a cat"] * len(ids[some])})
        pq.write_table(about, folder / "metadata" / f"metadata_{number}.parquet")
    return folder, {"column": "img_emb"}


def datacomp(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    for number, some in enumerate(shards(len(rows))):
        both = {"b32_img": rows[some][:, :2], "l14_img": rows[some]}
        np.savez(folder / f"{number:08d}.npz", **both)
        about = {"uid": ids[some], "url": ["http://…"] * len(ids[some])}
        pq.write_table(pa.table(about), folder / f"{number:08d}.parquet")
    return folder, {"column": "l14_img"}


def safetensors(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    save = pytest.importorskip("safetensors.numpy").save_file
    save({"x": np.ascontiguousarray(rows), "step": np.zeros(1)}, folder / "e.safetensors")
    pq.write_table(pa.table({"uid": ids}), folder / "e.parquet")
    return folder / "e.safetensors", {}


def torch_tensor(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(rows.copy()), folder / "e.pt")
    pq.write_table(pa.table({"name": ids}), folder / "names.parquet")
    return folder / "e.pt", {"id": f"{folder}/names.parquet:name"}


def torch_dictionary(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    torch = pytest.importorskip("torch")
    saved = {"filenames": ids, "embeddings": torch.from_numpy(rows.copy())}
    torch.save(saved, folder / "e.pth")
    return folder / "e.pth", {}


def arrow(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    whole = table(rows, ids)
    with pa.ipc.new_file(folder / "e.arrow", whole.schema) as file:
        for batch in whole.to_batches(max_chunksize=7):
            file.write_batch(batch)
    return folder / "e.arrow", {}


def arrow_stream(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    whole = table(rows, ids, lists)
    with pa.ipc.new_stream(folder / "e.arrow", whole.schema) as file:
        file.write_table(whole, 7)
    return folder / "e.arrow", {}


def feather_lz4(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    feather.write_feather(table(rows, ids), folder / "e.feather", compression="lz4", chunksize=7)
    return folder / "e.feather", {}


def parquet(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    pq.write_table(table(rows, ids), folder / "e.parquet", compression="zstd", row_group_size=7)
    return folder / "e.parquet", {}


def parquet_list(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    pq.write_table(table(rows, ids, lists), folder / "e.parquet", row_group_size=7)
    return folder / "e.parquet", {"column": "vector", "id": "id"}


def parquet_large_list_folder(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    for number, some in enumerate(shards(len(rows))):
        part = table(rows[some], ids[some], lambda own: lists(own, pa.large_list))
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=5)
    return folder, {}


def lance(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    pytest.importorskip("lance").write_dataset(
        table(rows, ids), folder / "e.lance", max_rows_per_file=8
    )
    return folder / "e.lance", {}


def huggingface(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset(table(rows, ids, lists))
    found.save_to_disk(str(folder / "saved"), num_shards=2)
    return folder / "saved", {}


def huggingface_name(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    datasets = pytest.importorskip("datasets")
    both = {
        "train": datasets.Dataset(table(rows, ids)),
        "test": datasets.Dataset(table(rows[:2], ids[:2])),
    }
    datasets.DatasetDict(both).save_to_disk(str(folder / "saved"))
    return f"hf:{folder / 'saved'}:train#vector", {}


def dataset_object(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    datasets = pytest.importorskip("datasets")
    back = datasets.Dataset(table(rows[::-1], ids[::-1]))
    return back.select(range(len(rows) - 1, -1, -1)), {}


def pandas_frame(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"id": ids, "vector": list(rows)}), {}


def polars_frame(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    polars = pytest.importorskip("polars")
    return polars.from_arrow(table(rows, ids)), {}


def duckdb_relation(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    duckdb = pytest.importorskip("duckdb")
    held = table(rows, ids, lists)
    return duckdb.connect().from_arrow(held), {}


def hdf5(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "e.h5", "w") as file:
        file["features"] = rows
        file["filenames"] = ids
    return folder / "e.h5", {}


def hdf5_chunks(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "e.h5", "w") as file:
        file.create_dataset("deep/x", data=rows, chunks=(4, rows.shape[1]), compression="gzip")
        file["deep/ids"] = ids
    return f"{folder / 'e.h5'}:deep/x", {"id": "deep/ids"}


def zarr(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    library = pytest.importorskip("zarr")
    root = library.open_group(str(folder / "e.zarr"), mode="w")
    made = root.create_array("x", shape=rows.shape, dtype=rows.dtype, chunks=(4, rows.shape[1]))
    made[:] = rows
    names = np.array([int(text, 16) % 2**62 for text in ids])
    root.create_array("id", shape=names.shape, dtype=names.dtype)[:] = names
    return folder / "e.zarr", {}


def csv(folder: Path, rows: np.ndarray, ids: list[str]) -> Any:
    head = ",".join(["filename", *(f"embedding_{place}" for place in range(rows.shape[1]))])
    lines = [
        ",".join([name, *(repr(float(x)) for x in row)])
        for name, row in zip(ids, rows, strict=True)
    ]
    (folder / "e.csv").write_text("\n".join([head, *lines]) + "\n")
    return folder / "e.csv", {}


# Of what cannot hold half floats: the formats that are float32 at least.
WIDE = {"csv", "duckdb_relation", "polars_frame"}

PRODUCERS: dict[str, Producer] = {
    made.__name__: made
    for made in (
        *(npy, npy_fortran, npz, npz_compressed, npy_shards, clip_retrieval, datacomp),
        *(safetensors, torch_tensor, torch_dictionary, arrow, arrow_stream, feather_lz4),
        *(parquet, parquet_list, parquet_large_list_folder, lance, huggingface),
        *(huggingface_name, dataset_object, pandas_frame, polars_frame, duckdb_relation),
        *(hdf5, hdf5_chunks, zarr, csv),
    )
}
