"""Everything that is measured of the negatives of one encoder, each part once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError
from contrasift.options.negatives import NegativesRequest
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.pipeline.stages.train import pool_latent_classes
from contrasift.pipeline.studies.negatives_page import (
    AGREED,
    BOTH,
    DEPTH,
    LABEL,
    LATENT,
    negative_sentences,
)
from contrasift.store.atomic import read_json

if TYPE_CHECKING:
    from contrasift.negatives.class_pairs import ClassPair
    from contrasift.negatives.false_negatives import LikelyPairs
    from contrasift.negatives.profiles import Profile, Relation
    from contrasift.report.negatives import ImagePair

_GALLERY, _OF_ONE_CLASS = 24, 3


class Study:
    """All that is measured of one encoder; each part is computed once."""

    def __init__(self, run: Run, request: NegativesRequest, encoder: Any) -> None:
        self.run: Run = run
        self.request: NegativesRequest = request
        self.notes: list[str] = []
        positions, labels = self._examples()
        self.positions: np.ndarray = positions
        self.labels: np.ndarray | None = labels
        self.draws: list[tuple[np.ndarray, np.ndarray]] = self._draws()
        self.drawn: np.ndarray = np.unique(
            np.concatenate([part for draw in self.draws for part in draw])
        )
        self.rows: np.ndarray = self._embedded(encoder)
        self.latent: np.ndarray = self._latent_classes(request.latent)
        self.other: np.ndarray | None = self._other_latent_classes(encoder)
        self.depths: np.ndarray | None = self._depths()

    def _examples(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions in the pool of the examples to draw from, and their label codes."""
        positions = readable_positions(self.run)
        if self.run.pool.labels is None:
            return positions, None
        known = self.run.pool.labels[positions] >= 0
        if not known.all():
            self.notes.append(f"{(~known).sum():,} examples without a label are left out.")
        return positions[known], self.run.pool.labels[positions[known]]

    def _latent_classes(self, source: str) -> np.ndarray:
        """The latent class of every example as a code; of none that was not drawn, if `own`."""
        if source == "run":
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
            self.rows[self.drawn],
            method="kmeans",
            n_classes=n_classes,
            whiten=0,
            restarts=2,
            seed=self.request.seed,
        )
        codes[self.drawn] = found.codes
        return codes

    def _other_latent_classes(self, encoder: Any) -> np.ndarray | None:
        """Latent classes by another encoder than the first ones; None where there are none.

        Of the two it is those of the run and k-means on these vectors.
        """
        from contrasift.training.encoders import weights_sha256

        path = self.run.folder.path
        if not (path / "classes.parquet").exists():
            return None
        found_by = read_json(path / "classes.json").get("method", "kmeans")
        made_by = read_json(path / f"{self.run.folder.matrix}.json").get("weights_sha256")
        if found_by == "labels" or made_by == weights_sha256(encoder):
            return None
        return self._latent_classes("own" if self.request.latent == "run" else "run")

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
        from contrasift.embedding.embed import features

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
        chosen = self.request.synsets
        given = wordnet.read_synset_file(Path(chosen).expanduser()) if chosen else {}
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
        path = wordnet.find_wordnet()
        if self.request.wordnet:
            path = Path(self.request.wordnet).expanduser()
        if path is None:
            self.notes.append(f"No WordNet similarity. {wordnet.HOW_TO_GET}.")
            return None
        return wordnet.depth_table(wordnet.read_wordnet(path), synsets)

    def _relations(self, draw: tuple[np.ndarray, np.ndarray]) -> dict[str, Relation]:
        from contrasift.negatives.profiles import Relation

        def codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return values[draw[0]], values[draw[1]]

        relations = {}
        if self.labels is not None:
            relations[LABEL] = Relation(*codes(self.labels))
        relations[LATENT] = Relation(*codes(self.latent))
        if self.other is not None:
            agreed = self.latent * (1 + int(self.other.max())) + self.other
            relations[AGREED] = Relation(*codes(agreed))
        if self.labels is not None:
            both = self.latent * (1 + int(self.labels.max())) + self.labels
            relations[BOTH] = Relation(*codes(both))
        if self.labels is not None and self.depths is not None:
            relations[DEPTH] = Relation(*codes(self.labels), self.depths)
        return relations

    @cached_property
    def profiles(self) -> list[Profile]:
        """One a replicate."""
        from contrasift.negatives.profiles import difficulty_profile

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
        return [name for name in self.profiles[0].by_bin if name not in (BOTH, AGREED)]

    def result(self) -> dict[str, Any]:
        """All numbers, as plain values."""
        from contrasift.negatives.contrasts import consistency, contrast
        from contrasift.negatives.false_negatives import false_negatives, suggest_band

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
        agreed = AGREED if self.other is not None else ""
        estimates = false_negatives(self.profiles, LATENT, label, both, agreed)
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
                **self.names_of(query, negative),
            }
            for query, negative, similarity in self.likely
        ]
        return {"sentences": negative_sentences(result), **result}

    @cached_property
    def likely(self) -> list[tuple[int, int, float]]:
        """Rows and cosine of the likeliest false negatives of the first draw, a few of each class."""
        from contrasift.negatives.false_negatives import likeliest_false_negatives

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

    def pictures(self) -> list[ImagePair]:
        """The images of the likeliest false negatives, with the names of their labels."""
        from contrasift.report.negatives import ImagePair
        from contrasift.report.thumbnails import thumbnail

        pairs = []
        for query, negative, similarity in self.likely:
            images = self.run.pool.images(self.positions[[query, negative]])
            first, second = (thumbnail(image.transpose(1, 2, 0), side=64) for image in images)
            caption = " / ".join(dict.fromkeys(self.names_of(query, negative).values()))
            pairs.append(ImagePair(first, second, similarity, caption))
        return pairs

    def names_of(self, query: int, negative: int) -> dict[str, str]:
        """The labels of a pair of rows, by name; empty without labels."""
        if self.labels is None:
            return {}
        names = self.run.pool.label_names
        return {
            "query_label": names[self.labels[query]],
            "negative_label": names[self.labels[negative]],
        }

    def _class_pairs(self) -> dict[str, Any]:
        from contrasift.negatives.class_pairs import class_pairs

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
