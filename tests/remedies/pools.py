"""Remedies of pools, labels, texts and named sets, followed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import contrasift as cs
from contrasift.matrices import open_embeddings
from contrasift.pools import glyphs, named, parquet
from contrasift.text.collection import open_texts
from pools import test_pool_emoji as emoji
from pools import test_pool_icons as icons
from pools import test_pool_named as sets
from remedies.cases import Case, images, picture, pictures, rows, table, written
from remedies.parts import hugging_face

IDS = [f"id{n}" for n in range(12)]


def by_file(content: str, source: Any = None) -> Any:
    source = images() if source is None else source
    return cs.open_pool(source, labels=written(content, "l.txt"), holdout=0)


def in_table(column: Any, **given: Any) -> Any:
    path = table("p.parquet", image=[picture()] * 12, label=column)
    return cs.open_pool(path, holdout=0, **given)


def go_without(labels: Any) -> Any:
    """A column of labels is not read, or others are read in its place."""
    in_table(labels, labels="none")
    in_table(labels, labels=written("a\nb\n" * 6, "l.txt"))


def no_text() -> pa.Array:
    """Bytes that are no UTF-8 in a column of text."""
    raw = pa.array([b"\xff", b"a"] * 6)
    return pa.Array.from_buffers(pa.string(), 12, raw.buffers())


def unlike(label: Any) -> str:
    for name, labels in (("a", [0, 1, 0]), ("b", label)):
        table(f"u/{name}.parquet", image=[picture()] * 3, label=labels)
    return "u/*.parquet"


def broken_labels() -> Any:
    """A data set whose column of labels cannot be read."""
    found = hugging_face()

    def fail(*_: Any) -> Any:
        raise OSError("no such file")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(found), "select_columns", only_images(type(found).select_columns))
        return cs.open_pool(found, holdout=0)


def only_images(select: Callable[..., Any]) -> Callable[..., Any]:
    def selecting(self: Any, columns: list[str]) -> Any:
        if columns == ["label"]:
            raise OSError("the file of this column is gone")
        return select(self, columns)

    return selecting


def large_groups(most: int) -> Any:
    """A table whose groups of rows hold all of its images, or one each."""
    path = Path("p.parquet")
    pq.write_table(
        pa.table({"image": [picture()] * 12}), path, row_group_size=most, use_dictionary=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "MOST_GROUP_BYTES", 5 * len(picture()))
        return cs.open_pool(path, holdout=0)


def tar_of(*names: str) -> Any:
    import io
    import tarfile

    with tarfile.open("t.tar", "w") as file:
        for name in names:
            about = tarfile.TarInfo(name)
            about.size = len(picture())
            file.addfile(about, io.BytesIO(picture()))
    return cs.open_pool("t.tar", holdout=0)


LABELS = {
    "a table of ids": (
        lambda: by_file("\n".join(IDS)),
        "the columns id and label",
        lambda: (
            by_file("id,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(12))),
            cs.open_pool(images(), labels="none", holdout=0),
        ),
    ),
    "ids for labels": (
        lambda: in_table(IDS),
        "Go without it (labels='none'), or name a file",
        lambda: go_without(IDS),
    ),
    "fractions for labels": (
        lambda: in_table([0.5, 1.5] * 6),
        "Go without it (labels='none'), or name a file",
        lambda: go_without([0.5, 1.5] * 6),
    ),
    "bytes for labels": (
        lambda: in_table(no_text()),
        "Go without it (labels='none'), or name a file",
        lambda: go_without(no_text()),
    ),
    "a column that is damaged": (
        lambda: cs.open_pool(damaged_labels(), holdout=0),
        "Go without it (labels='none'), or name a file",
        lambda: (
            cs.open_pool(damaged_labels(), labels="none", holdout=0),
            cs.open_pool(damaged_labels(), labels=written("a\nb\n" * 6, "l.txt"), holdout=0),
        ),
    ),
    "labels that cannot be read": (
        broken_labels,
        "Go without it (labels='none'), or name a file",
        lambda: (
            cs.open_pool(hugging_face(), labels="none", holdout=0),
            cs.open_pool(hugging_face(), labels=written("a\nb\na\n", "l.txt"), holdout=0),
        ),
    ),
    "a label an image": (
        lambda: cs.open_pool(images(), labels=[0, 1] * 3),
        "Give one label a line",
        lambda: (
            by_file("a\n\n" * 6),
            by_file("id,label\n0,a\n1,b\n"),
            cs.open_pool(images(), labels=[0, 1] * 6, holdout=0),
        ),
    ),
}


def damaged_labels() -> Path:
    """A table whose images are whole, and whose column of labels is not."""
    path = table("p.parquet", image=[picture()] * 12, label=[0, 1] * 6)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[begin : begin + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    return path


FOLDERS = {
    "a limit": (
        lambda: cs.open_pool(images(), limit=1),
        "Raise the limit",
        lambda: cs.open_pool(images(), limit=2),
    ),
    "a folder that may be listed": (
        lambda: not_listed(pictures("p")),
        "Check that it exists and that you may read it",
        lambda: cs.open_pool("p", labels="none"),
    ),
    "smaller groups of rows": (
        lambda: large_groups(12),
        "`row_group_size=100`",
        lambda: large_groups(2),
    ),
    "members of a shard": (
        lambda: tar_of("README"),
        "Members are named key.jpg",
        lambda: tar_of("a.png", "b.png"),
    ),
}


def not_listed(folder: str) -> Any:
    """The file system refuses a folder, whoever asks."""

    def refuse(place: Any) -> Any:
        raise PermissionError(13, "Permission denied", place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contrasift.pools.folder.os.scandir", refuse)
        return cs.open_pool(folder, labels="none")


def drawn(folder: Path, families: int) -> Any:
    """A folder of fonts, each of a family of its own; what they draw is noise."""
    for number in range(families):
        written("a font", f"{folder}/{number}.ttf")

    def draw(files: list[Path], *_: Any) -> glyphs.Glyphs:
        names = tuple(file.stem for file in files)
        fonts = np.repeat(np.arange(len(files)), 2)
        noise = np.random.default_rng(0).integers(0, 256, (len(fonts), 32, 32), dtype=np.uint8)
        return glyphs.Glyphs(noise, np.arange(len(fonts)) % 2, fonts, names, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "_cached_glyphs", draw)
        return cs.open_pool(f"glyphs:{folder}")


def themed(families: int) -> Any:
    for number in range(families):
        icons.make_theme(Path("themes"), f"Theme{number}", icons.drawings(number))
    return cs.open_pool("icons:themes")


def opened(name: str) -> Any:
    """A named set as it is found on a machine that has no set but those in its data folder."""
    with pytest.MonkeyPatch.context() as patch:
        Path("data").mkdir(exist_ok=True)
        patch.setenv("CONTRASIFT_DATA", str(Path("data").absolute()))
        patch.setattr(named, "_FASHION_DEBIAN", Path("nowhere"))
        patch.setitem(sys.modules, "torchvision.datasets", offline())
        return cs.open_pool(name)


def offline() -> ModuleType:
    """torchvision without a network."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    package = ModuleType("torchvision.datasets")
    package.FashionMNIST = fail  # type: ignore[attr-defined]
    return package


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cifar100(folder: Path) -> None:
    written("\n".join(f"thing{n}" for n in range(100)), f"{folder}/fine_label_names.txt")
    for name in ("train", "test"):
        records = rng().integers(0, 100, (4, 3074), dtype=np.uint8)
        records.tofile(folder / f"{name}.bin")


