"""Tables of the README and of the findings, from finished cells.

A document marks a place, and `fill_documents` writes what is between the marks:

    <!-- table NAME, written by `make results` -->
    <!-- end of table -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from contrasift.catalogue import check_choice
from contrasift.evaluation import Interval
from contrasift.store.atomic import write_text
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.metrics.extras import METRICS
from reproduce.render.cell_table import CellTable, tables_of
from reproduce.render.formatting import UNKNOWN, difference_text, mean_text

DOCUMENTS = ("README.md", "docs/findings.md", "docs/negatives.md", "docs/one-training.md")
_PLACE = re.compile(
    r"(<!-- table ([\w-]+), written by `make results` -->\n).*?(<!-- end of table -->)", re.DOTALL
)


# What is confirmed of an experiment, by its name.
Found = Callable[[str], Sequence[CellTable]]


@dataclass(frozen=True)
class Place:
    """Where numbers stand: one arm of an experiment in one setting.

    Attributes:
        experiment: its name.
        setting: every axis and its label.
        arm: which.
        less: the arm it is compared with; empty for means.
    """

    experiment: str
    setting: Mapping[str, str]
    arm: str
    less: str = ""


@dataclass(frozen=True)
class DocTable:
    """A table of a document.

    Attributes:
        head: names of the first column and of every column of numbers.
        metrics: by which, the same for every place.
        rows: a label and its places, whose columns stand side by side.
    """

    head: Sequence[str]
    metrics: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Place]]]


def fill_documents(root: Path, records: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the tables of the documents below a folder, where there are any.

    Args:
        root: the repository.
        records: every finished cell.

    Returns:
        What was written.
    """
    found = tables_by_name(records)
    written = []
    for path in (root / name for name in DOCUMENTS if (root / name).is_file()):
        before = path.read_text(encoding="utf-8")
        after = filled(before, found)
        if after != before:
            write_text(path, after)
            written.append(path)
    return written


def tables_by_name(records: Sequence[Mapping[str, Any]]) -> Found:
    """What is confirmed of an experiment, by its name; found once.

    Args:
        records: every finished cell.
    """

    @cache
    def found(name: str) -> Sequence[CellTable]:
        return tables_of(EXPERIMENTS[name], records, "cpu", "confirm")

    return found


def filled(text: str, found: Found) -> str:
    """A document with its tables as the cells have them.

    Args:
        text: the document.
        found: what is confirmed of an experiment.

    Raises:
        UsageError: a place names a table that is not declared.
    """

    def table(place: re.Match[str]) -> str:
        check_choice("table of a document", place[2], TABLES)
        lines = _lines(TABLES[place[2]], found)
        return "\n".join([place[1].rstrip("\n"), *lines, place[3]])

    return _PLACE.sub(table, text)


def _lines(table: DocTable, known: Found) -> Iterator[str]:
    yield f"| {' | '.join(table.head)} | n |"
    yield "|---|" + "---:|" * len(table.head)
    for label, places in table.rows:
        found = [(place, _table(place, known(place.experiment))) for place in places]
        cells = [_text(one, place, metric) for place, one in found for metric in table.metrics]
        seeds = dict.fromkeys(str(_seeds(one, place)) for place, one in found)
        yield f"| {label} | {' | '.join(cells)} | {', '.join(seeds)} |"


def _table(place: Place, tables: Sequence[CellTable]) -> CellTable | None:
    return next((one for one in tables if dict(one.setting) == dict(place.setting)), None)


def _interval(one: CellTable | None, place: Place, metric: str) -> Interval | None:
    if one is None or place.arm not in one.records:
        return None
    if place.less:
        return one.difference(place.arm, place.less, metric)
    return one.mean(place.arm, metric)


