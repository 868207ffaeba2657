"""Contrastive losses that see their negatives one by one.

All of them take unit vectors' cosines s = q·k, a temperature τ, and a policy that says which
negatives count: see `log_sums` for how they are summed.
Numbers to check against: docs/mathematics.md#losses-with-negatives.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from contrasift.errors import DataError, UsageError
from contrasift.negatives.candidates import NO_TAGS, Tags
from contrasift.negatives.log_sums import Choosing, Compared, Removed, negative_sums, wide
from contrasift.negatives.parsing import parse_policy
from contrasift.negatives.policies import Policy
from contrasift.negatives.processes import gathered_rows, rank
from contrasift.negatives.queue import Queue, check_tensors
from contrasift.options.arguments import checked_arguments

MODES = ("remove", "replace")

# Vectors of the queue whose lengths are this near to one are taken as they are.
_UNIT_TOLERANCE = 1e-6


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

    @checked_arguments
    def __init__(
        self,
        temperature: float | int = 0.2,
        negatives: Policy | str | None = None,
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
        self.negatives: Policy | None = (
            parse_policy(negatives) if isinstance(negatives, str) else negatives
        )
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
        vectors = queue.vectors if isinstance(queue, Queue) else queue
        check_tensors(query=query, key=key, queue=vectors, mined=mined)
        if query.shape != key.shape or query.ndim != 2 or not len(query):
            wanted = "two views of one shape [b, d], b ≥ 1"
            raise DataError(wanted, f"{[*query.shape]}, {[*key.shape]}")
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
            choice = Choosing(self.negatives, self.reserve, self.chunk, generator)
            sums = negative_sums(batch, self.scales, choice)
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

    def _in_batch(self, first: Tensor, second: Tensor, tags: Tags) -> Compared:
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
            return Compared(first, all_second, positive, own[:, None], tags, everyone)
        n = len(all_second)
        all_first = gathered_rows(first, gradients=True) if self.gather else first
        bank = torch.cat([all_first, all_second])
        excluded = torch.stack([own, own + n], dim=1).repeat(2, 1)
        queries = torch.cat([first, second])
        return Compared(queries, bank, positive.repeat(2), excluded, _twice(tags), _twice(everyone))

    def _with_queue(
        self, first: Tensor, second: Tensor, queue: Tensor | Queue, tags: Tags, queue_tags: Tags
    ) -> Compared:
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
        return Compared(first, bank, positive, None, tags, queue_tags)


class InfoNCE(ContrastiveLoss):
    """ℓ = −log[ e^{s⁺/τ} / (e^{s⁺/τ} + Σ_{i∈N} e^{s_i/τ}) ], N the negatives that the policy names.

    `remove`: the others count as absent, and K shrinks (arXiv 2010.06682, footnote 1). `replace`:
    each is replaced by the newest entry of the reserve that the policy names and that has not
    replaced another, so that K stays (footnote 2; the paper does not filter what replaces). The
    policy judges the reserve by its own similarities and tags; `difficulty` and `random` by the
    thresholds of the K ranked negatives. Without a policy: NT-Xent, as lightly has it.

    Args:
        temperature: τ.
        negatives: the policy, or its text, as `difficulty(95,100)`; None: all.
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

    @checked_arguments
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
        own = (wide(positive) - top).exp()
        mean = (wide(log_sum) - top).exp() / counts
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

    @checked_arguments
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
