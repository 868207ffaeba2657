"""What a selection from a matrix of embeddings takes besides: how it is read, classes and lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contrasift.catalogue import nearest
from contrasift.errors import UsageError
from contrasift.options.declaring import Options, numbers_of, option, require
from contrasift.options.words import Scaling

# Ways to classes that need embeddings alone.
METHODS_OF_A_MATRIX = ("auto", "graph", "kmeans", "none")
# Of fewer rows nearly all are each other's nearest neighbours, and tell no groups apart.
LEAST_ROWS_FOR_CLASSES = 20
# Those that need more, which `contrasift classes` takes.
_FURTHER_METHODS = ("few-labels", "propagate", "labels", "zero-shot")


@dataclass(frozen=True)
class MatrixReading(Options):
    """How a matrix of embeddings is read."""

    column: str = option(
        "",
        "Which array or column of EMBEDDINGS holds the vectors; default: the only one that can.",
        metavar="NAME",
    )
    id: str = option(
        "",
        "What names the rows: a column, in the files or in the tables beside them; a file of ids, .npy, .txt or TABLE.parquet:COLUMN; `none`. Default: a column that is called like ids mostly are.",
        metavar="NAME",
    )
    scale: str = option(
        "",
        "Of 8-bit entries: one step, or one step and the entry that stands for zero.",
        metavar="STEP[,ZERO]",
    )
    skip_bad: bool = option(
        False,
        "List rows with NaN, infinity, nulls or nothing but zeros in skipped.parquet, and leave them out.",
    )

    def __post_init__(self) -> None:
        """Check the scale."""
        super().__post_init__()
        self.steps()

    def steps(self) -> tuple[float, float] | None:
        """One step of 8-bit entries, and the one that stands for zero.

        Raises:
            UsageError: other than one or two numbers.
        """
        if not self.scale:
            return None
        try:
            step, _, zero = self.scale.partition(",")
            return float(step), float(zero or 0)
        except ValueError:
            raise UsageError("scale= as STEP or STEP,ZERO, e.g. 0.0078,128", self.scale) from None


@dataclass(frozen=True)
class MatrixOptions(MatrixReading):
    """What a selection from a matrix takes besides."""

    classes: str = option(
        "auto",
        "Latent classes, within which is selected: `auto`: those found before in --out or beside the embeddings, else communities of nearest neighbours, which find their own number; `graph`, `kmeans`: find them so; `none`: one class, within which nothing selects better than chance in our experiments. Or a file with the class of every row: .npy of integers or text, classes.parquet, or lines of text; this and the lists below may be addresses too, and tables of them may go by `id`.",
        metavar="FILE|METHOD",
    )
    fractions: str = option(
        "",
        "Several nested selections in one run, instead of --fraction: columns `selected_F`.",
        metavar="F,F,...",
    )
    must_keep: str = option(
        "",
        "Ids, or indices where there are none, that are kept in any case: .npy, lines, or what is selected in a selection.parquet.",
        metavar="FILE",
    )
    must_drop: str = option(
        "", "Ids or indices that are dropped in any case, likewise.", metavar="FILE"
    )
    drop_duplicates: float | None = option(
        None,
        "First drop every example that is more similar than 1 − ε to one that stays in its class (the most central; with --scores the best); says how many, and how many have another within other ε.",
        metavar="EPSILON",
        legal="in [0, 2], the range of 1 − similarity",
    )
    class_weights: str = option(
        "",
        "Factor on every class's share: JSON {name: weight}, or a list in the order of names.",
        metavar="FILE",
    )
    normalize: Scaling = option(
        "auto",
        "`rows`: scale rows to length one; `none`: they are mean view embeddings; `auto`: none beside an embeddings.json, else rows.",
    )
    threads: int | None = option(None, "Default: all processors.", legal="of at least 1")
    memory_limit: str = option("", "Stay below it, e.g. 2GB.", metavar="SIZE")

    def __post_init__(self) -> None:
        """Check the classes and the fractions."""
        super().__post_init__()
        meant = nearest(self.classes, METHODS_OF_A_MATRIX)
        require(
            not meant or self.classes in METHODS_OF_A_MATRIX or Path(self.classes).exists(),
            f"classes= as a file or one of {', '.join(METHODS_OF_A_MATRIX)}",
            f"{self.classes}, which is neither",
            meant,
        )
        require(
            self.classes not in _FURTHER_METHODS,
            f"classes= as a file or one of {', '.join(METHODS_OF_A_MATRIX)}",
            self.classes,
            "Find them first with `contrasift classes`, or give a file of that name as ./"
            + self.classes,
        )
        self.nested_fractions()

    @property
    def classes_file(self) -> str:
        """The file of classes; empty where they are to be found, or where there is one."""
        return "" if self.classes in METHODS_OF_A_MATRIX else self.classes

    def nested_fractions(self) -> list[float]:
        """The fractions as numbers.

        Raises:
            UsageError: they are none.
        """
        found = numbers_of(self.fractions)
        if found is None:
            raise UsageError("fractions= separated by commas, e.g. 0.1,0.2", self.fractions)
        return found
