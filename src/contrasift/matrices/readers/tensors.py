"""safetensors, and what `torch.save` wrote: mapped; never a pickle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.errors import DataError
from contrasift.matrices.parts import (
    HeldIds,
    MappedPart,
    Stored,
    bfloat16_to_float32,
    choose_matrix,
    file_digest,
)
from contrasift.store.faults import reading_remedy

_KINDS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
}


def open_safetensors(path: Path, column: str | None) -> Stored:
    """One tensor of a safetensors file; the library checks the file, its bytes are mapped.

    Raises:
        DataError: damaged, or without such a tensor.
        MissingExtraError: safetensors is not installed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # Opened here first: the package does not say that a file may not be read.
        with open(path, "rb") as raw, safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            kinds = {name: part.get_dtype() for name, part in slices.items()}
            begin = 8 + int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(begin - 8))
    except (OSError, SafetensorError) as error:
        remedy = reading_remedy(error, "Write it again")
        raise DataError("a whole safetensors file", f"{path}: {error}", remedy) from error
    name = choose_matrix(shapes, column, str(path))
    if kinds[name] not in _KINDS:
        raise DataError(f"real numbers as {name} in {path}", kinds[name])

    def mapped(name: str) -> np.ndarray:
        if 0 in shapes[name]:
            return np.empty(shapes[name], _KINDS[kinds[name]])
        offset = begin + header[name]["data_offsets"][0]
        return np.memmap(path, _KINDS[kinds[name]], "r", offset, shapes[name])

    ids = {
        key: lambda key=key: np.asarray(mapped(key))
        for key, shape in shapes.items()
        if shape == shapes[name][:1] and kinds[key].startswith(("I", "U"))
    }
    decode = bfloat16_to_float32 if kinds[name] == "BF16" else None
    part = MappedPart(f"{path}:{name}", mapped(name), decode)
    return Stored(part.name, [part], file_digest(path), HeldIds(str(path), ids))


def open_torch(path: Path, column: str | None) -> Stored:
    """A tensor, or one of a dictionary, that `torch.save` wrote; lists beside it may be ids.

    Raises:
        DataError: damaged, with objects that are not tensors, or without such a tensor.
        MissingExtraError: torch is not installed.
    """
    saved = _loaded(path)
    tensors = saved if isinstance(saved, Mapping) else {path.name: saved}
    shapes = {str(name): tuple(value.shape) for name, value in tensors.items() if _is_tensor(value)}
    single = not isinstance(saved, Mapping)
    name = choose_matrix(shapes, path.name if single and column is None else column, str(path))
    tensor = next(value for key, value in tensors.items() if str(key) == name)
    values, decode = _as_array(tensor, f"{name} in {path}")
    ids = {
        str(key): value if isinstance(value, (list, tuple)) else value.numpy()
        for key, value in tensors.items()
        if _may_be_ids(value, len(values))
    }
    part = MappedPart(str(path) if single else f"{path}:{name}", values, decode, tensor)
    return Stored(part.name, [part], file_digest(path), HeldIds(str(path), ids))


def _loaded(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that is refused, in torch's own words
            try:
                return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            except RuntimeError as error:  # the old format cannot be mapped
                if "mmap" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError("an existing file", f"{path}, which does not exist") from error
    except Exception as error:  # zip, pickle and torch have errors of their own
        reason = str(error).strip().split("\n")[0]
        if "weights_only" in reason:  # torch's advice is to load the objects after all
            reason = "a pickle of other objects, which could run anything"
        raise DataError(
            f"tensors alone, without Python objects, in {path}",
            reason[:200] or type(error).__name__,
            reading_remedy(
                error,
                "Save the tensor itself, or a dictionary of tensors: torch.save(embeddings, path)",
            ),
        ) from error


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "shape")


def _as_array(tensor: Any, where: str) -> tuple[np.ndarray, Any]:
    import torch

    tensor = tensor.detach()
    try:
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.uint16).numpy(), bfloat16_to_float32
        return tensor.numpy(), None
    except (RuntimeError, TypeError) as error:
        raise DataError(f"a dense tensor of real numbers as {where}", str(error)) from error


def _may_be_ids(value: Any, n: int) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) == n and n > 0 and isinstance(value[0], (str, int))
    return (
        _is_tensor(value)
        and tuple(value.shape) == (n,)
        and not value.is_floating_point()
        and not value.is_complex()
    )
