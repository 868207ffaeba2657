"""Options of a training on text."""

from __future__ import annotations

from dataclasses import dataclass

from contrasift.options import Options, option

AUGMENTATIONS = ("erase", "replace")


@dataclass(frozen=True)
class TextPoolOptions(Options):
    """Which texts."""

    text_column: str = option("text", "Column with the text, in CSV files and data sets.")
    label_column: str = option("label", "Column with the label.")
    labels: str = option(
        "auto",
        "Where labels come from: `auto`, `none`, or a file: one label a line, or a table of ids (from 0) and labels.",
    )
    least: int = option(1, "Leave out labels that fewer texts have.")
    limit: int | None = option(None, "Use only N texts, drawn with the seed.")
    holdout: float = option(
        0.2, "Share of a labelled collection without a test set that is held out."
    )
    seed: int = option(0, "Seed of everything random.")


@dataclass(frozen=True)
class TextOptions(Options):
    """How the encoder of words is trained."""

    augmentation: str = option(
        "erase",
        "Views: `erase` words, or `replace` them by near ones.",
        choices=AUGMENTATIONS,
    )
    rate: float = option(
        0.5, "Probability of each word to be erased or replaced.", legal="in (0, 1)"
    )
    near: int = option(
        5, "replace: how many near words there are to choose from.", legal="of at least 1"
    )
    vectors: str = option(
        "",
        "replace: file with word vectors that say what is near (.vec or GloVe); default: what stands near in this collection.",
    )
    min_count: int = option(5, "Words that occur more rarely are unknown.", legal="of at least 1")
    dim: int = option(128, "Width of the word vectors.", legal="of at least 1")
    projection_dim: int = option(
        128, "Width of the projection head's output.", legal="of at least 1"
    )
    epochs: int = option(20, "Passes over the texts.", legal="of at least 1")
    batch_size: int = option(256, "Texts in a step.", legal="of at least 2")
    learning_rate: float = option(
        5e-3, "Peak learning rate of Adam (cosine schedule).", legal="above 0"
    )
    temperature: float = option(0.5, "Temperature of NT-Xent.", legal="above 0")
