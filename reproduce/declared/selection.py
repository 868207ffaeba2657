"""Experiments on which examples are kept: SAS (arXiv 2302.09195) and what its users ask."""

from __future__ import annotations

from contrasift.catalogue import OBJECTIVES
from reproduce.declared.declaring import Claim, Experiment

BOTH = {"cpu": ("glyphs", "fashion-mnist")}

RANDOM = {"select.objective": "random"}
PER_CLASS = {"select.objective": "random-per-class", "classes.classes": "labels"}
FULL = {"select.fraction": 1.0}
LABELS = {"classes.classes": "labels"}
FEW = {"classes.classes": "few-labels", "classes.label_share": 0.01}
SPREAD = {"classes.classes": "propagate", "classes.label_share": 0.01}
KMEANS = {"classes.classes": "kmeans"}
KMEANS_CHOSEN = {"classes.classes": "kmeans", "classes.n_classes": "auto"}
GRAPH = {"classes.classes": "graph"}
PER_FOUND = {**GRAPH, "select.objective": "random-per-class"}
NO_CLASSES = {"classes.classes": "graph", "select.allocate": "global"}
# One selection serves all methods: that of the cheapest proxy.
MOCO = {"train.method": "moco", "train.temperature": 0.2, "embed.proxy_method": "simclr"}

FRACTIONS = {f"{share:g}": {"select.fraction": share} for share in (0.2, 0.4)}
METHODS = {"simclr": {"train.method": "simclr"}, "moco": MOCO}

HEADROOM = Experiment(
    name="headroom",
    title="How much the choice of examples matters",
    shows="the range between an untrained encoder, the worst choice, chance, true classes and all data",
    pools=BOTH,
    axes={"epochs": {f"{n}": {"train.epochs": n} for n in (20, 80)}},
    arms={
        "untrained": {"arm.trained": False},
        "worst by SAS, true classes": {**LABELS, "arm.kept": "last"},
        "random": RANDOM,
        "random per class": PER_CLASS,
        "SAS, true classes": LABELS,
        "full pool, 20 epochs": {**FULL, "train.epochs": 20},
    },
    reference="random per class",
    claims=(
        Claim(
            "SAS with true classes beats random per class",
            {"SAS, true classes": 1, "random per class": -1},
            source="SAS, Fig. 3",
        ),
        Claim(
            "SAS's last choices are worse than random ones",
            {"random per class": 1, "worst by SAS, true classes": -1},
        ),
        Claim(
            "A fifth of the data chosen by SAS with true classes does as well as the full pool, within a point",
            {"SAS, true classes": 1, "full pool, 20 epochs": -1},
            margin=-1.0,
            source="SAS, Fig. 3",
        ),
    ),
)

CLASSES = Experiment(
    name="classes",
    title="Where the latent classes come from",
    shows="SAS, Fig. 5a and 5b",
    arms={
        "random per class": PER_CLASS,
        "SAS, true classes": LABELS,
        "SAS, 1 % labels, linear": FEW,
        "SAS, 1 % labels, spread": SPREAD,
        "SAS, k-means, as many as labels": KMEANS,
        "SAS, k-means, number chosen": KMEANS_CHOSEN,
        "SAS, graph": GRAPH,
        "SAS, no classes": NO_CLASSES,
    },
    reference="random per class",
    claims=(
        *(
            Claim(
                f"SAS beats random per class with classes from {name}",
                {arm: 1, "random per class": -1},
                source=source,
            )
            for name, arm, source in (
                ("labels", "SAS, true classes", "SAS, Fig. 5a"),
                ("1 % of the labels", "SAS, 1 % labels, linear", "SAS, Fig. 5a"),
                ("k-means", "SAS, k-means, as many as labels", "SAS, Fig. 5a"),
                ("a graph, without labels", "SAS, graph", ""),
            )
        ),
        *(
            Claim(
                f"{name} recover three quarters of what true ones give over random per class",
                {arm: 1, "SAS, true classes": -0.75, "random per class": -0.25},
            )
            for name, arm in (
                ("Classes from a graph, without labels,", "SAS, graph"),
                ("Classes from k-means", "SAS, k-means, as many as labels"),
            )
        ),
    ),
)


