"""The base install: its packages, their licences, and their megabytes, with and without NetworKit.

    python benchmarks/install_size.py

Reads what is installed beside this interpreter; writes benchmarks/results/install-size.md.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "install-size.md"
# What the graph's classes added to the base install; until then they were an extra, by GPL packages.
ADDED = "networkit"


def base_install(without: str = "") -> dict[str, Distribution]:
    """Every package that `pip install contrasift` brings, by name.

    Args:
        without: a package that is not asked for.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, Distribution] = {}
    waiting = list(project["dependencies"])
    while waiting:
        wanted = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        here = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if not here or name in found or name == without:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # for another system
        waiting += found[name].requires or ()
    return found


def megabytes(package: Distribution) -> float:
    """Of its files, compiled Python left out: that is made after the install."""
    files = [Path(str(package.locate_file(path))) for path in package.files or ()]
    return (
        sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc") / 1e6
    )


def licence(package: Distribution) -> str:
    """As the package names it, in a word."""
    about: Any = package.metadata
    classified = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier", [])
        if line.startswith("License :: OSI Approved :: ")
    ]
    first = (about.get("License") or "").strip().splitlines()[:1]
    named = about.get("License-Expression") or ", ".join(classified)
    if not named and first and not first[0].startswith("Copyright"):
        named = first[0][:40]
    return named or _by_text(package)


def _by_text(package: Distribution) -> str:
    """The name that a licence's text has."""
    for path in package.files or ():
        if path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            text = Path(str(package.locate_file(path))).read_text(errors="replace")
            if "Permission is hereby granted, free of charge" in text:
                return "MIT"
            if "Redistribution and use in source and binary forms" in text:
                return "BSD"
    return "unknown"


def main() -> None:
    packages = base_install()
    sizes = {name: megabytes(one) for name, one in packages.items()}
    total, less = sum(sizes.values()), sum(sizes[name] for name in base_install(ADDED))
    lines = [
        f"The base install has {len(sizes)} packages of {total:,.0f} MB beside contrasift; without "
        f"NetworKit it would be {less:,.0f} MB. Written by `benchmarks/install_size.py`.",
        "",
        "| package | MB | licence |",
        "|---|---:|---|",
        *(
            f"| {name} {packages[name].version} | {sizes[name]:.1f} | {licence(packages[name])} |"
            for name in sorted(sizes, key=lambda name: -sizes[name])
        ),
        "",
    ]
    RESULT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
