"""From a pool to latent classes: which images, how they are embedded and parted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contrasift.options.declaring import Options, numbers_of, option, require, within
from contrasift.options.training import METHODS
from contrasift.options.words import GraphKind, Layer, Metric, RunClassMethod


@dataclass(frozen=True)
class PoolOptions(Options):
    """Which images, how many, at what size."""

    pool: str = option(
        "",
        "A named set (see `contrasift datasets`), a folder of images, tar or Parquet shards (a folder, a file, a pattern like 'shards/*.tar', or their address, s3://…), a Hugging Face data set (hf:NAME or hf:NAME:SPLIT), or a .npy/.npz file.",
    )
    limit: int | None = option(
        None, "Use only N examples of the pool, drawn with the seed.", legal="of at least 1"
    )
    image_size: int | None = option(
        None,
        "Side in pixels that images are brought to; default: the pool's own, or 64 for folders.",
        legal="of at least 8",
    )
    labels: str = option(
        "auto",
        "Where labels come from: `auto` (what the pool has; folders of images have none), `folders` (class sub-folders), `none`, or a file: one label a line, or a table of ids and labels (CSV, TSV, Parquet).",
    )
    holdout: float = option(
        0.2,
        "Share of a labelled pool without a test set that is held out for evaluation.",
        legal="in (0, 1)",
    )
    seed: int = option(0, "Seed of everything random.")


@dataclass(frozen=True)
class EmbedOptions(Options):
    """How the proxy turns the pool into a matrix."""

    encoder: str = option(
        "proxy",
        "`proxy` (train one here first); published weights: a timm name, `torchvision:NAME`, `open-clip:NAME/TAG`; weights in a file: `NAME=FILE`, `NAME=package:PACKAGE`, `open-clip:FOLDER`; trained here: a run, `RUN@epoch=4`, or its .safetensors.",
    )
    classes_encoder: str = option(
        "same",
        "The encoder (named like --encoder; several with commas: their features side by side) in whose features classes are found; its embeddings of the images as they are go to class_embeddings.npy. `same`: that of --encoder; empty: classes are found in the views' embeddings, where similarities are.",
    )
    classes_layer: Layer = option("backbone", "Layer of --classes-encoder.")
    classes_views: int = option(
        0,
        "Augmented views for --classes-encoder besides the image as it is.",
        legal="of at least 0",
    )
    proxy_epochs: int | None = option(
        None, "Epochs of the proxy trained here; default: half of --epochs.", legal="of at least 1"
    )
    proxy_method: str = option(
        "", "How the proxy learns; default: as --method.", choices=("", *METHODS)
    )
    proxy_architecture: str = option(
        "", "The proxy's network, named like --architecture; default: that."
    )
    layer: Layer = option(
        "head",
        "Embed with the encoder's `backbone` or with the projection `head` (encoders without one: backbone).",
    )
    views: int = option(
        4, "Augmented views an example; their unit embeddings are averaged.", legal="of at least 0"
    )
    plain_view: bool = option(False, "Average in the un-augmented view as well.")
    embed_batch_size: int = option(
        256, "Examples embedded at a time.", argument="batch_size", legal="of at least 1"
    )
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check that there is at least one view."""
        super().__post_init__()
        require(
            self.views > 0 or self.plain_view, "at least one view", "views=0 and plain_view=False"
        )


