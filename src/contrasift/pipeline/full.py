"""`contrasift run`: every stage in order."""

from __future__ import annotations

from typing import Any

from contrasift.pipeline import clustering, comparing, preparation, selecting
from contrasift.pipeline.comparing import Arm
from contrasift.pipeline.reporting import report
from contrasift.pipeline.run import Run
from contrasift.pipeline.summary import summarise


def run_all(run: Run) -> dict[str, Any]:
    """Embed, classify, select, train every arm, evaluate, report; returns the comparison."""
    from contrasift.selection.budget import resolve_budget

    preparation.scan(run)
    n = run.record("scan").facts["n"]
    select = run.options.select
    comparing.check_batch(run, resolve_budget(n, fraction=select.fraction, budget=select.budget))
    preparation.embed(run)
    clustering.classes(run)
    selecting.select(run)
    evaluated = comparing.can_evaluate(run)
    if not evaluated:
        run.narrator.say(
            "  note: the pool has no labels, so encoders are trained but not evaluated"
        )
    for arm in comparing.comparison_arms(run):
        comparing.train(run, arm)
        if evaluated:
            comparing.evaluate(run, arm)
    if evaluated:
        for seed in run.options.compare.training_seeds:
            comparing.evaluate(run, Arm("untrained", seed))
    preparation.make_map(run)
    summary = summarise(run)
    report(run)
    return summary
