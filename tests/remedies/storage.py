"""Remedies of files, disks, addresses and packages, followed.

Storage elsewhere is fsspec's own in memory, with the faults of others; a full disk is one that says so.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch

import contrasift as cs
from contrasift.matrices import copying, open_embeddings
from contrasift.pipeline.export.whole import whole_folder
from contrasift.pools import open_pool
from contrasift.store.atomic import load_array, write_text
from contrasift.store.columns import MappedColumns
from contrasift.store.embeddings import load_embeddings_file
from contrasift.store.faults import REMEDIES
from contrasift.store.inputs import load_classes_file
from contrasift.store.objects import RemoteFile
from contrasift.store.remote import RemoteMatrix, local_file
from contrasift.store.run import RunFolder
from contrasift.store.selections import write_selection
from contrasift.store.subsets import check_in_pool, load_subset_file
from contrasift.store.tables import positions_of, read_latent_classes, write_table
from remedies.cases import Case, images, picture, rows, saved, table, written
from remedies.parts import feather, hdf5, tar, tensors

INDEX = np.arange(12)


@contextlib.contextmanager
def forbidden(path: Path) -> Iterator[None]:
    """A file that may not be read; root, who may read all, is somebody else meanwhile."""
    user = os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
        path.chmod(0o644)


def no_right(write: Callable[[str], Any], suffix: str, read: Callable[[str], Any]) -> Case:
    """A file that its reader may not read, and then may."""

    def wrong() -> None:
        write(f"x{suffix}")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            place = Path(folder, f"x{suffix}")
            place.write_bytes(Path(f"x{suffix}").read_bytes())
            with forbidden(place):
                read(str(place))

    return wrong, "See that you may read it", lambda: read(f"x{suffix}")


def images_in(name: str) -> Path:
    return table(name, image=[picture()] * 3)


def pool_of(path: str) -> Any:
    return open_pool(path, labels="none")


RIGHTS = {
    "an array": no_right(lambda name: saved(rows(), name), ".npy", lambda p: load_array(Path(p))),
    "an archive": no_right(lambda name: np.savez(name, z=rows()), ".npz", open_embeddings),
    "an Arrow file": no_right(feather, ".arrow", open_embeddings),
    "an HDF5 file": no_right(hdf5, ".h5", open_embeddings),
    "a file of tensors": no_right(tensors, ".safetensors", open_embeddings),
    "a file of torch": no_right(
        lambda name: torch.save(torch.from_numpy(rows()), name), ".pt", open_embeddings
    ),
    "images as an array": no_right(lambda name: saved(images(), name), ".npy", pool_of),
    "images in a table": no_right(images_in, ".parquet", pool_of),
    "images in a shard": no_right(tar, ".tar", pool_of),
}


@contextlib.contextmanager
def failing(number: int) -> Iterator[None]:
    """A disk, file system or process that has this fault when a file is put in its place."""

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", fail)
        yield


def while_failing(number: int) -> None:
    with failing(number):
        write_text(Path("x.txt"), "x")


def fault(number: int) -> Case:
    """A fault of the machine, which is then mended: the same is written."""
    return (
        lambda: while_failing(number),
        REMEDIES[number] + ", then repeat the command",
        lambda: write_text(Path("x.txt"), "x"),
    )


@contextlib.contextmanager
def little_room() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda *_: Usage)
        yield


class Usage:
    """What a full disk has left."""

    total = used = 1 << 40
    free = 1000


def copied(full: bool, folder: str = "cache") -> None:
    given = open_embeddings(hdf5_in_pieces(f"{folder}.h5"))
    with little_room() if full else contextlib.nullcontext():
        copying.mapped_copy(given, Path(folder), None, None)


def hdf5_in_pieces(name: str, spoil: bool = False) -> str:
    """A matrix in compressed chunks, perhaps with some of their bytes changed."""
    import h5py

    with h5py.File(name, "w") as file:
        file.create_dataset("z", data=rows(64, 16), chunks=(64, 16), compression="gzip")
    if spoil:
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[:-3000] + bytes(3000))
    return name


def exported(place: str, write: bool = True) -> None:
    with whole_folder(Path(place), lambda _: None) as part:
        if write:
            (part / "x.txt").write_text("x")


def with_a_folder() -> None:
    """A folder where the file of a selection would lie."""
    Path("o/selection.json").mkdir(parents=True)
    selected("o")


def selected(folder: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    write_selection(Path(folder), cs.select(rows(), fraction=0.3))


def owned() -> None:
    with RunFolder("run").locked(print), RunFolder("run").locked(print):
        pass


def lock_deleted() -> None:
    with RunFolder("run").locked(print):
        Path("run/run.lock").unlink()
        with RunFolder("run").locked(print):
            pass


def locked(folder: str) -> None:
    with RunFolder(folder).locked(print):
        pass


def classes_of(index: np.ndarray) -> None:
    write_table(Path("classes.parquet"), {"index": index, "latent_class": [0, 1] * 6})
    read_latent_classes(Path("classes.parquet"), INDEX)


DISKS = {
    **{f"fault {errno.errorcode[number]}": fault(number) for number in REMEDIES},
    "a place in a folder": (
        lambda: write_text(written("x", "file") / "x.txt", "x"),
        "Choose a place in a folder, then repeat",
        lambda: write_text(Path("folder/x.txt"), "x"),
    ),
    "a shorter name": (
        lambda: write_text(Path("x" * 300), "x"),
        "Choose a shorter name",
        lambda: write_text(Path("x" * 30), "x"),
    ),
    "room for columns": (
        lambda: MappedColumns(written("x", "file") / "o").new(4, np.int64),
        "Choose a place in a folder",
        lambda: MappedColumns(Path("o")).new(4, np.int64),
    ),
    "room for a copy": (
        lambda: copied(full=True),
        "Free space or choose another place; .npy files",
        lambda: (
            copied(full=False, folder="other"),
            saved(open_embeddings("other.h5")[:], "a.npy"),
            copying.mapped_copy(open_embeddings("a.npy"), Path("cache"), None, None),
        ),
    ),
    "room for an export": (
        lambda: exported(str(written("x", "file") / "o")),
        "Free space or choose another out=",
        lambda: exported("o"),
    ),
    "another place for a selection": (
        with_a_folder,
        "Choose another place",
        lambda: selected("p"),
    ),
    "another place for a run": (
        lambda: locked(str(written("x", "file") / "run")),
        "Choose another out=",
        lambda: locked("run"),
    ),
    "a run of somebody else": (
        owned,
        "Wait for it, choose another out=, or delete",
        lambda: (locked("run"), locked("other"), lock_deleted()),
    ),
}
FILES = {
    "no NUL": (
        lambda: load_classes_file(written(b"a\0\n\0" * 12, "c.txt"), INDEX),
        "iconv -f UTF-16 -t UTF-8",
        lambda: load_classes_file(written("a\n" * 12, "c.txt"), INDEX),
    ),
    "the address of a matrix": (
        lambda: load_embeddings_file(in_memory("folder/embeddings.npy")[: -len("/embeddings.npy")]),
        "/embeddings.npy",
        lambda: load_embeddings_file("memory://bucket/folder/embeddings.npy"),
    ),
    "a description of another": (
        lambda: load_embeddings_file(
            written('{"sha256": "0", "normalised": "mean"}', "z.json") and saved(rows())
        ),
        "Move the matrix away from it",
        lambda: load_embeddings_file(Path("z.npy").rename("elsewhere.npy")),
    ),
    "a list of this pool": (
        lambda: check_in_pool(load_subset_file(written("3\n99\n", "s.txt")), INDEX, "s.txt"),
        "made for this pool",
        lambda: check_in_pool(load_subset_file(written("3\n9\n", "s.txt")), INDEX, "s.txt"),
    ),
    "classes of these examples": (
        lambda: classes_of(INDEX + 1),
        "Delete classes.parquet and run `contrasift classes` again",
        lambda: classes_of(INDEX),
    ),
    "a pool with all examples": (
        lambda: positions_of(INDEX, INDEX[:-1]),
        "Begin a new run with another out=",
        lambda: positions_of(INDEX[:-1], INDEX[:-1]),
    ),
    "a whole HDF5 file": (
        lambda: open_embeddings(hdf5_in_pieces("a.h5", spoil=True))[:],
        "Copy it again",
        lambda: open_embeddings(hdf5_in_pieces("b.h5"))[:],
    ),
    "a whole Arrow file": (
        lambda: open_embeddings(compressed("a.arrow", spoil=True))[:],
        "Write it again",
        lambda: open_embeddings(compressed("a.arrow"))[:],
    ),
    "a whole zarr array": (
        lambda: open_embeddings(zarr("a.zarr", spoil=True))[:],
        "Write it again",
        lambda: open_embeddings(zarr("b.zarr"))[:],
    ),
    "a whole Lance table": (
        lambda: open_embeddings(lance("a.lance", spoil=True))[:],
        "Write it again",
        lambda: open_embeddings(lance("b.lance"))[:],
    ),
    "a name with a slip": (
        lambda: open_embeddings(saved(rows(), "embeddings.npy") and "embedings.npy"),
        "embeddings.npy",
        lambda: open_embeddings("embeddings.npy"),
    ),
    "one array of one row an example": (
        lambda: open_embeddings(np.savez("a.npz", a=np.zeros(3), b=np.zeros((3, 2, 2))) or "a.npz"),
        "Flatten every example's features",
        lambda: open_embeddings(np.savez("a.npz", b=np.zeros((3, 4))) or "a.npz"),
    ),
}


def compressed(name: str, spoil: bool = False) -> str:
    from pyarrow import feather as writer

    values = np.random.default_rng(0).normal(size=(4000, 3))
    writer.write_feather(pa.table({"z": list(values)}), name, compression="lz4", chunksize=500)
    if spoil:
        content = bytearray(Path(name).read_bytes())
        content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
        Path(name).write_bytes(content)
    return name


def zarr(name: str, spoil: bool = False) -> str:
    package = pytest.importorskip("zarr")
    package.create_array(name, data=rows(8, 4), chunks=(4, 4))
    if spoil:
        for chunk in Path(name).rglob("c/*/*"):
            chunk.write_bytes(b"no chunk")
    return name


def lance(name: str, spoil: bool = False) -> str:
    package = pytest.importorskip("lance")
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows(8, 4).ravel(), pa.float32()), 4)
    package.write_dataset(pa.table({"z": values}), name)
    if spoil:
        for file in Path(name, "data").iterdir():
            content = file.read_bytes()
            file.write_bytes(bytes(64) + content[64:-40] + bytes(40))
    return name


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def in_memory(name: str, content: bytes | None = None) -> str:
    """An object in a bucket, `rows()` unless there is something else."""
    url = f"memory://bucket/{name}"
    fsspec.filesystem("memory").pipe_file(url, npy(rows()) if content is None else content)
    return url


@contextlib.contextmanager
def answering(**instead: Any) -> Iterator[None]:
    """Storage whose answers are others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, answer in instead.items():
            patch.setattr(type(fsspec.filesystem("memory")), name, answer)
        yield


