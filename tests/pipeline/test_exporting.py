"""Exports: what leaves a run comes back as the same examples, is whole, and stays in its place."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import ContrasiftError, DataError, RunFolderError, UsageError
from contrasift.options import RunOptions
from contrasift.pipeline.export import FORMS, export
from contrasift.pipeline.export.whole import safe_path
from contrasift.pools import open_pool, scan_pool
from contrasift.store.run import RunFolder
from contrasift.store.tables import read_table, write_table


def pixels(number, side=12):
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(number, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, form)
    return file.getvalue()


def make_folder(count=20, root="photos"):
    for number in range(count):
        form, suffix = (("PNG", "png"), ("JPEG", "JPG"))[number % 2]
        path = Path(root, "ab"[number % 2], f"{number}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, form))
    return root


def make_tar(names, label=None, path="x.tar"):
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(names):
            members = [(f"{name}.png", encoded(number))]
            if label is not None:
                members.append((f"{name}.{label[0]}", label[1][number % len(label[1])].encode()))
            for full, data in members:
                info = tarfile.TarInfo(full)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def make_run(pool, run="run", every=3, classes=("a", "b"), **options):
    """A run folder as `embed`, `classes` and `select` leave it, without their work."""
    opened = open_pool(pool, **options)
    examples = scan_pool(opened)
    names = np.array([*opened.label_names, None], dtype=object)
    folder = RunFolder(run)
    folder.write_options(RunOptions.from_mapping({"pool": {"pool": str(pool), **options}}))
    write_table(
        Path(run, "examples.parquet"),
        {
            "index": examples.index,
            "id": list(examples.id),
            "label": names[examples.label].tolist(),
            "error": list(examples.error),
            "row": examples.row,
        },
    )
    index = examples.index[examples.row >= 0][::-1]  # by class and rank, in no order of the index
    n = len(index)
    write_table(
        Path(run, "selection.parquet"),
        {
            "index": index,
            "latent_class": [classes[row % len(classes)] for row in range(n)],
            "rank": np.arange(n) // len(classes),
            "gain": np.linspace(1, 0, n),
            "selected": np.arange(n) % every == 0,
        },
    )
    return Path(run)


def selected(run):
    """Index, id, label, class and rank of the selected, by index, read without the code under test."""
    table = read_table(run / "selection.parquet")
    examples = read_table(run / "examples.parquet")
    name = dict(
        zip(examples["index"], zip(examples["id"], examples["label"], strict=True), strict=True)
    )
    rows = zip(
        *(table[k][table["selected"]] for k in ("index", "latent_class", "rank")), strict=True
    )
    return [(i, *name[i], c, r) for i, c, r in sorted(rows)]


def pictures(pool):
    return pool.images(range(len(pool)))


@pytest.fixture(params=["folder", "tar", "parquet", "hf", "npz", "named"])
def source(request):
    """A labelled pool of every kind, and its options."""
    if request.param == "folder":
        return make_folder(), {"labels": "folders", "image_size": 12}
    if request.param == "tar":
        return make_tar([f"k{n:03}" for n in range(20)], ("cls", "01")), {"image_size": 12}
    if request.param == "npz":
        images = np.stack([pixels(n) for n in range(20)])
        np.savez("x.npz", images=images, labels=np.arange(20) % 2)
        return "x.npz", {}
    if request.param == "named":
        return "digits", {"limit": 20}
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["x", "y"])
    )
    rows = {"image": [Image.fromarray(pixels(n)) for n in range(20)], "label": [0, 1] * 10}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    if request.param == "parquet":
        dataset.to_parquet("x.parquet")
        return "x.parquet", {"image_size": 12}
    dataset.save_to_disk("saved")
    return "hf:saved", {"image_size": 12}


def test_images_come_back_with_their_ids_and_pixels(source):
    run = make_run(source[0], **source[1])
    count = export(run, "images", Path("out/kept"))
    was = open_pool(source[0], **source[1])
    wanted = selected(run)
    assert count == len(wanted) > 3
    back = open_pool("out/kept", image_size=was.image_size)
    by_id = {id: place for place, id in enumerate(back.ids)}
    assert len(back) == count
    assert back.passed_over.total == 0
    for index, id, *_ in wanted:
        place = by_id.get(id, by_id.get(f"{id}.png", by_id.get(f"{id}.jpg")))
        there = int(np.searchsorted(was.index, index))
        if source[0] != "digits":  # whose 8 × 8 pixels are enlarged by another rule
            assert np.array_equal(back.read(place), was.read(there))
        assert back.encoded(place)[0] == was.encoded(there)[0]
    assert os.listdir("out") == ["kept"]  # no lock, no part


def test_shards_come_back_with_their_ids_labels_and_pixels(source):
    run = make_run(source[0], **source[1])
    wanted = selected(run)
    assert export(run, "webdataset", Path("shards"), shard_size=3) == len(wanted)
    assert len(os.listdir("shards")) == -(-len(wanted) // 3)
    was = open_pool(source[0], **source[1])
    back = open_pool("shards", image_size=was.image_size)
    parts = [(back, p) for p in range(len(back))]
    parts += [(back.test, p) for p in range(len(back.test))] if back.test else []
    assert len(parts) == len(wanted)
    found = {}
    for pool, place in parts:
        shard, key = pool.ids[place].split("/")
        with tarfile.open(f"shards/{shard}") as tar:
            facts = json.load(tar.extractfile(f"{key}.json"))
        assert int(key) == facts["index"]
        code = -1 if pool.labels is None else pool.labels[place]
        label = pool.label_names[code] if code >= 0 else None
        assert label == facts.get("label")
        there = int(np.searchsorted(was.index, facts["index"]))
        assert pool.encoded(place)[0] == was.encoded(there)[0]
        found[facts["index"]] = (facts["id"], label, facts["latent_class"], facts["rank"])
    assert found == {row[0]: row[1:] for row in wanted}


def test_shards_are_read_by_the_webdataset_package():
    import importlib

    pytest.importorskip("webdataset")
    tariterators = importlib.import_module("webdataset.tariterators")
    run = make_run(make_folder(), labels="folders", image_size=12)
    export(run, "webdataset", Path("shards"), shard_size=4)
    wanted = selected(run)
    found = []
    for path in sorted(Path("shards").iterdir()):
        with open(path, "rb") as stream:
            files = tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
            found += list(tariterators.group_by_keys(files))
    assert [json.loads(sample["json"])["id"] for sample in found] == [row[1] for row in wanted]
    assert [sample["txt"].decode() for sample in found] == [row[2] for row in wanted]


def test_the_same_selection_gives_the_same_shards():
    run = make_run(make_folder(), labels="folders", image_size=12)
    for name in ("one", "two"):
        export(run, "webdataset", Path(name))
    assert Path("one/shard-000000.tar").read_bytes() == Path("two/shard-000000.tar").read_bytes()


def test_a_dataset_comes_back_with_its_ids_labels_and_pixels(source):
    datasets = pytest.importorskip("datasets")
    run = make_run(source[0], **source[1])
    wanted = selected(run)
    assert export(run, "hf", Path("d")) == len(wanted)
    loaded = datasets.load_from_disk("d")
    was = open_pool(source[0], **source[1])
    if source[0].startswith("hf:"):
        whole = datasets.load_from_disk("saved")
        chosen = whole.select([row[0] for row in wanted])
        assert loaded.features == whole.features
        assert loaded["label"] == chosen["label"]
    else:
        rows = [loaded[k] for k in ("index", "id", "latent_class", "rank")]
        names = loaded.features["label"].names
        labels = [names[code] for code in loaded["label"]]
        assert list(zip(*rows[:2], labels, *rows[2:], strict=True)) == wanted
    for place, (index, *_) in enumerate(wanted):
        there = int(np.searchsorted(was.index, index))
        expected = np.asarray(Image.open(io.BytesIO(was.encoded(there)[0])))
        assert np.array_equal(np.asarray(loaded[place]["image"]), expected)
    assert not [name for name in os.listdir("d") if name.startswith(".")]
    back = open_pool("d", image_size=was.image_size, labels="none")
    assert len(back) == len(wanted)


def fiftyone_layout(folder):
    """Check the documented layout: metadata.json, samples.json, data/; returns the samples."""
    assert sorted(os.listdir(folder)) == ["data", "metadata.json", "samples.json"]
    metadata = json.loads(Path(folder, "metadata.json").read_text())
    assert "version" not in metadata  # else FiftyOne takes it for a dump of its database
    assert metadata["media_type"] == "image"
    content = json.loads(Path(folder, "samples.json").read_text(encoding="utf-8"))
    assert list(content) == ["samples"]
    for sample in content["samples"]:
        assert not os.path.isabs(sample["filepath"])
        assert (
            Path(folder, sample["filepath"])
            .resolve()
            .is_relative_to(Path(folder, "data").resolve())
        )
        assert Path(folder, sample["filepath"]).is_file()
        assert all(isinstance(tag, str) for tag in sample["tags"])
        for name in sample:  # names of fields: no dots, not of the database
            assert name.isidentifier()
            assert not name.startswith("_")
        for label in (sample["latent_class"], sample.get("ground_truth")):
            assert label is None or (label["_cls"], type(label["label"])) == ("Classification", str)
    return content["samples"]


def test_fiftyone_gets_every_example_in_its_documented_layout(source):
    run = make_run(source[0], classes=(3, 7), **source[1])
    count = export(run, "fiftyone", Path("gallery"))
    samples = fiftyone_layout("gallery")
    table = read_table(run / "selection.parquet")
    assert count == len(samples) == len(table["index"])
    assert [sample["pool_index"] for sample in samples] == sorted(table["index"])
    chosen = [sample for sample in samples if sample["selected"]]
    assert [
        (
            s["pool_index"],
            s["pool_id"],
            s["ground_truth"]["label"],
            int(s["latent_class"]["label"]),
            s["rank"],
        )
        for s in chosen
    ] == selected(run)
    assert all(("selected" in s["tags"]) == s["selected"] for s in samples)


def test_fiftyone_reads_it_with_its_own_importer():
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    run = make_run(make_folder(), labels="folders")
    export(run, "fiftyone", Path("gallery"))
    importer = importers.FiftyOneDatasetImporter(os.path.abspath("gallery"))
    with importers._handle_legacy_formats(importer) as reader:
        samples = list(reader)
    assert len(samples) == len(read_table(run / "selection.parquet")["index"])
    assert all(os.path.isfile(sample.filepath) for sample in samples)


def test_indices_and_ids_by_index():
    run = make_run(make_folder(), labels="folders")
    wanted = selected(run)
    export(run, "indices", Path("i.npy"))
    export(run, "indices", Path("i.txt"))
    export(run, "ids", Path("ids.txt"))
    assert np.load("i.npy").tolist() == [row[0] for row in wanted]
    assert [int(line) for line in Path("i.txt").read_text().split()] == [row[0] for row in wanted]
    assert Path("ids.txt").read_text().split("\n")[:-1] == [row[1] for row in wanted]


def test_hard_links_and_copies(tmp_path):
    run = make_run(make_folder(), labels="folders")
    export(run, "images", Path("links"), link="hard")
    export(run, "images", Path("copies"), link="copy")
    for _, id, *_ in selected(run):
        assert os.path.samefile(Path("links", id), Path("photos", id))
        assert not os.path.samefile(Path("copies", id), Path("photos", id))
        assert Path("copies", id).read_bytes() == Path("photos", id).read_bytes()


def test_what_a_link_points_to_is_linked():
    make_folder()
    Path("photos/c").mkdir()
    for number in range(3):
        Path(f"photos/c/{number}.png").symlink_to("../a/0.png")
    run = make_run("photos", every=1)
    export(run, "images", Path("kept"))
    assert not Path("kept/c/1.png").is_symlink()
    assert os.path.samefile("kept/c/1.png", "photos/a/0.png")


def test_copies_where_links_are_impossible_and_it_is_said(monkeypatch):
    run = make_run(make_folder(), labels="folders")
    asked = []

    def other_device(source, target):
        asked.append(source)
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    said = []
    with monkeypatch.context() as patch:
        patch.setattr("contrasift.pipeline.export.images.os.link", other_device)
        export(run, "images", Path("kept"), say=said.append)
    assert "Invalid cross-device link" in said[-1]
    assert "copying instead" in said[-1]
    assert len([text for text in said if "copying" in text]) == 1
    for _, id, *_ in selected(run):
        assert Path("kept", id).read_bytes() == Path("photos", id).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_ever_overwritten(form):
    run = make_run(make_folder(), labels="folders")
    ending = {"indices": ".npy", "datacomp": ".npy", "rows": ".parquet"}.get(form, "")
    out = Path(f"out{ending}")
    if form in ("indices", "ids", "datacomp", "rows"):
        out.write_text("mine")
        with pytest.raises(RunFolderError, match="a new file for out="):
            export(run, form, out)
        assert out.read_text() == "mine"
        return
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="an empty or new folder.*holds files"):
        export(run, form, out)
    assert os.listdir(out) == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    if form == "metadata":  # of what was selected from a matrix alone
        return
    export(run, form, out)  # an empty folder is as good as none
    with pytest.raises(RunFolderError, match="an empty or new folder"):
        export(run, form, out)
    Path("file").write_text("")
    with pytest.raises(RunFolderError, match="a new folder for out=; got .*file, a file"):
        export(run, form, Path("file"))


@pytest.mark.parametrize("form", ["images", "webdataset", "hf", "fiftyone"])
def test_what_fails_half_way_leaves_nothing(form):
    if form == "hf":
        pytest.importorskip("datasets")
    run = make_run(make_folder(), labels="folders", every=1)

    def full(done, total):
        if done >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        ContrasiftError, match=r"to write .*kept; got No space left on device\. Free"
    ):
        export(run, form, Path("out/kept"), progress=full)
    assert os.listdir("out") == []
    Path("photos/b/9.JPG").unlink()
    Path("photos/b/9.JPG").symlink_to("nothing")
    with pytest.raises(DataError, match=r"the image of b/9\.JPG; got [Nn]o such file"):
        export(run, form, Path("out/kept"))
    assert os.listdir("out") == []


def test_an_image_that_has_gone_is_named():
    run = make_run(make_tar([f"k{n}" for n in range(8)]), every=1)
    data = Path("x.tar").read_bytes()
    options = (run / "options.yaml").read_text()
    os.truncate("x.tar", len(data) // 2)
    with pytest.raises(DataError, match="a whole tar shard"):
        export(run, "images", Path("kept"))
    assert (run / "options.yaml").read_text() == options
    Path("x.tar").write_bytes(data)
    make_tar([f"other{n}" for n in range(8)])
    with pytest.raises(RunFolderError, match="8 new image.s., such as .*; 8 gone"):
        export(run, "images", Path("kept"))
    assert not Path("kept").exists()


_KILLED = """
import sys, time
from pathlib import Path
from contrasift.pipeline.export import export
def slow(done, total):
    print(done, flush=True)
    time.sleep(60 if done == 3 else 0)
