from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from reproduce.cell import Cell
from reproduce.metrics.bounds import BOUND_METRICS, measure_bounds


def subject(directions, codes, *, batch_size, temperature=0.5):
    """Something to read: the same two views of each example, which has the direction of its class."""
    cell = Cell.of(
        {"pool.pool": "digits", "train.batch_size": batch_size, "train.temperature": temperature}, 3
    )
    codes = np.asarray(codes)
    return SimpleNamespace(
        cell=cell,
        labelled=lambda held_out: (np.arange(codes.size), 10 * codes),  # any numbers will do
        views=lambda positions, held_out: np.repeat(
            directions[codes[positions]][:, None], 2, axis=1
        ),
    )


def test_perfect_features_have_the_losses_that_they_must():
    n_classes, size = 4, 12
    found = measure_bounds(subject(np.eye(4), np.arange(40) % 4, batch_size=size))
    negatives, e = size - 1, math.exp(-1 / 0.5)
    assert found["collision"] == pytest.approx(1 - 0.75**negatives)
    coverage = sum((-1) ** m * math.comb(4, m) * (1 - m / 4) ** size for m in range(4))
    assert found["coverage"] == pytest.approx(coverage)
    assert found["supervised"] == pytest.approx(math.log(1 + (n_classes - 1) * e))
    assert found["log_supervised"] == pytest.approx(math.log(found["supervised"]))
    assert found["log_trivial"] == pytest.approx(math.log(math.log(4)))
    assert found["shift"] == pytest.approx(0)
    assert found["same_class_spread"] == 0
    assert found["mean_classifier"] == 1
    # L_Info: Col + 1 keys of the anchor's class weigh 1 each, the others e^{-1/t}.
    expected = sum(
        math.comb(negatives, col) * 0.25**col * 0.75 ** (negatives - col)
        * math.log(1 + col + (negatives - col) * e)
        for col in range(negatives + 1)
    )  # fmt: skip
    assert found["contrastive_loss"] == pytest.approx(expected, rel=0.02)


def test_terms_add_up_as_in_the_papers_table():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(5, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = measure_bounds(subject(directions, np.arange(50) % 5, batch_size=9))
    assert set(found) == set(BOUND_METRICS)
    parts = found["supervised_weighted"] + found["partial_weighted"] + found["log_collisions"] / 2
    assert found["lower_nozawa_sato"] == pytest.approx(parts + found["shift"])
    assert found["supervised_weighted"] == pytest.approx(
        found["coverage"] * found["supervised"] / 2
    )
    for name in ("nozawa_sato", "arora"):
        gap = found["contrastive_loss"] - found[f"lower_{name}"]
        assert found[f"gap_{name}"] == pytest.approx(gap)
        assert gap > 0
        assert found[f"log_upper_{name}"] > found["log_supervised"]
    ours = 2 * (found["contrastive_loss"] - found["shift"] - found["partial_weighted"])
    ours -= found["log_collisions"]
    assert found["log_upper_nozawa_sato"] == pytest.approx(math.log(ours / found["coverage"]))
    looser = math.log((ours + found["partial_weighted"]) / found["coverage"])
    assert found["log_upper_nozawa_sato_notebook"] == pytest.approx(looser)
    assert found["log_arora_over_nozawa_sato"] == pytest.approx(
        found["log_upper_arora"] - found["log_upper_nozawa_sato"]
    )


def test_too_small_batches_have_no_upper_bounds():
    found = measure_bounds(subject(np.eye(6), np.arange(24) % 6, batch_size=4))
    assert found["coverage"] == 0
    assert "log_upper_arora_notebook" in found  # whatever it is worth
    assert not {"log_upper_arora", "log_upper_nozawa_sato", "log_arora_over_nozawa_sato"} & set(
        found
    )
    assert all(math.isfinite(value) for value in found.values())
