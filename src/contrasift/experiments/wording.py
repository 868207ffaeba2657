"""Settings, means and differences as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping

from contrasift.evaluation import Interval

UNKNOWN = "–"


def setting_text(setting: Mapping[str, str]) -> str:
    """The pool, then every other axis with its label."""
    first, *others = setting.items()
    return ", ".join([first[1], *(f"{axis} {label}" for axis, label in others)])


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
