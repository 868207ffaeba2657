"""What a policy sees: some queries, all that may be negatives of theirs, and what is known of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from contrasift.errors import UsageError
from contrasift.negatives.ranks import band_mask


@dataclass(frozen=True)
class Tags:
    """What is known of some examples, one entry each; negative numbers: not known.

    Attributes:
        labels: integer classes given by people.
        latent_classes: integer classes found without labels (`classes.parquet`).
        examples: the stable index of each example.
    """

    labels: Any = None
    latent_classes: Any = None
    examples: Any = None

    def __getitem__(self, rows: Any) -> Tags:
        """The tags of some of the examples."""
        return self.map(lambda part: part[rows])

    def map(self, change: Callable[[Any], Any]) -> Tags:
        """The same change made to every tag that is there."""
        parts = (self.labels, self.latent_classes, self.examples)
        return Tags(*(None if part is None else change(part) for part in parts))


NO_TAGS = Tags()


@dataclass(frozen=True)
class Candidates:
    """Some queries and everything that may be a negative of theirs.

    Attributes:
        similarity: [q, k + reserve]; cosines of queries and negatives.
        queries: tags with q entries.
        negatives: tags with k + reserve entries, or [q, k + reserve] where they differ by query.
        draws: [q, k + reserve]; independent uniform numbers, where `random` is asked for.
        reserve: how many columns at the end are no negatives yet, only candidates to replace some.
        positive: [q]; each query's cosine with its positive, for policies that compare with it.
    """

    similarity: Any
    queries: Tags = NO_TAGS
    negatives: Tags = NO_TAGS
    draws: Any = None
    reserve: int = 0
    positive: Any = None

    def band(self, low: float | int, high: float | int) -> Any:
        """Negatives whose rank of similarity lies in (low, high] per cent, bool [q, k + reserve]."""
        return band_mask(self.similarity, low, high, self.reserve)

    def drawn(self, share: float | int) -> Any:
        """⌈share·k⌉ of each query's negatives at random, bool [q, k + reserve].

        Raises:
            UsageError: no random numbers.
        """
        if self.draws is None:
            raise UsageError(
                "random numbers for the policy random", "none", "Pass a generator to the loss"
            )
        # In decimals, so that random(0.05) leaves exactly as many as difficulty(95,100).
        return band_mask(self.draws, complement_percent(share), 100, self.reserve)

    def beside_positive(self, policy: str) -> Any:
        """Each query's cosine with its positive, [q, 1].

        Raises:
            UsageError: it is not known.
        """
        if self.positive is None:
            raise UsageError(f"the positives' similarities for the policy {policy}", "none")
        return self.positive[:, None]

    def known_relevant(self) -> Any:
        """Pairs known to belong together beyond the positives, bool [q, k + reserve].

        Raises:
            UsageError: nothing of the kind is known, as in a loss.
        """
        raise UsageError(
            "pairs known to be relevant for the policy relevant",
            "none",
            "Give them with relevant=, where negatives are mined",
        )

    def same(self, part: str, policy: str) -> Any:
        """Pairs whose tags are known and equal, bool [q, k + reserve].

        Raises:
            UsageError: one side has no such tags.
        """
        queries, negatives = getattr(self.queries, part), getattr(self.negatives, part)
        if queries is None or negatives is None:
            side = "queries" if queries is None else "negatives"
            raise UsageError(
                f"{part.replace('_', ' ')} of queries and negatives for the policy {policy}",
                f"{side} without them",
                "Give them as tags, or use a policy of difficulty alone",
            )
        # Unknown tags are negative: those of queries must not equal those of negatives.
        return (queries[:, None] == negatives) & (queries >= 0)[:, None]


def complement_percent(share: float | int) -> float:
    """100 − 100·share, exact in decimals wherever the share has few of them."""
    return float(100 - 100 * Decimal(repr(share)))
