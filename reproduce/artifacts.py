"""What cells share: trainings, embeddings, classes and selections, each made once in the work folder.

Every part lies in a folder named by a hash of what it is made of, so that a changed option makes
another part and equal cells of different experiments share theirs. A part that another process is
making raises `Busy`: there is other work to do meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import RunFolderError, UsageError
from contrasift.narration import Narrator
from contrasift.options import RunOptions, SwitchOptions, TrainOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages import classes as clustering
from contrasift.pipeline.stages import select as selecting
from contrasift.pipeline.stages.embed import SAME_ENCODER, embed_for_classes, load_embeddings
from contrasift.pipeline.stages.embed import embed as embed_stage
from contrasift.pipeline.stages.proxy import PROXY_FILE, proxy_fingerprint, proxy_options
from contrasift.pipeline.stages.scan import readable_positions, scan
from contrasift.pipeline.stages.train import arm_schedule, in_steps, pool_latent_classes
from contrasift.pipeline.stages.within import Selector
from contrasift.pools import Pool, scan_pool
from contrasift.store.atomic import load_array, read_json, write_json
from contrasift.store.lock import held
from contrasift.store.run import RunFolder
from contrasift.store.tables import positions_of, read_table
from reproduce.cell import Cell
from reproduce.mixtures import make_pool

# Wall seconds, and those of the process itself, which a shared machine leaves alone.
_SECONDS = ("seconds", "cpu_seconds")
_LOCK, _MADE, _PROXY = "run.lock", "made", "proxy.json"


class Busy(Exception):
    """Another process is making this part."""


class ArtifactCache:
    """Makes parts, or finds them made.

    Attributes:
        folder: where they are kept.
        narrator: tells the user.
        device: where networks run.
        used: what the present cell is made of: kind, hash and seconds of every part.
    """

    def __init__(self, folder: Path, narrator: Narrator, device: str = "auto") -> None:
        self.folder = Path(folder)
        self.narrator = narrator
        self.device = device
        self.used: dict[str, dict[str, Any]] = {}
        self._pools: dict[str, tuple[Pool, np.ndarray]] = {}

    def holding(self, kind: str, key: str) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from the same piece of work, which raises `Busy` in them."""
        return _held(self.folder / kind / key)

    def pool(self, cell: Cell) -> Pool:
        """The images of a cell."""
        return self._opened(cell)[0]

    def readable(self, cell: Cell) -> np.ndarray:
        """Positions in the pool of the images that can be read."""
        return self._opened(cell)[1]

    def _opened(self, cell: Cell) -> tuple[Pool, np.ndarray]:
        named, mixture, explore = cell.options.pool, cell.mixture, cell.measure.explore
        key = _hash(named.as_dict(), mixture.as_dict(), explore)
        if key not in self._pools:
            pool = make_pool(named, mixture, explore)
            self._pools = {key: (pool, scan_pool(pool).positions)}  # one at a time: they are large
        return self._pools[key]

    def training(
        self,
        pool: Pool,
        positions: np.ndarray,
        options: TrainOptions,
        seed: int,
        *,
        max_steps: int | None = None,
        latent_classes: np.ndarray | None = None,
        kind: str = "train",
    ) -> Path:
        """The folder of a finished training.

        Raises:
            Busy: another process is at it.
        """
        from contrasift.training.pretrain import pretrain

        index = hashlib.sha256(np.sort(pool.index[positions]).tobytes()).hexdigest()
        tags = (
            "" if latent_classes is None else hashlib.sha256(latent_classes.tobytes()).hexdigest()
        )
        key = _hash(pool.fingerprint, options.resolved().as_dict(), seed, index, max_steps, tags)
        folder = self.folder / "trainings" / key
        result = folder / "run" / "result.json"  # the last file that a training writes
        if not result.is_file():
            with _held(folder), self.narrator.progress(f"{kind} {key}", "steps") as progress:
                pretrain(
                    pool,
                    positions,
                    options,
                    seed=seed,
                    folder=folder / "run",
                    device=self.device,
                    progress=progress,
                    max_steps=max_steps,
                    latent_classes=latent_classes,
                )
        facts = read_json(result)
        seconds = {name: float(facts[name]) for name in _SECONDS if name in facts}
        self.used[kind] = {"part": key, **seconds}
        return folder / "run"

    def embedded(self, cell: Cell) -> Run:
        """A run whose pool is embedded by the cell's proxy."""
        embed = dataclasses.replace(cell.options.embed, proxy_epochs=cell.proxy_epochs)
        run = self._run(cell, dataclasses.replace(cell.options, embed=embed))
        options = run.options
        trains = "proxy" in (options.embed.encoder, options.embed.classes_encoder)
        trained = proxy_options(run.options).resolved().as_dict() if trains else None
        steps = [cell.arm.steps] if trains and cell.arm.steps else []
        folder = self._part(
            "embedded", run.pool.fingerprint, options.embed.as_dict(), trained, *steps
        )

        def make(run: Run) -> None:
            scan(run)
            if trains:
                self._lend_proxy(run, cell.arm.steps or None)
            embed_stage(run)
            if run.options.embed.classes_encoder == SAME_ENCODER:
                embed_for_classes(run)

        made = self._made(run, folder, make, "embed", "embed-classes")
        if trains:
            self.used["proxy"] = read_json(folder / _PROXY)
        return made

    def _lend_proxy(self, run: Run, max_steps: int | None) -> None:
        """Train the proxy as any other encoder, so that a full-pool training may be the same one."""
        positions = readable_positions(run)
        source = self.training(
            run.pool,
            positions,
            proxy_options(run.options),
            run.options.embed.seed,
            max_steps=max_steps,
            kind="proxy",
        )
        _clone(source, run.folder.path / "training" / "proxy")
        write_json(run.folder.path / _PROXY, self.used["proxy"])
        # The stage itself would train for whole epochs.
        facts = read_json(source / "result.json")
        note = {name: facts[name] for name in ("seconds", "steps")}
        run.do("proxy", proxy_fingerprint(run), [PROXY_FILE], lambda: note)

    def classified(self, cell: Cell) -> Run:
        """The same with latent classes."""
        before = self.embedded(cell)
        classes = cell.options.classes
        depends = [before.folder.path.name, classes.as_dict()]
        if classes.rounds or classes.stability != 0:
            depends.append(cell.select.as_dict())
        folder = self._part("classified", *depends)
        return self._made(before, folder, clustering.classes, "classes")

    def selected(self, cell: Cell) -> Run:
        """The same with a selection."""
        before = self.classified(cell)
        select = cell.select
        made_of = [before.folder.path.name, select.as_dict()]
        if cell.chooses_by_dynamics:
            scores = self.dynamics(cell)
            made_of.append(scores.parent.name)
            select = dataclasses.replace(select, scores=str(scores))
            before.options = dataclasses.replace(before.options, select=select)
        folder = self._part("selected", *made_of)
        return self._made(before, folder, selecting.select, "select")

    def dynamics(self, cell: Cell) -> Path:
        """The table of scores that supervised trainings give to every labelled example.

        Raises:
            Busy: another process is at it.
        """
        from contrasift.pipeline.studies.dynamics import score_dynamics

        run, options = self.run(cell), cell.dynamics
        folder = self._part("dynamics", run.pool.fingerprint, options.as_dict())

        def make(run: Run) -> None:
            scan(run)
            score_dynamics(run, options)

        stages = ("dynamics", *(f"dynamics seed{seed}" for seed in range(options.seeds)))
        return self._made(run, folder, make, *stages).folder.path / "scores.parquet"

    def latent_classes(self, cell: Cell) -> np.ndarray | None:
        """A code for every place in the pool, where the policy for negatives compares them."""
        policies = cell.options.train.negatives + cell.options.train.negatives_schedule
        if "same_latent_class" not in policies:
            return None
        return pool_latent_classes(self.classified(cell))

    def positions(self, cell: Cell) -> np.ndarray:
        """What the cell trains on, ascending positions in the pool.

        Raises:
            Busy: another process is making what this needs.
        """
        from contrasift.selection.baselines import random_order, random_per_class_order
        from contrasift.selection.budget import resolve_budget

        pool, everything = self._opened(cell)
        select = cell.options.select
        if select.fraction == 1 or cell.switches:
            return everything
        count = resolve_budget(everything.size, fraction=select.fraction, budget=select.budget)
        if cell.arm.kept == "labelled":
            known = everything[_labels(pool)[everything] >= 0]
            return np.sort(known[random_order(known.size, select.seed)[:count]])
        if not cell.needs_proxy or select.objective == "random":
            order = random_order(everything.size, select.seed)
            if select.objective == "random-per-class":
                order = random_per_class_order(_labels(pool)[everything], select.seed)
            return np.sort(everything[order[:count]])
        if cell.arm.kept == "looked-at":
            return self._without_junk(cell)
        run = self.selected(cell)
        if cell.arm.kept == "last":
            chosen = load_array(run.folder.path / "ranking.npy")[-count:]
        else:
            table = read_table(run.folder.path / "selection.parquet", "index", "selected")
            chosen = table["index"][table["selected"]]
        return positions_of(np.sort(chosen), pool.index)

    def _without_junk(self, cell: Cell) -> np.ndarray:
        """What is selected where classes most of whose examples have no label weigh nothing."""
        from contrasift.selection.select import select

        pool = self.pool(cell)
        run = self.classified(cell)
        embeddings = load_embeddings(run.folder.path)
        places = positions_of(embeddings.index, pool.index)
        codes, known = pool_latent_classes(run)[places], _labels(pool)[places] >= 0
        weights = (np.bincount(codes, weights=known) * 2 > np.bincount(codes)).astype(np.float64)
        began = time.perf_counter()
        arguments = cell.options.select.arguments()
        chosen = select(embeddings, codes, class_weights=weights, **arguments)
        seconds = time.perf_counter() - began
        self.used["select"] = {"part": f"looked-at {cell.key}", "seconds": seconds}
        return positions_of(np.sort(chosen.indices), pool.index)

    def trained(self, cell: Cell) -> Path:
        """The folder of the cell's own training.

        Raises:
            Busy: another process is making it, or what it needs.
        """
        if cell.switches:
            return self._switched(cell)
        positions = self.positions(cell)
        options, max_steps = schedule(cell, positions.size, self.readable(cell).size)
        return self.training(
            self.pool(cell),
            positions,
            options,
            cell.seed,
            max_steps=max_steps,
            latent_classes=self.latent_classes(cell),
        )

    def _switched(self, cell: Cell) -> Path:
        """The folder of a training that selects on its way, begun where equal ones part."""
        key = _hash(cell.as_dict(), cell.seed)
        folder = self.folder / "switched" / key
        result = folder / "training" / "result.json"
        if not result.is_file():
            with _held(folder):
                self._train_and_select(cell, folder)
        facts = read_json(result)
        self.used["train"] = {"part": key, **{name: float(facts[name]) for name in _SECONDS}}
        chosen = facts["selections"]
        total = {name: sum(float(one[name]) for one in chosen) for name in _SECONDS}
        self.used["selections"] = {"part": f"selections {key}", **total}
        return folder / "training"

    def _train_and_select(self, cell: Cell, folder: Path) -> None:
        from contrasift.training.pretrain import CHECKPOINT

        run = Run(RunFolder(folder), cell.options, _Quiet(self.narrator), self.device)
        run.pool = self.pool(cell)
        scan(run)
        own = folder / "training" / CHECKPOINT
        if not own.is_file():
            shared = self._before_switch(cell, run)
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(shared / CHECKPOINT, own)
        last = cell.arm.kept == "last"
        switch = Selector(run, cell.options, cell.seed, last=last).switch()
        self._pretrain(cell, run, folder / "training", switch)

    def _before_switch(self, cell: Cell, run: Run) -> Path:
        """A training up to its first selection, which all share that differ after it."""
        from contrasift.training.switching import Switch

        class Reached(Exception):
            """The checkpoint is there."""

        def reached(moment: Any) -> Any:
            raise Reached

        train, switch = cell.options.train, cell.options.switch
        made_of = (train.resolved().as_dict(), cell.seed, switch.select_after)
        folder = self.folder / "before-switch" / _hash(run.pool.fingerprint, *made_of)
        until = Switch(SwitchOptions(select_after=switch.select_after), reached, "before")
        with _held(folder), contextlib.suppress(Reached):
            self._pretrain(cell, run, folder / "run", until)
        return folder / "run"

    def _pretrain(self, cell: Cell, run: Run, folder: Path, switch: Any) -> None:
        from contrasift.training.pretrain import pretrain

        with self.narrator.progress(f"training {cell.key}", "steps") as progress:
            pretrain(
                run.pool,
                readable_positions(run),
                cell.options.train,
                seed=cell.seed,
                folder=folder,
                device=self.device,
                progress=progress,
                switch=switch,
            )

    def encoder(self, cell: Cell) -> Any:
        """The cell's encoder, trained or not."""
        from contrasift.training.loading import load_encoder
        from contrasift.training.pretrain import untrained_encoder

        if cell.arm.trained:
            return load_encoder(str(self.trained(cell) / "encoder.safetensors"))
        pool = self.pool(cell)
        return untrained_encoder(cell.options.train, pool.channels, pool.image_size, cell.seed)

    def class_facts(self, cell: Cell) -> dict[str, Any]:
        """How many latent classes, and how well they agree with labels."""
        found = read_json(self.classified(cell).folder.path / "classes.json")
        agreement = found.get("agreement", {})
        names = ("nmi", "ari", "purity")
        return {
            "n_classes": found["n_classes"],
            "class_method": found["method"],
            **{name: agreement[name] for name in names if name in agreement},
        }

    def run(self, cell: Cell) -> Run:
        """The cell's options as those of a run, its pool opened; it has no folder of its own."""
        return self._run(cell, cell.options)

    def _run(self, cell: Cell, options: RunOptions) -> Run:
        run = Run(RunFolder(self.folder), options, _Quiet(self.narrator), self.device)
        run.pool = self.pool(cell)
        return run

    def _part(self, kind: str, *made_of: Any) -> Path:
        return self.folder / kind / _hash(*made_of)

    def _made(self, run: Run, folder: Path, make: Callable[[Run], Any], *stages: str) -> Run:
        """The run in its own folder, begun as a copy of the one it goes on from."""
        after = Run(RunFolder(folder), run.options, run.narrator, run.device)
        after.pool = run.pool
        if not (folder / _MADE).exists():
            with _held(folder):
                if (run.folder.path / _MADE).exists():
                    _clone(run.folder.path, folder)
                make(after)
                (folder / _MADE).touch()
        for stage, record in after.folder.records().items():
            if stage in stages or (stage.startswith("round ") and "classes" in stages):
                self.used[stage] = {"part": folder.name, "seconds": record.seconds}
        return after


