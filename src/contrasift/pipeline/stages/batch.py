"""How many steps an epoch has, and whether there is enough for one."""

from __future__ import annotations

from contrasift.errors import UsageError
from contrasift.pipeline.run import Run


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in a pass over n examples."""
    return n // batch_size


def check_batch(run: Run, n: int) -> None:
    """Stop early when a subset is too small to fill one batch.

    Args:
        run: with a batch size.
        n: size of the subset.

    Raises:
        UsageError: the batch is larger than the subset.
    """
    batch = run.options.train.batch_size
    if batch > n:
        raise UsageError(
            f"a subset of at least one batch ({batch} examples)",
            f"{n} examples",
            f"Pass batch_size={n} or less with update=True, or select more"
            if n > 1
            else "Select more",
        )
