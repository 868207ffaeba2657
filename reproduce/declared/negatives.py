"""Experiments on which negatives are used: arXiv 2010.06682, and what it suggests."""

from __future__ import annotations

from typing import Any

from reproduce.declared.declaring import Claim, Experiment, times_the_epochs
from reproduce.declared.selection import FULL, GRAPH, MOCO, RANDOM

_QUEUED = {**FULL, "train.method": "moco"}
_MOCO = {**_QUEUED, "train.temperature": 0.2}
_METRICS = ("linear", "few_10", "knn", "mean_classifier")
_DECIDING = ("linear", "knn")
_BANDS = ((85, 90), (90, 95), (95, 100), (85, 100), (90, 100))


def _only(low: int, high: int) -> dict[str, object]:
    return {**_MOCO, "train.negatives": f"difficulty({low:g},{high:g})"}


def _except(low: int, high: int) -> dict[str, object]:
    return {**_MOCO, "train.negatives": f"~difficulty({low:g},{high:g})"}


NEGATIVE_BANDS = Experiment(
    name="negative-bands",
    title="Negatives by difficulty",
    shows="arXiv 2010.06682, Fig. 2 and Table A.1: MoCo v2 with one band only, and without it",
    pools={"cpu": ("glyphs", "glyphs-many", "fashion-mnist"), "paper": ("imagenet",)},
    arms={
        "all negatives": _MOCO,
        **{f"only {low}–{high}": _only(low, high) for low, high in _BANDS},
        **{f"without {low}–{high}": _except(low, high) for low, high in _BANDS},
    },
    reference="all negatives",
    metrics=_METRICS,
    claims=(
        Claim.as_good(
            "The hardest 5 % alone are as good as all, within a point",
            "only 95–100",
            "all negatives",
            metrics=("linear",),
            source="2010.06682, Fig. 2",
        ),
        Claim(
            "The next 5 % alone are worse than the hardest alone",
            {"only 95–100": 1, "only 90–95": -1},
            ("linear",),
            source="2010.06682, Fig. 2",
        ),
        Claim(
            "Those from 85 to 90 % alone are worse than the hardest alone",
            {"only 95–100": 1, "only 85–90": -1},
            ("linear",),
            source="2010.06682, Fig. 2",
        ),
        *(
            Claim(
                f"Those from {low} to {high} % alone are far worse than the hardest alone: by more than "
                f"five points ({paper} in the paper)",
                {"only 95–100": 1, f"only {low}–{high}": -1},
                _DECIDING,
                margin=5.0,
                source="2010.06682, Fig. 2",
            )
            for low, high, paper in ((90, 95, 15), (85, 90, 47))
        ),
        Claim(
            "The easiest 95 % are worse than all",
            {"all negatives": 1, "without 95–100": -1},
            ("linear",),
            source="2010.06682, Fig. 2",
        ),
        # Made when the numbers of 62 classes were there, and of one seed of Fashion-MNIST.
        *(
            Claim.as_good(
                f"The hardest {100 - low} % alone are as good as all, within a point",
                f"only {low}–100",
                "all negatives",
                metrics=_DECIDING,
                source="2010.06682, Table A.1",
            )
            for low in (90, 85)
        ),
        *(
            Claim.as_good(
                f"Without those from {low} to {high} % it is as good, within a point",
                f"without {low}–{high}",
                "all negatives",
                metrics=_DECIDING,
                source="2010.06682, Table A.1",
            )
            for low, high in ((85, 90), (90, 95))
        ),
        *(
            Claim(
                f"Without the hardest {100 - low} % it is worse than without the hardest {95 - low} %",
                {f"without {low + 5}–100": 1, f"without {low}–100": -1},
                _DECIDING,
                source="2010.06682, Table A.1",
            )
            for low in (90, 85)
        ),
    ),
)

_TEMPERATURES = (0.05, 0.07, 0.1, 0.2, 0.5)

