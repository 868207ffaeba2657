"""How much two runs over one pool agree: ranks, selections, classes, similarities. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import class_codes, finite_or_none, row_blocks
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.options import PoolOptions
from contrasift.store.atomic import load_array, read_json
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_latent_classes, read_table

CURVE = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class ComparedRun:
    """What a comparison reads of one run; rows are its embedded examples.

    Attributes:
        path: the folder.
        source: the encoder as it was asked for.
        pool: the options and the fingerprint by which pools are told apart.
        examples: index and id by row.
        embeddings: [n, d], memory-mapped.
        encoder: what made them.
        classes: int64 [n] codes; None before `classes`.
        ranks: int64 [n]; place of each row in the ranking, 0 the best; None before `select`.
        selected: bool [n]; None before `select`.
    """

    path: Path
    source: str
    pool: tuple[PoolOptions, str]
    examples: Mapping[str, np.ndarray]
    embeddings: np.ndarray
    encoder: Mapping[str, Any]
    classes: np.ndarray | None
    ranks: np.ndarray | None
    selected: np.ndarray | None

    def describe(self) -> dict[str, Any]:
        """Plain values for people and programs."""
        about = self.encoder["encoder"]
        return {
            "run": str(self.path),
            "source": self.source,
            "encoder": about["pretrained"] or about["architecture"],
            "layer": self.encoder["layer"],
            "examples": self.embeddings.shape[0],
            "classes": None if self.classes is None else int(self.classes.max()) + 1,
            "budget": None if self.selected is None else int(self.selected.sum()),
        }


def read_run(path: Path) -> ComparedRun:
    """Read a run that has embedded its pool, and as much further as it went.

    Raises:
        RunFolderError: no run, or one that has not embedded its pool.
        DataError: broken files.
    """
    folder = RunFolder.existing(path)
    records = folder.records()
    if "embed" not in records:
        raise RunFolderError(
            "runs that have embedded their pool", f"{path}, which has not", "Run `contrasift embed`"
        )
    table = read_table(path / "examples.parquet", "index", "id", "row")
    readable = table["row"] >= 0
    index = table["index"][readable]
    matrix = folder.matrix
    embeddings = load_array(path / f"{matrix}.npy")
    if embeddings.shape[0] != index.size:
        raise DataError(
            f"a row of {path / f'{matrix}.npy'} for each of {index.size} examples",
            f"{embeddings.shape[0]} rows",
            f"Delete {path / f'{matrix}.npy'}, then: {folder.command_of('embed')}",
        )
    classes = ranks = selected = None
    if "classes" in records:
        classes, _ = class_codes(read_latent_classes(path / "classes.parquet", index), index.size)
    if "select" in records:
        ranks, selected = _read_selection(path, index)
    options = folder.read_options()
    return ComparedRun(
        path=path,
        source=options.embed.encoder,
        pool=(options.pool, str(records["scan"].facts.get("pool", ""))),
        examples={"index": index, "id": table["id"][readable]},
        embeddings=embeddings,
        encoder=read_json(path / f"{matrix}.json"),
        classes=classes,
        ranks=ranks,
        selected=selected,
    )


def _read_selection(path: Path, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = read_table(path / "selection.parquet", "index", "selected")
    ranking = load_array(path / "ranking.npy", memory_map=False)
    for named in (table["index"], ranking):
        if not np.array_equal(np.sort(named), index):
            raise DataError(
                f"a selection in {path} from its {index.size} embedded examples",
                "one from others",
                f"Delete {path / 'selection.json'}, then: contrasift select {path}",
            )
    ranks = np.empty(index.size, dtype=np.int64)
    ranks[np.searchsorted(index, ranking)] = np.arange(index.size)
    selected = np.empty(index.size, dtype=bool)
    selected[np.searchsorted(index, table["index"])] = table["selected"]
    return ranks, selected


def check_same_pool(first: ComparedRun, second: ComparedRun) -> None:
    """Stop unless both runs embedded the same examples; the size of images may differ.

    Raises:
        UsageError: different pools, or different parts of one.
    """
    (options, fingerprint), (others, theirs) = first.pool, second.pool
    same = fingerprint != "" and fingerprint == theirs
    if not same and options.pool == others.pool:
        # The fingerprint also changes with how the pool is looked at; the ids below do not.
        same = any(
            getattr(options, name) != getattr(others, name)
            for name in ("image_size", "labels", "holdout", "limit", "seed")
        )
    remedy = "Embed the same pool in both, with the same limit=, holdout= and seed="
    if not same:
        raise UsageError(
            "runs of the same pool",
            f"{first.path} of {options.pool} and {second.path} of {others.pool}"
            + (", which has changed in between" if options.pool == others.pool else ""),
            remedy,
        )
    if not all(
        np.array_equal(first.examples[key], second.examples[key]) for key in ("index", "id")
    ):
        common = np.intersect1d(first.examples["index"], second.examples["index"]).size
        raise UsageError(
            "runs of the same examples",
            f"{first.examples['index'].size:,} in {first.path} and "
            f"{second.examples['index'].size:,} in {second.path}, {common:,} of them in both",
            remedy,
        )


def compare_runs(
    first: ComparedRun, second: ComparedRun, *, pairs: int = 100_000, seed: int = 0
) -> dict[str, Any]:
    """Everything that two runs can be compared in.

    Args:
        first: the reference: "within classes" means within its classes.
        second: another run of the same pool.
        pairs: how many pairs of examples the similarities are compared on.
        seed: of the pairs.

    Returns:
        `similarities` (see `similarity_agreement`), and, as far as both runs have them, `classes`
        (`ari`, `nmi`), `ranks` (see `rank_agreement`), `overlap` (see `overlap`), `curve` (see
        `overlap_curve`); None for what one of them lacks.

    Raises:
        UsageError: runs of different pools.
    """
    check_same_pool(first, second)
    codes = first.classes
    found: dict[str, Any] = {
        "first": str(first.path),
        "second": str(second.path),
        "similarities": similarity_agreement(
            first.embeddings, second.embeddings, codes, pairs=pairs, seed=seed
        ),
        "classes": None,
        "ranks": None,
        "overlap": None,
        "curve": None,
    }
    if codes is not None and second.classes is not None:
        from contrasift.classes import class_agreement

        agreement = class_agreement(second.classes, codes)
        found["classes"] = {name: agreement[name] for name in ("ari", "nmi")}
    if first.ranks is not None and second.ranks is not None:
        found["ranks"] = rank_agreement(first.ranks, second.ranks, codes)
        found["curve"] = overlap_curve(first.ranks, second.ranks)
    if first.selected is not None and second.selected is not None:
        found["overlap"] = overlap(first.selected, second.selected, codes)
    return found


def rank_agreement(
    first: np.ndarray, second: np.ndarray, codes: np.ndarray | None = None
) -> dict[str, float | None]:
    """Rank correlations over the pool, and within classes: the mean over classes, by their size.

    Spearman's ρ is the correlation of ranks, Kendall's τ-b the share of pairs in one order minus
    that in opposite orders. Classes of one example say nothing and do not count.

    Args:
        first: int64 [n]; the rank of each example.
        second: int64 [n].
        codes: int64 [n]; the class of each example; None: no figures within classes.

    Returns:
        `spearman`, `kendall`, `spearman_within`, `kendall_within`; None where there is no pair.
    """
    spearman, kendall = _correlations(first, second)
    found: dict[str, float | None] = {"spearman": spearman, "kendall": kendall}
    sums, count = np.zeros(2), 0
    if codes is not None:
        order = np.argsort(codes, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            within = _correlations(first[rows], second[rows])
            if within[0] is not None:
                sums += rows.size * np.array(within, dtype=np.float64)
                count += rows.size
    means = [float(value) for value in sums / count] if count else [None, None]
    return found | {"spearman_within": means[0], "kendall_within": means[1]}


def _correlations(first: np.ndarray, second: np.ndarray) -> tuple[float | None, float | None]:
    from scipy.stats import kendalltau, spearmanr

    if first.size < 2:
        return None, None
    spearman = float(np.asarray(spearmanr(first, second)[0]))
    return finite_or_none(spearman), finite_or_none(float(np.asarray(kendalltau(first, second)[0])))


def overlap(
    first: np.ndarray, second: np.ndarray, codes: np.ndarray | None = None
) -> dict[str, Any]:
    """How many examples two selections share, beside what chance gives.

    Two independent random selections of a and b among n share ab/n on average (hypergeometric); if
    both draw within classes c, Σ_c a_c·b_c/n_c. Shares are of the smaller selection.

    Args:
        first: bool [n].
        second: bool [n].
        codes: int64 [n]; the class of each example.

    Returns:
        `budgets`, `common` (a count), `share`, `chance`, `chance_within` (shares), `jaccard`.
        Shares are None for an empty selection.
    """
    a, b = int(first.sum()), int(second.sum())
    common = int((first & second).sum())
    smaller, n = min(a, b), first.size
    within = None
    if codes is not None and smaller:
        sizes = [np.bincount(codes[part], minlength=codes.max() + 1) for part in (first, second)]
        expected = sizes[0] * sizes[1] / np.maximum(1, np.bincount(codes))
        within = float(expected.sum() / smaller)
    return {
        "budgets": [a, b],
        "common": common,
        "share": common / smaller if smaller else None,
        "chance": a * b / n / smaller if smaller else None,
        "chance_within": within,
        "jaccard": common / (a + b - common) if a + b else None,
    }


def overlap_curve(first: np.ndarray, second: np.ndarray) -> dict[str, list[float]]:
    """The share that the best k of both rankings have in common, for k = fraction·n.

    A random ranking shares the fraction itself.

    Args:
        first: int64 [n]; ranks, 0 the best.
        second: int64 [n].

    Returns:
        `fractions` and `overlaps`; fractions that are less than one example are left out.
    """
    later = np.sort(np.maximum(first, second))
    budgets = {round(fraction * later.size): fraction for fraction in CURVE}
    budgets.pop(0, None)
    common = np.searchsorted(later, list(budgets))
    return {
        "fractions": list(budgets.values()),
        "overlaps": [int(c) / k for c, k in zip(common, budgets, strict=True)],
    }


def similarity_agreement(
    first: np.ndarray,
    second: np.ndarray,
    codes: np.ndarray | None = None,
    *,
    pairs: int = 100_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Correlation of the similarities ⟨z_i, z_j⟩ of two embeddings, over random pairs.

    Args:
        first: real [n, d]; may be a memory map.
        second: real [n, e].
        codes: int64 [n]; classes, for pairs within them: the similarities that a selection by
            class depends on.
        pairs: how many random pairs, i ≠ j, with replacement.
        seed: of the pairs.

    Returns:
        `pairs`, `pearson`, `spearman`, `pearson_within`, `spearman_within`; None where there is no
        pair or no variation.

    Raises:
        UsageError: fewer than two pairs.
    """
    if pairs < 2:
        raise UsageError("at least two pairs", str(pairs))
    n = first.shape[0]
    found: dict[str, Any] = {"pairs": pairs}
    groups = {"": np.zeros(n, dtype=np.int64), "_within": codes}
    for place, (suffix, group) in enumerate(groups.items()):
        values: tuple[float | None, float | None] = (None, None)
        chosen = None
        if group is not None:
            chosen = _random_pairs(group, pairs, np.random.default_rng([seed, place]))
        if chosen is not None:
            values = _pearson_and_spearman(_products(first, *chosen), _products(second, *chosen))
        found["pearson" + suffix], found["spearman" + suffix] = values
    return found


def _random_pairs(
    codes: np.ndarray, pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Two different rows of one class, the first uniformly among those that have company."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    places = np.flatnonzero(sizes[codes[order]] > 1)
    if not places.size:
        return None
    one = places[rng.integers(places.size, size=pairs)]
    start, size = starts[codes[order[one]]], sizes[codes[order[one]]]
    other = start + (one - start + rng.integers(1, size)) % size
    return order[one], order[other]


def _products(rows: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """⟨z_i, z_j⟩ in float64, a block of pairs at a time."""
    found = np.empty(one.size)
    for block in row_blocks(one.size, 32 * rows.shape[1]):
        left = np.asarray(rows[one[block]], dtype=np.float64)
        found[block] = np.einsum("ij,ij->i", left, rows[other[block]])
    return found


def _pearson_and_spearman(
    first: np.ndarray, second: np.ndarray
) -> tuple[float | None, float | None]:
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None, None
    pearson = float(np.corrcoef(first, second)[0, 1])
    return finite_or_none(pearson), finite_or_none(float(np.asarray(spearmanr(first, second)[0])))
