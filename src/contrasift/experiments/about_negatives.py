"""Experiments on which negatives are used: arXiv 2010.06682, and what it suggests."""

from __future__ import annotations

from contrasift.experiments.about_selection import BOTH, FULL
from contrasift.experiments.declaring import Claim, Experiment

_MOCO = {**FULL, "train.method": "moco", "train.temperature": 0.2}
_BANDS = ((85, 90), (90, 95), (95, 100), (85, 100), (90, 100))


def _only(low: int, high: int) -> dict[str, object]:
    return {**_MOCO, "train.negatives": f"difficulty({low:g},{high:g})"}


def _except(low: int, high: int) -> dict[str, object]:
    return {**_MOCO, "train.negatives": f"~difficulty({low:g},{high:g})"}


NEGATIVE_BANDS = Experiment(
    name="negative-bands",
    title="Negatives by difficulty",
    shows="arXiv 2010.06682, Fig. 2 and Table A.1: MoCo v2 with one band only, and without it",
    pools={**BOTH, "paper": ("imagenet",)},
    arms={
        "all negatives": _MOCO,
        **{f"only {low}–{high}": _only(low, high) for low, high in _BANDS},
        **{f"without {low}–{high}": _except(low, high) for low, high in _BANDS},
    },
    reference="all negatives",
    metrics=("linear", "few_10", "knn", "mean_classifier"),
    claims=(
        Claim(
            "The hardest 5 % alone are as good as all, within a point",
            {"only 95–100": 1, "all negatives": -1},
            ("linear",),
            margin=1.0,
            rule="within",
            source="Fig. 2",
        ),
        Claim(
            "The next 5 % alone are worse than the hardest alone",
            {"only 95–100": 1, "only 90–95": -1},
            ("linear",),
            source="Fig. 2",
        ),
        Claim(
            "The easiest 95 % are worse than all",
            {"all negatives": 1, "without 95–100": -1},
            ("linear",),
            source="Fig. 2",
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
        name: {**FULL, "train.method": "moco", **own}
        for name, own in {
            "all negatives": {},
            "without the hardest 0.1 %": {"train.negatives": "difficulty(0,99.9)"},
            "without the hardest 1.6 %": {"train.negatives": "difficulty(0,98.4)"},
            "without the query's class": {"train.negatives": "~same_class"},
        }.items()
    },
    reference="all negatives",
    metrics=("linear", "few_10", "knn", "mean_classifier"),
    line="temperature",
    claims=(
        Claim(
            "At a low temperature the very hardest negatives do harm",
            {"without the hardest 0.1 %": 1, "all negatives": -1},
            ("linear",),
            where={"temperature": "0.07"},
            source="Fig. 3",
        ),
    ),
)
