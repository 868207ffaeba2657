"""Results as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from contrasift.cli.console import plain_console, plain_table, print_json
from contrasift.narration import NO_NUMBER, shown

_NAMES = {"random-per-class": "random per class", "full": "full pool"}


def show_comparison(summary: Mapping[str, Any], folder: Path, *, as_json: bool = False) -> None:
    """The table of what each subset is worth and costs."""
    report = folder / "report.html"
    if as_json:
        print_json({**summary, "report": str(report)})
        return
    from contrasift.report.verdict import verdict

    console = Console(soft_wrap=False, highlight=False, emoji=False)
    for sentence in verdict(summary):
        console.print(sentence)
    table = plain_table(  # fits 80 columns
        *("trained on", "examples", "steps", *_judges(summary), "seconds*"),
        title=f"What the selection is worth (equal {summary['match']})",
    )
    for row in summary["table"]:
        table.add_row(
            _name(row["subset"]),
            shown(row["examples"] or None),
            shown(row["steps"] or None),
            *(_accuracy(row.get(metric)) for metric in _JUDGES),
            shown(row["seconds"] or None, ",.1f"),
        )
    console.print(table)
    console.print(
        "Accuracy on held-out data in %, mean ± standard error over seeds: 200 nearest\n"
        "neighbours, linear probes with few labels a class and with all.\n"
        "* Of one training, with the proxy, embedding, classes and selection it needed."
    )
    for reading in summary.get("other_readings", ()):
        _show_reading(console, summary, reading)
    console.print(_payback(summary))
    if report.exists():
        console.print(f"report: {report}")


def _name(subset: str) -> str:
    if subset.startswith("top-"):
        return f"first {float(subset.removeprefix('top-')):.4g} of ranking"
    return _NAMES.get(subset, subset)


_JUDGES = ("knn", "few_labels", "linear")


def _judges(summary: Mapping[str, Any]) -> tuple[str, ...]:
    return ("kNN", f"{summary.get('labels_per_class', 10)} labels", "linear")


_LAYERS = {"backbone": "before the projection head", "head": "after the projection head"}
_PROBES = {"logistic": "logistic regression", "sgd": "MoCo's SGD protocol"}


def _show_reading(console: Console, summary: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
    """The accuracies at another layer, or by another probe."""
    console.print(f"{_LAYERS[reading['layer']].capitalize()}, {_PROBES[reading['probe']]}:")
    table = plain_table("trained on", *_judges(summary))
    for row in reading["table"]:
        accuracies = (_accuracy(row.get(metric)) for metric in _JUDGES)
        table.add_row(_name(row["subset"]), *accuracies)
    console.print(table)


def show_accuracies(source: str, results: Mapping[str, Any]) -> None:
    """What one encoder from elsewhere is worth, by layer."""
    table = Table(title=source, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("layer", "", "top-1", "top-5"):
        table.add_column(name, justify="right" if name.startswith("top") else "left")
    titles = {"knn": "kNN", "few_labels": "few labels", "linear": "linear"}
    for layer, result in results.items():
        for metric, title in titles.items():
            top5 = result.details["top5"][metric]
            table.add_row(
                layer,
                title,
                f"{100 * getattr(result, metric):.1f}",
                shown(None if top5 is None else 100 * top5, ".1f"),
            )
    console = plain_console()
    console.print(table)
    console.print("Accuracy on held-out data in %; top-5 with more than five classes.")


def _accuracy(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return NO_NUMBER
    error = result["standard_error"]
    return f"{100 * result['mean']:.1f}" + (f" ±{100 * error:.1f}" if error is not None else "")


def _payback(summary: Mapping[str, Any]) -> str:
    from contrasift.report.verdict import judges_that_gain, without_selecting

    if without := without_selecting(summary):
        return without
    saved = summary.get("saved_per_training_seconds")
    if summary["match"] != "epochs" or not judges_that_gain(summary):
        return f"Choosing took {summary['selection_seconds']:,.1f} s."
    if saved is None:
        return "No training on the full pool to compare with, so no time saved can be stated."
    cost = summary["selection_seconds"]
    if saved <= 0:
        return f"Choosing took {cost:,.1f} s; a training on the selection saves no time against the full pool."
    count = summary["trainings_to_pay_back"]
    return (
        f"Choosing took {cost:,.1f} s; each training on the selection saves {saved:,.1f} s: "
        f"it has paid for itself after {count} training{'s' if count != 1 else ''}."
    )


def show_pools(*, as_json: bool = False) -> None:
    """The named pools."""
    from contrasift.pools import named_pools

    pools = named_pools()
    if as_json:
        rows = {
            pool.name: {
                "here": pool.available,
                "what_it_is": pool.description,
                "how_to_get_it": pool.how_to_get_it,
            }
            for pool in pools
        }
        print_json(rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), highlight=False)
    for name in ("name", "here", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for pool in pools:
        table.add_row(pool.name, "yes" if pool.available else "no", pool.description)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(table)
    missing = [pool for pool in pools if not pool.available]
    if missing:
        console.print("\nHow to get the others:")
    for pool in missing:
        console.print(f"- {pool.name}: {pool.how_to_get_it}", markup=False)
