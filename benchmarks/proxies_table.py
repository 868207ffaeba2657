"""How good must a proxy be? What cheaper proxies select, beside the one trained to its end.

The reference is trained for all its epochs. Beside it: its own weights after 10 % and 30 % of them,
one half as wide, and, as the ceiling, the same training with another seed. Every stage is kept: the
same command goes on where it was.

    python benchmarks/proxies_table.py glyphs --limit 10000
    python benchmarks/proxies_table.py fashion-mnist --limit 10000

The table goes to benchmarks/results/proxies-NAME.md, all numbers to proxies-NAME.json, and rank
against rank beside the work to ranks.html.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.cli.common import How
from contrasift.options import (
    ClassesOptions,
    EmbedOptions,
    PoolOptions,
    RunOptions,
    SelectOptions,
    TrainOptions,
)
from contrasift.pipeline.stages import classes as clustering
from contrasift.pipeline.stages import select as selecting
from contrasift.pipeline.stages.scan import scan
from contrasift.pipeline.studies.compare_runs import (
    ComparedRun,
    compare_runs,
    comparison_figures,
    overlap,
    rank_agreement,
    read_run,
)
from contrasift.report.figures import write_figures
from contrasift.selection.select import select
from contrasift.store.atomic import write_json, write_text
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Make the runs, compare them, write the table."""
    arguments = parse_arguments()
    name = arguments.pool.partition(":")[0]
    work = arguments.work or Path("runs") / f"proxies-{name}"
    folders = make_runs(arguments, work)
    runs = {title: read_run(folder) for title, folder in folders.items()}
    reference, *others = runs.values()
    found = [compare_runs(reference, other) for other in others]
    write_figures(
        work / "ranks.html", f"Proxies on {name}", comparison_figures([reference, *others], found)
    )
    by_labels = within_labels(runs, arguments.fraction)
    result = {
        "pool": arguments.pool,
        "examples": reference.embeddings.shape[0],
        "fraction": arguments.fraction,
        "epochs": arguments.epochs,
        "runs": {
            title: {**run.describe(), "seconds_of_training": seconds(folders[title])}
            for title, run in runs.items()
        },
        "own_classes": dict(zip(list(runs)[1:], found, strict=True)),
        "labels_as_classes": by_labels,
    }
    # Where the work lay is nobody's business.
    result = json.loads(json.dumps(result).replace(f"{work}/", ""))
    for path in (work / "proxies", arguments.results / f"proxies-{name}"):
        write_json(path.with_suffix(".json"), result)
        write_text(path.with_suffix(".md"), table(result))
    print(table(result))


def parse_arguments() -> argparse.Namespace:
    """Which pool, how many images, how long."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pool")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--fraction", type=float, default=0.2)
    parser.add_argument("--architecture", default="narrow")
    parser.add_argument("--narrower", default="narrow:0.5", help="The one half as wide.")
    parser.add_argument("--work", type=Path, help="Run folders. [default: runs/proxies-POOL]")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def make_runs(arguments: argparse.Namespace, work: Path) -> dict[str, Path]:
    """Train, embed, find classes, select; the first is the reference."""
    epochs = arguments.epochs
    shares = {share: max(1, round(share * epochs)) for share in (0.1, 0.3)}
    keep = ",".join(str(epoch) for epoch in sorted(set(shares.values())))
    full = work / "full"

    def make(folder: Path, architecture: str = arguments.architecture, **embed: Any) -> Path:
        options = RunOptions(
            pool=PoolOptions(pool=arguments.pool, limit=arguments.limit),
            embed=EmbedOptions(proxy_epochs=epochs, **embed),
            classes=ClassesOptions(stability=0),
            select=SelectOptions(fraction=arguments.fraction),
            train=TrainOptions(architecture=architecture, epochs=epochs, keep_epochs=keep),
        )
        with How().new_run(folder, options) as run:
            stages: list[Callable[[Any], Any]] = [scan, embed]
            for stage in (*stages, clustering.classes, selecting.select):
                stage(run)
        return folder

    found = {f"{arguments.architecture}, all {epochs} epochs": make(full)}
    for share, epoch in reversed(shares.items()):
        title = f"its weights after {share:.0%} ({epoch} of {epochs} epochs)"
        found[title] = make(work / f"epoch-{epoch}", encoder=f"{full}@epoch={epoch}")
    found[f"{arguments.narrower}, all epochs"] = make(work / "narrower", arguments.narrower)
    found[f"{arguments.architecture}, another seed"] = make(work / "other-seed", seed=1)
    return found


def within_labels(runs: dict[str, ComparedRun], fraction: float) -> dict[str, dict[str, Any]]:
    """The same with the pool's labels as classes, so that only similarities differ."""
    reference = next(iter(runs.values()))
    labels = read_table(reference.path / "examples.parquet", "label", "row")
    labels = labels["label"][labels["row"] >= 0]
    if any(label is None for label in labels):
        return {}
    codes = np.unique(labels.astype(str), return_inverse=True)[1]
    chosen = {
        title: select(np.asarray(run.embeddings), codes, fraction=fraction)
        for title, run in runs.items()
    }
    masks = {title: np.isin(np.arange(codes.size), one.indices) for title, one in chosen.items()}
    ranks = {title: np.argsort(one.ranking) for title, one in chosen.items()}
    first, *others = chosen
    return {
        title: {
            "ranks": rank_agreement(ranks[first], ranks[title], codes),
            "overlap": overlap(masks[first], masks[title], codes),
        }
        for title in others
    }


def seconds(folder: Path) -> float | None:
    """What the proxy's training took; None for one that was taken from another run."""
    record = RunFolder(folder).records().get("proxy")
    return None if record is None else record.seconds


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    head = (
        f"Proxies on {result['pool']}, {result['examples']:,} images, selections of "
        f"{result['fraction']:.0%}, each beside the proxy trained to its end.\n\n"
        "| proxy | similarities within classes, r | classes, ARI | ranks within classes, ρ | "
        "overlap | by chance | overlap, labels as classes | ranks, labels as classes, ρ |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    rows = []
    for title, found in result["own_classes"].items():
        given = result["labels_as_classes"].get(title)
        cells = [
            number(found["similarities"]["pearson_within"]),
            number(found["classes"]["ari"]),
            number(found["ranks"]["spearman_within"]),
            percent(found["overlap"]["share"]),
            percent(found["overlap"]["chance_within"]),
            percent(given["overlap"]["share"]) if given else "–",
            number(given["ranks"]["spearman_within"]) if given else "–",
        ]
        rows.append(f"| {title} | {' | '.join(cells)} |")
    return head + "\n".join(rows) + "\n"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    main()
