"""Contrastive losses that see their negatives one by one.

All of them take unit vectors' cosines s = q·k, a temperature τ, and a policy that says which
negatives count. One matrix of the size queries × negatives is kept from the product to the backward
pass (two for `HardnessWeighted`); all else is done on it in blocks of rows.
Numbers to check against: docs/mathematics.md#losses-with-negatives.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from contrasift.errors import DataError, UsageError
from contrasift.negatives.policies import NO_TAGS, Candidates, Policy, Tags
from contrasift.negatives.processes import gathered_rows, rank
from contrasift.negatives.queue import Queue

MODES = ("remove", "replace")

# Rows of similarities are worked on in blocks of about so many bytes: on a CPU what fits its cache,
# elsewhere what bounds the temporary memory.
_BLOCK_BYTES, _DEVICE_BLOCK_BYTES = 2 << 20, 256 << 20
# Vectors of the queue whose lengths are this near to one are taken as they are.
_UNIT_TOLERANCE = 1e-6


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


class ContrastiveLoss(nn.Module, ABC):
    """What all losses here share: `loss(query, key)` in a batch, `loss(query, key, queue)` beside one.

    *In a batch*, symmetric (the default): each of the 2B views is a query once, its other view the
    positive, the 2B − 2 remaining views its negatives (SimCLR). One-sided: `query` against `key`,
    B − 1 negatives each. *With a queue*, one-sided (the default): the queue's K vectors are every
    query's negatives (MoCo). Symmetric: keys are queries as well, against the same queue.

    Vectors need not have length one: they are scaled to it. All is computed in float32 (float64
    for float64), under autocast as well. With `gather`, vectors and tags of a batch are gathered
    across processes, with their gradients; the loss is then the mean over the local queries.

    With `chunk`, so many queries are compared at a time, and again in the backward pass: no matrix of
    queries × negatives is kept. See `in_chunks` for encoders whose activations are too many.

    `removed` tells after each call with a policy what it took out.
    """

    def __init__(
        self,
        temperature: float | int = 0.2,
        negatives: Policy | None = None,
        mode: str = "remove",
        *,
        reserve: int = 0,
        symmetric: bool | None = None,
        gather: bool = False,
        chunk: int | None = None,
    ):
        super().__init__()
        if chunk is not None and chunk < 1:
            raise UsageError("chunk= of at least 1 query", f"{chunk}")
        if not 0 < temperature < math.inf:
            raise UsageError("a temperature above 0", str(temperature), "MoCo v2 uses 0.2")
        if mode not in MODES:
            raise UsageError(f"mode to be one of {', '.join(MODES)}", repr(mode))
        if mode == "replace" and (reserve < 1 or negatives is None):
            raise UsageError(
                "a policy and a reserve of at least 1 to replace from",
                f"policy {negatives}, reserve {reserve}",
                "Give reserve=, the number of oldest queue entries that only replace others",
            )
        if mode == "remove" and reserve:
            raise UsageError("no reserve for mode remove", f"reserve {reserve}")
        self.temperature: float = float(temperature)
        self.negatives = negatives
        self.mode = mode
        self.reserve = reserve
        self.symmetric = symmetric
        self.gather = gather
        self.chunk = chunk
        self.removed: Removed | None = None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        queue: Tensor | Queue | None = None,
        *,
        tags: Tags = NO_TAGS,
        queue_tags: Tags = NO_TAGS,
        generator: torch.Generator | None = None,
        mined: Tensor | None = None,
        mined_tags: Tags = NO_TAGS,
    ) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            query: [b, d]; one view of each example.
            key: [b, d]; another view of each, in the same order.
            queue: [K + reserve, d], newest first, or a `Queue`, which brings its own tags.
            tags: of the batch, for policies that compare classes or examples.
            queue_tags: of the queue's rows.
            generator: for the policy `random`, on the vectors' device.
            mined: [m, d]; further negatives of every query in a batch, such as `contrasift.mine` gives.
            mined_tags: of these.

        Returns:
            Mean over the queries.

        Raises:
            UsageError: a policy that leaves a query without negatives, missing tags or generator,
                a queue shorter than the reserve, too few entries that may replace.
            DataError: NaN, infinity, zero vectors, shapes that do not fit.
        """
        if query.shape != key.shape or query.ndim != 2:
            raise DataError("two views of one shape [b, d]", f"{[*query.shape]}, {[*key.shape]}")
        with torch.autocast(query.device.type, enabled=False):
            first, second = _unit(query, "query"), _unit(key, "key")
            if queue is None:
                batch = self._in_batch(first, second, tags)
                if mined is not None:
                    batch = batch.beside(_unit(mined, "mined"), mined_tags)
            elif mined is not None:
                raise UsageError("mined negatives in a batch", "a queue as well")
            else:
                batch = self._with_queue(first, second, queue, tags, queue_tags)
            sums = _negative_sums(batch, self, generator)
            positive = batch.positive / self.temperature
            self.removed = sums.removed
            return self._from_sums(positive, sums.logs, sums.counts).mean()

    @property
    def scales(self) -> tuple[float, ...]:
        """The factors c for which log Σ_i e^{c·s_i} over the negatives is needed."""
        return (1 / self.temperature,)

    @abstractmethod
    def _from_sums(self, positive: Tensor, logs: tuple[Tensor, ...], counts: Tensor) -> Tensor:
        """Each query's loss from s⁺/τ, the logs of the sums of `scales`, and how many negatives."""

    def _in_batch(self, first: Tensor, second: Tensor, tags: Tags) -> _Batch:
        if self.mode == "replace":
            raise UsageError("a queue for mode replace", "none: a batch has no older negatives")
        all_second, everyone, offset = second, tags, 0
        if self.gather:
            all_second = gathered_rows(second, gradients=True)
            everyone = tags.map(gathered_rows)
            offset = rank() * len(first)
        own = torch.arange(len(first), device=first.device) + offset
        positive = (first * second).sum(1)
        if self.symmetric is False:
            return _Batch(first, all_second, positive, own[:, None], tags, everyone)
        n = len(all_second)
        all_first = gathered_rows(first, gradients=True) if self.gather else first
        bank = torch.cat([all_first, all_second])
        excluded = torch.stack([own, own + n], dim=1).repeat(2, 1)
        queries = torch.cat([first, second])
        return _Batch(queries, bank, positive.repeat(2), excluded, _twice(tags), _twice(everyone))

    def _with_queue(
        self, first: Tensor, second: Tensor, queue: Tensor | Queue, tags: Tags, queue_tags: Tags
    ) -> _Batch:
        if isinstance(queue, Queue):
            queue, queue_tags = queue.newest_first()
        if queue.ndim != 2 or queue.shape[1] != first.shape[1]:
            raise DataError(f"a queue of width {first.shape[1]}", f"shape {[*queue.shape]}")
        if len(queue) <= self.reserve:
            raise UsageError(
                f"a queue longer than the reserve of {self.reserve}", f"{len(queue)} entries"
            )
        bank = _unit(queue, "queue").to(first.dtype)
        positive = (first * second).sum(1)
        if self.symmetric:
            first, positive, tags = torch.cat([first, second]), positive.repeat(2), _twice(tags)
        return _Batch(first, bank, positive, None, tags, queue_tags)


