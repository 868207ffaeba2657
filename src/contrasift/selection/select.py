"""The selection of a pool: class by class, or over the whole, from a matrix of any size and type."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from contrasift.catalogue import OBJECTIVES, check_choice
from contrasift.errors import WorseThanRandomWarning
from contrasift.narration import Progress
from contrasift.options import ChoiceOptions
from contrasift.options.arguments import checked_arguments
from contrasift.options.declaring import words_of
from contrasift.options.words import (
    Allocation,
    Copies,
    ObjectiveName,
    Optimizer,
    Refinement,
    Scaling,
    ScoresEnd,
)
from contrasift.results import Selection
from contrasift.selection.arguments import (
    check_relaxable,
    checked_scores,
    nested_fractions,
    resolved_weights,
)
from contrasift.selection.assemble import assemble
from contrasift.selection.budget import resolve_budget
from contrasift.selection.compiling import compiling
from contrasift.selection.copies import copies_in
from contrasift.selection.gather import ClassRows
from contrasift.selection.local import Announce, Engine, LocalEngine
from contrasift.selection.plan import Limits, Places, Plan, SelectionPool, kept_and_dropped
from contrasift.selection.ranking import RankedRows, dropped_last
from contrasift.selection.task import SettledOptions
from contrasift.selection.unusable import Usable, unusable_rows
from contrasift.selection.whole_pool import (
    aim_of,
    density_quota,
    order_of_pool,
    scores_of_pool,
    target_rows,
)


@checked_arguments
def select(
    embeddings: Any,
    classes: Any = None,
    *,
    fraction: float | None = None,
    budget: int | None = None,
    objective: ObjectiveName = "sas",
    redundancy: float | None = None,
    optimizer: Optimizer = "auto",
    refine: Refinement = "none",
    allocate: Allocation = "proportional",
    min_per_class: int = 0,
    must_keep: Any = None,
    must_drop: Any = None,
    class_weights: Mapping[Any, float | int] | Sequence[float | int] | np.ndarray | None = None,
    fractions: Sequence[float | int] | None = None,
    normalize: Scaling = "auto",
    threshold: float | None = None,
    coverage_weight: float = 1.0,
    centre_weight: float = 1.0,
    epsilon: float | None = None,
    neighbours: int = 20,
    scores: Any = None,
    scores_keep: ScoresEnd = "high",
    levels: str | Sequence[int] | None = None,
    target: Any = None,
    target_weight: float = 0.0,
    quota_temperature: float = 0.1,
    copies: Copies = "one",
    seed: int = 0,
    steps: int = 20,
    threads: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
    engine: Engine | None = None,
) -> Selection:
    """Choose the part of a pool that is most worth training on.

    In every latent class V, with T = Σ_{i∈V} z_i and M = Σ_{j∈S} z_j, maximises

        F_λ(S) = Σ_{i∈V} Σ_{j∈S} s_ij − λ Σ_{i,j∈S} s_ij = ⟨M, T⟩ − λ‖M‖²,   s_ij = ⟨z_i, z_j⟩

    (SAS, Joshi & Mirzasoleiman 2023, eq. 39 at λ = 1) without ever making the matrix s.

    Args:
        embeddings: `Embeddings`, taken as they are; what `open_embeddings` gives; or a matrix [n, d] of any real type, possibly
            memory-mapped, whose rows are scaled to length one (see `normalize`).
        classes: `LatentClasses`, or one label an example (integers, gaps allowed, or text); to
            `contrasift.select` also `auto`, `graph` or `kmeans`, and they are found first as
            `latent_classes` does it. None, or `none`: the whole pool is one class. That is the
            default because nothing is guessed of an array, not because it is good: within one
            class a selection is no better than chance in our experiments (docs/findings.md).
        fraction: share of the pool to keep, in (0, 1]; rounded half up, to at least one example.
        budget: how many to keep, instead.
        objective: a name of `contrasift.catalogue.OBJECTIVES`, where each has its source: `sas`;
            `published`, the ranking that the SAS code really makes; `coverage`, `centre`, and
            both, `coverage-centre`; `herding`; `k-center`; `prototype-near`, `prototype-far`;
            `semantic-dedup`; `typicality`; `scores`; `easy-removal`, `hard-removal`; `target`;
            `balanced` and `random`, blind to classes; `random-per-class`.
        redundancy: λ; default min(1, 1/(4·fraction)).
        optimizer: `greedy`, the nested ranking, exact however long it takes; or `auto`, the same
            but for sas in classes where that is very long, as where rows are centred: there the
            rest of the ranking is stochastic greedy's, which `ranked_to` of the class and a note
            say; or, for sas, `relaxed`, Frank–Wolfe, which leaves
            a linear rule and whose smaller budgets are *not* prefixes; or, for coverage,
            `stochastic`, greedy over a random part of the candidates each time.
        refine: after greedy, `swaps` at the same size, or the paper's `double-greedy`, or
            `double-greedy-random`; the latter two may shrink the set.
        allocate: places by class: `proportional`, `equal`; `density-quota`, more to classes that
            are wide and far from others; or `global`: one objective over the whole pool, classes
            only reported.
        min_per_class: at least this many from every class that has them.
        must_keep: examples that are selected whatever the objective says; they rank first. By
            their ids where `embeddings` has ids and these are of that kind, else by pool index.
        must_drop: examples that are not selected, likewise; they rank last. Those without finite numbers
            or a direction count as not in the pool, for the fraction as well.
        class_weights: factor on each class's claim: by name (others 1), or one a class in
            ascending order of names.
        fractions: several nested selections in one run, all at the λ of the largest, which takes
            the place of `fraction`; see `Selection.marks`.
        normalize: `auto` as said above; `none`: rows are mean view embeddings, taken as they are;
            `rows`: scaled to length one. Rows that have it within 1e-6 are never touched.
        threshold: τ in [−1, 1]: s_ij below it count zero, in `sas` and `published`. Where no
            pair of a class can be below it, the linear path runs.
        coverage_weight: of coverage in `coverage-centre`.
        centre_weight: of centre in `coverage-centre`.
        epsilon: of `semantic-dedup`: facts["distinct"] says how many examples have no earlier one
            that is more similar than 1 − ε.
        neighbours: of `typicality`.
        scores: one number an example, for the objective `scores`; +inf allowed.
        scores_keep: `high` or `low`.
        levels: of `balanced`: clusters of every level, coarse to fine; default: one for 64
            examples, at most 10,000, and a tenth of them at each coarser level.
        target: of `target`, and of `sas` with `target_weight`: examples to be near to, as in
            `must_keep`, or a matrix [m, d] of other vectors, brought to length one.
        target_weight: w of `sas`: adds w·n Σ_{j∈S} mean_t ⟨z_j, t⟩ to the F of a class of n, as if
            w·n copies of the mean target were in it.
        quota_temperature: τ of `density-quota`, whose shares are as exp(complexity / τ).
        copies: of examples whose rows are equal, `one` stands for all: the first, or one that must be
            kept. The others count in their class as before, but rank behind all else that may be
            selected, and `copy_of` says whose copies they are. `keep`: each has its own place.
        seed: of all that is random, of what `auto` draws too.
        steps: passes over the rows that the relaxation may make.
        threads: None for all processors. The selection does not depend on it.
        memory_limit: bytes that the process should stay below; sets how much is gathered at once.
        progress: called with (examples done, examples) as classes are finished.
        announce: called with a sentence or two before the work: the memory it needs, how rows are
            scaled.
        engine: where classes are solved; default: in this process, under `threads` and
            `memory_limit`. See `contrasift.engines`.

    Returns:
        every example with its rank, the choice, and its certificate. Gains say what an example
        brought; where the objective is a ranking they are its scores, and for `random…` NaN.

    Warns:
        DegenerateObjectiveWarning: before the work, where similarity to the class says nothing.
        WorseThanRandomWarning: F is below the mean of random selections of the same size.
        Both only where nothing is to `announce` them; they are among the notes as well.

    Raises:
        UsageError: arguments that are out of range or do not go together; a memory limit that is
            too small.
        DataError: rows that are not finite or, when scaling, zero; classes or scores of another
            length; scores with NaN.
    """
    begun = time.perf_counter()
    # Every option of `ChoiceOptions` is an argument here, under the same name.
    written = levels if isinstance(levels, str) else ",".join(map(str, levels or ()))
    options = ChoiceOptions.from_arguments({**locals(), "levels": written})
    check_choice("normalize=", normalize, words_of(Scaling))
    options.check_uses(scored=scores is not None, targeted=target is not None)
    options.check_places(weighted=class_weights is not None)
    engine = engine or LocalEngine(threads, memory_limit)
    columns = engine.columns
    pool = SelectionPool.of(embeddings, classes, normalize, columns)
    kept, dropped = kept_and_dropped(pool, must_keep, must_drop)
    dropped_index = pool.indices(dropped)
    own_scores = (
        None if scores is None else checked_scores(scores, pool.n, dropped, options.scores_keep)
    )
    weights = resolved_weights(class_weights, pool.names)
    aims = None if target is None else target_rows(pool, target)
    usable = None
    if (out := unusable_rows(pool, dropped)).size:
        usable = Usable.of(pool, out)
        kept, dropped = usable.numbers(kept), usable.numbers(np.setdiff1d(dropped, out))
        own_scores = None if own_scores is None else own_scores[usable.rows]
        weights = None if weights is None else weights[usable.present]
        pool = usable.pool
    shares = nested_fractions(fractions, options)
    largest = shares[-1] if shares else options.fraction
    count = resolve_budget(pool.n, fraction=largest, budget=options.budget)
    share = largest if largest is not None else count / pool.n
    settled = SettledOptions.of(options, share)
    check_relaxable(settled, count, pool.n)
    digesting = getattr(engine, "row_digests", None)  # of engines whose rows lie elsewhere
    copy_of = None
    if options.copies == "one":
        copy_of = copies_in(pool, kept, dropped, threads, digesting)
    limits = Limits.of(pool, kept, dropped, count, copy_of)
    partition = (
        ClassRows.of(columns.new(pool.n, np.int64), 1, columns)
        if options.allocate == "global"
        else ClassRows.of(pool.codes, len(pool.names), columns)
    )
    if options.allocate == "density-quota":
        claims = density_quota(pool, options.quota_temperature, threads)
        weights = claims if weights is None else claims * weights
    blind = OBJECTIVES[options.objective].blind
    order = order_of_pool(pool, limits, settled, threads) if blind else None
    weighted = aims is not None and options.objective == "sas"
    plan = Plan(
        pool=pool,
        partition=partition,
        places=Places.of(partition, limits, count, weights, settled, pool, order),
        columns=columns,
        limits=limits,
        options=settled,
        budget=count,
        fraction=share,
        fractions=tuple(shares),
        scores=scores_of_pool(pool, settled, own_scores, aims, threads),
        copy_of=copy_of,
        aim=aim_of(aims, options.target_weight) if weighted and aims is not None else None,
    )
    ranked = RankedRows.empty(partition, columns)
    with compiling(announce) as compiled:
        solved, facts = engine.solve_classes(plan, ranked, progress, announce)
    seconds = max(0.0, time.perf_counter() - begun - compiled.seconds)
    if compiled.seconds:
        facts = {**facts, "compile_seconds": round(compiled.seconds, 3)}
    chosen = assemble(plan, ranked, solved, seconds=seconds, facts=facts)
    share = None if chosen.certificate is None else chosen.certificate.share
    if options.objective == "sas" and share is not None and share < 0 and announce is None:
        said = next(note for note in chosen.notes if "mean of random" in note)
        warnings.warn(said, WorseThanRandomWarning, stacklevel=2)
    if usable is not None:
        chosen = usable.put_back(chosen)
    if dropped_index.size:  # its rank is last whatever its gain: not the same as least central
        gone = np.isin(chosen.index, dropped_index)
        chosen = replace(chosen, dropped=gone, order=dropped_last(chosen.order, gone, columns))
    return chosen
