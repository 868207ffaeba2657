"""Mined negatives in anybody's training loop: a Torch data set, and a loss for sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from contrasift.errors import DataError
from contrasift.mining import Mined
from contrasift.negatives.chunks import in_chunks
from contrasift.negatives.losses import ContrastiveLoss


class MinedDataset(Dataset[tuple[Any, Any, list[Any]]]):
    """(query, positive, negatives) for each pair of a query that was kept, in the order of queries.

    Args:
        mined: what `contrasift.mine` gave.
        queries: whatever has an item for each query: texts, a data set, a matrix.
        corpus: likewise.

    Raises:
        DataError: no query was kept, or another number of queries.
    """

    def __init__(self, mined: Mined, queries: Any, corpus: Any) -> None:
        if len(queries) != mined.kept.size:
            raise DataError(f"the {mined.kept.size:,} queries that were mined", f"{len(queries):,}")
        pairs = np.stack([mined.positives.numbers, mined.positives.rows], axis=1)
        self.pairs: np.ndarray = pairs[mined.kept[pairs[:, 0]]]
        if not len(self.pairs):
            raise DataError("queries with negatives", "none")
        self.mined: Mined = mined
        self.queries: Any = queries
        self.corpus: Any = corpus

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> tuple[Any, Any, list[Any]]:
        query, positive = (int(row) for row in self.pairs[number])
        rows = self.mined.negatives[query]
        negatives = [self.corpus[int(row)] for row in rows[rows >= 0]]
        return self.queries[query], self.corpus[positive], negatives


class RankingLoss(nn.Module):
    """A loss of `contrasift.negatives` where sentence-transformers takes MultipleNegativesRankingLoss.

    The columns of the data are anchor, positive, and any negatives; every anchor is compared with
    all positives and negatives of the batch, as there. With InfoNCE(0.05, symmetric=False) it is
    that loss at its scale of 20; a policy says which of the negatives count.

    Args:
        model: a SentenceTransformer, or whatever gives `sentence_embedding` for features.
        loss: `InfoNCE(0.05, negatives=policy, symmetric=False)`, say.
        size: texts that are encoded at a time; None: a whole column. See `in_chunks`.
    """

    def __init__(self, model: nn.Module, loss: ContrastiveLoss, size: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.size = size

    def forward(self, sentence_features: Any, labels: Tensor | None = None) -> Tensor:
        """The loss of one batch; labels are not looked at."""
        anchor, positive, *others = (self._encoded(part) for part in sentence_features)
        return self.loss(anchor, positive, mined=torch.cat(others) if others else None)

    def _encoded(self, features: Any) -> Tensor:
        def encode(part: Any) -> Tensor:
            return self.model(dict(part))["sentence_embedding"]

        # Texts that lie flat in one row of tokens, as those of static embeddings, have no chunks.
        flat = any(isinstance(one, Tensor) and one.ndim < 2 for one in features.values())
        if self.size is None or flat:
            return encode(features)
        return in_chunks(encode, features, self.size)

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says of it."""
        policy = self.loss.negatives
        return {
            "loss": type(self.loss).__name__,
            "temperature": self.loss.temperature,
            "negatives": None if policy is None else policy.text,
        }