def worth_of_the_found(metrics: tuple[str, ...]) -> tuple[Claim, ...]:
    """What is hoped for of classes found without labels."""
    return (
        Claim("SAS without labels beats random", {"SAS, graph": 1, "random": -1}, metrics),
        Claim(
            "SAS without labels beats random per its own classes",
            {"SAS, graph": 1, "random per graph class": -1},
            metrics,
        ),
        Claim(
            "SAS with true classes beats random", {"SAS, true classes": 1, "random": -1}, metrics
        ),
        Claim(
            "SAS without labels recovers three quarters of what true classes give",
            {"SAS, graph": 1, "SAS, true classes": -0.75, "random": -0.25},
            metrics,
        ),
        Claim(
            "SAS without labels does as well as the full pool, within a point",
            {"SAS, graph": 1, "full pool": -1},
            metrics,
            margin=-1.0,
        ),
    )


# As many steps as the full pool's training takes, so that all cost the same.
_EQUAL_STEPS = {name: {**share, "compare.match": "steps"} for name, share in FRACTIONS.items()}

GOAL = Experiment(
    name="goal",
    title="Selections without labels, beside chance and true classes",
    shows="whether a selection that sees no label beats random and recovers what true classes give, "
    "in as many steps as the full pool is trained for",
    axes={"fraction": _EQUAL_STEPS, "method": METHODS},
    arms={
        "random": RANDOM,
        "random per graph class": PER_FOUND,
        "SAS, graph": GRAPH,
        "SAS, graph, λ = 1": {**GRAPH, "select.redundancy": 1.0},
        "SAS, true classes": LABELS,
        "full pool": FULL,
    },
    reference="random",
    claims=(
        *worth_of_the_found(("few_10", "knn")),
        Claim(
            "SAS without labels beats itself under the paper's λ = 1",
            {"SAS, graph": 1, "SAS, graph, λ = 1": -1},
        ),
    ),
)

# MoCo's features separate the classes of glyphs better than SimCLR's.
_BY_MOCO = {"embed.proxy_method": "moco"}
_GRAPH_BY_MOCO = {**GRAPH, **_BY_MOCO}

LABEL_FREE = Experiment(
    name="label-free",
    title="What comes closest to true classes without labels",
    shows="proxies, classes, shares of the budget and objectives, tried on the validation split",
    axes={"epochs": {"80": {"train.epochs": 80}}},
    arms={
        "random": RANDOM,
        "random per class": PER_CLASS,
        "SAS, true classes": LABELS,
        "SAS, true classes, MoCo proxy": {**LABELS, **_BY_MOCO},
        "SAS, graph": GRAPH,
        "SAS, graph, MoCo proxy": _GRAPH_BY_MOCO,
        "random per graph class, MoCo proxy": {
            **_GRAPH_BY_MOCO,
            "select.objective": "random-per-class",
        },
        "SAS, graph, MoCo proxy, equal shares": {**_GRAPH_BY_MOCO, "select.allocate": "equal"},
        "SAS, graph of 30 neighbours by consensus, MoCo proxy": {
            **_GRAPH_BY_MOCO,
            "classes.graph_neighbours": 30,
            "classes.resolution": "consensus",
        },
        "SAS, graph, MoCo proxy, λ = 0": {**_GRAPH_BY_MOCO, "select.redundancy": 0.0},
        "densest, graph, MoCo proxy": {**_GRAPH_BY_MOCO, "select.objective": "typicality"},
        "SAS, no classes, MoCo proxy": {**NO_CLASSES, **_BY_MOCO},
    },
    reference="random",
)

# Labels as classes beside classes found without them, and both ends of what can be had.
TRUE_AND_FOUND = {
    "random per class": PER_CLASS,
    "SAS, true classes": LABELS,
    "SAS, graph": GRAPH,
    "full pool": FULL,
}