def _text(one: CellTable | None, place: Place, metric: str) -> str:
    found = _interval(one, place, metric)
    write: Callable[[Interval | None, int], str] = difference_text if place.less else mean_text
    text = write(found, METRICS[metric].digits)
    apart = bool(place.less) and _excludes_zero(found)
    return f"**{text}**" if apart else text


def _excludes_zero(found: Interval | None) -> bool:
    if found is None or found.low is None or found.high is None:
        return False
    return found.low > 0 or found.high < 0


def _seeds(one: CellTable | None, place: Place) -> int | str:
    found = _interval(one, place, _COUNTED_BY)
    return UNKNOWN if found is None else found.n


_COUNTED_BY = "knn"  # every experiment has it
_FEW = ("few_10", "few_1pct", "knn", "linear")
_FEW_HEAD = ("10 labels a class", "1 % labels", "kNN", "linear")
_NEAR_HEAD = ("10 labels a class", "1 % labels", "kNN")
_SHARES = ("a fifth", "two fifths")
_NEGATIVES = ("few_10", "knn", "linear")
_NEGATIVES_HEAD = ("10 labels a class", "kNN", "linear")
_GLYPHS = {"pool": "glyphs"}
_FASHION = {"pool": "fashion-mnist"}
_MANY = {"pool": "glyphs-many", "encoder": "as usual"}
_AS_MOCO = {
    "train.method": "moco",
    "train.temperature": "0.2",
    "embed.proxy_method": "simclr",
}
_RANDOM, _SAS, _FULL = "random per class", "SAS, graph", "full pool"
# Those on which every method was run; the experiment declares more.
_POOLS = {
    ("clean", "0.2", "simclr"): "glyphs",
    ("clean", "0.4", "simclr"): "two fifths",
    ("clean", "0.2", "moco"): "MoCo",
    ("half near-duplicates", "0.2", "simclr"): "half near-duplicates",
    ("half junk", "0.2", "simclr"): "half junk",
    ("long-tailed", "0.2", "simclr"): "long tail",
}
_CURATED = {
    "SAS": _SAS,
    "SAS, `--allocate density-quota`": f"{_SAS}, density-quota",
    "random, `--allocate density-quota`": "random per graph class, density-quota",
    "random within true classes": "random per class",
    "`balanced`": "balanced",
    "`hard-removal`": "hard-removal",
    "`easy-removal`": "easy-removal",
    "`semantic-dedup`": "de-duplicated",
}


def _goal(fraction: str, method: str, less: str = "random") -> Place:
    return Place("goal", {**_GLYPHS, "fraction": fraction, "method": method}, _SAS, less)


def _steps(fraction: str) -> Place:
    setting = {**_GLYPHS, "match": "epochs", "fraction": fraction, **_AS_MOCO}
    return Place("steps", setting, _SAS, "random")


def _many(less: str = "random", **changes: str) -> Place:
    return Place("many-classes", {**_MANY, **changes}, _SAS, less)


def _fraction(fraction: str, less: str) -> Place:
    return Place("fractions", {**_GLYPHS, "fraction": fraction}, _SAS, less)


def _curated(metric: str) -> DocTable:
    """What curators do, a method a row and a pool a column."""
    settings = [
        {**_GLYPHS, "pool is": kind, "fraction": fraction, "method": method}
        for kind, fraction, method in _POOLS
    ]
    return DocTable(
        (f"{METRICS[metric].name} less random, points", *_POOLS.values()),
        (metric,),
        tuple(
            (label, tuple(Place("curators-glyphs", one, arm, "random") for one in settings))
            for label, arm in _CURATED.items()
        ),
    )


def _curated_by_moco() -> DocTable:
    """The same for MoCo v2 on pools that are not clean, a pool and a method a row."""
    setting = {**_GLYPHS, "fraction": "0.2", "method": "moco"}
    kinds = {kind: name for (kind, _, _), name in _POOLS.items() if kind != "clean"}
    return DocTable(
        ("MoCo v2, a fifth, less random, points", *_FEW_HEAD),
        _FEW,
        tuple(
            (
                f"{name}: {label}",
                (Place("curators-glyphs", setting | {"pool is": kind}, arm, "random"),),
            )
            for kind, name in kinds.items()
            for label, arm in (("SAS", _SAS), ("`balanced`", "balanced"))
        ),
    )


