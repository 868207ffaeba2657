from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from lightly.loss import DCLLoss, NTXentLoss

from contrasift.errors import DataError, UsageError
from contrasift.negatives import (
    Debiased,
    Decoupled,
    HardnessWeighted,
    InfoNCE,
    Queue,
    Tags,
    above,
    difficulty,
    duplicates,
    everything,
    log_sums,
    random,
    same_class,
    same_latent_class,
)
from contrasift.negatives import losses as losses_module

B_NEGATIVES = (0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1, -0.3, -0.6)


def at_cosines(*cosines: float) -> torch.Tensor:
    """Unit vectors of these cosines with (1, 0)."""
    values = torch.tensor(cosines, dtype=torch.float64)
    return torch.stack([values, (1 - values**2).sqrt()], dim=1)


def draw(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


QUERY = torch.tensor([[1.0, 0.0]], dtype=torch.float64)


# Golden numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(None, 0.5333), (difficulty(80, 100), 0.4076), (difficulty(0, 80), 0.1834)],
)
def test_ten_negatives(policy, expected):
    # docs/mathematics.md#difficulty: the hardest 20 % carry 71.4 % of the negative mass.
    loss = InfoNCE(0.2, policy)
    assert float(loss(QUERY, at_cosines(0.9), at_cosines(*B_NEGATIVES))) == pytest.approx(
        expected, abs=5e-5
    )
    if policy == difficulty(80, 100):
        assert float(loss.removed.mass) == pytest.approx(1 - 0.714, abs=5e-4)
        assert float(loss.removed.share) == pytest.approx(0.8)


def test_debiased_and_hardness_weighted():
    # docs/mathematics.md#losses-with-negatives: s⁺ = .8, s⁻ = (.5, .1, −.2), τ = .5, τ⁺ = .1, β = 1.
    case = (QUERY, at_cosines(0.8), at_cosines(0.5, 0.1, -0.2))
    assert float(InfoNCE(0.5)(*case)) == pytest.approx(0.657905, abs=5e-7)
    assert float(Debiased(0.1, 0.5)(*case)) == pytest.approx(0.531114, abs=5e-7)
    assert float(HardnessWeighted(1, 0.1, 0.5)(*case)) == pytest.approx(0.707410, abs=5e-7)


def test_nt_xent_and_one_sided():
    # docs/mathematics.md#example-two-pairs
    angles = torch.deg2rad(torch.tensor([[0.0, 90], [30, 150]], dtype=torch.float64))
    first, second = (torch.stack([row.cos(), row.sin()], dim=1) for row in angles)
    assert float(InfoNCE(0.5)(first, second)) == pytest.approx(0.4174, abs=5e-5)
    one_sided = InfoNCE(0.5, symmetric=False)
    assert float(one_sided(first, second)) == pytest.approx((0.0308 + 0.6931) / 2, abs=5e-5)


@pytest.mark.parametrize("n", [2, 3, 17])
@pytest.mark.parametrize("policy", [None, everything])
def test_it_is_lightlys_loss_without_a_policy(n, policy):
    first, second = draw(n, 5, seed=1), draw(n, 5, seed=2)
    ours, theirs = InfoNCE(0.3, policy), NTXentLoss(0.3)
    assert float(ours(first, second)) == pytest.approx(float(theirs(first, second)), rel=1e-12)
    ours, theirs = Decoupled(0.3, policy), DCLLoss(0.3)
    # lightly leaves the positive pair out of the negatives; its order of sums differs.
    assert float(ours(first, second)) == pytest.approx(float(theirs(first, second)), rel=1e-12)


def test_it_is_lightlys_loss_with_a_memory_bank():
    theirs = NTXentLoss(0.1, memory_bank_size=(50, 6))
    first, second = draw(4, 6, dtype=torch.float32), draw(4, 6, seed=3, dtype=torch.float32)
    bank = theirs.memory_bank.bank
    assert float(InfoNCE(0.1)(first, second, bank)) == pytest.approx(
        float(theirs(first, second)), rel=1e-6
    )


