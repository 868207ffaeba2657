"""Remedies of the parts below the command line, followed."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import contrasift as cs
from contrasift import negatives
from contrasift.arrays import check_fraction
from contrasift.class_names import plain_names
from contrasift.classes.given import check_known
from contrasift.classes.neighbours import check_memory
from contrasift.classes.zero_shot import zero_shot_classes
from contrasift.errors import ContrasiftError
from contrasift.ids import as_ids, check_unique, uid_halves
from contrasift.matrices import open_embeddings
from contrasift.matrices.skipping import leave_out_bad
from contrasift.mining.forms import training_table
from contrasift.negatives.queue import check_tensors
from contrasift.negatives.wordnet import read_wordnet
from contrasift.options import ClassesOptions, MatrixOptions, RunOptions
from contrasift.options.negatives import NegativesRequest
from contrasift.options.switching import SwitchOptions
from contrasift.pools import NAMED, binary, scan_pool
from contrasift.selection.budget import Shares, resolve_budget
from contrasift.selection.checks import check_places
from contrasift.selection.diagnostics.curves import coverage_and_centre_curve
from contrasift.selection.kernels.dots import embedding_rows
from contrasift.selection.objectives.coverage import centre_gains, greedy_coverage
from contrasift.selection.objectives.threshold import check_threshold
from contrasift.selection.rule import LinearRule
from contrasift.store.pairs import read_pairs
from contrasift.store.shards import ShardFolder
from contrasift.theory import coupon, terms
from contrasift.theory.guarantees import subset_class
from contrasift.theory.urns import urn_from_counts, urn_from_priors
from contrasift.training.sampler import SelectedSampler
from remedies.cases import images, picture, pictures, rows, saved, table, written

N = 12
HALF = {"fraction": 0.5}
LABELS = [0, 1] * (N // 2)


def unit(n: int = N, d: int = 3) -> np.ndarray:
    return (rows(n, d) / np.linalg.norm(rows(n, d), axis=1, keepdims=True)).astype(np.float32)


def spoilt(value: float) -> np.ndarray:
    values = rows()
    values[2] = value
    return values


CLASSES = {
    "masked labels": (
        lambda: cs.select(rows(), np.ma.masked_array(LABELS, [1] + [0] * 11), **HALF),
        "Leave those examples out",
        lambda: cs.select(rows()[1:], np.ma.masked_array(LABELS)[1:], **HALF),
    ),
    "names of a type": (
        lambda: plain_names(np.array(LABELS, dtype="datetime64[s]")),
        "int64 or a string array",
        lambda: plain_names(np.array(LABELS, dtype="datetime64[s]").astype(str)),
    ),
    "text and integers": (
        lambda: cs.select(rows(), np.array([0, "a"] * 6, dtype=object), **HALF),
        "as text",
        lambda: cs.select(rows(), ["0", "a"] * 6, **HALF),
    ),
    "bytes that are no UTF-8": (
        lambda: plain_names(np.array([b"\xff", b"a"])),
        "as text",
        lambda: plain_names(["\xff", "a"]),
    ),
    "floats that skip integers": (
        lambda: cs.select(rows(), np.array([2.0**53, 0.0] * 6), **HALF),
        "int64",
        lambda: cs.select(rows(), np.array([2.0**53, 0.0] * 6).astype(np.int64), **HALF),
    ),
    "one of each class": (
        lambda: check_known([0, 1, -1, -1], 4, 3),
        "Label one example of each",
        lambda: check_known([0, 1, 2, -1], 4, 3),
    ),
    "memory of the graph": (
        lambda: check_memory(100_000, 64, 10, 430 << 20),
        "whiten=32",
        lambda: (
            check_memory(100_000, 32, 10, 600 << 20),
            check_memory(100_000, 64, 5, 600 << 20),
            check_memory(1_000, 64, 10, 430 << 20),
        ),
    ),
    "as wide as the texts": (
        lambda: zero_shot_classes(rows(), unit(2, 4), ["a", "b"]),
        "image tower",
        lambda: zero_shot_classes(rows(N, 4), unit(2, 4), ["a", "b"]),
    ),
    "zero-shot by names": (
        lambda: ClassesOptions(classes="zero-shot"),
        "imagenet-1k",
        lambda: ClassesOptions(classes="zero-shot", class_names="imagenet-1k"),
    ),
    "share of labels": (
        lambda: ClassesOptions(classes="few-labels", label_share=3.0),
        "0.01",
        lambda: ClassesOptions(classes="few-labels", label_share=0.01),
    ),
    "a method by name": (
        lambda: MatrixOptions(classes="kmean"),
        "kmeans",
        lambda: MatrixOptions(classes="kmeans"),
    ),
    "a file by the name of a method": (
        lambda: MatrixOptions(classes="labels"),
        "./labels",
        lambda: (written("a\n" * N, "labels"), MatrixOptions(classes="./labels")),
    ),
}
SELECTING = {
    "finite rows to measure": (
        lambda: cs.evaluate(spoilt(np.nan), LABELS, rows(), LABELS),
        "Leave these examples out",
        lambda: cs.evaluate(np.delete(rows(), 2, 0), np.delete(LABELS, 2), rows(), LABELS),
    ),
    "a fraction": (
        lambda: check_fraction(20.0),
        "0.2",
        lambda: check_fraction(0.2),
    ),
    "neither": (
        lambda: resolve_budget(N),
        "exactly one",
        lambda: (resolve_budget(N, budget=4), resolve_budget(N, fraction=0.5)),
    ),
    "fewer kept than the budget": (
        lambda: check_places(N, 1, np.array([0, 1]), None),
        "Raise the budget",
        lambda: check_places(N, 2, np.array([0, 1]), None),
    ),
    "fewer excluded": (
        lambda: check_places(N, 8, None, np.arange(N) < 6),
        "exclude fewer rows",
        lambda: (
            check_places(N, 6, None, np.arange(N) < 6),
            check_places(N, 8, None, np.arange(N) < 8),
        ),
    ),
    "a sample with a spread": (
        lambda: coverage_and_centre_curve(unit(), np.arange(N), sample=1),
        "no spread",
        lambda: coverage_and_centre_curve(unit(), np.arange(N), sample=2),
    ),
    "rows in order": (
        lambda: embedding_rows(rows()),
        "np.ascontiguousarray",
        lambda: embedding_rows(np.ascontiguousarray(rows(), dtype=np.float32)),
    ),
    "one of both": (
        lambda: resolve_budget(N, budget=4, fraction=0.5),
        "exactly one",
        lambda: (resolve_budget(N, budget=4), resolve_budget(N, fraction=0.5)),
    ),
    "a budget of all": (
        lambda: Shares.of(np.array([3, 3]), available=np.array([2, 2])).allocate(5),
        "Lower the budget, or shorten",
        lambda: (
            Shares.of(np.array([3, 3]), available=np.array([2, 2])).allocate(4),
            Shares.of(np.array([3, 3]), available=np.array([3, 3])).allocate(5),
        ),
    ),
    "epsilon": (
        lambda: greedy_coverage(unit(), 4, epsilon=2.0, seed=0),
        "0.1",
        lambda: greedy_coverage(unit(), 4, epsilon=0.1, seed=0),
    ),
    "the centre alone": (
        lambda: greedy_coverage(unit(), 4, coverage_weight=0.0, centre_weight=1.0),
        "centre_gains",
        lambda: centre_gains(unit()),
    ),
    "a threshold": (
        lambda: check_threshold(2.0),
        "0.5",
        lambda: check_threshold(0.5),
    ),
    "shorter rows": (
        lambda: cs.select(rows() * 1e30, **HALF, threshold=0.1, normalize="none"),
        "Scale the embeddings",
        lambda: cs.select(rows(), **HALF, threshold=0.1, normalize="none"),
    ),
    "rows of length one to cover": (
        lambda: cs.select(rows() * 1e30, **HALF, objective="coverage-centre", normalize="none"),
        "length one",
        lambda: cs.select(rows() * 1e30, **HALF, objective="coverage-centre"),
    ),
    "the rule's width": (
        lambda: list(a_rule().judge(rows(N, 4))),
        "same encoder",
        lambda: list(a_rule().judge(rows())),
    ),
    "no unknown option": (
        lambda: RunOptions.from_mapping({"pool": {"pool": "x"}, "select": {"fractio": 0.2}}),
        "fraction",
        lambda: RunOptions.from_mapping({"pool": {"pool": "x"}, "select": {"fraction": 0.2}}),
    ),
    "no unknown section": (
        lambda: RunOptions.from_mapping({"pool": {"pool": "x"}, "selct": {}}),
        "select",
        lambda: RunOptions.from_mapping({"pool": {"pool": "x"}, "select": {}}),
    ),
    "an arm or an encoder": (
        lambda: NegativesRequest(arm="a", encoder="b"),
        "only one",
        lambda: (NegativesRequest(arm="a"), NegativesRequest(encoder="b")),
    ),
    "half of the epochs": (
        lambda: SwitchOptions(select_after=8).epochs(8),
        "a quarter",
        lambda: SwitchOptions(select_after=2).epochs(8),
    ),
    "a choice of words": (
        lambda: cs.select(rows(), **HALF, optimizer="greed"),
        "greedy",
        lambda: cs.select(rows(), **HALF, optimizer="greedy"),
    ),
}


def a_rule() -> Any:
    return LinearRule.from_arrays(cs.select(rows(), fraction=0.3, optimizer="relaxed").rule)


def mined_by_ids(**given: Any) -> None:
    """Pairs of row numbers, for embeddings with ids."""
    found = open_embeddings(table(z=list(rows()), id=[f"x{n}" for n in range(N)]), **given)
    ids = found.ids
    read_pairs(saved(np.array([[0, 1]]), "p.npy"), ids, ids, "positives")


def shards(*extra: Any) -> ShardFolder:
    folder = ShardFolder(Path("shards"), "f")
    written("content", "shards/00000-a")
    folder.finish(0, ["a"])
    return folder


IDS = {
    "ids without nulls": (
        lambda: as_ids(pa.array(["a", None]), "x"),
        "id='none'",
        lambda: open_embeddings(table(z=list(rows()), id=[None, *"abcdefghijk"]), id="none"),
    ),
    "every id once": (
        lambda: check_unique(as_ids(["a", "a"], "x"), "x"),
        "id='none'",
        lambda: open_embeddings(table(z=list(rows()), id=["a"] * N), id="none"),
    ),
    "uids": (
        lambda: uid_halves(as_ids(["a"], "x")),
        "Export ids instead",
        lambda: as_ids(["a"], "x"),
    ),
    "metadata of as many rows": (
        lambda: open_embeddings(
            [saved(rows(), "m/z.npy"), table("m/z.parquet", id=[1, 2])] and "m/*.npy"
        ),
        "id='none'",
        lambda: (table("m/z.parquet", id=list(range(N))), open_embeddings("m/*.npy", id="none")),
    ),
    "a file of ids": (
        lambda: open_embeddings(saved(rows()), id="uid"),
        "Name a file of ids",
        lambda: (
            open_embeddings("z.npy", id=str(saved(np.arange(N), "i.npy"))).ids,
            open_embeddings("z.npy", id=str(written("a\nb\nc\n" * 4, "i.txt"))),
            open_embeddings("z.npy", id=f"{table(x=list(range(N)))}:x").ids,
        ),
    ),
    "a column of the table": (
        lambda: (
            open_embeddings(saved(rows()), id=str(table(x=list(range(N)), y=list(range(N))))).ids
        ),
        "t.parquet:COLUMN",
        lambda: open_embeddings("z.npy", id="t.parquet:x").ids,
    ),
    "pairs in two columns": (
        lambda: read_pairs(saved(np.arange(4), "p.npy"), None, None, "positives"),
        "[m, 2]",
        lambda: (
            read_pairs(saved(np.arange(4).reshape(2, 2), "p.npy"), None, None, "positives"),
            read_pairs(table("p.parquet", query=[0], positive=[1]), None, None, "positives"),
        ),
    ),
    "columns by name": (
        lambda: read_pairs(table("p.parquet", a=[0], b=[1], c=[1]), None, None, "positives"),
        "`query` and `positive`",
        lambda: read_pairs(
            table("p.parquet", query=[0], positive=[1], score=[1]), None, None, "positives"
        ),
    ),
    "ids of the embeddings": (
        lambda: read_pairs(table("p.parquet", query=["a"], positive=["b"]), None, None, "pairs"),
        "id=",
        lambda: read_pairs("p.parquet", as_ids(["a", "c"], "x"), as_ids(["b", "d"], "x"), "pairs"),
    ),
    "pairs of row numbers": (
        mined_by_ids,
        "id='none'",
        lambda: mined_by_ids(id="none"),
    ),
    "the same command again": (
        lambda: shards().entry(1),
        "Repeat",
        lambda: (written("x", "shards/00001-a"), shards().finish(1, ["a"]), shards().entry(1)),
    ),
    "an entry deleted": (
        lambda: (shards(), written("CONTENT", "shards/00000-a"), shards2().entry(0)),
        "Delete shards/00000.json",
        lambda: (Path("shards/00000.json").unlink(), shards().entry(0)),
    ),
}


def shards2() -> ShardFolder:
    return ShardFolder(Path("shards"), "f")


MATRICES = {
    "moved away": (
        lambda: open_embeddings(
            [saved(rows()), written(json.dumps(DESCRIBED), "z.json")] and "z.npy"
        ),
        "Move the matrix away",
        lambda: (Path("z.npy").rename("other.npy"), open_embeddings("other.npy")),
    ),
    "flattened": (
        lambda: open_embeddings(np.savez("a.npz", x=rows(N, 6).reshape(N, 2, 3)) or "a.npz:x"),
        "Flatten",
        lambda: (np.savez("a.npz", x=rows(N, 6)), open_embeddings("a.npz:x")),
    ),
    "the ending .lance": (
        lambda: (Path("t/_versions").mkdir(parents=True), open_embeddings("t")),
        "Rename it",
        lambda: renamed_table(),
    ),
    "one tower": (
        lambda: open_embeddings(
            [saved(rows(), f"c/{kind}_emb/{kind}_emb_0.npy") for kind in ("img", "text")] and "c"
        ),
        "column='img_emb'",
        lambda: open_embeddings("c", column="img_emb"),
    ),
    "a pattern in quotes": (
        lambda: open_embeddings(saved(rows(), "s/a.npy") and "s/*.npz"),
        "'shards/*.npy' in quotes",
        lambda: open_embeddings("s/*.npy"),
    ),
    "whole numbers without nulls": (
        lambda: open_embeddings(
            table(z=pa.array([[1, 2], [None, 4]], pa.list_(pa.int8()))), scale=1
        )[:],
        "Leave such rows out",
        lambda: open_embeddings(table(z=pa.array([[1, 2], [3, 4]], pa.list_(pa.int8()))), scale=1)[
            :
        ],
    ),
    "Arrow written again": (
        lambda: open_embeddings(written("no arrow", "a.arrow")),
        "Write it again",
        lambda: open_embeddings(feather("a.arrow")),
    ),
    "HDF5 copied again": (
        lambda: open_embeddings(written("no HDF5", "a.h5")),
        "Copy it again",
        lambda: open_embeddings(hdf5("a.h5")),
    ),
    "safetensors written again": (
        lambda: open_embeddings(written(b"\x08" + bytes(20), "a.safetensors")),
        "Write it again",
        lambda: open_embeddings(tensors("a.safetensors")),
    ),
    "the tensor itself": (
        lambda: open_embeddings(torch.save({"a": torch.nn.Identity()}, "a.pt") or "a.pt"),
        "torch.save(embeddings, path)",
        lambda: (
            torch.save(torch.from_numpy(rows()), "a.pt"),
            open_embeddings("a.pt"),
            torch.save({"z": torch.from_numpy(rows())}, "a.pt"),
            open_embeddings("a.pt"),
        ),
    ),
    "a bomb": (
        lambda: open_embeddings(np.savez_compressed("b.npz", z=np.zeros((1 << 15, 64))) or "b.npz"),
        "numpy.save",
        lambda: open_embeddings(saved(np.load("b.npz")["z"])),
    ),
    "embedded again": (
        lambda: leave_out_bad(open_embeddings(np.zeros((4, 2)))),
        "Embed again",
        lambda: leave_out_bad(open_embeddings(rows())),
    ),
    "an object by name": (
        lambda: open_embeddings("memory://bucket/folder"),
        "/embeddings.npy",
        lambda: open_embeddings(in_memory("bucket/folder/embeddings.npy", rows())),
    ),
}
DESCRIBED = {"sha256": "0" * 64, "normalised": "mean"}


def renamed_table() -> None:
    """A table that was written as `t.lance` and lost its ending."""
    with pytest.raises(ContrasiftError) as caught:  # as far as the ending goes
        Path("t").rename("t.lance")
        open_embeddings("t.lance")
    assert "another name" not in str(caught.value)


def feather(name: str) -> str:
    from pyarrow import feather as writer

    writer.write_feather(pa.table({"z": list(rows())}), name)
    return name


def hdf5(name: str) -> str:
    import h5py

    with h5py.File(name, "w") as file:
        file["z"] = rows()
    return name


def tensors(name: str) -> str:
    from safetensors.numpy import save_file

    save_file({"z": rows()}, name)
    return name


def in_memory(name: str, values: np.ndarray) -> str:
    import fsspec

    with fsspec.open(f"memory://{name}", "wb") as file:
        np.save(file, values)
    return f"memory://{name}"


PAIRS = np.stack([np.arange(N), (np.arange(N) + 1) % N], axis=1)


def mined(**given: Any) -> Any:
    usual = {"positives": PAIRS, "per_query": 2, "policy": "all"}
    return cs.mine(rows(), rows(N, 3)[::-1].copy(), **usual | given)


def of_another_class(mode: str, **reserve: int) -> Any:
    """A loss whose queue begins with two of the queries' own class."""
    return negatives.InfoNCE(0.2, ~negatives.same_class, mode, **reserve)(
        VECTORS[:2],
        VECTORS[:2],
        VECTORS[4:],
        tags=negatives.Tags(labels=torch.tensor([0, 0])),
        queue_tags=negatives.Tags(labels=torch.tensor([0, 0, 1, 1])),
    )


