"""Embeddings in every format: the same selection, time beside the format's own library.

    python benchmarks/bench_matrices.py                # everything: some 20 GB of disk, 20 minutes
    python benchmarks/bench_matrices.py --only formats # one part: formats, shards, parquet
    python benchmarks/bench_matrices.py --quick        # small sizes, for a look

Files are read warm, by us and by the format's own library in turns in one process, so that other
work on the machine meets both; the ratio is the median of the turns. Everything is written below
--folder and removed afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import contrasift as cs
from contrasift.matrices.copying import mapped_copy

TURNS = 5
Rows = np.ndarray
Case = tuple[Any, dict[str, Any], Callable[[], Any]]


# --- formats --------------------------------------------------------------------------------------


def formats(folder: Path, rows: Rows, ids: list[str]) -> Iterator[tuple[str, Case]]:
    """Every format, written by its own library: what to open, how, and its library's own reading."""
    import datasets
    import h5py
    import lance
    import pandas
    import polars
    import pyarrow as pa
    import pyarrow.parquet as pq
    import safetensors.numpy
    import torch
    import zarr
    from pyarrow import feather

    n, d = rows.shape
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), d)
    offsets = pa.array(np.arange(0, rows.size + 1, d, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))
    table, ragged = pa.table({"id": ids, "v": fixed}), pa.table({"id": ids, "v": lists})
    cuts = [slice(start, start + n // 10) for start in range(0, n, n // 10)]

    def at(name: str) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return folder / name

    np.save(at("e.npy"), rows)
    np.save(at("ids.npy"), np.array(ids))
    yield ".npy", (at("e.npy"), {"id": str(at("ids.npy"))}, lambda: np.load(at("e.npy")))
    np.savez(at("e.npz"), x=rows, ids=np.array(ids))
    yield ".npz", (at("e.npz"), {}, lambda: np.load(at("e.npz"))["x"])
    np.savez_compressed(at("c.npz"), x=rows, ids=np.array(ids))
    yield ".npz, compressed", (at("c.npz"), {}, lambda: np.load(at("c.npz"))["x"])
    for number, cut in enumerate(cuts):
        np.save(at(f"clip/img_emb/img_emb_{number}.npy"), rows[cut])
        about = pa.table({"image_path": ids[cut], "caption": ids[cut]})
        pq.write_table(about, at(f"clip/metadata/metadata_{number}.parquet"))
        np.savez(at(f"datacomp/{number:08d}.npz"), l14_img=rows[cut], l14_txt=rows[cut])
        pq.write_table(pa.table({"uid": ids[cut]}), at(f"datacomp/{number:08d}.parquet"))
    yield (
        "clip-retrieval, 10 shards",
        (folder / "clip", {}, lambda: [np.load(p) for p in (folder / "clip/img_emb").iterdir()]),
    )
    yield (
        "DataComp, 10 shards",
        (
            folder / "datacomp",
            {"column": "l14_img"},
            lambda: [np.load(p)["l14_img"] for p in (folder / "datacomp").glob("*.npz")],
        ),
    )
    safetensors.numpy.save_file({"x": rows}, at("e.safetensors"))
    yield (
        "safetensors",
        (
            at("e.safetensors"),
            {"id": str(at("ids.npy"))},
            lambda: safetensors.numpy.load_file(at("e.safetensors")),
        ),
    )
    torch.save({"embeddings": torch.from_numpy(rows), "filenames": ids}, at("e.pth"))
    yield (".pth", (at("e.pth"), {}, lambda: torch.load(at("e.pth"), weights_only=True)))
    with pa.ipc.new_file(at("e.arrow"), table.schema) as file:
        file.write_table(table, 16_384)
    yield ("Arrow IPC", (at("e.arrow"), {}, lambda: _touched(feather.read_table(at("e.arrow")))))
    feather.write_feather(table, at("e.feather"), compression="lz4")
    yield (
        "Feather, lz4",
        (at("e.feather"), {}, lambda: feather.read_table(at("e.feather"), columns=["v"])),
    )
    pq.write_table(table, at("e.parquet"), compression="zstd", row_group_size=n // 10)
    yield (
        "Parquet, fixed_size_list",
        (at("e.parquet"), {}, lambda: pq.read_table(at("e.parquet"), columns=["v"])),
    )
    pq.write_table(ragged, at("l.parquet"), compression="zstd", row_group_size=n // 10)
    yield (
        "Parquet, list",
        (at("l.parquet"), {}, lambda: pq.read_table(at("l.parquet"), columns=["v"])),
    )
    lance.write_dataset(table, at("e.lance"))
    yield ("Lance", (at("e.lance"), {}, lambda: lance.dataset(at("e.lance")).to_table(["v"])))
    saved = datasets.Dataset(ragged)
    saved.save_to_disk(str(at("saved")))
    back = datasets.load_from_disk(str(at("saved")))
    yield (
        "datasets, saved",
        (at("saved"), {}, lambda: back.with_format("numpy", columns=["v"])[:]),
    )
    with h5py.File(at("e.h5"), "w") as file:
        file["x"], file["ids"] = rows, ids
    yield ("HDF5", (at("e.h5"), {}, lambda: h5py.File(at("e.h5"))["x"][:]))
    group = zarr.open_group(str(at("e.zarr")), mode="w")
    made = group.create_array("x", shape=rows.shape, dtype=rows.dtype, chunks=(4096, d))
    made[:] = rows
    options = {"id": str(at("ids.npy"))}
    yield ("zarr", (at("e.zarr"), options, lambda: zarr.open(str(at("e.zarr")))["x"][:]))
    frame = polars.from_arrow(table) if rows.dtype != np.float16 else None
    if frame is not None:
        yield ("Polars", (frame, {}, lambda: _touch(frame["v"].to_numpy())))
    wide = pandas.DataFrame({"id": ids, "v": list(rows)})
    yield ("pandas", (wide, {}, lambda: np.stack(wide["v"].to_numpy())))


def _touched(table: Any) -> float:
    """Every byte of a mapped table, which reading alone leaves on the disk."""
    return sum(_touch(np.asarray(chunk.values)) for chunk in table["v"].chunks)


def _touch(rows: Rows) -> float:
    """One number a page: every byte comes into memory."""
    return float(rows.reshape(-1)[:: max(1, 4096 // rows.itemsize)].sum(dtype=np.float64))


def our_pass(place: Any, how: dict[str, Any]) -> int:
    """Open, and have every row in memory once."""
    count = 0
    for _, block in cs.open_embeddings(place, **how).blocks():
        _touch(block)
        count += len(block)
    return count


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float, float]:
    """Seconds of both, and the median of their ratios turn by turn."""
    pairs = []
    for _ in range(TURNS):
        seconds = []
        for work in (ours, theirs):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
        pairs.append(seconds)
    mine, own = (statistics.median(side) for side in zip(*pairs, strict=True))
    return mine, own, statistics.median(a / b for a, b in pairs)


def digest_of(selection: Any) -> str:
    """The bytes of rank, selected and gain, by index."""
    turn = np.argsort(selection.index)
    made = hashlib.sha256()
    for column in (selection.rank, selection.selected, selection.gain):
        made.update(np.ascontiguousarray(column[turn]).tobytes())
    return made.hexdigest()


def bench_formats(folder: Path, n: int, d: int) -> list[dict[str, Any]]:
    """The same rows from each format, selected, and read beside the format's own library."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, d)).astype(np.float16)
    classes, results = rng.integers(0, 100, n), []
    ids = [f"{number:032x}" for number in rng.permutation(n)]
    for dtype in (np.float16, np.float32):
        own = rows.astype(dtype)
        expected = digest_of(cs.select(own, classes, fraction=0.2))
        place = folder / np.dtype(dtype).name
        for name, (source, how, theirs) in formats(place, own, ids):
            matrix = mapped_copy(cs.open_embeddings(source, **how), place / "cache" / name)
            selection = cs.select(matrix, classes, fraction=0.2)
            back = selection.ids is not None and selection.ids.to_pylist() == [
                ids[row] for row in selection.index
            ]
            mine, library, ratio = in_turns(lambda: our_pass(source, how), theirs)  # noqa: B023
            results.append(
                {
                    "format": name,
                    "dtype": np.dtype(dtype).name,
                    "opens": True,
                    "ids_back": bool(back),
                    "same_bytes": digest_of(selection) == expected,
                    "copied": not cs.open_embeddings(source, **how).in_place,
                    "seconds": mine,
                    "library_seconds": library,
                    "ratio": ratio,
                    "gigabytes_per_second": own.nbytes / mine / 1e9,
                }
            )
            print(json.dumps(results[-1]), flush=True)
        shutil.rmtree(place)
    return results


# --- twenty million rows in shards ----------------------------------------------------------------


def bench_shards(folder: Path, n: int, d: int, shards: int) -> dict[str, Any]:
    """`contrasift select` on a folder of fp16 shards with given classes, in a process of its own."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, d)).astype(np.float32)
    codes = rng.integers(0, 1000, n).astype(np.int32)
    (folder / "shards").mkdir(parents=True)
    for number, part in enumerate(np.array_split(codes, shards)):
        noise = rng.standard_normal((part.size, d), dtype=np.float32)
        rows = (centres[part] + 0.7 * noise).astype(np.float16)
        np.save(folder / "shards" / f"emb_{number}.npy", rows)
    np.save(folder / "codes.npy", codes)
    words = ["select", folder / "shards", "--classes", folder / "codes.npy", "--fraction", "0.2"]
    words += ["--memory-limit", "3GB", "--out", folder / "out", "--quiet"]
    begun, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "contrasift", *map(str, words)], check=True)
    elapsed, after = time.perf_counter() - begun, os.times()
    facts = json.loads((folder / "out" / "selection.json").read_text())
    used = sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
    result = {
        "rows": n,
        "width": d,
        "shards": shards,
        "seconds": elapsed,
        "processor_seconds": after[2] + after[3] - before[2] - before[3],
        "peak_memory_gigabytes": facts["peak_memory_bytes"] / 1e9,
        "copied_bytes": 0 if not (folder / "out" / "cache").exists() else used,
        "written_gigabytes": used / 1e9,
        "certificate": facts["certificate"],
    }
    print(json.dumps(result), flush=True)
    return result


# --- Parquet --------------------------------------------------------------------------------------


def bench_parquet(folder: Path, n: int, d: int) -> dict[str, Any]:
    """One pass over a zstd file beside pyarrow's own scans of it."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    path, step = folder / "e.parquet", 100_000
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int64()), ("v", pa.list_(pa.float32(), d))])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as file:
        for start in range(0, n, step):
            rows = rng.standard_normal((step, d), dtype=np.float32)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), d)
            numbers = pa.array(np.arange(start, start + step))
            file.write_table(pa.table([numbers, vectors], schema=schema))

    def scan() -> None:
        for batch in ds.dataset(path).scanner(columns=["v"]).to_batches():
            _touch(np.frombuffer(batch.column(0).values.buffers()[1], np.float32))

    def batches() -> None:
        for batch in pq.ParquetFile(path).iter_batches(columns=["v"]):
            _touch(np.frombuffer(batch.column(0).values.buffers()[1], np.float32))

    result: dict[str, Any] = {"rows": n, "width": d, "gigabytes": path.stat().st_size / 1e9}
    for name, theirs in (("dataset", scan), ("iter_batches", batches)):
        mine, own, ratio = in_turns(lambda: our_pass(path, {}), theirs)
        result |= {"seconds": mine, f"{name}_seconds": own, f"speed_beside_{name}": 1 / ratio}
    result["gigabytes_per_second"] = n * d * 4 / result["seconds"] / 1e9
    print(json.dumps(result), flush=True)
    return result


# --- the page -------------------------------------------------------------------------------------


def page_of(found: dict[str, Any]) -> str:
    """The figures as tables, beside their JSON."""
    lines = ["# Embeddings in every format", "", "By `python benchmarks/bench_matrices.py`.", ""]
    if formats := found.get("formats"):
        lines += [
            "100,000 × 512 rows. *Same bytes*: `rank`, `selected` and `gain` of the selection. *Beside*:",
            "seconds of one pass beside those of the format's own library (at most 1.5 is wanted).",
            "",
            "| format | entries | opens | ids back | same bytes | GB/s | beside |",
            "|---|---|---|---|---|---:|---:|",
        ]
        lines += [
            f"| {one['format']} | {one['dtype']} | {_yes(one['opens'])} | {_yes(one['ids_back'])} | "
            f"{_yes(one['same_bytes'])} | {one['gigabytes_per_second']:.3g} | {one['ratio']:.2f} |"
            for one in formats
        ]
        lines += ["", "GB/s of what is mapped are those of touching every page.", ""]
    if one := found.get("shards"):
        lines += [
            f"**Shards.** {one['rows']:,} × {one['width']} fp16 in {one['shards']}, classes given, a "
            f"fifth kept: {one['seconds']:.1f} s, {one['peak_memory_gigabytes']:.2f} GB at most, "
            f"{one['copied_bytes']} bytes copied, {one['written_gigabytes']:.2f} GB written.",
            "",
        ]
    if one := found.get("parquet"):
        lines += [
            f"**Parquet.** {one['rows']:,} × {one['width']} float32, zstd, {one['gigabytes']:.1f} GB: "
            f"one pass {one['seconds']:.1f} s; speed {one['speed_beside_dataset']:.2f} of pyarrow's "
            f"dataset scan, {one['speed_beside_iter_batches']:.2f} of `iter_batches`.",
            "",
        ]
    return "\n".join([*lines, *([found["note"], ""] if "note" in found else [])])


def _yes(good: bool) -> str:
    return "yes" if good else "**no**"


# --- the command ----------------------------------------------------------------------------------


def main() -> None:
    """Measure what is asked for; leave a table behind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=("formats", "shards", "parquet"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("bench-matrices"))
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    parser.add_argument(
        "--printed", type=Path, help="measure nothing: take what --only printed into this file"
    )
    options = parser.parse_args()
    small = 20 if options.quick else 1
    parts: dict[str, Callable[[Path], Any]] = {
        "formats": lambda folder: bench_formats(folder, 100_000 // small, 512),
        "shards": lambda folder: bench_shards(folder, 20_000_000 // small, 64, 200),
        "parquet": lambda folder: bench_parquet(folder, 5_000_000 // small // 5 * 5, 256),
    }
    found = {}
    if options.printed is not None:
        lines = options.printed.read_text().splitlines()
        printed = [json.loads(line) for line in lines if line.startswith("{")]
        found[options.only] = printed if options.only == "formats" else printed[-1]
        parts = {}
    for name, measure in parts.items():
        if options.only in (None, name):
            place = options.folder / name
            try:
                found[name] = measure(place)
            finally:
                shutil.rmtree(place, ignore_errors=True)
    if options.out is not None:
        before = json.loads(options.out.read_text()) if options.out.exists() else {}
        found = before | found
        options.out.write_text(json.dumps(found, indent=2) + "\n")
        options.out.with_suffix(".md").write_text(page_of(found))


if __name__ == "__main__":
    main()
