"""Which negatives a loss uses: pure functions from similarities and tags to a mask.

A policy names the negatives that are used; its complement names those that are left out:

    >>> from contrasift.negatives import difficulty, same_class, parse_policy
    >>> policy = difficulty(95, 100) & ~same_class
    >>> str(policy)
    'difficulty(95,100) & ~same_class'
    >>> parse_policy(str(policy)) == policy
    True

They work on NumPy arrays and on torch tensors alike; torch is never imported here.
"""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from contrasift.errors import UsageError
from contrasift.negatives.candidates import Candidates
from contrasift.negatives.ranks import band_counts, hardest_columns
from contrasift.options.arguments import checked_arguments
from contrasift.options.declaring import within


class Policy(ABC):
    """A rule that says of every negative whether the loss uses it; see the functions below."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The canonical text; `parse_policy` reads it."""

    @abstractmethod
    def mask(self, candidates: Candidates) -> Any:
        """Which candidates are used, bool [q, k + reserve].

        Raises:
            UsageError: tags or random numbers that the policy needs are missing.
        """

    def few(self, candidates: Candidates) -> tuple[Any, bool] | None:
        """The short way to say what `mask` says: columns [q, r], and whether these or all others.

        None where it is not known to be short: some rows have more than others, or many.
        """
        return None

    def places(self, k: int) -> tuple[int, int]:
        """Where of k negatives, from the hardest on, those that it names can be: from, up to."""
        return 0, k

    def ceiling(self, positive: Any) -> Any | None:
        """A similarity that no negative exceeds which it names, as `mask` compares; None: there is none.

        Args:
            positive: [q]; each query's similarity to its positive.
        """
        return None

    def floor(self, positive: Any) -> Any | None:
        """A similarity that it names all above, and no other; None: it is no such policy."""
        return None

    def leaves(self) -> tuple[Policy, ...]:
        """The named policies that this one is composed of."""
        return (self,)

    @property
    def is_random(self) -> bool:
        """Whether it needs random numbers."""
        return any(isinstance(leaf, _Random) for leaf in self.leaves())

    @property
    def least_share(self) -> float:
        """The least share of negatives that one of its random parts names; 1 without any."""
        return min(
            (leaf.number for leaf in self.leaves() if isinstance(leaf, _Random)), default=1.0
        )

    def compares(self, part: str) -> bool:
        """Whether it compares these tags: `labels`, `latent_classes` or `examples`."""
        return any(isinstance(leaf, _SameTag) and leaf.part == part for leaf in self.leaves())

    def __and__(self, other: Policy) -> Policy:
        return _All(_flattened(_All, self, other))

    def __or__(self, other: Policy) -> Policy:
        return _Any(_flattened(_Any, self, other))

    def __invert__(self) -> Policy:
        return _Not(self)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Difficulty(Policy):
    """See `difficulty`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the order of the percentiles."""
        if not 0 <= self.low < self.high <= 100:
            raise UsageError(
                "percentiles in order, 0 ≤ low < high ≤ 100",
                f"difficulty({_number(self.low)},{_number(self.high)})",
                "100 is the hardest: difficulty(95,100) is the hardest 5 %",
            )

    @property
    def text(self) -> str:
        return f"difficulty({_number(self.low)},{_number(self.high)})"

    def mask(self, candidates: Candidates) -> Any:
        return candidates.band(self.low, self.high)

    def places(self, k: int) -> tuple[int, int]:
        below, up_to = band_counts(self.low, self.high, k)
        return k - up_to, k - below

    def few(self, candidates: Candidates) -> tuple[Any, bool] | None:
        if candidates.reserve:
            return None
        ends = (self.low, self.high) if self.low > 0 else (self.high,)
        columns = hardest_columns(candidates.similarity, *ends)
        return None if columns is None else (columns, self.low > 0)


