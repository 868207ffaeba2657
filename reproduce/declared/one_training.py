"""One training that selects on its way, against the same training on everything and on chance."""

from __future__ import annotations

from typing import Any

from reproduce.declared.declaring import Claim, Experiment
from reproduce.declared.selection import FULL, GRAPH, RANDOM

_JUDGED = ("knn", "mean_classifier", "few_1pct")


def within(epochs: int, after: int, fraction: float, *, hold: bool = True, **more: Any) -> dict:
    """A training of so many epochs that selects after some of them.

    With `hold` the learning rate stays at its peak up to the switch, and its cosine begins there.
    """
    return {
        **GRAPH,
        "train.epochs": epochs,
        "switch.select_after": after,
        "select.fraction": fraction,
        **({"train.decay_after": after} if hold else {}),
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def _full(epochs: int) -> dict[str, Any]:
    return {**FULL, "train.epochs": epochs}


EXPLORED = Experiment(
    name="one-training-explored",
    title="When a training should select, how much, and under which learning rate",
    shows="a single training whose own encoder selects on its way; tried on the validation split",
    arms={
        "full pool, 20 epochs": _full(20),
        "full pool, 13 epochs": _full(13),
        "SAS .2 after 5 of 13": within(13, 5, 0.2),
        "SAS .4 after 5 of 13": within(13, 5, 0.4),
        "random .4 after 5 of 13": within(13, 5, 0.4) | RANDOM,
        "SAS .4 after 5 of 13, cosine throughout": within(13, 5, 0.4, hold=False),
        "SAS .4 after 3 of 13": within(13, 3, 0.4),
        "SAS .6 after 3 of 13": within(13, 3, 0.6),
        "SAS .2 after 5 of 13, a quarter mixed in": within(13, 5, 0.2, switch__mix=0.25),
        "SAS .6 to .2 after 3 of 13, every 4": within(
            13, 3, 0.2, switch__reselect_every=4, switch__fraction_schedule="0.6,0.4,0.2"
        ),
        "SAS .4 after 7 of 13": within(13, 7, 0.4),
        "SAS .4 after 5 of 13, every 5": within(13, 5, 0.4, switch__reselect_every=5),
    },
    reference="full pool, 20 epochs",
    seeds=2,
)
