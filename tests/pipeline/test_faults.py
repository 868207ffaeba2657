"""Faults of the machine at every stage: a clear stop, nothing corrupt, and the same command goes on."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import contrasift as cs
from contrasift.cli import app
from forking import started

STAGES = {
    "embed": (
        *("embed", "old.npz", "--architecture", "narrow:0.125", "--epochs", "1", "--views", "1"),
        *("--batch-size", "16", "--proxy-epochs", "1", "--out", "run"),
    ),
    "classes": ("classes", "run", "--classes", "kmeans", "--n-classes", "3", "--restarts", "1"),
    "select": ("select", "run", "--fraction", "0.5"),
    "train": ("train", "run", "--subset", "selected"),
    "evaluate": ("evaluate", "run"),
    "report": ("report", "run"),
    "extend": ("extend", "run", "new.npz", "--reselect", "--out", "more"),
}
# Files with times in them.
TIMED = {"stages.json", "selection.json", "evaluation.json", "result.json", "metrics.csv"}
TIMED |= {"report.html", "extension.json"}


def call(stage: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(STAGES[stage]))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


def content() -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for name in ("run", "more")
        for path in Path(name).rglob("*")
        if path.is_file() and path.name not in TIMED and "tensorboard" not in path.parts
    }


class Fault:
    """Something that happens when a file of the run gets its name, from the n-th time on."""

    def __init__(self, what: str, first: int) -> None:
        self.what, self.first, self.seen = what, first, 0
        self._replace = os.replace

    def __call__(self, source, target, **how) -> None:
        path = Path(target).resolve()
        ours = path.is_relative_to(Path.cwd()) and path.relative_to(Path.cwd()).parts[0]
        if ours not in ("run", "more", "out"):  # but what Numba keeps, for example
            return self._replace(source, target, **how)
        self.seen += 1
        if self.what == "full" and self.seen >= self.first:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        if self.what == "once" and self.seen == self.first:
            raise OSError(errno.EIO, "Input/output error", str(target))
        if self.what == "interrupt" and self.seen == self.first:
            os.kill(os.getpid(), signal.SIGINT)
        return self._replace(source, target, **how)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folders as they are before every stage, how many files each writes, and what is left."""
    folder = tmp_path_factory.mktemp("undisturbed")
    rng = np.random.default_rng(0)
    writes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, n in (("old", 60), ("new", 20)):
            labels = np.arange(n) % 3
            images = rng.integers(0, 256, (3, 8, 8))[labels] + rng.integers(0, 40, (n, 8, 8))
            np.savez(f"{name}.npz", images=images.clip(0, 255).astype(np.uint8), labels=labels)
        for stage in STAGES:
            before = folder / f"before-{stage}"
            before.mkdir()
            for name in ("run", "more"):
                if Path(name).exists():
                    shutil.copytree(name, before / name)
            counter = Fault("nothing", 0)
            with patch.context() as inner:
                inner.setattr(os, "replace", counter)
                assert call(stage)[0] == 0
            writes[stage] = counter.seen
            after = folder / f"after-{stage}"
            after.mkdir()
            for name in ("run", "more"):
                if Path(name).exists():
                    shutil.copytree(name, after / name)
    return folder, writes


@pytest.fixture(params=STAGES)
def stage(request, undisturbed):
    """A stage to be done, all before it done; then what it should leave."""
    folder, _ = undisturbed
    for name in ("old.npz", "new.npz"):
        shutil.copy(folder / name, name)
    for path in (folder / f"before-{request.param}").iterdir():
        shutil.copytree(path, path.name)
    return request.param


def left(undisturbed, stage: str) -> dict[str, bytes]:
    here = Path.cwd()
    try:
        os.chdir(undisturbed[0] / f"after-{stage}")
        return content()
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("full", 1, "No space left on device"),
        ("once", 1, "Input/output error"),
        ("interrupt", 130, "Interrupted. The same command goes on from here."),
    ],
)
def test_after_a_fault_the_same_command_goes_on(undisturbed, stage, what, code, words, monkeypatch):
    count = undisturbed[1][stage]
    assert count > 0
    # Another file for every fault: the first, one in the middle, the last.
    place = {"full": 1, "once": (count + 1) // 2, "interrupt": count}[what]
    fault = Fault(what, place)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fault)
        found, said = call(stage)
    assert fault.seen >= place
    assert found == code, said
    assert words in said, said
    assert not list(Path().rglob("run.lock"))
    assert not list(Path().rglob("*.tmp"))
    found, said = call(stage)
    assert found == 0, said
    assert content() == left(undisturbed, stage)


def test_a_folder_that_may_only_be_read_is_said(undisturbed, stage, monkeypatch):
    before = content()

    def read_only(path, *how, **more):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", lambda **how: read_only(how.get("dir")))
        patch.setattr("contrasift.store.lock.os.link", lambda *how: read_only(how[0]))
        patch.setattr("contrasift.store.lock.open", read_only, raising=False)
        found, said = call(stage)
    assert found == 1
    assert "Read-only file system" in said
    assert content() == before