# Against a naive version ---------------------------------------------------------------------------


def naive_sums(loss, query, key, queue, tags, queue_tags):
    """(s⁺, list of negative cosines) of every query, by loops; removal only."""

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    first, second = unit(query.numpy()), unit(key.numpy())
    n = len(first)
    labels = tags.labels.numpy()
    if queue is None and loss.symmetric is not False:
        views, names = np.concatenate([first, second]), np.tile(labels, 2)
        cases = [
            (views[i], views[(i + n) % (2 * n)], names[i],
             [(views[j], names[j]) for j in range(2 * n) if j % n != i % n])
            for i in range(2 * n)
        ]  # fmt: skip
    elif queue is None:
        cases = [
            (first[i], second[i], labels[i], [(second[j], labels[j]) for j in range(n) if j != i])
            for i in range(n)
        ]
    else:
        rest = list(zip(unit(queue.numpy()), queue_tags.labels.numpy(), strict=True))
        cases = [(first[i], second[i], labels[i], rest) for i in range(n)]
        if loss.symmetric:
            cases += [(second[i], first[i], labels[i], rest) for i in range(n)]
    return [
        (
            q @ p,
            np.array([q @ v for v, _ in others]),
            np.array([name == label for _, name in others]),
        )
        for q, p, label, others in cases
    ]


def naive_loss(loss, positive: float, negatives: np.ndarray) -> float:
    t = loss.temperature
    own, sum_ = math.exp(positive / t), np.exp(negatives / t).sum()
    if isinstance(loss, HardnessWeighted):
        weights = np.exp(loss.beta * negatives / t)
        sum_ = (weights / weights.mean() * np.exp(negatives / t)).sum()
    if isinstance(loss, Debiased):
        n = len(negatives)
        g = max((sum_ / n - loss.tau_plus * own) / (1 - loss.tau_plus), math.exp(-1 / t))
        sum_ = n * g
    if isinstance(loss, Decoupled):
        return -math.log(own / sum_)
    return -math.log(own / (own + sum_))


MAKERS = [InfoNCE, Decoupled, Debiased, HardnessWeighted]
POLICIES = [None, difficulty(60, 100), difficulty(60, 100) & ~same_class, ~same_class]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("form", ["batch", "one-sided", "queue", "queue both"])
def test_losses_are_what_loops_say(monkeypatch, make, policy, form):
    monkeypatch.setattr(log_sums, "_BLOCK_BYTES", 3 * 24 * 8)  # several blocks
    symmetric = {"one-sided": False, "queue both": True}.get(form)
    loss = make(temperature=0.4, negatives=policy, symmetric=symmetric)
    query, key = draw(7, 4, seed=4), draw(7, 4, seed=5)
    tags = Tags(torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    queue = draw(24, 4, seed=6) if form.startswith("queue") else None
    queue_tags = Tags(torch.arange(24) % 3) if queue is not None else Tags()
    expected, gone, same_gone = [], 0, 0
    for positive, cosines, same in naive_sums(loss, query, key, queue, tags, queue_tags):
        keep = np.ones(len(cosines), dtype=bool)
        if policy is not None and "difficulty" in policy.text:
            keep[np.argsort(cosines)[: math.floor(0.6 * len(cosines))]] = False
        if policy is not None and "same_class" in policy.text:
            keep &= ~same
        expected.append(naive_loss(loss, positive, cosines[keep]))
        gone += (~keep).sum()
        same_gone += (~keep & same).sum()
    value = loss(query, key, queue, tags=tags, queue_tags=queue_tags)
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-10)
    if policy is None:
        assert loss.removed is None
    else:
        assert float(loss.removed.same_class) == pytest.approx(same_gone / gone)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("temperature", [0.5, 0.01])