def refused(error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    with answering(info=fail):
        RemoteFile.look_up(in_memory("z.npy"))


def looked_up() -> None:
    RemoteFile.look_up(in_memory("z.npy"))


def without_sizes() -> None:
    info = type(fsspec.filesystem("memory")).info

    with answering(info=lambda self, path, **given: info(self, path, **given) | {"size": None}):
        RemoteMatrix(RemoteFile.look_up(in_memory("z.npy")))


def without_ranges() -> None:
    """A server that gives the whole object, whatever is asked for."""
    url = in_memory("z.npy")
    whole = npy(rows())
    with answering(cat_ranges=lambda self, paths, *_, **__: [whole] * len(paths)):
        RemoteFile.look_up(url).read(0, 10)


def copied_here() -> None:
    open_embeddings(local_file(in_memory("z.npy")))[:]


def changed_meanwhile() -> None:
    file = RemoteFile.look_up(in_memory("z.npy"))
    in_memory("z.npy", npy(rows(5)))
    file.check()


def cut_on_its_way() -> None:
    file = RemoteFile.look_up(in_memory("z.npy"))
    with answering(cat_ranges=lambda self, paths, *_, **__: [b"x"] * len(paths)):
        file.read(0, 10)


def matrix_of(content: bytes) -> RemoteMatrix:
    return RemoteMatrix(RemoteFile.look_up(in_memory("z.npy", content)))


def opened_by(package: ModuleType | None, said: str) -> None:
    """An address that a package opens, which is there or says that it is not."""

    class Storage(type(fsspec.filesystem("memory"))):  # type: ignore[misc]
        protocol = "somestore"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return super()._strip_protocol(path.replace("somestore:", "memory:"))

        def __init__(self, *of: Any, **given: Any):
            if sys.modules.get("somestorefs") is None:
                raise ImportError(said)
            super().__init__(*of, **given)

    fsspec.register_implementation("somestore", Storage, clobber=True)
    Storage.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "somestorefs", package)
        in_memory("z.npy")
        RemoteFile.look_up("somestore://bucket/z.npy")