class InfoNCE(ContrastiveLoss):
    """ℓ = −log[ e^{s⁺/τ} / (e^{s⁺/τ} + Σ_{i∈N} e^{s_i/τ}) ], N the negatives that the policy names.

    `remove`: the others count as absent, and K shrinks (arXiv 2010.06682, footnote 1). `replace`:
    each is replaced by the newest entry of the reserve that the policy names and that has not
    replaced another, so that K stays (footnote 2; the paper does not filter what replaces). The
    policy judges the reserve by its own similarities and tags; `difficulty` and `random` by the
    thresholds of the K ranked negatives. Without a policy: NT-Xent, as lightly has it.

    Args:
        temperature: τ.
        negatives: the policy; None: all.
        mode: `remove` or `replace`.
        reserve: how many of the queue's oldest entries are kept to replace others.
        symmetric: see `ContrastiveLoss`; default: in a batch yes, with a queue no.
        gather: whether to gather batches across processes.
    """

    def _from_sums(self, positive: Tensor, logs: tuple[Tensor, ...], counts: Tensor) -> Tensor:
        return torch.logaddexp(positive, logs[0]) - positive


class Decoupled(ContrastiveLoss):
    """ℓ = −s⁺/τ + log Σ_{i∈N} e^{s_i/τ}: the positive does not compete (arXiv 2110.06848, eq. 6).

    Arguments are those of `InfoNCE`.
    """

    def _from_sums(self, positive: Tensor, logs: tuple[Tensor, ...], counts: Tensor) -> Tensor:
        return logs[0] - positive


