"""Selection of a stream: examples judged as they pass, before they are ever stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import check_finite_rows
from contrasift.errors import DataError, UsageError
from contrasift.inference.apply import (
    RunClasses,
    RunEncoder,
    RunRule,
    class_stem,
    encoders_of_run,
    first_new_index,
    judge_run,
    rule_of_run,
)
from contrasift.options.arguments import checked_arguments
from contrasift.store.run import RunFolder
from contrasift.store.selections import read_rule

if TYPE_CHECKING:
    from contrasift.selection.rule import LinearRule


@dataclass(frozen=True)
class Sifted:
    """Judgements of some examples.

    Attributes:
        keep: bool [m].
        score: float64 [m]; ⟨z, w_c⟩ of the example's class.
        latent_class: [m]; its class, by name.
    """

    keep: np.ndarray
    score: np.ndarray
    latent_class: np.ndarray


class Sifter:
    """Judges new examples by the rule of a finished selection.

    Called with a batch as a mapping of columns, it returns the batch with the columns `keep`,
    `score` and `latent_class`: the stage that `ray.data.Dataset.map_batches` takes. It travels to
    other processes as what it was made from, and reads the run there, on the first batch.

    Args:
        run: a run folder, which can judge images and embeddings; or a rule.npz, or a folder that
            has one, which judges embeddings by the nearest centroid of the rule.
        column: of a batch, what is judged: vectors, one an example, or images, as `open_pool`
            takes them from an array [b, height, width(, channels)] (uint8, bool, or floats in
            [0, 1]), or encoded (JPEG, PNG, ...) as bytes.
        index: of a batch, the column of stable indices; needed for images, as views are drawn from
            the index. Rows of a stream are counted from `first_index`.
        device: where the encoder runs.
        threads: for judging; None for all processors.
    """

    @checked_arguments
    def __init__(
        self,
        run: str | Path,
        *,
        column: str = "embedding",
        index: str = "index",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._run = str(Path(run).resolve())
        self._column = column
        self._index = index
        self._device = device
        self._threads = threads

    def __reduce__(self) -> tuple[Callable[..., Sifter], tuple[Any, ...]]:
        return _again, (self._run, self._column, self._index, self._device, self._threads)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with three more columns.

        Raises:
            UsageError: a column that is not there.
            DataError: vectors or images that cannot be judged.
        """
        self._require(batch, self._column)
        examples = batch[self._column]
        index = None
        if not _are_vectors(examples):
            self._require(batch, self._index)
            index = np.asarray(batch[self._index], dtype=np.int64)
        found = self.judge(examples, index)
        return {
            **batch,
            "keep": found.keep,
            "score": found.score,
            "latent_class": found.latent_class,
        }

    def judge(self, examples: Any, index: np.ndarray | None = None) -> Sifted:
        """Judge examples: vectors as a matrix or a sequence, or images in any form of `Sifter`.

        Args:
            examples: them.
            index: int64 [m]; of images, their stable indices.

        Raises:
            UsageError: images without indices, or for a rule without a run.
            DataError: vectors of another width, NaN, images that cannot be read.
        """
        if len(examples) == 0:
            names = self.rule.names if self.classes is None else self.classes.names
            return Sifted(np.zeros(0, dtype=bool), np.zeros(0), names[:0])
        if _are_vectors(examples):
            return self._judged(_matrix(examples), None, self._classes_of_vectors)
        if index is None:
            raise UsageError("an index for every image, which its views are drawn from", "none")
        stems = self.encoders
        images = _Images(self._prepared(examples), np.asarray(index), stems["embeddings"].mirror)
        every = np.arange(len(images))
        found = {
            stem: np.asarray(encoder.embed(images, every, device=self._device).values)
            for stem, encoder in stems.items()
        }
        return self._judged(found["embeddings"], found.get("class_embeddings"), self.classes)

    @property
    def first_index(self) -> int:
        """The index of the first example of a stream: behind the last of the pool's."""
        if self._of_run:
            return first_new_index(Path(self._run))
        return self.rule.pool_shape[0]

    @cached_property
    def known_rule(self) -> RunRule:
        """The rule, and where it comes from."""
        path = Path(self._run)
        if self._of_run:
            return rule_of_run(path, self._threads)
        return RunRule(read_rule(path if path.is_file() else path / "rule.npz"), None)

    @property
    def rule(self) -> LinearRule:
        """What is applied."""
        return self.known_rule.rule

    @cached_property
    def classes(self) -> RunClasses | None:
        """How examples are assigned to the run's classes; None where only the rule is at hand."""
        return RunClasses.of(Path(self._run)) if self._of_run else None

    @cached_property
    def encoders(self) -> dict[str, RunEncoder]:
        """Those of the run.

        Raises:
            UsageError: a rule without a run.
        """
        if not self._of_run:
            raise UsageError("a run folder, to judge images", f"{self._run}, a rule alone")
        return encoders_of_run(Path(self._run))

    @property
    def _of_run(self) -> bool:
        return (Path(self._run) / "options.yaml").exists()

    @cached_property
    def _classes_of_vectors(self) -> RunClasses | None:
        """Bare vectors lie in the space of similarities, which need not be that of the classes."""
        if not self._of_run:
            return None
        folder = RunFolder(self._run)
        return self.classes if class_stem(folder) == folder.matrix else None

    def _judged(
        self, values: np.ndarray, class_values: np.ndarray | None, classes: RunClasses | None
    ) -> Sifted:
        parts = list(judge_run(self.rule, classes, values, class_values, self._threads))
        return Sifted(
            np.concatenate([part.keep for part, _ in parts]),
            np.concatenate([part.score for part, _ in parts]),
            np.concatenate([names for _, names in parts]),
        )

    def _prepared(self, examples: Any) -> np.ndarray:
        """Images as the pool's: uint8 [b, channels, size, size]."""
        encoder = self.encoders["embeddings"]
        size, channels = encoder.image_size, encoder.channels
        made = [_prepare(example, size, channels) for example in examples]
        return np.stack(made).transpose(0, 3, 1, 2)

    @staticmethod
    def _require(batch: Mapping[str, Any], name: str) -> None:
        if name not in batch:
            raise UsageError(f"a column `{name}`", f"a batch of {', '.join(batch)}")


