"""The other ways to choose, beside the matrix products that they need and their peers.

    python benchmarks/bench_objectives.py                   # everything, some minutes on two cores
    python benchmarks/bench_objectives.py --only threshold  # one part
    python benchmarks/bench_objectives.py --quick           # small sizes, for a look

Stopped, it goes on where it was; a part that is measured at this commit is left (`--again` makes it
anew). Each part says how long it took.

Every case runs in a process of its own, one at a time, with the same number of threads. Times are of
the choice alone, after the embeddings are in memory and a first small call has compiled what must be
compiled. What is compared is timed in turn in the same process, round after round; a ratio is the
median over the rounds. Memory is the process's peak less what it held with the embeddings loaded.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench_selection import THREADS, _peak_bytes, _resident_bytes, clustered_rows
from resuming import Unfinished, about, asked, finished

CASE_LIMIT_SECONDS = 1800


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the clock, seconds of processor time, and what came of it."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - clock, time.process_time() - processor, result


def every_product(values: np.ndarray) -> None:
    """Blocked Z Zᵀ, all n², in float32, into one buffer: nothing is kept, nothing allocated."""
    buffer = np.empty((500, values.shape[0]), np.float32)
    for start in range(0, values.shape[0], 500):
        block = values[start : start + 500]
        np.matmul(block, values.T, out=buffer[: block.shape[0]])


# --- threshold ------------------------------------------------------------------------------------


def threshold_cases(quick: bool) -> list[dict[str, Any]]:
    sizes = [5000, 10_000] if quick else [50_000, 100_000]
    reaches = ["≤ 2.5 × Z Zᵀ", "< 1.5 GB above the embeddings"]
    base = {"part": "threshold", "d": 128, "redundancy": 1.0, "rounds": 3}
    cases = [
        base | {"n": n, "k": n // 5, "threshold": 0.5, "reach": reach}
        for n, reach in zip(sizes, reaches, strict=True)
    ]
    cases[1]["rounds"] = 1
    certified = {"n": 20_000, "k": 4000, "threshold": 0.5, "rounds": 1}
    certified |= {"reach": "F/bound ≥ 0.9, or none of this form can"}
    cases += [base | certified | {"signed": signed} for signed in (False, True)]
    return cases + [base | {"n": sizes[0], "k": sizes[0] // 5, "threshold": t, "rounds": 1,
                            "reach": "measured"} for t in (0.3, 0.05, -0.2)]  # fmt: skip


def bench_threshold(case: dict[str, Any]) -> dict[str, Any]:
    """Row sums, greedy, bound and mean under a threshold, against Z Zᵀ alone."""
    from contrasift.selection.objectives import threshold as th
    from contrasift.selection.objectives import threshold_values

    settled = {"threshold": case["threshold"], "redundancy": case["redundancy"]}
    for n in (1000, 6000):  # compiles, for a pool of all rows and for one of some
        th.greedy_thresholded(clustered_rows(n, case["d"]), 100, threads=THREADS, **settled)
    values = clustered_rows(case["n"], case["d"], signed=case.get("signed", True))
    held = _resident_bytes()
    rounds: list[dict[str, float]] = []
    facts: dict[str, Any] = {}
    for _ in range(case["rounds"]):
        rows_s, rows_cpu, sums = timed(lambda: th.row_sums(values, case["threshold"], THREADS))
        greedy_s, greedy_cpu, path = timed(
            lambda sums=sums: th.greedy_thresholded(
                values, case["k"], row_sums=sums, threads=THREADS, **settled
            )
        )
        if not facts:
            facts = {"extra_mb": (_peak_bytes() - held) / 1e6}
        floor_s, floor_cpu, _ = timed(lambda: every_product(values))
        rounds.append(
            {"row_sums_s": rows_s, "greedy_s": greedy_s, "products_s": floor_s,
             "ratio": (rows_s + greedy_s) / floor_s,
             "processor_ratio": (rows_cpu + greedy_cpu) / floor_cpu}
        )  # fmt: skip
    known = {"row_sums": sums, "threads": THREADS, **settled}
    bound_s, _, bound = timed(
        lambda: threshold_values.upper_bound_thresholded(values, path.order, **known)
    )
    mean_s, _, mean = timed(lambda: threshold_values.mean_thresholded(values, case["k"], **known))
    facts |= {name: float(np.median([r[name] for r in rounds])) for name in rounds[0]}
    return facts | {
        "bound_s": bound_s,
        "mean_s": mean_s,
        "value_over_bound": path.value / bound,
        "value_over_least": path.value / least_bound(values, path, **known),
        "random_over_value": mean / path.value,
        "refreshes": path.refreshes,
        "pool_refreshes": path.pool_refreshes,
    }


def least_bound(
    values: np.ndarray, path: Any, *, threshold: float, redundancy: float, **_: Any
) -> float:
    """What no bound of the certificate's form is below: min_a G_a(S), docs/mathematics.md#thresholds."""
    rows = values[path.order].astype(np.float64)
    k, largest = len(rows), float((values.astype(np.float64) ** 2).sum(1).max())
    inside = linear = 0.0
    for start in range(0, k, 500):
        similar = rows[start : start + 500] @ rows.T
        similar[np.arange(len(similar)), start + np.arange(len(similar))] = 0.0
        linear += float(similar.sum())
        inside += float(similar[similar >= threshold].sum())

    def bound(a: float) -> float:
        offset = max(a * threshold, (a - 1) * threshold, (a - 1) * largest)
        return path.value + redundancy * (inside - a * linear + offset * k * (k - 1))

    # Convex and piecewise linear in a, with its corners where two of the three meet.
    corners = [0.0, 1.0, largest / max(largest - threshold, 1e-9)]
    return min(bound(a) for a in corners if a >= 0)