VECTORS = torch.from_numpy(unit(8, 4))
NEGATIVES = np.array([[2, -1], [3, -1]])
MINING = {
    "embedded with one encoder": (
        lambda: cs.mine(rows(), rows(N, 4), PAIRS, per_query=1),
        "one encoder",
        lambda: cs.mine(rows(), rows(N, 3), PAIRS, per_query=1, policy="all"),
    ),
    "in all": (
        lambda: mined(draw="random(1)"),
        "draw='random(2)'",
        lambda: (mined(draw="random(2)"), mined(draw="hardest + random(1)")),
    ),
    "the form triplet": (
        lambda: training_table(PAIRS[:2], NEGATIVES, "n-tuple", range(2), range(N)),
        "triplet",
        lambda: training_table(PAIRS[:2], NEGATIVES, "triplet", range(2), range(N)),
    ),
    "mined again": (
        lambda: training_table(PAIRS[:2], NEGATIVES * 0 - 1, "triplet", range(2), range(N)),
        "looser policy",
        lambda: training_table(PAIRS, mined().negatives, "triplet", range(N), range(N)),
    ),
    "latent classes found": (
        lambda: mined(policy="~same_latent_class"),
        "cs.latent_classes(corpus)",
        lambda: mined(
            policy="~same_latent_class",
            latent_classes=cs.latent_classes(rows(), method="kmeans", n_classes=3),
        ),
    ),
    "without labels": (
        lambda: mined(policy="~same_class"),
        "same_latent_class",
        lambda: mined(policy="~same_latent_class", latent_classes=LABELS),
    ),
    "other rows": (
        lambda: cs.mine(rows(), rows(), np.stack([PAIRS[:, 0]] * 2, 1), per_query=1, policy="all"),
        "which pairs are positives",
        lambda: cs.mine(rows(), rows(), PAIRS, per_query=1, policy="all"),
    ),
    "a positive for each": (
        lambda: mined(positives=PAIRS[1:]),
        "Leave these queries out, or add",
        lambda: (mined(), cs.mine(rows()[:-1], rows(), PAIRS[:-1], per_query=1, policy="all")),
    ),
    "two different rows": (
        lambda: cs.mine(rows(), None, np.stack([PAIRS[:, 0]] * 2, 1), per_query=1),
        "two different rows",
        lambda: cs.mine(rows(), None, PAIRS, per_query=1, policy="all"),
    ),
    "no rows of zeros": (
        lambda: cs.mine(spoilt(0), None, PAIRS, per_query=1, policy="all"),
        "Leave these examples out",
        lambda: cs.mine(np.delete(spoilt(0), 2, 0), None, (PAIRS % 11)[:11], per_query=1),
    ),
    "exact": (
        lambda: mined(search="approximate", policy="random(0.5)"),
        "search='exact'",
        lambda: mined(search="exact", policy="random(0.5)"),
    ),
    "a tensor of an array": (
        lambda: check_tensors(query=np.ones((2, 3))),
        "Make one with torch.as_tensor",
        lambda: check_tensors(query=torch.as_tensor(np.ones((2, 3)))),
    ),
    "relevant where negatives are mined": (
        lambda: negatives.InfoNCE(0.2, ~negatives.relevant)(VECTORS, VECTORS),
        "relevant=",
        lambda: mined(policy="~relevant", relevant=PAIRS),
    ),
    "a longer reserve": (
        lambda: of_another_class("replace", reserve=1),
        "longer reserve, or mode remove",
        lambda: (of_another_class("replace", reserve=2), of_another_class("remove")),
    ),
    "above the positive": (
        lambda: negatives.parse_policy("above_positive(95)"),
        "above_positive(0.95)",
        lambda: negatives.parse_policy("above_positive(0.95)"),
    ),
}


