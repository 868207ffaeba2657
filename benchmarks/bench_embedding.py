"""Embedding a folder of small JPEGs beside what it is made of: decoding alone, and the encoder alone.

`embed` decodes a batch while it embeds the one before, so its rate should be near that of the slower
part. Each case takes turns in one process with

- decoding: every image through the pool's own reader and threads, no encoder;
- the encoder: the same views through the same encoder by a bare loop, images in memory.

Where the encoder runs on the very processors that decode, no order of work beats
1 / (1/decoding + 1/encoder), if both use them fully; that bound is printed beside. "A device apart"
is an encoder that waits as long as a batch takes to decode, as for a GPU: nothing but overlap helps.

Run: python benchmarks/bench_embedding.py [--images 20000] [--repeats 3] [--quick] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from contrasift.embedding.embed import embed
from contrasift.pools import Pool, open_pool
from contrasift.training.encoders import Encoder, build_encoder
from contrasift.training.views import (
    AUGMENTATIONS,
    choose_augmentation,
    random_views,
    to_unit_range,
)

RESULTS = Path(__file__).parent / "results"
LIMIT = 0.85
BATCH = 256
SIZE = 64  # the side at which a folder is embedded unless another is asked for


@dataclass(frozen=True)
class Case:
    """An encoder and how it is used.

    Attributes:
        name: in the table.
        encoder: an encoder, or any callable.
        views: random views of an image; 0: the image as it is.
        limit: the share that is asked for; None where the processors themselves forbid it.
    """

    name: str
    encoder: Encoder | Callable[[torch.Tensor], torch.Tensor]
    views: int
    limit: float | None


def write_images(folder: Path, count: int) -> None:
    """JPEGs of smooth noise, from a fixed seed."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        image = coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:06}.jpg", quality=90)


def fresh_pool(folder: Path) -> Pool:
    """The folder, nothing of it decoded yet."""
    return open_pool(str(folder))


def decode(pool: Pool) -> np.ndarray:
    """Every image, through the pool's reader; how `embed` asks for them."""
    places = np.arange(len(pool))
    return np.concatenate(
        [pool.images(places[start : start + BATCH]) for start in range(0, len(pool), BATCH)]
    )


def encode(case: Case, images: np.ndarray) -> None:
    """What anyone would write: no files, no checks, no progress."""
    augmentation = AUGMENTATIONS[choose_augmentation("auto", 3, SIZE)]
    if isinstance(case.encoder, torch.nn.Module):
        case.encoder.eval()
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH])
            index = torch.arange(start, start + len(batch))
            total = torch.zeros(())
            for view in range(max(1, case.views)):
                shown = (
                    random_views(
                        batch,
                        index,
                        [view],
                        seed=0,
                        epoch=0,
                        augmentation=augmentation,
                        mirror=True,
                    )
                    if case.views
                    else to_unit_range(batch)
                )
                total = total + torch.nn.functional.normalize(case.encoder(shown), dim=1)
            (total / max(1, case.views)).numpy()


def embed_folder(case: Case, pool: Pool, path: Path) -> None:
    """What `contrasift embed` does once it knows which images can be read."""
    places = np.arange(len(pool))
    embed(
        pool,
        places,
        case.encoder,
        views=case.views,
        plain_view=case.views == 0,
        batch_size=BATCH,
        path=path,
        device="cpu",
    )


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(case: Case, folder: Path, images: np.ndarray, repeats: int) -> dict[str, Any]:
    """Rates of the three sides, in turns, each on a pool that has decoded nothing."""
    count = len(images)
    shares, rates = [], []
    with tempfile.TemporaryDirectory() as out:
        sides: dict[str, Callable[[Pool], None]] = {
            "decoding": lambda pool: decode(pool),
            "encoder": lambda _: encode(case, images),
            "embed": lambda pool: embed_folder(case, pool, Path(out) / "embeddings.npy"),
        }
        encode(case, images[:BATCH])  # the libraries' own first time
        for turn in range(repeats):
            names = list(sides) if turn % 2 == 0 else list(reversed(sides))
            found = {}
            for name in names:
                pool = fresh_pool(folder)
                found[name] = count / seconds_of(lambda name=name, pool=pool: sides[name](pool))
            shares.append(found["embed"] / min(found["decoding"], found["encoder"]))
            rates.append(found)
    medians = {name: statistics.median(found[name] for found in rates) for name in rates[0]}
    possible = 1 / (1 / medians["decoding"] + 1 / medians["encoder"])
    return {
        "case": case.name,
        "images_per_second": medians,
        "share_of_slower": statistics.median(shares),
        "shares": shares,
        "share_possible_on_shared_processors": possible
        / min(medians["decoding"], medians["encoder"]),
        "limit": case.limit,
    }


def device_apart(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """An encoder that takes as long as decoding does, and no processor."""
    pool = fresh_pool(folder)
    wait = seconds_of(lambda: decode(pool)) * BATCH / len(pool)

    def encoder(images: torch.Tensor) -> torch.Tensor:
        time.sleep(wait * len(images) / BATCH)
        return images[:, :, 0, 0] + 1

    return encoder


def as_markdown(result: dict[str, Any]) -> str:
    """The table."""
    lines = [
        f"{result['images']:,} JPEGs of {SIZE} × {SIZE}, {result['cpus']} cores, load average "
        f"{result['load']:.1f}; medians of {result['repeats']} turns; images a second.",
        "",
        "| | decoding alone | encoder alone | `embed` | of the slower | asked | possible if both share the cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in result["cases"]:
        rate = case["images_per_second"]
        asked = "" if case["limit"] is None else f"{case['limit']:.2f}"
        lines.append(
            f"| {case['case']} | {rate['decoding']:,.0f} | {rate['encoder']:,.0f} | "
            f"{rate['embed']:,.0f} | {case['share_of_slower']:.2f} | {asked} | "
            f"{case['share_possible_on_shared_processors']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2,048 images, once")
    parser.add_argument("--write", action="store_true", help="also into benchmarks/results")
    given = parser.parse_args()
    count, repeats = (2_048, 1) if given.quick else (given.images, given.repeats)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, count)
        images = decode(fresh_pool(folder))
        narrow = build_encoder("narrow", 3, SIZE, 128, 0)
        cases = [
            Case("narrow, 4 views (as by default)", narrow, 4, LIMIT),
            Case("narrow, the image as it is", narrow, 0, None),
            Case("a device apart, as fast as decoding", device_apart(folder), 0, LIMIT),
        ]
        found = [compare(case, folder, images, repeats) for case in cases]
    result = {
        "images": count,
        "repeats": repeats,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": load,
        "cases": found,
    }
    text = as_markdown(result)
    print(text)
    if given.write:
        (RESULTS / "embedding-folder.md").write_text(text, encoding="utf-8")
        (RESULTS / "embedding-folder.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
