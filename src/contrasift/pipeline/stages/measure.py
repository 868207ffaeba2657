"""The stage that measures what the ranking would reach at other fractions, for the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.fingerprints import fingerprint_of
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.store.atomic import load_array, write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import read_latent_classes

if TYPE_CHECKING:
    from contrasift.selection.diagnostics.curves import Curves

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
RANDOM_RANKINGS = 5
# Of examples with the members of their classes: seconds, at a million examples too.
_PAIRS = 200_000_000
_LEAST_ROWS, _MOST_ROWS = 256, 2000
_MEASURES = ("coverage", "centre", "nu_align", "nu_div")


def measure(run: Run) -> StageRecord:
    """Coverage and centre of the saved ranking at several fractions; measures.json.

    Both are similarities. The distances of the theory, ν_align and ν_div, are kept beside them.

    Raises:
        RunFolderError: nothing is selected yet.
        DataError: embeddings, classes or ranking are missing or do not belong together.
    """
    fingerprint = fingerprint_of(
        "measures",
        run.record("select").fingerprint,
        *map(str, (FRACTIONS, RANDOM_RANKINGS, _PAIRS)),
    )

    def work() -> dict[str, Any]:
        curves = ranking_curves(run, FRACTIONS, RANDOM_RANKINGS, run.options.select.seed)
        write_json(
            run.folder.path / "measures.json",
            {
                "fractions": curves.fractions,
                "budgets": curves.budgets,
                **{name: dataclasses.asdict(getattr(curves, name)) for name in _MEASURES},
                "rows": curves.rows,
                "whole": curves.whole,
                "random_rankings": curves.draws,
            },
        )
        return {"note": f"coverage and centre at {curves.budgets.size} fractions"}

    return run.do("measures", fingerprint, ["measures.json"], work)


def ranking_curves(
    run: Run, fractions: Iterable[float], draws: int, seed: int, sample: int | None = None
) -> Curves:
    """Coverage and centre of a run's ranking, at its own fraction too.

    Args:
        run: with a selection.
        fractions: where.
        draws: random selections that are measured beside.
        seed: of what is drawn.
        sample: examples that are measured over; None: see `rows_to_draw`.
    """
    from contrasift.selection.diagnostics.curves import coverage_and_centre_curve

    embeddings = load_embeddings(run.folder.path)
    labels = read_latent_classes(run.folder.path / "classes.parquet", embeddings.index)
    codes, _ = class_codes(labels, len(embeddings))
    ranking = load_array(run.folder.path / "ranking.npy", memory_map=False)
    own = run.record("select").facts["budget"] / len(embeddings)
    return coverage_and_centre_curve(
        np.asarray(embeddings.values, dtype=np.float32),
        np.searchsorted(embeddings.index, ranking).astype(np.int64),
        codes,
        # A selection without anything has no fraction of its own.
        sorted({*fractions, own} - {0.0}),
        sample=rows_to_draw(codes) if sample is None else sample,
        draws=draws,
        seed=seed,
    )


def rows_to_draw(codes: np.ndarray) -> int:
    """As many rows as comparisons with all members of their classes allow.

    Args:
        codes: int64 [n]; the class of every example.
    """
    sizes = np.bincount(codes).astype(np.float64)
    partners = float(sizes @ sizes) / max(1, codes.size)  # expected size of an example's class
    return int(np.clip(_PAIRS / max(1.0, partners), _LEAST_ROWS, _MOST_ROWS))