FRACTION_CURVE = Experiment(
    name="fractions",
    title="How much data is enough",
    shows="SAS, Fig. 3: SimCLR on a tenth to nine tenths",
    axes={"fraction": {f"{n / 10:g}": {"select.fraction": n / 10} for n in range(1, 10)}},
    arms=TRUE_AND_FOUND,
    reference="random per class",
    line="fraction",
    claims=(
        Claim(
            "SAS with true classes beats random per class",
            {"SAS, true classes": 1, "random per class": -1},
            source="SAS, Fig. 3",
        ),
        Claim(
            "SAS without labels beats random per class", {"SAS, graph": 1, "random per class": -1}
        ),
        Claim(
            "For as many epochs what SAS chooses without labels exceeds the full pool",
            {"SAS, graph": 1, "full pool": -1},
            metrics=("few_10", "few_1pct", "knn"),
        ),
    ),
)

# What batches of 256 and a wider head cost them on so few images is in docs/training.md.
_SMALL = {"train.batch_size": 128, "train.projection_dim": 128, "train.predictor_dim": 256}

OTHER_METHODS = Experiment(
    name="methods",
    title="Other methods of pre-training",
    shows="SAS, Fig. 4: BYOL, SimSiam and MoCo on what SimCLR's proxy selects",
    axes={
        "method": {
            "byol": {"train.method": "byol", "embed.proxy_method": "simclr"},
            "simsiam": {"train.method": "simsiam", "embed.proxy_method": "simclr"},
            "moco": MOCO,
        }
    },
    axes_at={"cpu": {"method": {"byol": {**_SMALL, "train.momentum": 0.5}, "simsiam": _SMALL}}},
    arms=TRUE_AND_FOUND,
    reference="random per class",
    claims=(
        Claim(
            "What SimCLR's proxy selects serves this method as well",
            {"SAS, true classes": 1, "random per class": -1},
            source="SAS, Fig. 4",
        ),
    ),
)

# A recipe's proxy may be a smaller network.
_OWN_PROXY = {**LABELS, "embed.proxy_architecture": ""}
_FOUND = {**_OWN_PROXY, **GRAPH}
_SMALLER, _RESNET_10 = ({"embed.proxy_architecture": name} for name in ("narrow:0.5", "resnet10"))

PROXIES = Experiment(
    name="proxies",
    title="How good the proxy must be",
    shows="SAS, Fig. 5c: a proxy trained to its end, for a tenth of its epochs, and a smaller one; "
    "and what it takes to find classes, too",
    arms={
        "random per class": PER_CLASS,
        "proxy in full": _OWN_PROXY,
        "a tenth of its epochs": {**_OWN_PROXY, "arm.proxy_share": 0.1},
        "a smaller proxy": {**LABELS, **_SMALLER},
        "graph, proxy in full": _FOUND,
        "graph, half of its epochs": {**_FOUND, "arm.proxy_share": 0.5},
        "graph, a tenth of its epochs": {**_FOUND, "arm.proxy_share": 0.1},
        "graph, a smaller proxy": {**GRAPH, **_SMALLER},
    },
    arms_at={
        "paper": {
            "a smaller proxy": {**LABELS, **_RESNET_10},
            "graph, a smaller proxy": {**GRAPH, **_RESNET_10},
        }
    },
    reference="random per class",
    claims=(
        Claim.as_good(
            "A tenth of the proxy's epochs select as well, within a point",
            "a tenth of its epochs",
            "proxy in full",
            source="SAS, Fig. 5c",
        ),
        Claim.as_good(
            "A smaller proxy selects as well, within a point",
            "a smaller proxy",
            "proxy in full",
            source="SAS, Fig. 5c",
        ),
        *(
            Claim.as_good(
                f"Without labels {name} selects as well as a proxy in full, within a point",
                f"graph, {name}",
                "graph, proxy in full",
            )
            for name in ("half of its epochs", "a tenth of its epochs", "a smaller proxy")
        ),
    ),
)

_CLASSES = {"true": LABELS, "graph": GRAPH}

