"""The selection within a training: the stages `embed`, `classes` and `select`, by its own encoder."""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import UsageError
from contrasift.fingerprints import fingerprint_of
from contrasift.narration import SilentNarrator
from contrasift.options import RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.classes import classes
from contrasift.pipeline.stages.embed import embed
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.pipeline.stages.select import select
from contrasift.selection.baselines import random_order
from contrasift.selection.budget import resolve_budget
from contrasift.store.atomic import load_array, read_json
from contrasift.store.run import RunFolder
from contrasift.store.tables import positions_of

if TYPE_CHECKING:
    from contrasift.training.switching import Choice, Moment, Switch

# Random selections of one training differ.
_SEEDS_APART = 10_007


def check_switch(options: RunOptions, n: int) -> None:
    """Stop before any work at a selection within a training that cannot be made.

    Args:
        options: of the run.
        n: how many examples there are.

    Raises:
        UsageError: a switch after the end; a fraction that leaves less than a batch; classes,
            scores or a target that need another encoder or none; an average that the method does not keep.
    """
    switch, train = options.switch, options.train
    if switch.select_after is None:
        return
    switch.epochs(train.epochs)
    for name, value, usual in (
        ("encoder", options.embed.encoder, "proxy"),
        ("scores", options.select.scores, ""),
        ("target", options.select.target, ""),
        ("rounds", options.classes.rounds, 0),
    ):
        if value != usual:
            raise UsageError(
                "a selection by the encoder that is being trained for select_after=",
                f"{name}={value!r}",
                f"Leave {name}= away, or train without select_after=",
            )
    if options.classes.classes == "zero-shot":
        raise UsageError(
            "classes that are found in embeddings for select_after=", "classes='zero-shot'"
        )
    if switch.select_with == "average" and train.method not in ("moco", "byol"):
        raise UsageError(
            "method='moco' or method='byol' for select_with='average'", f"method='{train.method}'"
        )
    others = round(switch.mix * train.batch_size)
    for budget in budgets(options, n):
        for count, there in ((train.batch_size - others, budget), (others, n - budget)):
            if count > there:
                raise UsageError(
                    f"a selection that leaves {count} examples for a batch of {train.batch_size}",
                    f"{there} of {n}",
                    "Pass a smaller batch_size=, or another fraction=",
                )


def budgets(options: RunOptions, n: int) -> list[int]:
    """How many are kept at each selection of a training on n examples."""
    return [
        _budget(options, number, n)
        for number in range(1, len(options.switch.epochs(options.train.epochs)) + 1)
    ]


def _budget(options: RunOptions, number: int, n: int) -> int:
    select = options_at(options, number).select
    return resolve_budget(n, fraction=select.fraction, budget=select.budget)


def options_at(options: RunOptions, number: int) -> RunOptions:
    """The options of a run whose selection is number 1, 2, … of a training."""
    select = options.select
    fraction = options.switch.fraction_at(number, select.fraction)
    if fraction != select.fraction:
        select = dataclasses.replace(select, fraction=fraction, budget=None)
    found = options.classes
    if found.stability is None:  # no second set of classes while a training waits
        found = dataclasses.replace(found, stability=0)
    return dataclasses.replace(options, select=select, classes=found)


@dataclass(frozen=True)
class Selector:
    """Selects for a training, in a run folder of its own for each time.

    Attributes:
        run: scanned.
        options: of embedding, classes, selection and switch.
        seed: of the training; random selections differ by it.
        last: keep the end of the ranking in place of its beginning, to see what the order is worth.
    """

    run: Run
    options: RunOptions
    seed: int
    last: bool = False

    def switch(self) -> Switch:
        """What `pretrain` takes."""
        from contrasift.training.switching import Switch

        options = self.options
        how = [options.select.fingerprint(), str(self.last), str(self.seed)]
        if not self._random:
            how = [options.embed.fingerprint(), options_at(options, 1).classes.fingerprint(), *how]
        scanned = self.run.record("scan").fingerprint
        return Switch(options.switch, self._choose, fingerprint_of(scanned, *how))

    @property
    def _random(self) -> bool:
        return self.options.select.objective == "random"

    def _choose(self, moment: Moment) -> Choice:
        from contrasift.training.switching import Choice

        everything = readable_positions(self.run)
        budget = _budget(self.options, moment.number, everything.size)
        if self._random:
            seed = self.seed + _SEEDS_APART * (moment.number - 1)
            rows = random_order(everything.size, seed=seed)[:budget]
            return Choice(np.sort(everything[rows]), {"objective": "random"})
        nested = self._nested(moment)
        for stage in (embed, classes, select):
            stage(nested)
        ranking = load_array(nested.folder.path / "ranking.npy", memory_map=False)
        chosen = ranking[-budget:] if self.last else ranking[:budget]
        return Choice(positions_of(np.sort(chosen), self.run.pool.index), _told(nested))

    def _nested(self, moment: Moment) -> Run:
        """The run folder of a moment, with the parent's scan."""
        options = options_at(self.options, moment.number)
        embedding = dataclasses.replace(options.embed, encoder=str(moment.encoder))
        options = dataclasses.replace(options, embed=embedding)
        # A folder that was moved has its encoder at another place: what differs is done again.
        nested = Run(
            RunFolder(moment.folder), options, SilentNarrator(), self.run.device, update=True
        )
        nested.pool = self.run.pool
        nested.folder.write_options(options)
        _lend(self.run.folder, nested.folder, "scan")
        return nested


def adopt(run: Run, training: Path) -> None:
    """Make the last selection of a training the run's own, for its report, exports and extensions.

    Args:
        run: whose folder gets the stages.
        training: the folder of a finished training that selected by embeddings.

    Raises:
        RunFolderError: the run has other stages of these names.
    """
    told = read_json(training / "result.json")["selections"]
    nested = RunFolder(training / "selections" / str(told[-1]["number"]))
    for stage in ("embed", "embed-classes", "classes", "select"):
        if (record := nested.records().get(stage)) is None:
            continue
        run.folder.refuse_other(stage, record.fingerprint, update=run.update)
        seconds = sum(one["stages"][stage] for one in told)
        _lend(nested, run.folder, stage, seconds)


# Files of a stage that its record does not name.
_BESIDE = {"select": ("ranking.npy", "rule.npz")}


def _lend(source: RunFolder, target: RunFolder, stage: str, seconds: float = 0.0) -> None:
    """A finished stage of one folder as that of another, without a second copy of its files."""
    record = source.records()[stage]
    if target.is_finished(stage, record.fingerprint):
        return
    for name in (*record.files, *_BESIDE.get(stage, ())):
        if (source.path / name).exists():
            _link(source.path / name, target.path / name)
    facts = {name: value for name, value in record.facts.items() if name != "scan"}
    if stage != "scan":
        facts["scan"] = target.records()["scan"].fingerprint
    target.finish(stage, record.fingerprint, seconds, record.files, **facts)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or none that knows links
        shutil.copy2(source, target)


def _told(nested: Run) -> dict[str, Any]:
    """What a training tells of a selection."""
    facts = read_json(nested.folder.path / "selection.json")
    found = read_json(nested.folder.path / "classes.json")
    records = nested.folder.records()
    return {
        "objective": facts["objective"],
        "certificate": facts["certificate"],
        "n_classes": found["n_classes"],
        **({"agreement": found["agreement"]} if "agreement" in found else {}),
        "stages": {
            name: records[name].seconds
            for name in ("embed", "embed-classes", "classes", "select")
            if name in records
        },
    }