ADDRESSES = {
    "the object itself": (
        lambda: RemoteFile.look_up(in_memory("folder/z.npy")[: -len("/z.npy")]),
        "Name the object itself",
        lambda: RemoteFile.look_up("memory://bucket/folder/z.npy"),
    ),
    "a copy where sizes are not told": (
        without_sizes,
        "Copy the object to this machine and name the copy",
        copied_here,
    ),
    "a copy where ranges are not known": (
        without_ranges,
        "Copy the object to this machine and name the copy",
        copied_here,
    ),
    "when nobody writes": (
        changed_meanwhile,
        "Repeat the command when nobody writes to it",
        looked_up,
    ),
    "copied there again": (
        cut_on_its_way,
        "Copy it there again",
        lambda: RemoteFile.look_up(in_memory("z.npy")).read(0, 10),
    ),
    "a package that is named": (
        lambda: opened_by(None, "Install somestorefs to access somestore"),
        "pip install somestorefs",
        lambda: opened_by(ModuleType("somestorefs"), ""),
    ),
    "a package that is not named": (
        lambda: opened_by(None, "some package is missing"),
        "Install what it names",
        lambda: opened_by(ModuleType("somestorefs"), ""),
    ),
    "the kind of an address": (
        lambda: RemoteFile.look_up("memry://bucket/z.npy"),
        "Check the spelling",
        lambda: (looked_up(), open_embeddings(saved(rows()))),
    ),
    "credentials": (
        lambda: refused(PermissionError("Access Denied")),
        "Give credentials",
        looked_up,
    ),
    "the address": (
        lambda: RemoteFile.look_up("memory://bucket/nothing.npy"),
        "Check the address",
        looked_up,
    ),
    "when the storage answers": (
        lambda: refused(TimeoutError()),
        "Repeat the command when the storage answers",
        looked_up,
    ),
    "rows one after the other": (
        lambda: matrix_of(npy(np.asfortranarray(rows()))),
        "numpy.ascontiguousarray(matrix)",
        lambda: matrix_of(npy(np.ascontiguousarray(np.asfortranarray(rows())))),
    ),
    "a whole object": (
        lambda: matrix_of(npy(rows())[:-9]),
        "Copy it there again",
        lambda: matrix_of(npy(rows())),
    ),
}


def without(package: str, work: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package, None)
        return work()


def by_leiden() -> None:
    cs.latent_classes(rows(24), method="graph", partition="leidenalg")


CASES = {
    "rights": RIGHTS,
    "disks": DISKS,
    "files": FILES,
    "addresses": ADDRESSES,
}