def _curated_in_colour() -> DocTable:
    """The same on emoji, whose labels are broad: a method a row."""
    setting = {"pool": "emoji", "fraction": "0.2", "method": "simclr"}
    arms = {**_CURATED, "everything, five times the steps": _FULL, "untrained": "untrained"}
    return DocTable(
        ("emoji, a fifth, less random, points", *_FEW_HEAD),
        _FEW,
        _arms("curators", setting, "random", arms),
    )


def _whole(fraction: str, arm: str) -> Place:
    return Place("whole-pool", {"pool": "glyphs-many", "fraction": fraction}, arm, "random")


_EQUAL_SECONDS = {"everything, 14 epochs (equal seconds)": "full pool, 14 epochs"}
_LONGER = {"everything, 20 epochs": "full pool, 20 epochs"}


def _within(
    label: str,
    fraction: str,
    full: dict[str, str],
    *,
    method: str = "simclr",
    pool: str = "glyphs",
) -> list[tuple[str, Sequence[Place]]]:
    """A training that selects, less those on everything and on a random part: a row each."""
    setting = {"pool": pool, "method": method}
    less = full | {"a random part at the same time": f"random {fraction} within"}
    arm = f"SAS {fraction} within"
    return [
        (f"{label}: {name}", (Place("one-training", setting, arm, other),))
        for name, other in less.items()
    ]


_ANEW = {
    "a fifth by a proxy of 5 epochs, 8 afresh": "SAS .2 by a proxy of 5 epochs",
    "two fifths by a proxy of 20 epochs, 13 afresh": "SAS .4 by a finished proxy, 13 epochs",
}


def _anew(label: str, epochs: str) -> tuple[str, Sequence[Place]]:
    """A proxy and a training of its own, less one on everything."""
    setting = {**_GLYPHS, "method": "simclr"}
    less = f"full pool, {epochs} epochs"
    return f"{label}: everything, {epochs} epochs", (
        Place("one-training", setting, _ANEW[label], less),
    )


def _arms(
    experiment: str, setting: Mapping[str, str], less: str, arms: Mapping[str, str]
) -> tuple[tuple[str, Sequence[Place]], ...]:
    """A row an arm, in one setting."""
    return tuple((label, (Place(experiment, setting, arm, less),)) for label, arm in arms.items())


def _worth(glyphs: Place, fashion: Place) -> Sequence[Place]:
    return glyphs, fashion


_HEADROOM = {"epochs": "20"}
_FULL_20 = "full pool, 20 epochs"

