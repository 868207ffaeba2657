"""The price of choosing negatives: losses with a policy beside the plain queue loss.

Forward and backward of 256 queries against a queue of 65,536 × 128 (MoCo's), and the memory beyond
the inputs in copies of queries × queue. The reference is the usual code: concatenate the logits,
`cross_entropy`. Methods take turns, and the least time of each counts: both are fair on a busy machine.

    python benchmarks/bench_negatives.py [--json FILE] [--repeats N] [--again]

A file that was measured at this commit is left as it is, but for `--again`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from contrasift.negatives import Debiased, HardnessWeighted, InfoNCE, difficulty, parse_policy
from resuming import about, measured_now

QUERIES, QUEUE, DIM, TAU = 256, 65_536, 128, 0.2
COPY = QUERIES * QUEUE * 4
PLAIN = "InfoNCE, no policy"
LIMITS = {"difficulty(95,100)": 1.5, "difficulty(0,99.9)": 1.2}


def usual(query: torch.Tensor, key: torch.Tensor, queue: torch.Tensor) -> torch.Tensor:
    """The loss as MoCo's code and many after it write it."""
    first, second = F.normalize(query, dim=1), F.normalize(key, dim=1)
    own = (first * second).sum(1, keepdim=True)
    logits = torch.cat([own, first @ queue.T], dim=1) / TAU
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))


def losses() -> dict[str, object]:
    """Every method by name."""
    policies = ["difficulty(95,100)", "difficulty(0,99.9)", "difficulty(0,95)", "difficulty(85,90)"]
    return {
        "concatenate, cross_entropy": usual,
        PLAIN: InfoNCE(TAU),
        **{text: InfoNCE(TAU, parse_policy(text)) for text in policies},
        "Debiased": Debiased(0.01, TAU),
        "HardnessWeighted": HardnessWeighted(1.0, 0.01, TAU),
        "HardnessWeighted, difficulty(95,100)": HardnessWeighted(
            1.0, 0.01, TAU, negatives=difficulty(95, 100)
        ),
    }


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch and a queue."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, QUERIES, DIM, generator=generator)
    queue = F.normalize(torch.randn(QUEUE, DIM, generator=generator), dim=1)
    return query.requires_grad_(), key, queue


def peak_copies(name: str) -> float:
    """Peak memory of one step in a process of its own, beyond the inputs, in copies."""
    shown = subprocess.run(
        [sys.executable, __file__, "--memory-of", name], capture_output=True, text=True, check=True
    )
    return float(shown.stdout)


def measure_memory(name: str) -> None:
    """Print what one step adds to the peak of this process, in copies of queries × queue."""
    case, loss = inputs(), losses()[name]
    # A small step first: libraries take their own memory.
    loss(case[0][:2], case[1][:2], case[2][:1000]).backward()
    before = peak_bytes()
    loss(*case).backward()
    print((peak_bytes() - before) / COPY)


def peak_bytes() -> int:
    """Peak resident memory of this process; Linux's ru_maxrss would count its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--again", action="store_true", help="also what is measured at this commit")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        measure_memory(arguments.memory_of)
        return
    file = Path(arguments.json) if arguments.json else None
    if (
        file
        and file.exists()
        and not arguments.again
        and measured_now(json.loads(file.read_text()))
    ):
        print(f"{file}: measured at this commit")
        return
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    case, methods = inputs(), losses()
    wall: dict[str, list[float]] = {name: [] for name in methods}
    cpu: dict[str, list[float]] = {name: [] for name in methods}
    for repeat in range(arguments.repeats + 2):
        for name, loss in methods.items():
            begun, used = time.perf_counter(), time.process_time()
            loss(*case).backward()
            if repeat >= 2:
                wall[name].append(time.perf_counter() - begun)
                cpu[name].append(time.process_time() - used)
    rows = {}
    plain = min(wall[PLAIN]), min(cpu[PLAIN])
    print(f"{'':38}{'ms':>8}{'× plain':>9}{'CPU ms':>9}{'× plain':>9}{'copies':>8}{'limit':>7}")
    for name in methods:
        times = min(wall[name]), min(cpu[name])
        rows[name] = {
            "milliseconds": 1e3 * times[0],
            "times_plain": times[0] / plain[0],
            "cpu_milliseconds": 1e3 * times[1],
            "cpu_times_plain": times[1] / plain[1],
            "copies": peak_copies(name),
            "limit": LIMITS.get(name),
        }
        row = rows[name]
        limit = f"{row['limit']}" if row["limit"] else ""
        print(
            f"{name:38}{row['milliseconds']:8.0f}{row['times_plain']:9.2f}"
            f"{row['cpu_milliseconds']:9.0f}{row['cpu_times_plain']:9.2f}{row['copies']:8.2f}{limit:>7}"
        )
    if file:
        setting = {
            "queries": QUERIES,
            "queue": QUEUE,
            "dim": DIM,
            "threads": torch.get_num_threads(),
        }
        found = {"about": about(), "setting": setting, "rows": rows}
        file.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
