"""Selection on Ray beside one process, and what that says of a pool of a thousand million.

Both engines select from the same file, in processes of their own, in turn; hashes must agree. Times
are of the selection; the start of the cluster is shown apart. Then the relaxation of the whole pool
as one class, by passes over its parts, is held against undivided greedy, and the costs by row give
the planning table of docs/cluster.md.

Run: python benchmarks/bench_ray.py [--rows 1000000] [--repeats 3] [--memory] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.engines.solving import (
    _BYTES_A_ROW,
    _WORKER_BYTES,
    PART_ROWS,
    SPREAD_ROWS,
    TASK_ROWS,
)

RESULTS = Path(__file__).parent / "results"
LIMIT_RATIO = 2.5
LIMIT_DRIVER_MB = 500
# Narrow pools of more rows than the process that commands takes in at once, which is 1,048,576: below
# that its memory grows by what it has in work.
MEMORY_ROWS, MEMORY_WIDTH = (2_000_000, 8_000_000), 8
# A pool that nobody has at hand.
PLANNED_ROWS, PLANNED_WIDTH, PLANNED_CLASSES = 10**9, 256, 100_000
PLANNED_CORES = 256
CENTS_A_CORE_HOUR = 5.0  # what clouds ask for a core with 4 GB, about; put in your own


def write_pool(folder: Path, n: int, width: int, n_classes: int, common: float = 0.0) -> None:
    """Unit rows around as many centres as there are classes; classes lie scattered.

    Args:
        folder: gets values.npy and classes.npy.
        n: rows.
        width: columns.
        n_classes: centres.
        common: what all centres share, as the embeddings of an encoder do.
    """
    rng = np.random.default_rng(0)
    codes = rng.integers(n_classes, size=n)
    centres = rng.normal(common, 1, (n_classes, width)).astype(np.float32)
    out = np.lib.format.open_memmap(
        folder / "values.npy", mode="w+", dtype=np.float32, shape=(n, width)
    )
    for start in range(0, n, 50_000):
        part = centres[codes[start : start + 50_000]]
        part = part + rng.normal(size=part.shape).astype(np.float32)
        out[start : start + 50_000] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()
    np.save(folder / "classes.npy", codes)


def run_select(folder: Path, engine: str, *options: str) -> dict[str, Any]:
    """`contrasift select` in a process of its own; what it reports, and its wall time."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "contrasift", "select", str(folder / "values.npy")]
        command += ["--out", f"{out}/chosen", "--engine", engine, "--json", *options]
        begun = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return {**json.loads(done.stdout), "wall": time.perf_counter() - begun}


def compare_engines(folder: Path, repeats: int) -> dict[str, Any]:
    """Paired times of both engines on many classes; the first pair warms the caches."""
    options = ["--classes", str(folder / "classes.npy"), "--fraction", "0.2"]
    pairs = []
    for turn in range(repeats + 1):
        order = ("local", "ray") if turn % 2 == 0 else ("ray", "local")
        found = {engine: run_select(folder, engine, *options) for engine in order}
        print(*(f"{name} {found[name]['seconds']:.2f} s" for name in order), file=sys.stderr)
        if found["local"]["sha256"] != found["ray"]["sha256"]:
            raise SystemExit(
                "the engines differ: " + str({e: f["sha256"] for e, f in found.items()})
            )
        if turn:
            pairs.append(found)
    ratios = [pair["ray"]["seconds"] / pair["local"]["seconds"] for pair in pairs]

    def median(engine: str, name: str) -> float:
        return float(np.median([pair[engine][name] for pair in pairs]))

    return {
        "local_seconds": median("local", "seconds"),
        "ray_seconds": median("ray", "seconds"),
        "ratio": float(np.median(ratios)),
        "ratios": ratios,
        "start_up_seconds": median("ray", "start_up_seconds"),
        "task_cpu_seconds": median("ray", "task_cpu_seconds"),
        "tasks": pairs[0]["ray"]["tasks"],
        "n": pairs[0]["ray"]["n"],
        "task_bytes": pairs[0]["ray"]["memory_estimate_bytes"],
        "local_mb": median("local", "peak_memory_bytes") / 1e6,
        "driver_mb": median("ray", "peak_memory_bytes") / 1e6,
        "sha256": pairs[0]["ray"]["sha256"],
    }


