"""What the tests of remedies share: how a case is named and followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from contrasift.errors import ContrasiftError

# What goes wrong, words of the advice, what works once it is followed.
Case = tuple[Callable[[], Any], str, Callable[[], Any]]


def cases_by_name(kinds: Mapping[str, Mapping[str, Case]]) -> dict[str, Case]:
    """Cases of all kinds, each under its kind and name."""
    return {
        f"{kind}: {name}": case for kind, cases in kinds.items() for name, case in cases.items()
    }


def check_remedy(case: Case) -> None:
    """A case stops with its words among the advice; what follows the advice works."""
    wrong, words, right = case
    with pytest.raises(ContrasiftError) as caught:
        wrong()
    assert caught.value.remedy
    assert words in caught.value.remedy
    right()
