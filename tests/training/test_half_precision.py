"""bfloat16, from a module to a selection (the kind of fault 16)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import contrasift as cs


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_modules_of_any_type_embed(kind):
    rng = np.random.default_rng(0)
    pool = cs.open_pool(rng.integers(0, 255, (10, 8, 8)).astype(np.uint8), labels="none")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))
    plain = cs.embed(pool, np.arange(10), net, views=2, device="cpu")
    other = cs.embed(pool, np.arange(10), net.to(kind), views=2, device="cpu")
    assert np.asarray(other.values).dtype == np.float32
    np.testing.assert_allclose(other.values, plain.values, atol=0.05)
    assert cs.select(other, fraction=0.5).budget == 5


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_tensors_of_any_type_are_selected_from(kind):
    values = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).to(kind)
    values.requires_grad_(True)
    wanted = cs.select(values.detach().float().numpy(), fraction=0.3)
    assert np.array_equal(cs.select(values, fraction=0.3).selected, wanted.selected)
    assert values.requires_grad
    found = cs.latent_classes(values, method="kmeans", n_classes=3)
    assert found.codes.max() == 2
