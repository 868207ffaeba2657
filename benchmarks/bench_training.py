"""How much time training and embedding lose around the network: a table, and JSON.

A training step with its augmentation against the bare forward and backward pass of the same
network, and `embed` against a bare loop with the same encoder and the same views. The sides take
turns, so that noise from elsewhere hits all alike; medians are compared.

Run: python benchmarks/bench_training.py [--repeats 15] [--json bench_training.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightly.loss import NTXentLoss

from contrasift.embedding import embed
from contrasift.options import TrainOptions
from contrasift.training.encoders import Encoder, build_encoder
from contrasift.training.simclr import SimCLR
from contrasift.training.views import AUGMENTATIONS, choose_augmentation, random_views

BATCH = 256
CASES = [("narrow", 1, 28), ("narrow", 3, 32), ("resnet10", 3, 32)]


class RandomImages:
    """A pool of noise: what the pixels show costs no time."""

    def __init__(self, count: int, channels: int, image_size: int):
        shape = (count, channels, image_size, image_size)
        self._images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self.index = np.arange(count, dtype=np.int64)
        self.channels, self.image_size, self.mirror = channels, image_size, True

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]


def median_seconds(sides: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median time of each side, taking turns after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def bench_step(architecture: str, channels: int, image_size: int, repeats: int) -> dict:
    """One optimiser step of SimCLR, bare and as it is trained."""
    pool = RandomImages(4 * BATCH, channels, image_size)
    encoder = build_encoder(architecture, channels, image_size, 128, 0)
    name = choose_augmentation("auto", channels, image_size)
    module = SimCLR(
        encoder,
        TrainOptions(),
        augmentation=AUGMENTATIONS[name],
        mirror=True,
        seed=0,
        total_steps=100,
    )
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    views = torch.rand(2 * BATCH, channels, image_size, image_size)
    loss = NTXentLoss(temperature=0.5)
    positions = np.arange(BATCH)

    def bare() -> None:
        encoder.zero_grad()
        loss(*encoder(views).chunk(2)).backward()

    def whole() -> None:
        images = torch.from_numpy(pool.images(positions))
        module.losses.clear()
        encoder.zero_grad()
        module.training_step([images, torch.from_numpy(pool.index[positions])]).backward()
        optimizer.step()

    seconds = median_seconds({"bare": bare, "whole": whole}, repeats)
    return {
        "bare_ms": 1000 * seconds["bare"],
        "step_ms": 1000 * seconds["whole"],
        "ratio": seconds["whole"] / seconds["bare"],
        "images_per_second": BATCH / seconds["whole"],
    }


def embed_bare(pool: RandomImages, encoder: Encoder, views: int) -> None:
    """What anyone would write: no files, no checks, no progress."""
    name = choose_augmentation("auto", pool.channels, pool.image_size)
    rows = []
    encoder.eval()
    with torch.inference_mode():
        for start in range(0, len(pool), BATCH):
            images = torch.from_numpy(pool.images(np.arange(start, start + BATCH)))
            index = torch.arange(start, start + BATCH)
            total = torch.zeros(())
            for view in range(views):
                shown = random_views(
                    images,
                    index,
                    [view],
                    seed=0,
                    epoch=0,
                    augmentation=AUGMENTATIONS[name],
                    mirror=True,
                )
                total = total + torch.nn.functional.normalize(encoder(shown), dim=1)
            rows.append(total / views)
    torch.cat(rows).numpy()


def bench_embedding(architecture: str, channels: int, image_size: int, repeats: int) -> dict:
    """Embedding to a file, against a bare loop."""
    pool = RandomImages(8 * BATCH, channels, image_size)
    encoder = build_encoder(architecture, channels, image_size, 128, 0)
    path = Path("bench_embeddings.npy")

    def ours() -> None:
        embed(pool, pool.index, encoder, views=4, batch_size=BATCH, path=path, device="cpu")

    try:
        sides = {"bare": lambda: embed_bare(pool, encoder, 4), "ours": ours}
        seconds = median_seconds(sides, max(3, repeats // 3))
    finally:
        path.unlink(missing_ok=True)
    return {
        "bare_images_per_second": len(pool) / seconds["bare"],
        "images_per_second": len(pool) / seconds["ours"],
        "share_of_bare_rate": seconds["bare"] / seconds["ours"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("bench_training.json"))
    arguments = parser.parse_args()
    results = []
    print(f"{torch.get_num_threads()} threads, batch {BATCH}, two views a step, four an embedding")
    print(
        f"{'encoder':<18}{'bare ms':>9}{'step ms':>9}{'ratio':>7}{'img/s':>8}   embed img/s   share"
    )
    for case in CASES:
        architecture, channels, size = case
        repeats = arguments.repeats if architecture == "narrow" else 3
        step, embedding = bench_step(*case, repeats), bench_embedding(*case, repeats)
        results.append({"case": list(case), "step": step, "embedding": embedding})
        print(
            f"{architecture + f' {channels}x{size}':<18}{step['bare_ms']:>9.1f}{step['step_ms']:>9.1f}"
            f"{step['ratio']:>7.2f}{step['images_per_second']:>8.0f}"
            f"{embedding['images_per_second']:>14.0f}{embedding['share_of_bare_rate']:>8.2f}"
        )
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
