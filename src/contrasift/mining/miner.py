"""`contrasift.mine`: for every query, negatives from a corpus, by policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from contrasift.arrays import NamedRows, check_matrix
from contrasift.classes.neighbours import Pieces
from contrasift.errors import DataError, UsageError
from contrasift.mining.approximate import mine_nearly, near_lists
from contrasift.mining.choosing import MiningTask, Taken
from contrasift.mining.draws import Draw, parse_draw
from contrasift.mining.exact import mine_exactly
from contrasift.mining.listed import Known
from contrasift.mining.pairs import check_positives, pairs_of
from contrasift.mining.ranking import COPY_COSINE, packed_units
from contrasift.mining.results import Mined
from contrasift.negatives.parsing import parse_policy
from contrasift.negatives.policies import Policy
from contrasift.options.arguments import checked_arguments
from contrasift.options.mining import POLICY, MiningOptions
from contrasift.options.words import Search
from contrasift.results import LatentClasses

# Every pair is compared up to this many; beyond, candidates come from lists of near rows.
EXACT_PAIRS = 1 << 34
# Queries that are done, and kept, as one piece of work.
PIECE, LARGE_PIECE = 8_192, 131_072


@checked_arguments
def mine(
    queries: Any,
    corpus: Any = None,
    positives: Any = None,
    *,
    policy: Policy | str = POLICY,
    per_query: int = 8,
    draw: str = "hardest",
    latent_classes: Any = None,
    labels: Any = None,
    relevant: Any = None,
    search: Search = "auto",
    recall: float = 0.95,
    allow_fewer: bool = False,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    pieces: Pieces | None = None,
) -> Mined:
    """Negatives of every query from a corpus, by policy, over similarities that are never held whole.

    A query's candidates are all corpus rows but its positives (and itself, where queries and corpus
    are one matrix), ranked by cosine; of equal ones the later row is the harder, as `difficulty` has
    it. The result depends neither on blocks nor on threads.

    Args:
        queries: real [q, d].
        corpus: real [n, d]; None: the queries are the corpus.
        positives: int [m, 2] of query and corpus rows, one or more a query; or [q], one each.
        policy: which candidates may be negatives; `same_latent_class`, `same_class` and
            `duplicates` compare with the query's positives.
        per_query: how many a query.
        draw: `hardest`; `sample(top=K)`: at random from the K hardest that the policy names;
            `random(K)`: K from everything that it names; `hardest + random(2)`: both.
        latent_classes: int [n] of the corpus, or what `contrasift.latent_classes` gives.
        labels: int [n] of the corpus, −1 where unknown: for `same_class`, and to judge what was mined.
        relevant: pairs that belong together beyond the positives, as `positives`: for `relevant`,
            and to judge what was mined.
        search: `exact`, `approximate`, or `auto`: exact up to 2³⁴ pairs.
        recall: share of the true candidates that an approximate search shall find.
        allow_fewer: keep queries that have fewer negatives than asked for.
        seed: of random draws.
        threads: default: all processors.
        progress: called with (queries done, queries).
        pieces: keeps what is done, so that it is not done again.

    Returns:
        The negatives, and how sure it is that they are none.

    Raises:
        UsageError: arguments that do not fit, or a policy that needs what is not given.
        DataError: rows of NaN or zeros, another width, positives that are missing or not there.
    """
    begun = time.perf_counter()
    left, right = (
        _matrix(queries, "queries"),
        _matrix(queries if corpus is None else corpus, "corpus"),
    )
    same = corpus is None or corpus is queries
    if left.shape[1] != right.shape[1]:
        raise DataError(
            f"queries and a corpus of one width, as the corpus has {right.shape[1]}",
            f"queries of width {left.shape[1]}",
            "Embed both with one encoder",
        )
    q, n = left.shape[0], right.shape[0]
    how = check_numbers(draw, per_query, n)
    if positives is None:
        raise UsageError("positives=, pairs of query and corpus rows", "none")
    rule = parse_policy(policy) if isinstance(policy, str) else policy
    MiningOptions.from_arguments({**locals(), "policy": rule.text})
    known = Known(
        pairs_of(positives, q, n),
        same,
        _codes(latent_classes, n, "latent_classes"),
        _codes(labels, n, "labels"),
        None if relevant is None else pairs_of(relevant, q, n, "relevant"),
        seed,
    )
    check_positives(known.positives, same=same)
    _check_needs(rule, known)
    task = MiningTask(rule, how, known, n)
    exactly = search == "exact" or (search == "auto" and q * n <= EXACT_PAIRS)
    facts: dict[str, Any] = {"search": "exact"}
    if exactly:
        packed = packed_units(right, "corpus")

        def work(some: slice, told: Callable[[int], None]) -> Taken:
            return mine_exactly(left, packed, task, some, threads, told)
    else:
        near = near_lists(left, right, task, recall, threads)
        facts = near.facts

        def work(some: slice, told: Callable[[int], None]) -> Taken:
            return mine_nearly(left, near, task, some, threads, told)

    taken = _by_pieces(work, q, per_query, PIECE if exactly else LARGE_PIECE, progress, pieces)
    _check_not_copies(taken.positive)
    enough = taken.reasons == ""
    kept = (taken.rows[:, 0] >= 0) if allow_fewer else enough
    taken.rows[~kept], taken.places[~kept], taken.similarity[~kept] = -1, 0, np.nan
    return Mined(
        taken.rows,
        taken.similarity,
        taken.places,
        taken.positive,
        known.positives,
        kept,
        taken.reasons,
        facts={
            **facts,
            "queries": q,
            "corpus": n,
            "width": int(right.shape[1]),
            "policy": rule.text,
            "per_query": per_query,
            "draw": draw,
            "seed": seed,
            "seconds": time.perf_counter() - begun,
        },
    )


def check_numbers(draw: str, per_query: int, n: int) -> Draw:
    """How negatives are drawn, if there can be so many.

    Raises:
        UsageError: there cannot.
    """
    if not 1 <= per_query <= n:
        raise UsageError(f"per_query= from 1 to the {n:,} rows of the corpus", f"{per_query:,}")
    return parse_draw(draw, per_query)


def _by_pieces(
    work: Callable[[slice, Callable[[int], None]], Taken],
    q: int,
    per_query: int,
    size: int,
    progress: Callable[[int, int], None] | None,
    pieces: Pieces | None,
) -> Taken:
    whole, done, lock = Taken.none(q, per_query), 0, Lock()

    def told(more: int) -> None:
        nonlocal done
        with lock:
            done += more
            if progress is not None:
                progress(done, q)

    for number, start in enumerate(range(0, q, size)):
        some = slice(start, min(start + size, q))
        kept = pieces.get(number) if pieces else None
        if kept is None:
            part = work(some, told)
            if pieces:
                pieces.put(number, part.arrays())
        else:
            part = Taken.of(kept)
            told(some.stop - some.start)
        whole.put(some, part)
    return whole


def _matrix(values: Any, name: str) -> Any:
    return check_matrix(values.values if isinstance(values, NamedRows) else values, name)


def _codes(given: Any, n: int, name: str) -> np.ndarray | None:
    if given is None:
        return None
    codes = np.asarray(given.codes if isinstance(given, LatentClasses) else given)
    if codes.shape != (n,) or codes.dtype.kind not in "iu":
        raise DataError(
            f"{name} as one whole number for each of the {n:,} rows of the corpus",
            f"{codes.dtype} of shape {list(codes.shape)}",
        )
    return codes.astype(np.int64)


def _check_needs(policy: Policy, known: Known) -> None:
    """Say before the work that the policy needs what is not given."""
    for part, what, remedy in (
        (
            "latent_classes",
            known.latent_classes,
            "Find them: latent_classes=cs.latent_classes(corpus)",
        ),
        ("labels", known.labels, "Give labels=, or use same_latent_class, which needs none"),
    ):
        if policy.compares(part) and what is None:
            raise UsageError(
                f"{part.replace('_', ' ')} of the corpus for the policy {policy}", "none", remedy
            )
    if any(leaf.text == "relevant" for leaf in policy.leaves()) and known.relevant is None:
        raise UsageError(f"relevant= for the policy {policy}", "none")


def _check_not_copies(positive: np.ndarray) -> None:
    """Stop where every query is its own positive: nothing could be learned, nor compared with.

    Raises:
        DataError: all positives are copies of their queries.
    """
    if positive.size and (positive >= COPY_COSINE).all():
        raise DataError(
            "positives that differ from their queries",
            "positives that are all identical to the query (cosine of at least 0.9999)",
            "Check that queries and corpus are not the same rows, and which pairs are positives",
        )
