"""`contrasift doctor`: what this installation and this machine have, and what is broken."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from contrasift.cli.common import Json
from contrasift.cli.console import ConsoleNarrator, print_json

# What each extra is for. Those that only developers need are left out.
GIVES = {
    "train": "images: proxies, embedding, pre-training, evaluation, negatives",
    "clip": "open-clip encoders and zero-shot classes",
    "text": "collections of text",
    "demo": "what `make demo` needs",
    "mnist": "the pool `mnist5k`",
    "hf": "Hugging Face data sets as pools, and exports as such",
    "formats": "embeddings in HDF5, Lance, safetensors and Zarr",
    "heif": "HEIC pictures",
    "icons": "drawings of the pool `icons`",
    "ray": "the pipeline on a cluster",
    "atlas": "`contrasift explore`",
    "bench": "peers to be timed beside",
}
_DEVELOPERS = {"dev", "docs", "all"}
# Packages that are imported under another name.
_MODULES = {
    "apricot-select": "apricot",
    "faiss-cpu": "faiss",
    "open-clip-torch": "open_clip",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "submodlib-py": "submodlib",
}
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def doctor_command(as_json: Json = False) -> None:
    """Say what is installed, what the machine has, and where data are.

    Every installed package is really imported. What is missing is no fault: its extra is named with
    the line that installs it. The exit code is 1 only if an import fails, and 0 otherwise.

    Examples:
        contrasift doctor

        contrasift doctor --json > machine.json
    """
    ConsoleNarrator(quiet=as_json).say("importing what is installed ...")
    found = examine()
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found["broken"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Everything that the command shows, as plain values."""
    required, extras = _requirements()
    packages = {name: _package(name) for name in required}
    for names in extras.values():
        packages |= {name: _package(name) for name in names if name not in packages}
    return {
        "contrasift": _version("contrasift"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "extras": {
            extra: {
                "installed": all(packages[name]["version"] for name in names),
                "missing": [name for name in names if not packages[name]["version"]],
                "gives": GIVES.get(extra, ""),
                "install": f"pip install 'contrasift[{extra}]'",
            }
            for extra, names in extras.items()
        },
        "broken": {name: it["error"] for name, it in packages.items() if it["error"]},
        "devices": _devices(),
        "processors": _processors(),
        "memory": _memory(),
        "folders": _folders(),
        "data_sets": _data_sets(),
    }


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Packages that are always needed, and those of each extra, from the installed metadata."""
    try:
        lines = metadata.requires("contrasift") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        lines = []
    base: list[str] = []
    own: dict[str, list[str]] = {}
    for line in lines:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        (own.setdefault(extra.group(1), []) if extra else base).append(line.split(";")[0].strip())
    extras = {name: _packages(name, own) for name in own if name not in _DEVELOPERS}
    return [_name(line) for line in base], extras


def _packages(extra: str, own: Mapping[str, list[str]]) -> list[str]:
    """The packages of an extra, those of the extras that it includes first."""
    found: list[str] = []
    for line in own.get(extra, ()):
        if _name(line) != "contrasift":
            found.append(_name(line))
            continue
        for other in re.findall(r"[\w-]+", line.partition("[")[2].partition("]")[0]):
            found += [name for name in _packages(other, own) if name not in found]
    return found


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    return match.group(0).lower() if match else requirement


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str) -> dict[str, str | None]:
    """Its version, and what importing it raised."""
    version = _version(name)
    if version is None:
        return {"version": None, "error": None}
    module = _MODULES.get(name, name.replace("-", "_"))
    try:
        # What packages print or warn when they are imported is none of ours.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except Exception as error:  # whatever a broken package raises is what is looked for
        return {"version": version, "error": f"{type(error).__name__}: {error}".split("\n")[0]}
    return {"version": version, "error": None}


def _devices() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {"torch": False, "cuda": [], "mps": False}
    cuda = torch.cuda.is_available()
    names = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
    )
    return {"torch": True, "cuda": names, "mps": bool(torch.backends.mps.is_available())}


def _processors() -> dict[str, Any]:
    from contrasift.selection.kernels.dots import available_threads

    usable = getattr(os, "sched_getaffinity", None)
    return {
        "in_machine": os.cpu_count(),
        "usable": len(usable(0)) if usable else os.cpu_count(),
        "threads_of_selection": available_threads(),
        "variables": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    }


def _memory() -> dict[str, int | None]:
    """Bytes; None where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (page * os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # Windows, and systems without these names
        total = free = None
    with contextlib.suppress(OSError, ValueError):
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024 * int(fields["MemAvailable"].split()[0])
    limit = None
    with contextlib.suppress(OSError, ValueError):
        limit = int(_CGROUP_LIMIT.read_text())
    return {"total": total, "available": free, "limit_of_container": limit}


def _folders() -> dict[str, Any]:
    from contrasift.pools.named import data_folder

    here = Path.cwd()
    return {
        "current": str(here),
        "current_can_be_written": os.access(here, os.W_OK | os.X_OK),
        "current_free_bytes": shutil.disk_usage(here).free,
        "data_and_caches": str(data_folder()),
        "package": str(Path(__file__).resolve().parent.parent),
    }


def _data_sets() -> dict[str, dict[str, Any]]:
    from contrasift.pools import named_pools

    return {
        pool.name: {"here": pool.available, "how_to_get_it": pool.how_to_get_it}
        for pool in named_pools()
    }


def _show(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for title, lines in _in_words(found):
        # As text: a path may hold what rich would take for markup.
        table.add_row(Text(title, style="bold"), Text("\n".join(lines), overflow="fold"))
    console = Console(highlight=False, emoji=False)
    console.print(table)
    if not found["broken"]:
        console.print("Nothing is broken.")


def _in_words(found: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    packages, folders = found["packages"], found["folders"]
    installed = [f"{name} {it['version']}" for name, it in packages.items() if it["version"]]
    missing = [name for name, it in found["data_sets"].items() if not it["here"]]
    here = [name for name, it in found["data_sets"].items() if it["here"]]
    writable = "can be written" if folders["current_can_be_written"] else "cannot be written"
    rows = [
        ("contrasift", [f"{found['contrasift'] or 'source tree'}, in {folders['package']}"]),
        ("python", [f"{found['python']}, {found['platform']}"]),
        ("packages", [", ".join(installed)]),
        ("extras", [_extra_in_words(name, it) for name, it in found["extras"].items()]),
        ("devices", [_devices_in_words(found["devices"])]),
        ("processors", [_processors_in_words(found["processors"])]),
        ("memory", [_memory_in_words(found["memory"])]),
        (
            "folders",
            [
                f"here: {folders['current']}, {writable}, "
                f"{folders['current_free_bytes'] / 2**30:,.1f} GiB free",
                f"data and caches: {folders['data_and_caches']} (CONTRASIFT_DATA changes it)",
            ],
        ),
        (
            "data sets",
            [
                f"here: {', '.join(here) or 'none'}",
                f"not here: {', '.join(missing) or 'none'} (`contrasift datasets` says how)",
            ],
        ),
    ]
    if found["broken"]:
        rows.append(("broken", [f"{name}: {error}" for name, error in found["broken"].items()]))
    return rows


def _extra_in_words(name: str, extra: Mapping[str, Any]) -> str:
    if extra["installed"]:
        return f"{name}: installed ({extra['gives']})"
    return f"{name}: without {', '.join(extra['missing'])} ({extra['gives']}): {extra['install']}"


def _devices_in_words(devices: Mapping[str, Any]) -> str:
    if not devices["torch"]:
        return "processor only: torch is not installed"
    found = [*devices["cuda"], *(["mps"] if devices["mps"] else [])]
    return ", ".join(found) if found else "processor only: torch finds neither cuda nor mps"


def _processors_in_words(processors: Mapping[str, Any]) -> str:
    given = "".join(f", {name}={value}" for name, value in processors["variables"].items())
    return (
        f"{processors['usable']} usable of {processors['in_machine']}; selection runs in "
        f"{processors['threads_of_selection']} threads{given}"
    )


def _memory_in_words(memory: Mapping[str, int | None]) -> str:
    parts = [
        f"{label} {memory[name] / 2**30:,.1f} GiB"  # type: ignore[operator]
        for name, label in (
            ("total", "in all"),
            ("available", "available"),
            ("limit_of_container", "limit of the container"),
        )
        if memory[name] is not None
    ]
    return ", ".join(parts) or "unknown"