TEMPERATURES = Experiment(
    name="temperatures",
    title="Temperature and the very hardest negatives",
    shows="arXiv 2010.06682, Fig. 3; 0.1 % is one over the number of classes there, 1.6 % with 62",
    pools={"paper": ("imagenet",)},
    axes={"temperature": {f"{value:g}": {"train.temperature": value} for value in _TEMPERATURES}},
    arms={
        name: {**_QUEUED, **own}
        for name, own in {
            "all negatives": {},
            "without the hardest 0.1 %": {"train.negatives": "difficulty(0,99.9)"},
            "without the hardest 1.6 %": {"train.negatives": "difficulty(0,98.4)"},
            "without the query's class": {"train.negatives": "~same_class"},
        }.items()
    },
    reference="all negatives",
    metrics=_METRICS,
    line="temperature",
    claims=(
        *(
            Claim(
                f"At a temperature of {low} the hardest {share} % of negatives do harm",
                {f"without the hardest {share} %": 1, "all negatives": -1},
                _DECIDING,
                where={"temperature": low},
                source="2010.06682, Fig. 3",
            )
            for low in ("0.05", "0.07")
            for share in ("0.1", "1.6")
        ),
        # Made when its numbers were there.
        Claim(
            "Negatives of the query's class do harm",
            {"without the query's class": 1, "all negatives": -1},
            _DECIDING,
            source="2010.06682, Table 1",
        ),
    ),
)

_TWO_TEMPERATURES = {
    "temperature": {f"{value:g}": {"train.temperature": value} for value in (0.2, 0.07)}
}
_ORACLE = "without the query's class"
_LONGER = "all negatives, twice the epochs"  # communities cost a training: the proxy's
# What costs nothing to know: 1/C is the share of a query's class among even classes.
_LABEL_FREE = {
    "without the query's community": {**GRAPH, "train.negatives": "~same_latent_class"},
    "without the hardest 5 % of its community": {
        **GRAPH,
        "train.negatives": "~(difficulty(95,100) & same_latent_class)",
    },
    "without the hardest, a share of 1/C": {"train.negatives": "difficulty(0,98.4)"},
    "debiased by 1/C": {"train.loss": "debiased(0.016)"},
}
_ON_IMAGENET = {
    "without the hardest, a share of 1/C": {"train.negatives": "difficulty(0,99.9)"},
    "the harder half without a share of 1/C": {"train.negatives": "difficulty(50,99.9)"},
    "debiased by 1/C": {"train.loss": "debiased(0.001)"},
    "hardness-weighted, debiased by 1/C": {"train.loss": "hardness(0.5,0.001)"},
}

POLICIES = Experiment(
    name="policies",
    title="Negatives chosen without labels, beside the oracle",
    shows="what arXiv 2010.06682 suggests: false negatives left out or weighed down, without labels",
    pools={"paper": ("imagenet",)},
    axes=_TWO_TEMPERATURES,
    arms={
        name: {**_QUEUED, **own}
        for name, own in {
            "all negatives": {},
            _LONGER: {"train.epochs": times_the_epochs(2.0)},
            _ORACLE: {"train.negatives": "~same_class"},
            **_LABEL_FREE,
            "the harder half without a share of 1/C": {"train.negatives": "difficulty(50,98.4)"},
            # Before anything is learned all cosines may be high: some negatives must be left.
            "without the hardest 5 % above a cosine of 0.8": {
                "train.negatives": "~(difficulty(95,100) & above(0.8))"
            },
            "without older views": {"train.negatives": "~duplicates"},
            "hardness-weighted, debiased by 1/C": {"train.loss": "hardness(0.5,0.016)"},
        }.items()
    },
    arms_at={"paper": {name: {**_QUEUED, **own} for name, own in _ON_IMAGENET.items()}},
    reference="all negatives",
    metrics=_METRICS,
    claims=(
        Claim(
            "Leaving out the query's class gives more than a point",
            {_ORACLE: 1, "all negatives": -1},
            _METRICS,
            margin=1.0,
            source="2010.06682, Table 1",
        ),
        *(
            Claim(
                f"A label-free policy recovers half of what removing the same class gives: {name}",
                {name: 1, _ORACLE: -0.5, "all negatives": -0.5},
                _METRICS,
            )
            for name in _LABEL_FREE
        ),
        Claim(
            "Leaving out the query's community gains more than its proxy's epochs",
            {"without the query's community": 1, _LONGER: -1},
            _METRICS,
        ),
    ),
)

