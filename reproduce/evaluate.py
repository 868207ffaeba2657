"""The accuracies of a trained encoder in a few seconds: one pass over the images, every accuracy of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.evaluation import few_label_rows, knn_accuracy, linear_probe, mean_classifier
from contrasift.pools import Pool, scan_pool
from reproduce.cell import MeasureOptions

_BLOCK = 4096


def accuracies_of(
    pool: Pool,
    positions: np.ndarray,
    encoder: Any,
    options: MeasureOptions,
    *,
    seed: int,
    device: str = "auto",
) -> dict[str, Any]:
    """Accuracies of an encoder, trained on a pool's labels and evaluated on its held-out images.

    Args:
        pool: with labels and a held-out part.
        positions: readable examples; those without a label are left out.
        encoder: images to vectors.
        options: how.
        seed: of the draws of few labels.
        device: where the encoder runs.

    Returns:
        `linear`, `few_10` (mean over the draws with so many labels a class), `few_1pct` (with so
        small a share), `knn`, `mean_classifier`; in `head` those after the projection head that
        take no time: `few_10`, `knn`, `mean_classifier`.

    Raises:
        DataError: no labels, or nothing held out.
    """
    from contrasift.embedding.embed import features

    if pool.labels is None or pool.test is None or pool.test.labels is None:
        raise DataError("a pool with labels and held-out images", f"{pool.name} without them")
    positions = positions[pool.labels[positions] >= 0]
    if options.train_limit:
        order = np.random.default_rng(1).permutation(positions.size)[: options.train_limit]
        positions = positions[np.sort(order)]
    held_out = scan_pool(pool.test).positions
    held_out = held_out[pool.test.labels[held_out] >= 0]
    chosen = np.random.default_rng(0).permutation(held_out)[: options.test_limit]
    held_out = np.sort(chosen)
    train_y, test_y = pool.labels[positions], pool.test.labels[held_out]
    train_x = features(pool, positions, encoder, device=device)
    test_x = features(pool.test, held_out, encoder, device=device)
    few = few_labels(train_y, options, seed)
    metrics: dict[str, Any] = {
        "linear": linear_probe(
            train_x, train_y, test_x, test_y, regularisation=options.regularisation
        ).accuracy
    }
    metrics |= _quick(train_x, train_y, test_x, test_y, few, options.regularisation)
    if encoder.description["projection_dim"]:
        head_x, head_test_x = after_head(encoder, train_x), after_head(encoder, test_x)
        few.pop("few_1pct")
        metrics["head"] = _quick(head_x, train_y, head_test_x, test_y, few, options.regularisation)
    return metrics


def few_labels(labels: np.ndarray, options: MeasureOptions, seed: int) -> dict[str, list]:
    """Rows whose labels may be used, for every draw: so many a class, or a share, at least one.

    Args:
        labels: int [n], none negative.
        options: how many, how often.
        seed: of the draws, the same for all arms.

    Returns:
        `few_10` and `few_1pct`, each a list of int64 arrays.
    """
    draws, per_class, share = options.draws, options.per_class, options.share
    return {
        "few_10": few_label_rows(labels, per_class=per_class, draws=draws, seed=seed),
        "few_1pct": few_label_rows(labels, share=share, draws=draws, seed=seed),
    }


def _quick(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    few: dict[str, list],
    regularisation: float,
) -> dict[str, float]:
    """All but the linear probe with every label."""
    metrics = {
        name: float(
            np.mean(
                [
                    linear_probe(
                        train_x[rows],
                        train_y[rows],
                        test_x,
                        test_y,
                        regularisation=regularisation,
                    ).accuracy
                    for rows in draws
                ]
            )
        )
        for name, draws in few.items()
    }
    metrics["knn"] = knn_accuracy(train_x, train_y, test_x, test_y).top1
    metrics["mean_classifier"] = mean_classifier(train_x, train_y, test_x, test_y).top1
    return metrics


def after_head(encoder: Any, values: np.ndarray) -> np.ndarray:
    """The head's output for the backbone's, without another pass over the images."""
    import torch

    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    try:
        with torch.inference_mode():
            blocks = [
                encoder.head(torch.from_numpy(values[begin : begin + _BLOCK]).to(device)).cpu()
                for begin in range(0, len(values), _BLOCK)
            ]
    finally:
        encoder.train(was_training)
    return torch.cat(blocks).float().numpy()
