"""What was measured already: a benchmark that was stopped goes on, and a finished part is not made again.

A measurement counts at the machine and the commit of the engine that it was made at: the newest commit
that touches `src` or a benchmark's code, so that to commit results changes nothing. With changes that
are in no commit, all is measured anew.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_CODE = ("src", "benchmarks/*.py")

Case = dict[str, Any]


def about() -> dict[str, str]:
    """Machine, day and commit of what is being measured: a benchmark puts it into its file."""
    machine = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if named:
            machine = f"{named[0].split(':', 1)[1].strip()}, {len(named)} processors"
    changed = "-dirty" if _git("status", "--porcelain", "--", *_CODE) else ""
    commit = _git("log", "-1", "--format=%h", "--", *_CODE) + changed
    return {"machine": machine, "day": datetime.date.today().isoformat(), "commit": commit}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def measured_now(found: dict[str, Any]) -> bool:
    """Whether a file's results were made here, by the code as it is."""
    then, now = found.get("about", {}), about()
    commit = now["commit"]
    same = all(then.get(name) == now[name] for name in ("machine", "commit"))
    return same and bool(commit) and not commit.endswith("-dirty")


def asked(cases: Sequence[Case]) -> str:
    """A short name of some cases: another choice of them has another."""
    return hashlib.sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()[:12]


def finished(stem: Path, cases: Sequence[Case]) -> bool:
    """Whether a part's file holds these very cases, measured now."""
    found = _read(stem.with_suffix(".json"))
    return found.get("asked") == asked(cases) and measured_now(found)


class Unfinished:
    """Results of a part that is not finished, in a file beside it that goes when it is.

    Attributes:
        path: of that file.
        results: of the cases that are done.
    """

    def __init__(self, stem: Path, *, again: bool) -> None:
        self.path: Path = stem.with_suffix(".partial.json")
        found = {} if again else _read(self.path)
        self.results: list[Case] = found["results"] if found and measured_now(found) else []

    def result_of(self, case: Case, measure: Callable[[], Case]) -> Case:
        """The result that is known, else one that is measured now and noted."""
        for result in self.results:
            if case.items() <= result.items():
                return result
        result = measure()
        # What failed is tried again; what took too long is a result.
        if "error" not in result or result["error"].startswith("stopped after"):
            self.results.append(result)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"about": about(), "results": self.results}))
        return result

    def done(self) -> None:
        """All cases are written where they belong."""
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
