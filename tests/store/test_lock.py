"""Who may hold a run folder, and which locks are known to be left over."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from contrasift.errors import RunFolderError
from contrasift.store import atomic
from contrasift.store import lock as locks
from contrasift.store.lock import SILENT_SECONDS, Owner, start_of
from contrasift.store.run import RunFolder


@pytest.fixture
def folder():
    folder = RunFolder("run")
    folder.path.mkdir()
    return folder


def leave_lock(folder: RunFolder, age: float = 300, silence: float = 0, **other: object) -> Owner:
    """A lock as another process would have left it."""
    own = Owner.this_process()
    owner = dataclasses.replace(own, token="other", since=time.time() - age, **other)
    path = folder.path / "run.lock"
    path.write_text(json.dumps(dataclasses.asdict(owner)))
    os.utime(path, (time.time() - silence,) * 2)
    return owner


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def taken_over(folder: RunFolder) -> str:
    said: list[str] = []
    with folder.locked(said.append):
        assert json.loads((folder.path / "run.lock").read_text())["process"] == os.getpid()
    assert os.listdir(folder.path) == []
    assert len(said) == 1
    return said[0]


def refused(folder: RunFolder) -> str:
    before = (folder.path / "run.lock").read_bytes()
    with pytest.raises(RunFolderError, match="to hold run alone") as caught, folder.locked():
        pass
    assert os.listdir(folder.path) == ["run.lock"]
    assert (folder.path / "run.lock").read_bytes() == before
    return str(caught.value)


def test_the_second_of_two_processes_is_refused_with_owner_host_and_age(folder):
    with folder.locked():
        code = (
            "from contrasift.store.run import RunFolder\n"
            "from contrasift.errors import RunFolderError\n"
            "try:\n"
            "    with RunFolder('run').locked(): print('taken')\n"
            "except RunFolderError as error: print('refused', error)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        host = Owner.this_process().host
        words = f"got process {os.getpid()} on {host}, which has held it for"
        assert said.stdout.startswith(f"refused expected to hold run alone; {words}")
    assert os.listdir(folder.path) == []


def test_a_process_that_has_ended_holds_nothing(folder):
    leave_lock(folder, process=dead_process())
    assert "300 s ago" not in taken_over(folder)
    leave_lock(folder, process=dead_process())
    assert "5 min ago, but that process has ended" in taken_over(folder)


def test_a_number_that_another_process_has_now_is_not_the_owner(folder):
    leave_lock(folder, process=os.getppid(), started="1")
    assert "its number is another's now" in taken_over(folder)
    leave_lock(folder, process=os.getppid(), started=start_of(os.getppid()))
    assert "5 min" in refused(folder)
    leave_lock(folder, started="")  # our own number, in a system that does not tell the start
    assert "its number is this one's now" in taken_over(folder)


def test_a_machine_that_was_started_anew_has_lost_its_processes(folder):
    leave_lock(folder, boot="an earlier one", process=os.getppid())
    assert "the machine was started anew since" in taken_over(folder)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"machine": "another", "host": "another"},
        {"machine": "another", "boot": "another"},  # of the same name
        {"space": "pid:[1]"},  # a container on this machine
    ],
)
def test_elsewhere_only_silence_tells(folder, elsewhere):
    owner = leave_lock(folder, process=dead_process(), silence=60, **elsewhere)
    said = refused(folder)
    assert f"process {owner.process} on {owner.host}, which has held it for 5 min" in said
    assert "sign of life 60 s ago" in said
    leave_lock(folder, silence=SILENT_SECONDS + 60, **elsewhere)
    assert "it has given no sign of life for 11 min" in taken_over(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"process": 1', "null"])
def test_a_lock_that_was_cut_short_is_taken_over(folder, content):
    (folder.path / "run.lock").write_text(content)
    assert "cut short" in taken_over(folder)


def test_a_holder_gives_signs_of_life(folder, monkeypatch):
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.02)
    path = folder.path / "run.lock"
    threads = threading.active_count()
    with folder.locked():
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 10
        # A lock that was taken over meanwhile belongs to another: neither renewed nor removed.
        leave_lock(folder, silence=100)
        time.sleep(0.1)
        assert time.time() - path.stat().st_mtime > 90
    assert path.exists()
    assert threading.active_count() == threads


def _claim(everybody, results):
    everybody.wait(30)
    try:
        with RunFolder("run").locked():
            results.put(True)
            everybody.wait(30)
    except RunFolderError:
        results.put(False)
        everybody.wait(30)


def test_of_many_who_find_a_stale_lock_one_takes_it(folder):
    leave_lock(folder, process=dead_process())
    context = multiprocessing.get_context("fork")
    everybody, results = context.Barrier(6), context.Queue()
    claims = [context.Process(target=_claim, args=(everybody, results)) for _ in range(6)]
    for claim in claims:
        claim.start()
    found = [results.get(timeout=30) for _ in claims]
    for claim in claims:
        claim.join()
    assert sum(found) == 1


def test_what_a_killed_process_had_begun_to_write_is_removed(folder):
    (folder.path / "training").mkdir()
    litter = [".options.yaml.abcd_123.tmp", "training/.a.npy.zzzzzzzz.tmp"]
    kept = [".hidden", "notes.tmp", ".mine.tmp"]
    for name in litter + kept:
        (folder.path / name).write_text("")
    assert folder.holds_other_files
    with folder.locked():
        left = sorted(os.listdir(folder.path))
    assert left == sorted([*kept, "run.lock", "training"])
    assert os.listdir(folder.path / "training") == []


WRITES = """
import sys, time
from pathlib import Path
from contrasift.store.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["run/training/a.npy", "beside.npy"])
def test_what_a_living_process_writes_is_left_alone_until_it_is_killed(folder, name):
    there = Path(name).parent
    command = [sys.executable, "-c", WRITES, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        write(folder, name)
        left = set(os.listdir(there)) - {"a.npy", "beside.npy", "run"}
        writer.kill()
    assert len(left) == 1
    atomic._found_beside.cache_clear()  # another process
    write(folder, name)
    assert not left & set(os.listdir(there))


def write(folder: RunFolder, name: str) -> None:
    """Hold the folder, or write the same file again."""
    with folder.locked():
        if not name.startswith("run"):
            atomic.write_text(Path(name), "whole")


def test_a_temporary_file_that_was_taken_away_before_it_was_locked_is_made_again(monkeypatch):
    names, make = [], atomic.tempfile.mkstemp

    def taken_away(**options):
        handle, name = make(**options)
        names.append(name)
        if len(names) == 1:
            os.unlink(name)
        return handle, name

    monkeypatch.setattr(atomic.tempfile, "mkstemp", taken_away)
    atomic.write_text(Path("a.txt"), "whole")
    assert len(names) == 2
    assert os.listdir() == ["a.txt"]


def test_the_unfinished_lock_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(folder):
    own = Owner.this_process()
    gone = dataclasses.replace(own, process=dead_process(), started="1")
    files = {"a" * 32: gone, "b" * 32: own, "c" * 32: None, "d" * 32: None}
    for token, owner in files.items():
        text = "" if owner is None else json.dumps(dataclasses.asdict(owner))
        (folder.path / f".run.lock.{token}").write_text(text)
    long_ago = time.time() - SILENT_SECONDS - 60
    os.utime(folder.path / f".run.lock.{'d' * 32}", (long_ago, long_ago))
    with folder.locked():
        pass
    assert sorted(os.listdir(folder.path)) == [f".run.lock.{sign * 32}" for sign in "bc"]


def test_a_run_that_was_killed_at_once_leaves_no_other_files(folder):
    for name in (".options.yaml.abcd_123.tmp", "run.lock", ".run.lock.0123"):
        (folder.path / name).write_text("")
    assert not folder.holds_other_files
    Path("run/thesis.txt").write_text("years of work")
    assert folder.holds_other_files
    assert not RunFolder("nowhere").holds_other_files


def test_a_folder_that_cannot_be_written_is_said(monkeypatch, folder):
    def failing(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locks, "_link_new", failing)
    with pytest.raises(RunFolderError, match="can be written; got Read-only"), folder.locked():
        pass
    assert os.listdir(folder.path) == []
