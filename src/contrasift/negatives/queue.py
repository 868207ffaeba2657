"""A first-in, first-out store of older keys, with their tags: MoCo's negatives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from contrasift.errors import DataError, UsageError
from contrasift.negatives.candidates import NO_TAGS, Tags
from contrasift.negatives.processes import gathered_rows
from contrasift.negatives.ranks import band_mask
from contrasift.options.arguments import checked_arguments


class Queue(nn.Module):
    """The newest `size` keys and, behind them, a reserve of older ones (arXiv 1911.05722).

    It begins full of random directions without tags, as MoCo's does, so that the number of
    negatives never changes. Its contents are buffers: a checkpoint holds them, `.to()` moves them.

        queue = Queue(65536, 128)
        loss = InfoNCE(0.2, difficulty(95, 100))
        ...
        value = loss(query, key, queue, tags=Tags(labels=labels))
        queue.push(key, Tags(labels=labels))                  # after the loss

    With `keep_hard` > 0 it lets go what is consistently easy before what is consistently hard (a
    suggestion of arXiv 2010.06682, §4): see `push` and `note_hard`.

    Args:
        size: K, how many are negatives.
        dim: width of the keys.
        reserve: E, how many older ones are kept only to replace others.
        keep_hard: share of the queue, its oldest part, within which the easiest go first; 0: the
            oldest go, as in MoCo.
        seed: of the directions it begins with.
    """

    vectors: Tensor
    labels: Tensor
    latent_classes: Tensor
    examples: Tensor
    start: Tensor
    hardness: Tensor

    @checked_arguments
    def __init__(
        self, size: int, dim: int, reserve: int = 0, *, keep_hard: float | int = 0.0, seed: int = 0
    ):
        super().__init__()
        if size < 1 or dim < 1 or reserve < 0:
            raise UsageError(
                "a queue of at least one key of width 1, and no negative reserve",
                f"size {size}, width {dim}, reserve {reserve}",
            )
        if not 0 <= keep_hard < 1:
            raise UsageError("keep_hard in [0, 1)", str(keep_hard))
        self.size: int = size
        self.reserve: int = reserve
        self.keep_hard: float = keep_hard
        generator = torch.Generator().manual_seed(seed)
        length = size + reserve
        vectors = torch.randn(length, dim, generator=generator)
        self.register_buffer("vectors", vectors / vectors.norm(dim=1, keepdim=True))
        for name in ("labels", "latent_classes", "examples"):
            self.register_buffer(name, torch.full((length,), -1))
        self.register_buffer("hardness", torch.zeros(length))
        # The newest entry is at `start`; each older one follows, around the end to the beginning.
        self.register_buffer("start", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return self.size + self.reserve

    def newest_first(self) -> tuple[Float[Tensor, "n d"], Tags]:
        """All vectors and tags, the newest first, the reserve last; copies."""
        start = int(self.start)
        tags = (self.labels, self.latent_classes, self.examples)
        return _rolled(self.vectors, start), Tags(*(_rolled(part, start) for part in tags))

    @torch.no_grad()
    def push(
        self,
        keys: Float[Tensor, "b d"],
        tags: Tags = NO_TAGS,
        *,
        gather: bool = False,
    ) -> None:
        """Let the oldest entries go and take in new ones; the last row of `keys` is the newest.

        Keys are scaled to length one. Tags that are not given count as unknown.

        With `keep_hard`, those that go are the least hard among the b + keep_hard·(K + E) oldest,
        of equals the oldest; the others keep their order.

        Args:
            keys: [b, d]; b at most the length of the queue.
            tags: b entries each.
            gather: take in the keys of all processes, in the order of their ranks.

        Raises:
            DataError: another width, more keys than places, NaN or zero vectors, tags of another
                length.
        """
        check_tensors(keys=keys)
        if gather:
            keys = gathered_rows(keys)
            tags = tags.map(gathered_rows)
        if keys.ndim != 2 or keys.shape[1] != self.vectors.shape[1] or len(keys) > len(self):
            raise DataError(
                f"at most {len(self)} keys of width {self.vectors.shape[1]}", f"{[*keys.shape]}"
            )
        norms = torch.linalg.vector_norm(keys.float(), dim=1, keepdim=True)
        if not bool((torch.isfinite(norms) & (norms > 0)).all()):
            raise DataError("finite keys with a direction", "NaN, infinity or zero")
        self._make_room(len(keys))
        # The first key is the oldest of them, just before what was the newest until now.
        places = (self.start - 1 - torch.arange(len(keys), device=self.start.device)) % len(self)
        self.vectors[places] = (keys.float() / norms).to(self.vectors.dtype)
        self.hardness[places] = 0
        for name in ("labels", "latent_classes", "examples"):
            part = getattr(tags, name)
            if part is not None and part.shape != (len(keys),):
                raise DataError(f"{len(keys)} {name}", f"shape {[*part.shape]}")
            getattr(self, name)[places] = -1 if part is None else part.to(self.labels.device)
        self.start.copy_((self.start - len(keys)) % len(self))

    @torch.no_grad()
    def note_hard(self, queries: Float[Tensor, "q d"], percent: float | int = 5.0) -> None:
        """Remember for which share of the queries each negative is among the hardest `percent` %.

        h ← 0.9·h + 0.1·share: what was hard long ago, under another encoder, is forgotten.

        Args:
            queries: [q, d]; a sample of the batch will do.
            percent: in (0, 100).
        """
        values = queries.float()
        values = values / torch.linalg.vector_norm(values, dim=1, keepdim=True)
        bank, _ = self.newest_first()
        hard = band_mask(values @ bank.T, 100 - percent, 100, self.reserve)
        shares = hard.float().mean(dim=0).roll(int(self.start))
        self.hardness.mul_(0.9).add_(shares, alpha=0.1)

    def _make_room(self, count: int) -> None:
        """Move those that stay away from the `count` oldest places."""
        n_old = min(len(self), count + int(self.keep_hard * len(self)))
        if n_old == count:
            return
        # From the oldest on; equal hardness: the oldest goes.
        old = (self.start - 1 - torch.arange(n_old, device=self.start.device)) % len(self)
        goes = self.hardness[old].argsort(stable=True)[:count]
        stays = torch.ones(n_old, dtype=torch.bool, device=old.device)
        stays[goes] = False
        for values in (
            self.vectors, self.labels, self.latent_classes, self.examples, self.hardness
        ):  # fmt: skip
            values[old[count:]] = values[old[stays]]


def _rolled(values: Tensor, start: int) -> Tensor:
    return torch.cat([values[start:], values[:start]])


def check_tensors(**given: object) -> None:
    """Refuse what is no tensor, by the name of its argument; None is passed over."""
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            got = f"{type(value).__module__}.{type(value).__name__}"
            raise DataError(f"a tensor as {name}", got, "Make one with torch.as_tensor")
