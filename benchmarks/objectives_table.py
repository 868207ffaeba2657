"""What every objective keeps of one pool: all of them, then `compare-selections` over them.

    python benchmarks/objectives_table.py runs/fashion --scores runs/fashion/scores.parquet \\
        --scores-column forgetting_events

The run needs embeddings and classes; it is read, never written. Selections that are there already
are not made again. The tables go to benchmarks/results/objectives-NAME.md, all numbers to
objectives-NAME.json, and the plot to the folder of the selections.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contrasift.catalogue import OBJECTIVES
from contrasift.pipeline.studies.compare_selections import compare_selections
from contrasift.store.atomic import read_json

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--fraction", type=float, default=0.2)
    parser.add_argument("--scores", type=Path, help="for the objective scores; else it is left out")
    parser.add_argument("--scores-column", default="")
    parser.add_argument("--work", type=Path, help="[default: RUN-objectives]")
    given = parser.parse_args()
    work = given.work or given.run.with_name(given.run.name + "-objectives")
    folders = [choose(given, name, work / name) for name in OBJECTIVES if usable(given, name)]
    found = compare_selections(
        folders,
        embeddings=given.run,
        classes=given.run / "classes.parquet",
        whole=True,
        out=work,
    )
    found["seconds"] = {
        path.name: read_json(path / "selection.json")["seconds"] for path in folders
    }
    found["made_by"] = {
        "run": given.run.name,
        "fraction": given.fraction,
        "commit": commit(),
        "python": platform.python_version(),
        "contrasift": version("contrasift"),
        "numpy": version("numpy"),
    }
    name = f"objectives-{given.run.name}"
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(markdown(found))
    print(RESULTS / f"{name}.md")


def usable(given: argparse.Namespace, name: str) -> bool:
    needs = OBJECTIVES[name].needs
    return "target" not in needs and (given.scores is not None or "scores" not in needs)


def choose(given: argparse.Namespace, name: str, out: Path) -> Path:
    if not (out / "selection.json").exists():
        arguments = ["select", str(given.run), "--objective", name]
        arguments += ["--fraction", str(given.fraction), "--out", str(out), "--quiet"]
        if "scores" in OBJECTIVES[name].needs:
            arguments += ["--scores", str(given.scores), "--scores-column", given.scores_column]
        subprocess.run([sys.executable, "-m", "contrasift", *arguments], check=True)
    return out


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


def markdown(found: dict[str, Any]) -> str:
    made = found["made_by"]
    lines = [
        f"# Every objective on {made['run']}, {made['fraction']:.0%}",
        "",
        f"F at λ = {found['redundancy']:g} for all, as the share of what was possible over random; "
        "coverage: mean similarity to the nearest kept example of the class; centre: mean "
        "similarity to all kept ones; gap: ‖μ − μ_S‖; off: total variation from proportional.",
        "",
        "| objective | kept | F share | coverage | centre | gap | classes off | labels off | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["selections"]:
        share = row["share_over_random"]
        lines.append(
            f"| {row['name']} | {row['kept']:,} | {'–' if share is None else f'{share:.1%}'} "
            f"| {row['coverage']:.4f} | {row['centre']:.4f} | {row['herding_gap']:.4f} "
            f"| {row['classes']['total_variation']:.1%} | {label_balance(row)} "
            f"| {found['seconds'][row['name']]:.2f} |"
        )
    names = [row["name"] for row in found["selections"]]
    lines += ["", "Shared examples, of the smaller selection; 20 % by chance:", ""]
    lines += ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    shared = {(p["first"], p["second"]): p["share"] for p in found["pairs"]}
    for first in names:
        cells = [
            f"{shared.get((first, second), shared.get((second, first), 1.0)):.0%}"
            for second in names
        ]
        lines.append(f"| {first} | " + " | ".join(cells) + " |")
    lines += ["", f"Commit {made['commit']}, Python {made['python']}, NumPy {made['numpy']}.", ""]
    return "\n".join(lines)


def label_balance(row: dict[str, Any]) -> str:
    return f"{row['labels']['total_variation']:.1%}" if "labels" in row else "–"


if __name__ == "__main__":
    main()
