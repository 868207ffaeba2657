"""From a plan to one JSON a cell: resumable, several processes at once, an estimate first."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError, DataError
from contrasift.narration import Narrator
from contrasift.store.atomic import read_json, write_json
from contrasift.store.provenance import made_with, processor
from reproduce.artifacts import Busy, Workshop
from reproduce.cell import Cell
from reproduce.declared.declaring import PHASES, Experiment, Planned
from reproduce.estimate import Rates, estimate
from reproduce.evaluate import judge
from reproduce.metrics.extras import read_extras
from reproduce.metrics.subject import Subject

_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Sitting:
    """One call of `python -m reproduce`.

    Attributes:
        experiment: which.
        scale: at which size.
        phase: `explore` or `confirm`.
        planned: its cells, in order.
        results: folder of results, one sub-folder an experiment.
        threads: of every library; 0: as many as they like.
    """

    experiment: Experiment
    scale: str
    phase: str
    planned: Sequence[Planned]
    results: Path
    threads: int = 1
    _known: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def path(self, planned: Planned) -> Path:
        """Of a cell's JSON."""
        name = planned.file_name(self.scale, self.phase)
        return self.results / self.experiment.name / name

    def unfinished(self) -> list[Planned]:
        """Cells without a result under these very options.

        A cell that another experiment, or another setting of this one, has finished is taken from
        there.
        """
        self._known.update({record["key"]: record for record in read_results(self.results)})
        return [planned for planned in self.planned if not self.have(planned)]

    def have(self, planned: Planned) -> bool:
        """Whether a cell is finished, here or elsewhere."""
        path, cell = self.path(planned), planned.cell
        if path.is_file():
            return cell.agrees(read_json(path)["options"])
        found = self._known.get(cell.key)
        if found is None or not cell.agrees(found["options"]):
            return False
        write_json(path, found | self.place(planned))
        return True

    def place(self, planned: Planned) -> dict[str, Any]:
        """Where a cell stands among the others."""
        return {
            "experiment": self.experiment.name,
            "scale": self.scale,
            "phase": self.phase,
            "setting": dict(planned.setting),
            "arm": planned.arm,
            "seed": planned.cell.seed,
        }

    def keep(self, planned: Planned, measured: Mapping[str, Any]) -> None:
        """Write a finished cell."""
        record = {
            **self.place(planned),
            "key": planned.cell.key,
            "options": planned.cell.as_dict(),
            **measured,
            "made_with": made_with(self.threads),
        }
        write_json(self.path(planned), record)
        self._known[planned.cell.key] = read_json(self.path(planned))


def estimated(sitting: Sitting, todo: Sequence[Planned], workshop: Workshop) -> dict[str, float]:
    """Seconds by cell key; see `estimating.estimate`."""
    rates = Rates(read_results(sitting.results), processor())
    cells = [planned.cell for planned in todo]
    return estimate(cells, workshop.pool, rates, workshop.device)


def perform(
    sitting: Sitting, todo: Sequence[Planned], workshop: Workshop, narrator: Narrator
) -> int:
    """Do every cell; what another process is doing is left to it, and looked for at the end.

    Returns:
        How many cells were done here.

    Raises:
        ContrasiftError: some failed, after the others were done.
    """
    left, done = list(todo), 0
    failures: list[str] = []
    while left:
        postponed: list[Planned] = []
        for planned in left:
            if sitting.have(planned):
                continue
            try:
                begun = time.perf_counter()
                with workshop.holding("cells", planned.cell.key):
                    if sitting.have(planned):
                        continue
                    measured = do_cell(planned.cell, workshop)
                    sitting.keep(planned, measured)
            except Busy:
                postponed.append(planned)
                continue
            except ContrasiftError as error:  # the others may still succeed
                failures.append(f"{_place(planned)}: {error}")
                narrator.say(failures[-1])
                continue
            done += 1
            narrator.say(_line(planned, measured, time.perf_counter() - begun))
        if len(postponed) == len(left):
            time.sleep(_WAIT_SECONDS)
        left = postponed
    if failures:
        raise ContrasiftError("all cells to succeed", f"{len(failures)} that failed; {failures[0]}")
    return done


