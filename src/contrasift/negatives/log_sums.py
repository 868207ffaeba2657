"""From vectors to sums over each query's negatives: which they are, their log-sums and gradients.

One matrix of the size queries × negatives is kept from the product to the backward pass, one for
every scale; all else is done on it in blocks of rows.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from contrasift.errors import UsageError
from contrasift.negatives.candidates import Candidates, Tags
from contrasift.negatives.policies import Policy

# Rows of similarities are worked on in blocks of about so many bytes: on a CPU what fits its cache,
# elsewhere what bounds the temporary memory.
_BLOCK_BYTES, _DEVICE_BLOCK_BYTES = 2 << 20, 256 << 20


@dataclass(frozen=True)
class Removed:
    """What a policy took out of one batch; means over its queries, detached.

    Attributes:
        share: share of the negatives that were removed or replaced.
        mass: their share of the loss mass, Σ_removed e^{s/τ} / Σ_all e^{s/τ}.
        same_class: share of the query's class among those removed; NaN without labels.
        same_class_kept: the same among those that were left.
    """

    share: Tensor
    mass: Tensor
    same_class: Tensor
    same_class_kept: Tensor


@dataclass(frozen=True)
class Compared:
    """Queries, all vectors that can be negatives, and which of them never are.

    Attributes:
        queries: [q, d], unit.
        bank: [n, d], unit.
        positive: [q]; each query's cosine with its positive.
        excluded: [q, e]; columns of the bank that are the query itself or its positive.
        query_tags: q entries.
        bank_tags: n entries.
    """

    queries: Tensor
    bank: Tensor
    positive: Tensor
    excluded: Tensor | None
    query_tags: Tags
    bank_tags: Tags

    def beside(self, more: Tensor, tags: Tags) -> Compared:
        """The same with further negatives for every query."""
        parts = zip(vars(self.bank_tags).values(), vars(tags).values(), strict=True)
        joined = (
            None if one is None or other is None else torch.cat([one, other.to(one)])
            for one, other in parts
        )
        return replace(self, bank=torch.cat([self.bank, more]), bank_tags=Tags(*joined))


@dataclass(frozen=True)
class NegativeSums:
    """Of every query.

    Attributes:
        logs: [q] for every scale.
        counts: int64 [q]; how many negatives.
        removed: what a policy took out; None without one.
    """

    logs: tuple[Tensor, ...]
    counts: Tensor
    removed: Removed | None


@dataclass(frozen=True)
class Choosing:
    """How negatives are chosen.

    Attributes:
        policy: which are; None: all.
        reserve: how many of the last columns only replace others.
        chunk: so many queries are compared at a time; None: all at once.
        generator: for the policy `random`.
    """

    policy: Policy | None
    reserve: int = 0
    chunk: int | None = None
    generator: torch.Generator | None = None


def negative_sums(batch: Compared, scales: tuple[float, ...], choice: Choosing) -> NegativeSums:
    """Log Σ_i e^{c·s_i} over the negatives of every query, for every scale c.

    Raises:
        UsageError: a random policy without a generator; a query without negatives.
    """
    if choice.policy is not None and choice.policy.is_random and choice.generator is None:
        raise UsageError(
            "a generator for the policy random",
            "none",
            "Pass generator=torch.Generator(device).manual_seed(...) to the loss",
        )
    chooser = _Chooser(batch, choice)
    *logs, counts = _LogSums.apply(batch.queries, batch.bank, scales, chooser)
    return NegativeSums(tuple(logs), counts, chooser.removed())


@dataclass(frozen=True)
class _Chosen:
    """The negatives of some queries: all columns, those of a mask, or a few, or all but a few.

    Attributes:
        mask: bool [rows, n]; None: see `few`.
        few: int64 [rows, r], and whether these are chosen or all others. None: see `mask`, or all are.
    """

    mask: Tensor | None = None
    few: tuple[Tensor, bool] | None = None

    def counts(self, n: int) -> Tensor | int:
        """How many of n columns are chosen in each row."""
        if self.mask is not None:
            return _row_counts(self.mask)
        columns, chosen = self.few or (None, False)
        some = 0 if columns is None else columns.shape[1]
        return some if chosen else n - some

    def kept_and_total(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Set what is not chosen to 0; sums of each row after and before."""
        if self.few is not None and not self.few[1]:
            gone = values.gather(1, self.few[0]).sum(1)
            kept = values.scatter_(1, self.few[0], 0).sum(1)
            return kept, kept + gone
        total = values.sum(1)
        if self.mask is not None:
            # Bytes multiply twice as fast as Booleans.
            return values.mul_(self.mask.view(torch.uint8)).sum(1), total
        if self.few is None:
            return total, total
        self.fill(values, 0.0)
        return values.sum(1), total

    def fill(self, values: Tensor, value: float) -> None:
        """Overwrite what is not chosen."""
        if self.mask is not None:
            values.masked_fill_(~self.mask, value)
        elif self.few is not None:
            columns, chosen = self.few
            some = values.gather(1, columns) if chosen else value
            (values.fill_(value) if chosen else values).scatter_(1, columns, some)

    def count_true(self, flags: Tensor) -> Tensor:
        """How many of the true flags [rows, n] are chosen, in each row."""
        if self.mask is not None:
            return _row_counts(flags & self.mask)
        if self.few is None:
            return _row_counts(flags)
        some = flags.gather(1, self.few[0]).sum(1)
        return some if self.few[1] else _row_counts(flags) - some