export(Path("run"), sys.argv[1], Path("kept"), progress=slow)
"""


@pytest.mark.parametrize("form", ["images", "webdataset"])
def test_an_export_that_was_killed_is_not_taken_for_a_finished_one(form):
    run = make_run(make_folder(), labels="folders")
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, form], stdout=subprocess.PIPE, text=True
    )
    with child:
        while child.stdout.readline().strip() != "3":
            assert child.poll() is None
        # While it runs, nobody else may write there.
        with pytest.raises(RunFolderError, match="alone"):
            export(run, form, Path("kept"))
        child.send_signal(signal.SIGKILL)
    assert not Path("kept").exists()
    assert [name for name in os.listdir() if "contrasift-part" in name]
    said = []
    count = export(run, form, Path("kept"), say=said.append)
    assert any("interrupted: beginning anew" in text for text in said)
    assert count == len(selected(run))
    assert not [name for name in os.listdir() if "contrasift" in name]


def test_hostile_ids_stay_inside():
    names = ["../../up", "/tmp/absolute", "a/../../b", ".dot", "x\ny", "<b>", "é", "..", "d/./e"]
    names = [name if name != ".dot" else "p/.q/dot" for name in names if name != ".."]
    pool = make_tar(names, ("txt", ["../../label", "<script>"]))
    Path("deep/er").mkdir(parents=True)
    for number, form in enumerate(("images", "webdataset", "hf", "fiftyone")):
        if form == "hf":
            pytest.importorskip("datasets")
        run = make_run(pool, f"run{number}", every=1, image_size=12, labels="none")
        before = set(Path().resolve().rglob("*"))
        export(run, form, Path("deep/er", form))
        new = set(Path().resolve().rglob("*")) - before
        assert all(path.is_relative_to(Path("deep/er", form).resolve()) for path in new)
        assert not any(path.is_symlink() for path in new)
    assert not Path("/tmp/absolute.png").exists()
    kept = open_pool("deep/er/images", image_size=12)
    assert len(kept) == len(names)
    expected = ["up", "tmp/absolute", "a/b", "p/_q/dot", "x\ny", "<b>", "é", "d/e"]
    assert sorted(kept.ids) == sorted(f"x.tar/{name}.png" for name in expected)
    fiftyone_layout("deep/er/fiftyone")


def test_ids_that_would_share_a_name_do_not():
    # All of them would be x.tar/a.png, or need x.tar/a.png to be a folder.
    names = ["a", "./a", "b/../a", "a.png/c", "l" * 300, "m" * 250 + "/n"]
    pool = make_tar([name for name in names if name != "./a"])
    run = make_run(pool, every=1, image_size=12)
    export(run, "images", Path("kept"))
    kept = open_pool("kept", image_size=12)
    assert len(kept) == len(names) - 1
    was = open_pool(pool, image_size=12)
    assert sorted(p.tobytes() for p in pictures(kept)) == sorted(p.tobytes() for p in pictures(was))


@pytest.mark.parametrize(
    ("id", "path"),
    [
        ("a/b.png", "a/b.png"),
        ("../../x", "x"),
        ("/etc/passwd", "etc/passwd"),
        ("a//b/./c", "a/b/c"),
        (".bashrc", "_bashrc"),
        ("...", "_.."),
        ("a\0b", "a_b"),
        ("..", None),
        ("", None),
        ("/", None),
        ("x" * 256, None),
        ("x/" * 1000, None),
    ],
)
def test_safe_path(id, path):
    found = safe_path(id)
    assert path == (None if found is None else found.as_posix())


def test_a_run_from_a_bare_matrix_has_indices_only():
    run = make_run(make_folder(), labels="folders")
    (run / "examples.parquet").unlink()
    assert export(run, "indices", Path("i.npy")) == len(np.load("i.npy"))
    for form in ("ids", "images", "webdataset", "hf", "fiftyone"):
        with pytest.raises(RunFolderError, match="examples with ids.*Export its indices"):
            export(run, form, Path("out"))
    assert not Path("out").exists()


def test_one_example_and_no_labels():
    run = make_run(make_folder(), every=100)
    for form in ("images", "webdataset", "hf", "fiftyone"):
        if form == "hf":
            pytest.importorskip("datasets")
        expected = 20 if form == "fiftyone" else 1
        assert export(run, form, Path(form)) == expected
    with tarfile.open("webdataset/shard-000000.tar") as tar:
        assert [Path(name).suffix for name in tar.getnames()] == [".jpg", ".json"]
    assert all("ground_truth" not in sample for sample in fiftyone_layout("fiftyone"))


def test_no_export_into_the_pool():
    run = make_run(make_folder(), labels="folders")
    for form in ("images", "webdataset", "hf", "fiftyone"):
        with pytest.raises(UsageError, match="out= outside of the pool; got photos/kept"):
            export(run, form, Path("photos/kept"))
    assert sorted(os.listdir("photos")) == ["a", "b"]


def test_arguments_that_mean_nothing():
    run = make_run(make_folder(), labels="folders")
    with pytest.raises(UsageError, match="to= to be one of.*image"):
        export(run, "imags", Path("x"))
    with pytest.raises(UsageError, match="link="):
        export(run, "images", Path("x"), link="soft")
    with pytest.raises(UsageError, match="shard_size= of at least 1"):
        export(run, "webdataset", Path("x"), shard_size=0)
    with pytest.raises(UsageError, match=r"\.npy or \.txt"):
        export(run, "indices", Path("x.csv"))
    with pytest.raises(RunFolderError, match="contrasift select"):
        export(Path("nowhere"), "indices", Path("x.npy"))


def test_the_command(contrasift):
    run = make_run(make_folder(), labels="folders")
    count = len(selected(run))
    said = contrasift("export", run, "--to", "images", "--link", "copy", "--out", "kept")
    assert said.stdout == f"{count} examples -> kept\n"
    said = contrasift(
        "export", run, "--to", "webdataset", "--shard-size", 2, "--out", "s", "--json"
    )
    assert json.loads(said.stdout) == {"examples": count, "to": "webdataset", "out": "s"}
    assert (
        "--to images or fiftyone"
        in contrasift("export", run, "--link", "copy", "--out", "x.npy", code=2).output
    )
    assert (
        "--to webdataset"
        in contrasift("export", run, "--shard-size", 5, "--out", "x.npy", code=2).output
    )
    assert "holds files" in contrasift("export", run, "--to", "hf", "--out", "kept", code=1).output