@contextlib.contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Let every library use so many threads; 0: as many as they like."""
    if count == 0:
        yield
        return
    import faiss
    import numba
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(count)
    numba.set_num_threads(min(count, before[1]))
    faiss.omp_set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def do_cell(cell: Cell, workshop: Workshop) -> dict[str, Any]:
    """Train and judge.

    Returns:
        `metrics`, `facts` and `parts`: the seconds of everything that the cell is made of, shared
        parts included, by their hashes.

    Raises:
        Busy: another process is making a part of it.
    """
    if cell.needs_dynamics:  # first: it may be another process's work
        workshop.dynamics(cell)
    workshop.used = {}
    pool, everything = workshop.pool(cell), workshop.readable(cell)
    encoder = workshop.encoder(cell)
    facts: dict[str, Any] = {
        "pool": pool.name,
        "pool_fingerprint": pool.fingerprint,
        "image_size": pool.image_size,
        "n": int(everything.size),
    }
    if cell.arm.trained:
        facts |= _training_facts(cell, workshop)
    begun = time.perf_counter()
    metrics = judge(pool, everything, encoder, cell.measure, seed=cell.seed, device=workshop.device)
    judged = {"part": f"judge {cell.key}", "seconds": time.perf_counter() - begun}
    parts, workshop.used = workshop.used | {"judge": judged}, {}
    begun = time.perf_counter()
    metrics |= read_extras(Subject(cell, workshop, encoder))
    # What only a reading needs is no cost of the choice.
    more = {kind: entry for kind, entry in workshop.used.items() if kind not in parts}
    parts |= {f"read {kind}": entry for kind, entry in more.items()}
    if cell.measure.extras:
        parts["read"] = {"part": f"read {cell.key}", "seconds": time.perf_counter() - begun}
    return {"metrics": metrics, "facts": facts, "parts": parts}


def _training_facts(cell: Cell, workshop: Workshop) -> dict[str, Any]:
    pool, positions = workshop.pool(cell), workshop.positions(cell)
    trained = read_json(workshop.trained(cell) / "result.json")
    facts: dict[str, Any] = {
        "examples": int(positions.size),
        "steps": int(trained["steps"]),
        "loss": float(trained["loss"]),
        "image_epochs": int(trained["steps"]) * cell.options.train.batch_size,
    }
    if cell.mixture.changes:
        kinds = [str(pool.ids[int(place)]).partition("/")[0] for place in positions]
        names, counts = np.unique(kinds, return_counts=True)
        facts["kept_kinds"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if cell.needs_proxy:
        facts |= workshop.class_facts(cell)
    if pool.labels is not None:
        known = pool.labels[positions]
        counts = np.bincount(known[known >= 0], minlength=len(pool.label_names))
        facts["least_and_most_of_a_label"] = [int(counts.min()), int(counts.max())]
    return facts


def read_results(folder: Path) -> Iterator[dict[str, Any]]:
    """Every finished cell in a folder of results, in the order of the file names.

    Raises:
        DataError: a file that is no result.
    """
    for path in sorted(folder.glob("*/*.json")):
        record = read_json(path)
        if "key" not in record or record.get("phase") not in PHASES:
            raise DataError("the result of a cell", f"{path}, which is something else")
        yield record


def _line(planned: Planned, measured: Mapping[str, Any], seconds: float) -> str:
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {value:.1%}"
        for name, value in measured["metrics"].items()
        if isinstance(value, float)
    )
    return f"{_place(planned):<60} {seconds:6.0f} s  {numbers}"


def _place(planned: Planned) -> str:
    return ", ".join([*planned.setting.values(), planned.arm, f"seed {planned.cell.seed}"])
