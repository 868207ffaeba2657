"""Every experiment by its name."""

from __future__ import annotations

from contrasift.experiments.declared import (
    about_bounds,
    about_choices,
    about_figures,
    about_negatives,
    about_selection,
)
from contrasift.experiments.declared.declaring import Experiment


def _by_name(*listed: Experiment) -> dict[str, Experiment]:
    found = {one.name: one for one in listed}
    if len(found) < len(listed):
        raise ValueError("two experiments of the same name")
    return found


EXPERIMENTS = _by_name(
    *(
        thing
        for module in (
            about_selection,
            about_figures,
            about_choices,
            about_negatives,
            about_bounds,
        )
        for thing in vars(module).values()
        if isinstance(thing, Experiment)
    )
)
