"""Trainers take what was mined: the script of the documentation, a Torch loop, a plain loss."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import contrasift as cs
from contrasift.errors import DataError
from contrasift.negatives import InfoNCE, parse_policy
from contrasift.training.mined import MinedDataset, RankingLoss

GUIDE = Path(__file__).parents[2] / "docs" / "mining.md"


@pytest.fixture
def mined(rng):
    rows = rng.normal(size=(40, 8))
    return cs.mine(
        rows[:10],
        rows + 0.5 * rng.normal(size=rows.shape),
        np.arange(10),
        policy="all",
        per_query=3,
    )


def test_a_torch_data_set(mined):
    corpus = [f"document {row}" for row in range(40)]
    data = MinedDataset(mined, [f"query {row}" for row in range(10)], corpus)
    assert len(data) == 10
    query, positive, negatives = data[4]
    assert (query, positive) == ("query 4", "document 4")
    assert negatives == [corpus[row] for row in mined.negatives[4]]
    with pytest.raises(DataError, match="the 10 queries that were mined"):
        MinedDataset(mined, corpus, corpus)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 4)

    def forward(self, features):
        return {"sentence_embedding": self.layer(features["rows"])}


def test_a_ranking_loss_in_chunks():
    drawn = torch.Generator().manual_seed(0)
    features = [{"rows": torch.randn(6, 5, generator=drawn)} for _ in range(4)]
    loss, found = InfoNCE(0.05, parse_policy("~above(0.99)"), symmetric=False), []
    for size in (None, 2):
        model = Model()
        made = RankingLoss(model, loss, size)
        made(features, None).backward()
        found.append(model.layer.weight.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)
    assert made.get_config_dict()["negatives"] == "~above(0.99)"


def tiny_model(place: str) -> None:
    """A static table of ten words, as a model of sentence-transformers on disk."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["?", *"abcdefghi"])}
    tokenizer = Tokenizer(models.WordLevel(words, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(
        place
    )


def test_the_guide_s_trainer_runs():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate")
    lines = [
        {"anchor": a, "positive": f"{a} b", "negative_1": "c d", "negative_2": "e f"}
        for a in "abcdefgh"
    ]
    Path("train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        tiny_model("tiny")
        (script,) = re.findall(r"```py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        exec(
            compile(
                script.replace("sentence-transformers/all-MiniLM-L6-v2", "tiny"), "guide", "exec"
            ),
            {},
        )
    assert Path("trained").is_dir()
