"""Watch the negatives of somebody else's training: a Lightning callback for any contrastive module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as lightning
import torch
from torch.nn.functional import normalize

from contrasift.errors import DataError, UsageError
from contrasift.negatives.profiles import Band
from contrasift.negatives.ranks import band_counts

# Easy, middling, hard, and the hardest of these (Cai et al., arXiv 2010.06682).
BANDS: tuple[Band, ...] = ((0, 50), (50, 95), (95, 100), (99, 100))

Pairs = Callable[[Any, Any, Any], Sequence[Any]]


def returned_pairs(outputs: Any, batch: Any, module: Any) -> tuple[Any, Any, Any]:
    """What `training_step` returned: a mapping with `query`, `key` and, where known, `labels`.

    Raises:
        UsageError: it returned something else.
    """
    if not isinstance(outputs, Mapping) or not {"query", "key"} <= outputs.keys():
        raise UsageError(
            "a training_step that returns a mapping with `loss`, `query` and `key`",
            ", ".join(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__,
            'Return {"loss": loss, "query": z0, "key": z1}, or give NegativeStatistics(pairs=...)',
        )
    return outputs["query"], outputs["key"], outputs.get("labels")


class NegativeStatistics(lightning.Callback):
    """Logs how hard a contrastive module's negatives are, and how many of them may be false.

    Works with any LightningModule whose step has two views of each example, of lightly or of one's
    own. Each query's negatives are the keys of the other examples in its batch. Every few steps it
    logs what `negative_figures` says, under `negatives/…`, as means over the epoch.

    The module hands its projections over by returning them: `training_step` returns
    `{"loss": loss, "query": z0, "key": z1}`, with `"labels"` where there are any. Where that cannot
    be changed, `pairs` finds them.

    >>> trainer = lightning.Trainer(callbacks=[NegativeStatistics(every=50)])  # doctest: +SKIP

    Args:
        every: measure at every so many batches; the first of an epoch is always measured.
        temperature: τ of the loss whose mass is told.
        bands: of difficulty, in per cent from the easiest to the hardest.
        pairs: `(outputs, batch, module)` to `(query, key)` or `(query, key, labels)`: what
            `training_step` returned, its batch, and the module.

    Raises:
        UsageError: a period below 1, a temperature of 0 or less, or no bands.
    """

    def __init__(
        self,
        *,
        every: int = 50,
        temperature: float = 0.5,
        bands: Sequence[Band] = BANDS,
        pairs: Pairs = returned_pairs,
    ):
        if every < 1:
            raise UsageError("a period of at least 1 step", f"{every}")
        _check(temperature, bands)
        self._every = every
        self._temperature = temperature
        self._bands = tuple(bands)
        self._pairs = pairs

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the batch, if it is one of those that are measured."""
        if batch_idx % self._every:
            return
        query, key, *more = self._pairs(outputs, batch, pl_module)
        labels = more[0] if more else None
        figures = negative_figures(
            query, key, labels, temperature=self._temperature, bands=self._bands
        )
        pl_module.log_dict(
            {f"negatives/{name}": value for name, value in figures.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(query),
        )


def negative_figures(
    query: torch.Tensor,
    key: torch.Tensor,
    labels: torch.Tensor | None = None,
    *,
    temperature: float = 0.5,
    bands: Sequence[Band] = BANDS,
) -> dict[str, float]:
    """How hard the negatives of a batch are, as means over its queries.

    With cosines c_ij of query i and key j, the positive c_ii and the n = b − 1 negatives c_ij, j ≠ i,
    ranked by cosine (of equal ones the later is the harder):

    - `cosine`: mean c_ij; `positive_cosine`: mean c_ii
    - `harder_than_positive`: share of the negatives with c_ij > c_ii
    - `positive_probability`: exp(c_ii/τ) / Σ_j exp(c_ij/τ), which InfoNCE raises
    - `loss_mass_LOW_HIGH`: the part of the negatives' Σ_{j≠i} exp(c_ij/τ) in a band of difficulty:
      by how much these negatives pull on the gradient
    - `same_class`, `same_class_LOW_HIGH`: share of negatives with the query's label, of all and in
      a band: the false ones. A label below 0 is unknown; such pairs count neither way.

    A band without a single negative is left out, and so are `same_class…` without known pairs.

    Args:
        query: real [b, d]; scaled to length one.
        key: real [b, d]; key i is the positive of query i.
        labels: integers [b].
        temperature: τ.
        bands: in per cent, as in `contrasift.negatives.difficulty`.

    Returns:
        The figures by name; empty for a batch of one, which has no negatives.

    Raises:
        DataError: shapes that do not fit.
        UsageError: a temperature of 0 or less, or no bands.
    """
    _check(temperature, bands)
    if query.ndim != 2 or query.shape != key.shape:
        raise DataError(
            "queries and keys of one shape [b, d]", f"{tuple(query.shape)}, {tuple(key.shape)}"
        )
    if labels is not None and labels.shape != query.shape[:1]:
        raise DataError(f"a label for each of the {len(query)} queries", f"{tuple(labels.shape)}")
    if len(query) < 2:
        return {}
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        cosine = normalize(query.float(), dim=1) @ normalize(key.float(), dim=1).T
        return _figures(cosine, labels, temperature, bands)


def _figures(
    cosine: torch.Tensor, labels: torch.Tensor | None, temperature: float, bands: Sequence[Band]
) -> dict[str, float]:
    positive = cosine.diagonal()
    # Row i without its diagonal: the negatives, in the order of their examples.
    ranked, order = _without_diagonal(cosine).sort(dim=1, stable=True)
    n = ranked.shape[1]
    probability = (cosine / temperature).softmax(dim=1).diagonal()
    mass = (ranked / temperature).softmax(dim=1)
    found = {
        "cosine": ranked.mean(),
        "positive_cosine": positive.mean(),
        "harder_than_positive": (ranked > positive[:, None]).float().mean(),
        "positive_probability": probability.mean(),
    }
    spans = {f"{low}_{high}": slice(*band_counts(low, high, n)) for low, high in bands}
    spans = {name: span for name, span in spans.items() if span.start < span.stop}
    for name, span in spans.items():
        found[f"loss_mass_{name}"] = mass[:, span].sum(dim=1).mean()
    spans = {"same_class": slice(None)} | {f"same_class_{name}": it for name, it in spans.items()}
    if labels is not None:
        same = _without_diagonal((labels[:, None] == labels).float())
        known = _without_diagonal(((labels[:, None] >= 0) & (labels >= 0)).float())
        same, known = (part.gather(1, order) for part in (same * known, known))
        for name, span in spans.items():
            pairs = known[:, span].sum()
            if pairs > 0:
                found[name] = same[:, span].sum() / pairs
    return {name: value.item() for name, value in found.items()}


def _without_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    """[b, b] to [b, b − 1]."""
    b = len(matrix)
    return matrix.flatten()[1:].view(b - 1, b + 1)[:, :-1].reshape(b, b - 1)


def _check(temperature: float, bands: Sequence[Band]) -> None:
    if temperature <= 0:
        raise UsageError("a temperature above 0", f"{temperature}")
    if not bands or not all(0 <= low < high <= 100 for low, high in bands):
        raise UsageError("bands (low, high) within 0 and 100 per cent", f"{list(bands)}")
