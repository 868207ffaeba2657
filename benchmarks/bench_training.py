"""What training, embedding and evaluation cost beside what anyone would write: tables, and JSON.

- `pretrain`, whole (loading, views, loss, optimiser, schedule, logs, checkpoints), beside a bare
  loop with the same network and the same views, and beside lightly's stock `SimCLRTransform` in a
  DataLoader with the same network.
- Our views beside kornia's and torchvision v2's of the same kind, each image with its own numbers.
- `embed` beside a bare loop with the same encoder and the same views.
- The linear probe of 60,000 × 512.

The sides take turns in one process, so that noise from elsewhere hits all alike.

Run: python benchmarks/bench_training.py [--repeats 15] [--steps 40] [--json bench_training.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from contrasift.embedding.embed import embed
from contrasift.evaluation import linear_probe
from contrasift.options import TrainOptions
from contrasift.training.encoders import Encoder, build_encoder
from contrasift.training.pretrain import pretrain
from contrasift.training.views import AUGMENTATIONS, choose_augmentation, random_views

BATCH = 256
CASES = [("narrow", 1, 28), ("narrow", 3, 32), ("resnet10", 3, 32)]
TEMPERATURE = 0.5


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


def nt_xent(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The loss in five lines."""
    z = F.normalize(torch.cat([first, second]), dim=1)
    scores = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z)).roll(len(first))
    return F.cross_entropy(scores, partner)


