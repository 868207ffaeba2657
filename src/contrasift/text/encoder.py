"""SimCLR on words: the mean of learned word vectors, and a projection head."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.narration import Progress
from contrasift.negatives import InfoNCE
from contrasift.store.atomic import atomic_path
from contrasift.text.collection import Texts
from contrasift.text.options import TextOptions
from contrasift.text.views import Bags, WordChanges, join_texts, word_views
from contrasift.text.words import (
    Vocabulary,
    build_vocabulary,
    cooccurrence_vectors,
    near_words,
    read_word_vectors,
)
from contrasift.training.batches import epoch_order
from contrasift.training.method import learning_rate_factor

_METADATA_KEY = "contrasift.words"
# Views for embedding must not repeat those of any epoch of training.
_EMBEDDING_EPOCH = -1
_BATCH = 1024


class WordEncoder(nn.Module):
    """Texts to vectors: the mean of their words' vectors (Joulin et al., arXiv 1607.01759), a head.

    Attributes:
        words: one vector a word.
        head: features to the space of the contrastive loss.
    """

    def __init__(self, size: int, dim: int, projection_dim: int):
        super().__init__()
        self.words: nn.EmbeddingBag = nn.EmbeddingBag(size, dim, mode="mean")
        self.head: nn.Sequential = nn.Sequential(
            nn.Linear(dim, dim, bias=False),
            nn.BatchNorm1d(dim),
            nn.ReLU(inplace=True),
            nn.Linear(dim, projection_dim),
        )

    def features(self, bags: Bags) -> torch.Tensor:
        """Means of word vectors, [b, dim]."""
        return self.words(torch.from_numpy(bags.words), torch.from_numpy(bags.starts))

    def forward(self, bags: Bags) -> torch.Tensor:
        """The head's output, [b, projection_dim]."""
        return self.head(self.features(bags))


