"""Kill the pipeline at random, again and again, and feed `select` what nobody should.

    make soak
    python benchmarks/soak.py --kills 100 --fuzz 10000 --seed 0     # goes on where it was stopped

A round is the whole pipeline on a small pool (scan, proxy, embedding, classes, selection, trainings,
evaluation, report; then new examples with `extend --reselect`), killed with SIGKILL after random
times and started again until it ends. Then every file that is not a measure of time must have the
bytes of a run that nobody disturbed. No stage that was finished may be done again: that would be a
loss. Ends with exit code 1 if there was any difference, loss, traceback or other failure.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fuzz_inputs
import fuzz_select

RESULT = Path(__file__).parent / "results" / "soak.json"
RUN = [
    *("run", "old.npz", "--architecture", "narrow:0.125", "--epochs", "1", "--proxy-epochs", "1"),
    *("--batch-size", "16", "--views", "1", "--seeds", "1", "--fraction", "0.5", "--out", "run"),
    *("--classes", "kmeans", "--n-classes", "3", "--restarts", "1", "--device", "cpu"),
]
EXTEND = ["extend", "run", "new.npz", "--reselect", "--out", "more", "--device", "cpu"]
# Files with times or memory in them, which differ between any two runs.
_TIMED = {"stages.json", "selection.json", "evaluation.json", "result.json", "metrics.csv"}
_TIMED |= {"report.html", "extension.json"}
_SHORTEST = 0.01  # seconds before a kill
_PER_COMMAND = 6  # kills of one command of a round: a long stage must come to its end some time


@dataclass
class Tally:
    """What happened."""

    rounds: int = 0
    kills: int = 0
    differences: int = 0
    losses: int = 0
    tracebacks: int = 0
    failures: int = 0
    killed_in: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not (self.differences or self.losses or self.tracebacks or self.failures)


def make_pool() -> None:
    """Two small labelled pools of noisy patterns in the current folder."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (4, 8, 8))
    for name, n in (("old", 80), ("new", 24)):
        labels = np.arange(n) % 4
        noisy = patterns[labels] + rng.normal(0, 40, (n, 8, 8))
        np.savez(f"{name}.npz", images=np.clip(noisy, 0, 255).astype(np.uint8), labels=labels)


def start(arguments: list[str], log: Path) -> int:
    """The command in a process of its own; its number.

    A fork of this process, which has imported all libraries: a start then takes no time, and kills
    fall into the work.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        from contrasift.cli import app

        try:
            app(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(process: int, seconds: float | None) -> int | None:
    """Exit code of a process that ends in time (negative: the signal); else it is killed: None."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, 0 if deadline is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        assert deadline is not None
        if time.monotonic() >= deadline:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            # It may have ended in the very last moment.
            code = os.waitstatus_to_exitcode(status)
            return None if code == -signal.SIGKILL else code
        time.sleep(0.002)


def outcome(folder: Path) -> dict[str, str]:
    """Hash of every file that must not depend on interruptions."""
    found = {}
    for name in ("run", "more"):
        for path in sorted((folder / name).rglob("*")):
            timed = path.name in _TIMED or "tensorboard" in path.parts
            if path.is_file() and not timed:
                text = path.read_bytes()
                found[str(path.relative_to(folder))] = hashlib.sha256(text).hexdigest()
    return found


def records(folder: Path) -> dict[str, Any]:
    """The finished stages of both folders."""
    found = {}
    for name in ("run", "more"):
        path = folder / name / "stages.json"
        if path.exists():
            stages = json.loads(path.read_text())
            found |= {f"{name}: {stage}": record for stage, record in stages.items()}
    return found


def one_round(rng: random.Random, typical: list[float], tally: Tally, kills_wanted: int) -> None:
    """Kill and start again until both commands have ended."""
    log = Path("log.txt")
    for arguments, longest in zip((RUN, EXTEND), typical, strict=True):
        killed = 0
        while True:
            before = records(Path())
            may_kill = killed < _PER_COMMAND and tally.kills < kills_wanted
            # Short times as often as long ones, so that quick stages are hit too.
            even = rng.uniform(_SHORTEST, longest)
            short = _SHORTEST * (longest / _SHORTEST) ** rng.random()
            code = wait(start(arguments, log), rng.choice([even, short]) if may_kill else None)
            after = records(Path())
            lost = [name for name, record in before.items() if after.get(name) != record]
            tally.losses += len(lost)
            if lost:
                print(f"  lost: {', '.join(lost)}")
            if code is None:
                killed += 1
                tally.kills += 1
                tally.killed_in[last_stage(log)] += 1
                continue
            if code != 0:
                tally.failures += 1
                print(f"  exit code {code}:\n{log.read_text()[-3000:]}")
                tally.rounds += 1
                return
            break
    if "Traceback" in log.read_text():
        tally.tracebacks += 1
        print(log.read_text()[-3000:])
    tally.rounds += 1