# Replaced by older ones, as in the paper: the number of negatives stays.
_REPLACED = {"train.queue_reserve": 512}


def _table_1(hardest: str) -> dict[str, dict[str, Any]]:
    """The six sets of the paper's Table 1, with the hardest ones in the form of a policy."""
    sets = {
        "without the hardest": f"~{hardest}",
        "without the query's class": "~same_class",
        "without the hardest of the query's class": f"~({hardest} & same_class)",
        "without the hardest of other classes": f"~({hardest} & ~same_class)",
        "without all but the hardest of the query's class": f"~(same_class & ~{hardest})",
    }
    arms = {name: {**_REPLACED, "train.negatives": policy} for name, policy in sets.items()}
    return {name: {**_QUEUED, **own} for name, own in {"all negatives": {}, **arms}.items()}


_LOW = {"temperature": "0.07"}

TABLE_1 = Experiment(
    name="table1",
    title="Which of the hardest negatives do harm",
    shows="arXiv 2010.06682, Table 1: the hardest 1/C of the negatives and those of the query's class",
    pools={"paper": ("imagenet",)},
    axes=_TWO_TEMPERATURES,
    arms=_table_1("difficulty(98.4,100)"),
    arms_at={"paper": _table_1("difficulty(99.9,100)")},
    reference="all negatives",
    metrics=_METRICS,
    claims=(
        Claim(
            "At a low temperature the hardest negatives do harm",
            {"without the hardest": 1, "all negatives": -1},
            _DECIDING,
            where=_LOW,
            source="2010.06682, Table 1",
        ),
        Claim(
            "At a low temperature negatives of the query's class do harm",
            {"without the query's class": 1, "all negatives": -1},
            _DECIDING,
            where=_LOW,
            source="2010.06682, Table 1",
        ),
        Claim(
            "Leaving out only the hardest of the query's class gives as much as all of the hardest",
            {"without the hardest of the query's class": 1, "without the hardest": -1},
            _DECIDING,
            margin=-0.5,
            source="2010.06682, Table 1",
        ),
        Claim(
            "At a low temperature the hardest of other classes are needed",
            {"all negatives": 1, "without the hardest of other classes": -1},
            _DECIDING,
            where=_LOW,
            source="2010.06682, Table 1",
        ),
        Claim(
            "Of the query's class the hardest matter more than the rest",
            {
                "without the hardest of the query's class": 1,
                "without all but the hardest of the query's class": -1,
            },
            _DECIDING,
            where=_LOW,
            source="2010.06682, Table 1",
        ),
    ),
)