class _Chooser:
    """Says block by block which columns of the bank are a query's negatives, and keeps count."""

    def __init__(self, batch: Compared, choice: Choosing) -> None:
        self.policy = choice.policy
        self.chunk = choice.chunk
        self._batch = batch
        self._reserve = choice.reserve
        self._generator = choice.generator
        self._each = 0  # how many negatives a query has without a policy
        self._facts: list[tuple[Tensor, ...]] = []

    def again(self) -> _Chooser:
        """One that will choose from here on what this one does, and keeps no count."""
        other = copy(self)
        other._facts = []
        if self._generator is not None:
            other._generator = torch.Generator(self._generator.device)
            other._generator.set_state(self._generator.get_state())
        return other

    def choose(self, rows: slice, similarity: Tensor) -> _Chosen:
        """The negatives of some queries."""
        allowed = self._allowed(rows, similarity)
        if self.policy is None:
            return _Chosen(allowed)
        candidates = self._candidates(rows, similarity, allowed)
        few = self.policy.few(candidates) if allowed is None else None
        if few is not None:
            return _Chosen(few=few)
        mask = self.policy.mask(candidates)
        if self._reserve:
            mask = _replaced(mask, self._reserve, rows.start)
        if allowed is None:
            return _Chosen(mask)
        chosen = torch.zeros_like(allowed)
        chosen[allowed] = mask.reshape(-1)
        return _Chosen(chosen)

    def _allowed(self, rows: slice, similarity: Tensor) -> Tensor | None:
        if self._batch.excluded is None:
            return None
        allowed = torch.ones_like(similarity, dtype=torch.bool)
        return allowed.scatter_(1, self._batch.excluded[rows], value=False)

    def _candidates(self, rows: slice, similarity: Tensor, allowed: Tensor | None) -> Candidates:
        tags = self._batch.bank_tags
        if allowed is not None:
            # Every query leaves out equally many columns, so the rest is a matrix again.
            shape = (len(similarity), -1)
            similarity = similarity[allowed].view(shape)
            tags = tags.map(lambda part: part.expand_as(allowed)[allowed].view(shape))
        draws = None
        if self._generator is not None:
            draws = torch.rand(
                similarity.shape, generator=self._generator, device=similarity.device
            )
        return Candidates(
            similarity,
            self._batch.query_tags[rows],
            tags,
            draws,
            self._reserve,
            self._batch.positive[rows],
        )

    def note(
        self, rows: slice, chosen: _Chosen, used: Tensor, kept: Tensor, total: Tensor, columns: int
    ) -> None:
        """Keep what `Removed` is made of: counts and sums of this block, one of each a query."""
        if self.policy is None:
            return
        batch, k = self._batch, columns - self._reserve
        self._each = k - (0 if batch.excluded is None else batch.excluded.shape[1])
        if self._reserve and chosen.mask is not None:
            mask = chosen.mask[:, :k]
            chosen, used = _Chosen(mask), _row_counts(mask)
        same_all = same_used = torch.full_like(kept, math.nan)
        if batch.query_tags.labels is not None and batch.bank_tags.labels is not None:
            same = Candidates(kept, batch.query_tags[rows], batch.bank_tags).same("labels", "")
            allowed = self._allowed(rows, same)
            same = (same if allowed is None else same & allowed)[:, :k]
            same_all, same_used = _row_counts(same), chosen.count_true(same)
        self._facts.append((used, 1 - kept / total, same_used, same_all))

    def removed(self) -> Removed | None:
        """Means over all queries of the batch."""
        if not self._facts:
            return None
        used, mass, same_used, same_all = (
            wide(torch.cat(fact)) for fact in zip(*self._facts, strict=True)
        )
        gone = (self._each - used).sum()
        return Removed(
            gone / (self._each * len(used)),
            mass.mean(),
            (same_all - same_used).sum() / gone,
            same_used.sum() / used.sum(),
        )


