"""Neighbours among many rows: beside other libraries, and what approximate ones do to the classes.

`peers`: seconds until an approximate search finds 98 % of the ten nearest rows of a sample, each library
in a process of its own, with the settings by which it first does; exact search beside faiss's. What is
not installed is left out.

`agreement MATRIX`: classes of approximate neighbours beside those of exact ones: between seeds, with
labels, and the overlap of what SAS selects. MATRIX is a `.npy` with its labels beside it
(`NAME.labels.npy`), or the folder of a run.

Run: python benchmarks/bench_neighbours.py peers [MATRIX] [--rows 200000] [--exact-rows 50000] [--threads 1]
     python benchmarks/bench_neighbours.py agreement MATRIX [--rows 131072] [--seeds 2]

Both write benchmarks/results/neighbours-*.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
K, RECALL, SAMPLE = 10, 0.98, 1024
Searched = tuple[str, float, float, np.ndarray]  # settings, seconds to build, to search, neighbours


def pool_of(given: argparse.Namespace) -> np.ndarray:
    """Rows of the matrix as the graph sees them, whitened; or those of `bench_classes`."""
    if given.matrix is None:
        from bench_classes import mixture

        return mixture(given.rows, given.dim)
    from contrasift.classes.rows import prepare_rows

    values, _ = read_matrix(given.matrix, given.rows)
    return prepare_rows(values, whiten=given.dim, metric="spherical", seed=0).gather()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processors, which a busy machine changes little, and what came out."""
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def ours(rows: np.ndarray, threads: int) -> Iterator[Searched]:
    """The inverted file, which measures its recall and chooses its lists by itself."""
    from contrasift.classes.neighbours import Searching, nearest_neighbours

    how = Searching(recall=RECALL, threads=threads)
    nearest_neighbours(rows[:70_000], K, 0, how)  # compiles
    seconds, (found, facts) = timed(lambda: nearest_neighbours(rows, K, 0, how))
    yield f"{facts['lists']} lists, {facts['probed']} looked into", 0.0, seconds, found


