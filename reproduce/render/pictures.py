"""Pictures of what was chosen, from the parts of a finished cell: telling pairs, and a map with links.

They stand for SAS's Figures 1, 2 and 6: SVGs with small pictures in them, no script. The numbers come
from the proxy's mean view embeddings z: between a view of i and one of j the expected squared distance is
2 − 2⟨z_i, z_j⟩.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.store.atomic import write_text
from reproduce.artifacts import ArtifactCache
from reproduce.cell import Cell
from reproduce.declared.declaring import PlannedCell, slug
from reproduce.runner import Session

FOLDER = Path("pages") / "plots"  # beside the folder of cells
_PAIRED_CLASSES, _PAIRS, _MAPPED_CLASSES, _MAPPED, _SHOWN, _LINKED = 4, 4, 2, 300, 6, 7
_SIDE, _PAD, _LINE, _MAP = 36, 8, 22, 330
_STYLE = (
    "text{font:12px sans-serif;fill:#444}.t{font-weight:bold}.k{stroke:#bbb;stroke-width:.8;"
    "fill:none}.o{fill:#999}.s{fill:#0b7a75}.f{fill:none;stroke:#0b7a75;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.k{stroke:#555}.o{fill:#888}"
    ".s{fill:#4cc9c0}.f{stroke:#4cc9c0}}"
)


@dataclass(frozen=True)
class ShownPool:
    """A pool as a selection sees it.

    Attributes:
        values: z, [n, d].
        classes: latent classes by name, [n].
        selected: bool [n].
        show: a row's picture, as a data URI.
    """

    values: np.ndarray
    classes: np.ndarray
    selected: np.ndarray
    show: Callable[[int], str]

    def largest(self, count: int, least: int) -> list[str]:
        """Names of the largest classes, of those with so many examples; equal ones by name."""
        names, sizes = np.unique(self.classes, return_counts=True)
        order = np.argsort(-sizes, kind="stable")
        return [str(names[place]) for place in order if sizes[place] >= least][:count]


def pictured(session: Session) -> list[PlannedCell]:
    """The finished cells of the first seed in which something is chosen by embeddings."""
    first = min(planned.cell.seed for planned in session.planned)
    return [
        planned
        for planned in session.planned
        if planned.cell.seed == first and chooses(planned.cell) and session.have(planned)
    ]


def chooses(cell: Cell) -> bool:
    """Whether the best part of the pool is chosen by embeddings."""
    arm, share = cell.arm, cell.options.select.fraction
    return cell.needs_proxy and arm.trained and arm.kept == "first" and share != 1


def picture_names(
    experiment: str, scale: str, phase: str, setting: Mapping[str, str], arm: str
) -> dict[str, str]:
    """File names of the pictures of a place, by what they show."""
    stem = slug("-".join([experiment, scale, phase, *setting.values(), arm]))
    return {
        "pairs with small and with large expected augmentation distance": f"{stem}-pairs.svg",
        "t-SNE, every example linked to the nearest selected one": f"{stem}-map.svg",
    }


def draw(session: Session, planned: PlannedCell, artifacts: ArtifactCache) -> list[Path]:
    """Both pictures of a cell, where the pages show them.

    Raises:
        Busy: another process is making a part of it.
    """
    chosen = load_selection(planned.cell, artifacts)
    names = picture_names(
        session.experiment.name, session.scale, session.phase, planned.setting, planned.arm
    )
    folder = session.store.folder.parent / FOLDER
    paths = [folder / name for name in names.values()]
    for path, text in zip(paths, (pairs_picture(chosen), map_picture(chosen)), strict=True):
        write_text(path, text)
    return paths


def load_selection(cell: Cell, artifacts: ArtifactCache) -> ShownPool:
    """Embeddings, classes and selection of a cell."""
    from contrasift.pipeline.stages.embed import load_embeddings
    from contrasift.report.thumbnails import thumbnail
    from contrasift.store.tables import positions_of, read_latent_classes, read_table

    run = artifacts.selected(cell)
    folder = run.folder.path
    embeddings = load_embeddings(folder)
    table = read_table(folder / "selection.parquet", "index", "selected")
    classes: Any = read_latent_classes(folder / "classes.parquet", embeddings.index)
    if classes is None:
        classes = np.full(len(embeddings), "all", dtype=object)
    positions = positions_of(embeddings.index, run.pool.index)
    return ShownPool(
        np.asarray(embeddings.values),
        np.asarray(classes).astype(str),
        np.isin(embeddings.index, table["index"][table["selected"]]),
        lambda row: thumbnail(run.pool.read(int(positions[row])), _SIDE),
    )


def pairs_picture(chosen: ShownPool) -> str:
    """A row a class: its nearest pairs, then its farthest, each with 2 − 2⟨z_i, z_j⟩ below."""
    from contrasift.embedding.projection import telling_pairs

    step, height = 2 * _SIDE + 2 * _PAD, _SIDE + _LINE + _PAD
    half = _PAIRS * step + 3 * _PAD
    names = chosen.largest(_PAIRED_CLASSES, 4)
    parts = [
        f'<text class="t" x="110" y="16">smallest</text>'
        f'<text class="t" x="{110 + half}" y="16">largest</text>'
    ]
    for row, name in enumerate(names):
        y = 26 + row * height
        members = np.flatnonzero(chosen.classes == name)
        near, far = telling_pairs(chosen.values[members], count=_PAIRS)
        parts.append(f'<text x="0" y="{y + _SIDE / 2 + 4:g}">class {_short(name)}</text>')
        for left, pairs in ((110, near), (110 + half, far)):
            for place, (i, j, distance) in enumerate(
                zip(pairs.first, pairs.second, pairs.distance, strict=True)
            ):
                x = left + place * step
                parts += [
                    _image(chosen, int(members[i]), x, y),
                    _image(chosen, int(members[j]), x + _SIDE + 2, y),
                    f'<text x="{x + _SIDE}" y="{y + _SIDE + 14}" text-anchor="middle">'
                    f"{distance:.3f}</text>",
                ]
    return _svg(110 + 2 * half, 26 + len(names) * height, parts)


def map_picture(chosen: ShownPool) -> str:
    """A map a class with its links, and below what is nearest to selected examples with many links."""
    names = chosen.largest(_MAPPED_CLASSES, 4)
    parts: list[str] = []
    strip = (_SIDE + 4) * _LINKED
    for place, name in enumerate(names):
        left = place * (_MAP + 4 * _PAD)
        parts.append(f'<text class="t" x="{left}" y="16">class {_short(name)}</text>')
        parts += _linked_map(chosen, np.flatnonzero(chosen.classes == name), left)
    width = max(1, len(names)) * (_MAP + 4 * _PAD)
    return _svg(max(width, strip), 26 + _MAP + _PAD + _SHOWN * (_SIDE + 4), parts)


def nearest_selected(values: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Row of the most similar selected example for each row, −1 where nothing is selected.

    Args:
        values: z, [n, d].
        selected: bool [n]; a selected example is its own.
    """
    rows = np.flatnonzero(selected)
    if rows.size == 0:
        return np.full(len(values), -1)
    found = rows[(values @ values[rows].T).argmax(axis=1)]
    found[rows] = rows
    return found


