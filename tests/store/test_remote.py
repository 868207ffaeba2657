"""Objects behind addresses: copied once, or read by rows; what goes wrong is said in words."""

from __future__ import annotations

import io
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contrasift.errors import ContrasiftError, DataError, UsageError
from contrasift.matrices import open_embeddings
from contrasift.store import objects as remote
from contrasift.store.atomic import atomic_path, local_output
from contrasift.store.embeddings import load_embeddings_file, load_matrix
from contrasift.store.inputs import load_classes_file, load_indices_file
from contrasift.store.objects import RemoteFile, file_name, fixed_head, is_url, matching, shown
from contrasift.store.remote import RemoteMatrix, beside, exists, local_file
from web_server import served

URL = "memory://bucket/values.npy"


@pytest.fixture(autouse=True)
def memory():
    """An empty storage of objects."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    yield storage
    storage.store.clear()


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def put(memory, array, url=URL):
    memory.pipe_file(url, npy(array))
    return RemoteMatrix(RemoteFile.look_up(url))


def test_what_is_an_address():
    assert all(map(is_url, ("s3://b/k", "gs://b", "simplecache::s3://b/k", "https://h/x?y")))
    assert not any(map(is_url, ("x.npy", "C:\\x.npy", "hf:NAME", "/a:b", Path("s3://b/k"), None)))
    assert file_name("s3://b/a/x%20.npy") == "x%20.npy"
    assert file_name("https://h/a/x%20y.npy?sig=1/2") == "x y.npy"
    assert beside("https://h/a/x.npy?s=1/2", "x.json") == "https://h/a/x.json?s=1/2"
    assert shown("https://me:secret@h/x.npy?signature=1") == "https://h/x.npy"
    assert shown("abfs://container@account/x.npy") == "abfs://container@account/x.npy"


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 12),
    st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    st.sampled_from(["<f4", ">f8", "i2", "U3"]),
    st.data(),
)
def test_rows_are_those_of_the_array(memory, n, width, kind, data):
    array = np.arange(n * int(np.prod(width)), dtype=np.int64).reshape(n, *width).astype(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_GAP_BYTES", data.draw(st.sampled_from([0, 10, 1000])))
        patch.setattr(remote, "_REQUEST_BYTES", data.draw(st.sampled_from([1, 30, 1000])))
        matrix = put(memory, array)
        assert (matrix.shape, matrix.dtype, matrix.ndim) == (array.shape, array.dtype, array.ndim)
        assert len(matrix) == n
        rows = np.array(
            data.draw(st.lists(st.integers(-n, n - 1), max_size=20) if n else st.just([])),
            dtype=np.int64,
        )
        ends = st.none() | st.integers(-15, 15)
        cut = slice(data.draw(ends), data.draw(ends), data.draw(st.sampled_from([None, 1, 3, -2])))
        for wanted in (rows, np.sort(rows), cut):
            np.testing.assert_array_equal(matrix[wanted], array[wanted])
            assert matrix[wanted].dtype == array.dtype


def test_neighbours_come_in_one_request_and_none_is_too_large(memory, monkeypatch):
    matrix = put(memory, np.arange(400, dtype=np.float32).reshape(100, 4))
    asked = []
    read = RemoteFile.read_ranges
    monkeypatch.setattr(
        RemoteFile, "read_ranges", lambda self, spans: asked.extend(spans) or read(self, spans)
    )
    monkeypatch.setattr(remote, "_GAP_BYTES", 2 * 16)
    monkeypatch.setattr(remote, "_REQUEST_BYTES", 10 * 16)
    rows = np.array([0, 1, 4, 40, *range(60, 85)])
    np.testing.assert_array_equal(matrix[rows][:, 0], 4 * rows)
    rows_asked = [((a - 128) // 16, (b - 128) // 16) for a, b in asked]
    assert rows_asked == [(0, 5), (40, 41), (60, 70), (70, 80), (80, 85)]


def test_rows_that_are_not_there_and_what_is_no_row(memory):
    matrix = put(memory, np.zeros((3, 2)))
    for rows in ([3], [-4], [0, 9]):
        with pytest.raises(IndexError, match=r"rows of 0\.\.2"):
            matrix[np.array(rows)]
    for rows in (np.array([True, False, True]), np.array([0.0]), np.zeros((1, 1), int)):
        with pytest.raises(TypeError, match="row numbers"):
            matrix[rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy(np.zeros((5, 2)))[:-1], "cut short"),
        (npy(np.asfortranarray(np.zeros((5, 2)))), "C order"),
        (npy(np.float64(3)), "a single number"),
        (npy(np.array([{}], dtype=object), allow_pickle=True), "without Python objects"),
        (npy(np.zeros(3))[:20], "without Python objects"),
        (b"", "without Python objects"),
        (b"nothing of the kind", "without Python objects"),
        (npy(np.zeros(3), version=(3, 0)), "format"),
    ],
)
def test_what_is_no_matrix_is_said(memory, content, said):
    memory.pipe_file(URL, content)
    with pytest.raises(DataError, match=said):
        RemoteMatrix(RemoteFile.look_up(URL))


def test_a_change_is_noticed_wherever_it_comes(memory):
    matrix = put(memory, np.zeros((5, 2)))
    memory.pipe_file(URL, npy(np.ones((5, 2))))  # of the same size
    for read in (lambda: matrix[:], lambda: RemoteMatrix(matrix.file), matrix.file.check):
        with pytest.raises(DataError, match="changed while it was read"):
            read()
    memory.pipe_file(URL, npy(np.ones((2, 2))))
    with pytest.raises(DataError, match=r"changed while it was read \(208 bytes before, now 160"):
        matrix[:]
    memory.rm_file("/bucket/values.npy")
    with pytest.raises(DataError, match="nothing there"):
        matrix[:]


def test_a_copy_is_made_once_and_again_when_the_object_changes(memory, monkeypatch):
    first = np.arange(6.0).reshape(3, 2)
    memory.pipe_file(URL, npy(first))
    copies = []
    copy_to = RemoteFile.copy_to
    monkeypatch.setattr(
        RemoteFile, "copy_to", lambda self, *given: copies.append(self) or copy_to(self, *given)
    )
    mapped = load_matrix(URL)
    assert isinstance(mapped, np.memmap)
    again = load_matrix(URL)
    assert mapped.filename == again.filename
    assert len(copies) == 1
    memory.pipe_file(URL, npy(-first))
    changed = load_matrix(URL)
    np.testing.assert_array_equal(changed, -first)
    np.testing.assert_array_equal(mapped, first)  # still open
    assert len(copies) == 2
    assert [p for p in Path("cache").rglob("*") if p.is_file()] == [
        Path(changed.filename).relative_to(Path.cwd())
    ]


def test_a_copy_that_was_cut_is_made_again_and_litter_goes(memory):
    memory.pipe_file(URL, npy(np.zeros((3, 2))))
    copy = local_file(URL)
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1])
    old, new = (copy.with_name(f".values.npy.{name}.tmp") for name in ("abcdefgh", "ijklmnop"))
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    assert local_file(URL).read_bytes() == whole
    assert (old.exists(), new.exists()) == (False, True)


def test_the_cache_can_be_put_elsewhere_and_may_be_full(memory, monkeypatch, tmp_path):
    memory.pipe_file(URL, b"1\n2\n")
    monkeypatch.setenv("CONTRASIFT_CACHE", str(tmp_path / "own"))
    assert local_file(URL).is_relative_to(tmp_path / "own" / "objects")
    monkeypatch.setenv("CONTRASIFT_CACHE", str(tmp_path / "full"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ContrasiftError, match=r"No space left.*CONTRASIFT_CACHE"):
        local_file(URL)
    monkeypatch.setattr(type(memory), "get_file", full)
    with pytest.raises(ContrasiftError, match=r"No space left.*CONTRASIFT_CACHE"):
        local_file(URL)
    assert not [path for path in (tmp_path / "full").rglob("*") if path.is_file()]


def test_an_object_that_changes_while_it_is_copied_leaves_nothing(memory, monkeypatch):
    memory.pipe_file(URL, npy(np.zeros((3, 2))))
    get_file = type(memory).get_file

    def slow(self, source, target, **given):
        get_file(self, source, target, **given)
        self.pipe_file(URL, npy(np.ones((3, 2))))

    monkeypatch.setattr(type(memory), "get_file", slow)
    with pytest.raises(DataError, match="changed while it was read"):
        load_matrix(URL)
    assert not [path for path in Path("cache").rglob("*") if path.is_file()]


def test_what_stands_beside_a_matrix_is_read_too(memory, rng):
    values = rng.standard_normal((4, 2)).astype(np.float32)
    np.save("values.npy", values)
    Path("classes.txt").write_text("a\nb\nb\na\n")
    memory.pipe_file(URL, Path("values.npy").read_bytes())
    memory.pipe_file("memory://bucket/classes.txt", Path("classes.txt").read_bytes())
    memory.pipe_file("memory://bucket/keep.txt", b"3\n1\n")
    here, _ = load_embeddings_file(Path("values.npy"))
    there, described = load_embeddings_file(URL)
    assert (there.description, described) == (here.description, False)
    in_place = open_embeddings(URL, remote_rows=True)
    assert isinstance(in_place.values, RemoteMatrix)
    assert in_place.fingerprint == in_place.values.file.digest
    assert open_embeddings(URL).fingerprint == here.description["sha256"]
    memory.pipe_file(
        "memory://bucket/values.json",
        b'{"normalised": "no", "sha256": "%s"}' % here.description["sha256"].encode(),
    )
    found, described = load_embeddings_file(URL)
    assert described
    assert found.description == {"normalised": "no", **here.description}
    for remote_rows in (False, True):
        found = open_embeddings(URL, remote_rows=remote_rows)
        assert found.described
        assert found.description == {"normalised": "no", **here.description}
        np.testing.assert_array_equal(found.values[:], values)
    assert load_classes_file("memory://bucket/classes.txt", there.index).tolist() == list("abba")
    assert load_indices_file("memory://bucket/keep.txt").tolist() == [3, 1]
    memory.pipe_file("memory://bucket/values.json", b'{"normalised": "no", "sha256": "another"}')
    with pytest.raises(DataError, match="another sha256"):
        load_embeddings_file(URL)
    with pytest.raises(DataError, match=r"the address of a \.npy file"):
        load_embeddings_file("memory://bucket")


def test_a_path_written_as_an_address_is_not_copied():
    np.save("a.npy", np.ones((2, 2)))
    url = f"file://{Path('a.npy').resolve()}"
    assert load_matrix(url).filename == Path("a.npy").resolve()
    assert load_embeddings_file(url)[0].values.shape == (2, 2)
    assert not Path("cache").exists()


def test_nothing_is_written_to_an_address():
    for place in ("s3://bucket/out", Path("s3://bucket/out"), "simplecache::s3://b/x"):
        with pytest.raises(UsageError, match="on this machine.*an address"):
            local_output(place)
    with pytest.raises(UsageError, match="an address"), atomic_path(Path("gs://b/x.npy")):
        pass
    assert not Path("s3:").exists()
    assert [local_output(fine) for fine in ("a:b/c", "/x", "C:/x")] == [
        Path("a:b/c"),
        Path("/x"),
        Path("C:/x"),
    ]


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("nosuch://b/x.npy", UsageError, "fsspec opens, such as s3://"),
        ("memory://bucket/none.npy", DataError, "nothing there"),
        ("memory://bucket", DataError, "a folder"),
    ],
)
def test_addresses_that_lead_nowhere(memory, url, kind, said):
    memory.pipe_file(URL, b"x")
    with pytest.raises(kind, match=said):
        local_file(url)
    assert exists(URL)


class Refused(Exception):
    status = 403


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ImportError("Install s3fs to access S3"), ContrasiftError, "pip install s3fs"),
        (
            ImportError('HTTPFileSystem requires "requests" and "aiohttp" to be installed'),
            ContrasiftError,
            "pip install requests aiohttp",
        ),
        (PermissionError("Access Denied"), DataError, "no permission: Access Denied"),
        (Refused("Forbidden"), DataError, "no permission: Forbidden"),
        (TimeoutError(), ContrasiftError, "TimeoutError: TimeoutError.*when the storage answers"),
        (RuntimeError(f"odd {URL}?sig=1\nmore"), ContrasiftError, "RuntimeError: odd"),
    ],
)
def test_what_storage_answers_is_said_in_words(memory, monkeypatch, error, kind, said):
    def fail(*_, **__):
        raise error

    matrix = put(memory, np.zeros((2, 2)))
    for name in ("info", "cat_file", "cat_ranges"):
        monkeypatch.setattr(type(memory), name, fail)
    for read in (lambda: RemoteFile.look_up(URL), lambda: matrix[:]):
        with pytest.raises(kind, match=said) as caught:
            read()
        assert "more" not in str(caught.value)


def test_patterns(memory):
    for name in ("a/1.tar", "a/2.tar", "b/3.tar", "a/x.txt"):
        memory.pipe_file(f"memory://bucket/{name}", b"x")
    found = [f"memory://bucket/a/{number}.tar" for number in (1, 2)]
    assert matching("memory://bucket/a/*.tar") == found
    assert matching("memory://bucket/*/[12].tar") == found
    assert matching("simplecache::memory://bucket/a/*.tar") == [f"simplecache::{u}" for u in found]
    assert fixed_head("https://h/a/b*/c?x=*") == "https://h/a/"
    assert fixed_head("s3://b/a/x.tar") == "s3://b/a/"
    assert matching("memory://bucket/none/*") == []


def test_a_file_to_seek_in(memory):
    memory.pipe_file(URL, bytes(range(256)) * 16)
    with RemoteFile.look_up(URL).open(buffer_bytes=100) as file:
        assert file.read(3) == bytes([0, 1, 2])
        assert file.seek(-6, io.SEEK_END) == 4090
        assert file.read() == bytes(range(250, 256))
        assert file.seek(1000) == 1000
        assert (file.read(1), file.tell()) == (bytes([1000 % 256]), 1001)
        assert file.seek(10, io.SEEK_CUR) == 1011
        assert file.seek(9999) == 9999
        assert file.read(5) == b""


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sessions that fsspec keeps open
def test_a_web_server(rng):
    array = rng.standard_normal((50, 3))
    with served(**{"values.npy": npy(array)}) as (web, folder):
        url = f"{folder}/values.npy"
        matrix = RemoteMatrix(RemoteFile.look_up(url))
        rows = np.array([40, 2, 3, 2])
        np.testing.assert_array_equal(matrix[rows], array[rows])
        np.testing.assert_array_equal(load_matrix(url), array)
        web.asked.clear()
        load_matrix(url)
        assert [line.partition(" ")[0] for line in web.asked] == ["HEAD"]
        with pytest.raises(DataError, match="nothing there"):
            local_file(f"{folder}/none.npy")
        web.tag = '"2"'
        with pytest.raises(DataError, match="changed while it was read"):
            matrix[:]
        web.tag = ""  # nothing tells one version from another: it is copied each time
        for more in (1, 2):
            web.files["values.npy"] = npy(array + more)
            np.testing.assert_array_equal(load_matrix(url), array + more)
        web.ranges = False
        with pytest.raises(DataError, match=r"byte ranges.*Copy the object to this machine"):
            RemoteMatrix(RemoteFile.look_up(url))[:1]
        np.testing.assert_array_equal(load_matrix(url), array + 2)
        web.status = 403
        with pytest.raises(DataError, match="no permission"):
            local_file(url)
        web.status = 500
        with pytest.raises(ContrasiftError, match=r"500.*Repeat the command when the storage"):
            local_file(url)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_server_that_is_gone():
    with pytest.raises(ContrasiftError, match="Repeat the command when the storage answers"):
        local_file("http://127.0.0.1:9/values.npy")
