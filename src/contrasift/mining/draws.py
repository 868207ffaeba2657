"""How negatives are drawn among those that a policy names: the hardest, or at random."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from contrasift.errors import UsageError
from contrasift.mining.numbers import RANDOM, SAMPLE, hashed

_FORM = re.compile(r"(hardest)|sample\(\s*top\s*=\s*(\d+)\s*\)|random\(\s*(\d+)\s*\)")


@dataclass(frozen=True)
class Draw:
    """How many of a query's negatives come from where.

    Attributes:
        per_query: negatives of a query.
        randoms: of them, drawn from everything that the policy names.
        top: the others are drawn from so many of the hardest; None: they are the hardest.
    """

    per_query: int
    randoms: int = 0
    top: int | None = None

    @property
    def hard(self) -> int:
        """Negatives that are the hardest, or among them."""
        return self.per_query - self.randoms

    @property
    def needed(self) -> int:
        """How many of the hardest must be known."""
        return 0 if self.hard == 0 else max(self.hard, self.top or 0)

    @property
    def without_randoms(self) -> Draw:
        """The hard part alone."""
        return replace(self, per_query=self.hard, randoms=0)


def parse_draw(text: str, per_query: int) -> Draw:
    """A draw from its text.

    Args:
        text: `hardest`, `sample(top=K)` (so many as are asked for, of the K hardest), `random(K)` (K
            of everything that the policy names); or two of them, as `hardest + random(2)`.
        per_query: negatives of a query.

    Raises:
        UsageError: another text, or numbers that do not fit.
    """
    randoms, top, forms = 0, None, []
    for part in text.split("+"):
        found = _FORM.fullmatch(part.strip())
        if found is None:
            raise _unknown(text)
        forms.append("random" if found[3] else "hard")
        randoms = int(found[3]) if found[3] else randoms
        top = int(found[2]) if found[2] else top
    if len(set(forms)) < len(forms):
        raise _unknown(text)
    alone = forms == ["random"]
    if (
        not 0 <= randoms <= per_query
        or (alone and randoms != per_query)
        or forms.count("random") > (randoms > 0)
    ):
        raise UsageError(
            f"a draw of per_query={per_query} negatives in all",
            text,
            f"For example: draw='random({per_query})', or draw='hardest + random(1)'",
        )
    if top is not None and top < per_query - randoms:
        raise UsageError(
            f"sample(top=K) with K of at least {per_query - randoms}, the number that is drawn",
            text,
        )
    return Draw(per_query, randoms, top)


def _unknown(text: str) -> UsageError:
    return UsageError(
        "draw= as hardest, sample(top=K) or random(K), or one of the first two + random(K)", text
    )


def draw_columns(named: np.ndarray, draw: Draw, seed: int, queries: np.ndarray, rows: np.ndarray) -> (
    np.ndarray
):  # fmt: skip
    """Which of the candidates are taken.

    Args:
        named: bool [b, k]; those that the policy names, hardest first.
        draw: how many from where.
        seed: of the draws.
        queries: int64 [b]; their rows.
        rows: int64 [b, k]; corpus rows.

    Returns:
        bool [b, k], at most `per_query` a row: all that are named where there are no more.
    """
    order = np.cumsum(named, axis=1, dtype=np.int32)
    taken = named & (order <= (draw.top or draw.hard if draw.hard else 0))
    if draw.top is not None:
        taken = _smallest(taken, hashed(seed, SAMPLE, queries, rows), draw.hard)
    if draw.randoms:
        rest = named & ~taken
        taken |= _smallest(rest, hashed(seed, RANDOM, queries, rows), draw.randoms)
    return taken


def _smallest(among: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Of each row's true entries, the `count` with the smallest numbers."""
    if count == 0:
        return np.zeros_like(among)
    if count >= among.shape[1]:
        return among
    numbers = np.where(among, numbers, np.uint64(2**64 - 1))
    last = np.partition(numbers, count - 1, axis=1)[:, count - 1, None]
    return among & (numbers <= last)
