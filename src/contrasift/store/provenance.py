"""What made a result: versions, commit and machine, to be kept beside its numbers."""

from __future__ import annotations

import contextlib
import datetime
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("contrasift", "numpy", "torch", "scikit-learn", "faiss-cpu", "networkit")

_NETWORKS = ("numpy", "pillow", "torch", "torchvision", "timm", "open-clip-torch", "lightly")
# What a stage's result hangs on besides this package, by the first word of the stage's name.
_MAKERS = {
    "scan": ("numpy", "pillow", "datasets"),
    **dict.fromkeys(("proxy", "embed", "embed-classes", "train", "round"), _NETWORKS),
    "evaluate": (*_NETWORKS, "scikit-learn"),
    "classes": ("numpy", "scikit-learn", "faiss-cpu", "networkit"),
}
_ABSENT = "none"


def makers(stage: str) -> dict[str, str]:
    """The versions of what makes a stage, as they are installed here; `none` for what is not."""
    names = _MAKERS.get(stage.split(" ")[0], ("numpy", "scikit-learn"))
    found = _installed(names)
    return {name: found.get(name, _ABSENT) for name in names}


def other_versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, in words: `timm 1.0.9 then and 1.0.20 now`; what was not there then is no word."""
    return [
        f"{name} {version} then and {now[name]} now"
        for name, version in then.items()
        if version not in (_ABSENT, now.get(name, version))
    ]


def made_with(threads: int) -> dict[str, Any]:
    """Versions, commit and machine."""
    return {
        "versions": {"python": platform.python_version(), **_installed(_LIBRARIES)},
        "commit": commit(),
        "processor": processor(),
        "threads": threads,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit() -> str:
    """The commit of the source tree that this package lies in, or the package's version."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git is there
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return f"contrasift {version('contrasift')}"
    return found.stdout.strip()


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