@dataclass(frozen=True)
class ClassesOptions(Options):
    """How latent classes are found."""

    classes: RunClassMethod = option(
        "auto",
        "`graph`: communities among nearest neighbours, which find their own number; `kmeans`; `auto`: graph, unless --n-classes is given, then kmeans; `few-labels`: a linear classifier from few labels; `propagate`: few labels spread over the graph; the pool's `labels`; `zero-shot`: the name in --class-names that an image resembles most; `none`: one class, within which nothing selects better than chance in our experiments. Or a file of classes, which --classes-file takes as well.",
        metavar="FILE|METHOD",
        argument="method",
    )
    class_names: str = option(
        "", "zero-shot: a file with the name of a class a line, or `imagenet-1k`."
    )
    templates: str = option(
        "",
        "zero-shot: a file of prompts, one a line, with {} for the name, or `openai` (80 prompts) or `simple` (7); default: `a photo of a {}.`",
    )
    clip: str = option(
        "",
        "zero-shot: where the open-clip model is that embedded the images, if it is no longer where it was.",
    )
    n_classes: str | int | None = option(
        None,
        "kmeans: a number, a range such as 50:400 or `auto` (√n / 10 to 2 √n): chosen by how few neighbours are cut apart; default: as many as the pool has labels, else `auto`.",
    )
    restarts: int = option(5, "k-means restarts; the best is kept.", legal="of at least 1")
    iterations: int = option(25, "k-means steps a restart.", later=True, legal="of at least 1")
    metric: Metric = option(
        "spherical",
        "Without --whiten: examples are compared by direction (`spherical`) or as points (`euclidean`).",
    )
    whiten: int = option(
        128,
        "Find classes in so many leading components, brought to equal variance; 0: not.",
        legal="of at least 0 (0 for none)",
    )
    max_class_size: int | None = option(
        None, "kmeans, graph: split larger classes by k-means within them.", legal="of at least 1"
    )
    graph_neighbours: str | int = option(
        10,
        "graph, propagate: neighbours of an example; `auto` (graph): 10, 20 or 30, where seeds agree best.",
    )
    graph: GraphKind = option(
        "union",
        "graph, propagate: join two examples if one is a neighbour of the other (`union`), or if each is (`mutual`).",
    )
    resolution: str | float | int = option(
        "3",
        "graph: higher makes more classes; `auto`: that at which seeds agree best; `consensus`: what ten runs at five resolutions agree on, which hardly depends on the seed.",
    )
    resolutions: str = option(
        "",
        "graph: further resolutions, e.g. 0.5,1,8: nested classes, coarse to fine, in columns of their own.",
        metavar="R,R,...",
        later=True,
    )
    memory_limit: str = option(
        "",
        "graph, propagate: stop before the work if it needs more, e.g. 8GB.",
        metavar="SIZE",
        later=True,
    )
    label_share: float | None = option(
        None,
        "few-labels, propagate: share of the pool's own labels to use, e.g. 0.01.",
        legal="in (0, 1]",
        remedy="One in a hundred is 0.01",
    )
    few_labels: str = option(
        "",
        "few-labels, propagate: a file of labels, one `index,label` a line, instead of --label-share.",
        argument="known",
    )
    classes_file: str = option(
        "",
        "labels: take the classes from this file (.npy, .parquet or lines) instead of the pool.",
        argument="labels",
    )
    stability: int | None = option(
        None,
        "Seeds whose classes and selections are held against each other; default: 2 up to 20,000 examples, else none.",
        legal="of at least 0",
    )
    rounds: int = option(
        0,
        "Refine in up to so many rounds: select, train the proxy anew on the selection, embed, find classes again; ends early when classes agree no better with those of the round before than these did.",
        legal="of at least 0",
    )
    seed: int = option(0, "Seed of everything random.")

    def __post_init__(self) -> None:
        """Check that the method has what it needs, and nothing that it does not take."""
        super().__post_init__()
        require(
            self.rounds == 0 or self.classes not in ("labels", "zero-shot", "none"),
            "rounds= with classes that are found in embeddings",
            f"classes='{self.classes}'",
        )
        self._settle_texts()
        self.nested_resolutions()
        self._check_n_classes()
        self._check_few_labels()
        zero_shot = self.classes == "zero-shot"
        require(
            bool(self.class_names) or not zero_shot,
            "class_names= for classes='zero-shot'",
            "none",
            "A file with one name a line, or imagenet-1k",
        )
        given = [self.class_names, self.templates, self.clip]
        require(
            zero_shot or not any(given),
            "classes='zero-shot' for class_names=, templates= and clip=",
            self.classes,
        )

    def nested_resolutions(self) -> list[float]:
        """The further resolutions as numbers.

        Raises:
            UsageError: they are none above 0.
        """
        found = numbers_of(self.resolutions)
        require(
            found is not None and all(within(number, "above 0") for number in found),
            "resolutions= above 0, separated by commas, e.g. 0.5,1,8",
            self.resolutions,
        )
        return found or []

    def arguments(self) -> dict[str, Any]:
        """What `contrasift.latent_classes` takes of these, but the seed and how it is worked."""
        resolution = self.resolution
        names = ("n_classes", "label_share", "whiten", "metric", "restarts", "iterations")
        more = ("max_class_size", "graph_neighbours", "graph")
        return {
            "method": self.classes,
            **{name: getattr(self, name) for name in (*names, *more)},
            "resolution": resolution if resolution in ("auto", "consensus") else float(resolution),
            "resolutions": self.nested_resolutions(),
        }

    def fingerprint(self, *upstream: str) -> str:
        """Hash of these options, without `rounds`: every round is a stage with its own.

        Without `memory_limit`, too, which decides nothing but whether the work begins.
        """
        left_out = ("rounds", "memory_limit")
        values = {name: value for name, value in self.identity().items() if name not in left_out}
        from contrasift.fingerprints import json_fingerprint

        return json_fingerprint([type(self).__name__, values, upstream])

    def _settle_texts(self) -> None:
        """One spelling, whether a flag or a recipe gave it: the fingerprint sees the text."""
        if self.n_classes is not None:
            object.__setattr__(self, "n_classes", str(self.n_classes))
        if self.graph_neighbours != "auto":
            text = str(self.graph_neighbours)
            count = int(text) if text.isdecimal() else 0
            require(count >= 1, "graph_neighbours= of at least 1, or auto", text)
            object.__setattr__(self, "graph_neighbours", count)
        require(
            self.graph_neighbours != "auto" or self.classes != "propagate",
            "a number of graph_neighbours= for classes='propagate'",
            "auto",
        )
        if self.resolution in ("auto", "consensus"):
            return
        number = numbers_of(str(self.resolution)) or [0.0]
        require(
            len(number) == 1 and within(number[0], "above 0"),
            "resolution= above 0, auto or consensus",
            repr(self.resolution),
        )
        object.__setattr__(self, "resolution", f"{number[0]:g}")

    def _check_n_classes(self) -> None:
        if self.n_classes in (None, "auto"):
            return
        ends = str(self.n_classes).split(":")
        require(
            len(ends) <= 2 and all(end.isdecimal() and int(end) >= 1 for end in ends),
            "n_classes= of at least 1, a range such as 50:400, or `auto`",
            self.n_classes,
        )
        require(self.classes in ("auto", "kmeans"), "classes='kmeans' for n_classes=", self.classes)

    def _check_few_labels(self) -> None:
        few = self.classes in ("few-labels", "propagate")
        require(
            few == ((self.label_share is not None) or bool(self.few_labels))
            and not (self.label_share is not None and self.few_labels),
            "label_share= or few_labels= for classes='few-labels' and classes='propagate', and for no other",
            f"classes='{self.classes}', label_share={self.label_share}, "
            f"few_labels='{self.few_labels}'",
        )
        require(
            not self.classes_file or self.classes == "labels",
            "classes='labels' for classes_file=",
            self.classes,
        )
