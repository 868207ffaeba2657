"""How the time of finding classes grows with the rows: a table, its exponent, and a plot.

    python benchmarks/bench_classes.py --graph-only --json stages.json
    PYTHONPATH=. python benchmarks/classes_growth.py --stages stages.json
    PYTHONPATH=. python benchmarks/classes_growth.py --whole 10000000x64

`--stages` takes the steps that the benchmark measured in memory. `--whole` writes rows into a file and
measures `contrasift classes FILE` as a user calls it: reading, whitening, copies, neighbours,
communities, writing; seconds, and the most memory beside the pages of the map. Both are kept in
benchmarks/results/classes-growth.json, from which classes-growth.md and .svg are written.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench_classes import growth
from contrasift.evaluation import Interval, mean_and_interval
from contrasift.store.atomic import read_json
from reproduce.render.panels import Panel, draw_panels

RESULT = Path(__file__).parent / "results" / "classes-growth.json"
# Seconds, and megabytes above the map, that are allowed, by rows and width.
REACH = {
    "50000x128": "2 × the bare product",
    "200000x128": "40 s",
    "1000000x128": "180 s, 3 GB",
    "10000000x64": "2,100 s, 12 GB",
}


def write_rows(path: Path, n: int, d: int) -> None:
    """Unit rows around n / 500 centres, block by block into a file.

    Around its centre a row varies in ten directions, one of 64 sets of them, and a little in all: the
    features of an encoder do not fill their space.
    """
    rng = np.random.default_rng(2)
    count = max(10, n // 500)
    centres = rng.normal(size=(count, d)).astype(np.float32)
    directions = rng.normal(size=(64, 10, d)).astype(np.float32) / np.sqrt(10)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for start in range(0, n, 65_536):
        stop = min(start + 65_536, n)
        centre = rng.integers(count, size=stop - start)
        along = rng.standard_normal((stop - start, 10), dtype=np.float32)
        part = centres[centre]
        for kind in range(len(directions)):
            own = np.flatnonzero(centre % 64 == kind)
            part[own] += along[own] @ directions[kind]
        part += 0.2 * rng.standard_normal(part.shape, dtype=np.float32)
        out[start:stop] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()


def whole(n: int, d: int) -> dict[str, Any]:
    """`contrasift classes` on a file of so many rows."""
    with tempfile.TemporaryDirectory(prefix="classes-") as folder:
        path, out = Path(folder) / "rows.npy", Path(folder) / "out"
        write_rows(path, n, d)
        command = [sys.executable, "-m", "contrasift", "classes", str(path), "--out", str(out),
                   "--memory-limit", "12G"]  # fmt: skip
        begun = time.perf_counter()
        process = subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _private_mb(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        facts = read_json(out / "classes.json")
        return {
            "rows": n, "dim": d, "seconds": seconds, "peak_mb": peak,
            "recall": facts.get("neighbours_search", {}).get("recall", 1.0),
            "classes": facts["n_classes"],
        }  # fmt: skip


def _private_mb(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def kept(results: dict[str, Any], one: dict[str, Any]) -> None:
    """Put a measurement in the place of an older one of the same size."""
    others = [
        old for old in results["whole"] if (old["rows"], old["dim"]) != (one["rows"], one["dim"])
    ]
    results["whole"] = sorted([*others, one], key=lambda old: old["rows"])


def reach_of(one: dict[str, Any]) -> str:
    """What is allowed of its size."""
    return REACH.get(f"{one['rows']}x{one['dim']}", "")


def page(results: dict[str, Any]) -> str:
    """The tables."""
    stages, whole_runs = results["stages"], results["whole"]
    lines = [
        "Classes by the graph, on two processors, in memory. Written by `benchmarks/classes_growth.py`; "
        "rows are noisy around n / 500 centres.",
        "",
        "| rows | neighbours, s | graph, s | communities, s | joining, s | all, s | × bare product | "
        "recall | reach |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for one in stages:
        seconds = one["seconds"]
        steps = " | ".join(
            f"{seconds[name]:.1f}" for name in ("neighbours", "graph", "communities", "joining")
        )
        lines.append(
            f"| {one['rows']:,} × {one['dim']} | {steps} | {one['total']:.1f} | {one['ratio']:.2f} | "
            f"{one['search'].get('recall', 1.0):.3f} | "
            f"{reach_of(one)} |"
        )
    lines += [
        "",
        "The bare product is that of every pair in NumPy's BLAS, in the same process; beyond 32,768 "
        f"rows it is scaled. From 100,000 rows on seconds grow with rows to the power "
        f"{growth(stages):.2f}.",
        "",
    ]
    if whole_runs:
        lines += [
            "`contrasift classes FILE`, all in all; around their centres these rows vary in ten "
            "directions:",
            "",
            "| rows | s | GB beside the map | recall | classes | reach |",
            "|---|---:|---:|---:|---:|---|",
            *(
                f"| {one['rows']:,} × {one['dim']} | {one['seconds']:,.0f} | "
                f"{one['peak_mb'] / 1024:.1f} | {one['recall']:.3f} | {one['classes']:,} | "
                f"{reach_of(one)} |"
                for one in whole_runs
            ),
            "",
        ]
    return "\n".join([*lines, "![seconds against rows](classes-growth.svg)", ""])


def plot(results: dict[str, Any]) -> str:
    """Seconds against rows, both in powers of ten."""
    stages, whole_runs = results["stages"], results["whole"]
    sizes = sorted({one["rows"] for one in [*stages, *whole_runs]})

    def line(points: dict[int, float]) -> list[Interval | None]:
        return [mean_and_interval([math.log10(points[n])]) if n in points else None for n in sizes]

    lines = {
        "neighbours": line({one["rows"]: one["seconds"]["neighbours"] for one in stages}),
        "communities": line({one["rows"]: one["seconds"]["communities"] for one in stages}),
        "all, in memory": line({one["rows"]: one["total"] for one in stages}),
        "contrasift classes FILE": line({one["rows"]: one["seconds"] for one in whole_runs}),
    }
    names = [f"{n / 1e6:g} M" if n >= 1_000_000 else f"{n // 1000} k" for n in sizes]
    shown = {name: points for name, points in lines.items() if any(points)}
    return draw_panels([Panel("seconds, power of ten", "rows", sizes, names, shown)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", type=Path, help="JSON of bench_classes.py")
    parser.add_argument("--whole", metavar="ROWSxWIDTH", help="measure the command at this size")
    given = parser.parse_args()
    results = read_json(RESULT) if RESULT.exists() else {"stages": [], "whole": []}
    if given.stages:
        results["stages"] = read_json(given.stages)["graph"]
    if given.whole:
        n, d = map(int, given.whole.split("x"))
        kept(results, whole(n, d))
    RESULT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = page(results)
    RESULT.with_suffix(".md").write_text(text, encoding="utf-8")
    RESULT.with_suffix(".svg").write_text(plot(results), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
