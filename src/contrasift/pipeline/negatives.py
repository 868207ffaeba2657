"""The stage that shows which negatives an encoder finds hard, and which of them are probably false."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.pipeline.comparing import pool_latent_classes
from contrasift.pipeline.preparation import readable_positions
from contrasift.pipeline.run import Run
from contrasift.store.atomic import read_json, sha256_of, write_json
from contrasift.store.run import StageRecord
from contrasift.store.tables import write_table

if TYPE_CHECKING:
    from contrasift.negatives.analysis import ClassPair, LikelyPairs, Profile, Relation

LABEL, LATENT, BOTH, DEPTH = "same class", "same latent class", "both", "WordNet depth"
_LATENT_NOTES = {
    "own": "Latent classes: k-means on these very vectors, so that the estimate errs upwards.",
    "run": "Latent classes: those of the run, found by another encoder.",
}
_GALLERY, _OF_ONE_CLASS = 24, 3


@dataclass(frozen=True)
class NegativesRequest:
    """What to analyse.

    Attributes:
        arm: a training of the run (`full-seed0`, `proxy`); empty: the first there is.
        encoder: a timm name or a .safetensors file instead.
        layer: `head` or `backbone`.
        latent: where latent classes come from: `own` (k-means on the very vectors that are
            analysed) or `run` (classes.parquet, mostly of the proxy).
        queries: how many a draw.
        negatives: how many a draw.
        replicates: draws.
        seed: of the draws.
        wordnet: a `data.noun`; None: the machine's, if there is one.
        synsets: a file that maps classes to synsets; None: what is built in.
    """

    arm: str = ""
    encoder: str = ""
    layer: str = "head"
    latent: str = "own"
    queries: int = 2000
    negatives: int = 2000
    replicates: int = 5
    seed: int = 0
    wordnet: Path | None = None
    synsets: Path | None = None

    def __post_init__(self) -> None:
        """Check counts and choices."""
        if self.arm and self.encoder:
            raise UsageError("--arm or --encoder", "both", "Give only one of them")
        if self.layer not in ("head", "backbone"):
            raise UsageError("--layer to be head or backbone", self.layer)
        if self.latent not in ("own", "run"):
            raise UsageError("--latent to be own or run", self.latent)
        for name in ("queries", "negatives", "replicates"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} of at least 1", str(getattr(self, name)))


def analyse_negatives(run: Run, request: NegativesRequest) -> tuple[StageRecord, Path]:
    """Analyse the negatives of one encoder; negatives/NAME.json, .parquet, -each.parquet, .html.

    Returns:
        The stage's record, and the JSON file.

    Raises:
        RunFolderError: the arm is not trained.
        DataError: fewer examples than queries and negatives need, unusable WordNet files.
    """
    name, source, upstream = _encoder_of(run, request)
    stem = f"negatives/{name}"
    classes = run.folder.path / "classes.parquet"
    inputs = [
        json.dumps({key: str(value) for key, value in vars(request).items()}, sort_keys=True),
        upstream,
        sha256_of(classes) if classes.exists() else "",
    ]
    fingerprint = hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:16]
    files = [f"{stem}{end}" for end in (".json", ".parquet", "-each.parquet", ".html")]

    def work() -> dict[str, Any]:
        from contrasift.training.encoders import load_encoder

        encoder = load_encoder(source, channels=run.pool.channels)
        study = _Study(run, request, encoder)
        result = {"encoder": name, "layer": request.layer, **study.result()}
        path = run.folder.path
        write_json(path / files[0], result)
        write_table(path / files[1], study.by_percentile())
        write_table(path / files[2], study.by_negative())
        from contrasift.report.negatives import write_negatives_page

        write_negatives_page(_page(result, study), path / files[3])
        return {"note": result["sentences"][0]}

    record = run.do(f"negatives {name}", fingerprint, files, work)
    return record, run.folder.path / files[0]


def _encoder_of(run: Run, request: NegativesRequest) -> tuple[str, str, str]:
    """Name, source and fingerprint of the encoder to analyse."""
    if request.encoder:
        path = Path(request.encoder)
        mark = sha256_of(path) if path.is_file() else request.encoder
        return (
            re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else request.encoder),
            (request.encoder),
            mark,
        )
    folder = run.folder.path / "training"
    there = sorted(path.parent.name for path in folder.glob("*/encoder.safetensors"))
    name = request.arm or next(
        (arm for arm in ("full-seed0", "selected-seed0", *there) if arm in there), "proxy"
    )
    if name not in there:
        raise RunFolderError(
            f"a trained encoder {name} in {run.folder.path}",
            f"only {', '.join(there)}" if there else "none",
            f"Train one: contrasift train {run.folder.path} --subset full; or name one with --encoder",
        )
    source = folder / name / "encoder.safetensors"
    return name, str(source), sha256_of(source)


class _Study:
    """All that is measured of one encoder; each part is computed once."""

    def __init__(self, run: Run, request: NegativesRequest, encoder: Any) -> None:
        self.run, self.request = run, request
        self.notes: list[str] = []
        self.positions, self.labels = self._examples()
        self.draws = self._draws()
        self.drawn = np.unique(np.concatenate([part for draw in self.draws for part in draw]))
        self.rows = self._embedded(encoder)
        self.latent = self._latent_classes()
        self.depths = self._depths()

    def _examples(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions in the pool of the examples to draw from, and their label codes."""
        positions = readable_positions(self.run)
        if self.run.pool.labels is None:
            return positions, None
        known = self.run.pool.labels[positions] >= 0
        if not known.all():
            self.notes.append(f"{(~known).sum():,} examples without a label are left out.")
        return positions[known], self.run.pool.labels[positions[known]]

    def _latent_classes(self) -> np.ndarray:
        """The latent class of every example as a code; of none that was not drawn, if `own`."""
        if self.request.latent == "run":
            return pool_latent_classes(self.run)[self.positions]
        from contrasift.classes import latent_classes

        path = self.run.folder.path / "classes.json"
        n_classes = None
        if path.exists():
            n_classes = min(int(read_json(path)["n_classes"]), self.drawn.size)
        elif self.labels is not None:
            n_classes = min(np.unique(self.labels).size, self.drawn.size)
        codes = np.full(self.positions.size, -1, dtype=np.int64)
        found = latent_classes(
            self.rows[self.drawn], n_classes=n_classes, restarts=2, seed=self.request.seed
        )
        codes[self.drawn] = found.codes
        return codes

    def _draws(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of queries and negatives of every replicate, disjoint within each."""
        n = self.positions.size
        if n < 4:
            raise DataError("at least 4 examples to draw queries and negatives from", f"{n}")
        n_queries = min(self.request.queries, n // 2)
        n_negatives = min(self.request.negatives, n - n_queries)
        if (n_queries, n_negatives) != (self.request.queries, self.request.negatives):
            self.notes.append(
                f"The pool has {n:,} examples: {n_queries:,} queries, {n_negatives:,} negatives a draw."
            )
        draws = []
        for replicate in range(self.request.replicates):
            order = np.random.default_rng([self.request.seed, replicate]).permutation(n)
            draws.append((order[:n_queries], order[n_queries : n_queries + n_negatives]))
        return draws

    def _embedded(self, encoder: Any) -> np.ndarray:
        """The encoder's output for every example that was drawn; other rows stay zero."""
        from contrasift.embedding import features

        with self.run.narrator.progress("embedding") as progress:
            values = features(
                self.run.pool,
                self.positions[self.drawn],
                encoder,
                self.request.layer,
                device=self.run.device,
                progress=progress,
            )
        rows = np.zeros((self.positions.size, values.shape[1]), dtype=np.float32)
        rows[self.drawn] = values
        return rows

    def _depths(self) -> np.ndarray | None:
        """WordNet depth of every pair of labels; None, with a note, where it cannot be had."""
        from contrasift.negatives import wordnet

        if self.labels is None:
            return None
        given = (
            {} if self.request.synsets is None else wordnet.read_synset_file(self.request.synsets)
        )
        synsets = wordnet.class_synsets(self.run.pool.label_names, given)
        if synsets is None:
            if given:
                raise DataError(
                    f"a synset for every class in {self.request.synsets}",
                    "classes without one, which are not built in either",
                )
            self.notes.append(
                "No WordNet similarity: these classes have no built-in synsets (give them with --synsets)."
            )
            return None
        path = self.request.wordnet or wordnet.find_wordnet()
        if path is None:
            self.notes.append(f"No WordNet similarity. {wordnet.HOW_TO_GET}.")
            return None
        return wordnet.depth_table(wordnet.read_wordnet(path), synsets)

    def _relations(self, draw: tuple[np.ndarray, np.ndarray]) -> dict[str, Relation]:
        from contrasift.negatives.analysis import Relation

        def codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return values[draw[0]], values[draw[1]]

        relations = {}
        if self.labels is not None:
            relations[LABEL] = Relation(*codes(self.labels))
        relations[LATENT] = Relation(*codes(self.latent))
        if self.labels is not None:
            both = self.latent * (1 + int(self.labels.max())) + self.labels
            relations[BOTH] = Relation(*codes(both))
        if self.labels is not None and self.depths is not None:
            relations[DEPTH] = Relation(*codes(self.labels), self.depths)
        return relations

    @cached_property
    def profiles(self) -> list[Profile]:
        """One a replicate."""
        from contrasift.negatives.analysis import difficulty_profile

        found = []
        with self.run.narrator.progress("ranking negatives", "draws") as progress:
            for number, draw in enumerate(self.draws):
                queries, negatives = self.rows[draw[0]], self.rows[draw[1]]
                found.append(
                    difficulty_profile(
                        queries, negatives, self._relations(draw), seed=self.request.seed + number
                    )
                )
                progress(number + 1, len(self.draws))
        return found

    @property
    def measures(self) -> list[str]:
        """Names of what was measured."""
        return [name for name in self.profiles[0].by_bin if name != BOTH]

    def result(self) -> dict[str, Any]:
        """All numbers, as plain values."""
        from contrasift.negatives.analysis import (
            consistency,
            contrast,
            false_negatives,
            suggest_band,
        )

        queries, negatives = self.draws[0]
        bands = {
            f"{band[0]:g}-{band[1]:g}": {
                name: float(np.mean([profile.by_band[name][band] for profile in self.profiles]))
                for name in self.measures
            }
            for band in self.profiles[0].by_band["similarity"]
        }
        tests = {
            name: dataclasses.asdict(contrast(self.profiles, name, seed=self.request.seed))
            for name in self.measures
        }
        steady = [consistency(profile) for profile in self.profiles]
        result: dict[str, Any] = {
            "queries": queries.size,
            "negatives": negatives.size,
            "replicates": len(self.draws),
            "notes": self.notes,
            "bands": bands,
            "overall": {
                name: float(np.mean([profile.overall[name] for profile in self.profiles]))
                for name in self.measures
            },
            "hardest_5_percent_against_the_rest": tests,
            "consistency": [
                {
                    key: value
                    for key, value in vars(one).items()
                    if key not in ("shares", "shuffled")
                }
                for one in steady
            ],
        }
        label, both = (LABEL, BOTH) if self.labels is not None else ("", "")
        estimates = false_negatives(self.profiles, LATENT, label, both)
        result["latent_classes"] = self.request.latent
        result["false_negatives"] = [dataclasses.asdict(one) for one in estimates]
        result["suggestion"] = dataclasses.asdict(suggest_band(estimates))
        if self.labels is not None:
            result["class_pairs"] = self._class_pairs()
        result["likeliest_false_negatives"] = [
            {
                "query": int(self.run.pool.index[self.positions[query]]),
                "negative": int(self.run.pool.index[self.positions[negative]]),
                "similarity": float(similarity),
                **self._names(query, negative),
            }
            for query, negative, similarity in self.likely
        ]
        return {"sentences": _sentences(result), **result}

    @cached_property
    def likely(self) -> list[tuple[int, int, float]]:
        """Rows and cosine of the likeliest false negatives of the first draw, a few of each class."""
        from contrasift.negatives.analysis import likeliest_false_negatives

        queries, negatives = self.draws[0]
        same = self._relations(self.draws[0])[LATENT]
        found: LikelyPairs = likeliest_false_negatives(
            self.rows[queries], self.rows[negatives], same, queries.size
        )
        pairs, taken = [], Counter[int]()
        for a, b, similarity in zip(found.queries, found.negatives, found.similarity, strict=True):
            group = int(self.latent[queries[a]])
            taken[group] += 1
            if taken[group] <= _OF_ONE_CLASS:
                pairs.append((int(queries[a]), int(negatives[b]), float(similarity)))
        return pairs[:_GALLERY]

    def _names(self, query: int, negative: int) -> dict[str, str]:
        if self.labels is None:
            return {}
        names = self.run.pool.label_names
        return {
            "query_label": names[self.labels[query]],
            "negative_label": names[self.labels[negative]],
        }

    def _class_pairs(self) -> dict[str, Any]:
        from contrasift.negatives.analysis import class_pairs

        assert self.labels is not None  # the caller checked
        queries, negatives = (np.concatenate(part) for part in zip(*self.draws, strict=True))
        found = class_pairs(
            self.rows[queries], self.rows[negatives], self.labels[queries], self.labels[negatives]
        )
        names = self.run.pool.label_names

        def plain(pairs: Sequence[ClassPair]) -> list[dict[str, Any]]:
            return [
                {**vars(pair), "query": names[pair.query], "negative": names[pair.negative]}
                for pair in pairs
            ]

        return {
            "pairs": found.n_pairs,
            "at_least": found.fewest,
            "most_correlated": plain(found.correlated),
            "most_anticorrelated": plain(found.anticorrelated),
            "most_orthogonal": plain(found.orthogonal),
        }

    def by_percentile(self) -> dict[str, object]:
        """Every measure in every bin of every replicate."""
        columns: dict[str, list[np.ndarray]] = {
            name: [] for name in ("replicate", "percentile", *self.measures)
        }
        for replicate, profile in enumerate(self.profiles):
            ends = 100 * profile.edges[1:] / profile.n
            columns["replicate"].append(np.full(ends.size, replicate))
            columns["percentile"].append(ends)
            for name in self.measures:
                columns[name].append(profile.by_bin[name].mean(axis=0))
        return {name.replace(" ", "_"): np.concatenate(parts) for name, parts in columns.items()}

    def by_negative(self) -> dict[str, object]:
        """How often each negative was hard in every replicate."""
        index = self.run.pool.index[self.positions]
        n_queries = self.draws[0][0].size
        return {
            "replicate": np.repeat(np.arange(len(self.draws)), self.draws[0][1].size),
            "index": np.concatenate([index[negatives] for _, negatives in self.draws]),
            "hard_share": np.concatenate([p.hard_counts for p in self.profiles]) / n_queries,
            "shuffled_share": np.concatenate([p.shuffled_counts for p in self.profiles])
            / n_queries,
        }


# In words ------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.1f} %"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _sentences(result: Mapping[str, Any]) -> list[str]:
    """What the numbers say, most important first."""
    tests, found = result["hardest_5_percent_against_the_rest"], []
    if LABEL in tests:
        test = tests[LABEL]
        found.append(
            f"Of the hardest 5 % of negatives {_percent(test['hard']['mean'])} share the query's "
            f"class, of the rest {_percent(test['rest']['mean'])} (p = {_p(test['p'])})."
        )
    policy, reason = result["suggestion"]["policy"], result["suggestion"]["reason"]
    found.append(
        f"Suggestion: drop nothing; {reason}."
        if policy == "all"
        else f'Suggestion: --negatives "{policy}"; {reason}.'
    )
    if DEPTH in tests:
        test = tests[DEPTH]
        found.append(
            f"The deepest common WordNet kind lies at depth {test['hard']['mean']:.2f} for the "
            f"hardest 5 % and {test['rest']['mean']:.2f} for the rest (p = {_p(test['p'])})."
        )
    steady = result["consistency"][0]
    found.append(
        f"How often a negative is hard varies {steady['sd'] / steady['expected_sd']:.1f} times as "
        f"much as by chance (Cochran's Q, p = 10^{steady['log10_p']:.0f})."
    )
    bands = result["bands"]
    if "0-5" in bands:
        found.append(
            f"The easiest 5 % have a mean cosine of {bands['0-5']['similarity']:.3f}, the hardest "
            f"5 % of {bands['95-100']['similarity']:.3f}."
        )
    return found


def _page(result: Mapping[str, Any], study: _Study) -> Any:
    from contrasift.negatives.analysis import consistency, shape_over_difficulty
    from contrasift.report.negatives import Curve, ImagePair, NegativesPage
    from contrasift.report.thumbnails import thumbnail

    titles = {"similarity": "mean cosine", LABEL: "share of the same class"}
    titles |= {LATENT: "share of the same latent class", DEPTH: "depth of the deepest common kind"}
    curves = []
    for name in study.measures:
        shape = shape_over_difficulty(study.profiles, name)
        curves.append(
            Curve(
                titles[name],
                *(
                    [] if part is None else part.tolist()
                    for part in (shape.percentile, shape.mean, shape.low, shape.high)
                ),
            )
        )
    steady = consistency(study.profiles[0])
    pairs = []
    for query, negative, similarity in study.likely:
        names = study._names(query, negative)
        images = study.run.pool.images(study.positions[[query, negative]])
        first, second = (thumbnail(image.transpose(1, 2, 0), side=64) for image in images)
        caption = " / ".join(dict.fromkeys(names.values()))
        pairs.append(ImagePair(first, second, similarity, caption))
    return NegativesPage(
        title=f"Negatives of {result['encoder']}",
        summary=[*result["sentences"], *result["notes"]],
        curves=curves,
        hard_shares=steady.shares.tolist(),
        shuffled_shares=steady.shuffled.tolist(),
        tables=_tables(result, study.measures),
        pairs=pairs,
    )


def _tables(result: Mapping[str, Any], measures: Sequence[str]) -> list[Any]:
    from contrasift.report.negatives import Table

    def cell(name: str, value: float) -> str:
        return f"{value:.3f}" if name in ("similarity", DEPTH) else _percent(value)

    def end(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    tables = [
        Table(
            "Bands",
            ["percentiles of difficulty", *measures],
            [
                [band, *(cell(name, values[name]) for name in measures)]
                for band, values in [*result["bands"].items(), ("all", result["overall"])]
            ],
            f"Means over {result['replicates']} draws of {result['queries']:,} queries and {result['negatives']:,} negatives.",
        ),
        Table(
            "The hardest 5 % against the rest",
            ["measure", "hardest 5 %", "rest", "t", "p", "difference", "95 % interval", "p"],
            [
                [
                    name,
                    cell(name, test["hard"]["mean"]),
                    cell(name, test["rest"]["mean"]),
                    "–" if test["t"] is None else f"{test['t']:.1f}",
                    _p(test["p"]),
                    end(test["difference"]),
                    f"{end(test['low'])} to {end(test['high'])}",
                    _p(test["bootstrap_p"]),
                ]
                for name, test in result["hardest_5_percent_against_the_rest"].items()
            ],
            "First an unpaired t-test between the means of the draws, then a bootstrap over queries.",
        ),
    ]
    if "false_negatives" in result:
        rows = []
        for item in result["false_negatives"]:
            numbers = (item[key] for key in ("estimate", "truth", "precision", "recall"))
            low, high = item["band"]
            rows.append(
                [f"{low:g}-{high:g}", *("–" if x is None else _percent(x) for x in numbers)]
            )
        tables.append(
            Table(
                "False negatives, estimated without labels",
                ["percentiles", "same latent class", "same class", "precision", "recall"],
                rows,
                "Precision: of those with the query's latent class, the share with its class; recall the other way round. "
                + _LATENT_NOTES[result["latent_classes"]],
            )
        )
    pairs = result.get("class_pairs", {})
    for key, title in (
        ("most_correlated", "Most correlated classes"),
        ("most_anticorrelated", "Most anti-correlated classes"),
        ("most_orthogonal", "Most orthogonal classes"),
    ):
        if pairs.get(key):
            tables.append(
                Table(
                    title,
                    ["query's class", "negative's class", "mean cosine", "pairs of examples"],
                    [
                        [
                            pair["query"],
                            pair["negative"],
                            f"{pair['similarity']:.4g}",
                            f"{pair['count']:,}",
                        ]
                        for pair in pairs[key]
                    ],
                    f"Of {pairs['pairs']:,} pairs of different classes with at least {pairs['at_least']} pairs of examples.",
                )
            )
    return tables
