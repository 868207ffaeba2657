"""Every experiment by its name."""

from __future__ import annotations

from reproduce.declared import (
    bounds,
    choices,
    curators,
    figures,
    negatives,
    one_training,
    selection,
)
from reproduce.declared.declaring import Experiment


def _by_name(*listed: Experiment) -> dict[str, Experiment]:
    found = {one.name: one for one in listed}
    if len(found) < len(listed):
        raise ValueError("two experiments of the same name")
    return found


EXPERIMENTS = _by_name(
    *(
        thing
        for module in (
            selection,
            figures,
            choices,
            curators,
            negatives,
            bounds,
            one_training,
        )
        for thing in vars(module).values()
        if isinstance(thing, Experiment)
    )
)
