from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from contrasift import open_pool
from contrasift.errors import ContrasiftError, DataError
from contrasift.matrices import open_embeddings
from contrasift.store.atomic import atomic_path, load_array, read_json, reserve, write_json


def test_a_failed_write_leaves_the_old_file_and_no_litter():
    target = Path("value.json")
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError, match="half-way"), atomic_path(target) as temporary:
        temporary.write_text("{")
        raise RuntimeError("half-way")
    assert read_json(target) == {"a": 1}
    assert os.listdir() == ["value.json"]


def test_a_full_disk_is_explained(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ContrasiftError, match="No space left"):
        write_json(Path("value.json"), {"a": 1})
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "Make room"), (errno.EACCES, "writable"), (errno.EINVAL, "see to the disk")],
)
def test_what_to_do_depends_on_the_fault(monkeypatch, number, words):
    def fails(*of):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(ContrasiftError, match="repeat the command") as caught:
        write_json(Path("value.json"), {"a": 1})
    assert words in caught.value.remedy
    assert not list(Path().iterdir())


def test_a_file_that_may_not_be_read_need_not_be_written_again(monkeypatch):
    def forbidden(*of, **how):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np, "load", forbidden)
    for read in (load_array, open_pool, open_embeddings):
        Path("x.npy").touch()
        with pytest.raises(DataError, match="x.npy: Permission denied. See that you may read it"):
            read(Path("x.npy"))


def test_a_folder_that_is_a_file_is_explained():
    Path("file").write_text("")
    with pytest.raises(ContrasiftError, match="to write file/value.json"):
        write_json(Path("file/value.json"), {})


def test_numpy_values_become_plain_json():
    value = {"n": np.int64(3), "x": np.array([1.5]), "p": Path("a"), "s": (1, 2)}
    write_json(Path("v.json"), value)
    assert read_json(Path("v.json")) == {"n": 3, "x": [1.5], "p": "a", "s": [1, 2]}


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_broken_json_is_a_data_error(content):
    Path("v.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="JSON"):
        read_json(Path("v.json"))


def test_arrays_are_mapped_and_never_unpickled():
    np.save("a.npy", np.arange(6.0).reshape(2, 3))
    assert isinstance(load_array(Path("a.npy")), np.memmap)
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("short.npy").write_bytes(Path("a.npy").read_bytes()[:-8])
    np.savez("many.npz", a=np.zeros(1))
    Path("text.npy").write_text("1 2 3")
    for name in ("objects.npy", "short.npy", "many.npz", "text.npy", "absent.npy"):
        with pytest.raises(DataError, match=name):
            load_array(Path(name))


def test_a_damaged_header_is_a_data_error_however_it_fails():
    np.save("a.npy", np.arange(6.0))
    whole = bytearray(Path("a.npy").read_bytes())
    for place in range(8, 80):
        for bit in (0, 3, 6):
            damaged = whole.copy()
            damaged[place] ^= 1 << bit
            Path("b.npy").write_bytes(damaged)
            with contextlib.suppress(DataError):  # and nothing else
                load_array(Path("b.npy"))
    # Brackets that are never closed: not a ValueError, but one of the tokenizer.
    Path("b.npy").write_bytes(whole.replace(b"}", b" "))
    with pytest.raises(DataError, match="multi-line|never closed|whole .npy file"):
        load_array(Path("b.npy"))


def test_a_file_gets_its_blocks_before_they_are_written(monkeypatch):
    with open("sparse", "wb") as file:
        file.truncate(1 << 20)
    reserve(Path("sparse"))
    assert os.stat("sparse").st_blocks * 512 >= 1 << 20
    for number, raised in ((95, False), (28, True)):  # not known here; no space left

        def refuse(*_, number=number):
            raise OSError(number, "refused")

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        if raised:
            with pytest.raises(OSError, match="refused"):
                reserve(Path("sparse"))
        else:
            reserve(Path("sparse"))
    monkeypatch.delattr(os, "posix_fallocate")
    reserve(Path("sparse"))