def bare_steps(pool: RandomImages, architecture: str) -> Iterator[None]:
    """A hand-written training: one step at every `next`."""
    encoder = build_encoder(architecture, pool.channels, pool.image_size, 128, 0).train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    views = AUGMENTATIONS[choose_augmentation("auto", pool.channels, pool.image_size)]
    rng = np.random.default_rng(0)
    epoch = 0
    while True:
        order = rng.permutation(len(pool))
        for start in range(0, len(pool) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            shown = random_views(
                torch.from_numpy(pool.images(batch)),
                torch.from_numpy(pool.index[batch]),
                (0, 1),
                seed=0,
                epoch=epoch,
                augmentation=views,
                mirror=True,
            )
            loss = nt_xent(*encoder(shown).chunk(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield
        epoch += 1


class AsPictures(torch.utils.data.Dataset):
    """The pool as PIL images through a transform, as torchvision's data sets have them."""

    def __init__(self, pool: RandomImages, transform: Callable):
        self._pool, self._transform = pool, transform

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, place: int) -> list[torch.Tensor]:
        from PIL import Image

        pixels = self._pool.images(np.array([place]))[0].transpose(1, 2, 0)
        return self._transform(Image.fromarray(pixels.squeeze()))


def stock_seconds(pool: RandomImages, architecture: str, steps: int, workers: int) -> float:
    """Seconds a step of lightly's stock transform in a DataLoader, with the same network."""
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    grey = pool.channels == 1
    normalize = {"mean": [0.449], "std": [0.226]} if grey else None
    transform = SimCLRTransform(
        input_size=pool.image_size, **({"normalize": normalize} if grey else {})
    )
    loader = torch.utils.data.DataLoader(
        AsPictures(pool, transform),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    encoder = build_encoder(architecture, pool.channels, pool.image_size, 128, 0).train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    loss_function = NTXentLoss(temperature=TEMPERATURE)
    done, begun = -1, 0.0
    while True:
        for first, second in loader:
            loss = loss_function(encoder(first), encoder(second))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done == 0:  # the start of the workers is not counted
                begun = time.perf_counter()
            if done == steps:
                return (time.perf_counter() - begun) / steps


def seconds_of(bare: Iterator[None], steps: int) -> float:
    """Seconds a step."""
    begun = time.perf_counter()
    for _ in range(steps):
        next(bare)
    return (time.perf_counter() - begun) / steps


def bench_loop(architecture: str, channels: int, image_size: int, steps: int) -> dict:
    """`pretrain` and a bare loop, step by step in turns; then the stock pipeline."""
    epochs, few = 3, max(2, steps // 2)
    pool = RandomImages(steps * BATCH, channels, image_size)
    bare, ours, theirs = bare_steps(pool, architecture), [], []
    last = time.perf_counter()

    def after_our_step(done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        next(bare)
        end = time.perf_counter()
        if done > steps:  # the first epoch warms up; checkpoints fall into what comes after them
            ours.append(now - last)
            theirs.append(end - now)
        last = time.perf_counter()

    options = TrainOptions(architecture=architecture, epochs=epochs, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pretrain(
            pool, pool.index, options, seed=0, folder=Path(folder) / "run", device="cpu",
            progress=after_our_step,
        )  # fmt: skip
        # Workers read ahead, so the stock pipeline cannot take turns step by step: bare steps just
        # before and after it say how fast the machine was at that time.
        stock = {}
        for workers in (0, 2):
            before = seconds_of(bare, few)
            seconds = stock_seconds(pool, architecture, few, workers)
            stock[workers] = seconds / statistics.fmean([before, seconds_of(bare, few)])
    mine, bare_mean = statistics.fmean(ours), statistics.fmean(theirs)
    return {
        "step_ms": 1000 * mine,
        "bare_ms": 1000 * bare_mean,
        "ratio": mine / bare_mean,
        "images_per_second": BATCH / mine,
        "times_stock": {str(w): bares * bare_mean / mine for w, bares in stock.items()},
    }


def view_makers(
    channels: int, image_size: int
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """One view of each image of a batch, float in [0, 1], by three libraries."""
    import kornia.augmentation as kornia
    from torchvision.transforms import v2

    name = choose_augmentation("auto", channels, image_size)
    wanted = AUGMENTATIONS[name]
    index, size, colour = torch.arange(BATCH), (image_size, image_size), channels == 3
    crop = {"scale": wanted.scale, "ratio": wanted.ratio}
    jitter = [wanted.brightness, wanted.contrast, wanted.saturation, wanted.hue]
    kornia_colours = (
        [kornia.ColorJitter(*jitter, p=wanted.jitter), kornia.RandomGrayscale(p=wanted.grey)]
        if colour  # kornia's colour jitter takes three channels only
        else [
            kornia.RandomBrightness((1 - jitter[0], 1 + jitter[0]), p=wanted.jitter),
            kornia.RandomContrast((1 - jitter[1], 1 + jitter[1]), p=wanted.jitter),
        ]
    )
    by_kornia = torch.nn.Sequential(
        kornia.RandomResizedCrop(size, **crop), kornia.RandomHorizontalFlip(), *kornia_colours
    )
    grey = [v2.RandomGrayscale(wanted.grey)] if colour else []
    shake = v2.ColorJitter(*(jitter if colour else jitter[:2]))
    by_torchvision = v2.Compose(
        [
            v2.RandomResizedCrop(size, **crop, antialias=False),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([shake], wanted.jitter),
            *grey,
        ]
    )

    def ours(images: torch.Tensor) -> torch.Tensor:
        return random_views(images, index, [0], seed=0, epoch=0, augmentation=wanted, mirror=True)

    return {
        "contrasift": ours,
        "kornia": lambda images: by_kornia(images.float() / 255),
        # A call draws one set of numbers, so that every image needs a call.
        "torchvision_v2": lambda images: torch.stack(
            [by_torchvision(image) for image in images.float() / 255]
        ),
    }


def bench_views(channels: int, image_size: int, repeats: int) -> dict[str, float]:
    """Milliseconds for one view of a batch."""
    images = torch.from_numpy(RandomImages(BATCH, channels, image_size).images(np.arange(BATCH)))
    makers = view_makers(channels, image_size)
    sides = {name: lambda make=make: make(images) for name, make in makers.items()}
    seconds = median_seconds(sides, max(2, repeats // 3))
    return {name: 1000 * value for name, value in seconds.items()}


def bench_probe(rows: int, width: int = 512, classes: int = 10) -> dict:
    """The linear probe, choice of λ included, on rectified features around planted centres."""
    rng = np.random.default_rng(0)
    inner = 64
    mix = rng.normal(size=(inner, width)).astype(np.float32)
    centres, falling = rng.normal(size=(classes, inner)), 1 / np.sqrt(1 + np.arange(inner))

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, classes, count)
        hidden = (centres[labels] + 2 * rng.normal(size=(count, inner))) * falling
        noise = rng.normal(size=(count, width)).astype(np.float32)
        return np.maximum(hidden.astype(np.float32) @ mix + noise / 2, 0), labels

    train, test = draw(rows), draw(max(classes, rows // 6))
    start, processor = time.perf_counter(), time.process_time()
    result = linear_probe(*train, *test)
    return {
        "rows": rows,
        "width": width,
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - processor,
        "accuracy": result.accuracy,
        "converged": result.converged,
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embeddings.npy"

        def ours() -> None:
            embed(pool, pool.index, encoder, views=4, batch_size=BATCH, path=path, device="cpu")

        sides = {"bare": lambda: embed_bare(pool, encoder, 4), "ours": ours}
        seconds = median_seconds(sides, max(3, repeats // 3))
    return {
        "bare_images_per_second": len(pool) / seconds["bare"],
        "images_per_second": len(pool) / seconds["ours"],
        "share_of_bare_rate": seconds["bare"] / seconds["ours"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="of views and embeddings")
    parser.add_argument("--steps", type=int, default=40, help="of an epoch of training")
    parser.add_argument("--probe-rows", type=int, default=60_000)
    parser.add_argument("--cases", type=int, default=len(CASES), help="only the first so many")
    parser.add_argument("--json", type=Path, default=Path("bench_training.json"))
    arguments = parser.parse_args()
    results: dict = {"threads": torch.get_num_threads(), "batch": BATCH, "cases": []}
    print(f"{torch.get_num_threads()} threads, batch {BATCH}, two views a step, four an embedding")
    print(
        f"{'encoder':<16}{'bare ms':>9}{'step ms':>9}{'ratio':>7}{'img/s':>8}"
        f"{'x stock, 0 and 2 workers':>26}{'embed img/s':>13}{'of bare':>9}"
    )
    for case in CASES[: arguments.cases]:
        architecture, channels, size = case
        narrow = architecture == "narrow"
        loop = bench_loop(*case, arguments.steps if narrow else min(3, arguments.steps))
        embedding = bench_embedding(*case, arguments.repeats if narrow else 3)
        results["cases"].append({"case": list(case), "loop": loop, "embedding": embedding})
        stock = " and ".join(f"{times:.2f}" for times in loop["times_stock"].values())
        print(
            f"{f'{architecture} {channels}x{size}':<16}{loop['bare_ms']:>9.1f}{loop['step_ms']:>9.1f}"
            f"{loop['ratio']:>7.2f}{loop['images_per_second']:>8.0f}{stock:>26}"
            f"{embedding['images_per_second']:>13.0f}"
            f"{embedding['share_of_bare_rate']:>9.2f}"
        )
    results["views_ms"] = {}
    for channels, size in ((1, 28), (3, 32)):
        found = bench_views(channels, size, arguments.repeats)
        results["views_ms"][f"{channels}x{size}"] = found
        row = ", ".join(f"{name} {value:.1f} ms" for name, value in found.items())
        print(f"a view of {BATCH} images of {channels}x{size}: {row}")
    results["probe"] = probe = bench_probe(arguments.probe_rows)
    print(
        f"linear probe of {probe['rows']:,} x {probe['width']}: {probe['seconds']:.1f} s "
        f"({probe['processor_seconds']:.1f} s of processors), "
        f"accuracy {probe['accuracy']:.3f}"
    )
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
