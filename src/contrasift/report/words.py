"""Numbers, durations and names as one reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from contrasift.narration import NO_NUMBER, shown

_ARM_LABELS = {
    "selected": "Selected",
    "random-per-class": "Random per class",
    "random": "Random",
    "full": "Full pool",
    "untrained": "Untrained",
}
_MEASURE_LABELS = {"linear": "Linear probe", "knn": "kNN", "mean classifier": "Mean classifier"}


def arm_label(name: str) -> str:
    """What a way to choose the training examples is called on the page."""
    return _ARM_LABELS.get(name, name)


def measure_label(name: str) -> str:
    """What a measure of accuracy is called."""
    return _MEASURE_LABELS.get(name, name[:1].upper() + name[1:])


def count(number: float | int | None) -> str:
    """A count with thousands apart."""
    return shown(number)


def glued(text: str) -> str:
    """Numbers kept on one line with their units and signs."""
    text = re.sub(r"(?<=\d) (?=(?:%|s|min|h|points)(?![\w]))", "\u00a0", text)
    return re.sub(r" ± (?=\d)", "\u00a0±\u00a0", text)


def hundredths(share: float | int | None, digits: int = 1) -> str:
    """A share in per cent, without the sign."""
    return shown(None if share is None else 100 * share, f".{digits}f")


def percent(share: float | int) -> str:
    """A share in per cent with as many digits as say something: 20 %, 4.2 %, 0.13 %."""
    hundred = 100 * share
    digits = 0 if hundred >= 10 or abs(hundred - round(hundred)) < 1e-9 else 1
    return f"{hundred:.{digits}f} %" if hundred >= 1 or hundred == 0 else f"{hundred:.2g} %"


def small_percent(share: float) -> str:
    """A share in per cent, with a digit more below a tenth."""
    return f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.1f} %"


def number(value: float | int | None) -> str:
    """Six significant digits, with thousands apart."""
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    return f"{value:,.2f}" if 1e4 <= abs(value) < 1e12 else f"{value:.6g}"


def duration(seconds: float | int | None) -> str:
    """Seconds as one reads them: 0.42 s, 12.3 s, 3 min 05 s, 2 h 07 min."""
    if seconds is None or not math.isfinite(seconds):
        return NO_NUMBER
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def option(value: object) -> str:
    """An option or a fact as text."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {option(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(option(item) for item in value) or "none"
    return str(value) if str(value) else NO_NUMBER