class Debiased(ContrastiveLoss):
    """ℓ = −log[ e^{s⁺/τ} / (e^{s⁺/τ} + N·g) ]: negatives corrected for those of the query's class.

    g = max{ (N⁻¹ Σ_i e^{s_i/τ} − τ⁺ e^{s⁺/τ}) / (1 − τ⁺), e^{−1/τ} }, N the number of negatives
    (Chuang et al., arXiv 2007.00224, eq. 8 with one positive).

    Args:
        tau_plus: τ⁺, the share of negatives expected to be of the query's class, in [0, 1).
        temperature: τ.
        **settings: as for `InfoNCE`.
    """

    def __init__(
        self, tau_plus: float | int = 0.1, temperature: float | int = 0.5, **settings: Any
    ):
        super().__init__(temperature, **settings)
        if not 0 <= tau_plus < 1:
            raise UsageError("tau_plus in [0, 1)", str(tau_plus), "Ten even classes: 0.1")
        self.tau_plus: float = float(tau_plus)

    def _from_sums(self, positive: Tensor, logs: tuple[Tensor, ...], counts: Tensor) -> Tensor:
        return self._debiased(positive, logs[0], counts)

    def _debiased(self, positive: Tensor, log_sum: Tensor, counts: Tensor) -> Tensor:
        # In float64 and in units of e^{1/τ}: nothing overflows, and e^{−2/τ} is still a number.
        top = 1 / self.temperature
        own = (_wide(positive) - top).exp()
        mean = (_wide(log_sum) - top).exp() / counts
        g = ((mean - self.tau_plus * own) / (1 - self.tau_plus)).clamp_min(math.exp(-2 * top))
        return ((own + counts * g).log() - own.log()).to(positive.dtype)


class HardnessWeighted(Debiased):
    """`Debiased` with Σ_i w_i e^{s_i/τ} for Σ_i e^{s_i/τ}, w_i = e^{βs_i/τ} / mean_j e^{βs_j/τ}.

    Harder negatives weigh more (Robinson et al., arXiv 2010.04592, §4.1 and its published code).

    Args:
        beta: β ≥ 0; 0 is `Debiased`.
        tau_plus: τ⁺ in [0, 1).
        temperature: τ.
        **settings: as for `InfoNCE`.
    """

    def __init__(
        self,
        beta: float | int = 1.0,
        tau_plus: float | int = 0.1,
        temperature: float | int = 0.5,
        **settings: Any,
    ):
        super().__init__(tau_plus, temperature, **settings)
        if not 0 <= beta < math.inf:
            raise UsageError("beta of at least 0", str(beta))
        self.beta: float = float(beta)

    @property
    def scales(self) -> tuple[float, ...]:
        """(1 + β)/τ for the weighted sum, β/τ for the weights' mean."""
        return (1 + self.beta) / self.temperature, self.beta / self.temperature

    def _from_sums(self, positive: Tensor, logs: tuple[Tensor, ...], counts: Tensor) -> Tensor:
        weighted = logs[0] - logs[1] + counts.to(logs[0].dtype).log()
        return self._debiased(positive, weighted, counts)


# From vectors to log-sums -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Batch:
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

    def beside(self, more: Tensor, tags: Tags) -> _Batch:
        """The same with further negatives for every query."""
        parts = zip(vars(self.bank_tags).values(), vars(tags).values(), strict=True)
        joined = (
            None if one is None or other is None else torch.cat([one, other.to(one)])
            for one, other in parts
        )
        return replace(self, bank=torch.cat([self.bank, more]), bank_tags=Tags(*joined))


@dataclass(frozen=True)
class _Sums:
    logs: tuple[Tensor, ...]
    counts: Tensor
    removed: Removed | None


def _negative_sums(
    batch: _Batch, loss: ContrastiveLoss, generator: torch.Generator | None
) -> _Sums:
    policy = loss.negatives
    if policy is not None and policy.is_random and generator is None:
        raise UsageError(
            "a generator for the policy random",
            "none",
            "Pass generator=torch.Generator(device).manual_seed(...) to the loss",
        )
    chooser = _Chooser(batch, loss, generator)
    *logs, counts = _LogSums.apply(batch.queries, batch.bank, loss.scales, chooser)
    return _Sums(tuple(logs), counts, chooser.removed())


