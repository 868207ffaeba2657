"""What curators do, at size: balanced draws, near-copies, and the seconds of every way to choose.

    python benchmarks/bench_curators.py balanced [--rows 10000000] [--dim 128] [--leaves 10000]
    python benchmarks/bench_curators.py dedup    [--rows 10000000] [--dim 128] [--epsilon 0.02]
    python benchmarks/bench_curators.py cost     [--rows 100000] [--dim 128] [--limit 1800]
    python benchmarks/bench_curators.py copies EMBEDDINGS CLASSES TEXTS [--column text]

`balanced`: hierarchical k-means and the draws, beside Lloyd's own floor: the products of all rows
with all leaves, by the BLAS. `dedup`: three in ten rows are near-copies of others; what is dropped,
the recall of near pairs, and the largest gap of a dropped row to what stays for it. `cost`: every
objective, a fifth of the rows, in 100 classes. `copies`: texts of a selection that repeat another
word for word, with `--copies keep` and `one`, and what that costs in F.

Rows lie in a mapped file below --work; every case runs in a process of its own. Results go to
benchmarks/results/curators-*.json and .md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench_selection import _peak_bytes, _resident_bytes
from contrasift.catalogue import OBJECTIVES
from resuming import about

RESULTS = Path(__file__).parent / "results"
CLASSES, SEEDS, COPIES, NOISE = 100, 32, 0.3, 0.05
_BLOCK = 100_000


def pool_of(given: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rows around 5,000 centres of very different sizes in 100 classes, three in ten near another."""
    stem = given.work / f"curators-{given.rows}-{given.dim}"
    files = stem.with_suffix(".npy"), stem.with_suffix(".codes.npy")
    if not files[1].exists():
        given.work.mkdir(parents=True, exist_ok=True)
        write_pool(*files, given.rows, given.dim)
    return np.load(files[0], mmap_mode="r"), np.load(files[1])


def write_pool(rows: Path, codes: Path, n: int, d: int) -> None:
    """Block by block; copies lie in the block of what they copy, in any order."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5000, d)).astype(np.float32)
    share = 1 / np.arange(1, 5001)
    out = np.lib.format.open_memmap(rows, mode="w+", dtype=np.float32, shape=(n, d))
    labels = np.empty(n, dtype=np.int64)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        which = rng.choice(5000, size, p=share / share.sum())
        block = centres[which] + 0.7 * rng.standard_normal((size, d), dtype=np.float32)
        copies = rng.random(size) < COPIES
        source = rng.choice(np.flatnonzero(~copies), int(copies.sum()))
        block[copies] = block[source] + NOISE * rng.standard_normal(
            (source.size, d), dtype=np.float32
        )
        which[copies] = which[source]
        out[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
        labels[start : start + size] = which % CLASSES
    out.flush()
    np.save(codes, labels)


def balanced_case(given: argparse.Namespace) -> dict[str, Any]:
    """The whole of `balanced`, its parts, and the products of rows and leaves alone."""
    from contrasift.selection.baselines import balanced as module

    values, _ = pool_of(given)
    n = len(values)
    levels = [given.leaves]
    while levels[0] // module.NARROWING >= module.LEAST_NODES:
        levels.insert(0, levels[0] // module.NARROWING)
    blocks = lambda: ((s, np.array(values[s : s + _BLOCK])) for s in range(0, n, _BLOCK))  # noqa: E731
    read = lambda rows: np.array(values[rows])  # noqa: E731
    module.balanced(2000, read, lambda: iter([(0, np.array(values[:2000]))]), levels=[3, 20])
    held, begun = _resident_bytes(), time.perf_counter()
    order = module.balanced(n, read, blocks, levels=levels)
    seconds = time.perf_counter() - begun
    leaves = np.array(values[: given.leaves]).T.copy()
    begun = time.perf_counter()
    for _, block in blocks():
        for start in range(0, len(block), 2000):
            np.matmul(block[start : start + 2000], leaves)
    floor = time.perf_counter() - begun
    return {
        "levels": levels,
        "seconds": seconds,
        "floor_seconds": floor,
        "times_floor": seconds / floor,
        "extra_bytes": _peak_bytes() - held,
        "first": order[:3].tolist(),
    }


def dedup_case(given: argparse.Namespace) -> dict[str, Any]:
    """Near-copies by class; what is dropped is looked at row by row."""
    from contrasift.selection.gather import ClassRows, classwise
    from contrasift.selection.near_copies import near_copies

    values, codes = pool_of(given)
    partition = ClassRows.of(codes, CLASSES)

    def classes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for group in classwise(values, partition, scale=True, buffer_bytes=1 << 30):
            for code, own in group:
                yield partition.of_class(code), own

    near_copies([(np.arange(300), np.array(values[:300]))], 300, given.epsilon)  # compiles
    held, begun = _resident_bytes(), time.perf_counter()
    found = near_copies(classes(), len(values), given.epsilon)
    seconds = time.perf_counter() - begun
    extra = _peak_bytes() - held
    dropped = np.flatnonzero(found.copy_of >= 0)
    largest = 0.0
    for start in range(0, dropped.size, _BLOCK):
        some = dropped[start : start + _BLOCK]
        gaps = values[some] - values[found.copy_of[some]]
        largest = max(largest, float(np.square(gaps, dtype=np.float64).sum(axis=1).max() / 2))
    return {
        "epsilon": given.epsilon,
        "classes": CLASSES,
        "largest_class": int(partition.sizes.max()),
        "seconds": seconds,
        "extra_bytes": extra,
        "dropped": int(dropped.size),
        "planted": COPIES,
        "recall": found.recall,
        "sampled_pairs": found.pairs,
        "largest_gap": largest,
        "chained": int((found.copy_of[found.copy_of[dropped]] >= 0).sum()),
    }


def cost_case(given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one objective."""
    import contrasift as cs

    values, codes = pool_of(given)
    words = given.objective.split("+")
    how: dict[str, Any] = {"objective": words[0]}
    if words[0] == "scores":
        how["scores"] = np.random.default_rng(0).random(len(values))
    if words[0] == "target" or "target" in words[1:]:
        how["target"] = np.arange(SEEDS)
    if words[1:] == ["target"]:
        how["target_weight"] = 0.5
    if words[1:] == ["density-quota"]:
        how["allocate"] = "density-quota"
    if words[1:] == ["one"]:
        how["copies"] = "one"
    few = {**how, "scores": how["scores"][:2000]} if "scores" in how else how
    cs.select(np.array(values[:2000]), codes[:2000], fraction=0.2, **few)  # compiles
    held, begun = _resident_bytes(), time.perf_counter()
    chosen = cs.select(values, codes, fraction=0.2, **how)
    return {
        "objective": given.objective,
        "seconds": time.perf_counter() - begun,
        "extra_bytes": _peak_bytes() - held,
        "budget": chosen.budget,
    }


