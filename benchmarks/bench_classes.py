"""Speed of finding classes beside what it is made of: a table, and JSON.

k-means is held against faiss called bare with the same iterations, restarts and sample, both fit
and assignment; the graph's neighbours and communities against the bare product of all rows, in the
same process; the few-label classifier is timed alone.

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
from contrasift.classes.communities import communities, join_small
from contrasift.classes.graph import neighbour_graph
from contrasift.classes.kmeans import FIT_ROWS, FIT_ROWS_PER_CLASS, assign
from contrasift.classes.neighbours import nearest_neighbours
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


def bare_product(rows: np.ndarray, block: int = 4096) -> float:
    """Seconds of all products of rows, block by block, none kept: in NumPy's BLAS."""
    begun = time.perf_counter()
    for start in range(0, len(rows), block):
        for other in range(0, len(rows), block):
            rows[start : start + block] @ rows[other : other + block].T
    return time.perf_counter() - begun


def graph_steps(rows: np.ndarray) -> dict[str, Any]:
    """Neighbours, graph and communities, one after the other."""
    seconds, mark = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal mark
        seconds[name], mark = time.perf_counter() - mark, time.perf_counter()

    found, search = nearest_neighbours(rows, 10)
    lap("neighbours")
    graph = neighbour_graph(found, "union")
    lap("graph")
    codes = communities(graph, 3.0)
    lap("communities")
    classes = int(join_small(rows, codes, 20).max()) + 1
    lap("joining")
    return {"seconds": seconds, "edges": graph.first.size, "classes": classes, "search": search}


def compare_graph(n: int, d: int, repeats: int) -> dict[str, Any]:
    """The graph's stages beside the bare product of as many rows; beyond 65,536 of so many, scaled."""
    rows = mixture(n, d)
    some = rows[: min(n, 32_768)]
    scale = (n / len(some)) ** 2
    turns = []
    for _ in range(repeats):
        bare = bare_product(some) * scale
        turns.append((bare, graph_steps(rows)))
    ratios = [sum(steps["seconds"].values()) / bare for bare, steps in turns]
    at = int(np.argsort(ratios)[len(ratios) // 2])
    bare, steps = turns[at]
    return {
        "rows": n, "dim": d, "bare_seconds": bare, "ratio": ratios[at],
        "neighbours_ratio": steps["seconds"]["neighbours"] / bare, **steps,
        "total": sum(steps["seconds"].values()), "peak_mb": _anonymous_mb(),
    }  # fmt: skip


def mixture(n: int, d: int) -> np.ndarray:
    """Unit rows around n / 500 centres of ten directions each, as whitened features lie."""
    rng = np.random.default_rng(2)
    count = max(10, n // 500)
    centres = rng.normal(size=(count, d)).astype(np.float32)
    rows = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 65_536):
        stop = min(start + 65_536, n)
        rows[start:stop] = centres[rng.integers(count, size=stop - start)]
        rows[start:stop] += rng.standard_normal((stop - start, d), dtype=np.float32)
        rows[start:stop] /= np.linalg.norm(rows[start:stop], axis=1, keepdims=True)
    return rows


def growth(points: list[dict[str, Any]]) -> float:
    """The exponent of seconds in rows, by least squares from 100,000 rows on."""
    large = [(point["rows"], point["total"]) for point in points if point["rows"] >= 100_000]
    if len(large) < 2:
        return float("nan")
    n, seconds = np.log(np.array(large)).T
    return float(np.polyfit(n, seconds, 1)[0])


def print_graph(points: list[dict[str, Any]]) -> None:
    """The table of the graph's stages."""
    print(
        "\n| rows | bare product, s | neighbours | graph | communities | all | × bare | recall |\n"
        + "|---" * 8 + "|"
    )  # fmt: skip
    for point in points:
        steps, recall = point["seconds"], point["search"].get("recall", 1.0)
        print(
            f"| {point['rows']:,} × {point['dim']} | {point['bare_seconds']:.1f} | "
            f"{steps['neighbours']:.1f} | {steps['graph']:.1f} | {steps['communities']:.1f} | "
            f"{point['total']:.1f} | {point['ratio']:.2f} | {recall:.3f} |"
        )
    print(f"\nfrom 100,000 rows on seconds grow with rows to the power {growth(points):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--graph-rows", default="10000,50000,200000,1000000", help="sizes")
    parser.add_argument("--graph-only", action="store_true")
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
    graph_steps(mixture(500, given.dim))  # compiles, imports
    results["graph"] = []
    for n in map(int, given.graph_rows.split(",")):
        results["graph"].append(compare_graph(n, given.dim, given.repeats if n <= 100_000 else 1))
        print_graph(results["graph"][-1:])
    results["growth"] = growth(results["graph"])
    print_graph(results["graph"])
    if given.graph_only:
        if given.json:
            given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.npy"
        write_pool(path, given.rows, given.dim, given.classes)
        results["streaming"] = streaming_memory(path, given.classes)
        results["kmeans"] = compare_kmeans(path, given.classes, given.restarts, given.repeats)
    results["few_labels"] = few_labels(10_000, 512, 100)
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
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
