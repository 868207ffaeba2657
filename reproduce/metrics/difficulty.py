"""Which negatives a trained encoder finds hard: Figs. 4–6 and A.2 of arXiv 2010.06682, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError
from reproduce.metrics.names import Metric, percent

if TYPE_CHECKING:
    from contrasift.negatives.class_pairs import ClassPairs
    from contrasift.negatives.profiles import Profile, Relation
    from reproduce.metrics.subject import Subject

_BANDS = ((0, 5), (0, 50), (0, 95), (85, 90), (90, 95), (95, 100), (99, 100))
_MOST, _REPLICATES = 2000, 3
_LABEL, _DEPTH = "same_class", "depth"
_TOP = 10  # pairs of classes of each kind
_DIGITS = 5  # of what is drawn
SHARE = 0.005  # width of a bin of how often one is hard

DIFFICULTY_METRICS: dict[str, Metric] = {
    _LABEL: percent("same class"),
    **{f"{_LABEL}_{low}_{high}": percent(f"same class, {low}–{high} %") for low, high in _BANDS},
    f"{_LABEL}_excess": percent("same class, the hardest 5 % less the rest"),
    f"{_LABEL}_easiest_excess": percent("same class, the easiest 5 % less all"),
    **{f"similarity_{low}_{high}": Metric(f"cosine, {low}–{high} %") for low, high in _BANDS},
    **{
        f"{_DEPTH}_{low}_{high}": Metric(f"WordNet depth, {low}–{high} %", digits=2)
        for low, high in _BANDS
    },
    f"{_DEPTH}_excess": Metric("WordNet depth, the hardest 5 % less the rest", digits=2),
    f"{_DEPTH}_easiest_excess": Metric(
        "WordNet depth, the easiest 5 % less the easier half", digits=2
    ),
    "hard_for": percent("deviation of how often one is hard"),
    "hard_for_by_chance": percent("the same by chance"),
    "hard_for_excess": percent("how often one is hard: deviation less that by chance"),
    "most_correlated": Metric("most correlated classes: cosine"),
    "most_anticorrelated": Metric("most anti-correlated classes: cosine"),
}


def measure_difficulty(subject: Subject) -> dict[str, Any]:
    """What an encoder's negatives are like by difficulty, after the head, without augmentation.

    Up to 2000 queries and 2000 other negatives of the pool, three draws; means over them. Ranks and
    bands are those of `negatives.difficulty_profile`, depths those of `negatives.wordnet`: they
    are left out where classes have no built-in synsets or the machine has no WordNet, and bands
    that no negative falls into.

    Returns:
        `DIFFICULTY_METRICS` by name. `_excess`: the hardest 5 % less the easiest 95 %; `_easiest_excess`:
        the easiest 5 % less all (classes), or less the easier half (depths). `hard_for`: the standard
        deviation over negatives of the share of queries for which one is among the hardest 5 %.
        And what figures and lists are made of: `by_percentile`, the mean of each measure in each of
        100 bins of difficulty; `hard_for_histogram`, how many negatives are hard for so many
        queries, and after shuffling; `pairs`, the most correlated, anti-correlated and orthogonal
        classes with their mean cosine.

    Raises:
        DataError: fewer than 4 labelled examples.
    """
    from contrasift.embedding.embed import features
    from contrasift.negatives.class_pairs import class_pairs
    from contrasift.negatives.profiles import difficulty_profile

    positions, labels = subject.labelled()
    n = min(_MOST, positions.size // 2)
    if n < 2:
        raise DataError("at least 4 labelled examples", f"{positions.size}")
    layer = "head" if subject.encoder.description["projection_dim"] else "backbone"
    rows = features(
        subject.pool, positions, subject.encoder, layer, device=subject.artifacts.device
    )
    depths = _depths(subject.pool.label_names)
    rng = np.random.default_rng(subject.cell.seed)
    draws = [np.split(rng.permutation(positions.size)[: 2 * n], 2) for _ in range(_REPLICATES)]
    profiles = [
        difficulty_profile(
            rows[queries], rows[negatives], _relations(labels[queries], labels[negatives], depths)
        )
        for queries, negatives in draws
    ]
    queries, negatives = (np.concatenate(part) for part in zip(*draws, strict=True))
    pairs = class_pairs(
        rows[queries], rows[negatives], labels[queries], labels[negatives], top=_TOP
    )
    found = _by_band(profiles) | _consistency(profiles)
    for kind in ("correlated", "anticorrelated"):
        if getattr(pairs, kind):
            found[f"most_{kind}"] = getattr(pairs, kind)[0].similarity
    found["by_percentile"] = _by_percentile(profiles)
    found["pairs"] = _named(pairs, subject.pool.label_names)
    return found


def _depths(names: Sequence[str]) -> np.ndarray | None:
    """WordNet depth of every pair of labels; None where it cannot be had."""
    from contrasift.negatives import wordnet

    synsets, path = wordnet.class_synsets(names), wordnet.find_wordnet()
    if synsets is None or path is None:
        return None
    return wordnet.depth_table(wordnet.read_wordnet(path), synsets)


def _relations(
    queries: np.ndarray, negatives: np.ndarray, depths: np.ndarray | None
) -> Mapping[str, Relation]:
    from contrasift.negatives.profiles import Relation

    relations = {_LABEL: Relation(queries, negatives)}
    if depths is not None:
        relations[_DEPTH] = Relation(queries, negatives, depths)
    return relations


def _by_band(profiles: Sequence[Profile]) -> dict[str, float]:
    """Means over draws and queries."""
    first = profiles[0]
    found = {_LABEL: float(np.mean([profile.overall[_LABEL] for profile in profiles]))}
    for name, bands in first.by_band.items():
        means = {
            band: float(np.mean([profile.by_band[name][band] for profile in profiles]))
            for band in bands
        }
        for low, high in _BANDS:
            if (low, high) in means:
                found[f"{name}_{low}_{high}"] = means[low, high]
        if name != "similarity" and {(0, 95), (95, 100)} <= means.keys():
            found[f"{name}_excess"] = means[95, 100] - means[0, 95]
    for name, rest in ((_LABEL, _LABEL), (_DEPTH, f"{_DEPTH}_0_50")):
        if {f"{name}_0_5", rest} <= found.keys():
            found[f"{name}_easiest_excess"] = found[f"{name}_0_5"] - found[rest]
    return found


def _by_percentile(profiles: Sequence[Profile]) -> dict[str, list[float]]:
    """Where each bin ends, and the mean of every measure in it, over draws and queries."""
    from contrasift.negatives.profiles import shape_over_difficulty

    shapes = {name: shape_over_difficulty(profiles, name) for name in profiles[0].by_bin}
    percentiles = next(iter(shapes.values())).percentile
    return {
        "percentile": _rounded(percentiles),
        **{name: _rounded(shape.mean) for name, shape in shapes.items()},
    }


def _named(pairs: ClassPairs, names: Sequence[str]) -> dict[str, list[list[Any]]]:
    """Class of the query, class of the negative, mean cosine."""
    return {
        kind: [
            [names[one.query], names[one.negative], round(one.similarity, _DIGITS)]
            for one in getattr(pairs, kind)
        ]
        for kind in ("correlated", "anticorrelated", "orthogonal")
    }


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, _DIGITS).tolist()


def _consistency(profiles: Sequence[Profile]) -> dict[str, Any]:
    from contrasift.negatives.contrasts import consistency

    steady = [consistency(profile) for profile in profiles]
    spread = float(np.mean([one.sd for one in steady]))
    chance = float(np.mean([one.expected_sd for one in steady]))
    return {
        "hard_for": spread,
        "hard_for_by_chance": chance,
        "hard_for_excess": spread - chance,
        "hard_for_histogram": {
            "width": SHARE,
            "found": _histogram([one.shares for one in steady]),
            "by_chance": _histogram([one.shuffled for one in steady]),
        },
    }


def _histogram(shares: Sequence[np.ndarray]) -> list[int]:
    """How many negatives have a share in [0, w), [w, 2w), … up to the largest."""
    # Shares of equal counts must not fall to both sides of an edge.
    bins = np.floor(np.concatenate(shares) / SHARE + 1e-6).astype(np.int64)
    return np.bincount(bins).tolist()
