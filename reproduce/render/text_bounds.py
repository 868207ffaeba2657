"""What `contrasift text --bounds` has measured, as tables of the page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrasift.errors import DataError
from contrasift.store.atomic import read_json
from contrasift.text.options import TextOptions, TextPoolOptions
from reproduce.cell import default_of
from reproduce.declared.texts import TEXT_BOUNDS
from reproduce.metrics.bounds import shown
from reproduce.render.cell_table import CellTable

FOLDER = "texts"  # beside that of the results
_ARM = TEXT_BOUNDS.reference


@dataclass(frozen=True)
class TextStudy:
    """The bounds.json of one collection.

    Attributes:
        name: of the file.
        content: of the file.
    """

    name: str
    content: Mapping[str, Any]

    @property
    def cells(self) -> list[dict[str, Any]]:
        """One a batch size and seed."""
        return self.content["cells"]

    @property
    def setting(self) -> dict[str, str]:
        """What tables are labelled with."""
        return {"pool": self.name}

    def along(self) -> list[CellTable]:
        """For `TEXT_BOUNDS`: a table for each K + 1."""
        return [
            CellTable({**self.setting, TEXT_BOUNDS.line: str(size)}, {_ARM: by_seed})
            for size, by_seed in self._by_size().items()
        ]

    def beside(self) -> CellTable:
        """For `TEXT_BATCHES`: an arm for each K + 1."""
        by_size = self._by_size()
        return CellTable(
            self.setting, {f"batches of {size}": by_seed for size, by_seed in by_size.items()}
        )

    def _by_size(self) -> dict[int, dict[int, dict[str, Any]]]:
        found: dict[int, dict[int, dict[str, Any]]] = {}
        for cell in sorted(self.cells, key=lambda cell: (cell["draws"], cell["seed"])):
            found.setdefault(cell["draws"], {})[cell["seed"]] = _record(cell)
        return found

    def description(self) -> str:
        """What was trained on, in a phrase."""
        about = self.content
        options = about["options"]
        return (
            f"{len(about['classes'])} labels, {about['texts']:,} texts to learn from, "
            f"{about['held_out']:,} held out; views by words that are {options['augmentation']}d, "
            f"{options['epochs']} epochs"
        )

    def made_with(self) -> str:
        """Commits, processors and hours of its trainings."""
        made = [cell["made_with"] for cell in self.cells]
        commits = ", ".join(sorted({one["commit"] for one in made}))
        processors = ", ".join(sorted({one["processor"] for one in made}))
        hours = sum(cell["seconds"] for cell in self.cells) / 3600
        return f"{len(made)} trainings, {hours:.1f} hours, on {processors}, at commit {commits}"

    def command(self) -> str:
        """The command that measures this again."""
        about = self.content
        sizes = sorted({cell["draws"] for cell in self.cells})
        parts = ["contrasift", "text", about["source"]["texts"]]
        parts += _flags(about["source"], TextPoolOptions) + _flags(about["options"], TextOptions)
        parts += ["--bounds", ",".join(map(str, sizes))]
        parts += ["--seeds", str(len({cell["seed"] for cell in self.cells}))]
        return shlex.join([*parts, "--out", f"runs/bounds-{self.name}"])


def text_studies(folder: Path) -> Iterator[TextStudy]:
    """Every study in a folder.

    Raises:
        DataError: a file that is none.
    """
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        if not {"cells", "source", "options"} <= content.keys():
            raise DataError(
                "a bounds.json of contrasift text --bounds", f"{path}, which is something else"
            )
        yield TextStudy(path.stem, content)


def _record(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A training as a cell of an experiment."""
    accuracy = cell["accuracy"]
    return {
        "metrics": {
            "linear": accuracy["linear_backbone"],
            "head": {"mean_classifier": accuracy["mean_classifier"]},
            "bounds": {**shown(cell), "same_class_spread": cell["same_class_spread"]},
        },
        "facts": {},
        "parts": {},
    }


def _flags(
    values: Mapping[str, Any], group: type[TextPoolOptions] | type[TextOptions]
) -> list[str]:
    """Those that are not at their defaults; the batch size is what is varied."""
    return [
        part
        for name, value in values.items()
        if name not in ("texts", "batch_size") and value != default_of(group, name)
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
