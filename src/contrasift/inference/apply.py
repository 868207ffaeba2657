"""What a finished run knows of examples that it has not seen: its encoders, classes and rule.

A new example is embedded as the pool was, put into one of the classes there are, and kept if its
score reaches the class's threshold. Nothing of the run changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.arrays import class_codes
from contrasift.classes.assign import Assigner, fit_assigner
from contrasift.errors import ContrasiftError, DataError, RunFolderError, UsageError
from contrasift.results import Embeddings, Selection
from contrasift.selection.rule import Judged, LinearRule, rule_of_selection
from contrasift.store.atomic import read_json, write_array
from contrasift.store.embeddings import load_embeddings_file
from contrasift.store.run import RunFolder
from contrasift.store.selections import read_rule, read_selection
from contrasift.store.tables import read_latent_classes, read_table

if TYPE_CHECKING:
    from contrasift.narration import Progress
    from contrasift.training.batches import ImagePool
    from contrasift.training.encoders import Encoder

# Methods whose classes have no centre that would stand for them.
_BY_NEIGHBOURS = ("graph", "propagate")


@dataclass(frozen=True)
class RunRule:
    """The linear rule of a run's selection.

    Attributes:
        rule: the rule.
        agreement: share of the selection that the rule keeps when it judges the pool by threshold
            alone; None for a selection that is its rule.
    """

    rule: LinearRule
    agreement: float | None

    @property
    def in_words(self) -> str:
        """Where it comes from."""
        if self.agreement is None:
            return "the rule of the relaxed selection"
        return (
            "a rule by the relaxation with as many places in every class; of the run's selection "
            f"it keeps {self.agreement:.2%}"
        )


def first_new_index(run: Path) -> int:
    """The index of the first new example: indices go on behind the last of the pool's.

    That is the whole source's: images that are held out, or left out by `--limit`, have indices,
    too. Of a run that kept no record of it the pool is asked, if it is there.
    """
    from contrasift.pools import open_pool

    scan = RunFolder(run).records().get("scan")
    if scan is not None and "end" in scan.facts:
        return int(scan.facts["end"])
    used = int(read_table(run / "examples.parquet", "index")["index"].max()) + 1
    options = RunFolder(run).read_options().pool if RunFolder(run).options_path.exists() else None
    if options is None:  # an extension, which uses all that it has
        return used
    with contextlib.suppress(ContrasiftError):
        return max(used, open_pool(options.pool, labels="none", holdout=0).end)
    return used


def rule_of_run(run: Path, threads: int | None = None) -> RunRule:
    """The rule of a run's selection; made from the selection where it has none of its own.

    Args:
        run: a run folder, or any folder with embeddings.npy, classes.parquet and a selection.
        threads: None for all processors.

    Raises:
        RunFolderError: nothing is selected yet.
        UsageError: a selection by another objective than `sas`, or by a threshold that counts.
    """
    if not (run / "selection.json").exists():
        raise RunFolderError(
            f"a selection in {run}", "none", f"Do it first: contrasift select {run}"
        )
    chosen = read_selection(run)
    if chosen.rule is not None:
        return RunRule(read_rule(run / "rule.npz"), None)
    if not may_have_rule(chosen):
        raise UsageError(
            "a selection by the objective sas, which a linear rule can stand for",
            f"one by {chosen.objective} in {run}",
            "With reselect=True, new examples are chosen from without a rule",
        )
    embeddings = load_embeddings_file(run)[0]
    labels = read_latent_classes(run / "classes.parquet", embeddings.index)
    if chosen.facts.get("allocate") == "global":
        labels = None
    codes, names = class_codes(labels, len(embeddings))
    rule, agreement = rule_of_selection(
        embeddings.values,
        codes,
        names,
        np.isin(embeddings.index, chosen.indices),
        redundancy=chosen.redundancy,
        scaled=False,
        pool_sha256=str(embeddings.description.get("sha256", "")),
        threads=threads,
    )
    return RunRule(rule, agreement)


def may_have_rule(chosen: Selection) -> bool:
    """Whether a linear rule can stand for a selection: one by F_λ, no threshold on similarities."""
    return chosen.objective == "sas" and not chosen.facts.get("thresholded_classes")


@dataclass(frozen=True)
class RunClasses:
    """How a run's classes take in new examples.

    Attributes:
        assigner: decides.
        names: [K]; the classes, ascending.
        method: how they were found.
    """

    assigner: Assigner
    names: np.ndarray
    method: str

    @classmethod
    def of(cls, run: Path) -> RunClasses:
        """Of a run whose classes are found.

        Classes found as communities or by propagation have no centre: the nearest old examples
        vote. All others: the nearest mean, in the space in which they were found.
        """
        folder = RunFolder.existing(run)
        options = folder.read_options()
        known = load_embeddings_file(run / f"{class_stem(folder)}.npy")[0]
        codes, names = class_codes(
            read_latent_classes(run / "classes.parquet", known.index), len(known)
        )
        found = read_json(run / "classes.json")
        method = str(found.get("method", ""))
        assigner = fit_assigner(
            known.values,
            codes,
            len(names),
            way="neighbours" if method in _BY_NEIGHBOURS else "means",
            whiten=options.classes.whiten,
            metric=options.classes.metric,
            neighbours=int(found.get("neighbours", 10)),
            seed=options.classes.seed,
        )
        return cls(assigner, names, method)

    def in_words(self) -> str:
        """How new examples are assigned, and how well old ones would be."""
        way = {
            "means": "the nearest class mean",
            "neighbours": f"a vote of the {self.assigner.neighbours} nearest old examples",
        }[self.assigner.way]
        agreement = self.assigner.agreement()
        return f"classes by {way}; of old examples it gives {agreement:.1%} their own class"


def class_stem(folder: RunFolder) -> str:
    """What holds the embeddings in which a run's classes were found, without its suffix."""
    options = folder.read_options()
    if options.classes.classes == "labels" or not options.embed.classes_encoder:
        return folder.matrix
    return folder.matrix.removesuffix("embeddings") + "class_embeddings"