class _Quiet:
    """Passes progress on, and keeps the lines of single stages to itself."""

    quiet = True

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator

    def say(self, text: str) -> None:
        """Nothing: a cell tells one line when it is done."""

    def working(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Nothing either."""
        return contextlib.nullcontext()

    def progress(
        self, title: str, unit: str = "examples"
    ) -> contextlib.AbstractContextManager[Callable[[int, int], None]]:
        """That of the narrator."""
        return self._narrator.progress(title, unit)


def schedule(cell: Cell, n: int, full: int) -> tuple[TrainOptions, int | None]:
    """Options and step limit of a training on n of `full` examples, by `arm.steps` or `compare.match`."""
    options, steps = cell.options.train, cell.arm.steps
    if steps:
        return in_steps(options, steps, n)
    # On everything both rules are the same training, which is done once.
    return arm_schedule(options, "epochs" if n == full else cell.options.compare.match, n, full)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a part's folder while it is made.

    Raises:
        Busy: another process holds it.
        RunFolderError: it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder / _LOCK))
        except RunFolderError as error:
            raise Busy(f"{folder}: {error.got}") from error
        except OSError as error:
            raise RunFolderError(
                f"a folder {folder} that can be written",
                error.strerror or str(error),
                "Choose another --work",
            ) from error
        yield


def _clone(source: Path, target: Path) -> None:
    """The files of a finished part under another name, without a second copy of them."""
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir() or path.name in (_LOCK, _MADE) or to.exists():
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError:  # another disk, or none that knows links
            shutil.copy2(path, to)


def _labels(pool: Pool) -> np.ndarray:
    if pool.labels is None:
        raise UsageError("a pool with labels for this arm", f"{pool.name} without them")
    return pool.labels


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
