"""`contrasift.select`: a selection within classes that are given, or that are found first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, cast

from contrasift.catalogue import check_choice
from contrasift.options.matrix import METHODS_OF_A_MATRIX
from contrasift.options.words import ClassMethod
from contrasift.results import Embeddings, Selection
from contrasift.selection import select as within

_Arguments = ParamSpec("_Arguments")


def _finding_classes(choose: Callable[_Arguments, Selection]) -> Callable[_Arguments, Selection]:
    """The same function, which finds classes first where `classes` is the name of a method."""

    @functools.wraps(choose)
    def select(*positional: _Arguments.args, **named: _Arguments.kwargs) -> Selection:
        given: dict[str, Any] = dict(zip(("embeddings", "classes"), positional, strict=False))
        given |= named
        method = given.get("classes")
        if isinstance(method, str):
            check_choice("classes=", method, METHODS_OF_A_MATRIX)
            given["classes"] = _found(given["embeddings"], method, given.get("seed", 0))
        return cast(Callable[..., Selection], choose)(**given)

    return select


def _found(embeddings: Any, method: str, seed: int) -> Any:
    from contrasift.classes.find import latent_classes

    rows = embeddings.values if isinstance(embeddings, Embeddings) else embeddings
    return latent_classes(rows, method=cast(ClassMethod, method), seed=seed)


select = _finding_classes(within.select)