def _linked_map(chosen: ShownPool, members: np.ndarray, left: int) -> list[str]:
    from contrasift.embedding.projection import project

    rows, xy = project(chosen.values[members], sample=_MAPPED)
    members = members[rows]
    values, selected = chosen.values[members], chosen.selected[members]
    links = nearest_selected(values, selected)
    low, span = xy.min(axis=0), np.ptp(xy, axis=0)
    at = (xy - low) / np.where(span > 0, span, 1) * (_MAP - 12) + 6
    points = [f"{left + x:.0f} {26 + y:.0f}" for x, y in at]
    lines = "".join(
        f"M{points[i]}L{points[j]}" for i, j in enumerate(links.tolist()) if j not in (i, -1)
    )
    parts = [f'<path class="k" d="{lines}"/>']
    for mark, kind, radius in ((~selected, "o", 2), (selected, "s", 3)):
        circles = "".join(
            f'<circle cx="{x}" cy="{y}" r="{radius}"/>'
            for x, y in (points[i].split() for i in np.flatnonzero(mark))
        )
        parts.append(f'<g class="{kind}">{circles}</g>')
    followers = np.bincount(links[links >= 0], minlength=len(members))
    for row, own in enumerate(np.argsort(-followers, kind="stable")[:_SHOWN].tolist()):
        if followers[own] == 0:
            break
        y = 26 + _MAP + _PAD + row * (_SIDE + 4)
        followed = np.flatnonzero((links == own) & (np.arange(len(members)) != own))
        nearest = followed[np.argsort(-(values[followed] @ values[own]), kind="stable")]
        for place, i in enumerate([own, *nearest.tolist()][:_LINKED]):
            parts.append(_image(chosen, int(members[i]), left + place * (_SIDE + 4), y))
        parts.append(f'<rect class="f" x="{left}" y="{y}" width="{_SIDE}" height="{_SIDE}"/>')
    return parts


def _image(chosen: ShownPool, row: int, x: float | int, y: float | int) -> str:
    return (
        f'<image x="{x:g}" y="{y:g}" width="{_SIDE}" height="{_SIDE}" href="{chosen.show(row)}"/>'
    )


def _short(name: str) -> str:
    return escape(name if len(name) <= 10 else name[:9] + "…")


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{_STYLE}</style>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
