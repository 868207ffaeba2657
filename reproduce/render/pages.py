"""The pages: an index that says what holds, and one page an experiment, all from finished cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrasift.errors import DataError
from contrasift.store.atomic import write_text
from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.declaring import PHASES, Experiment
from reproduce.declared.scales import SCALES
from reproduce.declared.texts import TEXT_BATCHES, TEXT_BOUNDS
from reproduce.render.cell_table import tables_of
from reproduce.render.claims import Decided, decided
from reproduce.render.doc_tables import fill_documents
from reproduce.render.experiment_page import ExperimentPart, experiment_page, pictures_of, text_page
from reproduce.render.index import index_page
from reproduce.render.repeats import repeats_section
from reproduce.render.text_bounds import FOLDER as TEXTS
from reproduce.render.text_bounds import text_studies
from reproduce.repeat import read_repeats, repeats_path

FOLDER, PLOTS = "pages", "plots"
_MARK = (
    "<!-- Written by `python -m reproduce --write-pages` from reproduce/cells; not by hand. -->\n\n"
)


def write_pages(store: CellStore) -> Path:
    """Every page and its plots in the folder `pages` beside the cells, and the documents' tables.

    Pages and plots of an earlier call that are not written any more are removed.

    Args:
        store: finished cells.

    Returns:
        The index.

    Raises:
        DataError: there are no cells.
    """
    records = list(store.records())
    if not records:
        raise DataError(
            f"finished cells in {store.folder}", "none", "Make some: python -m reproduce headroom"
        )
    folder = store.folder.parent / FOLDER
    plots = folder / PLOTS
    pages: dict[str, str] = {}
    shown: dict[str, str] = {}
    parts = {name: _parts(experiment, records) for name, experiment in EXPERIMENTS.items()}
    claims = [claim for found in parts.values() for part in found for claim in part.claims]
    for name, found in parts.items():
        if not found:
            continue
        pages[name] = experiment_page(EXPERIMENTS[name], found, plots, shown)
    for study in text_studies(store.folder.parent / TEXTS):
        found = [
            *decided(TEXT_BOUNDS, "cpu", "confirm", study.along()),
            *decided(TEXT_BATCHES, "cpu", "confirm", [study.beside()]),
        ]
        pages[f"{TEXT_BOUNDS.name}-{study.name}"] = text_page(study, found, shown)
        claims += found
    repeats = list(read_repeats(repeats_path(store)).values())
    if repeats:
        pages["repeats"] = "\n".join(repeats_section(repeats))
    pages["gpus"] = "\n".join(_on_gpus())
    pages["README"] = index_page(records, parts, claims, pages)
    _write(folder, pages, shown)
    fill_documents(store.folder.parent.parent, records)
    return folder / "README.md"


def _parts(experiment: Experiment, records: Sequence[Mapping[str, Any]]) -> list[ExperimentPart]:
    """What there is of an experiment, what is confirmed first."""
    found = []
    for phase in reversed(PHASES):
        for scale in SCALES:
            tables = tables_of(experiment, records, scale, phase)
            if tables:
                claims: list[Decided] = list(decided(experiment, scale, phase, tables))
                found.append(ExperimentPart(scale, phase, tables, claims))
    return found


def _write(folder: Path, pages: Mapping[str, str], plots: Mapping[str, str]) -> None:
    """Write what differs, and remove what an earlier call wrote and this one did not."""
    wanted = {folder / f"{name}.md": _MARK + text for name, text in pages.items()}
    wanted |= {folder / PLOTS / f"{name}.svg": text for name, text in plots.items()}
    kept = {folder / PLOTS / name for text in pages.values() for name in pictures_of(text)}
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    for path in folder.glob("*.md"):
        if path not in wanted and path.read_text(encoding="utf-8").startswith(_MARK):
            path.unlink()
    for path in (folder / PLOTS).glob("*.svg"):
        if path not in wanted and path not in kept:
            path.unlink()


def _on_gpus() -> Iterator[str]:
    """The commands for the papers' own sizes."""
    yield from ("# On GPUs", "")
    yield (
        "One command runs an experiment with the papers' own pools, networks and schedules. It "
        "estimates its time first and is refused above `--budget` hours. `--only` takes a part, "
        "`--dry-run` lists the cells, and several commands share one `--work` folder."
    )
    yield from ("", "| command | pools | cells a seed |", "|---|---|---:|")
    for experiment in EXPERIMENTS.values():
        pools = experiment.pools.get("paper", SCALES["paper"].pools)
        cells = len(pools) * math.prod(map(len, experiment.axes.values())) * len(experiment.arms)
        command = f"python -m reproduce {experiment.name} --scale paper --device cuda"
        yield f"| `{command}` | {', '.join(pools)} | {cells} |"
    yield ""