def noun(offset: int, *above: int) -> str:
    pointers = "".join(f" @ {one:08d} n 0000" for one in above)
    return f"{offset:08d} 03 n 01 word 0 {len(above):03d}{pointers} | a gloss\n"


WORDNET = {
    "there": (
        lambda: read_wordnet(Path("nowhere")),
        "wordnet=",
        lambda: read_wordnet(written(noun(1) + noun(2, 1), "data.noun")),
    ),
    "of the format": (
        lambda: read_wordnet(written("no nouns\n", "data.noun")),
        "wordnet=",
        lambda: read_wordnet(written(noun(1) + noun(2, 1), "data.noun")),
    ),
    "whole": (
        lambda: read_wordnet(written(noun(2, 1), "data.noun")),
        "wordnet=",
        lambda: read_wordnet(written(noun(1) + noun(2, 1), "data.noun")),
    ),
}
VIEWS = unit(2 * N).reshape(N, 2, 3)
THEORY = {
    "features divided by their length": (
        lambda: terms.label_views(VIEWS * 2, LABELS),
        "Divide",
        lambda: terms.label_views(
            VIEWS * 2 / np.linalg.norm(VIEWS * 2, axis=2, keepdims=True), LABELS
        ),
    ),
    "examples with labels": (
        lambda: terms.label_views(VIEWS, [-1, *LABELS[1:]]),
        "Leave these examples out",
        lambda: terms.label_views(VIEWS[1:], LABELS[1:]),
    ),
    "no gaps": (
        lambda: terms.label_views(VIEWS, np.array(LABELS) * 2),
        "without gaps",
        lambda: terms.label_views(VIEWS, LABELS),
    ),
    "shares as priors": (
        lambda: coupon.log_coverage_by_anchor(urn_from_counts([3, 5]), 3),
        "shares as priors",
        lambda: coupon.log_coverage_by_anchor(urn_from_priors([3 / 8, 5 / 8]), 3),
    ),
    "with replacement": (
        lambda: coupon.log_coverage_probability(urn_from_counts([3, 5]), 9),
        "as priors",
        lambda: coupon.log_coverage_probability(urn_from_priors([3 / 8, 5 / 8]), 9),
    ),
    "a batch of b": (
        lambda: coupon.log_coverage_by_anchor(urn_from_priors([0.5, 0.5]), 0),
        "K = b − 1",
        lambda: coupon.log_coverage_by_anchor(urn_from_priors([0.5, 0.5]), 2 - 1),
    ),
    "something of every class": (
        lambda: subset_class(VIEWS, np.zeros(N, bool)),
        "min_per_class=1",
        lambda: subset_class(
            VIEWS,
            np.isin(np.arange(N), cs.select(rows(), LABELS, budget=2, min_per_class=1).indices),
        ),
    ),
}


