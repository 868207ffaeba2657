"""One table of all that was measured: benchmarks/results/summary.md, from the JSON files beside it.

    python benchmarks/summary.py            # after any benchmark; `make bench` ends with it

A row is a stage at a size: its time, its peak memory, how many times its floor (what the hardware
or one matrix product takes, in the same run) and how many times the best peer it takes. Empty is
what was not measured. Every figure carries the machine, the day and the commit it was measured
at: those in the file, else those of the commit that brought the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HEAD = (
    "| stage | size | seconds | peak MB | × floor | × best peer | machine, day, commit |\n"
    "|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """One line of the table; None is not measured."""

    stage: str
    size: str
    seconds: float | None = None
    peak_mb: float | None = None
    floor: float | None = None
    peer: float | None = None


def selection_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_selection`: ours, beside the fastest peer at the same size."""
    results = [result for result in found["results"] if "seconds" in result]
    peers: dict[int, float] = {}
    for result in results:
        if result.get("part") == "peers" and result["method"] in (
            "submodlib LazyGreedy",
            "apricot lazy",
        ):
            peers[result["n"]] = min(result["seconds"], peers.get(result["n"], float("inf")))
    for result in results:
        if result["method"] not in ("contrasift", "by kind"):
            continue
        kind = result.get("kind", "mixed signs" if result.get("signed") else "clusters")
        threads = f", {result['threads']} threads" if "threads" in result else ""
        best = peers.get(result["n"]) if result["part"] == "peers" else None
        yield Row(
            f"select, {result['optimizer']}, {kind}{threads}",
            f"{result['n']:,} × {result['d']}, {result['classes']:,} classes, k = {result['k']:,}",
            result["seconds"],
            result["extra_bytes"] / 1e6 if "extra_bytes" in result else None,
            result.get("passes"),
            result["seconds"] / best if best else None,
        )


def objective_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_objectives`: the floor is the products that the objective needs."""
    for result in found["results"]:
        if "ratio" not in result:
            continue
        seconds = sum(result[name] for name in ("row_sums_s", "greedy_s") if name in result)
        name = result["part"] + (f", τ = {result['threshold']:g}" if "threshold" in result else "")
        yield Row(
            f"select, {name}",
            f"{result['n']:,} × {result['d']}, k = {result['k']:,}",
            seconds or result.get("seconds", result.get("ours_s")),
            result.get("extra_mb"),
            result["ratio"],
        )


def class_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_classes`."""
    size = f"{found['rows']:,} × {found['dim']}, {found['classes']:,} classes"
    streaming, means = found.get("streaming", {}), found.get("kmeans", {})
    if streaming:
        yield Row("classes, assigned", size, streaming["seconds"], streaming.get("mb_above_map"))
    if means:
        yield Row("classes, k-means", size, means["seconds"], peer=means.get("ratio"))
    graphs = found.get("graph", [])
    for graph in graphs if isinstance(graphs, list) else [graphs]:
        rows = graph.get("rows", graph.get("n"))
        ratio = graph.get("ratio", graph.get("times_peer"))
        where = f"{rows:,} rows" if rows else ""
        seconds = graph.get("seconds", graph.get("ours_seconds"))
        yield Row("classes, graph", where, seconds, graph.get("peak_mb"), peer=ratio)


def matrix_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_matrices`: the peer is each format's own library."""
    for one in found.get("formats", []):
        if one.get("opens") and "seconds" in one:
            yield Row(
                f"open {one['format']}", one.get("dtype", ""), one["seconds"], peer=one.get("ratio")
            )
    if shards := found.get("shards"):
        size = f"{shards['rows']:,} × {shards['width']}, {shards['shards']} shards"
        yield Row(
            "select from shards", size, shards["seconds"], 1e3 * shards["peak_memory_gigabytes"]
        )


def negative_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_negatives`: the floor is the plain queue loss; memory in MB of its copies."""
    setting = found["setting"]
    size = f"{setting['queries']:,} × {setting['queue']:,} × {setting['dim']}"
    copy = setting["queries"] * setting["queue"] * 4 / 1e6
    for name, row in found["rows"].items():
        yield Row(
            f"loss, {name}",
            size,
            row["milliseconds"] / 1e3,
            row["copies"] * copy,
            row["times_plain"],
        )


def curator_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_curators`: the floor of balanced draws is one product of all rows with all leaves."""
    size = f"{found['n']:,} × {found['d']}"
    for result in found["results"]:
        if result.get("seconds") is not None:
            leaves = f", {result['levels'][-1]:,} leaves" if "levels" in result else ""
            yield Row(
                f"select, {result.get('objective', 'balanced')}{leaves}",
                f"{size}, k = {result['budget']:,}" if "budget" in result else size,
                result["seconds"],
                result["extra_bytes"] / 1e6,
                result.get("times_floor"),
            )


def ray_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of `bench_ray`: the floor is one process."""
    engines = found["engines"]
    size = f"{found['rows']:,} rows, {found['classes']:,} classes"
    yield Row("select by Ray", size, engines["ray_seconds"], engines["driver_mb"], engines["ratio"])


def named_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of a benchmark that says its rows itself: `rows`, each with the names of `Row`."""
    names = Row.__dataclass_fields__
    for row in found.get("summary", []):
        yield Row(**{name: value for name, value in row.items() if name in names})


FILES: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    **dict.fromkeys(
        (f"selection-{part}.json" for part in ("passes", "kinds", "exact", "large", "peers")),
        selection_rows,
    ),
    **dict.fromkeys(
        (f"objectives-{part}.json" for part in ("k-center", "threshold", "coverage")),
        objective_rows,
    ),
    **dict.fromkeys(
        (
            "curators-cost-100000.json",
            "curators-cost-10000000.json",
            "curators-balanced-10000000.json",
        ),
        curator_rows,
    ),
    "classes.json": class_rows,
    "matrices.json": matrix_rows,
    "mining.json": named_rows,
    "negatives.json": negative_rows,
    "ray-selection.json": ray_rows,
}


def measured_at(path: Path, found: dict[str, Any]) -> str:
    """Machine, day and commit of a file."""
    about = found.get("about", {})
    machine = about.get("machine") or found.get("processor") or "unknown"
    if "commit" in about:
        return f"{machine}, {about['day']}, {about['commit']}"
    said = subprocess.run(
        ["git", "log", "-1", "--format=%cs, %h", "--", path.name],
        cwd=path.parent, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return f"{machine}, {said or 'not committed'}"


def _figure(value: float | None, digits: int = 3) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}"


def table(folder: Path) -> str:
    """The whole table, file by file."""
    lines = ["# What was measured", "", (__doc__ or "").split("\n\n")[2].strip(), "", HEAD]
    for name, rows_of in FILES.items():
        path = folder / name
        if not path.exists():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        at = measured_at(path, found)
        for row in rows_of(found):
            cells = [
                row.stage,
                row.size,
                *map(_figure, (row.seconds, row.peak_mb, row.floor, row.peer)),
            ]
            lines.append("| " + " | ".join([*cells, at]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    (folder / "summary.md").write_text(table(folder), encoding="utf-8")
    print(f"written: {folder / 'summary.md'}")


if __name__ == "__main__":
    main()
