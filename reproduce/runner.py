"""From a plan to finished cells: resumable, several processes at once, an estimate first."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrasift.errors import ContrasiftError
from contrasift.narration import Narrator
from contrasift.store.atomic import read_json
from contrasift.store.provenance import made_with, processor
from reproduce.artifacts import ArtifactCache, Busy
from reproduce.cell import Cell
from reproduce.cell_store import CellStore
from reproduce.declared.declaring import Experiment, PlannedCell
from reproduce.estimate import Rates, estimate
from reproduce.evaluate import accuracies_of
from reproduce.metrics.extras import measure_extras
from reproduce.metrics.subject import Subject

_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Session:
    """One call of `python -m reproduce`.

    Attributes:
        experiment: which.
        scale: at which size.
        phase: `explore` or `confirm`.
        planned: its cells, in order.
        store: where finished cells are kept.
        threads: of every library; 0: as many as they like.
    """

    experiment: Experiment
    scale: str
    phase: str
    planned: Sequence[PlannedCell]
    store: CellStore
    threads: int = 1
    _known: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def unfinished(self) -> list[PlannedCell]:
        """Cells without a result under these very options.

        A cell that another experiment, or another setting of this one, has finished is taken from
        there.
        """
        self._known.update({record["key"]: record for record in self.store.records()})
        return [planned for planned in self.planned if not self.have(planned)]

    def have(self, planned: PlannedCell) -> bool:
        """Whether a cell is finished, here or elsewhere."""
        cell = planned.cell
        if (found := self.store.find(self.place(planned))) is not None:
            return cell.agrees(found["options"])
        found = self._known.get(cell.key)
        if found is None or not cell.agrees(found["options"]) or self._saw_others(planned, found):
            return False
        self.store.keep(found | self.place(planned))
        return True

    def _saw_others(self, planned: PlannedCell, found: Mapping[str, Any]) -> bool:
        """Whether the cells of this setting saw other images: other fonts make other glyphs."""
        place = self.place(planned)
        beside = {
            _images(record)
            for record in self.store.records()
            if all(
                record[name] == place[name] for name in ("experiment", "scale", "phase", "setting")
            )
        }
        return bool(beside) and _images(found) not in beside

    def place(self, planned: PlannedCell) -> dict[str, Any]:
        """Where a cell stands among the others."""
        return planned.place(self.experiment.name, self.scale, self.phase)

    def keep(self, planned: PlannedCell, measured: Mapping[str, Any]) -> None:
        """Store a finished cell."""
        record = {
            **self.place(planned),
            "options": planned.cell.as_dict(),
            **measured,
            "made_with": made_with(self.threads),
        }
        self.store.keep(record)
        self._known[planned.cell.key] = record


def _images(record: Mapping[str, Any]) -> str:
    return str(record["facts"].get("pool_fingerprint", ""))


def estimated(
    session: Session, todo: Sequence[PlannedCell], artifacts: ArtifactCache
) -> dict[str, float]:
    """Seconds by cell key; see `estimating.estimate`."""
    rates = Rates(session.store.records(), processor())
    cells = [planned.cell for planned in todo]
    return estimate(cells, artifacts.pool, rates, artifacts.device)


def run_cells(
    session: Session, todo: Sequence[PlannedCell], artifacts: ArtifactCache, narrator: Narrator
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
        postponed: list[PlannedCell] = []
        for planned in left:
            if session.have(planned):
                continue
            try:
                begun = time.perf_counter()
                with artifacts.holding("cells", planned.cell.key):
                    if session.have(planned):
                        continue
                    measured = run_cell(planned.cell, artifacts)
                    session.keep(planned, measured)
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


def run_cell(cell: Cell, artifacts: ArtifactCache) -> dict[str, Any]:
    """Train and evaluate.

    Returns:
        `metrics`, `facts` and `parts`: the seconds of everything that the cell is made of, shared
        parts included, by their hashes.

    Raises:
        Busy: another process is making a part of it.
    """
    if cell.needs_dynamics:  # first: it may be another process's work
        artifacts.dynamics(cell)
    artifacts.used = {}
    pool, everything = artifacts.pool(cell), artifacts.readable(cell)
    encoder = artifacts.encoder(cell)
    facts: dict[str, Any] = {
        "pool": pool.name,
        "pool_fingerprint": pool.fingerprint,
        "image_size": pool.image_size,
        "n": int(everything.size),
    }
    if cell.arm.trained:
        facts |= _training_facts(cell, artifacts)
    begun = time.perf_counter()
    metrics = accuracies_of(
        pool, everything, encoder, cell.measure, seed=cell.seed, device=artifacts.device
    )
    judged = {"part": f"judge {cell.key}", "seconds": time.perf_counter() - begun}
    parts, artifacts.used = artifacts.used | {"judge": judged}, {}
    begun = time.perf_counter()
    metrics |= measure_extras(Subject(cell, artifacts, encoder))
    # What only a further metric needs is no cost of the choice.
    more = {kind: entry for kind, entry in artifacts.used.items() if kind not in parts}
    parts |= {f"read {kind}": entry for kind, entry in more.items()}
    if cell.measure.extras:
        parts["read"] = {"part": f"read {cell.key}", "seconds": time.perf_counter() - begun}
    return {"metrics": metrics, "facts": facts, "parts": parts}


def _training_facts(cell: Cell, artifacts: ArtifactCache) -> dict[str, Any]:
    pool, positions = artifacts.pool(cell), artifacts.positions(cell)
    trained = read_json(artifacts.trained(cell) / "result.json")
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
        facts |= artifacts.class_facts(cell)
    if cell.switches:
        facts["selections"] = trained["selections"]
    if pool.labels is not None:
        known = pool.labels[positions]
        counts = np.bincount(known[known >= 0], minlength=len(pool.label_names))
        facts["least_and_most_of_a_label"] = [int(counts.min()), int(counts.max())]
    return facts


def _line(planned: PlannedCell, measured: Mapping[str, Any], seconds: float) -> str:
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {value:.1%}"
        for name, value in measured["metrics"].items()
        if isinstance(value, float)
    )
    return f"{_place(planned):<60} {seconds:6.0f} s  {numbers}"


def _place(planned: PlannedCell) -> str:
    return ", ".join([*planned.setting.values(), planned.arm, f"seed {planned.cell.seed}"])
