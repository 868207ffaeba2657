"""Folders: what counts as an image, in which order, under which id."""

import os
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import DataError, UsageError
from contrasift.pools import UnreadableExample, base, open_pool, scan, scan_pool
from contrasift.pools.labels import natural_key


def save(path, colour=(10, 20, 30), size=(12, 12), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for place in ("b/img10.png", "b/img9.png", "a/2.jpg", "top.bmp", "a/deep/er/x.webp"):
        save(root / place)
    return root


def test_natural_order_of_relative_paths(folder):
    pool = open_pool(folder, image_size=8)
    assert list(pool.ids) == ["a/2.jpg", "a/deep/er/x.webp", "b/img9.png", "b/img10.png", "top.bmp"]
    assert np.array_equal(pool.index, np.arange(5))
    assert (pool.name, pool.channels, pool.image_size, pool.mirror) == ("photos", 3, 8, True)
    assert pool.labels is None
    assert pool.test is None
    assert open_pool(folder).image_size == 64


def test_natural_key_is_a_total_order():
    names = ["a10", "a9", "a09", "a", "10", "9", "²", "x1y10", "x1y9", ""]
    ordered = sorted(names, key=natural_key)
    backwards = list(reversed(names))
    assert ordered == sorted(backwards, key=natural_key)
    assert ordered.index("a9") < ordered.index("a10")
    assert ordered.index("x1y9") < ordered.index("x1y10")
    assert len({natural_key(name) for name in names}) == len(names)


def test_other_files_are_counted_and_hidden_ones_are_not(folder):
    (folder / "notes.txt").write_text("no image")
    (folder / "b" / "list.csv").write_text("no image")
    save(folder / ".hidden.png")
    save(folder / ".thumbnails" / "x.png")
    pool = open_pool(folder)
    assert len(pool) == 5
    assert pool.passed_over.files == {".txt": 1, ".csv": 1}


def test_two_hundred_images_five_of_them_corrupt(tmp_path, monkeypatch):
    """The case of issue 2: 195 examples, and five with reasons."""
    monkeypatch.setattr(scan, "_CHUNK", 64)
    root = tmp_path / "many"
    for number in range(200):
        save(root / f"{number}.png", (number, 0, 0))
    spoilt = {3: b"", 50: b"not a png", 99: None, 150: b"\x89PNG\r\n\x1a\n", 199: None}
    for number, data in spoilt.items():
        path = root / f"{number}.png"
        path.write_bytes(path.read_bytes()[:45] if data is None else data)
    calls = []
    pool = open_pool(root, image_size=8)
    examples = scan_pool(pool, lambda done, total: calls.append((done, total)))
    assert len(examples) == 200
    assert examples.unreadable == 5
    assert {i for i, error in enumerate(examples.error) if error} == set(spoilt)
    assert all(error and "\n" not in error for error in map(examples.error.__getitem__, spoilt))
    assert np.array_equal(examples.row[examples.positions], np.arange(195))
    assert np.all(examples.row[list(spoilt)] == -1)
    assert np.all(examples.label == -1)
    assert calls[-1] == (200, 200)
    images = pool.images(examples.positions)
    assert np.array_equal(images[:, 0, 0, 0], examples.positions)  # each image is its own
    for position in spoilt:
        with pytest.raises(UnreadableExample, match="expected an image that can be read"):
            pool.read(position)


def test_kept_and_decoded_images_are_the_same(folder, monkeypatch, rng):
    for number in range(20):
        pixels = rng.integers(0, 256, (17, 23, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"noise{number}.png")
    wanted = np.array([4, 0, 4, 21, 7, 0])
    kept = open_pool(folder, image_size=10)
    first, again = kept.images(wanted), kept.images(wanted)
    monkeypatch.setattr(base, "KEPT_IN_MEMORY_BYTES", 0)
    decoded = open_pool(folder, image_size=10).images(wanted)
    assert np.array_equal(first, decoded)
    assert np.array_equal(again, decoded)
    for place, position in enumerate(wanted):
        assert np.array_equal(kept.read(int(position)).transpose(2, 0, 1), decoded[place])
    assert kept.images([]).shape == (0, 3, 10, 10)


def test_images_are_decoded_once(folder, monkeypatch):
    pool = open_pool(folder, image_size=8)
    scan_pool(pool)
    monkeypatch.setattr(pool._source, "decode", None)  # would fail if it were called
    assert pool.images(range(5)).shape == (5, 3, 8, 8)


def test_what_is_read_does_not_share_memory_with_what_is_kept(folder):
    pool = open_pool(folder, image_size=8)
    before = pool.images([0])
    pool.read(0)[:] = 255
    pool.images([0])[:] = 255
    assert np.array_equal(pool.images([0]), before)


def test_positions_outside_are_refused(folder):
    pool = open_pool(folder)
    for position in (-1, 5):
        with pytest.raises(IndexError, match=r"0\.\.4"):
            pool.read(position)
        with pytest.raises(IndexError, match=r"0\.\.4"):
            pool.images([position])


def test_grey_only_if_all_are(tmp_path):
    for number in range(4):
        save(tmp_path / "grey" / f"{number}.png", 90, mode="L")
    assert open_pool(tmp_path / "grey").channels == 1
    save(tmp_path / "grey" / "9.png")
    assert open_pool(tmp_path / "grey").channels == 3
    assert np.all(open_pool(tmp_path / "grey", image_size=8).read(0) == 90)


def test_labels_from_sub_folders(folder):
    pool = open_pool(folder, labels="folders", holdout=0)
    assert pool.label_names == ("a", "b")
    assert pool.labels.tolist() == [0, 0, 1, 1, -1]
    assert pool.test is None
    held_out = open_pool(folder, labels="folders", holdout=0.5)
    assert sorted([*held_out.index, *held_out.test.index]) == list(range(5))
    assert held_out.test.labels.tolist() == [0, 1]


def test_no_sub_folders_to_take_labels_from(tmp_path):
    for name in "ab":
        save(tmp_path / "flat" / f"{name}.png")
    with pytest.raises(DataError, match=r"class sub-folders.*labels=none"):
        open_pool(tmp_path / "flat", labels="folders")


def test_labels_from_a_file(folder, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n\ncat\r\ndog\n", encoding="utf-8")
    pool = open_pool(folder, labels=str(tmp_path / "labels.txt"), holdout=0)
    assert pool.label_names == ("cat", "dog")
    assert pool.labels.tolist() == [0, 1, -1, 0, 1]
    np.save(tmp_path / "labels.npy", np.array([7, 7, 10, -1, 10]))
    pool = open_pool(folder, labels=tmp_path / "labels.npy", holdout=0)
    assert pool.label_names == ("7", "10")
    assert pool.labels.tolist() == [0, 0, 1, -1, 1]


def test_a_label_file_that_does_not_match(folder, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"each of the 5 images; got 2 labels.*one label a line"):
        open_pool(folder, labels=str(tmp_path / "labels.txt"))
    with pytest.raises(UsageError, match=r"auto, folders, none.*nothing\.txt"):
        open_pool(folder, labels="nothing.txt")
    (tmp_path / "bad.npy").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="label file"):
        open_pool(folder, labels=str(tmp_path / "bad.npy"))
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n" * 5)
    with pytest.raises(DataError, match="UTF-8"):
        open_pool(folder, labels=str(tmp_path / "latin.txt"))


def test_hostile_names_survive(tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    names = ["sp ace.png", "new\nline.png", "ümlaut.png", "-rf.png", "$(x);'\".png", "%s{0}.png"]
    raw = [os.fsencode(name) for name in names] + [b"\xff\xfe.png", b"\xe9.png"]
    for name in raw:
        save(root / "x.png")
        os.rename(os.fsencode(root / "x.png"), os.path.join(os.fsencode(root), name))
    pool = open_pool(root, image_size=8)
    assert set(pool.ids) == {*names, "\\xff\\xfe.png", "\\xe9.png"}
    assert scan_pool(pool).unreadable == 0
    "".join(pool.ids).encode("utf-8")  # so that Parquet takes them
    assert len(pool.fingerprint) == 32


def test_links_are_followed_but_loops_end(folder):
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "a" / "up").symlink_to("..", target_is_directory=True)
    outside = folder.parent / "elsewhere"
    save(outside / "z.png")
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    (folder / "second").symlink_to(outside, target_is_directory=True)
    (folder / "file.png").symlink_to(outside / "z.png")
    (folder / "gone.png").symlink_to(outside / "nothing.png")
    pool = open_pool(folder)
    assert sorted(pool.ids) == sorted(
        [
            "a/2.jpg",
            "a/deep/er/x.webp",
            "b/img9.png",
            "b/img10.png",
            "top.bmp",
            *["linked/z.png", "file.png", "gone.png"],
        ]
    )
    examples = scan_pool(pool)
    assert examples.error[examples.id.index("gone.png")] == "No such file or directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    pool = open_pool(folder)
    assert len(pool) == 5
    assert pool.passed_over.files == {".png": 1}


@pytest.mark.parametrize(("n_images", "n_others"), [(0, 0), (0, 3), (1, 0)])
def test_too_few_images(tmp_path, n_images, n_others):
    root = tmp_path / "few"
    root.mkdir()
    for number in range(n_images):
        save(root / f"{number}.png")
    for number in range(n_others):
        (root / f"{number}.txt").touch()
    with pytest.raises(DataError, match=rf"at least two images.*got {n_images} image"):
        open_pool(root)


@pytest.mark.parametrize("n_good", [0, 1])
def test_too_few_images_that_can_be_read(tmp_path, n_good):
    root = tmp_path / "bad"
    for number in range(3):
        save(root / f"{number}.png")
        if number >= n_good:
            (root / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=rf"got {n_good} of 3 in bad; .*an empty file"):
        scan_pool(open_pool(root))


def test_folders_that_cannot_be_listed(folder, monkeypatch):
    with pytest.raises(UsageError, match=r"nowhere, which is none of them.*Named sets: .*digits"):
        open_pool("nowhere")
    with pytest.raises(UsageError, match="another kind of file"):
        open_pool(folder / "top.bmp")
    list_folder = os.scandir

    def forbidden(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    pool = open_pool(folder)
    assert list(pool.ids) == ["a/2.jpg", "b/img9.png", "b/img10.png", "top.bmp"]
    assert pool.passed_over.unlisted == (("a/deep/", "Permission denied"),)
    with pytest.raises(DataError, match=r"deep: Permission denied.*you may read it"):
        open_pool(folder / "a" / "deep")


def test_the_fingerprint_changes_with_what_matters_and_only_then(folder):
    def of(**options):
        return open_pool(folder, **options).fingerprint

    first = of()
    assert of() == first
    assert of(image_size=64) == first
    assert of(seed=1) == first  # no limit, no draw
    others = [of(image_size=32), of(limit=3), of(limit=4), of(labels="folders")]
    save(folder / "b" / "img11.png")
    others.append(of())
    (folder / "b" / "img11.png").unlink()
    os.utime(folder / "top.bmp", ns=(1, 1))
    others.append(of())
    assert len({first, *others}) == 1 + len(others)


def test_threads_do_not_mix_up_images(tmp_path):
    root = tmp_path / "many"
    for number in range(64):
        save(root / f"{number}.png", (number, 255 - number, 7))
    pool = open_pool(root, image_size=4)
    results = [None] * 4

    def work(place):
        results[place] = pool.images(np.arange(64))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for images in results:
        assert np.array_equal(images[:, 0, 0, 0], np.arange(64))
        assert np.array_equal(images[:, 1, 3, 3], 255 - np.arange(64))


def test_opening_pools_needs_no_torch():
    import subprocess

    code = "import sys, contrasift.pools as p; p.named_pools(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
