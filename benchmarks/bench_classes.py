"""Speed of finding classes beside what it is made of: a table, and JSON.

k-means is held against faiss called bare with the same iterations, restarts and sample, both fit
and assignment; the few-label classifier and the graph are timed alone.

Run: python benchmarks/bench_classes.py [--rows 1000000] [--json bench_classes.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from contrasift.classes import latent_classes
from contrasift.classes.kmeans import FIT_ROWS, FIT_ROWS_PER_CLASS, assign
from contrasift.classes.rows import Rows, sample_of

LIMIT_RATIO = 1.2
LIMIT_STREAMING_MB = 500
LIMIT_FEW_LABELS_SECONDS = 10.0


def write_pool(path: Path, n: int, d: int, k: int) -> None:
    """Noisy unit rows around k centres, written in blocks."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k, d)).astype(np.float32)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for start in range(0, n, 50_000):
        stop = min(start + 50_000, n)
        part = centres[rng.integers(k, size=stop - start)]
        part = part + 0.7 * rng.normal(size=part.shape).astype(np.float32)
        out[start:stop] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()


def bare_faiss(rows: np.ndarray, k: int, restarts: int) -> float:
    """Seconds of faiss alone: the same sample, iterations and restarts, then a search for all."""
    begun = time.perf_counter()
    n, d = rows.shape
    which = sample_of(n, max(FIT_ROWS, FIT_ROWS_PER_CLASS * k), 0)
    points = np.ascontiguousarray(rows if which is None else rows[which])
    solver = faiss.Kmeans(
        d,
        k,
        niter=25,
        nredo=restarts,
        spherical=True,
        seed=0,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    solver.train(points)
    for start in range(0, n, 65_536):
        solver.index.search(np.ascontiguousarray(rows[start : start + 65_536]), 1)
    return time.perf_counter() - begun


def compare_kmeans(path: Path, k: int, restarts: int, repeats: int) -> dict[str, Any]:
    """Paired times, first one, then the other, in turn."""
    rows = np.load(path, mmap_mode="r")
    ours, bare = [], []
    for turn in range(repeats):
        calls = [
            lambda: bare.append(bare_faiss(rows, k, restarts)),
            lambda: ours.append(_timed_kmeans(rows, k, restarts)),
        ]
        for call in calls if turn % 2 == 0 else reversed(calls):
            call()
    return {
        "seconds": float(np.median(ours)),
        "faiss_seconds": float(np.median(bare)),
        "ratio": float(np.median(np.array(ours) / np.array(bare))),
    }


def _timed_kmeans(rows: np.ndarray, k: int, restarts: int) -> float:
    begun = time.perf_counter()
    latent_classes(rows, method="kmeans", n_classes=k, restarts=restarts, whiten=0)
    return time.perf_counter() - begun


def streaming_memory(path: Path, k: int) -> dict[str, float]:
    """Growth of what the process holds beyond the mapped file while rows are assigned."""
    rows = np.load(path, mmap_mode="r")
    centroids = np.array(rows[:k])
    assign(Rows(np.array(rows[:1000])), centroids)  # what libraries keep for themselves
    before, mapped_before = _anonymous_mb(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = before

    class Watched(Rows):
        def read(self, which: slice | np.ndarray) -> np.ndarray:
            nonlocal peak
            peak = max(peak, _anonymous_mb())
            return super().read(which)

    begun = time.perf_counter()
    assign(Watched(rows), centroids)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mapped = rows.nbytes / 2**20
    # The peak within a block shows in the high-water mark only; that counts the map's pages too.
    growth = max(peak - before, (after - mapped_before) / 1024 - mapped)
    return {"seconds": seconds, "mb_above_map": float(max(growth, 0.0))}


def _anonymous_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return float(lines.get("RssAnon", "0 kB").split()[0]) / 1024


def few_labels(n: int, d: int, k: int) -> dict[str, float]:
    """Every row labelled: the fit of the classifier with its cross-validation, and predictions."""
    rng = np.random.default_rng(1)
    labels = rng.integers(k, size=n)
    rows = rng.normal(size=(k, d))[labels] * 0.2 + rng.normal(size=(n, d))
    begun = time.perf_counter()
    found = latent_classes(
        rows.astype(np.float32), method="few-labels", known=labels, whiten=0, metric="euclidean"
    )
    return {
        "seconds": time.perf_counter() - begun,
        "heldout_accuracy": float(found.facts["heldout_accuracy"]),
    }


def graph(n: int, d: int) -> dict[str, float]:
    """Neighbours, graph and communities."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(100, d))[rng.integers(100, size=n)] + rng.normal(size=(n, d))
    begun = time.perf_counter()
    found = latent_classes(rows.astype(np.float32), method="graph")
    return {"seconds": time.perf_counter() - begun, "n_classes": float(len(found.names))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--graph-rows", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=0, help="of faiss; 0: all")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        faiss.omp_set_num_threads(given.threads)
    results: dict[str, Any] = {
        "rows": given.rows,
        "dim": given.dim,
        "classes": given.classes,
        "threads": faiss.omp_get_max_threads(),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.npy"
        write_pool(path, given.rows, given.dim, given.classes)
        results["streaming"] = streaming_memory(path, given.classes)
        results["kmeans"] = compare_kmeans(path, given.classes, given.restarts, given.repeats)
    results["few_labels"] = few_labels(10_000, 512, 100)
    results["graph"] = graph(given.graph_rows, given.dim)
    kmeans, streaming, few = results["kmeans"], results["streaming"], results["few_labels"]
    size = f"{given.rows:,} × {given.dim} into {given.classes:,}"
    print("| what | seconds | beside | limit |\n|---|---|---|---|")
    print(
        f"| k-means, {size} | {kmeans['seconds']:.1f} | faiss bare {kmeans['faiss_seconds']:.1f} s: "
        f"{kmeans['ratio']:.2f} × | {LIMIT_RATIO} × |"
    )
    print(
        f"| assignment, {size} | {streaming['seconds']:.1f} | {streaming['mb_above_map']:.0f} MB "
        f"above the map | {LIMIT_STREAMING_MB} MB |"
    )
    print(
        f"| few labels, 10,000 × 512, 100 classes | {few['seconds']:.1f} | held out "
        f"{few['heldout_accuracy']:.1%} | {LIMIT_FEW_LABELS_SECONDS:.0f} s |"
    )
    found = results["graph"]
    print(
        f"| graph, {given.graph_rows:,} × {given.dim} | {found['seconds']:.1f} | "
        f"{found['n_classes']:.0f} classes | |"
    )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