@pytest.mark.parametrize("policy", [~difficulty(99, 100), difficulty(90, 97)], ids=str)
def test_few_by_column_are_as_by_mask(make, temperature, policy):
    # `& everything` changes nothing but the way: masks are composed, columns are not.
    query, key, queue = draw(5, 4, seed=1), draw(5, 4, seed=2), draw(500, 4, seed=3)
    tags, queue_tags = Tags(labels=torch.arange(5) % 3), Tags(labels=torch.arange(500) % 3)
    results = []
    for negatives in (policy, policy & everything):
        vectors = [query.clone().requires_grad_(), queue.clone().requires_grad_()]
        loss = make(temperature=temperature, negatives=negatives)
        value = loss(vectors[0], key, vectors[1], tags=tags, queue_tags=queue_tags)
        value.backward()
        facts = [getattr(loss.removed, item.name) for item in dataclasses.fields(loss.removed)]
        results.append([value.detach(), *(v.grad for v in vectors), *facts])
    assert float(results[0][3]) == pytest.approx(0.93 if policy == difficulty(90, 97) else 0.01)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.005, 0.01, 0.02, 0.07, 1.0])
def test_no_temperature_overflows(temperature):
    # Exact values by mpmath are not needed: one negative, so log(1 + e^{(s − s⁺)/τ}).
    for positive, negative in [(0.9, -0.9), (-0.9, 0.9), (0.3, 0.3)]:
        query = QUERY.float()
        loss = InfoNCE(temperature, difficulty(0, 50))
        value = loss(query, at_cosines(positive).float(), at_cosines(negative, 0.95).float())
        gap = (negative - positive) / temperature
        exact = gap + math.log1p(math.exp(-gap)) if gap > 0 else math.log1p(math.exp(gap))
        assert float(value) == pytest.approx(exact, rel=2e-5, abs=1e-6)
        assert 0 <= float(loss.removed.mass) <= 1
        assert math.isfinite(
            float(Debiased(0.1, temperature)(query, at_cosines(positive).float(), at_cosines(negative, 0.1).float()))
        )  # fmt: skip


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("make", [Debiased, HardnessWeighted])
def test_a_device_without_float64_does_with_float32(monkeypatch, make, temperature):
    case = [part.float() for part in (draw(6, 8), draw(6, 8, seed=1), draw(40, 8, seed=2))]
    loss = make(tau_plus=0.1, temperature=temperature, negatives=difficulty(20, 100))
    expected = loss(*case)
    for module in (log_sums, losses_module):
        monkeypatch.setattr(module, "wide", torch.Tensor.float)
    assert float(loss(*case)) == pytest.approx(float(expected), rel=1e-4)
    assert loss.removed.share.dtype == torch.float32


def test_the_correction_has_a_floor():
    # Far negatives less τ⁺ of the positive would be below e^{−1/τ}, the least that Σ/N can be.
    loss = Debiased(0.5, 0.5)
    value = loss(QUERY, at_cosines(0.95), at_cosines(-0.9, -0.8))
    expected = naive_loss(loss, 0.95, np.array([-0.9, -0.8]))
    own = math.exp(0.95 / 0.5)
    assert expected == pytest.approx(-math.log(own / (own + 2 * math.exp(-2))))
    assert float(value) == pytest.approx(expected)


def test_beta_zero_is_debiased():
    case = draw(5, 4), draw(5, 4, seed=1), draw(30, 4, seed=2)
    for policy in (None, difficulty(50, 100)):
        expected = Debiased(0.2, 0.3, negatives=policy)(*case)
        value = HardnessWeighted(0, 0.2, 0.3, negatives=policy)(*case)
        torch.testing.assert_close(value, expected)


# Gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("policy", [None, difficulty(60, 100)], ids=str)
@pytest.mark.parametrize("temperature", [0.4, 0.02])
def test_gradients_in_a_batch(monkeypatch, make, policy, temperature):
    monkeypatch.setattr(log_sums, "_BLOCK_BYTES", 2 * 10 * 8)
    loss = make(temperature=temperature, negatives=policy)
    inputs = draw(5, 3).requires_grad_(), draw(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("make", MAKERS)
def test_gradients_with_a_queue(make):
    loss = make(temperature=0.4, negatives=difficulty(50, 100))
    inputs = [draw(4, 3, seed=n).requires_grad_() for n in range(2)]
    assert torch.autograd.gradcheck(loss, (*inputs, draw(12, 3, seed=7).requires_grad_()))
    assert torch.autograd.gradcheck(loss, (*inputs, draw(12, 3, seed=7)))


def test_removed_negatives_get_no_gradient():
    queue = at_cosines(*B_NEGATIVES).requires_grad_()
    InfoNCE(0.2, difficulty(80, 100))(QUERY, at_cosines(0.9), queue).backward()
    moved = queue.grad.abs().sum(1) > 0
    assert moved.tolist() == [True] * 2 + [False] * 8


# Replacement -----------------------------------------------------------------------------------------


def test_replacement_keeps_the_number_of_negatives():
    # The hardest of five goes; the newest entry of the reserve that is not harder comes.
    newest, reserve = (0.7, 0.5, 0.4, 0.3, 0.2), (0.69, 0.6, 0.5, -0.1, -0.3)
    loss = InfoNCE(0.2, difficulty(0, 80), "replace", reserve=5)
    value = loss(QUERY, at_cosines(0.9), at_cosines(*newest, *reserve))
    # v_⌊.8·5⌋ = .5 is the threshold, so .69 and .6 may not replace, and .5 is the newest that may.
    expected = InfoNCE(0.2)(QUERY, at_cosines(0.9), at_cosines(0.5, 0.5, 0.4, 0.3, 0.2))
    torch.testing.assert_close(value, expected)
    assert float(loss.removed.share) == pytest.approx(0.2)


def test_replacement_of_one_class():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 5, (60,), generator=generator)
    query, key, queue = draw(9, 6), draw(9, 6, seed=1), draw(60, 6, seed=2)
    tags, queue_tags = Tags(torch.arange(9) % 5), Tags(labels)
    loss = InfoNCE(0.2, ~same_class, "replace", reserve=20)
    value = loss(query, key, queue, tags=tags, queue_tags=queue_tags)
    expected = []
    for row in range(9):
        same = labels == row % 5
        taken = [i for i in range(40) if not same[i]]
        taken += [i for i in range(40, 60) if not same[i]][: 40 - len(taken)]
        assert len(taken) == 40
        expected.append(InfoNCE(0.2)(query[[row]], key[[row]], queue[taken]))
    torch.testing.assert_close(value, torch.stack(expected).mean())


def test_replacement_without_enough_to_replace_with():
    loss = InfoNCE(0.2, ~above(0.35), "replace", reserve=2)
    bank = at_cosines(0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.9)
    with pytest.raises(UsageError, match="replace the 3 negatives removed for query 0; got 1 of"):
        loss(QUERY, at_cosines(0.9), bank)
    with pytest.raises(UsageError, match="longer than the reserve of 2"):
        loss(QUERY, at_cosines(0.9), bank[:2])


# The queue --------------------------------------------------------------------------------------------


def test_a_queue_of_ours_brings_its_tags():
    queue = Queue(20, 4, seed=1)
    queue.push(draw(6, 4), Tags(torch.arange(6) % 2, torch.arange(6) % 3, torch.arange(6)))
    query, key, tags = draw(3, 4, seed=8), draw(3, 4, seed=9), Tags(*[torch.tensor([0, 1, 1])] * 3)
    vectors, queue_tags = queue.newest_first()
    for policy in (~same_class, ~same_latent_class, ~duplicates, difficulty(90, 100)):
        loss = InfoNCE(0.2, policy)
        expected = loss(query, key, vectors, tags=tags, queue_tags=queue_tags)
        torch.testing.assert_close(loss(query, key, queue, tags=tags), expected)


# Bad input --------------------------------------------------------------------------------------------


