"""Remedies of selecting and of what it is given, followed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

import contrasift as cs
from contrasift import negatives
from contrasift.inference.stream import Sifter
from contrasift.matrices import open_embeddings
from contrasift.options import TrainOptions
from contrasift.store.atomic import load_array, write_text
from contrasift.store.inputs import (
    load_classes_file,
    load_few_labels_file,
    load_indices_file,
    load_weights_file,
)
from contrasift.store.run import RunFolder
from contrasift.store.scores import read_scores
from contrasift.store.subsets import load_subset_file
from contrasift.text.words import build_vocabulary
from contrasift.theory.urns import urn_from_counts, urn_from_priors
from contrasift.training.batches import EpochBatches
from remedies.cases import images, rows, saved, table, written

N = 12
HALF = {"fraction": 0.5}
INDEX = np.arange(N)


def vectors(n: int = 8) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


def lines(*values: object) -> str:
    return "\n".join(map(str, values)) + "\n"


GAP = np.where(np.arange(N) == 4, np.nan, np.arange(N * 1.0))


def broken(value: float) -> np.ndarray:
    values = rows()
    values[[2, 5]] = value
    return values


ROWS = {
    "NaN dropped": (
        lambda: cs.select(broken(np.nan), **HALF),
        "must_drop=",
        lambda: cs.select(broken(np.nan), **HALF, must_drop=[2, 5]),
    ),
    "zeros dropped": (
        lambda: cs.select(broken(0), **HALF),
        "must_drop=",
        lambda: cs.select(broken(0), **HALF, must_drop=[2, 5]),
    ),
    "zeros as they are": (
        lambda: cs.select(broken(0), **HALF),
        "normalize='none'",
        lambda: cs.select(broken(0), **HALF, normalize="none"),
    ),
    "zeros left out": (
        lambda: cs.select(broken(0), **HALF),
        "leave them out",
        lambda: cs.select(np.delete(broken(0), [2, 5], axis=0), **HALF),
    ),
    "scores dropped": (
        lambda: cs.select(rows(), **HALF, objective="scores", scores=GAP),
        "must_drop=",
        lambda: cs.select(rows(), **HALF, objective="scores", scores=GAP, must_drop=[4]),
    ),
    "classes as points": (
        lambda: cs.latent_classes(broken(0), method="kmeans", n_classes=2, whiten=0),
        "metric='euclidean'",
        lambda: cs.latent_classes(
            broken(0), method="kmeans", n_classes=2, whiten=0, metric="euclidean"
        ),
    ),
    "labels to kmeans": (
        lambda: cs.latent_classes(rows(), method="labels"),
        "`kmeans`",
        lambda: cs.latent_classes(rows(), method="kmeans", n_classes=2),
    ),
    "known given": (
        lambda: cs.latent_classes(rows(), method="few-labels", label_share=0.5),
        "known=",
        lambda: cs.latent_classes(rows(), method="few-labels", known=[0, 1] * 3 + [-1] * 6),
    ),
    "redundancy lowered": (
        lambda: cs.select(rows(), fraction=0.9, optimizer="relaxed", redundancy=2.0),
        "redundancy=",
        lambda: cs.select(rows(), fraction=0.9, optimizer="relaxed"),
    ),
    "budget raised": (
        lambda: cs.select(rows(), [0, 1, 2] * 4, budget=2, min_per_class=1),
        "Raise the budget",
        lambda: cs.select(rows(), [0, 1, 2] * 4, budget=3, min_per_class=1),
    ),
    "names as text": (
        lambda: cs.select(rows(), [2**63, *range(11)], **HALF),
        "Save the names as text",
        lambda: cs.select(rows(), [str(name) for name in (2**63, *range(11))], **HALF),
    ),
    "blind": (
        lambda: cs.select(rows(), [0, 1] * 6, **HALF, objective="random", min_per_class=1),
        "random-per-class",
        lambda: cs.select(
            rows(), [0, 1] * 6, **HALF, objective="random-per-class", min_per_class=1
        ),
    ),
    "allocation": (
        lambda: cs.select(rows(), [0, 1] * 6, **HALF, allocate="global", min_per_class=1),
        "allocate='proportional'",
        lambda: cs.select(rows(), [0, 1] * 6, **HALF, allocate="proportional", min_per_class=1),
    ),
    "images as numbers": (
        lambda: cs.open_pool(np.full((4, 8, 8), 255.0)),
        "Divide by 255",
        lambda: cs.open_pool(np.full((4, 8, 8), 255.0) / 255),
    ),
}
LABELS = [0, 1] * (N // 2)
WITHOUT_ONE = [-1, *LABELS[1:]]
SELECT = {
    "float32": (
        lambda: cs.select(rows().astype(complex), **HALF),
        "Convert them to float32",
        lambda: cs.select(rows().astype(complex).real.astype(np.float32), **HALF),
    ),
    "opened": (
        lambda: cs.select(str(saved(rows())), **HALF),
        "open_embeddings('z.npy')",
        lambda: cs.select(cs.open_embeddings(str(saved(rows()))), **HALF),
    ),
    "dense": (
        lambda: cs.select(csr_array(rows()), **HALF),
        ".toarray()",
        lambda: cs.select(csr_array(rows()).toarray(), **HALF),
    ),
    "no gaps": (
        lambda: cs.select(np.ma.masked_equal(rows(), rows()[3, 1]), **HALF),
        "fill the gaps",
        lambda: cs.select(np.ma.masked_equal(rows(), rows()[3, 1]).filled(0), **HALF),
    ),
    "one length": (
        lambda: cs.select([[1, 2], [3]], **HALF),
        "Bring all rows to one length",
        lambda: cs.select([[1, 2], [3, 0]], **HALF),
    ),
    "flattened": (
        lambda: cs.select(rows(N, 6).reshape(N, 2, 3), **HALF),
        "Flatten",
        lambda: cs.select(rows(N, 6).reshape(N, 2, 3).reshape(N, -1), **HALF),
    ),
    "a fifth": (
        lambda: cs.select(rows(), fraction=20.0),
        "0.2",
        lambda: cs.select(rows(), fraction=0.2),
    ),
    "one of both": (
        lambda: cs.select(rows(), fraction=0.2, budget=3),
        "only one",
        lambda: cs.select(rows(), budget=3),
    ),
    "the largest fraction": (
        lambda: cs.select(rows(), fractions=[0.2, 0.5], fraction=0.5),
        "The largest fraction",
        lambda: cs.select(rows(), fractions=[0.2, 0.5]),
    ),
    "greedy for several": (
        lambda: cs.select(rows(), fractions=[0.2, 0.5], optimizer="relaxed"),
        "once for every fraction",
        lambda: [cs.select(rows(), fraction=f, optimizer="relaxed") for f in (0.2, 0.5)],
    ),
    "indices from 0": (
        lambda: cs.select(rows(), **HALF, must_keep=[N]),
        "count from 0",
        lambda: cs.select(rows(), **HALF, must_keep=[N - 1]),
    ),
    "a shorter must_keep": (
        lambda: cs.select(rows(), budget=2, must_keep=[0, 1, 2]),
        "Raise the budget or shorten",
        lambda: (
            cs.select(rows(), budget=3, must_keep=[0, 1, 2]),
            cs.select(rows(), budget=2, must_keep=[0, 1]),
        ),
    ),
    "a shorter must_drop": (
        lambda: cs.select(rows(), budget=11, must_drop=[0, 1]),
        "Lower the budget or shorten",
        lambda: (
            cs.select(rows(), budget=10, must_drop=[0, 1]),
            cs.select(rows(), budget=11, must_drop=[0]),
        ),
    ),
    "from the same pool": (
        lambda: cs.select(rows(), LABELS[1:], **HALF),
        "same pool",
        lambda: cs.select(rows(), LABELS, **HALF),
    ),
    "names as integers": (
        lambda: cs.select(rows(), np.arange(N) + 0.5, **HALF),
        "int64 or a string array",
        lambda: cs.select(rows(), (np.arange(N) + 0.5).astype(str), **HALF),
    ),
    "none a class of its own": (
        lambda: cs.select(rows(), [None, *["a", "b"] * 5, "a"], **HALF),
        "a class of their own",
        lambda: cs.select(rows(), ["unknown", *["a", "b"] * 5, "a"], **HALF),
    ),
    "threshold away": (
        lambda: cs.select(rows(), **HALF, threshold=0.2, optimizer="relaxed", redundancy=0.5),
        "Leave the threshold away",
        lambda: (
            cs.select(rows(), **HALF, optimizer="relaxed", redundancy=0.5),
            cs.select(rows(), **HALF, threshold=0.2, redundancy=0.5),
        ),
    ),
    "centre has none": (
        lambda: cs.select(rows(), **HALF, objective="coverage-centre", coverage_weight=0.0),
        "objective='centre'",
        lambda: cs.select(rows(), **HALF, objective="centre"),
    ),
    "embedding again": (
        lambda: open_embeddings(np.full((4, 2, 2), 1.0)),
        "Flatten",
        lambda: open_embeddings(np.full((4, 2, 2), 1.0).reshape(4, -1)),
    ),
}
CLASSES = {
    "labels left out": (
        lambda: cs.latent_classes(rows(), method="labels", labels=WITHOUT_ONE),
        "Leave these examples out",
        lambda: cs.latent_classes(rows()[1:], method="labels", labels=WITHOUT_ONE[1:]),
    ),
    "a name for each": (
        lambda: cs.latent_classes(rows(), method="labels", labels=LABELS, label_names=["a"]),
        "one name for each",
        lambda: cs.latent_classes(rows(), method="labels", labels=LABELS, label_names=["a", "b"]),
    ),
    "one in a hundred": (
        lambda: cs.latent_classes(rows(), method="few-labels", labels=LABELS, label_share=50.0),
        "0.01",
        lambda: cs.latent_classes(rows(), method="few-labels", labels=LABELS, label_share=0.5),
    ),
    "more labels": (
        lambda: cs.latent_classes(rows(), method="few-labels", known=[0] + [-1] * (N - 1)),
        "Label more",
        lambda: cs.latent_classes(rows(), method="few-labels", known=[0, 1] + [-1] * (N - 2)),
    ),
    "share or known": (
        lambda: cs.latent_classes(rows(), method="few-labels", labels=LABELS),
        "label_share=",
        lambda: cs.latent_classes(rows(), method="few-labels", labels=LABELS, label_share=0.5),
    ),
    "evaluation without unlabelled": (
        lambda: cs.evaluate(rows(), WITHOUT_ONE, rows(), LABELS),
        "Leave these rows out",
        lambda: cs.evaluate(rows()[1:], WITHOUT_ONE[1:], rows(), LABELS),
    ),
    "two classes to tell apart": (
        lambda: cs.evaluate(rows(), [0] * N, rows(), [0] * N),
        "tell apart",
        lambda: cs.evaluate(rows(), LABELS, rows(), LABELS),
    ),
}
SCORES = np.arange(float(N))
NAN_SCORES = np.where(INDEX == 3, np.nan, SCORES)
FILES = {
    "utf-8": (
        lambda: load_classes_file(
            Path("c.txt").write_bytes(b"a\xff\n" * N) and Path("c.txt"), INDEX
        ),
        "Save it as UTF-8",
        lambda: load_classes_file(written("a\xff\n" * N), INDEX),
    ),
    "classes of the same pool": (
        lambda: load_classes_file(table(index=INDEX + 1, latent_class=LABELS), INDEX),
        "same pool",
        lambda: load_classes_file(table(index=INDEX, latent_class=LABELS), INDEX),
    ),
    "few labels by index": (
        lambda: load_few_labels_file(written("0,a\n99,b\n"), INDEX),
        "column `index`",
        lambda: load_few_labels_file(written("0,a\n9,b\n"), INDEX),
    ),
    "indices as text": (
        lambda: load_indices_file(saved(np.array([0.5, 1.5]))),
        "or as text",
        lambda: (load_indices_file(saved(np.array([0, 1]))), load_indices_file(written("0\n1\n"))),
    ),
    "scores by index": (
        lambda: read_scores(written(lines(*SCORES[:3])), INDEX),
        "column `index`",
        lambda: read_scores(table(index=INDEX, score=SCORES), INDEX),
    ),
    "inf for the hardest": (
        lambda: read_scores(saved(NAN_SCORES), INDEX),
        "Write inf",
        lambda: read_scores(saved(np.where(INDEX == 3, np.inf, SCORES)), INDEX),
    ),
    "no blank line": (
        lambda: read_scores(written("1\n\n" + lines(*SCORES[2:])), INDEX),
        "fill the blank",
        lambda: read_scores(written("1\n1\n" + lines(*SCORES[2:])), INDEX),
    ),
    "scores of the pool": (
        lambda: read_scores(table(index=INDEX + 1, score=SCORES), INDEX),
        "same pool",
        lambda: read_scores(table(index=INDEX, score=SCORES), INDEX),
    ),
    "every index once": (
        lambda: load_subset_file(written("0\n0\n1\n")),
        "list each example once",
        lambda: load_subset_file(written("0\n1\n")),
    ),
    "saved with numpy": (
        lambda: load_array(written("1 2 3", "bad.npy")),
        "numpy.save",
        lambda: load_array(saved(np.loadtxt(["1 2 3"]), "bad.npy")),
    ),
    "one array without a column": (
        lambda: open_embeddings(saved(rows()), column="x"),
        "Leave column= away",
        lambda: open_embeddings(saved(rows())),
    ),
    "one of several arrays": (
        lambda: open_embeddings(np.savez("two.npz", a=rows(), b=rows()) or "two.npz"),
        "column=",
        lambda: (open_embeddings("two.npz", column="a"), open_embeddings("two.npz:b")),
    ),
    "npz again": (
        lambda: open_embeddings(written("no archive", "bad.npz")),
        "numpy.savez",
        lambda: open_embeddings(np.savez("bad.npz", a=rows()) or "bad.npz"),
    ),
    "parquet again": (
        lambda: open_embeddings(written("no table", "bad.parquet")),
        "Copy it again",
        lambda: open_embeddings(table("bad.parquet", z=list(rows()))),
    ),
    "a column of vectors": (
        lambda: open_embeddings(table(a=list(rows()), b=list(rows()))),
        "column=",
        lambda: open_embeddings("t.parquet", column="a"),
    ),
    "rows of another length": (
        lambda: open_embeddings(table(z=[[1.0, 2.0], [1.0], [3.0, 4.0]]))[:],
        "Leave such rows out",
        lambda: open_embeddings(table(z=[[1.0, 2.0], [3.0, 4.0]]))[:],
    ),
    "files in one way": (
        lambda: open_embeddings(
            [saved(rows(4, 3), "a.npy"), saved(rows(4, 2), "b.npy")] and str(Path("*.npy"))
        ),
        "Write them all in one way",
        lambda: (saved(rows(4, 3), "b.npy"), open_embeddings("*.npy")),
    ),
    "the path checked": (
        lambda: open_embeddings("nowhere.npy"),
        "Check the path",
        lambda: open_embeddings(saved(rows())),
    ),
    "a pattern for deeper folders": (
        lambda: (Path("d/e").mkdir(parents=True), saved(rows(), "d/e/z.npy"), open_embeddings("d")),
        "pattern",
        lambda: open_embeddings("d/*/*.npy"),
    ),
    "one kind of files": (
        lambda: (
            Path("k").mkdir(),
            saved(rows(), "k/z.npy"),
            table("k/z.parquet", z=list(rows())),
            open_embeddings("k/*"),
        ),
        "Name one kind",
        lambda: open_embeddings("k/*.npy"),
    ),
    "a scale": (
        lambda: open_embeddings(saved(np.ones((3, 2), np.int8))),
        "State it with scale=",
        lambda: (
            open_embeddings("z.npy", scale=1),
            written(json.dumps({"scale": 0.5, "zero_point": 0}), "z.json"),
            open_embeddings("z.npy"),
        ),
    ),
    "saved in one of these": (
        lambda: open_embeddings(written("x", "z.xyz")),
        "Save them in one of these",
        lambda: open_embeddings(saved(rows())),
    ),
    "weights of classes": (
        lambda: load_weights_file(written("1\n\n2\n")),
        "fill the blank",
        lambda: load_weights_file(written("1\n3\n2\n")),
    ),
    "a local folder": (
        lambda: write_text(Path("s3://bucket/x.txt"), "x"),
        "Write to a folder",
        lambda: write_text(Path("out/x.txt"), "x"),
    ),
    "a run to begin with": (
        lambda: RunFolder.existing("run"),
        "contrasift run",
        lambda: (
            Path("run").mkdir(),
            written("{}\n", "run/options.yaml"),
            RunFolder.existing("run"),
        ),
    ),
    "no rule": (
        lambda: Sifter(written("no rule", "rule.npz")).rule,
        "optimizer='relaxed'",
        lambda: made_a_rule(),
    ),
}


def made_a_rule() -> None:
    from contrasift.store.selections import write_selection

    Path("o").mkdir()
    write_selection(Path("o"), cs.select(rows(), fraction=0.3, optimizer="relaxed"))
    assert len(Sifter("o").judge(rows()).keep) == N


RANDOM = negatives.Candidates(
    rows(2, 4),
    negatives.Tags(labels=np.arange(2)),
    negatives.Tags(labels=np.arange(4)),
    draws=rows(2, 4),
)
LOSSES = {
    "a generator": (
        lambda: negatives.InfoNCE(0.2, negatives.random(0.5))(vectors(), vectors()),
        "generator=",
        lambda: negatives.InfoNCE(0.2, negatives.random(0.5))(
            vectors(), vectors(), generator=torch.Generator("cpu").manual_seed(0)
        ),
    ),
    "a generator to a mask": (
        lambda: negatives.random(0.5).mask(negatives.Candidates(rows(2, 4))),
        "Pass a generator",
        lambda: negatives.random(0.5).mask(RANDOM),
    ),
    "tags": (
        lambda: negatives.InfoNCE(0.2, ~negatives.same_class)(vectors(), vectors()),
        "Give them as tags",
        lambda: (
            negatives.InfoNCE(0.2, ~negatives.same_class)(
                vectors(), vectors(), tags=negatives.Tags(labels=torch.arange(8))
            ),
            negatives.InfoNCE(0.2, negatives.difficulty(50, 100))(vectors(), vectors()),
        ),
    ),
    "MoCo's temperature": (
        lambda: negatives.InfoNCE(0),
        "0.2",
        lambda: negatives.InfoNCE(0.2),
    ),
    "a reserve": (
        lambda: negatives.InfoNCE(0.2, negatives.difficulty(0, 90), "replace"),
        "reserve=",
        lambda: negatives.InfoNCE(0.2, negatives.difficulty(0, 90), "replace", reserve=4),
    ),
    "ten even classes": (
        lambda: negatives.Debiased(tau_plus=10),
        "0.1",
        lambda: negatives.Debiased(tau_plus=0.1),
    ),
    "a wider band": (
        lambda: negatives.InfoNCE(0.2, negatives.above(0.999))(vectors(), vectors()),
        "a wider band",
        lambda: negatives.InfoNCE(0.2, negatives.above(-1.0))(vectors(), vectors()),
    ),
    "an example of a policy": (
        lambda: negatives.parse_policy("hardest"),
        "difficulty(95,100) & ~same_class",
        lambda: negatives.parse_policy("difficulty(95,100) & ~same_class"),
    ),
    "100 is the hardest": (
        lambda: negatives.difficulty(100, 95),
        "difficulty(95,100)",
        lambda: negatives.difficulty(95, 100),
    ),
    "an example of a schedule": (
        lambda: negatives.parse_schedule("all", "x"),
        "10: difficulty(50,100); 20: difficulty(95,100)",
        lambda: negatives.parse_schedule("all", "10: difficulty(50,100); 20: difficulty(95,100)"),
    ),
    "vectors with a direction": (
        lambda: negatives.InfoNCE(0.2)(vectors() * 0, vectors()),
        "Lower the learning rate",
        lambda: negatives.InfoNCE(0.2)(vectors(), vectors()),
    ),
}
THEORY = {
    "no prior of 0": (
        lambda: urn_from_priors([0.5, 0.5, 0]),
        "leave it out",
        lambda: urn_from_priors([0.5, 0.5]),
    ),
    "divided by the sum": (
        lambda: urn_from_priors([1, 1, 2]),
        "Divide",
        lambda: urn_from_priors(np.array([1, 1, 2]) / 4),
    ),
    "no empty class": (
        lambda: urn_from_counts([3, 0]),
        "leave it out",
        lambda: urn_from_counts([3]),
    ),
    "rarer words": (
        lambda: build_vocabulary(["a b", "c d"], min_count=2),
        "Lower min_count=",
        lambda: build_vocabulary(["a b", "c d"], min_count=1),
    ),
}
POOLS = {
    "labels none": (
        lambda: (
            (Path("p").mkdir(), a_picture("p/1.png"), a_picture("p/2.png"))
            and cs.open_pool("p", labels="folders")
        ),
        "labels=none",
        lambda: cs.open_pool("p", labels="none"),
    ),
    "an id a line": (
        lambda: cs.open_pool(images(), labels=written(lines(*LABELS[:5]))),
        "one label a line",
        lambda: cs.open_pool(images(), labels=written(lines(*LABELS)), holdout=0),
    ),
    "images as bytes": (
        lambda: cs.open_pool(images().astype(np.int64)),
        "astype(np.uint8)",
        lambda: cs.open_pool(images().astype(np.int64).astype(np.uint8)),
    ),
    "a smaller batch": (
        lambda: EpochBatches(cs.open_pool(images()), INDEX[:4], 8, 0),
        "batch_size=4",
        lambda: EpochBatches(cs.open_pool(images()), INDEX[:4], 4, 0),
    ),
    "a pooled output": (
        lambda: cs.embed(cs.open_pool(images()), INDEX, torch.nn.Conv2d(1, 2, 3), device="cpu"),
        "global average",
        lambda: cs.embed(
            cs.open_pool(images()),
            INDEX,
            torch.nn.Sequential(
                torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
            ),
            device="cpu",
            views=1,
        ),
    ),
    "encoder's own": (
        lambda: weights("w.safetensors") and cs.load_encoder("w.safetensors"),
        "Name its architecture",
        lambda: cs.untrained_encoder(TrainOptions(architecture="narrow:0.125"), 1, 8, 0),
    ),
}


def weights(name: str) -> bool:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, name)
    return True


def a_picture(name: str) -> bool:
    from PIL import Image

    Image.fromarray(images(1)[0]).save(name)
    return True


CASES = {
    "rows": ROWS,
    "select": SELECT,
    "classes": CLASSES,
    "files": FILES,
    "losses": LOSSES,
    "theory": THEORY,
    "pools": POOLS,
}
