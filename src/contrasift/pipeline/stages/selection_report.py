"""`contrasift report` of a selection from bare embeddings: one page, from what lies in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from contrasift.arrays import directions
from contrasift.errors import ContrasiftError, RunFolderError
from contrasift.matrices import Matrix
from contrasift.narration import Narrator
from contrasift.options import MatrixReading
from contrasift.pipeline.stages.matrix_rows import opened
from contrasift.report import EmbeddingMap, Pair, ReportData, Tile, write_report
from contrasift.report.files import RunFiles
from contrasift.report.sections import conclusions, selection
from contrasift.store.atomic import read_json
from contrasift.store.tables import read_table

# Of dropped examples so many are compared with the kept ones of their class, at most so many of those.
_COMPARED, _KEPT_COMPARED, _PAIRS = 2000, 20_000, 8


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
        facts = read_json(folder / "selection.json")
        self.records = {"select": SimpleNamespace(seconds=facts["seconds"])}
        if (folder / "classes.json").exists() and "method" in facts.get("latent_classes", {}):
            self.records["classes"] = SimpleNamespace(seconds=0.0)

    @property
    def examples(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        """None: there is no pool."""
        return {}

    def ids(self, index: np.ndarray) -> list[str]:
        """Names of examples; their numbers where the source has none."""
        if "id" not in self.chosen:
            return super().ids(index)
        return [str(id) for id in self.chosen["id"][self.rows_of(index)].tolist()]


def report_selection(folder: Path, narrator: Narrator) -> Path:
    """Write `report.html` beside a selection: what was chosen, a map, classes, gains, neighbours.

    Args:
        folder: of the selection.
        narrator: who tells of it.

    Returns:
        the page.

    Raises:
        RunFolderError: no selection there.
    """
    files = SelectionFiles(folder)
    facts, notes = files.selection, []
    drawn: dict[str, Any] = {}
    with narrator.progress("report") as progress:
        progress(0, 1)
        try:
            matrix = _source(facts, narrator)
            drawn = _drawn(files, matrix, int(facts["options"].get("seed", 0)))
        except (ContrasiftError, OSError, KeyError) as error:
            # Embeddings that have moved must not keep the rest from being seen.
            notes = [f"The embeddings could not be read, so there is no map: {error}"]
            narrator.say(f"  note: {notes[0]}")
        path = write_report(_data(files, notes, drawn), folder / "report.html")
        progress(1, 1)
    return path


def _data(files: SelectionFiles, notes: list[str], drawn: Mapping[str, Any]) -> ReportData:
    facts = files.selection
    place = str(facts.get("source", {}).get("place", files.path))
    return ReportData(
        title=f"{Path(place).name or place}: what was selected",
        summary=[*conclusions.summary(files), *_beside_random(facts)],
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


def _beside_random(facts: Mapping[str, Any]) -> list[str]:
    """Coverage, in the direction in which it is everywhere: a similarity."""
    found = facts.get("beside_random", {}).get("coverage")
    if not found:
        return []
    return [
        f"An example's similarity to the nearest kept one of its class is {found['value']:.3f} on "
        f"average, with random choices {found['random']:.3f} ({found['random_low']:.3f} to "
        f"{found['random_high']:.3f})."
    ]


def _source(facts: Mapping[str, Any], narrator: Narrator) -> Matrix:
    """The embeddings, if they are still those that were selected from."""
    reading = MatrixReading(**facts["reading"])
    matrix = opened(facts["source"]["place"], reading, narrator)
    if matrix.fingerprint != facts["inputs"]["embeddings"]:
        raise RunFolderError(
            f"the embeddings that were selected from at {facts['source']['place']}", "others"
        )
    return matrix


def _drawn(files: SelectionFiles, matrix: Matrix, seed: int) -> dict[str, Any]:
    """The map and the pairs."""
    index = np.arange(len(matrix)) if matrix.index is None else matrix.index
    rows = files.rows_of(index)
    there = np.flatnonzero(rows >= 0)
    where = np.empty(files.total, dtype=np.int64)
    where[rows[there]] = there
    scaled = files.selection["rows"] == "scaled to length one"

    def values(table_rows: np.ndarray) -> np.ndarray:
        found = matrix[where[table_rows]]
        return directions(found)[0] if scaled else np.asarray(found, dtype=np.float32)

    generator = np.random.default_rng(seed)
    near, far = _neighbours(files, values, generator)
    return {
        "map": _map(files, values, generator, seed),
        "near_pairs": near,
        "far_pairs": far,
        "pairs_intro": "Dropped examples beside the kept one of their class that is nearest to "
        "them; the distance is 2 − 2·similarity.",
        "near_title": "Dropped, and well stood for",
        "far_title": "Dropped, and like nothing that was kept",
    }


def _map(files: SelectionFiles, values: Any, generator: Any, seed: int) -> EmbeddingMap | None:
    from contrasift.embedding.projection import project

    count = min(_COMPARED, files.total)
    picked = np.sort(generator.choice(files.total, count, replace=False))
    points = values(picked)
    usable = np.isfinite(points).all(axis=1)
    picked, points = picked[usable], points[usable]
    if not picked.size:
        return None
    _, xy = project(points, sample=picked.size, seed=seed)
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
        total=files.total,
    )


def _neighbours(
    files: SelectionFiles, values: Any, generator: Any
) -> tuple[list[Pair], list[Pair]]:
    """Dropped examples with the nearest kept one of their class, nearest and farthest first."""
    selected = files.chosen["selected"]
    found: list[tuple[float, int, int, str]] = []
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
            (2 - 2 * float(one), int(first), int(kept[second]), str(summary["name"]))
            for one, first, second in zip(nearest, dropped, best, strict=True)
            if np.isfinite(one)
        ]
    found.sort()
    pairs = [
        Pair(_tile(files, first), _tile(files, second), distance=max(0.0, apart), latent_class=name)
        for apart, first, second, name in [*found[:_PAIRS], *found[::-1][:_PAIRS]]
    ]
    half = min(_PAIRS, len(found))
    return pairs[:half], pairs[half:]


def _tile(files: SelectionFiles, row: int) -> Tile:
    chosen = files.chosen
    return Tile(
        image="",
        id=files.ids(chosen["index"][row : row + 1])[0],
        rank=int(chosen["rank"][row]),
        gain=float(chosen["gain"][row]),
        place=int(files.places[row]),
    )


def _left_out(folder: Path) -> list[tuple[str, str]]:
    path = folder / "skipped.parquet"
    if not path.exists():
        return []
    table = read_table(path, "place", "reason")
    return list(zip(table["place"].tolist(), table["reason"].tolist(), strict=True))