def wide(values: Tensor) -> Tensor:
    """In float64, which Apple's MPS does not have."""
    return values.float() if values.device.type == "mps" else values.double()


def _replaced(mask: Tensor, reserve: int, first_row: int) -> Tensor:
    """The policy's mask, with the newest entries of the reserve in place of what it removes."""
    k = mask.shape[1] - reserve
    wanted = k - mask[:, :k].sum(1)
    eligible = mask[:, k:]
    there = eligible.sum(1)
    short = (there < wanted).nonzero()
    if len(short):
        row = int(short[0])
        raise UsageError(
            f"a reserve that can replace the {int(wanted[row])} negatives removed for query "
            f"{first_row + row}",
            f"{int(there[row])} of its {reserve} entries that the policy allows",
            "Use a longer reserve, or mode remove",
        )
    taken = eligible & (eligible.cumsum(1) <= wanted[:, None])
    return torch.cat([mask[:, :k], taken], dim=1)


class _LogSums(torch.autograd.Function):
    """log Σ_{i∈N(q)} e^{c·q·k_i} for every query and every scale c, and |N(q)|.

    The forward pass makes p_i = e^{c·q·k_i} / Σ e^{c·q·k}, one matrix a scale; with it
    ∂/∂q = c Σ_i p_i k_i and ∂/∂k_i = c Σ_q p_i q. Of all queries at once it is kept; of a chunk of
    them at a time the backward pass makes it again.
    """

    @staticmethod
    def forward(ctx, queries, bank, scales, chooser):  # type: ignore[override]
        logs, counts = _empty_sums(queries, scales)
        ctx.chooser, kept = chooser.again() if chooser.chunk else chooser, []
        for rows in _chunks(queries, chooser):
            found = _chunk_softmaxes(queries, bank, scales, chooser, rows, logs, counts)
            kept = [] if chooser.chunk else found
        ctx.save_for_backward(queries, bank, *kept)
        ctx.scales = scales
        ctx.mark_non_differentiable(counts)
        return (*logs, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):  # type: ignore[override]
        queries, bank, *kept = ctx.saved_tensors
        towards_queries = torch.zeros_like(queries) if ctx.needs_input_grad[0] else None
        towards_bank = torch.zeros_like(bank) if ctx.needs_input_grad[1] else None
        chooser = ctx.chooser.again()
        sums = _empty_sums(queries, ctx.scales)
        for rows in _chunks(queries, chooser):
            parts = kept or _chunk_softmaxes(queries, bank, ctx.scales, chooser, rows, *sums)
            for gradient, scale, softmax in zip(gradients, ctx.scales, parts, strict=False):
                weight = (gradient[rows] * scale)[:, None]
                if towards_queries is not None:
                    towards_queries[rows] += weight * (softmax @ bank)
                if towards_bank is not None:
                    towards_bank += softmax.T @ (weight * queries[rows])
        return towards_queries, towards_bank, None, None


