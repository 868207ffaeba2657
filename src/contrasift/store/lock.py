"""Who holds a folder: a lock that names its owner, and is known to be stale when the owner is gone."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from contrasift.errors import RunFolderError
from contrasift.fingerprints import fingerprint_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# An owner on another machine is taken for dead after so many seconds without a sign of life.
SILENT_SECONDS = 600.0
_BEAT_SECONDS = 30.0


@dataclass(frozen=True)
class Owner:
    """The process that holds a folder.

    Attributes:
        process: its number.
        started: when the process began, in the system's own ticks since boot; empty if unknown.
        host: name of the machine.
        machine: hash of the machine's identity; the same after it was started anew.
        boot: which start of the machine it is; empty if unknown.
        space: which process numbers it sees (containers have their own); empty if unknown.
        since: when it took the folder, in seconds of Unix time.
        token: no other holding of a lock has the same.
    """

    process: int
    started: str
    host: str
    machine: str
    boot: str
    space: str
    since: float
    token: str

    @classmethod
    def this_process(cls) -> Owner:
        """Who asks."""
        host = socket.gethostname()
        return cls(
            process=os.getpid(),
            started=start_of(os.getpid()) or "",
            host=host,
            machine=fingerprint_of(host, _read("/etc/machine-id")),
            boot=_read("/proc/sys/kernel/random/boot_id"),
            space=_link("/proc/self/ns/pid"),
            since=time.time(),
            token=uuid.uuid4().hex,
        )

    def verdict(self, asking: Owner, silence: float) -> str:
        """Why this owner is gone; empty if it lives, or may.

        A process number means something only on the machine that gave it, since its last start,
        and among the processes that can see each other; elsewhere only silence tells.

        Args:
            asking: this process.
            silence: seconds since the lock's last sign of life.
        """
        if self.machine == asking.machine and self.boot != asking.boot:
            return "the machine was started anew since"
        if (self.machine, self.space) != (asking.machine, asking.space):
            if silence <= SILENT_SECONDS:
                return ""
            return f"it has given no sign of life for {silence / 60:.0f} min"
        if self.process == asking.process and not self.started:
            return "that process has ended, and its number is this one's now"
        found = start_of(self.process)
        if found is None:
            return "that process has ended"
        if self.started and found and found != self.started:
            return "that process has ended, and its number is another's now"
        return ""


def start_of(process: int) -> str | None:
    """When a process of this machine began; None if there is none, empty if that is not told."""
    try:
        # The name, in parentheses, may hold anything; the start is the 20th field behind it.
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if process <= 0:
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:  # it is there, and somebody else's
        return ""
    return ""


@contextlib.contextmanager
def held(lock: Path, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock file; its time of change is a sign of life, renewed every half minute.

    Args:
        lock: the file; its folder must exist.
        say: told whose stale lock was taken over, and why it is stale.

    Raises:
        RunFolderError: somebody else holds it, or may.
        OSError: the folder cannot be written.
    """
    own = Owner.this_process()
    _take(lock, own, say)
    _remove_abandoned(lock, own)
    over = threading.Event()
    # A daemon: work that ends in a hard way must not wait for it.
    beating = threading.Thread(target=_beat, args=(lock, own, over), daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        if _owner_of(lock) == own:
            lock.unlink(missing_ok=True)


def _take(lock: Path, own: Owner, say: Callable[[str], None] | None) -> None:
    mine = lock.with_name(f".{lock.name}.{own.token}")
    try:
        mine.write_text(json.dumps(asdict(own)), encoding="utf-8")
        for _ in range(2):
            if _link_new(mine, lock):
                return
            with _alone(lock) as there:
                if not there:
                    continue
                reason = _stale_because(lock, own, mine)
                os.replace(mine, lock)
                if say is not None:
                    say(f"took over a stale lock: {reason}")
                return
    finally:
        mine.unlink(missing_ok=True)
    raise RunFolderError(f"to hold {lock.parent} alone", "another process that keeps taking it")


def _remove_abandoned(lock: Path, own: Owner) -> None:
    """Remove what processes left that were killed while they asked for this lock."""
    for file in lock.parent.glob(f".{glob.escape(lock.name)}.{'[0-9a-f]' * 32}"):
        owner = _owner_of(file)
        with contextlib.suppress(OSError):  # it has gone by itself
            silence = lock.stat().st_mtime - file.stat().st_mtime
            # Without a name it may be of one that is just about to write its own.
            gone = silence > SILENT_SECONDS if owner is None else owner.verdict(own, silence)
            if gone:
                file.unlink()


def _link_new(mine: Path, lock: Path) -> bool:
    """Give the lock its name with its content in one step; False if there is one already."""
    try:
        os.link(mine, lock)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with open(lock, "x", encoding="utf-8") as file:
                file.write(mine.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Judge a lock while nobody else does; False if it has gone meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(lock, "r+", encoding="utf-8"))
        except FileNotFoundError:
            yield False
            return
        except PermissionError:  # another user's, who can be judged all the same
            yield True
            return
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield _is_still(lock, os.fstat(file.fileno()))


def _is_still(lock: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(lock.stat(), opened)
    except FileNotFoundError:
        return False


def _stale_because(lock: Path, own: Owner, mine: Path) -> str:
    """Why a lock is stale, and whose it was.

    Raises:
        RunFolderError: it is not stale.
    """
    owner = _owner_of(lock)
    if owner is None:
        return "it was cut short when it was written"
    # Both times are the file system's: the clocks of two machines may differ.
    os.utime(mine)
    silence = max(0.0, mine.stat().st_mtime - lock.stat().st_mtime)
    reason = owner.verdict(own, silence)
    age = _in_words(time.time() - owner.since)
    if reason:
        return f"process {owner.process} on {owner.host} took it {age} ago, but {reason}"
    signs = ""
    if (owner.machine, owner.space) != (own.machine, own.space):
        signs = f" and gave a sign of life {_in_words(silence)} ago"
    raise RunFolderError(
        f"to hold {lock.parent} alone",
        f"process {owner.process} on {owner.host}, which has held it for {age}{signs}",
        f"Wait for it, choose another out=, or delete {lock} if that process is gone",
    )


def _owner_of(lock: Path) -> Owner | None:
    """Who a lock names; None if it cannot be read."""
    try:
        owner = Owner(**json.loads(lock.read_text(encoding="utf-8")))
        # JSON of another kind may have the same names.
        return owner if isinstance(owner.process, int) and owner.since > 0 else None
    except (OSError, ValueError, TypeError):
        return None


def _beat(lock: Path, own: Owner, over: threading.Event) -> None:
    while not over.wait(_BEAT_SECONDS):
        if _owner_of(lock) == own:
            with contextlib.suppress(OSError):  # storage that fails now may be back next time
                os.utime(lock)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