# --- coverage -------------------------------------------------------------------------------------


def coverage_cases(quick: bool) -> list[dict[str, Any]]:
    base = {"part": "coverage", "n": 2000 if quick else 20_000, "d": 128}
    overlap = base | {"n": 200, "d": 16, "k": 20, "peer": "both", "reach": "overlap 1"}
    reach = {"apricot": "kernel counted: < 1; else ≤ 3", "submodlib": "kernel counted: < 1"}
    return [overlap] + [
        base | {"k": base["n"] // 10, "peer": peer, "reach": aim} for peer, aim in reach.items()
    ]


def apricot_rows(similarities: np.ndarray, k: int) -> np.ndarray:
    from apricot import FacilityLocationSelection

    chooser = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
    return np.asarray(chooser.fit(similarities).ranking)


def submodlib_rows(values: np.ndarray, k: int) -> np.ndarray:
    """Its kernel and its choice: it makes its own from the rows."""
    from submodlib.functions.facilityLocation import FacilityLocationFunction

    function = FacilityLocationFunction(
        n=values.shape[0], mode="dense", separate_rep=False, data=values, metric="cosine"
    )
    chosen = function.maximize(
        budget=k,
        optimizer="LazyGreedy",
        stopIfZeroGain=False,
        stopIfNegativeGain=False,
        show_progress=False,
    )
    return np.array([row for row, _ in chosen])


def bench_coverage(case: dict[str, Any]) -> dict[str, Any]:
    """Facility location, exact and lazy, beside a peer's; ratios are ours over the peer's."""
    from contrasift.selection.objectives.coverage import greedy_coverage

    if case["peer"] == "both":
        return coverage_overlap(case)
    small = clustered_rows(300, case["d"])
    greedy_coverage(small, 30, threads=THREADS)
    apricot_rows((small @ small.T).astype(np.float64), 30)
    values = clustered_rows(case["n"], case["d"])
    held = _resident_bytes()
    ours_s, ours_cpu, path = timed(lambda: greedy_coverage(values, case["k"], threads=THREADS))
    facts: dict[str, Any] = {"extra_mb": (_peak_bytes() - held) / 1e6, "products": path.products}
    if case["peer"] == "apricot":
        kernel_s, kernel_cpu, kernel = timed(lambda: (values @ values.T).astype(np.float64))
        peer_s, peer_cpu, rows = timed(lambda: apricot_rows(kernel, case["k"]))
        facts |= {"kernel_s": kernel_s, "ratio_without_kernel": ours_s / peer_s,
                  "processor_ratio_without_kernel": ours_cpu / peer_cpu}  # fmt: skip
        peer_s, peer_cpu = peer_s + kernel_s, peer_cpu + kernel_cpu
    else:
        peer_s, peer_cpu, rows = timed(lambda: submodlib_rows(values, case["k"]))
    return facts | {
        "ours_s": ours_s,
        "peer_s": peer_s,
        "ratio": ours_s / peer_s,
        "processor_ratio": ours_cpu / peer_cpu,
        "overlap": np.intersect1d(rows, path.order).size / case["k"],
        "value_over_bound": path.value / path.upper_bound,
    }


def coverage_overlap(case: dict[str, Any]) -> dict[str, Any]:
    """The smallest overlap with each peer over 20 random problems without equal gains."""
    from contrasift.selection.objectives.coverage import greedy_coverage

    shares: dict[str, list[float]] = {"overlap_apricot": [], "overlap_submodlib": []}
    for seed in range(20):
        values = clustered_rows(case["n"], case["d"], seed=seed)
        rows = greedy_coverage(values, case["k"]).order
        kernel = (values @ values.T).astype(np.float64)
        for name, others in (("overlap_apricot", apricot_rows(kernel, case["k"])),
                             ("overlap_submodlib", submodlib_rows(values, case["k"]))):  # fmt: skip
            shares[name].append(np.intersect1d(rows, others).size / case["k"])
    return {name: min(each) for name, each in shares.items()}


# --- k-center -------------------------------------------------------------------------------------


def kcenter_cases(quick: bool) -> list[dict[str, Any]]:
    n = 10_000 if quick else 100_000
    base = {"part": "k-center", "d": 128, "rounds": 3, "reach": "≤ 1.3 × its products"}
    signs = [base | {"n": n, "k": n // 10, "signed": signed} for signed in (False, True)]
    return [base | {"n": 200, "d": 16, "k": 20, "peer": "submodlib", "reach": "overlap 1"}, *signs]


def bench_kcenter(case: dict[str, Any]) -> dict[str, Any]:
    """Farthest-first, all rows ranked, beside the product of all rows with all centres."""
    from contrasift.selection.baselines import k_center

    if "peer" in case:
        return kcenter_overlap(case)
    k_center(clustered_rows(300, case["d"]), 30, threads=THREADS)
    values = clustered_rows(case["n"], case["d"], signed=case["signed"])
    held = _resident_bytes()
    found: list[dict[str, float]] = []
    for _ in range(case["rounds"]):
        ours_s, ours_cpu, path = timed(lambda: k_center(values, case["k"], threads=THREADS))
        extra = (_peak_bytes() - held) / 1e6
        centres = values[path.order[: case["k"]]]
        products_s, products_cpu, _ = timed(functools.partial(products_with, values, centres))
        found.append({"ours_s": ours_s, "products_s": products_s, "extra_mb": extra,
                      "ratio": ours_s / products_s,
                      "processor_ratio": ours_cpu / products_cpu})  # fmt: skip
    medians = {name: float(np.median([one[name] for one in found])) for name in found[0]}
    return medians | {"extra_mb": found[0]["extra_mb"]}


def products_with(values: np.ndarray, centres: np.ndarray) -> None:
    """Blocked Z Cᵀ in float32 into one buffer that stays in the cache's reach."""
    buffer = np.empty((2048, 1024), np.float32)
    for start in range(0, values.shape[0], 2048):
        block = values[start : start + 2048]
        for first in range(0, centres.shape[0], 1024):
            part = centres[first : first + 1024]
            np.matmul(block, part.T, out=buffer[: block.shape[0], : part.shape[0]])


def kcenter_overlap(case: dict[str, Any]) -> dict[str, Any]:
    """The smallest overlap with greedy DisparityMin, from its first row, over 20 random problems.

    The smallest distance within a set is raised most by the row farthest from it: farthest-first.
    apricot has no such function.
    """
    from submodlib.functions.disparityMin import DisparityMinFunction

    from contrasift.selection.baselines import k_center

    shares = []
    for seed in range(20):
        values = clustered_rows(case["n"], case["d"], seed=seed)
        function = DisparityMinFunction(n=case["n"], mode="dense", data=values, metric="cosine")
        chosen = function.maximize(
            budget=case["k"],
            optimizer="NaiveGreedy",
            stopIfZeroGain=False,
            stopIfNegativeGain=False,
            show_progress=False,
        )
        theirs = np.array([row for row, _ in chosen])
        rows = k_center(values, case["k"], keep=theirs[:1]).order[: case["k"]]
        shares.append(np.intersect1d(rows, theirs).size / case["k"])
    return {"overlap_submodlib": min(shares)}


# --- running and showing --------------------------------------------------------------------------

PARTS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "threshold": threshold_cases,
    "coverage": coverage_cases,
    "k-center": kcenter_cases,
}
BENCHES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "threshold": bench_threshold,
    "coverage": bench_coverage,
    "k-center": bench_kcenter,
}


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    pinned = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
        str(THREADS),
    )
    command = [sys.executable, "-W", "ignore", __file__, "--case", json.dumps(case)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | pinned,
            timeout=CASE_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return case | {"error": f"stopped after {CASE_LIMIT_SECONDS} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        return case | {"error": lines[-1]}
    return case | json.loads(done.stdout.splitlines()[-1])


def show(results: list[dict[str, Any]]) -> str:
    """One row a case, one column for everything that a case of this part tells."""
    hidden = {"part", "rounds"}
    columns = [name for name in dict.fromkeys(k for r in results for k in r) if name not in hidden]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for result in results:
        lines.append("| " + " | ".join(cell(result.get(name, "")) for name in columns) + " |")
    return "\n".join(lines)


def cell(content: object) -> str:
    if isinstance(content, float):
        return f"{content:.4g}"
    return f"{content:,}" if isinstance(content, int) else str(content)


def run_part(cases: list[dict[str, Any]], out: Path, again: bool) -> None:
    """Measure a part, unless that is done: one JSON and one table."""
    part = cases[0]["part"]
    stem = out / f"objectives-{part}"
    if not again and finished(stem, cases):
        print(f"{part}: measured at this commit", flush=True)
        return
    begun = time.perf_counter()
    held, results = Unfinished(stem, again=again), []
    for case in cases:
        result = held.result_of(case, functools.partial(run_case, case))
        results.append(result)
        print(f"{part}, {case['n']:,} × {case['d']}: {result.get('error', 'done')}", flush=True)
    facts = {
        "about": about(),
        "asked": asked(cases),
        "processor": platform.processor() or platform.machine(),
        "threads": THREADS,
        "versions": {name: version(name) for name in ("contrasift", "numpy", "numba")},
        "results": results,
    }
    out.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    stem.with_suffix(".md").write_text(show(results) + "\n")
    held.done()
    print(f"\n{show(results)}\n\nwritten: {stem}.json, .md")
    print(f"{part}: {time.perf_counter() - begun:.0f} s in all", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--again", action="store_true", help="also what is measured at this commit")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case)
        print(json.dumps(BENCHES[case["part"]](case)))
        return
    for part, make in PARTS.items():
        if arguments.only in (None, part):
            run_part(make(arguments.quick), arguments.out, arguments.again)


if __name__ == "__main__":
    main()