def faiss_hnsw(rows: np.ndarray, threads: int) -> Iterator[Searched]:
    """faiss, HNSW: searched ever wider."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(rows.shape[1], 16)
    index.hnsw.efConstruction = 80
    built, _ = timed(lambda: index.add(rows))
    for width in (16, 32, 64, 128, 256, 512):
        index.hnsw.efSearch = width
        seconds, (_, found) = timed(lambda: index.search(rows, K + 1))
        yield f"M 16, efConstruction 80, efSearch {width}", built, seconds, found


def faiss_lists(rows: np.ndarray, threads: int) -> Iterator[Searched]:
    """faiss, its inverted file: lists of 512 rows, looked into ever more of."""
    import faiss

    faiss.omp_set_num_threads(threads)
    count = -(-len(rows) // 512)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], count)
    built, _ = timed(
        lambda: (index.train(rows[:: max(1, len(rows) // (40 * count))]), index.add(rows))
    )
    for probed in (1, 2, 4, 8, 16, 32, 64):
        index.nprobe = probed
        seconds, (_, found) = timed(lambda: index.search(rows, K + 1))
        yield f"{count} lists, {probed} looked into", built, seconds, found


def usearch(rows: np.ndarray, threads: int) -> Iterator[Searched]:
    """usearch, HNSW: searched ever wider."""
    from usearch.index import Index  # pyright: ignore[reportMissingImports]

    index = Index(ndim=rows.shape[1], metric="l2sq", connectivity=16, expansion_add=80)
    built, _ = timed(lambda: index.add(np.arange(len(rows)), rows, threads=threads))
    for width in (16, 32, 64, 128, 256, 512):
        index.expansion_search = width
        seconds, found = timed(lambda: index.search(rows, K + 1, threads=threads).keys)
        yield f"M 16, expansion {width}", built, seconds, np.asarray(found, np.int64)


def pynndescent(rows: np.ndarray, threads: int) -> Iterator[Searched]:
    """pynndescent: the graph that it builds is the answer; ever more neighbours are kept in it."""
    from pynndescent import NNDescent  # pyright: ignore[reportMissingImports]

    NNDescent(rows[:5_000], n_neighbors=K + 1, n_jobs=threads)  # compiles
    for kept in (11, 15, 20, 30, 45):
        seconds, index = timed(
            lambda kept=kept: NNDescent(rows, n_neighbors=kept, n_jobs=threads, random_state=0)
        )
        yield f"{kept} neighbours kept", 0.0, seconds, index.neighbor_graph[0][:, : K + 1]


LIBRARIES: dict[str, tuple[str, Callable[[np.ndarray, int], Iterator[Searched]]]] = {
    "inverted file (contrasift)": ("contrasift", ours),
    "inverted file (faiss)": ("faiss-cpu", faiss_lists),
    "HNSW (faiss)": ("faiss-cpu", faiss_hnsw),
    "HNSW (usearch)": ("usearch", usearch),
    "NN-descent (pynndescent)": ("pynndescent", pynndescent),
}


def recall_of(found: np.ndarray, which: np.ndarray, true: np.ndarray) -> float:
    """Share of the true neighbours of some rows among those found, each row itself left out."""
    hits = 0
    for row, own, right in zip(which, found[which], true, strict=True):
        hits += np.isin(right, own[own != row][:K]).sum()
    return float(hits / true.size)


def search_with(given: argparse.Namespace) -> dict[str, Any]:
    """One library until it reaches the recall, or has nothing more to try."""
    from contrasift.selection.kernels.nearest_rows import nearest_rows

    name, threads, rows = given.name, given.threads, pool_of(given)
    n = len(rows)
    which = np.sort(np.random.default_rng(5).choice(n, min(n, SAMPLE), replace=False))
    true = nearest_rows(rows[which], rows, K, own=which, threads=threads)
    last: dict[str, Any] = {}
    for settings, built, seconds, found in LIBRARIES[name][1](rows, threads):
        last = {
            "library": name, "version": version(LIBRARIES[name][0]), "settings": settings,
            "built": built, "searched": seconds, "seconds": built + seconds,
            "recall": recall_of(found, which, true),
        }  # fmt: skip
        if last["recall"] >= RECALL:
            break
    return last


def exact(given: argparse.Namespace) -> dict[str, Any]:
    """Every pair: ours, faiss's flat index, and the bare product, in turn."""
    import faiss
    from threadpoolctl import threadpool_limits

    from bench_classes import bare_product
    from contrasift.selection.kernels.nearest_rows import nearest_rows

    threads, rows = given.threads, pool_of(given)
    n, d = rows.shape
    faiss.omp_set_num_threads(threads)
    nearest_rows(rows[:500], rows[:500], K, own=np.arange(500))
    index = faiss.IndexFlatL2(d)
    index.add(rows)
    with threadpool_limits(threads):
        bare, _ = timed(lambda: bare_product(rows))
        mine, found = timed(lambda: nearest_rows(rows, rows, K, own=np.arange(n), threads=threads))
        theirs, (_, other) = timed(lambda: index.search(rows, K + 1))
    which = np.arange(0, n, max(1, n // SAMPLE))
    return {
        "rows": n, "dim": d, "bare": bare, "contrasift": mine, "faiss_flat": theirs,
        "agreement": recall_of(other, which, found[which]),
    }  # fmt: skip


def peers(given: argparse.Namespace) -> None:
    """The table of libraries, each in its own process."""
    found = []
    for name, (package, _) in LIBRARIES.items():
        try:
            version(package)
        except PackageNotFoundError:
            print(f"{package} is not installed", file=sys.stderr)
            continue
        found.append(_alone("one", name, given))
        print(line_of(found[-1]), flush=True)
    results = {
        "matrix": given.label or "noisy, around n / 500 centres",
        "rows": given.rows, "dim": given.dim, "threads": given.threads, "neighbours": K,
        "wished": RECALL, "approximate": found, "exact": _alone("exact", "", given),
        "processor": platform.processor() or platform.machine(),
    }  # fmt: skip
    write("neighbours-peers", results, peers_text(results))


def _alone(what: str, name: str, given: argparse.Namespace) -> dict[str, Any]:
    rows = given.exact_rows if what == "exact" else given.rows
    command = [sys.executable, __file__, what, *([str(given.matrix)] if given.matrix else [])]
    command += ["--rows", str(rows), "--dim", str(given.dim)]
    command += ["--threads", str(given.threads), "--name", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def line_of(one: dict[str, Any]) -> str:
    """A library's row."""
    reached = "" if one["recall"] >= RECALL else " (not reached)"
    return (
        f"| {one['library']} {one['version']} | {one['settings']} | {one['built']:.1f} | "
        f"{one['searched']:.1f} | {one['seconds']:.1f} | {one['recall']:.3f}{reached} |"
    )


def peers_text(results: dict[str, Any]) -> str:
    """The page."""
    exactly, threads = results["exact"], results["threads"]
    return "\n".join(
        [
            f"The {K} nearest others of {results['rows']:,} × {results['dim']} rows "
            f"({results['matrix']}), {threads} thread(s): seconds of a processor until {RECALL:.0%} of "
            "the true ones are found. Written by `benchmarks/bench_neighbours.py peers`.",
            "",
            "| library | settings | build, s | search, s | all, s | recall |",
            "|---|---|---|---|---|---|",
            *(line_of(one) for one in results["approximate"]),
            "",
            f"Every pair of {exactly['rows']:,} × {exactly['dim']}:",
            "",
            "| | s | × the bare product |",
            "|---|---|---|",
            *(
                f"| {name} | {exactly[key]:.1f} | {exactly[key] / exactly['bare']:.2f} |"
                for name, key in (
                    ("bare product in blocks (NumPy)", "bare"),
                    ("contrasift, neighbours kept", "contrasift"),
                    ("faiss.IndexFlatL2, neighbours kept", "faiss_flat"),
                )
            ),
            "",
        ]
    )


def read_matrix(place: Path, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Some rows of a matrix, and their labels where there are any."""
    labels = None
    if place.is_dir():
        from contrasift.store.tables import read_table

        values = np.load(place / "class_embeddings.npy", mmap_mode="r")
        table = read_table(place / "examples.parquet", "label", "row")
        names = table["label"][table["row"] >= 0].astype(str)
        labels = np.unique(names, return_inverse=True)[1].astype(np.int64)
    else:
        values = np.load(place, mmap_mode="r")
        beside = place.with_suffix(".labels.npy")
        labels = np.load(beside).reshape(-1) if beside.exists() else None
    if rows and rows < len(values):
        which = np.sort(np.random.default_rng(0).choice(len(values), rows, replace=False))
        return np.asarray(values[which]), None if labels is None else labels[which]
    return np.asarray(values), labels


def agreement(given: argparse.Namespace) -> None:
    """Classes of approximate neighbours beside those of exact ones."""
    from contrasift import select
    from contrasift.classes import class_stability, latent_classes, selection_overlap
    from contrasift.classes import neighbours as module

    values, labels = read_matrix(given.matrix, given.rows)
    found: dict[str, list[Any]] = {"approximate": [], "exact": []}
    seconds: dict[str, list[float]] = {"approximate": [], "exact": []}
    limit = module.EXACT_ROWS
    for seed, way in itertools.product(range(given.seeds), found):
        module.EXACT_ROWS = limit if way == "approximate" else len(values)
        spent, one = timed(
            lambda seed=seed: latent_classes(values, method="graph", labels=labels, seed=seed)
        )
        seconds[way].append(spent)
        found[way].append(one)
        print(way, seed, f"{spent:.1f} s", one.facts.get("agreement"), flush=True)
    codes = {way: [one.codes for one in some] for way, some in found.items()}
    kept = {
        way: [select(values, c, fraction=0.2).indices for c in some] for way, some in codes.items()
    }

    def between(pairs: Any, of: Callable[[Any], float]) -> float:
        return float(np.mean([of(list(pair)) for pair in pairs]))

    def ari(pair: list[np.ndarray]) -> float:
        return class_stability(pair)["ari"]

    results = {
        "matrix": given.name or given.matrix.stem,
        "rows": len(values), "dim": values.shape[1], "seeds": given.seeds,
        "search": found["approximate"][0].facts.get("neighbours_search", {}),
        "n_classes": {way: len(some[0].names) for way, some in found.items()},
        "ari_approximate_exact": between(itertools.product(*codes.values()), ari),
        "ari_seeds": between(itertools.combinations(codes["exact"], 2), ari),
        "overlap_approximate_exact": between(itertools.product(*kept.values()), selection_overlap),
        "overlap_seeds": between(itertools.combinations(kept["exact"], 2), selection_overlap),
        "with_labels": {
            way: {name: float(np.mean([one.facts["agreement"][name] for one in some]))
                  for name in ("nmi", "ari", "purity")}
            for way, some in found.items()
        } if labels is not None else {},
        "seconds": {way: float(np.median(some)) for way, some in seconds.items()},
    }  # fmt: skip
    write(f"neighbours-{results['matrix']}", results, agreement_text(results))


def agreement_text(results: dict[str, Any]) -> str:
    """The page."""
    search, labels = results["search"], results["with_labels"]
    return "\n".join(
        [
            f"{results['matrix']}, {results['rows']:,} × {results['dim']}, {results['seeds']} seeds: "
            f"classes of approximate neighbours (measured recall {search.get('recall', 1):.3f}, "
            f"{search.get('probed', 0)} of {search.get('lists', 0)} lists) beside those of exact "
            "ones. Written by `benchmarks/bench_neighbours.py agreement`.",
            "",
            "| | approximate and exact | exact, two seeds |",
            "|---|---|---|",
            f"| ARI of the classes | {results['ari_approximate_exact']:.3f} | "
            f"{results['ari_seeds']:.3f} |",
            f"| overlap of the 20 % selections | {results['overlap_approximate_exact']:.3f} | "
            f"{results['overlap_seeds']:.3f} |",
            "",
            "| neighbours | classes | NMI with labels | ARI with labels | s |",
            "|---|---|---|---|---|",
            *(
                f"| {way} | {results['n_classes'][way]} | "
                + (f"{labels[way]['nmi']:.3f} | {labels[way]['ari']:.3f}" if labels else "– | –")
                + f" | {results['seconds'][way]:.0f} |"
                for way in ("approximate", "exact")
            ),
            "",
        ]
    )


def write(name: str, results: dict[str, Any], text: str) -> None:
    """JSON and Markdown among the results."""
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("peers", "agreement", "one", "exact"))
    parser.add_argument("matrix", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=0, help="[default: 200,000; 131,072]")
    parser.add_argument("--exact-rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--name", default="", help="of the results")
    parser.add_argument("--label", default="", help="what the matrix holds, in words")
    given = parser.parse_args()
    given.rows = given.rows or {"peers": 200_000, "agreement": 131_072}.get(given.what, 0)
    if given.what == "peers":
        peers(given)
    elif given.what == "agreement":
        agreement(given)
    elif given.what == "one":
        print(json.dumps(search_with(given)))
    else:
        print(json.dumps(exact(given)))


if __name__ == "__main__":
    main()
