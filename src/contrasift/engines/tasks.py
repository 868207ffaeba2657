"""Sending tasks to Ray, a few at a time, and hearing of each as it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# Ray runs a task again when its worker or node dies; an error that a task raises is final.
RETRIES = 10
# Tasks that wait beside those that run: enough to keep workers busy, few enough that what they
# carry does not fill the object store.
_WAITING_A_CPU = 3


def in_tasks(
    function: Callable[..., Any],
    calls: Iterator[tuple[Any, tuple[Any, ...]]],
    *,
    cpus: int,
    memory: Callable[[Any], int] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Call a function in tasks; results as they come.

    Args:
        function: importable, or small enough to be sent.
        calls: a name for each call, and its arguments; drawn only as tasks can be sent.
        cpus: of the cluster.
        memory: bytes that the call of a name needs; Ray runs no more at once than a node has.

    Yields:
        the name of a call, and what it returned.

    Raises:
        ray.exceptions.RayError: as Ray raises it; see `cluster.plain_errors`.
    """
    import ray

    remote = ray.remote(function)
    waiting: dict[Any, Any] = {}
    try:
        more = True
        while more or waiting:
            while more and len(waiting) < (1 + _WAITING_A_CPU) * cpus:
                call = next(calls, None)
                if call is None:
                    more = False
                    break
                name, arguments = call
                needs = {} if memory is None else {"memory": memory(name)}
                task = remote.options(num_cpus=1, max_retries=RETRIES, **needs)
                waiting[task.remote(*arguments)] = name
            if not waiting:
                return
            ended, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ended:
                name = waiting.pop(reference)
                yield name, ray.get(reference)
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
