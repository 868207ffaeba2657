"""`contrasift run`: every stage in order."""

from __future__ import annotations

from typing import Any

from contrasift.errors import UsageError
from contrasift.pipeline.arms import comparison_arms
from contrasift.pipeline.beforehand import check_read_run, check_run
from contrasift.pipeline.run import Run
from contrasift.pipeline.side_by_side import train_and_evaluate
from contrasift.pipeline.stages.batch import check_batch
from contrasift.pipeline.stages.classes import classes
from contrasift.pipeline.stages.embed import embed
from contrasift.pipeline.stages.evaluate import evaluate, why_not_evaluated
from contrasift.pipeline.stages.map import make_map
from contrasift.pipeline.stages.report import report
from contrasift.pipeline.stages.scan import readable_positions, scan
from contrasift.pipeline.stages.select import select
from contrasift.pipeline.stages.summary import summarise
from contrasift.pipeline.stages.train import compares_classes
from contrasift.pipeline.stages.within import adopt, check_switch
from contrasift.store.arms import Arm


def run_all(run: Run) -> dict[str, Any]:
    """Embed, classify, select, train every arm, evaluate, report; returns the comparison."""
    from contrasift.selection.budget import resolve_budget

    check_run(run)
    scan(run)
    n = run.record("scan").facts["n"]
    options = run.options.select
    check_switch(run.options, n)
    within = run.options.switch.select_after is not None
    if within and compares_classes(run.options.train):
        raise UsageError(
            "negatives that need no latent classes for select_after=, which finds them on the way",
            f"negatives={run.options.train.negatives!r}",
            "Leave select_after= away, or compare labels: same_class",
        )
    if not within:
        check_batch(run, resolve_budget(n, fraction=options.fraction, budget=options.budget))
    readable = readable_positions(run)
    check_read_run(run, run.pool.index[readable])
    reason = why_not_evaluated(run.pool, readable)
    evaluated = not reason
    if reason:
        run.narrator.say(f"  note: {reason}, so encoders are trained but not evaluated")
    arms = comparison_arms(run)
    if within:
        # Its last selection becomes the run's own; the others need nothing of it.
        train_and_evaluate(run, arms[:1], evaluated=evaluated)
        if options.objective != "random":
            adopt(run, run.folder.path / "training" / arms[0].name)
        train_and_evaluate(run, arms[1:], evaluated=evaluated)
    else:
        train_and_evaluate(run, arms, evaluated=evaluated, before=lambda: _choose(run))
    if evaluated:
        evaluate(run, Arm("untrained", run.options.compare.first_seed))
    if "classes" in run.folder.records():
        make_map(run)
    summary = summarise(run)
    report(run)
    return summary


def _choose(run: Run) -> None:
    for stage in (embed, classes, select):
        stage(run)
