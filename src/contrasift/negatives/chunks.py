"""Embeddings of a batch whose activations do not fit at once: encoded in chunks, twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from contrasift.errors import UsageError


def in_chunks(encode: Callable[[Any], Tensor], batch: Any, size: int) -> Tensor:
    """encode(batch), of which only one chunk's activations are held at a time.

    GradCache (Gao et al. 2021, arXiv 2101.06983): chunks are encoded without a graph, the loss of
    the whole batch gives each embedding's gradient, and every chunk is encoded once more to carry
    it on. What is random in the encoder, such as dropout, is the same both times. The gradient is
    that of encode(batch), where the encoder looks at each example alone (batch normalisation does
    not). Twice the forward passes; call `backward` once.

        >>> query = in_chunks(encode, queries, 32)                          # doctest: +SKIP
        >>> key = in_chunks(encode, keys, 32)                               # doctest: +SKIP
        >>> InfoNCE(0.05, negatives=policy)(query, key).backward()          # doctest: +SKIP

    Args:
        encode: gives [b, d] for b examples.
        batch: a tensor, a list, or a mapping of tensors as tokenizers give it; sliced along its
            first axis.
        size: examples of a chunk.

    Raises:
        UsageError: a size below 1.
    """
    if size < 1:
        raise UsageError("chunks of at least 1 example", f"{size}")
    chunks = [_part(batch, start, start + size) for start in range(0, _length(batch), size)]
    return _Cached.apply(torch.zeros((), requires_grad=torch.is_grad_enabled()), encode, chunks)


class _Cached(torch.autograd.Function):
    """Chunks encoded without a graph, and again with one in the backward pass."""

    @staticmethod
    def forward(ctx, _, encode, chunks):  # type: ignore[override]
        ctx.encode, ctx.chunks, ctx.states = encode, chunks, []
        found = []
        for chunk in chunks:
            ctx.states.append(_random_state())
            found.append(encode(chunk).detach())
        ctx.autocast = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
                        for kind in ("cpu", "cuda")]  # fmt: skip
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # type: ignore[override]
        start = 0
        for chunk, state in zip(ctx.chunks, ctx.states, strict=True):
            with torch.enable_grad(), _as_before(state, ctx.autocast):
                again = ctx.encode(chunk)
            again.backward(gradient[start : start + len(again)].to(again.dtype))
            start += len(again)
        return None, None, None


def _random_state() -> tuple[Tensor, list[Tensor]]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), devices


@contextlib.contextmanager
def _as_before(state: tuple[Tensor, list[Tensor]], autocast: Sequence[Any]) -> Iterator[None]:
    """With the random state and the precision of the first time; the present state comes back."""
    now = _random_state()
    with contextlib.ExitStack() as stack:
        for kind, dtype, enabled in autocast:
            stack.enter_context(torch.autocast(kind, dtype, enabled=enabled))
        _set(state)
        try:
            yield
        finally:
            _set(now)


def _set(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


def _length(batch: Any) -> int:
    return _length(next(iter(batch.values()))) if isinstance(batch, Mapping) else len(batch)


def _part(batch: Any, start: int, stop: int) -> Any:
    if isinstance(batch, Mapping):
        return {
            name: value[start:stop] if hasattr(value, "__getitem__") else value
            for name, value in batch.items()
        }
    return batch[start:stop]
