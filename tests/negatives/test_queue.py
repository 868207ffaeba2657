from __future__ import annotations

import math
import os
from collections import deque

import pytest
import torch

from contrasift.errors import DataError, UsageError
from contrasift.negatives import Queue, Tags
from forking import started


def unit(*shape: int, seed: int) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("size", "reserve"), [(1, 0), (5, 0), (7, 3), (16, 16)])
def test_it_is_first_in_first_out(size, reserve):
    queue = Queue(size, 3, reserve)
    length = size + reserve
    begun, _ = queue.newest_first()
    naive = deque(((vector, -1) for vector in begun), maxlen=length)
    number = 0
    for step in range(9):
        keys = unit(step % (length + 1), 3, seed=step)
        labels = torch.arange(number, number + len(keys))
        number += len(keys)
        queue.push(keys, Tags(labels=labels))
        naive.extendleft(zip(keys, labels.tolist(), strict=True))
        vectors, tags = queue.newest_first()
        torch.testing.assert_close(vectors, torch.stack([vector for vector, _ in naive]))
        assert tags.labels.tolist() == [label for _, label in naive]
        assert set(tags.examples.tolist()) == {-1}


def test_it_begins_full_of_random_directions():
    queue = Queue(40, 8, 10, seed=3)
    assert len(queue) == 50
    torch.testing.assert_close(queue.vectors.norm(dim=1), torch.ones(50))
    assert torch.equal(queue.vectors, Queue(40, 8, 10, seed=3).vectors)
    assert not torch.equal(queue.vectors, Queue(40, 8, 10, seed=4).vectors)


def test_a_checkpoint_holds_it():
    queue = Queue(6, 3, 2, seed=1)
    queue.push(unit(5, 3, seed=1), Tags(torch.arange(5), torch.arange(5), torch.arange(5)))
    again = Queue(6, 3, 2, seed=9)
    again.load_state_dict(queue.state_dict())
    for mine, theirs in zip(queue.newest_first(), again.newest_first(), strict=True):
        if isinstance(mine, Tags):
            assert torch.equal(mine.examples, theirs.examples)
        else:
            assert torch.equal(mine, theirs)


def test_keys_are_scaled_to_length_one_and_cut_from_the_graph():
    queue = Queue(4, 3)
    keys = (5 * unit(4, 3, seed=0)).requires_grad_()
    queue.push(keys)
    assert not queue.vectors.requires_grad
    torch.testing.assert_close(queue.newest_first()[0], keys.detach().flip(0) / 5)


def test_what_is_often_hard_stays_longer():
    queue = Queue(8, 2, keep_hard=0.5)
    angles = torch.linspace(0.1, 3, 8)
    queue.push(torch.stack([angles.cos(), angles.sin()], dim=1), Tags(examples=torch.arange(8)))
    # The oldest entries, 0 and 1, are nearest to the queries; 2 is the next, and so on.
    for _ in range(5):
        queue.note_hard(torch.tensor([[1.0, 0.0], [1.0, 0.01]]), percent=25)
    queue.push(unit(2, 2, seed=1), Tags(examples=torch.tensor([8, 9])))
    # Among the 2 + 4 oldest, 2 and 3 are the oldest of those that were never hard.
    assert queue.newest_first()[1].examples.tolist() == [9, 8, 7, 6, 5, 4, 1, 0]
    plain = Queue(8, 2)
    plain.push(unit(8, 2, seed=2), Tags(examples=torch.arange(8)))
    plain.note_hard(unit(3, 2, seed=3))
    plain.push(unit(2, 2, seed=4), Tags(examples=torch.tensor([8, 9])))
    assert plain.newest_first()[1].examples.tolist() == [9, 8, 7, 6, 5, 4, 3, 2]


def test_hardness_follows_the_entries():
    queue = Queue(6, 2, keep_hard=0.5)
    angles = torch.linspace(0, 2, 6)
    queue.push(torch.stack([angles.cos(), angles.sin()], dim=1), Tags(examples=torch.arange(6)))
    queue.push(unit(1, 2, seed=0), Tags(examples=torch.tensor([6])))
    queue.note_hard(torch.tensor([[math.cos(0.8), math.sin(0.8)]]), percent=20)
    hardest = int(queue.hardness.argmax())
    assert int(queue.examples[hardest]) == 2
    assert float(queue.hardness[hardest]) == pytest.approx(0.1)
    queue.push(unit(6, 2, seed=1))
    assert not queue.hardness.any()  # new entries have not been hard yet


def test_bad_queues():
    with pytest.raises(UsageError, match="at least one key"):
        Queue(0, 3)
    with pytest.raises(UsageError, match="keep_hard in"):
        Queue(3, 3, keep_hard=1)
    queue = Queue(3, 2)
    with pytest.raises(DataError, match="at most 3 keys of width 2"):
        queue.push(torch.ones(4, 2))
    with pytest.raises(DataError, match="finite keys"):
        queue.push(torch.full((1, 2), math.nan))
    with pytest.raises(DataError, match="2 labels"):
        queue.push(torch.ones(2, 2), Tags(labels=torch.tensor([1])))


def one_of_two(pipe, rank, folder):
    from torch import distributed

    from contrasift.negatives import InfoNCE, difficulty, same_class

    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    case = torch.load(f"{folder}/case.pt", weights_only=True)
    part = slice(4 * rank, 4 * rank + 4)
    out = {}
    for symmetric in (True, False):
        loss = InfoNCE(0.3, difficulty(20, 100) & ~same_class, symmetric=symmetric, gather=True)
        query = case["query"][part].clone().requires_grad_()
        value = loss(query, case["key"][part], tags=Tags(case["labels"][part]))
        value.backward()
        out[f"{symmetric}"] = {"value": value.detach(), "gradient": query.grad}
    queue = Queue(20, 5)
    queue.push(case["key"][part], Tags(case["labels"][part]), gather=True)
    out["vectors"], tags = queue.newest_first()
    out["labels"] = tags.labels
    torch.save(out, f"{folder}/out{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)  # gloo's threads sometimes outlive the interpreter and abort it


@pytest.mark.slow
def test_two_processes_are_one_batch(tmp_path):
    from contrasift.negatives import InfoNCE, difficulty, same_class

    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 8, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(8) % 3
    torch.save({"query": query, "key": key, "labels": labels}, tmp_path / "case.pt")
    workers = [started(one_of_two, rank, tmp_path) for rank in range(2)]
    for worker, _ in workers:
        worker.join(120)
    assert [worker.exitcode for worker, _ in workers] == [0, 0]
    outs = [torch.load(tmp_path / f"out{rank}.pt", weights_only=True) for rank in range(2)]
    for symmetric in (True, False):
        whole = query.clone().requires_grad_()
        loss = InfoNCE(0.3, difficulty(20, 100) & ~same_class, symmetric=symmetric)
        value = loss(whole, key, tags=Tags(labels))
        value.backward()
        parts = [out[f"{symmetric}"] for out in outs]
        torch.testing.assert_close(sum(part["value"] for part in parts) / 2, value.detach())
        # Lightning averages gradients over processes; that is the gradient of the whole batch.
        gradient = torch.cat([part["gradient"] for part in parts]) / 2
        torch.testing.assert_close(gradient, whole.grad)
    queue = Queue(20, 5)
    queue.push(key, Tags(labels))
    for out in outs:
        torch.testing.assert_close(out["vectors"], queue.newest_first()[0])
        assert out["labels"].tolist() == queue.newest_first()[1].labels.tolist()
