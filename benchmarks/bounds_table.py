"""The table and the figure of paper 003 in our setting: SimCLR for several K + 1, and its bounds.

For every K + 1 (the batch size) and seed an encoder is trained, and the bounds are measured at this
K on views of held-out examples. Every finished cell is kept: the same command goes on where it was.

    python benchmarks/bounds_table.py fashion-mnist --limit 6000 --epochs 8 --work runs/bounds-fashion
    python benchmarks/bounds_table.py glyphs --limit 6000 --work runs/bounds-glyphs
    python benchmarks/bounds_table.py fortunes --least 500 --draws 16,32,64,128,256 --work runs/bounds-fortunes

The table goes to benchmarks/results/bounds-NAME.md, all numbers to bounds-NAME.json, and figures
beside the work to bounds.html.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contrasift.embedding import embed, features
from contrasift.options import TrainOptions
from contrasift.pipeline.bound_table import measure_accuracy, measure_cell, write_table
from contrasift.pipeline.text import bound_texts
from contrasift.pools import Pool, open_pool
from contrasift.store.atomic import read_json, write_json
from contrasift.text.collection import open_texts
from contrasift.text.options import TextOptions
from contrasift.training.encoders import Encoder, load_encoder
from contrasift.training.pretrain import pretrain

RESULTS = Path(__file__).parent / "results"
VIEWS = 4


def main() -> None:
    """Fill the table."""
    arguments = parse_arguments()
    draws = [int(part) for part in arguments.draws.split(",")]
    name = arguments.pool.partition(":")[0]
    if name in ("fortunes", "ag-news"):
        texts = open_texts(arguments.pool, limit=arguments.limit, least=arguments.least)
        options = TextOptions(epochs=arguments.epochs, augmentation=arguments.views)
        bound_texts(
            texts,
            options,
            arguments.work,
            draws=draws,
            seeds=arguments.seeds,
            progress=text_progress,
        )
        name += "" if arguments.views == "erase" else f"-{arguments.views}"
    else:
        bound_images(arguments, draws)
    for kind in ("md", "json"):
        target = arguments.results / f"bounds-{name}.{kind}"
        shutil.copyfile(arguments.work / f"bounds.{kind}", target)
    print((arguments.work / "bounds.md").read_text(encoding="utf-8"))


def parse_arguments() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", help="fashion-mnist, glyphs, ..., fortunes or ag-news:FOLDER")
    parser.add_argument("--work", type=Path, required=True, help="folder for cells and encoders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the table")
    parser.add_argument("--draws", default="32,64,128,256,512", help="K + 1, the batch sizes")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--limit", type=int, help="examples to train on")
    parser.add_argument("--held-out", type=int, default=2000, help="images to measure on, at most")
    parser.add_argument("--least", type=int, default=1, help="texts: leave out rarer labels")
    parser.add_argument("--views", default="erase", help="texts: erase or replace")
    return parser.parse_args()


@contextlib.contextmanager
def text_progress(title: str) -> Iterator:
    """One line for a training."""
    print(title, file=sys.stderr, flush=True)
    yield lambda done, total: None


def bound_images(arguments: argparse.Namespace, draws: list[int]) -> None:
    """One cell after the other, then the table."""
    pool = open_pool(arguments.pool, limit=arguments.limit)
    if pool.test is None or pool.labels is None or pool.test.labels is None:
        sys.exit(f"{arguments.pool} has no labels or no held-out images")
    held_out = labelled_positions(pool.test, arguments.held_out)
    cells = []
    for size in draws:
        for seed in range(arguments.seeds):
            options = TrainOptions(epochs=arguments.epochs, batch_size=size)
            key = options.fingerprint(pool.fingerprint, str(len(held_out)))
            name = f"{size}-seed{seed}-{key}"
            path = arguments.work / "cells" / f"{name}.json"
            if not path.is_file():
                begun = time.perf_counter()
                folder = arguments.work / "training" / name
                cell = measure(pool, held_out, options, seed, folder)
                write_json(path, cell)
                took = time.perf_counter() - begun
                print(f"K+1 = {size}, seed {seed}: {took:.0f} s", file=sys.stderr, flush=True)
            cells.append(read_json(path))
    about = {
        "pool": pool.name,
        "examples": len(pool),
        "held_out": len(held_out),
        "epochs": arguments.epochs,
        "architecture": TrainOptions().architecture,
        "pool_fingerprint": pool.fingerprint,
    }
    n_classes = len(pool.test.label_names)
    write_table(arguments.work, f"Bounds on {pool.name}: {n_classes} classes", about, cells)


def labelled_positions(test: Pool, most: int) -> np.ndarray:
    """At most so many labelled images, at least one of every class, as even as the pool has them."""
    assert test.labels is not None
    shuffled = np.random.default_rng(0).permutation(len(test))
    shuffled = shuffled[test.labels[shuffled] >= 0]
    # Round after round, one of each class: the n-th of a class comes before any (n+1)-th.
    codes = test.labels[shuffled]
    turn = np.empty(len(codes), dtype=np.int64)
    for code in np.unique(codes):
        places = np.flatnonzero(codes == code)
        turn[places] = np.arange(len(places))
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:most]])


def measure(
    pool: Pool, held_out: np.ndarray, options: TrainOptions, seed: int, folder: Path
) -> dict:
    """Train with batches of K + 1 examples, and measure at this K."""
    test = pool.test
    assert test is not None
    assert test.labels is not None
    trained = pretrain(
        pool, np.arange(len(pool)), options, seed=seed, folder=folder, progress=False
    )
    encoder = load_encoder(str(trained.encoder))
    views = [
        embed(test, held_out, encoder, views=1, seed=seed * VIEWS + view).values
        for view in range(VIEWS)
    ]
    cell = measure_cell(
        np.stack(views, axis=1),
        test.labels[held_out],
        n_classes=len(test.label_names),
        draws=options.batch_size,
        temperature=options.resolved().temperature or 0.5,
        seed=seed,
    )
    return {
        **cell,
        "seconds": trained.seconds,
        "loss": trained.loss,
        "accuracy": accuracies(pool, test, held_out, encoder),
    }


def accuracies(pool: Pool, test: Pool, held_out: np.ndarray, encoder: Encoder) -> dict[str, float]:
    """Of the mean classifier, and of linear probes with and without the head."""
    assert pool.labels is not None
    assert test.labels is not None
    known = np.flatnonzero(pool.labels >= 0)
    return measure_accuracy(
        lambda layer: (
            features(pool, known, encoder, layer),
            features(test, held_out, encoder, layer),
        ),
        pool.labels[known],
        test.labels[held_out],
    )


if __name__ == "__main__":
    main()