@dataclass(frozen=True)
class RunEncoder:
    """What made one of a run's matrices: an encoder, or several whose outputs stand side by side.

    Attributes:
        encoders: with their weights.
        descriptions: of the matrix of each, without hash and shape.
        batch_size: images at a time.
        image_size: side of the pool's images.
    """

    encoders: tuple[Encoder, ...]
    descriptions: tuple[Mapping[str, Any], ...]
    batch_size: int
    image_size: int

    @property
    def was_trained_here(self) -> bool:
        """Whether it was trained on images like the pool's, and sees no others."""
        return "trained_with" in self.encoders[0].description

    @property
    def channels(self) -> int:
        """Of the images it was shown."""
        return int(self.encoders[0].description["channels"])

    @property
    def mirror(self) -> bool:
        """Whether the run takes an image and its mirror image for the same."""
        return bool(self.descriptions[0]["mirror"])

    def embed(
        self,
        images: ImagePool,
        positions: np.ndarray,
        *,
        path: Path | None = None,
        device: str = "auto",
        progress: Progress | None = None,
    ) -> Embeddings:
        """New images as the run embedded its own: the same layer, views, augmentation and seed.

        Views are drawn from (seed, index, number of the view), so that new indices give new views.

        Args:
            images: prepared as the run's.
            positions: which of them.
            path: file to fill, resumable, as for `contrasift.embed`; None: in memory.
            device: where the encoder runs.
            progress: called with (images done, images).

        Raises:
            DataError: the encoder is no longer the one that embedded the pool.
        """
        if len(self.encoders) == 1:
            return self._by_one(0, images, positions, path, device, progress)
        parts = [
            self._by_one(number, images, positions, None, device, progress)
            for number in range(len(self.encoders))
        ]
        values = np.concatenate([part.values for part in parts], axis=1)
        if path is not None:
            write_array(path, values)
        about = {"side_by_side": [dict(part.description) for part in parts]}
        return Embeddings(values, parts[0].index, about)

    def _by_one(
        self,
        number: int,
        images: ImagePool,
        positions: np.ndarray,
        path: Path | None,
        device: str,
        progress: Progress | None,
    ) -> Embeddings:
        from contrasift.embedding.embed import embed

        about = self.descriptions[number]
        found = embed(
            images,
            positions,
            self.encoders[number],
            layer=about["layer"],
            views=about["views"],
            plain_view=about["plain_view"],
            augmentation=about["augmentation"] if about["views"] else None,
            seed=about["seed"],
            batch_size=self.batch_size,
            path=path,
            device=device,
            progress=progress,
        )
        differing = [name for name in about if found.description.get(name) != about[name]]
        if differing:
            raise DataError(
                "the encoder that embedded the run's pool",
                f"one with another {', '.join(differing)}",
                "Embed the whole pool again, or bring the old encoder back",
            )
        return found


