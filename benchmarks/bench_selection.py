"""The selection engine beside its peers and the hardware's limits, in one run.

    python benchmarks/bench_selection.py                 # everything, most of an hour on two cores
    python benchmarks/bench_selection.py --only peers    # one part: peers, overlap, large, floors,
                                                         # passes (beside Z·w), steps (of greedy),
                                                         # kinds (of rows), exact (these kinds, greedy
                                                         # to the end), fp16 (shards, 12.8 GB of disk)
    python benchmarks/bench_selection.py --only fp16 --rows 10000000
    python benchmarks/bench_selection.py --quick         # small sizes, for a look

Stopped, it goes on where it was; a part that is measured at this commit is left (`--again` makes it
anew). Each part says how long it took.

Every measurement runs in a process of its own, one at a time, with the same number of threads.
Times are of the selection alone, after the embeddings are in memory (or mapped) and after a first
small call has compiled what must be compiled. Peers get their n × n kernel for free. Memory is the
process's peak less what it held with the embeddings loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from resuming import Unfinished, about, asked, finished

THREADS = min(2, os.cpu_count() or 1)
PEER_LIMIT_SECONDS = 60.0
_WINDOW_ROWS = 16_384  # of greedy, at 128 columns
_EXACT_LIMIT_SECONDS = 120  # greedy to the end of the ranking, whatever the rows are


# --- data -----------------------------------------------------------------------------------------


def clustered_rows(
    n: int, d: int, *, signed: bool = False, seed: int = 0, out: Any = None
) -> np.ndarray:
    """Unit rows around 1,000 centres; non-negative like ReLU features, or of mixed sign."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((1000, d)).astype(np.float32)
    # Of mixed sign, with the common mean that embeddings of real encoders have.
    centres = centres + rng.standard_normal(d).astype(np.float32) if signed else np.abs(centres)
    values = np.empty((n, d), dtype=np.float32) if out is None else out
    for start in range(0, n, 100_000):
        stop = min(n, start + 100_000)
        block = centres[rng.integers(0, 1000, stop - start)]
        block = block + 0.5 * rng.standard_normal(block.shape).astype(np.float32)
        if not signed:
            np.maximum(block, 0, out=block)
            block[:, 0] += 1e-3
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        values[start:stop] = block
    return values


def mapped_rows(n: int, d: int, folder: Path) -> np.ndarray:
    """The same on disk, memory-mapped for reading."""
    path = folder / f"rows-{n}-{d}.npy"
    if not path.exists():
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
        clustered_rows(n, d, out=out)
        out.flush()
        del out
    return np.load(path, mmap_mode="r", allow_pickle=False)


KINDS = ["centred", "isotropic", "whitened", "one-hot", "heavy-tailed", "clustered", "duplicated"]