@dataclass(frozen=True)
class _OfOneNumber(Policy):
    """A policy with one number; its class says which, in the words of the message."""

    number: float

    expects = ""
    remedy = ""

    def __post_init__(self) -> None:
        """Check the number."""
        if not within(self.number, self.expects[self.expects.rindex("in ") :]):
            raise UsageError(self.expects, _number(self.number), self.remedy)

    @property
    def text(self) -> str:
        return f"{self.expects.partition('(')[0]}({_number(self.number)})"


class _Above(_OfOneNumber):
    """See `above`."""

    expects = "above(cosine) with a cosine in [-1, 1]"

    def mask(self, candidates: Candidates) -> Any:
        return candidates.similarity > self.number

    def floor(self, positive: Any) -> Any:
        return 0 * positive + self.number


class _Random(_OfOneNumber):
    """See `random`."""

    expects = "random(share) with a share in (0, 1]"

    def mask(self, candidates: Candidates) -> Any:
        return candidates.drawn(self.number)


class _AbovePositive(_OfOneNumber):
    """See `above_positive`."""

    expects = "above_positive(share) with a share of the positive's score in (0, 2]"
    remedy = "above_positive(0.95) names negatives that score above 95 % of the positive"

    def mask(self, candidates: Candidates) -> Any:
        return candidates.similarity > self.floor(candidates.beside_positive(self.text))

    def floor(self, positive: Any) -> Any:
        return positive - (1 - self.number) * abs(positive)


class _Margin(_AbovePositive):
    """See `margin`."""

    expects = "margin(width) with a width in [-2, 2]"
    remedy = ""

    def floor(self, positive: Any) -> Any:
        return positive - self.number


@dataclass(frozen=True)
class _Relevant(Policy):
    """See `relevant`."""

    text: str = "relevant"

    def mask(self, candidates: Candidates) -> Any:
        return candidates.known_relevant()


@dataclass(frozen=True)
class _SameTag(Policy):
    """See `same_class`, `same_latent_class` and `duplicates`."""

    text: str = ""
    part: str = ""

    def mask(self, candidates: Candidates) -> Any:
        return candidates.same(self.part, self.text)


@dataclass(frozen=True)
class _Everything(Policy):
    """See `everything`."""

    text: str = "all"

    def mask(self, candidates: Candidates) -> Any:
        return candidates.similarity == candidates.similarity


@dataclass(frozen=True)
class _Composed(Policy):
    """Several policies under one sign."""

    parts: tuple[Policy, ...]

    sign: ClassVar[str]
    join: ClassVar[Callable[[Any, Any], Any]]

    @property
    def text(self) -> str:
        # `|` binds weaker than `&`, so only an `|` within an `&` needs parentheses.
        return f" {self.sign} ".join(
            f"({part.text})" if isinstance(self, _All) and isinstance(part, _Any) else part.text
            for part in self.parts
        )

    def mask(self, candidates: Candidates) -> Any:
        return functools.reduce(type(self).join, (part.mask(candidates) for part in self.parts))

    def leaves(self) -> tuple[Policy, ...]:
        return tuple(leaf for part in self.parts for leaf in part.leaves())


@dataclass(frozen=True)
class _All(_Composed):
    """Negatives that every part names."""

    sign, join = "&", operator.and_

    def places(self, k: int) -> tuple[int, int]:
        inside = [part.places(k) for part in self.parts]
        first = max(begin for begin, _ in inside)
        return first, max(first, min(end for _, end in inside))

    def ceiling(self, positive: Any) -> Any | None:
        known = [one for part in self.parts if (one := part.ceiling(positive)) is not None]
        return functools.reduce(np.minimum, known) if known else None


@dataclass(frozen=True)
class _Any(_Composed):
    """Negatives that at least one part names."""

    sign, join = "|", operator.or_

    def places(self, k: int) -> tuple[int, int]:
        inside = [part.places(k) for part in self.parts]
        return min(begin for begin, _ in inside), max(end for _, end in inside)