def _chunks(queries: Tensor, chooser: _Chooser) -> list[slice]:
    n = len(queries)
    step = chooser.chunk or max(1, n)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _chunk_softmaxes(
    queries: Tensor,
    bank: Tensor,
    scales: tuple[float, ...],
    chooser: _Chooser,
    chunk: slice,
    logs: list[Tensor],
    counts: Tensor,
) -> list[Tensor]:
    """The softmaxes of a chunk of queries; their log-sums and counts are filled in."""
    softmaxes = [queries.new_empty(chunk.stop - chunk.start, len(bank)) for _ in scales]
    torch.mm(queries[chunk], bank.T, out=softmaxes[0])
    for rows in _blocks(chunk, len(bank), queries):
        here = slice(rows.start - chunk.start, rows.stop - chunk.start)
        parts = [softmax[here] for softmax in softmaxes]
        _fill(parts, scales, chooser, rows, [log[rows] for log in logs], counts[rows])
    return softmaxes


def _empty_sums(queries: Tensor, scales: tuple[float, ...]) -> tuple[list[Tensor], Tensor]:
    counts = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
    return [queries.new_empty(len(queries)) for _ in scales], counts


def _blocks(rows: slice, n: int, like: Tensor) -> list[slice]:
    block = _BLOCK_BYTES if like.device.type == "cpu" else _DEVICE_BLOCK_BYTES
    step = max(1, block // max(1, n * like.element_size()))
    starts = range(rows.start, rows.stop, step)
    return [slice(start, min(start + step, rows.stop)) for start in starts]


def _fill(
    parts: list[Tensor],
    scales: tuple[float, ...],
    chooser: _Chooser,
    rows: slice,
    logs: list[Tensor],
    counts: Tensor,
) -> None:
    """Turn the similarities in the first matrix into the softmaxes of all."""
    similarity, n = parts[0], parts[0].shape[1]
    chosen = chooser.choose(rows, similarity)
    counts[:] = chosen.counts(n)
    _require_negatives(counts, rows.start, chooser.policy)
    kept = total = similarity
    for number in reversed(range(len(scales))):
        # The first matrix holds the similarities until it is its turn.
        kept, total = _softmax(similarity, scales[number], chosen, parts[number], logs[number])
    chooser.note(rows, chosen, counts, kept, total, n)


def _softmax(
    similarity: Tensor, scale: float, chosen: _Chosen, out: Tensor, log_sum: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill `out` with the softmax of the chosen, `log_sum` with its log-sum; kept and total sums.

    Cosines lie in [−1, 1], so e^{c·s} is taken relative to e^{c}, which no entry exceeds; where
    e^{−2c} would vanish in float32, relative to the largest that was chosen.
    """
    if 2 * scale <= 80:
        torch.mul(similarity, scale, out=out).sub_(scale).exp_()
        kept, total = chosen.kept_and_total(out)
        log_sum.copy_(kept.log() + scale)
    else:
        torch.mul(similarity, scale, out=out)
        log_total = torch.logsumexp(out, dim=1)
        chosen.fill(out, -math.inf)
        top = out.amax(1, keepdim=True)
        kept = out.sub_(top).exp_().sum(1)
        log_sum.copy_(kept.log() + top[:, 0])
        total = kept * (log_total - log_sum).exp()
    out.div_(kept[:, None])
    return kept, total


def _row_counts(mask: Tensor) -> Tensor:
    """How many entries of each row are true; bytes add up three times as fast as Booleans."""
    return mask.view(torch.uint8).sum(1, dtype=torch.int32).long()


def _require_negatives(counts: Tensor, first_row: int, policy: Policy | None) -> None:
    empty = (counts == 0).nonzero()
    if len(empty):
        raise UsageError(
            "at least one negative for every query",
            f"none for query {first_row + int(empty[0])}"
            + (f" under the policy {policy}" if policy else ""),
            "Use a wider band, a larger batch or a longer queue",
        )