def idx(n: int = 2) -> bytes:
    return bytes([0, 0, 8, 1, 0, 0, 0, n]) + bytes(n)


POOLS = {
    "IDX": (
        lambda: binary.read_idx(written(gzip.compress(idx())[:-9], "a.gz")),
        "again",
        lambda: binary.read_idx(written(gzip.compress(idx()), "a.gz")),
    ),
    "IDX with a header": (
        lambda: binary.read_idx(written(idx()[:5], "a")),
        "again",
        lambda: binary.read_idx(written(idx(), "a")),
    ),
    "IDX of its length": (
        lambda: binary.read_idx(written(idx()[:-1], "a")),
        "again",
        lambda: binary.read_idx(written(idx(), "a")),
    ),
    "CIFAR": (
        lambda: binary.read_cifar(written(bytes(3000), "a"), 1, 10),
        "again",
        lambda: binary.read_cifar(written(bytes(3073), "a"), 1, 10),
    ),
    "CIFAR's labels": (
        lambda: binary.read_cifar(written(b"\x0b" + bytes(3072), "a"), 1, 10),
        "again",
        lambda: binary.read_cifar(written(bytes(3073), "a"), 1, 10),
    ),
    "STL-10": (
        lambda: binary.map_stl10(written(bytes(3000), "a")),
        "again",
        lambda: binary.map_stl10(written(bytes(27_648), "a")),
    ),
    "STL-10's labels": (
        lambda: binary.read_stl10_labels(written(b"\x01", "a"), 2),
        "again",
        lambda: binary.read_stl10_labels(written(b"\x01\x02", "a"), 2),
    ),
    "labels of STL-10": (
        lambda: binary.read_stl10_labels(written(b"\x00\x0b", "a"), 2),
        "again",
        lambda: binary.read_stl10_labels(written(b"\x01\x02", "a"), 2),
    ),
    "the folder that holds them": (
        lambda: cs.open_pool(str(Path(pictures("deep/.hidden")).parent)),
        "Name the folder",
        lambda: cs.open_pool("deep/.hidden", labels="none", holdout=0),
    ),
    "images that are complete": (
        lambda: scan_pool(
            cs.open_pool(
                [written(picture()[:60], f"cut/{n}.png") for n in range(3)] and "cut",
                labels="none",
                holdout=0,
            )
        ),
        "are complete",
        lambda: scan_pool(cs.open_pool(pictures("cut", 3), labels="none", holdout=0)),
    ),
    "channels last": (
        lambda: cs.open_pool(np.zeros((4, 8, 3, 8), np.uint8)),
        "Transpose it",
        lambda: cs.open_pool(np.zeros((4, 8, 3, 8), np.uint8).transpose(0, 1, 3, 2), holdout=0),
    ),
    "embeddings are no images": (
        lambda: cs.open_pool(saved(rows())),
        "contrasift select FILE --out",
        lambda: said("select", "z.npy", "--out", "o", "--fraction", 0.5),
    ),
    "arrays alone": (
        lambda: cs.open_pool(written("x", "x.npy")),
        "np.save",
        lambda: cs.open_pool(saved(images(), "x.npy"), holdout=0),
    ),
    "a named set": (
        lambda: cs.open_pool("mnst"),
        "mnist",
        lambda: named("fashion-mnist"),
    ),
    "a pool with a name": (
        lambda: cs.open_pool(""),
        "digits",
        lambda: named("digits"),
    ),
    "the column image": (
        lambda: cs.open_pool(table("p.parquet", a=[picture()] * 3, b=[picture()] * 3)),
        "`image`",
        lambda: cs.open_pool(
            table("p.parquet", image=[picture()] * 3, b=[picture()] * 3), holdout=0
        ),
    ),
    "a whole table": (
        lambda: cs.open_pool(written("PAR1", "p.parquet")),
        "Copy it again",
        lambda: cs.open_pool(table("p.parquet", image=[picture()] * 3), holdout=0),
    ),
    "labels of one type": (
        lambda: cs.open_pool(
            [
                table("q/a.parquet", image=[picture()] * 3, label=[0, 1, 0]),
                table("q/b.parquet", image=[picture()] * 3, label=["a", "b", "a"]),
            ]
            and "q/*.parquet"
        ),
        "labels='none'",
        lambda: cs.open_pool("q/*.parquet", labels="none", holdout=0),
    ),
    "shards of the name": (
        lambda: cs.open_pool("q/*.tar"),
        "Check the folder and the name",
        lambda: cs.open_pool(tar("q/0.tar") and "q/*.tar", holdout=0),
    ),
    "shards unpacked": (
        lambda: cs.open_pool(written(gzip.compress(tar("t/0.tar").read_bytes()), "t/1.tar.gz")),
        "Unpack it once",
        lambda: (
            written(gzip.decompress(Path("t/1.tar.gz").read_bytes()), "t/1.tar"),
            cs.open_pool("t/*.tar", holdout=0),
        ),
    ),
    "every shard of a series": (
        lambda: cs.open_pool(tar("u/0.tar") and "u/{0..1}.tar"),
        "Copy it again",
        lambda: (tar("u/1.tar"), cs.open_pool("u/{0..1}.tar", holdout=0)),
    ),
    "a whole tar": (
        lambda: cs.open_pool(written(tar("v/0.tar").read_bytes()[:2000], "v/1.tar") and "v/*.tar"),
        "leave it out",
        lambda: (
            cs.open_pool("v/0.tar", holdout=0),
            tar("v/1.tar"),
            cs.open_pool("v/*.tar", holdout=0),
        ),
    ),
    "remote shards of the name": (
        lambda: cs.open_pool("memory://nothing/*.tar"),
        "pack them in .tar shards",
        lambda: cs.open_pool(tar_in_memory(), holdout=0),
    ),
    "arrays behind an address": (
        lambda: cs.open_pool("memory://images.npy"),
        "open_pool(contrasift.load_matrix(address))",
        lambda: cs.open_pool(cs.load_matrix(in_memory("images.npy", images())), holdout=0),
    ),
    "labels by two columns": (
        lambda: labelled_by("id,label\n0,a\n1,b,c\n"),
        "put quotes around",
        lambda: labelled_by('id,label\n0,a\n1,"b,c"\n'),
    ),
    "labels by ids of the pool": (
        lambda: labelled_by("id,label\n0,a\nx,b\n"),
        "column `id`",
        lambda: labelled_by("id,label\n0,a\n1,b\n"),
    ),
    "labels once": (
        lambda: labelled_by("id,label\n0,a\n0,b\n1,b\n"),
        "Keep one",
        lambda: labelled_by("id,label\n0,a\n1,b\n"),
    ),
    "a data set with numbers": (
        lambda: cs.open_pool(hugging_face().to_iterable_dataset()),
        "without streaming=True",
        lambda: cs.open_pool(hugging_face(), holdout=0),
    ),
    "one split": (
        lambda: cs.open_pool(splits()),
        "['train']",
        lambda: cs.open_pool(splits()["train"], holdout=0),
    ),
    "one split of a folder": (
        lambda: cs.open_pool(splits().save_to_disk("saved") or "hf:saved"),
        "hf:saved:train",
        lambda: cs.open_pool("hf:saved:train", holdout=0),
    ),
    "a data set by name": (
        lambda: without_network("hf:nowhere"),
        "hf:FOLDER",
        lambda: cs.open_pool(splits().save_to_disk("saved") or "hf:saved:train", holdout=0),
    ),
    "a data set that streams": (
        lambda: SelectedSampler(Stream()),
        "a list",
        lambda: SelectedSampler([0, 1, 2]),
    ),
}