@checked_arguments
def sift(
    stream: Iterable[Any],
    run: str | Path | Sifter,
    *,
    of: Callable[[Any], Any] | None = None,
    first_index: int | None = None,
    batch_size: int = 256,
    device: str = "auto",
) -> Iterator[tuple[Any, bool, float]]:
    """Judge the examples of a stream, in its order.

    Batches are made inside; an example comes out when its batch is full, or the stream ends.

    Args:
        stream: examples: vectors, images as arrays [height, width(, channels)] or tensors
            [channels, height, width] (uint8, bool, or floats in [0, 1]), Pillow images, encoded
            images as bytes, or paths of images.
        run: a run folder, a rule.npz, or a `Sifter`.
        of: takes the vector or the image out of an example that holds more.
        first_index: index of the first image, which its views are drawn from; default: behind the
            last of the run's pool.
        batch_size: examples at a time.
        device: where the encoder runs.

    Yields:
        the example as it came, whether to keep it, and its score.

    Raises:
        UsageError: a batch size below 1, vectors of another width, images for a rule alone.
        DataError: an example that cannot be judged.
    """
    if batch_size < 1:
        raise UsageError("a batch size of at least 1", str(batch_size))
    sifter = run if isinstance(run, Sifter) else Sifter(run, device=device)
    begin = sifter.first_index if first_index is None else first_index
    examples = iter(stream)
    while batch := list(islice(examples, batch_size)):
        found = sifter.judge(
            batch if of is None else [of(example) for example in batch],
            np.arange(begin, begin + len(batch), dtype=np.int64),
        )
        begin += len(batch)
        yield from zip(batch, found.keep.tolist(), found.score.tolist(), strict=True)


def _again(run: str, column: str, index: str, device: str, threads: int | None) -> Sifter:
    return Sifter(run, column=column, index=index, device=device, threads=threads)


def _are_vectors(examples: Any) -> bool:
    if isinstance(examples, np.ndarray) and examples.dtype != object:
        return examples.ndim == 2
    first = examples[0]
    if isinstance(first, (bytes, str, Path)) or hasattr(first, "convert"):
        return False
    return np.ndim(first) == 1


def _matrix(examples: Any) -> np.ndarray:
    if isinstance(examples, np.ndarray) and examples.dtype != object:
        values = examples
    else:
        widths = {np.shape(example) for example in examples}
        if len(widths) != 1:
            raise DataError("vectors of one width", f"shapes {sorted(widths)[:5]}")
        values = np.stack([np.asarray(example) for example in examples])
    check_finite_rows(np.asarray(values))
    return values


def _prepare(example: Any, size: int, channels: int) -> np.ndarray:
    """One image by the rules of pools, uint8 [size, size, channels]."""
    from contrasift.pools.pixels import pixels_of, prepare_pixels
    from contrasift.pools.prepare import read_image_bytes, read_image_file

    if isinstance(example, (bytes, bytearray)):
        return read_image_bytes(bytes(example), size, channels)
    if isinstance(example, (str, Path)):
        return read_image_file(example, size, channels)
    pixels = pixels_of(example)
    if isinstance(pixels, np.ndarray) and pixels.shape[2] != channels:
        kinds = {1: "grey", 3: "coloured"}
        raise DataError(
            f"{kinds[channels]} images, as the run's", f"an array of shape {np.shape(example)}"
        )
    return prepare_pixels(pixels, size, channels, "an image of the stream")


@dataclass(frozen=True)
class _Images:
    """A batch in memory, as `contrasift.embedding.embed` takes a pool."""

    pixels: np.ndarray
    index: np.ndarray
    mirror: bool

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def image_size(self) -> int:
        return int(self.pixels.shape[2])

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.pixels[positions])