@dataclass(frozen=True)
class _Not(Policy):
    """Negatives that the part does not name."""

    part: Policy

    @property
    def text(self) -> str:
        inner = self.part.text
        return f"~({inner})" if isinstance(self.part, _Composed) else f"~{inner}"

    def places(self, k: int) -> tuple[int, int]:
        begin, end = self.part.places(k) if isinstance(self.part, _Difficulty) else (0, 0)
        # What is left of a band at one end is a band; of one in the middle there are two.
        return (end if begin == 0 else 0), (begin if end == k else k)

    def ceiling(self, positive: Any) -> Any | None:
        return self.part.floor(positive)

    def mask(self, candidates: Candidates) -> Any:
        return ~self.part.mask(candidates)

    def few(self, candidates: Candidates) -> tuple[Any, bool] | None:
        found = self.part.few(candidates)
        return found and (found[0], not found[1])

    def leaves(self) -> tuple[Policy, ...]:
        return self.part.leaves()

    def __invert__(self) -> Policy:
        return self.part


def _flattened(kind: type[_Composed], *policies: Policy) -> tuple[Policy, ...]:
    """The parts of nested policies of one kind, side by side: `&` and `|` are associative."""
    return tuple(
        part
        for policy in policies
        for part in (policy.parts if isinstance(policy, kind) else (policy,))
    )


@checked_arguments
def difficulty(low: float | int, high: float | int) -> Policy:
    """Negatives whose similarity ranks between two percentiles of the query's own negatives.

    Each query's k negatives are sorted by q·k_i, ascending, afresh at every step; ranks r with
    low·k/100 < r ≤ high·k/100 are named (Cai et al., arXiv 2010.06682, §2). 100 is the hardest.
    The percentiles are exact decimals; equal similarities rank in the order of the negatives, the
    later the harder. `difficulty(0,a)` and `difficulty(a,100)` part the negatives into two.

    Args:
        low: where the band begins, excluded.
        high: where it ends, included.

    Raises:
        UsageError: percentiles out of order or outside [0, 100].
    """
    return _Difficulty(float(low), float(high))


@checked_arguments
def above(cosine: float | int) -> Policy:
    """Negatives with a cosine strictly above a threshold.

    Raises:
        UsageError: no cosine.
    """
    return _Above(float(cosine))


@checked_arguments
def random(share: float | int) -> Policy:
    """Exactly ⌈share·k⌉ of each query's k negatives, drawn afresh at every step: a control.

    `random(0.05)` names as many as `difficulty(95,100)`.

    Raises:
        UsageError: a share outside (0, 1].
    """
    return _Random(float(share))


@checked_arguments
def above_positive(share: float | int) -> Policy:
    """Negatives with a score above a share of the positive's: probably false ones.

    s > s⁺ − (1 − share)·|s⁺|, which for s⁺ ≥ 0 is s > share·s⁺. `~above_positive(0.95)` keeps the
    others: TopK-PercPos of NV-Retriever (de Souza P. Moreira et al., arXiv 2407.15831, §3), and
    `relative_margin=0.05` of sentence-transformers. Of several positives the weakest counts.

    Raises:
        UsageError: a share outside (0, 2].
    """
    return _AbovePositive(float(share))


@checked_arguments
def margin(width: float | int) -> Policy:
    """Negatives whose score comes nearer to the positive's than a margin: s > s⁺ − width.

    `~margin(0.05)` keeps the others: TopK-MarginPos of NV-Retriever (arXiv 2407.15831, §3), and
    `absolute_margin=0.05` of sentence-transformers. Of several positives the weakest counts.

    Raises:
        UsageError: no difference of cosines.
    """
    return _Margin(float(width))


same_class: Policy = _SameTag("same_class", "labels")
"""Negatives of the query's own labelled class; examples without a label are of no class."""

same_latent_class: Policy = _SameTag("same_latent_class", "latent_classes")
"""Negatives of the query's own latent class: what `same_class` is where nobody labelled."""

duplicates: Policy = _SameTag("duplicates", "examples")
"""Negatives that show the query's own example (an older view of it in a queue)."""

relevant: Policy = _Relevant()
"""Negatives known to belong to the query, though they are not among its positives (mining only)."""

everything: Policy = _Everything()
"""All negatives, as a loss without a policy uses them; written `all`."""


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
