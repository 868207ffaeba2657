"""Trainings where tensors of the device and of the CPU may not meet, as on a GPU."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from contrasift.options import METHODS, TrainOptions
from contrasift.training.choosing import PoolTags
from contrasift.training.methods import MODULES
from contrasift.training.pretrain import untrained_encoder
from contrasift.training.recording import LoaderInPlace
from contrasift.training.views import AUGMENTATIONS

META = torch.device("meta")


class Elsewhere(torch.Tensor):
    """A tensor that says it is on the device `meta`, with its values after all."""

    @staticmethod
    def __new__(cls, values: torch.Tensor):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(),
            dtype=values.dtype, device=META,
        )  # fmt: skip
        tensor.values_ = values
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError("outside of OtherDevice")

    def __repr__(self) -> str:
        return f"Elsewhere({self.values_})"


class OtherDevice(TorchDispatchMode):
    """Computes as CPUs do, but lets no tensor of the CPU meet one from elsewhere, as GPUs do.

    What a GPU takes from the CPU all the same: numbers, the source of a copy, indices.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [it for it in tree_flatten((args, kwargs))[0] if isinstance(it, torch.Tensor)]
        here = [it for it in tensors if not isinstance(it, Elsewhere)]
        asked = kwargs.get("device")
        goes = function._schema.name in ("aten::_to_copy", "aten::copy_")
        if len(here) < len(tensors) and not goes:
            strangers = [it for it in here if it.ndim]
            assert not strangers, f"{function} of both devices: {strangers}"
        there = len(here) < len(tensors) if asked is None else torch.device(asked) == META
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        plain = tree_map(lambda it: it.values_ if isinstance(it, Elsewhere) else it, (args, kwargs))
        out = function(*plain[0], **plain[1])
        if not there:
            return out
        out = tree_map(lambda it: Elsewhere(it) if type(it) is torch.Tensor else it, out)
        return return_and_correct_aliasing(function, args, kwargs, out)


def module_of(options: TrainOptions, channels: int):
    tags = PoolTags(np.arange(40), np.arange(40) % 4)
    return MODULES[options.method](
        untrained_encoder(options, channels, 12, seed=3), options,
        augmentation=AUGMENTATIONS["moco-v2"], mirror=True, seed=3, total_steps=10, tags=tags,
    )  # fmt: skip


CASES = {
    **{method: {"method": method} for method in METHODS},
    "moco, all of it": {
        "method": "moco", "queue_reserve": 8, "queue_keep_hard": 0.5, "split_bn": 2,
        "negatives": "difficulty(0,95) & ~same_class",
    },
    "policy": {"negatives": "~same_class & ~duplicates"},
    "loss": {"loss": "hardness(0.5,0.1)"},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_step_needs_no_tensor_from_the_wrong_device(case, monkeypatch):
    # Of devices that are none, torch knows no precision; here all is in float32.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    options = TrainOptions(
        architecture="narrow:0.125", batch_size=8, projection_dim=4, queue_size=24, **CASES[case]
    )
    channels = 3 if case == "simclr" else 1
    here = module_of(options, channels)
    there = copy.deepcopy(here)
    images = torch.randint(0, 256, (8, channels, 12, 12)).byte()
    batch = [images, torch.arange(8) * 3]
    expected = here.training_step(batch)
    expected.backward()
    with OtherDevice():
        there.to(META)
        for name, buffer in there.named_buffers():
            assert buffer.device == META, name
        loader = LoaderInPlace.__new__(LoaderInPlace)  # of nothing
        moved = loader.transfer_batch_to_device(batch, META, 0)
        assert [part.device.type for part in moved] == ["meta", "cpu"]
        loss = there.training_step(moved)
        assert loss.device == META
        loss.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        for left, right in zip(here.parameters(), there.parameters(), strict=True):
            assert (left.grad is None) == (right.grad is None)
            if left.grad is not None:
                torch.testing.assert_close(right.grad.cpu(), left.grad)