@dataclass(frozen=True)
class _Chosen:
    """The negatives of some queries: all columns, those of a mask, or all but a few.

    Attributes:
        mask: bool [rows, n]; None: see `left_out`.
        left_out: int64 [rows, r]; the others are chosen. None: see `mask`, or all are.
    """

    mask: Tensor | None = None
    left_out: Tensor | None = None

    def counts(self, n: int) -> Tensor | int:
        """How many of n columns are chosen in each row."""
        if self.mask is not None:
            return _row_counts(self.mask)
        return n if self.left_out is None else n - self.left_out.shape[1]

    def kept_and_total(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Set what is not chosen to 0; sums of each row after and before."""
        if self.mask is not None:
            total = values.sum(1)
            # Bytes multiply twice as fast as Booleans.
            return values.mul_(self.mask.view(torch.uint8)).sum(1), total
        if self.left_out is None:
            total = values.sum(1)
            return total, total
        gone = values.gather(1, self.left_out).sum(1)
        kept = values.scatter_(1, self.left_out, 0).sum(1)
        return kept, kept + gone

    def fill(self, values: Tensor, value: float) -> None:
        """Overwrite what is not chosen."""
        if self.mask is not None:
            values.masked_fill_(~self.mask, value)
        elif self.left_out is not None:
            values.scatter_(1, self.left_out, value)

    def count_true(self, flags: Tensor) -> Tensor:
        """How many of the true flags [rows, n] are chosen, in each row."""
        if self.mask is not None:
            return _row_counts(flags & self.mask)
        every = _row_counts(flags)
        return every if self.left_out is None else every - flags.gather(1, self.left_out).sum(1)


class _Chooser:
    """Says block by block which columns of the bank are a query's negatives, and keeps count."""

    def __init__(
        self, batch: _Batch, loss: ContrastiveLoss, generator: torch.Generator | None
    ) -> None:
        self.policy = loss.negatives
        self._batch = batch
        self._reserve = loss.reserve
        self._generator = generator
        self._facts: list[Tensor] = []
        self.chunk = loss.chunk

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
        left_out = self.policy.left_out(candidates) if allowed is None else None
        if left_out is not None:
            return _Chosen(left_out=left_out)
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
        n = k - (0 if batch.excluded is None else batch.excluded.shape[1])
        if self._reserve and chosen.mask is not None:
            mask = chosen.mask[:, :k]
            chosen, used = _Chosen(mask), _row_counts(mask)
        same_all = same_used = torch.full_like(kept, math.nan)
        if batch.query_tags.labels is not None and batch.bank_tags.labels is not None:
            same = Candidates(kept, batch.query_tags[rows], batch.bank_tags).same("labels", "")
            allowed = self._allowed(rows, same)
            same = (same if allowed is None else same & allowed)[:, :k]
            same_all, same_used = _row_counts(same), chosen.count_true(same)
        facts = (used, torch.full_like(used, n), 1 - kept / total, same_used, same_all)
        self._facts.append(torch.stack([_wide(fact) for fact in facts]))

    def removed(self) -> Removed | None:
        """Means over all queries of the batch."""
        if not self._facts:
            return None
        used, n, mass, same_used, same_all = torch.cat(self._facts, dim=1)
        gone = (n - used).sum()
        return Removed(
            gone / n.sum(),
            mass.mean(),
            (same_all - same_used).sum() / gone,
            same_used.sum() / used.sum(),
        )


def _wide(values: Tensor) -> Tensor:
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


# Vectors and tags ---------------------------------------------------------------------------------


def _unit(vectors: Tensor, name: str) -> Tensor:
    """Rows of length one, in float32 or float64."""
    values = vectors if vectors.dtype == torch.float64 else vectors.float()
    norms = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    bad = ~torch.isfinite(norms) | (norms == 0)
    if bad.any():
        rows = bad[:, 0].nonzero()[:, 0]
        raise DataError(
            f"finite vectors with a direction in {name}",
            f"NaN, infinity or zero in {len(rows)} row(s), the first of them row {int(rows[0])}",
            "Lower the learning rate, or raise the temperature",
        )
    if not values.requires_grad and bool(((norms - 1).abs() <= _UNIT_TOLERANCE).all()):
        return values  # a queue of unit vectors is not copied at every step
    return values / norms


def _twice(tags: Tags) -> Tags:
    return tags.map(lambda part: part.repeat(2))