def compare_relaxed(folder: Path) -> dict[str, Any]:
    """The whole pool as one class: passes over parts, one process, and undivided greedy."""
    relaxed = ("--fraction", "0.2", "--optimizer", "relaxed")
    spread = run_select(folder, "ray", *relaxed)
    alone = run_select(folder, "local", *relaxed)
    greedy = run_select(folder, "local", "--fraction", "0.2")
    return {
        "same_bytes": spread["sha256"] == alone["sha256"],
        "spread_classes": spread["spread_classes"],
        "ray_seconds": spread["seconds"],
        "local_seconds": alone["seconds"],
        "greedy_seconds": greedy["seconds"],
        "value": spread["value"],
        "greedy_value": greedy["value"],
        "value_over_greedy": spread["value"] / greedy["value"],
        "certificate": spread["certificate"],
        "greedy_certificate": greedy["certificate"],
        "driver_mb": spread["peak_memory_bytes"] / 1e6,
    }


def costs_by_row(whole: dict[str, Any], n_classes: int, folder: Path) -> dict[str, Any]:
    """Processor time a row at two widths, and memory a row and a class of the one that commands.

    Args:
        whole: what `compare_engines` found on all rows.
        n_classes: of all rows.
        folder: for smaller pools.
    """
    few = whole["n"] // 4
    write_pool(folder, few, 256, max(1, n_classes // 4))
    wide = select_on_ray(folder)
    return {
        "microseconds_at_128": whole["task_cpu_seconds"] / whole["n"] * 1e6,
        "microseconds_at_256": wide["task_cpu_seconds"] / few * 1e6,
        **driver_memory(n_classes, folder),
        "task_bytes_a_row_at_128": (whole["task_bytes"] - _WORKER_BYTES) / TASK_ROWS,
        "image_microseconds": _embedding_cost(),
    }


def driver_memory(n_classes: int, folder: Path) -> dict[str, float]:
    """Peak memory of the process that commands: by row, by class, and what is left without them.

    Pages of its mapped files count, which the system takes back when it wants to.
    """
    few, many = MEMORY_ROWS
    peaks = {}
    for rows, classes in ((few, n_classes), (few, 50 * n_classes), (many, n_classes)):
        write_pool(folder, rows, MEMORY_WIDTH, classes)
        peaks[rows, classes] = select_on_ray(folder)["peak_memory_bytes"]
        print(rows, classes, peaks[rows, classes], file=sys.stderr)
    least = peaks[few, n_classes]
    a_row = (peaks[many, n_classes] - least) / (many - few)
    a_class = (peaks[few, 50 * n_classes] - least) / (49 * n_classes)
    return {
        "driver_bytes_a_row": a_row,
        "driver_bytes_a_class": a_class,
        "driver_mb_without_rows": (least - a_row * few - a_class * n_classes) / 1e6,
    }


def select_on_ray(folder: Path) -> dict[str, Any]:
    """A fifth of the pool in a folder, on Ray."""
    classes = str(folder / "classes.npy")
    return run_select(folder, "ray", "--classes", classes, "--fraction", "0.2")


def _embedding_cost() -> float:
    """Microseconds of a core for a small image, as `bench_training.py` measured them."""
    found = json.loads((RESULTS / "training.json").read_text())
    return found["threads"] * 1e6 / found["cases"][0]["embedding"]["images_per_second"]


def plan(costs: dict[str, Any]) -> dict[str, Any]:
    """The formula of docs/cluster.md, in numbers."""
    n, width, n_classes = PLANNED_ROWS, PLANNED_WIDTH, PLANNED_CLASSES
    core_hours = n * costs[f"microseconds_at_{width}"] / 1e6 / 3600
    rows = 2 * TASK_ROWS if n // n_classes <= TASK_ROWS else n // n_classes
    worker = _WORKER_BYTES + 4 * width * rows + _BYTES_A_ROW * TASK_ROWS
    return {
        "rows": n,
        "width": width,
        "classes": n_classes,
        "cores": PLANNED_CORES,
        "embeddings_tb": 4 * width * n / 1e12,
        "tasks": -(-n // TASK_ROWS),
        "worker_mb": worker / 1e6,
        "driver_gb": (
            costs["driver_bytes_a_row"] * n
            + costs["driver_bytes_a_class"] * n_classes
            + costs["driver_mb_without_rows"] * 1e6
        )
        / 1e9,
        "core_hours": core_hours,
        "hours": core_hours / PLANNED_CORES,
        "dollars": core_hours * CENTS_A_CORE_HOUR / 100,
        "cents_a_core_hour": CENTS_A_CORE_HOUR,
        "embedding_core_hours": n * costs["image_microseconds"] / 1e6 / 3600,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The tables that docs/cluster.md quotes."""
    engines, relaxed, costs, planned = (
        result[name] for name in ("engines", "relaxed", "costs", "plan")
    )
    lines = [
        f"{result['rows']:,} × 128 in {result['classes']:,} classes, 20 % kept, {result['cpus']} cores, "
        f"load average {result['load']:.1f}; medians of {result['repeats']} pairs.",
        "",
        "| | local | Ray | limit |",
        "|---|---|---|---|",
        f"| seconds | {engines['local_seconds']:.2f} | {engines['ray_seconds']:.2f} | |",
        f"| Ray / local | | {engines['ratio']:.2f} | {LIMIT_RATIO} |",
        f"| start-up, seconds, apart | | {engines['start_up_seconds']:.1f} | |",
        f"| memory of the process, MB | {engines['local_mb']:.0f} | {engines['driver_mb']:.0f} | {LIMIT_DRIVER_MB} |",
        f"| tasks | | {engines['tasks']} | |",
        f"| sha256 of selection.parquet | {engines['sha256'][:12]} | {engines['sha256'][:12]} | equal |",
        "",
        f"A pool of {relaxed['rows']:,} × 128 as one class, on Ray in parts of {PART_ROWS:,}:",
        "",
        "| | relaxed, local | relaxed, Ray, by passes | greedy, undivided |",
        "|---|---|---|---|",
        f"| seconds | {relaxed['local_seconds']:.2f} | {relaxed['ray_seconds']:.2f} | {relaxed['greedy_seconds']:.2f} |",
        f"| F / F of greedy | {relaxed['value_over_greedy']:.8f} | {relaxed['value_over_greedy']:.8f} | 1 |",
        f"| share of the possible gain | {relaxed['certificate']:.8f} | {relaxed['certificate']:.8f} | {relaxed['greedy_certificate']:.8f} |",
        f"| same bytes | {'yes' if relaxed['same_bytes'] else 'NO'} | | |",
        "",
        f"A row costs {costs['microseconds_at_128']:.2f} µs of a core at width 128, "
        f"{costs['microseconds_at_256']:.2f} µs at 256, and {costs['driver_bytes_a_row']:.1f} bytes of the "
        f"process that commands, a class {costs['driver_bytes_a_class']:.0f}, beside "
        f"{costs['driver_mb_without_rows']:.0f} MB; a task plans "
        f"{costs['task_bytes_a_row_at_128']:,.0f} bytes a row at 128, beside {_WORKER_BYTES / 1e6:.0f} MB. "
        f"Embedding a small image costs {costs['image_microseconds']:.0f} µs of a core (the narrow "
        "encoder on 1 × 28 × 28).",
        "",
        f"| {planned['rows']:,} × {planned['width']} in {planned['classes']:,} classes | |",
        "|---|---|",
        f"| embeddings on shared storage | {planned['embeddings_tb']:.2f} TB |",
        f"| tasks | {planned['tasks']:,} |",
        f"| memory of a task | {planned['worker_mb']:,.0f} MB |",
        f"| memory of the process that commands | {planned['driver_gb']:,.1f} GB |",
        f"| core-hours | {planned['core_hours']:,.1f} |",
        f"| hours on {planned['cores']} cores | {planned['hours']:.2f} |",
        f"| dollars at {planned['cents_a_core_hour']:g} cents a core-hour, which is assumed | {planned['dollars']:,.2f} |",
        f"| to embed as many small images, core-hours | {planned['embedding_core_hours']:,.0f} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--memory", action="store_true", help="only the memory of the process that commands"
    )
    parser.add_argument("--write", action="store_true", help="also into benchmarks/results")
    given = parser.parse_args()
    begun_under = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.memory:
            print(json.dumps(driver_memory(given.classes, folder), indent=2))
            return
        write_pool(folder, given.rows, 128, given.classes)
        engines = compare_engines(folder, given.repeats)
        print(json.dumps(engines), file=sys.stderr)
        costs = costs_by_row(engines, given.classes, folder)
        print(json.dumps(costs), file=sys.stderr)
        # More than one part, so that no task holds the class.
        many = SPREAD_ROWS + PART_ROWS
        write_pool(folder, many, 128, given.classes, common=0.7)
        relaxed = compare_relaxed(folder)
    result: dict[str, Any] = {
        "rows": given.rows,
        "classes": given.classes,
        "repeats": given.repeats,
        "cpus": os.cpu_count(),
        "load": begun_under,
        "engines": engines,
        "relaxed": {**relaxed, "rows": many},
        "costs": costs,
    }
    result["plan"] = plan(result["costs"])
    text = as_markdown(result)
    print(text)
    if given.write:
        (RESULTS / "ray-selection.md").write_text(text, encoding="utf-8")
        (RESULTS / "ray-selection.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
