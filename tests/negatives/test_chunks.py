"""Losses and encoders in chunks are those of the whole, in value and in gradient."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from contrasift.errors import UsageError
from contrasift.negatives import InfoNCE, Tags, in_chunks, parse_policy
from contrasift.negatives.losses import HardnessWeighted

POLICIES = [
    None,
    "~same_class",
    "difficulty(10,95)",
    "~above_positive(0.95) & ~margin(0.01)",
    "random(0.4)",
]


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("chunk", [7, 500])
def test_chunks_change_neither_value_nor_gradient(policy, symmetric, chunk):
    rule = None if policy is None else parse_policy(policy)
    found = []
    for size in (None, chunk):
        query, key, mined = vectors(33, 12), vectors(33, 12, seed=1), vectors(20, 12, seed=2)
        loss = InfoNCE(0.1, rule, symmetric=symmetric, chunk=size)
        value = loss(
            query, query + 2 * key, tags=Tags(labels=torch.arange(33) % 5), mined=mined,
            mined_tags=Tags(labels=torch.arange(20) % 7),
            generator=torch.Generator().manual_seed(3),
        )  # fmt: skip
        value.backward()
        removed = [] if loss.removed is None else [*vars(loss.removed).values()]
        found.append([value.detach(), query.grad, key.grad, mined.grad, *removed])
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)


def test_two_scales_in_chunks():
    found = []
    for size in (None, 5):
        query, key = vectors(16, 8), vectors(16, 8, seed=1)
        HardnessWeighted(1.0, chunk=size)(query, key).backward()
        found.append((query.grad, key.grad))
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)


def test_mined_negatives_are_those_of_multiple_negatives_ranking():
    query, key, mined = vectors(9, 6), vectors(9, 6, seed=1), vectors(18, 6, seed=2)
    unit = nn.functional.normalize
    scores = 20 * unit(query) @ torch.cat([unit(key), unit(mined)]).T
    expected = nn.functional.cross_entropy(scores, torch.arange(9))
    found = InfoNCE(0.05, symmetric=False)(query, key, mined=mined)
    torch.testing.assert_close(found, expected)
    with pytest.raises(UsageError, match="a queue as well"):
        InfoNCE()(query, key, mined, mined=mined)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 64), nn.Dropout(0.3), nn.Tanh(), nn.Linear(64, 8))

    def forward(self, batch):
        return self.layers(batch["rows"] if isinstance(batch, dict) else batch)


@pytest.mark.parametrize("size", [1, 5, 40])
def test_an_encoder_in_chunks_has_the_gradient_of_the_whole(size):
    rows, other = vectors(21, 6).detach(), vectors(21, 6, seed=1).detach()
    loss, found = InfoNCE(0.1, parse_policy("difficulty(0,90)")), []
    for step in (100, size):
        encoder = Encoder().eval()
        value = loss(in_chunks(encoder, rows, step), in_chunks(encoder, {"rows": other}, step))
        value.backward()
        found.append([value.detach(), *(one.grad for one in encoder.parameters())])
    plain = Encoder().eval()
    value = loss(plain(rows), plain(other))
    value.backward()
    found.append([value.detach(), *(one.grad for one in plain.parameters())])
    for whole, part in zip(found[2] * 2, found[0] + found[1], strict=True):
        torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)


def test_dropout_is_the_same_both_times():
    rows, seen = vectors(8, 6).detach(), []
    encoder = Encoder()
    encoder.layers[1].register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    torch.manual_seed(5)
    in_chunks(encoder, rows, 4).square().sum().backward()
    after = torch.rand(1)
    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))
    torch.manual_seed(5)
    Encoder.forward(encoder, rows[:4]), Encoder.forward(encoder, rows[4:])
    assert torch.equal(torch.rand(1), after)


def test_nothing_is_kept_between_forward_and_backward():
    def kept(chunk: int | None) -> int:
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one: saved.append(one.numel()), lambda one: one
        ):
            InfoNCE(0.1, chunk=chunk)(vectors(64, 4), vectors(64, 4, seed=1))
        gc.collect()
        return max(saved)

    assert kept(None) == 128 * 128
    assert kept(8) == 128 * 4


@pytest.mark.parametrize(
    "make", [lambda: InfoNCE(chunk=0), lambda: in_chunks(Encoder(), torch.zeros(3, 6), 0)]
)
def test_a_chunk_has_something_in_it(make):
    with pytest.raises(UsageError, match="at least 1"):
        make()