def copies_of_texts(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Chosen texts that another chosen one repeats, with and without copies."""
    import pyarrow.parquet as pq

    import contrasift as cs

    values = np.load(given.embeddings, mmap_mode="r")
    codes = pq.read_table(given.classes)["latent_class"].to_numpy()
    texts = pq.read_table(given.texts)[given.column].to_numpy(zero_copy_only=False)
    _, kind = np.unique(texts.astype(str), return_inverse=True)

    def repeating(rows: np.ndarray) -> float:
        """Share of texts that repeat another of them."""
        return 1 - np.unique(kind[rows]).size / rows.size

    yield {"chosen": "pool", "repeating": repeating(np.arange(len(kind)))}
    for objective in ("sas", "random-per-class"):
        for how in ("keep", "one"):
            chosen = cs.select(
                values, codes, objective=objective, fraction=given.fraction, copies=how
            )
            yield {
                "chosen": f"{objective}, copies {how}",
                "repeating": repeating(chosen.indices),
                "F": chosen.value,
                "share": chosen.certificate.share if chosen.certificate else None,
                "seconds": chosen.seconds,
            }


def objectives() -> list[str]:
    """Every objective, and what goes beside SAS."""
    return [*OBJECTIVES, "sas+target", "sas+density-quota", "sas+one"]


def in_a_process(given: argparse.Namespace, *more: str) -> dict[str, Any]:
    """One case, alone, within the limit of time."""
    words = [sys.executable, __file__, given.what, "--one", "--rows", str(given.rows)]
    words += ["--dim", str(given.dim), "--leaves", str(given.leaves), "--work", str(given.work)]
    words += ["--epsilon", str(given.epsilon), *more]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=given.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"seconds": None, "says": f"stopped after {given.limit:g} s"}
    if done.returncode:
        return {"seconds": None, "says": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def write(given: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """The figures as JSON and as a table."""
    stem = RESULTS / f"curators-{given.what}-{given.rows}"
    found = {"n": given.rows, "d": given.dim, "about": about(), "results": results}
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    names = list(dict.fromkeys(name for result in results for name in result))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for result in results:
        cells = [result.get(name, "") for name in names]
        lines.append("| " + " | ".join(_shown(cell) for cell in cells) + " |")
    text = f"# {given.what}: {given.rows:,} × {given.dim}\n\n" + "\n".join(lines) + "\n"
    stem.with_suffix(".md").write_text(text)
    print(text)


def _shown(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else f"{cell}"


CASES = {"balanced": balanced_case, "dedup": dedup_case, "cost": cost_case}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=(*CASES, "copies"))
    parser.add_argument("embeddings", nargs="?", type=Path)
    parser.add_argument("classes", nargs="?", type=Path)
    parser.add_argument("texts", nargs="?", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--fraction", type=float, default=0.2)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--leaves", type=int, default=0, help="[default: by the rule]")
    parser.add_argument("--epsilon", type=float, default=0.02)
    parser.add_argument("--limit", type=float, default=1800, help="seconds of a case")
    parser.add_argument("--work", type=Path, default=Path("curators-work"))
    parser.add_argument("--objective", default="", help="cost: only this one")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.leaves = given.leaves or min(max(given.rows // 64, 1), 10_000)
    if given.one:
        print(json.dumps(CASES[given.what](given)))
        return
    if given.what == "copies":
        results = list(copies_of_texts(given))
        given.rows, given.dim = np.load(given.embeddings, mmap_mode="r").shape
    elif given.what == "cost":
        pool_of(given)
        names = [given.objective] if given.objective else objectives()
        results = [
            {"objective": name, **in_a_process(given, "--objective", name)} for name in names
        ]
    else:
        pool_of(given)
        results = [in_a_process(given)]
    write(given, results)


if __name__ == "__main__":
    main()
