"""What a selection of WordNet's definitions keeps and leaves out: a table for the documentation.

Of three classes the first ten chosen and the last ten of the ranking, by name.

Run: python benchmarks/embed_wordnet.py wordnet/
     contrasift select wordnet/glosses.npy --fraction 0.2 --out wordnet/chosen
     python benchmarks/wordnet_table.py wordnet/
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

RESULT = Path(__file__).parent / "results" / "wordnet.md"
CLASSES = (3, 40, 150)
SHOWN = 10


def table(folder: Path) -> str:
    """Markdown: a row for each class, and the shares of definitions that repeat another."""
    chosen = pq.read_table(folder / "chosen" / "selection.parquet")
    glosses = pq.read_table(folder / "glosses.parquet")["gloss"].to_pylist()
    lines = ["| class | rows | first chosen | last ranked |", "|---|---|---|---|"]
    for number in CLASSES:
        own = chosen.filter(np.asarray(chosen["latent_class"]) == number).sort_by("rank")
        names = [str(name).replace("_", " ") for name in own["id"].to_pylist()]
        first, last = ", ".join(names[:SHOWN]), ", ".join(names[-SHOWN:])
        lines.append(f"| {number} | {own.num_rows:,} | {first} | {last} |")
    kept = [glosses[row] for row in chosen.filter(chosen["selected"])["index"].to_pylist()]
    lines += [
        "",
        f"Definitions that repeat another word for word: {repeated(glosses):.1%} of all, "
        f"{repeated(kept):.1%} of the chosen.",
    ]
    return "\n".join(lines) + "\n"


def repeated(texts: list[str]) -> float:
    """Share of texts that are there before."""
    return 1 - len(set(texts)) / len(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    RESULT.write_text(table(parser.parse_args().folder), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
