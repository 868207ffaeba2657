"""How long cells will take, before they are begun."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import UsageError
from contrasift.options import TrainOptions
from contrasift.pipeline.stages.proxy import proxy_options
from contrasift.pools import Pool
from reproduce.artifacts import schedule
from reproduce.cell import Cell

# Of what is no training: embedding, classes, selection, evaluation.
_EVALUATION_SECONDS = 12.0
_CHOOSING_SECONDS = 15.0
_CALIBRATION_STEPS = 6
# Of other methods and arms, where only one was measured: forward and backward passes of an image.
_COST = {
    "simclr": 1.0,
    "moco": 1.1,
    "byol": 1.35,
    "simsiam": 1.1,
    "barlowtwins": 1.0,
    "vicreg": 1.0,
}
# A supervised training, which has one view and reads every image once more at an epoch's end.
_SUPERVISED = 0.8


class Rates:
    """Seconds an image takes in an epoch, by architecture, image size and method.

    Attributes:
        known: seconds of one image in one epoch, by (architecture, side, method).
    """

    def __init__(self, finished: Iterable[Mapping[str, Any]], processor: str) -> None:
        """Take the means over finished cells on the same processor."""
        sums: dict[tuple[str, int, str], tuple[float, int]] = {}
        for record in finished:
            facts, train = record["facts"], record["options"]["train"]
            if record["made_with"]["processor"] != processor or not facts.get("image_epochs"):
                continue
            name = (train["architecture"], int(facts["image_size"]), train["method"])
            seconds, images = sums.get(name, (0.0, 0))
            seconds += float(record["parts"]["train"]["seconds"])
            sums[name] = (seconds, images + int(facts["image_epochs"]))
        self.known = {name: seconds / images for name, (seconds, images) in sums.items()}

    def of(self, options: TrainOptions, pool: Pool, device: str = "auto") -> float:
        """Seconds of an image in an epoch; measured in a few steps where nothing is known."""
        name = (options.architecture, pool.image_size, options.method)
        if name not in self.known:
            like = {key: rate for key, rate in self.known.items() if key[:2] == name[:2]}
            if like:
                other, rate = next(iter(like.items()))
                self.known[name] = rate * _COST[options.method] / _COST[other[2]]
            else:
                self.known[name] = _measured(options, pool, device)
        return self.known[name]


def _measured(options: TrainOptions, pool: Pool, device: str) -> float:
    """Train for a few steps."""
    from contrasift.training.pretrain import pretrain

    steps = _CALIBRATION_STEPS
    batch = min(options.batch_size, len(pool))
    positions = np.arange(min(len(pool), steps * batch))

    def seconds(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return pretrain(
                pool,
                positions,
                options,
                seed=0,
                folder=Path(folder),
                device=device,
                progress=False,
                max_steps=count,
            ).seconds

    seconds(1)  # what is done once: code that is compiled, memory that is taken
    return seconds(steps) / (steps * batch)


def estimate(
    cells: Sequence[Cell], pool_of: Any, rates: Rates, device: str = "auto"
) -> dict[str, float]:
    """Seconds by cell key, each shared part counted with the first cell that needs it.

    Args:
        cells: in the order in which they are done.
        pool_of: a cell's pool.
        rates: what is known.
        device: where networks run.
    """
    made: set[str] = set()
    result: dict[str, float] = {}
    for cell in cells:
        if cell.key in result:
            continue
        pool = pool_of(cell)
        n = len(pool)
        total = _EVALUATION_SECONDS * n / 10_000
        if cell.arm.trained:
            whole = cell.options.select.fraction == 1 or cell.switches
            count = n if whole else _budget(cell, n)
            options, max_steps = schedule(cell, count, n)
            images = max_steps * options.batch_size if max_steps else options.epochs * count
            total += images * rates.of(options, pool, device)
        if cell.needs_dynamics:
            scored, options = cell.dynamics, cell.options.train
            name = f"{scored.as_dict()} {pool.fingerprint}"
            if name not in made:
                made.add(name)
                options = dataclasses.replace(options, architecture=scored.architecture)
                images = scored.seeds * scored.epochs * n
                total += _SUPERVISED * images * rates.of(options, pool, device)
        if cell.needs_proxy:
            total += _CHOOSING_SECONDS * n / 10_000
            proxy = proxy_options(cell.options)
            embed, epochs = cell.options.embed, cell.proxy_epochs
            name = f"{proxy.method} {proxy.architecture} {epochs} {embed.seed} {pool.fingerprint}"
            if embed.encoder == "proxy" and name not in made:
                made.add(name)
                total += epochs * n * rates.of(proxy, pool, device)
        result[cell.key] = total
    return result


def _budget(cell: Cell, n: int) -> int:
    from contrasift.selection.budget import resolve_budget

    select = cell.options.select
    return resolve_budget(n, fraction=select.fraction, budget=select.budget)


def refuse_above(seconds: float, hours: float) -> None:
    """Stop before more is begun than was allowed.

    Raises:
        UsageError: it will take longer.
    """
    if seconds > 3600 * hours:
        raise UsageError(
            f"work of at most {hours:g} h (--budget)",
            f"about {seconds / 3600:.1f} h",
            f"Pass --budget {seconds / 3600 * 1.2:.1f}, fewer --seeds, or --only an arm or setting; "
            "finished cells are not done again",
        )
