"""What an encoder may be trained on: the names, files and shares that `--subset` takes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from contrasift.errors import UsageError
from contrasift.fingerprints import array_sha256
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.store.arms import ARMS, Arm
from contrasift.store.atomic import load_array
from contrasift.store.subsets import check_in_pool, load_subset_file
from contrasift.store.tables import positions_of, read_latent_classes, read_table

_TOP, _FILE = "top-", "file-"


def parse_arm(text: str, seed: int) -> Arm:
    """What `--subset` names.

    Args:
        text: a name of `ARMS`, a share of the ranking in (0, 1], or a file of pool indices.
        seed: of the training.

    Returns:
        The arm. The name of a file's arm holds a hash of the examples it lists, so that a list that
        was changed is another arm, and the same list in another format the same.

    Raises:
        UsageError: none of them, or a share outside (0, 1].
        DataError: a file that is no list of distinct indices.
    """
    if text in ARMS:
        return Arm(text, seed)
    share = _number(text)
    if share is not None and not Path(text).is_file():
        if not 0 < share <= 1:
            raise UsageError(
                "subset= as a share of the ranking in (0, 1]", text, "A fifth of it is 0.2"
            )
        return Arm(f"{_TOP}{share!r}", seed)
    path = Path(text)
    if not path.is_file():
        raise UsageError(
            f"subset= to be one of {', '.join(ARMS)}, a share of the ranking such as 0.1, or a file",
            text,
        )
    index = load_subset_file(path)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip(".-")[:40] or "list"
    digest = array_sha256(index)[:8]
    return Arm(f"{_FILE}{stem}-{digest}", seed, index)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def arm_upstream(run: Run, arm: Arm) -> str:
    """Fingerprint of what decides which examples the arm has."""
    scan = run.record("scan").fingerprint
    if arm.subset == "full":
        return scan
    if arm.listed is not None:
        return scan + array_sha256(arm.listed)
    return run.record("select").fingerprint


def arm_positions(run: Run, arm: Arm) -> np.ndarray:
    """Positions in the pool that this arm trains on, ascending.

    Raises:
        DataError: a list of one's own names examples that the pool lacks or that cannot be read.
    """
    everything = readable_positions(run)
    if arm.subset == "full":
        return everything
    if arm.listed is not None:
        check_in_pool(arm.listed, run.pool.index[everything], arm.subset)
        return positions_of(arm.listed, run.pool.index)
    if arm.subset == "selected":
        table = read_table(run.folder.path / "selection.parquet", "index", "selected")
        return positions_of(np.sort(table["index"][table["selected"]]), run.pool.index)
    if arm.subset.startswith(_TOP):
        from contrasift.selection.budget import resolve_budget

        ranking = load_array(run.folder.path / "ranking.npy")
        share = float(arm.subset.removeprefix(_TOP))
        kept = ranking[: resolve_budget(ranking.size, fraction=share)]
        return positions_of(np.sort(kept), run.pool.index)
    from contrasift.selection.baselines import random_order, random_per_class_order

    budget = run.record("select").facts["budget"]
    if arm.subset == "random":
        rows = random_order(everything.size, seed=arm.seed)[:budget]
    else:
        labels = read_latent_classes(
            run.folder.path / "classes.parquet", run.pool.index[everything]
        )
        rows = random_per_class_order(labels, seed=arm.seed)[:budget]
    return np.sort(everything[rows])


def comparison_arms(run: Run) -> list[Arm]:
    """Every training of `contrasift run`, seeds outermost so that early seeds finish first."""
    compare = run.options.compare
    return [Arm(subset, seed) for seed in compare.training_seeds for subset in compare.subsets]
