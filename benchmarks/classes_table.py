"""What every method of finding classes is worth on runs with labels: a table, and JSON.

For each run folder: agreement with labels that no method saw (but for the share that `few-labels`
and `propagate` are given), agreement between three seeds, and the overlap of the 20 % selection with
the one from the true labels. Selections are made from the first folder's embeddings, classes are
found in each folder's own, so heads, backbones and encoders of one pool can be held side by side.

Run: python benchmarks/classes_table.py RUN [RUN ...] [--json table.json] [--markdown table.md]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from contrasift import select
from contrasift.classes import class_stability, latent_classes, selection_overlap
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.results import Embeddings
from contrasift.store.tables import read_table


def methods(n_labels: int) -> dict[str, dict[str, Any]]:
    """The rows of the table."""
    wanted: dict[str, dict[str, Any]] = {}
    for k in (n_labels, 200):
        for whiten in (0, 64, 128):
            kind = f"k-means {k}, whitened to {whiten}" if whiten else f"k-means {k}"
            wanted[kind] = {"method": "kmeans", "n_classes": k, "whiten": whiten}
    wanted["k-means, number chosen, whitened to 128"] = {"method": "kmeans", "n_classes": "auto"}
    for whiten in (0, 64, 128):
        for kind in ("mutual", "union"):
            name = f"graph ({kind}), whitened to {whiten}" if whiten else f"graph ({kind})"
            wanted[name] = {"method": "graph", "graph": kind, "whiten": whiten}
    wanted["graph (union), resolution chosen"] = {"method": "graph", "resolution": None}
    for share in (0.01, 0.05):
        wanted[f"few labels, {share:.0%}"] = {"method": "few-labels", "label_share": share}
        wanted[f"propagated, {share:.0%}"] = {"method": "propagate", "label_share": share}
    return wanted


def measure(
    values: np.ndarray,
    labels: np.ndarray,
    selected_from: Embeddings,
    fraction: float,
    seeds: int,
    by_labels: np.ndarray,
    method: dict[str, Any],
) -> dict[str, Any]:
    """One row: found with each seed, held against labels and each other."""
    # Told to k-means, the labels would give away their number: it is always named or chosen here.
    begun = time.perf_counter()
    if method["method"] == "kmeans" and method["n_classes"] is None:
        raise SystemExit("k-means needs its number here")
    found = [latent_classes(values, labels=labels, seed=seed, **method) for seed in range(seeds)]
    seconds = (time.perf_counter() - begun) / seeds
    kept = [select(selected_from, one.codes, fraction=fraction).indices for one in found]
    agreements = [one.facts["agreement"] for one in found]
    return {
        "n_classes": len(found[0].names),
        **{
            name: float(np.mean([a[name] for a in agreements])) for name in ("nmi", "ari", "purity")
        },
        "stability": class_stability([one.codes for one in found])["ari"] if seeds > 1 else None,
        "selections_overlap": selection_overlap(kept) if seeds > 1 else None,
        "overlap_with_labels": float(np.mean([selection_overlap([k, by_labels]) for k in kept])),
        "heldout_accuracy": found[0].facts.get("heldout_accuracy"),
        "resolution": found[0].facts.get("resolution"),
        "seconds": seconds,
    }


def table_of(folders: list[Path], fraction: float, seeds: int, only: str) -> list[dict[str, Any]]:
    """All rows of all folders, printed as they come."""
    selected_from = load_embeddings(folders[0])
    rows = []
    for folder in folders:
        embeddings = load_embeddings(folder)
        examples = read_table(folder / "examples.parquet", "label", "row")
        names = examples["label"][examples["row"] >= 0].astype(str)
        labels = np.unique(names, return_inverse=True)[1].astype(np.int64)
        if len(embeddings) != len(selected_from):
            raise SystemExit(f"{folder} is of another pool than {folders[0]}")
        by_labels = select(selected_from, labels, fraction=fraction).indices
        for name, method in methods(int(labels.max()) + 1).items():
            if only not in name:
                continue
            row = measure(
                embeddings.values, labels, selected_from, fraction, seeds, by_labels, method
            )
            rows.append({"run": folder.name, "method": name, **row})
            print(line(rows[-1]), flush=True)
    return rows


HEAD = (
    "| embeddings | method | classes | NMI | ARI | purity | ARI between seeds "
    "| selections between seeds | selection with labels' | s |\n" + "|---" * 10 + "|"
)


def line(row: dict[str, Any]) -> str:
    """One row of the table in Markdown."""
    shown = [
        "–" if row[name] is None else f"{row[name]:.2f}"
        for name in (
            "nmi",
            "ari",
            "purity",
            "stability",
            "selections_overlap",
            "overlap_with_labels",
        )
    ]
    cells = [row["run"], row["method"], str(row["n_classes"]), *shown, f"{row['seconds']:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--fraction", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    print(HEAD)
    rows = table_of(given.runs, given.fraction, given.seeds, given.only)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        text = "\n".join([HEAD, *(line(row) for row in rows)])
        given.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