TABLES = {
    "curated-knn": _curated("knn"),
    "curated-few": _curated("few_10"),
    "curated-moco": _curated_by_moco(),
    "curated-emoji": _curated_in_colour(),
    "worth": DocTable(
        (
            "accuracy, %",
            "glyphs: kNN",
            "10 labels a class",
            "linear",
            "Fashion-MNIST: kNN",
            "10 labels a class",
            "linear",
        ),
        ("knn", "few_10", "linear"),
        (
            (
                "a fifth, selected",
                _worth(Place("classes", _GLYPHS, _SAS), Place("finer-classes", _FASHION, "graph")),
            ),
            (
                "a fifth, random per class",
                _worth(
                    Place("classes", _GLYPHS, _RANDOM),
                    Place("finer-classes", _FASHION, _RANDOM),
                ),
            ),
            (
                "gain over random",
                _worth(
                    Place("classes", _GLYPHS, _SAS, _RANDOM),
                    Place("finer-classes", _FASHION, "graph", _RANDOM),
                ),
            ),
            (
                "the full pool",
                _worth(
                    Place("headroom", {**_GLYPHS, **_HEADROOM}, _FULL_20),
                    Place("headroom", {**_FASHION, **_HEADROOM}, _FULL_20),
                ),
            ),
        ),
    ),
    "random": DocTable(
        ("selected less random, points", *_FEW_HEAD),
        _FEW,
        (
            ("glyphs, a fifth, steps of the full pool", (_goal("0.2", "simclr"),)),
            ("glyphs, two fifths, steps of the full pool", (_goal("0.4", "simclr"),)),
            (
                "glyphs, a fifth, equal epochs",
                (Place("classes", _GLYPHS, _SAS, _RANDOM),),
            ),
            ("417 letters, a fifth, equal epochs", (_many(),)),
            ("417 letters, encoder twice as wide", (_many(encoder="wider"),)),
            (
                "Fashion-MNIST, a fifth, equal epochs",
                (Place("finer-classes", _FASHION, "graph", _RANDOM),),
            ),
        ),
    ),
    "full": DocTable(
        ("selected less the full pool, points", *_FEW_HEAD),
        _FEW,
        (
            ("glyphs, a fifth, equal steps", (_goal("0.2", "simclr", _FULL),)),
            ("glyphs, two fifths, equal steps", (_goal("0.4", "simclr", _FULL),)),
            (
                "glyphs, two fifths, two thirds of the steps",
                (
                    Place(
                        "one-training",
                        {**_GLYPHS, "method": "simclr"},
                        _ANEW["two fifths by a proxy of 20 epochs, 13 afresh"],
                        _FULL_20,
                    ),
                ),
            ),
            ("glyphs, a fifth, equal epochs", (_fraction("0.2", _FULL),)),
            ("glyphs, three fifths, equal epochs", (_fraction("0.6", _FULL),)),
            ("417 letters, a fifth, equal epochs", (_many(_FULL),)),
            ("417 letters, encoder twice as wide", (_many(_FULL, encoder="wider"),)),
        ),
    ),
    "methods": DocTable(
        ("selected less random, points", *_FEW_HEAD),
        _FEW,
        (
            ("SimCLR, a fifth, equal epochs", (Place("classes", _GLYPHS, _SAS, _RANDOM),)),
            ("MoCo v2, a fifth, equal epochs", (_steps("0.2"),)),
            ("MoCo v2, two fifths, equal epochs", (_steps("0.4"),)),
            ("MoCo v2, a fifth, equal steps", (_goal("0.2", "moco"),)),
            ("MoCo v2, two fifths, equal steps", (_goal("0.4", "moco"),)),
            ("MoCo v2, 417 letters, a fifth", (_many(**_AS_MOCO),)),
            (
                "SimSiam, a fifth, equal epochs",
                (Place("methods", {**_GLYPHS, "method": "simsiam"}, _SAS, _RANDOM),),
            ),
            (
                "BYOL, a fifth, equal epochs",
                (Place("methods", {**_GLYPHS, "method": "byol"}, _SAS, _RANDOM),),
            ),
        ),
    ),
    "fractions": DocTable(
        ("share kept", "kNN less random", "kNN less the full pool"),
        ("knn",),
        tuple(
            (
                f"{float(fraction):.0%}".replace("%", " %"),
                (_fraction(fraction, _RANDOM), _fraction(fraction, _FULL)),
            )
            for fraction in ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")
        ),
    ),
    "lambda": DocTable(
        ("less λ = 1, two fifths, points", *_FEW_HEAD),
        _FEW,
        _arms(
            "lambda",
            {**_GLYPHS, "fraction": "0.4", "classes": "graph"},
            "λ = 1",
            {
                "λ = 0": "λ = 0",
                "λ = 0.25": "λ = 0.25",
                "λ = 0.5": "λ = 0.5",
                "λ = 1/(4·fraction) = 0.625, the default": "λ = 1/(4f)",
                "λ = 1/(2·fraction) = 1.25": "λ = 1/(2f)",
                "random": "random",
            },
        ),
    ),
    "classes": DocTable(
        ("less random per class, points", *_FEW_HEAD),
        _FEW,
        _arms(
            "classes",
            _GLYPHS,
            _RANDOM,
            {
                "graph, no labels (default)": _SAS,
                "true classes": "SAS, true classes",
                "1 % labels, spread": "SAS, 1 % labels, spread",
                "1 % labels, linear": "SAS, 1 % labels, linear",
                "k-means, as many as labels": "SAS, k-means, as many as labels",
                "k-means, number chosen": "SAS, k-means, number chosen",
                "one class": "SAS, no classes",
            },
        ),
    ),
    "whole-pool": DocTable(
        ("less random, points", *(f"{share}: {name}" for share in _SHARES for name in _NEAR_HEAD)),
        ("few_10", "few_1pct", "knn"),
        tuple(
            (label, tuple(_whole(fraction, arm) for fraction in ("0.2", "0.4")))
            for label, arm in {
                "graph, no labels (default)": _SAS,
                "k-means, as many as labels": "SAS, k-means, as many as labels",
                "true classes": "SAS, true classes",
                "the full pool": _FULL,
            }.items()
        ),
    ),
    "one-training": DocTable(
        ("13 epochs, a selection after 5, points more than", *_FEW_HEAD),
        _FEW,
        (
            *_within("a fifth", ".2", _EQUAL_SECONDS | _LONGER),
            *_within("two fifths", ".4", _EQUAL_SECONDS | _LONGER),
            *_within("MoCo, a fifth", ".2", _EQUAL_SECONDS | _LONGER, method="moco"),
            *_within("417 letters, a fifth", ".2", _EQUAL_SECONDS, pool="glyphs-many"),
            *_within(
                "Fashion-MNIST, a fifth", ".2", _EQUAL_SECONDS | _LONGER, pool="fashion-mnist"
            ),
            *_within(
                "Fashion-MNIST with MoCo, a fifth",
                ".2",
                _EQUAL_SECONDS,
                method="moco",
                pool="fashion-mnist",
            ),
            *(_anew(*way) for way in product(_ANEW, ("14", "20"))),
        ),
    ),
    "proxies": DocTable(
        ("less random per class, points", *_FEW_HEAD),
        _FEW,
        _arms(
            "proxies",
            _GLYPHS,
            _RANDOM,
            {
                "proxy in full": "graph, proxy in full",
                "half of its epochs (default)": "graph, half of its epochs",
                "a tenth of its epochs": "graph, a tenth of its epochs",
                "half as wide": "graph, a smaller proxy",
                "true classes, proxy in full": "proxy in full",
                "true classes, a tenth of its epochs": "a tenth of its epochs",
                "true classes, half as wide": "a smaller proxy",
            },
        ),
    ),
    "objectives": DocTable(
        ("less random, points", *_FEW_HEAD),
        _FEW,
        _arms(
            "objectives",
            {**_GLYPHS, "classes": "graph"},
            "random",
            {
                f"`{name}`": name
                for name in (
                    "sas",
                    "published",
                    "centre",
                    "prototype-near",
                    "typicality",
                    "herding",
                    "coverage",
                    "k-center",
                    "coverage-centre",
                    "semantic-dedup",
                    "prototype-far",
                )
            },
        ),
    ),
    "negatives": DocTable(
        ("less all negatives, points", *_NEGATIVES_HEAD),
        _NEGATIVES,
        _arms(
            "policies",
            {**_GLYPHS, "temperature": "0.07"},
            "all negatives",
            {
                "`~same_class` (labels)": "without the query's class",
                "`~same_latent_class`": "without the query's community",
                "`~(difficulty(95,100) & same_latent_class)`": (
                    "without the hardest 5 % of its community"
                ),
                "all, for twice the epochs": "all negatives, twice the epochs",
                "`~duplicates`": "without older views",
                "`~(difficulty(95,100) & above(0.8))`": (
                    "without the hardest 5 % above a cosine of 0.8"
                ),
                "the harder half without a share of 1/C": "the harder half without a share of 1/C",
                "`debiased(1/C)`": "debiased by 1/C",
                "`hardness`, debiased by 1/C": "hardness-weighted, debiased by 1/C",
            },
        ),
    ),
    "negatives-warm": DocTable(
        ("less all negatives, points", *_NEGATIVES_HEAD),
        _NEGATIVES,
        _arms(
            "policies",
            {**_GLYPHS, "temperature": "0.2"},
            "all negatives",
            {
                "`~same_class` (labels)": "without the query's class",
                "`~same_latent_class`": "without the query's community",
                "`~(difficulty(95,100) & same_latent_class)`": (
                    "without the hardest 5 % of its community"
                ),
                "`debiased(1/C)`": "debiased by 1/C",
            },
        ),
    ),
    "bands": DocTable(
        ("linear probe less all negatives, points", "417 letters", "glyphs, 62", "clothes, 10"),
        ("linear",),
        tuple(
            (
                label,
                tuple(
                    Place("negative-bands", {"pool": pool}, arm, "all negatives")
                    for pool in ("glyphs-many", "glyphs", "fashion-mnist")
                ),
            )
            for label, arm in (
                ("the hardest 5 % alone", "only 95–100"),
                ("the next 5 % alone", "only 90–95"),
                ("85 to 90 % alone", "only 85–90"),
                ("the hardest 10 % alone", "only 90–100"),
                ("the hardest 15 % alone", "only 85–100"),
                ("without 85 to 90 %", "without 85–90"),
                ("without 90 to 95 %", "without 90–95"),
                ("without the hardest 5 %", "without 95–100"),
                ("without the hardest 10 %", "without 90–100"),
                ("without the hardest 15 %", "without 85–100"),
            )
        ),
    ),
    "bands-knn": DocTable(
        ("kNN less all negatives, points", "417 letters", "glyphs, 62", "clothes, 10"),
        ("knn",),
        tuple(
            (
                label,
                tuple(
                    Place("negative-bands", {"pool": pool}, arm, "all negatives")
                    for pool in ("glyphs-many", "glyphs", "fashion-mnist")
                ),
            )
            for label, arm in (
                ("the hardest 5 % alone", "only 95–100"),
                ("85 to 90 % alone", "only 85–90"),
                ("without the hardest 5 %", "without 95–100"),
                ("without the hardest 10 %", "without 90–100"),
                ("without the hardest 15 %", "without 85–100"),
            )
        ),
    ),
    "temperatures": DocTable(
        (
            "kNN less all negatives, by temperature",
            "the hardest 0.1 % left out",
            "the hardest 1.6 %",
            "the query's class",
        ),
        ("knn",),
        tuple(
            (
                temperature,
                tuple(
                    Place(
                        "temperatures",
                        {**_GLYPHS, "temperature": temperature},
                        f"without {what}",
                        "all negatives",
                    )
                    for what in ("the hardest 0.1 %", "the hardest 1.6 %", "the query's class")
                ),
            )
            for temperature in ("0.05", "0.07", "0.1", "0.2", "0.5")
        ),
    ),
    "table1": DocTable(
        ("less all negatives, temperature 0.07, points", *_NEGATIVES_HEAD),
        _NEGATIVES,
        _arms(
            "table1",
            {**_GLYPHS, "temperature": "0.07"},
            "all negatives",
            {
                "the hardest of the query's class left out": (
                    "without the hardest of the query's class"
                ),
                "the hardest of other classes": "without the hardest of other classes",
                "the hardest": "without the hardest",
                "the query's whole class": "without the query's class",
            },
        ),
    ),
    "curricula": DocTable(
        ("less all negatives, temperature 0.2, points", *_NEGATIVES_HEAD),
        _NEGATIVES,
        _arms(
            "curricula",
            _GLYPHS,
            "all negatives",
            {
                name: name
                for name in (
                    "harder and harder",
                    "harder and harder, backwards",
                    "from easy to hard",
                    "from hard to easy",
                    "without the hardest, replaced",
                    "the hard stay in the queue",
                )
            },
        ),
    ),
    "both": DocTable(
        ("less random with all negatives, points", *_FEW_HEAD),
        _FEW,
        tuple(
            (
                f"{label}, {left}",
                (
                    Place(
                        "selection-and-negatives",
                        {**_GLYPHS, "left out": left_out},
                        arm,
                        "random, all negatives",
                    ),
                ),
            )
            for left_out, left in (
                ("community", "latent class left out"),
                ("class", "class left out, by labels"),
                ("the hardest 1.6 %", "hardest 1.6 % left out"),
            )
            for label, arm in (
                ("random", "random, some left out"),
                ("selected", "SAS, graph, some left out"),
            )
        ),
    ),
    "queues": DocTable(
        ("accuracy, %", "glyphs: kNN", "linear", "Fashion-MNIST: kNN", "linear"),
        ("knn", "linear"),
        tuple(
            (
                label,
                tuple(Place("number-of-negatives", pool, label) for pool in (_GLYPHS, _FASHION)),
            )
            for label in (
                "batches of 32",
                "batches of 64",
                "batches of 128",
                "batches of 256",
                "batches of 512",
                "a queue of 256",
                "a queue of 1024",
                "a queue of 4096",
            )
        ),
    ),
    "uncurated": DocTable(
        ("less random, points", *_FEW_HEAD),
        _FEW,
        tuple(
            (
                f"{pool_name}, {kind}: {label}",
                (Place("uncurated", {"pool": pool, "pool is": kind}, arm, "random"),),
            )
            for pool, pool_name, kind, arms in (
                (
                    "glyphs",
                    "glyphs",
                    "half junk",
                    {
                        "SAS": _SAS,
                        "SAS, junk classes at weight 0": (
                            "SAS, graph, junk classes left out by hand"
                        ),
                        "random clean images": "random among what has a label",
                        "SAS, one class": "SAS, no classes",
                        "de-duplicated": "de-duplicated",
                    },
                ),
                (
                    "fashion-mnist",
                    "Fashion-MNIST",
                    "half junk",
                    {
                        "SAS": _SAS,
                        "SAS, junk classes at weight 0": (
                            "SAS, graph, junk classes left out by hand"
                        ),
                    },
                ),
                (
                    "glyphs",
                    "glyphs",
                    "half near-duplicates",
                    {
                        "SAS": _SAS,
                        "SAS, one class": "SAS, no classes",
                        "de-duplicated": "de-duplicated",
                    },
                ),
                (
                    "glyphs",
                    "glyphs",
                    "long-tailed",
                    {"SAS": _SAS, "de-duplicated": "de-duplicated"},
                ),
            )
            for label, arm in arms.items()
        ),
    ),
    "cost": DocTable(
        ("accuracy, %", *_FEW_HEAD),
        _FEW,
        (
            *(
                (
                    f"selected fifth, {times} × the usual epochs",
                    (Place("cost", {**_GLYPHS, "epochs, times the usual": times}, _SAS),),
                )
                for times in ("0.5", "1", "2", "4")
            ),
            *(
                (
                    f"random fifth, {times} × the usual epochs",
                    (Place("cost", {**_GLYPHS, "epochs, times the usual": times}, _RANDOM),),
                )
                for times in ("1", "4")
            ),
            (
                "full pool, usual epochs",
                (Place("cost", {**_GLYPHS, "epochs, times the usual": "1"}, _FULL),),
            ),
        ),
    ),
}