REDUNDANCY = Experiment(
    name="lambda",
    title="How much redundancy should cost",
    shows="λ of F_λ against the fraction; beyond 1/(2f) gains are negative, 1/(4f) is half of it",
    axes={
        "fraction": {
            f"{share:g}": {"select.fraction": share} for share in (0.1, 0.2, 0.4, 0.6, 0.8)
        },
        "classes": _CLASSES,
    },
    line="fraction",
    arms={
        "random": RANDOM,
        **{f"λ = {value:g}": {"select.redundancy": value} for value in (0.0, 0.25, 0.5, 1.0)},
        "λ = 1/(2f)": {"select.redundancy": lambda options: 0.5 / options["select.fraction"]},
        "λ = 1/(4f)": {"select.redundancy": lambda options: 0.25 / options["select.fraction"]},
    },
    reference="λ = 1",
    claims=(
        Claim.as_good(
            "λ = 1 and λ = 1/(2f) select equally well, within a point",
            "λ = 1/(2f)",
            "λ = 1",
        ),
        Claim("Redundancy must cost: λ = 1 beats λ = 0", {"λ = 1": 1, "λ = 0": -1}),
        Claim(
            "Half of the λ at which gains turn beats that λ", {"λ = 1/(4f)": 1, "λ = 1/(2f)": -1}
        ),
        Claim("Half of the λ at which gains turn beats λ = 1", {"λ = 1/(4f)": 1, "λ = 1": -1}),
    ),
)

ALLOCATION = Experiment(
    name="allocation",
    title="How the budget is shared among classes",
    shows="proportional, equal, and one objective over the whole pool",
    axes={"fraction": FRACTIONS, "classes": _CLASSES},
    arms={
        "random": RANDOM,
        "proportional": {},
        "equal": {"select.allocate": "equal"},
        "global": {"select.allocate": "global"},
    },
    reference="proportional",
)

# These came later, and are compared in an experiment of their own.
_CURATORS = ("balanced", "easy-removal", "hard-removal")
EVERY_OBJECTIVE = Experiment(
    name="objectives",
    title="Every way to choose",
    shows="all objectives that need no scores, with true classes and with communities of the graph",
    axes={"classes": _CLASSES},
    arms={
        name: {"select.objective": name}
        for name, one in OBJECTIVES.items()
        if not (one.needs or name in _CURATORS)
    },
    reference="random",
)

# Whose images are junk in a pool.
FOREIGN_POOLS = {
    pool: {"mixture.foreign_pool": foreign}
    for pool, foreign in {
        "fashion-mnist": "mnist5k",
        "glyphs": "fashion-mnist",
        "digits": "digits",
        "cifar10": "cifar100",
        "cifar100": "cifar10",
        "stl10": "cifar100",
        "tiny-imagenet": "cifar100",
    }.items()
}
UNCURATED = Experiment(
    name="uncurated",
    title="Pools that nobody has cleaned",
    shows="half junk (corrupted, foreign), near-duplicates, a long tail; no labels are used",
    pools=BOTH,
    axes={
        "pool is": {
            "half junk": {"mixture.corrupted": 0.25, "mixture.foreign": 0.25},
            "half near-duplicates": {"mixture.copies": 0.5, "mixture.foreign_pool": ""},
            "long-tailed": {"mixture.long_tail": 20.0, "mixture.foreign_pool": ""},
        }
    },
    by_pool=FOREIGN_POOLS,
    arms={
        "random": RANDOM,
        "random among what has a label": {"arm.kept": "labelled"},
        "SAS, graph": GRAPH,
        "SAS, graph, junk classes left out by hand": {**GRAPH, "arm.kept": "looked-at"},
        "SAS, k-means, number chosen": KMEANS_CHOSEN,
        "SAS, no classes": NO_CLASSES,
        "de-duplicated": {**GRAPH, "select.objective": "semantic-dedup"},
        "densest": {**GRAPH, "select.objective": "typicality"},
    },
    reference="random",
    claims=(
        Claim(
            "SAS without labels recovers 60 % of what keeping only clean images gives",
            {"SAS, graph": 1, "random among what has a label": -0.6, "random": -0.4},
            where={"pool is": "half junk"},
        ),
        Claim(
            "SAS recovers 60 % of it where somebody has left out the classes that are junk",
            {
                "SAS, graph, junk classes left out by hand": 1,
                "random among what has a label": -0.6,
                "random": -0.4,
            },
            where={"pool is": "half junk"},
        ),
        Claim("SAS without labels beats random", {"SAS, graph": 1, "random": -1}),
    ),
)
