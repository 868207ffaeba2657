"""Latent classes from their names: each image goes to the text that it resembles most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contrasift.arrays import check_finite_rows, check_matrix, row_blocks, unit_rows
from contrasift.errors import DataError, UsageError
from contrasift.results import LatentClasses


def zero_shot_classes(
    image_embeddings: object,
    text_embeddings: object,
    names: Sequence[str],
    *,
    logit_scale: float = 100.0,
) -> LatentClasses:
    """Give every image the class whose text is nearest in the space of both (CLIP).

    With rows scaled to length one, c(i) = argmax_c ⟨x_i, w_c⟩, the first on equal products, and
    the confidence is softmax_c(s·⟨x_i, w_c⟩) at c(i) for the model's logit scale s (CLIP, arXiv
    2103.00020, §3.1.2). Names that no image gets are no classes of the result.

    Args:
        image_embeddings: real [n, d]; may be a memory map: rows are read in blocks.
        text_embeddings: real [k, d]; one row a class.
        names: [k]; of the classes, all different.
        logit_scale: s > 0, the inverse temperature that the model was trained with.

    Returns:
        The classes in the order of `names`; `facts` holds `sizes`, `candidates`, `unused` (names
        without an image), `logit_scale` and `mean_confidence`.

    Raises:
        UsageError: another number of names than of texts, a scale that is not positive.
        DataError: NaN, infinity, a row of zeros, different widths, a name twice.
    """
    rows, texts = check_matrix(image_embeddings), check_matrix(text_embeddings, "text embeddings")
    _check(rows, texts, names, logit_scale)
    check_finite_rows(texts, "text embeddings")
    texts = unit_rows(texts)
    n, (k, width) = rows.shape[0], texts.shape
    codes = np.empty(n, dtype=np.int64)
    score = np.empty(n, dtype=np.float32)
    for block in row_blocks(n, 16 * k + 20 * width):
        part = np.asarray(rows[block])
        check_finite_rows(part, first_row=block.start)
        # In float64 products of the same rows are the same whatever the block.
        logits = logit_scale * (unit_rows(part, block.start).astype(np.float64) @ texts.T)
        best = logits.argmax(axis=1)
        top = logits[np.arange(len(best)), best]
        codes[block] = best
        score[block] = 1 / np.exp(logits - top[:, None]).sum(axis=1)
    used, dense = np.unique(codes, return_inverse=True)
    taken = set(used.tolist())
    facts: dict[str, Any] = {
        "candidates": k,
        "unused": [str(name) for place, name in enumerate(names) if place not in taken],
        "sizes": np.bincount(dense.reshape(-1)).tolist(),
        "logit_scale": float(logit_scale),
        "mean_confidence": float(score.mean(dtype=np.float64)),
    }
    kept = np.asarray([str(name) for name in names])[used]
    return LatentClasses(dense.reshape(-1).astype(np.int64), kept, score, "zero-shot", facts)


def _check(rows: np.ndarray, texts: np.ndarray, names: Sequence[str], logit_scale: float) -> None:
    if len(names) != texts.shape[0]:
        raise UsageError(f"a name for each of {texts.shape[0]} texts", f"{len(names)} names")
    if len(set(names)) != len(names):
        raise DataError("names that differ", f"{len(names)} names, {len(set(names))} of them new")
    if rows.shape[1] != texts.shape[1]:
        raise DataError(
            f"embeddings of images as wide as those of texts, {texts.shape[1]}",
            f"{rows.shape[1]}",
            "Embed the images with the image tower of the model that embeds the texts",
        )
    if not 0 < logit_scale < float("inf"):
        raise UsageError("a logit scale above 0", str(logit_scale))
