"""A small text encoder from scratch, for `wordnet_negatives.py`: hashed words and letters, one network.

A text is a bag of its words, of neighbouring words, and of the groups of four letters in each word,
hashed to 65,536 rows of a table; their mean goes through a small network, one for glosses
and one for words. It is trained as people do it: first with the batch alone, on 40,000 pairs; then a little longer on
the pairs that negatives are mined for, by its own vectors. Latent classes are found in its own vectors
of the glosses (k-means, 240 classes).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

import contrasift as cs
from contrasift.negatives import InfoNCE
from wordnet_negatives import Kept, batches, measures, ranks_of

OWN = {"batch": 256, "epochs": 3, "temperature": 0.05, "rate": 5e-4}
WARM = {"pairs": 40_000, "batch": 512, "epochs": 6, "rate": 2e-3}
TABLE, WIDTH, CLASSES, TOGETHER = 1 << 16, 64, 240, 4_096
_WORD = re.compile(r"[a-z0-9]+")


def features(text: str) -> Iterator[str]:
    """Words, neighbouring words, and groups of letters."""
    words = _WORD.findall(text.lower())
    yield from words
    yield from map(" ".join, pairwise(words))
    for word in words:
        marked = f"<{word}>"
        yield from (marked[i : i + 4] for i in range(len(marked) - 3))


@dataclass(frozen=True)
class Bags:
    """Hashed features of texts, one after the other.

    Attributes:
        codes: int64 [m].
        starts: int64 [n + 1].
    """

    codes: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: list[str]) -> Bags:
        found = [[crc32(one.encode()) % TABLE for one in features(text)] or [0] for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(one) for one in found])])
        return cls(np.concatenate([np.array(one) for one in found]), starts)

    def take(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes and offsets, as EmbeddingBag takes them."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        places = np.repeat(self.starts[rows] - offsets, lengths) + np.arange(lengths.sum())
        return torch.from_numpy(self.codes[places]), torch.from_numpy(offsets)


class Network(nn.Module):
    """One table of features for both sides, and a small network for either."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(TABLE, WIDTH, mode="mean", sparse=True)
        nn.init.normal_(self.table.weight, std=WIDTH**-0.5)
        self.sides = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
            for _ in range(2)
        )

    def forward(self, side: int, bags: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        mean = self.table(*bags)
        return mean + self.sides[side](mean)


@dataclass
class OwnEncoder:
    """Warmed up for each seed once; see `Head` of `wordnet_negatives`, which has the same methods."""

    glosses: Bags
    words: Bags
    warm: np.ndarray
    kept: Kept
    settings: ClassVar[dict[str, Any]] = {
        **OWN,
        "warm": WARM,
        "table": TABLE,
        "width": WIDTH,
        "classes": CLASSES,
    }
    by_seed: ClassVar[bool] = True

    @classmethod
    def of(cls, given: argparse.Namespace) -> OwnEncoder:
        table = pq.read_table(given.folder / "glosses.parquet")
        glosses, words = (Bags.of(table[name].to_pylist()) for name in ("gloss", "words"))
        order = np.random.default_rng(0).permutation(len(table))[given.test :]
        return cls(glosses, words, order[: WARM["pairs"]], Kept(given.folder))

    @property
    def n(self) -> int:
        return self.words.starts.size - 1

    def _network(self, seed: int) -> Network:
        """After the batches alone."""
        path = self.kept.path(f"warm {seed}", [self.settings, int(self.warm[0])], ".pt")
        torch.manual_seed(seed)
        network = Network()
        if path.exists():
            network.load_state_dict(torch.load(path, weights_only=True))
            return network
        self._train(network, self.warm, None, WARM, seed)
        torch.save(network.state_dict(), path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        return network

    def _train(
        self,
        network: Network,
        rows: np.ndarray,
        negatives: np.ndarray | None,
        how: dict[str, float],
        seed: int,
    ) -> None:
        loss = InfoNCE(OWN["temperature"], symmetric=False)
        table, sides = network.table.parameters(), network.sides.parameters()
        steps = [
            torch.optim.SparseAdam(list(table), lr=how["rate"]),
            torch.optim.Adam(sides, lr=how["rate"]),
        ]
        for some in batches(len(rows), int(how["batch"]), int(how["epochs"]), seed):
            mined = None
            if negatives is not None:
                picked = negatives[some].ravel()
                mined = network(1, self.words.take(picked[picked >= 0]))
            query = network(0, self.glosses.take(rows[some]))
            value = loss(query, network(1, self.words.take(rows[some])), mined=mined)
            for step in steps:
                step.zero_grad()
            value.backward()
            for step in steps:
                step.step()

    def _vectors(self, network: Network) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            sides = [
                torch.cat([network(side, bags.take(some)) for some in self._parts()])
                for side, bags in enumerate((self.glosses, self.words))
            ]
        left, right = (nn.functional.normalize(one, dim=1).numpy() for one in sides)
        return left, right

    def _parts(self) -> list[np.ndarray]:
        return np.array_split(np.arange(self.n), self.n // TOGETHER + 1)

    def vectors(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """What negatives are mined by."""
        return self._vectors(self._network(seed))

    def latent_classes(self, seed: int) -> np.ndarray:
        """Of the glosses, by row."""
        return self.kept(
            f"classes {seed}", [self.settings, int(self.warm[0])], lambda: self._classes(seed)
        )

    def _classes(self, seed: int) -> np.ndarray:
        found = cs.latent_classes(
            self.vectors(seed)[0], method="kmeans", n_classes=CLASSES, restarts=1, seed=seed
        )
        return np.asarray(found.codes)

    def untrained(self, test: np.ndarray) -> dict[str, float]:
        """After the batches alone, the mean of three seeds."""
        found = [measures(ranks_of(*self.vectors(seed), test)) for seed in range(3)]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    def trained(
        self, rows: np.ndarray, negatives: np.ndarray | None, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """All glosses' and words' vectors after training."""
        network = self._network(seed)
        self._train(network, rows, negatives, OWN, seed + 1_000)
        return self._vectors(network)