def encoders_of_run(run: Path) -> dict[str, RunEncoder]:
    """The encoders behind a run's matrices: `embeddings`, and where it has it `class_embeddings`.

    Raises:
        RunFolderError: the run is not embedded, or not from images.
        DataError: an encoder that is not there any more.
    """
    from contrasift.training.loading import load_encoder

    folder = RunFolder.existing(run)
    options = folder.read_options()
    if "embed" not in folder.records():
        raise RunFolderError(
            f"an embedded pool in {run}",
            "a run without",
            f"Do it first: {folder.command_of('embed')}",
        )
    stems = {"embeddings": folder.matrix}
    if class_stem(folder) != folder.matrix:
        stems["class_embeddings"] = class_stem(folder)
    found: dict[str, RunEncoder] = {}
    loaded: dict[str, Encoder] = {}
    for name, stem in stems.items():
        about = _descriptions(read_json(run / f"{stem}.json"))
        sources = _sources_of(folder, name)
        for source, part in zip(sources, about, strict=True):
            if source not in loaded:
                loaded[source] = load_encoder(source, channels=int(part["encoder"]["channels"]))
        found[name] = RunEncoder(
            tuple(loaded[source] for source in sources),
            about,
            options.embed.embed_batch_size,
            options.pool.image_size or _image_size(folder, about[0]),
        )
    return found


def _descriptions(description: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Of every encoder behind a matrix, without what is said of the matrix itself."""
    parts = description.get("side_by_side", [description])
    own = ("shape", "sha256")
    return tuple({key: it for key, it in part.items() if key not in own} for part in parts)


def _sources_of(folder: RunFolder, name: str) -> list[str]:
    """What `load_encoder` takes, for the similarities' matrix or the classes'."""
    options = folder.read_options().embed
    home = folder.matrix.removesuffix("embeddings")
    if home:
        number = home.split("/")[1]
        return [str(folder.path / "training" / f"round-{number}" / "encoder.safetensors")]
    names = options.classes_encoder.split(",") if name == "class_embeddings" else ["same"]
    wanted = [options.encoder if part.strip() == "same" else part.strip() for part in names]
    proxy = str(folder.path / "training" / "proxy" / "encoder.safetensors")
    return [proxy if part == "proxy" else part for part in wanted]


def _image_size(folder: RunFolder, about: Mapping[str, Any]) -> int:
    """Side of the pool's images: told by a proxy that was trained on them, else by the pool."""
    from contrasift.pools import open_pool

    if "trained_with" in about["encoder"]:
        return int(about["encoder"]["image_size"])
    scan = folder.records().get("scan")
    if scan is not None and "image_size" in scan.facts:
        return int(scan.facts["image_size"])
    options = folder.read_options().pool
    return open_pool(options.pool, labels="auto", holdout=options.holdout).image_size


def judge_run(
    rule: LinearRule,
    classes: RunClasses | None,
    values: np.ndarray,
    class_values: np.ndarray | None,
    threads: int | None = None,
) -> Iterator[tuple[Judged, np.ndarray]]:
    """Judge new rows, block by block.

    Args:
        rule: of the selection.
        classes: None: the nearest centroid of the rule decides the class.
        values: [m, d]; in the space of similarities.
        class_values: [m, D]; in the space of classes; None: the same.
        threads: None for all processors.

    Yields:
        a block of judgements, and the names of its classes.
    """
    if classes is None:
        for judged in rule.judge(values, threads=threads):
            yield judged, rule.names[judged.class_code]
        return
    codes, _ = classes.assigner.classes_of(values if class_values is None else class_values)
    whole = len(rule.names) == 1 and len(classes.names) > 1
    for judged in rule.judge(values, np.zeros_like(codes) if whole else codes, threads=threads):
        here = codes[judged.start : judged.start + len(judged.keep)]
        yield dataclasses.replace(judged, class_code=here), classes.names[here]