def imagenet(folder: Path, places: str = "{split}/{wnid}/{wnid}.JPEG") -> None:
    for wnid in ("n01440764", "n01443537"):
        for split in ("train", "val"):
            usual = "{split}/{wnid}/{wnid}.JPEG" if split == "train" else places
            sets.save(folder / usual.format(split=split, wnid=wnid), 99)
        sets.save(folder / "train" / wnid / "b.JPEG", 9)


# Where each set is unpacked, below the data folder, and how it gets there.
SETS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "cifar10": ("cifar-10-batches-bin", lambda folder: sets.write_cifar10(folder, rng())),
    "cifar100": ("cifar-100-binary", cifar100),
    "stl10": ("stl10_binary", lambda folder: sets.write_stl10(folder, rng())),
    "tiny-imagenet": ("tiny-imagenet-200", sets.write_tiny_imagenet),
    "imagenet": ("imagenet", imagenet),
    "emoji": ("emoji", emoji.make_packages),
}


def emoji_with(damage: Callable[[Path], Any]) -> Any:
    """Packages of which something is wrong."""
    emoji.make_packages(Path("some"))
    damage(Path("some/node_modules"))
    return opened("emoji:some")


def emoji_anew() -> Any:
    shutil.rmtree("some/node_modules")
    emoji.make_packages(Path("some"))
    return opened("emoji:some")


def got(name: str) -> Case:
    """A set that is absent, and then lies in the data folder, or in one that is named."""
    unpacked, write = SETS[name]

    def right() -> None:
        for place, text in ((Path("data", unpacked), name), (Path("mine"), f"{name}:mine")):
            place.parent.mkdir(exist_ok=True)
            write(place)
            opened(text)

    return lambda: opened(name), f"{name}:FOLDER", right


def with_others(root: str) -> Any:
    """Tiny ImageNet with a class that it does not have, or as it is published."""
    sets.write_tiny_imagenet(Path(root))
    if root == "other":
        written("n02\n", "other/wnids.txt")
    return opened(f"tiny-imagenet:{root}")