@dataclass(frozen=True)
class TrainedWords:
    """An encoder of texts with all that it needs.

    Attributes:
        encoder: in evaluation mode.
        vocabulary: the words it knows.
        changes: the views it was trained with.
        losses: mean loss of every epoch.
    """

    encoder: WordEncoder
    vocabulary: Vocabulary
    changes: WordChanges
    losses: tuple[float, ...]

    def documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Texts as numbers of words."""
        return [self.vocabulary.encode(text) for text in texts]

    def features(self, texts: Sequence[str], layer: str = "backbone") -> Float32[np.ndarray, "n d"]:
        """What the encoder says of the texts as they are, not normalised.

        Raises:
            UsageError: a layer that is neither `backbone` nor `head`.
        """
        documents = self.documents(texts)
        return self._encode([join_texts(part) for part in _batches(documents)], layer)

    def views(self, texts: Texts, count: int, seed: int, layer: str = "head") -> np.ndarray:
        """Unit features of several random views of every text, float32 [n, count, d]."""
        documents = self.documents(texts.texts)
        places = _batches(np.arange(len(documents)))
        views = []
        for view in range(count):
            bags = [
                word_views(
                    [documents[place] for place in part],
                    texts.index[part],
                    view,
                    self.changes,
                    seed=seed,
                    epoch=_EMBEDDING_EPOCH,
                )
                for part in places
            ]
            rows = self._encode(bags, layer)
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            if (norms == 0).any():
                bad = texts.index[np.flatnonzero(norms[:, 0] == 0)[0]]
                raise DataError("an embedding with a direction", f"zero for text {bad}")
            views.append(rows / norms)
        return np.stack(views, axis=1)

    def embed(self, texts: Texts, count: int, seed: int) -> Float32[np.ndarray, "n d"]:
        """Means of unit views, (1/m) Σ_v f(view_v)/‖f(view_v)‖: what `contrasift select` takes."""
        return self.views(texts, count, seed).mean(axis=1)

    def _encode(self, bags: Sequence[Bags], layer: str) -> np.ndarray:
        if layer not in ("head", "backbone"):
            raise UsageError("a layer: head or backbone", layer)
        run = self.encoder.features if layer == "backbone" else self.encoder
        with torch.inference_mode():
            return np.concatenate([run(part).numpy() for part in bags])


def _batches(items: Any) -> list[Any]:
    """Consecutive parts of a list or an array."""
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]


def train_words(
    texts: Texts,
    options: TextOptions,
    *,
    seed: int,
    progress: Progress | None = None,
) -> TrainedWords:
    """Train an encoder of words: two views of each text attract, all others of the batch repel.

    The weights depend on the texts, the options and the seed alone. Batches are full: each epoch
    leaves out another few texts. A training takes seconds to minutes and is not resumed.

    Args:
        texts: what is learned from; labels are not looked at.
        options: the settings.
        seed: of weights, order and views.
        progress: called with (steps done, steps in all).

    Raises:
        UsageError: a batch larger than the collection.
        ContrasiftError: the loss became infinite or NaN.
    """
    if options.batch_size > len(texts):
        raise UsageError(
            "a batch size of at most the number of texts",
            f"{options.batch_size} for {len(texts)} texts",
        )
    vocabulary = build_vocabulary(texts.texts, options.min_count)
    documents = [vocabulary.encode(text) for text in texts.texts]
    changes = _changes(documents, vocabulary, options)
    encoder = _new_encoder(len(vocabulary), options, seed)
    steps = len(texts) // options.batch_size
    total = steps * options.epochs
    optimizer = torch.optim.Adam(encoder.parameters(), lr=options.learning_rate)
    warmup = max(1, total // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, warmup, total)
    )
    loss_of = InfoNCE(options.temperature)
    losses = []
    for epoch in range(options.epochs):
        order = epoch_order(seed, epoch, texts.index)
        epoch_losses = []
        for step in range(steps):
            places = order[step * options.batch_size : (step + 1) * options.batch_size]
            some = [documents[place] for place in places]
            bags = [
                word_views(some, texts.index[places], view, changes, seed=seed, epoch=epoch)
                for view in (0, 1)
            ]
            first, second = encoder(_one_behind_the_other(*bags)).chunk(2)
            loss = loss_of(first, second)
            if not torch.isfinite(loss):
                raise ContrasiftError(
                    "a finite loss",
                    str(loss.item()),
                    "Lower learning_rate= or raise temperature=",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch_losses.append(float(loss.detach()))
            if progress is not None:
                progress(epoch * steps + step + 1, total)
        losses.append(float(np.mean(epoch_losses)))
    return TrainedWords(encoder.eval(), vocabulary, changes, tuple(losses))


def _one_behind_the_other(first: Bags, second: Bags) -> Bags:
    """Both views in one pass, as one batch of twice the texts."""
    return Bags(
        np.concatenate([first.words, second.words]),
        np.concatenate([first.starts, second.starts + len(first.words)]),
    )


def _changes(
    documents: Sequence[np.ndarray], vocabulary: Vocabulary, options: TextOptions
) -> WordChanges:
    if options.augmentation == "erase":
        return WordChanges("erase", options.rate)
    if options.vectors:
        vectors = read_word_vectors(Path(options.vectors).expanduser(), vocabulary)
    else:
        vectors = cooccurrence_vectors(documents, len(vocabulary))
    return WordChanges("replace", options.rate, near_words(vectors, options.near))


def _new_encoder(size: int, options: TextOptions, seed: int) -> WordEncoder:
    state = torch.get_rng_state()
    try:
        # Layers draw their weights from the global generator; there is no other way in torch.
        torch.default_generator.manual_seed(seed)
        return WordEncoder(size, options.dim, options.projection_dim)
    finally:
        torch.set_rng_state(state)


def save_words(trained: TrainedWords, path: Path) -> None:
    """Write weights, words and views to one .safetensors file, whole or not at all."""
    from safetensors.torch import save

    weights = {key: value.contiguous() for key, value in trained.encoder.state_dict().items()}
    if trained.changes.near is not None:
        weights["near"] = torch.from_numpy(np.ascontiguousarray(trained.changes.near))
    about = {
        "words": trained.vocabulary.words,
        "kind": trained.changes.kind,
        "rate": trained.changes.rate,
        "losses": trained.losses,
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(weights, {_METADATA_KEY: json.dumps(about)}))


def load_words(path: Path) -> TrainedWords:
    """Read what `save_words` wrote.

    Raises:
        DataError: no such file, or another kind of file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})[_METADATA_KEY])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, io.UnsupportedOperation) as error:
        raise DataError(f"an encoder of words in {path}", f"{error}") from error
    near = weights.pop("near", None)
    changes = WordChanges(about["kind"], about["rate"], None if near is None else near.numpy())
    size, dim = weights["words.weight"].shape
    encoder = WordEncoder(size, dim, weights["head.3.weight"].shape[0])
    encoder.load_state_dict(weights)
    return TrainedWords(
        encoder.eval(), Vocabulary(tuple(about["words"])), changes, tuple(about["losses"])
    )
