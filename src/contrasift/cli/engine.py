"""`--engine` and `--address`: where the work of a command runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from contrasift.cli.flags import HOW
from contrasift.errors import UsageError

if TYPE_CHECKING:
    from contrasift.engines.cluster import Cluster

    Connect = Callable[[], Cluster]


class EngineName(StrEnum):
    """What runs the work."""

    local = "local"
    ray = "ray"


EngineFlag = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="`local`: this process. `ray`: a cluster, with the same results (extra `ray`).",
        rich_help_panel=HOW,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Ray's head node, or `auto`; without it --engine ray uses this machine's processors.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]


@contextlib.contextmanager
def reached(
    engine: EngineName, address: str | None, say: Callable[[str], None]
) -> Iterator[Connect | None]:
    """What connects to the cluster when a stage first needs it, and leaves it in the end.

    That Ray is installed and the address answers is known at once, before any other work.

    Yields:
        None for the local engine.

    Raises:
        UsageError: an address for the local engine, or one of another form.
        MissingExtraError: Ray is not installed.
        ContrasiftError: the address does not answer.
    """
    if engine is EngineName.local:
        if address is not None:
            raise UsageError("--engine ray for an --address", "the engine local")
        yield None
        return

    from contrasift.engines.cluster import check_reachable, connect

    check_reachable(address)
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(connect(address, say))