def fashion_here() -> None:
    sets.write_fashion(Path("data/FashionMNIST/raw"), rng())
    opened("fashion-mnist")
    sets.write_fashion(Path("mine"), rng())
    opened("fashion-mnist:mine")


def moved_into_folders() -> None:
    for file in list(Path("flat/val").glob("*.JPEG")):
        file.parent.joinpath(file.stem).mkdir()
        file.rename(file.parent / file.stem / file.name)
    opened("imagenet:flat")


NAMED = {
    **{name: got(name) for name in SETS},
    "fashion-mnist": (
        lambda: opened("fashion-mnist"),
        "dataset-fashion-mnist",
        fashion_here,
    ),
    "a set of other classes": (
        lambda: with_others("other"),
        "tiny-imagenet:FOLDER",
        lambda: with_others("published"),
    ),
    "validation in class folders": (
        lambda: (imagenet(Path("flat"), "{split}/{wnid}.JPEG"), opened("imagenet:flat")),
        "Move each of them into the folder of its class",
        moved_into_folders,
    ),
    "fonts": (
        lambda: drawn(Path("fonts"), 4),
        "name a folder of .ttf and .otf files (glyphs:FOLDER)",
        lambda: drawn(Path("fonts"), 5),
    ),
    "themes": (
        lambda: cs.open_pool(f"icons:{Path(pictures('few')).absolute()}"),
        "name a folder of themes (icons:FOLDER)",
        lambda: themed(12),
    ),
    "a damaged package": (
        lambda: emoji_with(lambda place: (place / "emojibase-data/en/data.json").write_text("[")),
        "some/node_modules and run: npm install --prefix some",
        emoji_anew,
    ),
    "no set to hold out": (
        lambda: emoji_with(lambda place: shutil.rmtree(place / "@iconify-json/twemoji")),
        "Run: npm install --prefix some",
        emoji_anew,
    ),
}


def of_a_data_set(**given: Any) -> Any:
    import datasets

    found = datasets.Dataset.from_dict({"body": ["a b", "c d"] * 6, "label": ["x", "y"] * 6})
    found.save_to_disk("texts")
    return open_texts("hf:texts", holdout=0, **given)


def ag_news(folder: str) -> str:
    for part in ("train", "test"):
        written('"1","a title","a text"\n"2","another","of it"\n' * 6, f"{folder}/{part}.csv")
    return f"ag-news:{folder}"


def of_the_data_folder(name: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRASIFT_DATA", str(Path("data").absolute()))
        return open_texts(name)


def fortunes(folder: str) -> Any:
    """What Debian's packages put there: texts between lines of `%`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contrasift.text.collection._FORTUNES", Path(folder))
        return open_texts("fortunes")


TEXTS = {
    "a limit of texts": (
        lambda: open_texts(written("a b\nc d\ne f\n"), limit=1),
        "Raise the limit",
        lambda: open_texts("f.txt", limit=2),
    ),
    "Debian's packages": (
        lambda: fortunes("games"),
        "fortunes and fortunes-min",
        lambda: (written("a b\n%\nc d\n%\n" * 9, "games/some"), fortunes("games")),
    ),
    "AG News": (
        lambda: of_the_data_folder("ag-news"),
        "ag-news:FOLDER",
        lambda: (
            ag_news("data/ag-news"),
            of_the_data_folder("ag-news"),
            open_texts(ag_news("mine")),
        ),
    ),
    "a column of texts": (
        of_a_data_set,
        "text_column=",
        lambda: of_a_data_set(text_column="body"),
    ),
    "labels of texts": (
        lambda: open_texts(written("a b\n" * 12), labels=str(written("\n".join(IDS), "l.txt"))),
        "the columns id and label",
        lambda: open_texts(
            "f.txt", labels=str(written("id,label\n0,a\n1,b\n", "l.txt")), holdout=0
        ),
    ),
}


def without_network(place: str, **given: Any) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.load_dataset", fail)
        return open_embeddings(place, **given)


def data_set(name: str, splits: tuple[str, ...] = ("train",)) -> str:
    import datasets

    part = datasets.Dataset.from_dict({"z": rows().tolist()})
    datasets.DatasetDict(dict.fromkeys(splits, part)).save_to_disk(name)
    return name


DATA_SETS = {
    "a data set in a folder": (
        lambda: without_network("hf:somebody/embeddings:train"),
        "a data set saved to a folder is hf:FOLDER",
        lambda: without_network("hf:" + data_set("saved")),
    ),
    "a split": (
        lambda: open_embeddings("hf:" + data_set("saved", ("train", "test"))),
        "hf:saved:SPLIT",
        lambda: open_embeddings("hf:saved:train"),
    ),
}
CASES = {
    "labels": LABELS,
    "folders": FOLDERS,
    "named": NAMED,
    "texts": TEXTS,
    "data sets": DATA_SETS,
}