def _stages(epochs: int, *policies: str) -> dict[str, Any]:
    """Policies one after the other, each for an equal part of the epochs."""
    first, *later = policies
    starts = [turn * epochs // len(policies) for turn in range(1, len(policies))]
    parts = [f"{start}: {policy}" for start, policy in zip(starts, later, strict=True)]
    return {"train.negatives": first, "train.negatives_schedule": "; ".join(parts)}


def _curricula(epochs: int, hardest_out: str = "difficulty(0,98.4)") -> dict[str, dict[str, Any]]:
    """Arms of a training of so many epochs; the hardest are a share of 1/C."""
    arms = {
        "harder and harder": _stages(epochs, "all", "difficulty(50,100)", "difficulty(95,100)"),
        "harder and harder, backwards": _stages(
            epochs, "difficulty(95,100)", "difficulty(50,100)", "all"
        ),
        "from easy to hard": _stages(
            epochs, "difficulty(0,50)", "difficulty(25,75)", "difficulty(50,100)"
        ),
        "from hard to easy": _stages(
            epochs, "difficulty(50,100)", "difficulty(25,75)", "difficulty(0,50)"
        ),
        "later without the hardest": _stages(epochs, "all", hardest_out),
        "without the hardest": {"train.negatives": hardest_out},
        "without the hardest, replaced": {**_REPLACED, "train.negatives": hardest_out},
    }
    return {name: {**_MOCO, **own} for name, own in arms.items()}


CURRICULA = Experiment(
    name="curricula",
    title="Negatives that change in training, and queues that do not forget",
    shows="arXiv 2010.06682, §4 and §6: curricula of difficulty, hard negatives kept, those removed replaced",
    pools={"paper": ("imagenet",)},
    arms={
        "all negatives": _MOCO,
        "harder half": {**_MOCO, "train.negatives": "difficulty(50,100)"},
        **_curricula(20),
        "the hard stay in the queue": {**_MOCO, "train.queue_keep_hard": 0.5},
    },
    arms_at={
        "paper": _curricula(200, "difficulty(0,99.9)"),
        "tiny": {name: {**own, "train.epochs": 3} for name, own in _curricula(3).items()},
    },
    reference="all negatives",
    metrics=_METRICS,
    claims=(
        Claim(
            "Harder and harder negatives are better than all",
            {"harder and harder": 1, "all negatives": -1},
            _DECIDING,
            source="2010.06682, §6",
        ),
        Claim(
            "Harder and harder is better than the same backwards",
            {"harder and harder": 1, "harder and harder, backwards": -1},
            _DECIDING,
            source="2010.06682, §6",
        ),
        Claim(
            "From easy to hard is better than from hard to easy",
            {"from easy to hard": 1, "from hard to easy": -1},
            _DECIDING,
        ),
        Claim(
            "A queue that keeps what is consistently hard is better",
            {"the hard stay in the queue": 1, "all negatives": -1},
            _DECIDING,
            source="2010.06682, §4",
        ),
        Claim(
            "Whether removed negatives are replaced makes no difference, within half a point",
            {"without the hardest, replaced": 1, "without the hardest": -1},
            _DECIDING,
            margin=0.5,
            rule="within",
        ),
    ),
)

# A fifth in as many steps as the full pool takes: a queue must be filled, and then be learned from.
_FIFTH = {**MOCO, "compare.match": "steps"}
_ALL = {**_FIFTH, "train.negatives": ""}

SELECTION_AND_NEGATIVES = Experiment(
    name="selection-and-negatives",
    title="Chosen examples with chosen negatives",
    shows="both papers together: a fifth by SAS or by chance, with all negatives or without some, in equally many steps",
    axes={
        "left out": {
            "community": {"train.negatives": "~same_latent_class"},
            "the hardest 1.6 %": {"train.negatives": "difficulty(0,98.4)"},
            "class": {"train.negatives": "~same_class"},
        }
    },
    arms={
        "random, all negatives": {**RANDOM, **_ALL},
        "random, some left out": {**GRAPH, **RANDOM, **_FIFTH},
        "SAS, graph, all negatives": {**GRAPH, **_ALL},
        "SAS, graph, some left out": {**GRAPH, **_FIFTH},
    },
    reference="random, all negatives",
    claims=(
        Claim(
            "On a random fifth choosing negatives helps",
            {"random, some left out": 1, "random, all negatives": -1},
        ),
        Claim(
            "On a chosen fifth choosing negatives helps",
            {"SAS, graph, some left out": 1, "SAS, graph, all negatives": -1},
        ),
        Claim(
            "Both together are better than neither",
            {"SAS, graph, some left out": 1, "random, all negatives": -1},
        ),
        Claim(
            "Choosing negatives gains more on chosen examples",
            {
                "SAS, graph, some left out": 1,
                "SAS, graph, all negatives": -1,
                "random, some left out": -1,
                "random, all negatives": 1,
            },
        ),
    ),
)
