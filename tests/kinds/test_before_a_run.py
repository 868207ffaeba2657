"""What a run will need is looked at before its first expensive stage."""

from __future__ import annotations

import collections
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.pipeline import beforehand
from contrasift.pipeline.stages.evaluate import why_not_evaluated
from contrasift.pools import Pool, open_pool
from contrasift.training.foreign import width_of
from contrasift.training.sources import parse_source

TINY = "--image-size 8 --views 1 --architecture narrow:0.125 --proxy-epochs 1 --epochs 1"
TINY += " --batch-size 4 --seeds 1 --restarts 1 --fraction 0.5 --against full"


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 8, 8), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos/DCIM").mkdir(parents=True)
    for number, image in enumerate(images(20)):
        Image.fromarray(image).save(f"photos/DCIM/{number}.png")


def call(text: str, code: int) -> str:
    result = CliRunner().invoke(app, text.split())
    said = " ".join(result.output.split())
    assert result.exit_code == code, said
    assert "Traceback" not in said
    return said


def test_a_pool_of_one_class_is_trained_on_and_not_evaluated(photos):
    said = call(f"run photos --labels folders {TINY} --out run", 0)
    assert said.index("are of one class") < said.index("proxy ...")
    assert "trained but not evaluated" in said
    assert Path("run/training/selected-seed0/encoder.safetensors").exists()
    assert Path("run/report.html").exists()
    assert not Path("run/evaluation").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--encoder proxi", "proxi"),
        ("--classes-encoder proxy,torchvision:resnet51", "resnet51"),
        ("--architecture resnet19x", "resnet19x"),
        ("--negatives difficulty(5", "a policy made of"),
        ("--classes labels", "labels"),
        ("--classes few-labels --few-labels no.csv", "no.csv"),
        ("--device cuda:77", "device"),
    ],
)
def test_a_mistake_in_a_later_stage_is_found_first(photos, more, said):
    result = CliRunner().invoke(app, f"run photos {TINY} {more} --out run".split())
    found = " ".join(result.output.split())
    assert result.exit_code in (1, 2), found
    assert said in found
    assert "Traceback" not in found
    assert not Path("run/stages.json").exists()  # nothing was done


@pytest.mark.parametrize(
    ("flag", "name", "content", "said"),
    [
        ("--classes", "c.txt", "a\nb\n", "20"),
        ("--few-labels", "f.csv", "0,a\n77,b\n", "77"),
        ("--few-labels", "f.csv", "0;a;b\n", "f.csv"),
        ("--scores", "s.txt", "1\n2\n", "20"),
        ("--scores", "s.txt", "1\nx\n", "s.txt"),
    ],
)
def test_a_file_that_a_later_stage_cannot_use_is_found_before_the_proxy(
    photos, flag, name, content, said
):
    Path(name).write_text(content)
    how = {"--few-labels": "--classes few-labels", "--scores": "--objective scores"}
    found = call(f"run photos {TINY} {how.get(flag, '')} {flag} {name} --out run", 1)
    assert said in found
    assert "proxy ..." not in found
    assert not Path("run/training").exists()


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("vit_tiny_patch16_224", 192),
        ("torchvision:resnet18", 512),
        ("open-clip:ViT-B-32/x", 512),
        ("torchvision:squeezenet1_0", 0),
    ],
)
def test_how_wide_encoders_from_elsewhere_are(name, width):
    assert width_of(parse_source(name)) == width


def test_room_is_wanted_for_the_matrices_of_encoders_from_elsewhere(photos, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(beforehand, "_SPARE_BYTES", 0)
    monkeypatch.setattr(beforehand, "_missing_encoders", lambda *_: 0)
    monkeypatch.setattr(Pool, "__len__", lambda pool: 1_000_000)
    said = call(
        f"run photos {TINY} --encoder resnet18 --classes-encoder torchvision:resnet18 --out run", 1
    )
    assert "room for 4,096 MB" in said  # two matrices of 512 numbers of four bytes


def test_a_disk_that_is_too_small_is_found_first(photos, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    assert "0 MB free" in call(f"run photos {TINY} --out run", 1)
    assert not Path("run/stages.json").exists()


def test_a_package_of_a_later_stage_is_missed_first(photos, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)
    said = call(f"run photos {TINY} --classes-encoder open-clip:ViT-B-32/x --out run", 1)
    assert "contrasift[clip]" in said
    assert not Path("run/stages.json").exists()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "no labels"),
        ([0] * 20, "labels are of one class"),
        ([-1] * 20, "no held-out part"),
        ([0, 1] * 10, ""),
        ([0] * 19 + [1], "held-out labels are of one class"),
    ],
)
def test_why_not(labels, reason):
    given = "none" if labels is None else labels
    found = why_not_evaluated(open_pool(images(20), labels=given))
    assert reason in found
    assert bool(found) == bool(reason)
