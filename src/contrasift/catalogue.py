"""Every objective a selection can be made by, once: what it is, where it is from, what it takes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from contrasift.errors import UsageError


@dataclass(frozen=True)
class Objective:
    """A way to choose, as options, help, files and the contract test know it.

    Attributes:
        name: as in `objective=`.
        description: what it keeps, in a phrase.
        source: where it is from.
        value: what `Selection.value` is under it, in words; always better when larger.
        bounded: whether an upper bound of the value comes with it.
        nested: whether smaller budgets are prefixes of the ranking.
        uses: further options that it takes, and optimizers beside greedy; others are refused.
        needs: options that it cannot do without.
        blind: chooses from the whole pool, whatever the classes.
        chance: draws by the seed.
    """

    name: str
    description: str
    source: str
    value: str = "F"
    bounded: bool = True
    nested: bool = True
    uses: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    blind: bool = False
    chance: bool = False


def _objectives(*listed: Objective) -> dict[str, Objective]:
    return {one.name: one for one in listed}


OBJECTIVES = _objectives(
    Objective(
        "sas",
        "near their class, unlike each other (F_λ)",
        "Joshi & Mirzasoleiman 2023, eq. 39",
        uses=frozenset({"threshold", "relaxed", "refine", "target", "target_weight"}),
    ),
    Objective(
        "published",
        "what the published SAS code really ranks by",
        "the SAS code, `SubsetSelectionObjective`",
        uses=frozenset({"threshold"}),
    ),
    Objective(
        "coverage",
        "every example near a kept one (facility location, ν_align)",
        "Joshi & Mirzasoleiman 2023, eq. 20",
        value="coverage",
        uses=frozenset({"stochastic", "epsilon"}),
    ),
    Objective(
        "centre",
        "the mean of what is kept near the class's (ν_div)",
        "Joshi & Mirzasoleiman 2023, eq. 36",
        value="centre",
    ),
    Objective(
        "coverage-centre",
        "both aims, weighted",
        "Joshi & Mirzasoleiman 2023, eq. 37",
        value="coverage and centre",
        uses=frozenset({"stochastic", "epsilon", "coverage_weight", "centre_weight"}),
    ),
    Objective(
        "herding",
        "the mean of what is kept at the class's, example by example",
        "Welling 2009",
        value="minus n times the gap of the means",
        bounded=False,
    ),
    Objective(
        "k-center", "the farthest from what is kept", "Gonzalez 1985; Sener & Savarese 2018"
    ),
    Objective(
        "prototype-near", "the nearest to the class mean: the easy", "Sorscher et al. 2022"
    ),
    Objective(
        "prototype-far", "the farthest from the class mean: the hard", "Sorscher et al. 2022"
    ),
    Objective(
        "semantic-dedup",
        "those that repeat no other",
        "SemDeDup, Abbas et al. 2023",
        uses=frozenset({"epsilon"}),
    ),
    Objective(
        "typicality",
        "those in dense surroundings",
        "TPC, Hacohen et al. 2022",
        uses=frozenset({"neighbours"}),
    ),
    Objective(
        "scores",
        "the highest or lowest scores of a file",
        "e.g. forgetting (Toneva et al. 2019), EL2N (Paul et al. 2021)",
        uses=frozenset({"scores", "scores_column", "scores_keep"}),
        needs=frozenset({"scores"}),
    ),
    Objective(
        "easy-removal",
        "the least sure of their class: leaves out the easy (margin to other classes)",
        "the other end of hard-removal",
    ),
    Objective(
        "hard-removal",
        "the surest of their class: leaves out what lies between classes (margin)",
        "difficult examples, Zhang et al. 2025, arXiv 2501.01317",
    ),
    Objective(
        "target",
        "the nearest to a target that is given: retrieval",
        "as in DINOv2, Oquab et al. 2023",
        uses=frozenset({"target"}),
        needs=frozenset({"target"}),
    ),
    Objective(
        "balanced",
        "as many from every region, by hierarchical k-means; blind to classes",
        "Vo et al. 2024, arXiv 2405.15613",
        uses=frozenset({"levels"}),
        blind=True,
        chance=True,
    ),
    Objective("random", "any, blind to classes", "the control", blind=True, chance=True),
    Objective("random-per-class", "any, class by class", "the control", chance=True),
)  # fmt: skip


def nearest(given: str, known: Iterable[str]) -> str:
    """A sentence that suggests the known name most like the given one, or nothing."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else ""


def check_choice(name: str, given: str, known: Iterable[str]) -> None:
    """The given value must be one of the known.

    Raises:
        UsageError: it is not; lists the known and suggests the nearest.
    """
    choices = tuple(known)
    if given not in choices:
        raise UsageError(
            f"{name} to be one of {', '.join(choices)}", given, nearest(given, choices)
        )


def refuse_unused(objective: str, given: Iterable[str]) -> None:
    """Options beyond the defaults must be ones that the objective takes, and all that it needs.

    Args:
        objective: a known name.
        given: names of the further options that were given, as in `Objective.uses`.

    Raises:
        UsageError: one would have no effect, or one is missing.
    """
    options = set(given)
    entry = OBJECTIVES[objective]
    chosen = f"objective='{objective}'"
    for option in sorted(options - entry.uses):
        takers = [other.name for other in OBJECTIVES.values() if option in other.uses]
        raise UsageError(
            f"an objective that takes {_argument(option)}: {', '.join(takers)}", chosen
        )
    if "stochastic" in entry.uses - options and "epsilon" in options:
        raise UsageError(f"optimizer='stochastic' for epsilon= with {chosen}", "optimizer='greedy'")
    for option in sorted(entry.needs - options):
        raise UsageError(f"{_argument(option)} for {chosen}", "none")


def _argument(option: str) -> str:
    """An option of `Objective.uses` as it is given; optimizers are there by their own names."""
    return f"optimizer='{option}'" if option in ("relaxed", "stochastic") else f"{option}="