def rows_of_kind(kind: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    """Rows as they may be: of length one, but for `heavy-tailed`."""
    rng = np.random.default_rng(seed)
    if kind == "one-hot":
        values = np.zeros((n, d), np.float32)
        values[np.arange(n), rng.integers(0, d, n)] = 1
        return values
    if kind in ("whitened", "clustered"):
        values = long_tailed_rows(n, d, rng)
    elif kind == "duplicated":
        values = np.repeat(np.abs(rng.standard_normal((-(-n // 10), d), np.float32)), 10, 0)[:n]
    else:
        values = rng.standard_normal((n, d), np.float32)
        if kind != "isotropic":
            np.abs(values, out=values)
    if kind in ("centred", "whitened"):
        values -= values.mean(axis=0)
    if kind == "whitened":
        some = values[:: max(1, n // 100_000)]
        lengths, axes = np.linalg.eigh(some.T @ some / len(some))
        values = values @ (axes / np.sqrt(np.maximum(lengths, 1e-6))).astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    if kind == "heavy-tailed":
        values *= rng.pareto(1.5, (n, 1)).astype(np.float32) + np.float32(0.1)
    return np.ascontiguousarray(values, np.float32)


def kept_rows(kind: str, n: int, d: int, folder: Path) -> np.ndarray:
    """`rows_of_kind`, read again where the case before had them too."""
    path = folder / f"{kind}-{n}-{d}.npy"
    if not path.exists():
        for other in folder.glob(f"*-{n}-{d}.npy"):  # of one kind at a time
            if other.name.rsplit("-", 2)[0] in [*KINDS, "positive"]:
                other.unlink()
        np.save(path, rows_of_kind(kind, n, d))
    return np.load(path, allow_pickle=False)


def long_tailed_rows(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Non-negative rows around 1,000 centres, the c-th of a share like 1/c; 2 % are duplicates."""
    centres = np.abs(rng.standard_normal((1000, d), np.float32))
    shares = 1 / np.arange(1, 1001)
    values = np.empty((n, d), np.float32)
    for start in range(0, n, 100_000):
        stop = min(n, start + 100_000)
        own = centres[rng.choice(1000, stop - start, p=shares / shares.sum())]
        noise = rng.standard_normal(own.shape, np.float32)
        values[start:stop] = np.maximum(own + 0.5 * noise, 0)
    values[:, 0] += 1e-3
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    values[rng.integers(0, n, n // 50)] = values[rng.integers(0, n, n // 50)]
    return values


# --- what is measured -----------------------------------------------------------------------------


def objective(values: np.ndarray, rows: np.ndarray, redundancy: float) -> float:
    """F_λ in float64, independent of the library."""
    total = values.sum(axis=0, dtype=np.float64)
    chosen = values[np.sort(rows)].sum(axis=0, dtype=np.float64)
    return float(chosen @ total - redundancy * chosen @ chosen)


def contrasift_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    import contrasift as cs

    rng = np.random.default_rng(1)
    small = clustered_rows(2000, case["d"])
    options = {
        "redundancy": case["redundancy"],
        "optimizer": case["optimizer"],
        "normalize": "none",
    }
    cs.select(small, None, budget=400, threads=THREADS, **options)  # compiles
    if case.get("mapped"):
        values = mapped_rows(case["n"], case["d"], folder)
    else:
        values = clustered_rows(case["n"], case["d"], signed=case.get("signed", False))
    classes = rng.integers(0, case["classes"], case["n"]) if case["classes"] > 1 else None
    held = _resident_bytes()
    _forget_peak()
    begun = time.perf_counter()
    chosen = cs.select(values, classes, budget=case["k"], threads=THREADS, **options)
    seconds = time.perf_counter() - begun
    peak = _peak_bytes()
    assert chosen.certificate is not None
    facts = {
        "seconds": seconds,
        "selection_seconds": chosen.seconds,
        "extra_bytes": max(0, peak - held),
        "peak_bytes": peak,
        "value": chosen.value,
        "upper_bound": chosen.certificate.upper_bound,
        "value_over_bound": chosen.value / chosen.certificate.upper_bound,
        "share": chosen.certificate.share,
    }
    if classes is None and case["optimizer"] == "greedy" and not case.get("mapped"):
        facts |= _certificate_cost(values, chosen, case)
    if case.get("keep"):
        facts["rows"] = chosen.indices.tolist()
    return facts


def one_pass_seconds(values: np.ndarray) -> float:
    """Z·w by NumPy's BLAS, the fastest of five, on this processor and now."""
    direction = np.ones(values.shape[1], np.float32)
    found = []
    for _ in range(6):
        begun = time.perf_counter()
        values @ direction
        found.append(time.perf_counter() - begun)
    return min(found[1:])


def kinds_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One kind of rows: how long, how much of the ranking is exact, how good."""
    import warnings

    import contrasift as cs

    warnings.simplefilter("ignore")
    threads = case.get("threads", THREADS)
    how = {"normalize": "none", "threads": threads, "optimizer": case["optimizer"]}
    if "redundancy" in case:
        how["redundancy"] = case["redundancy"]
    cs.select(rows_of_kind(case["kind"], 2000, case["d"]), None, budget=400, **how)  # compiles
    cs.select(rows_of_kind("isotropic", 80_000, case["d"]), None, budget=4, **how)
    values = kept_rows(case["kind"], case["n"], case["d"], folder)
    rng = np.random.default_rng(1)
    classes = rng.integers(0, case["classes"], case["n"]) if case["classes"] > 1 else None
    floor = one_pass_seconds(values)
    held = _resident_bytes()
    _forget_peak()  # making rows has one of its own
    begun = time.perf_counter()
    chosen = cs.select(values, classes, budget=case["k"], **how)
    seconds = time.perf_counter() - begun
    assert chosen.certificate is not None
    sampled = int(chosen.facts.get("sampled_ranks", 0))
    return {
        "seconds": seconds,
        "pass_seconds": floor,
        "passes": seconds / floor,
        "extra_bytes": max(0, _peak_bytes() - held),
        "share": chosen.certificate.share,
        "exact": 1 - sampled / case["k"],
        "threads": threads,
    }


def steps_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where the time of greedy's steps goes: what it computes, times what that costs in this run."""
    import contrasift.selection.optimizers.greedy as module
    from contrasift.selection.kernels import dots

    in_series, greedy, run_window = [0.0], module.greedy, module.run_window

    def timed_window(*arguments: Any) -> Any:
        once, result = timed(lambda: run_window(*arguments))
        in_series[0] += once
        return result

    def timed(work: Callable[[], Any]) -> tuple[float, Any]:
        begun = time.process_time()
        result = work()
        return time.process_time() - begun, result

    how = {"redundancy": 1.0, "threads": 1, "distinct": True}
    greedy(rows_of_kind(case["kind"], 40_000, case["d"]), 400, **how)  # compiles
    values = kept_rows(case["kind"], case["n"], case["d"], folder)
    direction, window = np.ones(case["d"]), dots.embedding_rows(values[:_WINDOW_ROWS])
    scores = np.empty(_WINDOW_ROWS)
    module.run_window = timed_window
    dots.scores_block(window, 0, _WINDOW_ROWS, direction, scores)  # compiles
    floor, seconds, a_gain, series = np.inf, np.inf, np.inf, 1.0
    for _ in range(3):
        floor, in_series[0] = min(floor, one_pass_seconds(values)), 0.0
        once, path = timed(lambda: greedy(values, case["k"], **how))
        series = in_series[0] / once if once < seconds else series
        seconds = min(seconds, once)
        once, _ = timed(lambda: dots.scores_block(window, 0, _WINDOW_ROWS, direction, scores))
        a_gain = min(a_gain, once / _WINDOW_ROWS)
    return {
        "seconds": seconds,
        "passes": seconds / floor,
        "step_ns": 1e9 * seconds / case["k"],
        "gains_a_step": path.evaluations / case["k"],
        "gain_ns": 1e9 * a_gain,
        "series_share": series,
        "two_threads_at_most": 2 / (1 + series),
        "refreshes": path.refreshes,
    }


def fp16_shards(n: int, d: int, shards: int, folder: Path) -> Path:
    """Non-negative rows around 1,000 centres, not of length one, as float16 in several files."""
    rng = np.random.default_rng(0)
    centres = np.abs(rng.standard_normal((1000, d), np.float32))
    where = folder / f"fp16-{n}-{d}"
    where.mkdir()
    for number, size in enumerate(np.diff(np.linspace(0, n, shards + 1).astype(int))):
        rows = np.empty((size, d), np.float16)
        for start in range(0, size, 100_000):
            part = rows[start : start + 100_000]
            noise = rng.standard_normal(part.shape, np.float32)
            noise *= 0.5
            noise += centres[rng.integers(0, 1000, len(part))]
            part[:] = np.maximum(noise, 0)
        rows[:, 0] += np.float16(1e-3)
        np.save(where / f"emb_{number:04}.npy", rows)
    return where


def fp16_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The relaxation over shards of float16, each pass from the files; columns in mapped files."""
    import contrasift as cs
    from contrasift.selection.local import LocalEngine
    from contrasift.store.columns import MappedColumns

    how = {"optimizer": "relaxed", "fraction": 0.2}
    small = clustered_rows(40_000, case["d"])
    cs.select(small.astype(np.float16), threads=THREADS, **how)  # compiles
    where = fp16_shards(case["n"], case["d"], case["shards"], folder)
    try:
        engine = LocalEngine(THREADS, columns=MappedColumns(folder))
        matrix = cs.open_embeddings(where)
        with _anonymous_peak() as peak:
            begun = time.perf_counter()
            for block in range(0, case["n"], 1 << 18):
                np.asarray(matrix[block : block + (1 << 18)]).view(np.uint16).max()
            read = time.perf_counter() - begun
            begun, used = time.perf_counter(), time.process_time()
            chosen = cs.select(matrix, engine=engine, **how)
            seconds, used = time.perf_counter() - begun, time.process_time() - used
    finally:
        shutil.rmtree(where)
    assert chosen.certificate is not None
    return {
        "seconds": seconds,
        "processor_seconds": used,
        "read_seconds": read,
        "extra_bytes": peak[0],
        "value_over_bound": chosen.value / chosen.certificate.upper_bound,
        "share": chosen.certificate.share,
    }


@contextlib.contextmanager
def _anonymous_peak() -> Iterator[list[int]]:
    """The most memory that belongs to no file, looked at twenty times a second."""
    peak, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            lines = Path("/proc/self/status").read_text().splitlines()
            own = next(line for line in lines if line.startswith("RssAnon"))
            peak[0] = max(peak[0], 1024 * int(own.split()[1]))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    yield peak
    ended.set()
    watcher.join()


def _certificate_cost(values: np.ndarray, chosen: Any, case: dict[str, Any]) -> dict[str, float]:
    """The engine's greedy and its bound apart, so that the price of the proof can be seen."""
    from contrasift.selection.optimizers.greedy import greedy
    from contrasift.selection.optimizers.relaxation import upper_bound

    begun = time.perf_counter()
    path = greedy(values, case["k"], redundancy=case["redundancy"], threads=THREADS)
    middle = time.perf_counter()
    upper_bound(
        values, path.selected_sum, case["k"], redundancy=case["redundancy"], total=path.total
    )
    return {"greedy_seconds": middle - begun, "certificate_seconds": time.perf_counter() - middle}


def _submodlib_rows(kernel: np.ndarray, case: dict[str, Any]) -> np.ndarray:
    from submodlib.functions.graphCut import GraphCutFunction

    function = GraphCutFunction(
        n=case["n"],
        mode="dense",
        lambdaVal=case["redundancy"],
        separate_rep=False,
        ggsijs=kernel,
    )
    case["begun"] = time.perf_counter()
    found = function.maximize(
        budget=case["k"],
        optimizer="LazyGreedy",
        stopIfZeroGain=False,
        stopIfNegativeGain=False,
        show_progress=False,
    )
    return np.array([row for row, _ in found])


def _apricot_rows(kernel: np.ndarray, case: dict[str, Any]) -> np.ndarray:
    from apricot import GraphCutSelection

    kernel = kernel.astype(np.float64)
    # alpha weighs the first term: F_λ / λ.
    selector = GraphCutSelection(
        case["k"], metric="precomputed", alpha=1 / case["redundancy"], optimizer="lazy"
    )
    case["begun"] = time.perf_counter()
    selector.fit(kernel)
    return np.asarray(selector.ranking)


def submodlib_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    return _peer_case(_submodlib_rows, case)


def apricot_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    return _peer_case(_apricot_rows, case)


def _peer_case(rows_of: Callable[..., np.ndarray], case: dict[str, Any]) -> dict[str, Any]:
    """Time of the selection alone: the kernel and what the peer builds before it are free."""
    values = clustered_rows(case["n"], case["d"])
    held = _resident_bytes()
    rows = rows_of(values @ values.T, case)
    return _peer_facts(values, rows, time.perf_counter() - case["begun"], held, case)


def published_cost_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The published code's cost model, written afresh: a dense similarity matrix and a heap."""
    import heapq

    values = clustered_rows(case["n"], case["d"])
    held = _resident_bytes()
    begun = time.perf_counter()
    similarity = values.astype(np.float64) @ values.T.astype(np.float64)
    gains = similarity.sum(axis=1) - case["redundancy"] * np.diag(similarity)
    penalty = np.zeros(case["n"])
    heap = [(-gain, row) for row, gain in enumerate(gains)]
    heapq.heapify(heap)
    rows: list[int] = []
    while len(rows) < case["k"]:
        _, row = heapq.heappop(heap)
        gain = gains[row] - 2 * case["redundancy"] * penalty[row]
        if heap and gain < -heap[0][0]:
            heapq.heappush(heap, (-gain, row))
            continue
        rows.append(row)
        penalty += similarity[row]
    seconds = time.perf_counter() - begun
    return _peer_facts(values, np.array(rows), seconds, held, case)


def _peer_facts(
    values: np.ndarray, rows: np.ndarray, seconds: float, held: int, case: dict[str, Any]
) -> dict[str, Any]:
    peak = _peak_bytes()
    return {
        "seconds": seconds,
        "extra_bytes": max(0, peak - held),
        "value": objective(values, rows, case["redundancy"]),
        "rows": np.sort(rows).tolist(),
    }


def overlap_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same sets as the peers' on 20 random problems, with the time of ours for all of them."""
    begun = time.perf_counter()
    overlaps: dict[str, list[float]] = {"submodlib LazyGreedy": [], "apricot lazy": []}
    for seed in range(20):
        values = clustered_rows(case["n"], case["d"], seed=seed)
        ours = _greedy_rows(values, case)
        kernel = values @ values.T
        overlaps["submodlib LazyGreedy"].append(
            overlap(ours, _submodlib_rows(kernel, case).tolist())
        )
        overlaps["apricot lazy"].append(overlap(ours, _apricot_rows(kernel, case).tolist()))
    return {"seconds": time.perf_counter() - begun, "overlaps": overlaps}


def _greedy_rows(values: np.ndarray, case: dict[str, Any]) -> list[int]:
    import contrasift as cs

    chosen = cs.select(
        values, None, budget=case["k"], redundancy=case["redundancy"], normalize="none"
    )
    return chosen.indices.tolist()


def gemm_floor_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Blocked Z Zᵀ: what any method that looks at every pair must pay."""
    values = clustered_rows(case["n"], case["d"])
    rows = min(case["n"], 20_000)
    begun = time.perf_counter()
    for start in range(0, rows, 2000):
        values[start : start + 2000] @ values.T
    return {"seconds": (time.perf_counter() - begun) * case["n"] / rows}


def read_floor_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One read of Z: what any method at all must pay."""
    from concurrent.futures import ThreadPoolExecutor

    values = clustered_rows(case["n"], case["d"])
    parts = np.array_split(values, THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(np.max, parts))
        begun = time.perf_counter()
        list(pool.map(np.max, parts))
        return {"seconds": time.perf_counter() - begun}


METHODS: dict[str, Callable[[dict[str, Any], Path], dict[str, Any]]] = {
    "contrasift": contrasift_case,
    "submodlib LazyGreedy": submodlib_case,
    "apricot lazy": apricot_case,
    "published cost model": published_cost_case,
    "overlap": overlap_case,
    "by kind": kinds_case,
    "steps": steps_case,
    "fp16 shards": fp16_case,
    "floor: Z Zᵀ": gemm_floor_case,
    "floor: one read": read_floor_case,
}


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _forget_peak() -> None:
    """Let the peak of resident memory begin anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """The peak of resident memory since the last `_forget_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- cases ----------------------------------------------------------------------------------------


def peer_cases(quick: bool) -> list[dict[str, Any]]:
    sizes = [1000, 2000, 5000] if quick else [1000, 2000, 5000, 10_000, 20_000]
    base = {"d": 128, "classes": 1, "redundancy": 1.0, "part": "peers"}
    cases = []
    for n in sizes:
        shape = base | {"n": n, "k": n // 5}
        cases += [
            shape | {"method": "contrasift", "optimizer": "greedy", "keep": True},
            shape | {"method": "contrasift", "optimizer": "relaxed", "keep": True},
            *(
                shape | {"method": name}
                for name in ("submodlib LazyGreedy", "apricot lazy", "published cost model")
            ),
            shape | {"method": "floor: Z Zᵀ"},
        ]
    return cases


def large_cases(quick: bool) -> list[dict[str, Any]]:
    million = 100_000 if quick else 1_000_000
    one = {"d": 128, "n": million, "k": million // 5, "classes": 1, "redundancy": 1.0}
    ten = {"d": 64, "n": 10 * million, "k": 2 * million, "redundancy": 1.0, "mapped": True}
    cases = [
        one | {"optimizer": "greedy", "reach": "≤ 10 s, ≤ 200 MB above the embeddings"},
        one | {"optimizer": "greedy", "classes": 1000, "reach": "≤ 4 s"},
        ten | {"optimizer": "greedy", "classes": 1000, "reach": "≤ 90 s, ≤ 4 GB resident"},
        one | {"optimizer": "relaxed", "reach": "≤ 2.5 s, F/bound ≥ 0.9999"},
        ten | {"optimizer": "relaxed", "classes": 1, "reach": "≤ 40 s, ≤ 4 GB, F/bound ≥ 0.9999"},
        one | {"optimizer": "greedy", "signed": True, "reach": "measured"},
    ]
    return [case | {"method": "contrasift", "part": "large"} for case in cases]


def kinds_cases(quick: bool) -> list[dict[str, Any]]:
    base = _kinds_base(quick) | {"part": "kinds", "optimizer": "auto", "reach": "≤ 60 s"}
    return [base | {"kind": kind, "classes": count} for kind in KINDS for count in (1, 1000)]


def exact_cases(quick: bool) -> list[dict[str, Any]]:
    base = _kinds_base(quick) | {"part": "exact", "optimizer": "greedy", "classes": 1}
    base |= {"limit": _EXACT_LIMIT_SECONDS, "reach": f"stopped after {_EXACT_LIMIT_SECONDS} s"}
    return [base | {"kind": kind} for kind in KINDS]


def _kinds_base(quick: bool) -> dict[str, Any]:
    n = 100_000 if quick else 1_000_000
    return {"d": 128, "n": n, "k": n // 5, "method": "by kind"}


def passes_cases(quick: bool) -> list[dict[str, Any]]:
    n = 100_000 if quick else 1_000_000
    base = {"d": 128, "n": n, "k": n // 5, "part": "passes", "method": "by kind", "classes": 1}
    base |= {"redundancy": 1.0}
    greedy = base | {"optimizer": "greedy", "kind": "positive"}
    return [
        greedy | {"threads": 1, "reach": "two threads ≥ 1.6 × one"},
        greedy | {"threads": 2, "reach": "≤ 50 passes"},
        greedy | {"kind": "clustered", "reach": "≤ 60 passes"},
        greedy | {"optimizer": "relaxed", "reach": "≤ 12 passes"},
    ]


def steps_cases(quick: bool) -> list[dict[str, Any]]:
    base = _kinds_base(quick) | {"part": "steps", "method": "steps", "optimizer": "greedy"}
    base |= {"classes": 1, "threads": 1}
    return [base | {"kind": kind} for kind in ("positive", "clustered")]


def fp16_cases(quick: bool) -> list[dict[str, Any]]:
    n = 1_000_000 if quick else 100_000_000
    case = {"n": n, "d": 64, "k": n // 5, "shards": 100, "classes": 1, "optimizer": "relaxed"}
    reach = {"reach": "≤ 150 s, ≤ 4 GB beside the page cache"} if not quick else {}
    return [case | reach | {"part": "fp16", "method": "fp16 shards"}]


def overlap_cases(quick: bool) -> list[dict[str, Any]]:
    base = {"d": 32, "n": 500, "k": 100, "classes": 1, "redundancy": 1.0}
    return [base | {"part": "overlap", "method": "overlap"}]


def floor_cases(quick: bool) -> list[dict[str, Any]]:
    n = 100_000 if quick else 1_000_000
    base = {"d": 128, "n": n, "k": n // 5, "classes": 1, "redundancy": 1.0, "part": "floors"}
    return [base | {"method": "floor: Z Zᵀ"}, base | {"method": "floor: one read"}]


PARTS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "peers": peer_cases,
    "overlap": overlap_cases,
    "large": large_cases,
    "floors": floor_cases,
    "passes": passes_cases,
    "steps": steps_cases,
    "kinds": kinds_cases,
    "exact": exact_cases,
    "fp16": fp16_cases,
}


# --- running and showing --------------------------------------------------------------------------


def run_case(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    threads = str(THREADS)
    pinned = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), threads
    )
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--case",
        json.dumps(case),
        "--data",
        str(folder),
    ]
    limit = PEER_LIMIT_SECONDS if case["part"] == "peers" else case.get("limit", 1800)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | pinned, timeout=limit + 60
        )
    except subprocess.TimeoutExpired:
        return case | {"error": f"stopped after {limit + 60:.0f} s"}
    if done.returncode:
        return case | {
            "error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        }
    return case | json.loads(done.stdout.splitlines()[-1])


def stops_a_peer(result: dict[str, Any]) -> bool:
    return "error" in result or result["seconds"] > PEER_LIMIT_SECONDS


def overlap(rows: list[int], others: list[int]) -> float:
    return len(set(rows) & set(others)) / max(1, len(others))


def name_of(result: dict[str, Any]) -> str:
    name = result["method"]
    if "kind" in result:
        return f"{result['optimizer']}, {result['kind']} rows, {result.get('threads', THREADS)} threads"
    if name == "contrasift":
        name += f" {result['optimizer']}"
    return name + (", mixed signs" if result.get("signed") else "")


def show_kinds(results: list[dict[str, Any]]) -> str:
    """Kinds of rows: time beside one pass Z·w in the same run, and how much is exact."""
    lines = [
        "| rows | n × d | classes | optimizer | threads | seconds | passes Z·w | MB above | "
        "ranks that are greedy's | share | reach |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        shape = f"{result['n']:,} × {result['d']} | {result['classes']:,} | {result['optimizer']}"
        if "error" in result:
            lines.append(f"| {result['kind']} | {shape} | {result['error']} |||||||")
            continue
        lines.append(
            f"| {result['kind']} | {shape} | {result['threads']} | {result['seconds']:.2f} | "
            f"{result['passes']:.1f} | {result['extra_bytes'] / 1e6:,.0f} | {result['exact']:.1%} | "
            f"{result['share']:.6f} | {result.get('reach', '')} |"
        )
    return "\n".join(lines)


def show_shards(results: list[dict[str, Any]]) -> str:
    """Shards of float16: time beside one read of them, and memory that belongs to no file."""
    lines = [
        "| n × d | shards | optimizer | seconds | processor seconds | one read, seconds | "
        "MB beside files | F / bound | reach |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        shape = f"| {result['n']:,} × {result['d']} | {result['shards']} | {result['optimizer']} "
        if "error" in result:
            lines.append(shape + f"| {result['error']} ||||||")
            continue
        lines.append(
            shape + f"| {result['seconds']:.1f} | {result['processor_seconds']:.1f} | "
            f"{result['read_seconds']:.1f} | {result['extra_bytes'] / 1e6:,.0f} | "
            f"{result['value_over_bound']:.8f} | {result.get('reach', '')} |"
        )
    return "\n".join(lines)


def show_steps(results: list[dict[str, Any]]) -> str:
    """Greedy on one thread: what a step computes, and which share of its time that is."""
    lines = [
        "| rows | n × d | k | seconds | passes Z·w | ns a step | gains a step | ns a gain in a window | "
        "steps' share of the time | two threads at most | passes over all rows |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        shape = f"| {result['kind']} | {result['n']:,} × {result['d']} | {result['k']:,} "
        if "error" in result:
            lines.append(shape + f"| {result['error']} |||||||")
            continue
        lines.append(
            shape
            + f"| {result['seconds']:.2f} | {result['passes']:.1f} | {result['step_ns']:,.0f} | "
            f"{result['gains_a_step']:.0f} | {result['gain_ns']:.0f} | {result['series_share']:.0%} | "
            f"{result['two_threads_at_most']:.2f} × | {result['refreshes']} |"
        )
    return "\n".join(lines)


def show(results: list[dict[str, Any]]) -> str:
    if results[0]["part"] == "steps":
        return show_steps(results)
    if "shards" in results[0]:
        return show_shards(results)
    if "kind" in results[0]:
        return show_kinds(results)
    lines = []
    if any("overlaps" not in result for result in results):
        lines += [
            "| n × d | classes | k | method | seconds | MB above | F / bound | F / greedy's | overlap | reach |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
    reference: dict[int, dict[str, Any]] = {}
    for result in results:
        if result["part"] == "peers" and name_of(result) == "contrasift greedy":
            reference[result["n"]] = result
    for result in results:
        if "overlaps" in result:
            continue
        shape = f"| {result['n']:,} × {result['d']} | {result['classes']:,} | {result['k']:,} | {name_of(result)} "
        if "error" in result:
            lines.append(shape + f"| {result['error']} ||||||")
            continue
        ours = reference.get(result["n"]) if result["part"] == "peers" else None
        cells = [
            f"{result['seconds']:.3f}",
            f"{result['extra_bytes'] / 1e6:,.0f}" if "extra_bytes" in result else "",
            f"{result['value_over_bound']:.8f}" if "value_over_bound" in result else "",
            f"{result['value'] / ours['value']:.8f}" if ours and "value" in result else "",
            f"{overlap(result['rows'], ours['rows']):.4f}" if ours and "rows" in result else "",
            result.get("reach", ""),
        ]
        lines.append(shape + "| " + " | ".join(cells) + " |")
    for result in results:
        for name, shares in result.get("overlaps", {}).items():
            lines.append(
                f"\nthe same sets as {name} on {len(shares)} random problems ({result['n']} × {result['d']}, "
                f"k = {result['k']}): mean overlap {np.mean(shares):.4f}, least {min(shares):.4f}"
            )
    for result in results:
        if "certificate_seconds" in result and result["part"] == "large":
            share = result["certificate_seconds"] / result["greedy_seconds"]
            lines.append(
                f"\n{name_of(result)}, {result['n']:,} × {result['d']}: greedy {result['greedy_seconds']:.2f} s, "
                f"its certificate {result['certificate_seconds']:.2f} s ({share:.1%})"
            )
    return "\n".join(lines)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    timed = [r for r in results if r["part"] == "peers" and "seconds" in r]
    for name in dict.fromkeys(name_of(r) for r in timed):
        points = [r for r in timed if name_of(r) == name]
        figure.add_scatter(
            x=[r["n"] for r in points],
            y=[r["seconds"] for r in points],
            name=name,
            mode="lines+markers",
        )
    figure.update_layout(
        title="Time to select a fifth of n × 128 embeddings (λ = 1; peers get their kernel for free)",
        xaxis={"title": "n", "type": "log"},
        yaxis={"title": "seconds", "type": "log"},
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--data", type=Path, help="folder for mapped files; default: a temporary one"
    )
    parser.add_argument("--again", action="store_true", help="also what is measured at this commit")
    parser.add_argument("--rows", type=int, help="of fp16; default: 100 million")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case)
        print(json.dumps(METHODS[case["method"]](case, arguments.data)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for name, make in PARTS.items():
            if arguments.only in (None, name):
                cases = make(arguments.quick)
                if arguments.rows and name == "fp16":
                    own = {"n": arguments.rows, "k": arguments.rows // 5, "reach": ""}
                    cases = [case | own for case in cases]
                run_part(cases, arguments.out, arguments.data or Path(temporary), arguments.again)


def run_part(cases: list[dict[str, Any]], out: Path, folder: Path, again: bool) -> None:
    """Measure a part, unless that is done."""
    stem = out / f"selection-{cases[0]['part']}"
    if not again and finished(stem, cases):
        print(f"{cases[0]['part']}: measured at this commit", flush=True)
        return
    begun = time.perf_counter()
    held = Unfinished(stem, again=again)
    results: list[dict[str, Any]] = []
    stopped: set[str] = set()
    for case in cases:
        if case["part"] == "peers" and case["method"] in stopped:
            continue
        result = held.result_of(case, lambda case=case: run_case(case, folder))
        if case["part"] == "peers" and stops_a_peer(result):
            stopped.add(case["method"])
        results.append(result)
        said = result.get("error") or f"{result['seconds']:.3f} s"
        print(
            f"{name_of(result)}, {case['n']:,} × {case['d']}, {case['classes']} class(es): {said}",
            flush=True,
        )
    write_part(results, stem, asked(cases))
    held.done()
    print(f"{cases[0]['part']}: {time.perf_counter() - begun:.0f} s in all", flush=True)


def write_part(results: list[dict[str, Any]], stem: Path, cases: str) -> None:
    """One JSON and one table a part, and of peers a plot of cost against n."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    table = show(results)
    facts = {
        "about": about(),
        "asked": cases,
        "processor": platform.processor() or platform.machine(),
        "threads": THREADS,
        "versions": {
            name: _version(name)
            for name in ("contrasift", "numpy", "numba", "submodlib-py", "apricot-select")
        },
        "results": [{k: v for k, v in result.items() if k != "rows"} for result in results],
    }
    stem.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    stem.with_suffix(".md").write_text(table + "\n")
    print(f"\n{table}\n\nwritten: {stem}.json, .md")
    if results[0]["part"] == "peers":
        plot(results, stem.with_suffix(".html"))


if __name__ == "__main__":
    main()
