"""Kill `contrasift classes` on a matrix of many rows at random, again and again; the same command goes on.

    python benchmarks/soak_classes.py --kills 200 --seed 0

A round is one command, killed with SIGKILL after random times and started again until it ends: while
lists are made, neighbours searched, communities found, files written. Then the files must have the
bytes of a command that nobody disturbed, and no piece of the work may be left. Lists are small, and
begin at few rows, so that a round takes seconds and has many pieces. Ends with exit code 1 if there
was any difference, traceback or other failure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from contrasift.classes import inverted, neighbours
from soak import start, wait

ROWS, WIDTH = 30_000, 16
COMMAND = ["classes", "rows.npy", "--out", "out", "--stability", "2", "--resolutions", "1,6"]
LOG = Path("log.txt")


def make_rows() -> None:
    """Blobs, some of them with copies."""
    rng = np.random.default_rng(0)
    rows = 3 * rng.normal(size=(60, WIDTH))[rng.integers(60, size=ROWS)]
    rows += rng.normal(size=rows.shape)
    rows[:500] = rows[500:1000]
    np.save("rows.npy", rows.astype(np.float32))


def outcome() -> dict[str, bytes]:
    """The files of the folder; what they say of time left out."""
    found = {}
    for path in sorted(Path("out").rglob("*")):
        if path.is_file():
            found[str(path.relative_to("out"))] = path.read_bytes()
    if "classes.json" in found:
        facts = json.loads(found["classes.json"])
        facts.pop("seconds", None)
        found["classes.json"] = json.dumps(facts).encode()
    return found


def at_work() -> str:
    """What the killed command was at, by what it left."""
    pieces = list(Path("out").rglob("classes.pieces/**/*.json"))
    if (Path("out") / "classes.parquet").exists():
        return "writing"
    if not pieces:
        return "reading and lists" if Path("out").exists() else "start"
    return "neighbours and communities"


def one_round(rng: random.Random, longest: float, kills: Counter[str]) -> int:
    """Kill and start again until the command ends; its exit code."""
    while True:
        even = rng.uniform(0.01, longest)
        short = 0.01 * (longest / 0.01) ** rng.random()
        seconds = rng.choice([even, short]) if rng.random() < 0.9 else None
        code = wait(start(COMMAND, LOG), seconds)
        if code is not None:
            return code
        kills[at_work()] += 1


def soak(wanted: int, seed: int) -> bool:
    """Rounds until there were so many kills; whether all was well."""
    make_rows()
    begun = time.monotonic()
    if wait(start(COMMAND, LOG), None) != 0:
        raise SystemExit(LOG.read_text())
    longest = time.monotonic() - begun
    expected = outcome()
    kills: Counter[str] = Counter()
    rounds = differences = failures = 0
    while sum(kills.values()) < wanted:
        for path in sorted(Path("out").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        failures += one_round(random.Random(seed + rounds), longest, kills) != 0
        found = outcome()
        wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
        differences += len(wrong)
        if wrong:
            print(f"  round {rounds}: different, missing or left over: {', '.join(wrong)}")
        rounds += 1
    tracebacks = LOG.read_text(errors="replace").count("Traceback")
    where = ", ".join(f"{name} {count}" for name, count in kills.most_common())
    print(
        f"kills: {rounds} rounds of {longest:.1f} s, {sum(kills.values())} kills, {differences} "
        f"differences, {tracebacks} tracebacks, {failures} failures (seed {seed})\n"
        f"  killed in: {where}",
        flush=True,
    )
    return not (differences or tracebacks or failures)


def main() -> None:
    parser = argparse.ArgumentParser(description="SIGKILL at random times")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    # Imported once, before the forks; no thread may be started here.
    import networkit  # noqa: F401

    import contrasift.cli
    import contrasift.pipeline.stages.matrix_classes  # noqa: F401

    neighbours.EXACT_ROWS, inverted.ROWS_A_LIST = 2_000, 64
    # The stage has its own name for it.
    from contrasift.pipeline.stages import find_classes, matrix_classes

    find_classes.EXACT_ROWS = matrix_classes.EXACT_ROWS = 2_000
    with tempfile.TemporaryDirectory(prefix="soak-classes-") as folder:
        os.chdir(folder)
        clean = soak(asked.kills, asked.seed)
        os.chdir("/")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
