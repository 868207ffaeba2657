"""`contrasift report` of a selection from bare embeddings: one page, from what lies in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from contrasift.errors import ContrasiftError, RunFolderError
from contrasift.narration import Narrator
from contrasift.pipeline.stages.selection_images import SourceImages, SourcePictures
from contrasift.pipeline.stages.selection_rows import SelectionRows
from contrasift.report import EmbeddingMap, Pair, ReportData, write_report
from contrasift.report.files import RunFiles
from contrasift.report.sections import conclusions, selection
from contrasift.report.sections.pictures import Pictures
from contrasift.store.atomic import read_json
from contrasift.store.selections import read_facts
from contrasift.store.tables import read_table

# Of dropped examples so many are compared with the kept ones of their class, at most so many of those.
_COMPARED, _KEPT_COMPARED, _PAIRS = 2000, 20_000, 8


class _Neighbours(NamedTuple):
    """A dropped example and the kept one nearest to it; rows of the selection's table.

    Attributes:
        order: minus their similarity.
        dropped: one.
        kept: the other.
        latent_class: of both.
    """

    order: float
    dropped: int
    kept: int
    latent_class: str


class SelectionFiles(RunFiles):
    """A folder that `contrasift select` made from embeddings, read as a run's is."""

    def __init__(self, folder: Path) -> None:
        """Look at a folder.

        Raises:
            RunFolderError: no selection in it.
        """
        if not (folder / "selection.json").exists():
            raise RunFolderError(
                "a run folder, or one that holds a selection",
                f"{folder}, which holds neither",
                "Make one: contrasift select EMBEDDINGS --fraction 0.2 --out FOLDER",
            )
        self.run: Any = None
        self.path = folder
        facts = read_facts(folder)
        self.records = {"select": SimpleNamespace(seconds=facts["seconds"])}
        if (folder / "classes.json").exists() and "method" in facts.get("latent_classes", {}):
            seconds = read_json(folder / "classes.json").get("seconds", 0.0)
            self.records["classes"] = SimpleNamespace(seconds=seconds)

    @property
    def examples(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        """None: there is no pool."""
        return {}

    def ids(self, index: np.ndarray) -> list[str]:
        """Names of examples; their numbers where the source has none."""
        if "id" not in self.chosen:
            return super().ids(index)
        return [str(id) for id in self.chosen["id"][self.rows_of(index)].tolist()]


def report_selection(folder: Path, narrator: Narrator, images: str | None = None) -> Path:
    """Write `report.html` beside a selection: what was chosen, pictures, a map, gains, neighbours.

    Args:
        folder: of the selection.
        narrator: who tells of it.
        images: the column of the source that holds images, their files or their addresses; None:
            one that is called so and lies here, if there is one.

    Raises:
        RunFolderError: no selection there.
        DataError: no such column.
    """
    files = SelectionFiles(folder)
    facts, notes = files.selection, []
    drawn: dict[str, Any] = {}
    with narrator.progress("report") as progress:
        progress(0, 1)
        try:
            source = SelectionRows(facts, files.chosen["index"], narrator)
            found = SourceImages.of(source.matrix, images)
            drawn, notes = _drawn(files, source, int(facts["options"].get("seed", 0)), found)
        except (ContrasiftError, OSError, KeyError) as error:
            if images is not None:
                raise
            # Embeddings that have moved must not keep the rest from being seen.
            notes = [f"The embeddings could not be read, so there is no map: {error}"]
        for note in notes:
            narrator.say(f"  note: {note}")
        path = write_report(_data(files, notes, drawn), folder / "report.html")
        progress(1, 1)
    return path


def _data(files: SelectionFiles, notes: list[str], drawn: Mapping[str, Any]) -> ReportData:
    facts = files.selection
    place = str(facts.get("source", {}).get("place", files.path))
    return ReportData(
        title=f"{Path(place).name or place}: what was selected",
        summary=[
            *conclusions.summary(files),
            *conclusions.beside_random(facts.get("beside_random", {})),
        ],
        headlines=conclusions.headlines(files),
        notes=[*facts["notes"], *notes],
        gains=selection.gains(files),
        certificate=selection.certificate_of(facts),
        classes=selection.class_bars(files),
        class_facts=selection.class_facts(files),
        unreadable=_left_out(files.path),
        options={"select": facts["options"]},
        versions=facts["versions"],
        commands=[facts.get("command", "")],
        **drawn,
    )


def _drawn(
    files: SelectionFiles, source: SelectionRows, seed: int, images: SourceImages | None
) -> tuple[dict[str, Any], list[str]]:
    """The gallery where there are pictures, the map and the pairs; and what should be said of them."""
    generator = np.random.default_rng(seed)
    picked = np.sort(generator.choice(files.total, min(_COMPARED, files.total), replace=False))
    placed, near, far = (
        _placed(source.values, picked, seed),
        *_neighbours(files, source.values, generator),
    )
    pictures = SourcePictures(files, images, source.stored)

    def shown() -> dict[str, Any]:
        return {
            "map": _map(files, placed, pictures),
            "gallery": None if images is None else pictures.gallery(),
            "near_pairs": _pairs(files, near, pictures),
            "far_pairs": _pairs(files, far, pictures),
        }

    if images is not None:
        shown()  # which only asks for pictures; they are read in one pass over the source
        pictures.fetch()
    words = {
        "pairs_intro": "Dropped examples beside the kept one of their class that is nearest to "
        "them, with the similarity of the two.",
        "near_title": "Dropped, and well stood for",
        "far_title": "Dropped, and like nothing that was kept",
    }
    return {**shown(), **words}, _missing(images)


def _missing(images: SourceImages | None) -> list[str]:
    if images is None or not images.missing:
        return []
    return [f"{images.missing:,} pictures of the column {images.column!r} could not be read."]


def _placed(values: Any, picked: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the selection's table, and where they lie in the plane."""
    from contrasift.embedding.projection import project

    points = values(picked)
    usable = np.isfinite(points).all(axis=1)
    picked, points = picked[usable], points[usable]
    if not picked.size:
        return picked, np.empty((0, 2))
    return picked, project(points, sample=picked.size, seed=seed)[1]


def _map(
    files: SelectionFiles, placed: tuple[np.ndarray, np.ndarray], pictures: Pictures
) -> EmbeddingMap | None:
    picked, xy = placed
    if not picked.size:
        return None
    names = files.chosen["latent_class"][picked].astype(str)
    sizes = {str(one["name"]): one["size"] for one in files.selection["classes"]}
    return EmbeddingMap(
        x=xy[:, 0],
        y=xy[:, 1],
        latent_class=names,
        selected=files.chosen["selected"][picked],
        rank=files.chosen["rank"][picked],
        place=files.places[picked],
        class_size=np.array([sizes[name] for name in names.tolist()]),
        id=files.ids(files.chosen["index"][picked]),
        image=pictures.thumbnails(picked),
        total=files.total,
    )


def _neighbours(
    files: SelectionFiles, values: Any, generator: Any
) -> tuple[list[_Neighbours], list[_Neighbours]]:
    """Dropped examples with the nearest kept one of their class: the most and the least similar."""
    selected = files.chosen["selected"]
    found: list[_Neighbours] = []
    for summary, rows in files.members():
        inside = np.arange(rows.start, rows.stop)
        kept, dropped = inside[selected[inside]], inside[~selected[inside]]
        share = max(2, round(_COMPARED * dropped.size / files.total))
        if not kept.size or not dropped.size:
            continue
        if dropped.size > share:
            dropped = np.sort(generator.choice(dropped, share, replace=False))
        if kept.size > _KEPT_COMPARED:
            kept = np.sort(generator.choice(kept, _KEPT_COMPARED, replace=False))
        similarity = values(dropped) @ values(kept).T
        best = similarity.argmax(axis=1)
        nearest = similarity[np.arange(dropped.size), best]
        found += [
            _Neighbours(-float(one), int(first), int(kept[second]), str(summary["name"]))
            for one, first, second in zip(nearest, dropped, best, strict=True)
            if np.isfinite(one)
        ]
    found.sort()
    half = min(_PAIRS, len(found) // 2)
    return found[:half], found[::-1][:half]


def _pairs(files: SelectionFiles, found: Sequence[_Neighbours], pictures: Pictures) -> list[Pair]:
    return [
        Pair(
            *pictures.tiles(np.array([one.dropped, one.kept])),
            similarity=-one.order,
            latent_class=one.latent_class,
        )
        for one in found
    ]


def _left_out(folder: Path) -> list[tuple[str, str]]:
    path = folder / "skipped.parquet"
    if not path.exists():
        return []
    table = read_table(path, "place", "reason")
    return list(zip(table["place"].tolist(), table["reason"].tolist(), strict=True))