def last_stage(log: Path) -> str:
    """What the killed process was at."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.endswith(" ...")]
    return lines[-1].removesuffix(" ...") if lines else "start"


def compare(expected: dict[str, str], tally: Tally) -> None:
    """Every file as in the undisturbed run, and nothing else."""
    found = outcome(Path())
    differing = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
    tally.differences += len(differing)
    if differing:
        print(f"  different, missing or left over: {', '.join(differing[:10])}")


def earlier(result: Path, first_seed: int) -> Tally:
    """What is counted already from this seed on."""
    if not result.exists():
        return Tally()
    found = json.loads(result.read_text(encoding="utf-8"))
    if found.pop("seed") != first_seed:
        return Tally()
    return Tally(**found | {"killed_in": Counter(found["killed_in"])})


def soak(kills: int, minutes: float, first_seed: int, keep: Path | None, result: Path) -> Tally:
    """Rounds until there were so many kills, or so many minutes are over."""
    home = Path.cwd()
    base = Path(tempfile.mkdtemp(prefix="soak-"))
    tally = earlier(result, first_seed)
    try:
        expected, typical = undisturbed(base / "undisturbed")
        seconds = " and ".join(f"{part:.1f} s" for part in typical)
        print(f"undisturbed: {seconds}, {len(expected)} files compared", flush=True)
        ends = time.monotonic() + 60 * minutes
        number = first_seed + tally.rounds
        while tally.kills < kills and time.monotonic() < ends:
            folder = base / f"round-{number}"
            folder.mkdir()
            os.chdir(folder)
            make_pool()
            clean = tally.is_clean
            one_round(random.Random(number), typical, tally, kills)
            compare(expected, tally)
            if clean and not tally.is_clean:
                print(f"  first trouble with --seed {number}: {folder}")
                keep = keep or folder
            os.chdir(base)
            if keep != folder:
                shutil.rmtree(folder)
            print(f"round {number}: {tally.kills} kills so far", flush=True)
            fuzz_inputs.write_result(result, {"seed": first_seed, **vars(tally)})
            number += 1
    finally:
        os.chdir(home)
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    return tally


def undisturbed(folder: Path) -> tuple[dict[str, str], list[float]]:
    """What a run leaves that nobody disturbs, and the seconds that each command takes."""
    folder.mkdir()
    os.chdir(folder)
    make_pool()
    seconds = []
    for arguments in (RUN, EXTEND):
        begun = time.monotonic()
        if wait(start(arguments, Path("log.txt")), None) != 0:
            raise SystemExit(Path("log.txt").read_text())
        seconds.append(time.monotonic() - begun)
    return outcome(Path()), seconds


def import_all() -> None:
    """Everything heavy, once, before the forks; no thread may be started here."""
    import lightly.loss  # noqa: F401
    import pytorch_lightning  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch.utils.tensorboard

    import contrasift.cli
    import contrasift.pipeline.extend
    import contrasift.pipeline.full
    import contrasift.selection.select
    import contrasift.training.methods
    import contrasift.training.pretrain

    torch.set_num_threads(1)
    # Compiled functions are loaded when they are first called.
    values = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    for optimizer in ("greedy", "relaxed"):
        contrasift.selection.select.select(values, fraction=0.3, optimizer=optimizer, threads=1)


def main() -> None:
    """All parts, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--fuzz", type=int, default=10_000)
    parser.add_argument("--inputs", type=int, default=10_000, help="cases of fuzz_inputs.py")
    parser.add_argument("--minutes", type=float, default=60, help="at most so long for the kills")
    parser.add_argument("--seed", type=int, default=0, help="of the first round, and of the fuzz")
    parser.add_argument("--keep", action="store_true", help="leave the folders of all rounds")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    clean = True
    begun = time.monotonic()
    if asked.kills:
        import_all()
        keep = Path() if asked.keep else None
        tally = soak(asked.kills, asked.minutes, asked.seed, keep, RESULT.absolute())
        clean = tally.is_clean
        where = ", ".join(f"{name} {count}" for name, count in tally.killed_in.most_common())
        print(
            f"kills: {tally.rounds} rounds, {tally.kills} kills, {tally.differences} differences, "
            f"{tally.losses} losses, {tally.tracebacks} tracebacks, {tally.failures} failures "
            f"(seeds {asked.seed} to {asked.seed + tally.rounds - 1}, "
            f"{time.monotonic() - begun:.0f} s)\n  killed in: {where}",
            flush=True,
        )
    if asked.fuzz:
        done = fuzz_select.fuzz_into(fuzz_select.RESULT, asked.fuzz, asked.seed)
        clean = clean and not done["bad"]
        print(f"fuzz: {done['cases']} inputs: {done['counts']} ({done['seconds']} s)")
    if asked.inputs:
        done = fuzz_inputs.fuzz(asked.inputs, asked.seed, fuzz_inputs.RESULT)
        clean = clean and not done["bad"]
        counts = ", ".join(f"{n} {name}" for name, n in fuzz_inputs.totals(done).most_common())
        print(f"inputs: {done['cases']} cases: {counts} (seed {asked.seed}, {done['seconds']} s)")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