BARE = {
    "select": "select z.npy --fraction 0.3 --classes kmeans --out out",
    "mine": "mine z.npy --positives pairs.tsv --per-query 2 --policy all --out out",
    "filter": "filter z.npy --rule rule.npz --out out/kept.parquet",
}


def tables() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("out").glob("*.parquet")}


@pytest.mark.parametrize("name", BARE)
def test_of_bare_embeddings_too(name, monkeypatch, rng):
    values = rng.standard_normal((30, 4)).astype(np.float32)
    np.save("z.npy", values)
    pairs = "".join(f"{row}\t{(row + 1) % 30}\n" for row in range(30))
    Path("pairs.tsv").write_text("query\tpositive\n" + pairs)
    np.savez("rule.npz", **cs.select(values, fraction=0.3, optimizer="relaxed").rule)
    counter = Fault("nothing", 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counter)
        assert CliRunner().invoke(app, BARE[name].split()).exit_code == 0
    expected = tables()
    for place in {1, (counter.seen + 1) // 2, counter.seen}:
        shutil.rmtree("out")
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", Fault("full", place))
            done = CliRunner().invoke(app, BARE[name].split())
        assert done.exit_code == 1, done.output
        assert "No space left on device" in " ".join(done.output.split())
        assert not list(Path().rglob("*.tmp"))
        assert all(expected[path] == content for path, content in tables().items())
        assert CliRunner().invoke(app, BARE[name].split()).exit_code == 0
        assert tables() == expected


@pytest.mark.parametrize(
    ("gone", "command"),
    [
        ("embeddings.npy", "plan run"),
        ("classes.parquet", "plan run"),
        ("selection.parquet", "export run --to ids --out ids.txt"),
        ("examples.parquet", "export run --to ids --out ids.txt"),
    ],
)
def test_of_a_file_that_is_gone_the_command_is_named_that_makes_it_again(
    undisturbed, monkeypatch, gone, command
):
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((200, 50)))
    shutil.copy(undisturbed[0] / "old.npz", "old.npz")
    shutil.copytree(undisturbed[0] / "after-report" / "run", "run")
    before = Path("run", gone).read_bytes()
    Path("run", gone).unlink()
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 1
    assert gone in done.output
    advised = done.output.split("Make it again: contrasift ")[1]
    assert CliRunner().invoke(app, advised.split()).exit_code == 0
    assert Path("run", gone).read_bytes() == before
    assert CliRunner().invoke(app, command.split()).exit_code == 0


# In a file system of its own that really is full: what a test pretends may be gentler.


def on_a_full_disk(pipe, folder):
    """Every stage without any room, and again; what became of it goes through the pipe."""
    ids = {"uid_map": os.getuid(), "gid_map": os.getgid()}
    assert ctypes.CDLL(None).unshare(0x10000000 | 0x20000) == 0  # CLONE_NEWUSER, CLONE_NEWNS
    Path("/proc/self/setgroups").write_text("deny")
    for name, own in ids.items():
        Path("/proc/self", name).write_text(f"0 {own} 1")
    root = Path("disk")
    root.mkdir()
    assert os.system("mount -t tmpfs -o size=24m tmpfs disk") == 0
    for name in ("old.npz", "new.npz"):
        shutil.copy(folder / name, root)
    os.chdir(root)

    # Room for the header and not for the rows, whose memory is written without any call.
    pool = cs.open_pool("old.npz")
    fill(9000)
    try:
        rows = np.arange(len(pool))
        cs.embed(pool, rows, lambda x: x.flatten(1), path=Path("rows/embeddings.npy"))
    except OSError as error:
        pipe.send(("rows", error.errno))
    Path("filler").unlink()
    for stage in STAGES:
        fill(0)
        code, said = call(stage)
        Path("filler").unlink()
        pipe.send((stage, code, "No space left" in said))
        code, said = call(stage)
        pipe.send((stage, "again", code, said[-300:] if code else ""))
    pipe.send("done")


def fill(room):
    with open("filler", "wb", 0) as filler:
        for size in (1 << 16, 1):  # a write may end short of what there is room for
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                pass
        filler.truncate(max(0, filler.tell() - room))


def may_mount() -> bool:
    try:
        probe = "mkdir -p d && mount -t tmpfs -o size=1m tmpfs d"
        done = subprocess.run(["unshare", "-rm", "sh", "-c", probe], capture_output=True)
        return done.returncode == 0
    except OSError:
        return False


@pytest.mark.slow
def test_a_disk_that_really_is_full(undisturbed):
    if not may_mount():
        pytest.skip("may not mount a file system of its own here")
    process, pipe = started(on_a_full_disk, undisturbed[0])
    heard = []
    while heard[-1:] != ["done"]:
        heard.append(pipe.recv())
    process.join()
    assert heard[0] == ("rows", errno.ENOSPC)
    for stage in STAGES:
        assert (stage, 1, True) in heard
        assert (stage, "again", 0, "") in heard