def test_bad_settings():
    for temperature in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="a temperature above 0"):
            InfoNCE(temperature)
    with pytest.raises(UsageError, match="mode to be one of remove, replace"):
        InfoNCE(0.2, everything, "drop")
    with pytest.raises(UsageError, match="a policy and a reserve"):
        InfoNCE(0.2, everything, "replace")
    with pytest.raises(UsageError, match="no reserve for mode remove"):
        InfoNCE(0.2, everything, reserve=3)
    with pytest.raises(UsageError, match="tau_plus in"):
        Debiased(1.0)
    with pytest.raises(UsageError, match="beta of at least 0"):
        HardnessWeighted(-1)


def test_a_band_that_leaves_nothing_names_the_query():
    tags, queue_tags = Tags(torch.tensor([1, 0])), Tags(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UsageError, match="none for query 1 under the policy ~same_class"):
        InfoNCE(0.2, ~same_class)(
            draw(2, 3), draw(2, 3, seed=1), draw(3, 3, seed=2), tags=tags, queue_tags=queue_tags
        )
    with pytest.raises(UsageError, match="none for query 0"):
        InfoNCE(0.2)(draw(1, 3), draw(1, 3, seed=1))
    with pytest.raises(UsageError, match=r"none for query 0 under the policy difficulty\(0,5\)"):
        InfoNCE(0.2, difficulty(0, 5))(draw(2, 3), draw(2, 3, seed=1), draw(10, 3, seed=2))


def test_bad_vectors():
    good, bad = draw(4, 3), draw(4, 3, seed=1)
    bad[2, 1] = math.nan
    with pytest.raises(DataError, match="finite vectors .* in key; got .* row 2"):
        InfoNCE()(good, bad)
    with pytest.raises(DataError, match="in queue"):
        InfoNCE()(good, good, bad)
    with pytest.raises(DataError, match="in query"):
        InfoNCE()(torch.zeros(4, 3, dtype=torch.float64), good)
    with pytest.raises(DataError, match="two views of one shape"):
        InfoNCE()(good, good[:3])
    with pytest.raises(DataError, match="a queue of width 3"):
        InfoNCE()(good, good, draw(9, 4))


def test_missing_tags_generator_and_queue():
    batch = draw(4, 3), draw(4, 3, seed=1)
    with pytest.raises(UsageError, match="labels of queries and negatives"):
        InfoNCE(0.2, ~same_class)(*batch)
    with pytest.raises(UsageError, match="a generator for the policy random"):
        InfoNCE(0.2, random(0.5))(*batch)
    with pytest.raises(UsageError, match="a queue for mode replace"):
        InfoNCE(0.2, ~same_class, "replace", reserve=2)(*batch)


def test_random_draws_come_from_the_generator_alone():
    batch = draw(6, 3), draw(6, 3, seed=1)
    loss = InfoNCE(0.2, random(0.3))
    values = [
        float(loss(*batch, generator=torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]
    assert float(loss.removed.share) == pytest.approx(1 - 3 / 10)  # 10 negatives, ⌈.3·10⌉ stay


# Lengths and precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_lengths_do_not_matter(make):
    case = [draw(5, 4, seed=n) for n in range(3)]
    loss = make(negatives=difficulty(50, 100))
    scaled = [values * torch.arange(1, len(values) + 1)[:, None] for values in case]
    torch.testing.assert_close(loss(*case), loss(*scaled))


@pytest.mark.parametrize("make", MAKERS)
def test_half_precision_is_computed_in_float32(make):
    case = [draw(6, 8, seed=n, dtype=torch.float32).bfloat16() for n in range(3)]
    loss = make(negatives=difficulty(50, 100))
    expected = loss(*(part.float() for part in case))
    leaf = case[0].clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(leaf, *case[1:])
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    value.backward()
    assert leaf.grad.dtype == torch.bfloat16
    assert torch.isfinite(leaf.grad).all()