def named(name: str) -> None:
    assert name in NAMED


def without_network(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.load_dataset", lambda *of: Path("nowhere").read_text())
        cs.open_pool(name)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(range(3))


def said(*words: Any) -> None:
    from typer.testing import CliRunner

    from contrasift.cli import app

    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def labelled_by(text: str) -> Any:
    return cs.open_pool(images(), labels=written(text, "l.csv"), holdout=0)


def hugging_face(labels: Any = (0, 1, 0)) -> Any:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict(
        {"image": [{"bytes": picture(), "path": None}] * 3, "label": list(labels)},
        features=features,
    )


def splits() -> Any:
    import datasets

    return datasets.DatasetDict({"train": hugging_face(), "test": hugging_face((0, 1, 2))})


def tar(name: str) -> Path:
    import tarfile

    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(name, "w") as file:
        for number in range(3):
            about = tarfile.TarInfo(f"{Path(name).stem}{number}.png")
            about.size = len(picture())
            file.addfile(about, io.BytesIO(picture()))
    return Path(name)


def tar_in_memory() -> str:
    import fsspec

    with fsspec.open("memory://some/0.tar", "wb") as file:
        file.write(tar("m.tar").read_bytes())
    return "memory://some/*.tar"


CASES = {
    "classes": CLASSES,
    "selecting": SELECTING,
    "ids": IDS,
    "matrices": MATRICES,
    "mining": MINING,
    "WordNet": WORDNET,
    "theory": THEORY,
    "pools": POOLS,
}
