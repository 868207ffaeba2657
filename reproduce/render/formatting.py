"""Settings, means and differences as the page writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from contrasift.evaluation import Interval

UNKNOWN = "–"


def setting_text(setting: Mapping[str, str]) -> str:
    """The pool, also one that `--set pool.pool=` put in its place, then every other axis and its label."""
    pool = setting.get("pool.pool", setting["pool"])
    others = [
        f"{axis} {label}" for axis, label in setting.items() if axis not in ("pool", "pool.pool")
    ]
    return ", ".join([pool, *others])


def merged_settings(settings: Sequence[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
    """The same settings, those that differ on one axis alone as one: its labels joined by ` / `."""
    left = list(settings)
    while left:
        first = left[0]
        alike, axis = max(
            (
                ([one for one in left if _differs_at_most_on(axis, one, first)], axis)
                for axis in first
            ),
            key=lambda found: len(found[0]),
        )
        left = [one for one in left if one not in alike]
        yield {**first, axis: " / ".join(one[axis] for one in alike)}


def _differs_at_most_on(axis: str, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return axis in one and {**one, axis: other[axis]} == other


def mean_text(interval: Interval | None, digits: int) -> str:
    """Mean ± standard error; the mean alone of one value."""
    if interval is None:
        return UNKNOWN
    error = interval.standard_error
    return f"{interval.mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def difference_text(interval: Interval | None, digits: int) -> str:
    """Signed mean and interval; the mean alone of one value."""
    if interval is None:
        return UNKNOWN
    if interval.low is None:
        return f"{interval.mean:+.{digits}f}"
    ends = f"[{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
    return f"{interval.mean:+.{digits}f} {ends}"
