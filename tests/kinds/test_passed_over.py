"""What a folder holds besides its images: odd links, folders that may not be listed, other kinds of files."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import DataError
from contrasift.options import RunOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import scan
from contrasift.pools import open_pool, scan_pool
from contrasift.pools.passed_over import PassedOver
from contrasift.store.run import RunFolder

# 32 × 32, four quarters; its Exif says Orientation 6, which HEIF gives no meaning.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAb5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAA"
    "AAAAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB4gABAAAAAAAAAIEAAgAAAAACYwABAAAAAAAAACQAAAA4aWluZgAA"
    "AAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA/Wlwcn"
    "AAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroC"
    "QGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm"
    "5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAACAAAAABAAAAIAAAAAH////gAAAAAv///+AA"
    "AAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQ"
    "ABAAAArW1kYXQAAAB9KAGvCeAhOTQeQ9Wdv/+Muf/+sWu9f9q413wtc3++vG+f/KZEB841nf5zL5TX/HinT1ZrhfV4"
    "p4Hp4KnpGT2p4rz3lSRnJgP2XNQAjH7cX1dZACzr8VSAwyajwj82o6uRE8mlgRkwgDRhyEsSXc4LfqaQkPzVLygsTu"
    "j1A/AAAAAGRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA="
)


def images(folder: Path, n: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.new("RGB", (32, 32), (40 * number, 0, 9)).save(folder / f"{number}.png")
    return folder


def said_by_scan(pool: Path, out: str) -> str:
    """What the first stage of every command that begins a run says."""
    lines: list[str] = []
    teller = SimpleNamespace(
        quiet=True,
        say=lines.append,
        working=lambda *_: nullcontext(),
        progress=lambda *_: nullcontext(lambda *_: None),
    )
    options = RunOptions.from_mapping({"pool": {"pool": str(pool)}})
    folder = RunFolder(out)
    folder.path.mkdir()
    scan(Run(folder, options, teller))
    return "\n".join(lines)


def test_files_passed_over_are_told_with_what_opens_them():
    photos = images(Path("photos"))
    for number in range(100):
        (photos / f"IMG_{number}.HEICS2").touch()
        (photos / f"DSC{number}").touch()
    (photos / "film.MOV").touch()
    words = said_by_scan(photos, "run")
    assert "passed over 201 other file(s): 100 without extension (if they are" in words
    assert "100 .heics2, 1 .mov (films: take frames out of them)" in words
    facts = json.loads(Path("run/stages.json").read_text())["scan"]["facts"]
    assert facts["passed_over"] == {".heics2": 100, "": 100, ".mov": 1}
    with pytest.raises(
        DataError, match=r"0 image\(s\) below .*other; passed over 1 other file\(s\): 1 .jxl"
    ):
        other = Path("other")
        other.mkdir()
        (other / "a.jxl").touch()
        open_pool(other)


def test_without_the_plug_in_the_extra_is_named(tmp_path):
    photos = images(tmp_path / "photos")
    for number in range(100):
        (photos / f"{number}.HEIC").write_bytes(HEIC)
    code = (
        "import sys; sys.modules['pi_heif'] = sys.modules['pillow_heif'] = None\n"
        "import contrasift as cs; pool = cs.open_pool(sys.argv[1])\n"
        "print(len(pool), *pool.passed_over.in_words())"
    )
    run = [sys.executable, "-c", code, str(photos)]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert told.startswith(
        "6 passed over 100 other file(s): 100 .heic (pip install 'contrasift[heif]'"
    )


@pytest.mark.skipif(importlib.util.find_spec("pi_heif") is None, reason="extra heif not installed")
def test_heic_is_read_where_the_plug_in_is(tmp_path):
    photos = images(tmp_path / "photos")
    (photos / "a.HEIC").write_bytes(HEIC)
    pool = open_pool(photos, image_size=32)
    assert pool.passed_over.total == 0
    quarters = pool.read(list(pool.ids).index("a.HEIC"))[[4, 4, 28], [4, 28, 4], 0]
    assert np.abs(quarters.astype(int) - [10, 80, 160]).max() < 5
    assert scan_pool(pool).unreadable == 0


def odd_links(folder: Path) -> dict[str, str]:
    """Links that are no use, and why, by their names without extension."""
    (folder / "file.txt").touch()
    targets = {
        "itself": ("itself", "Too many levels of symbolic links"),
        "through": ("file.txt/x", "Not a directory"),
        "long": ("n" * 300, "File name too long"),
        "nothing": ("nowhere", "No such file or directory"),
    }
    for name, (target, _) in targets.items():
        for suffix in ("", ".png"):
            own = f"{name}{suffix}" if name == "itself" else target
            (folder / f"{name}{suffix}").symlink_to(own)
    return {name: reason for name, (_, reason) in targets.items()}


def test_odd_links_are_listed_left_out_and_named(tmp_path):
    photos = images(tmp_path / "photos")
    reasons = odd_links(photos)
    pool = open_pool(photos)
    assert dict(pool.passed_over.unlisted) == reasons
    assert pool.passed_over.files == {".txt": 1}
    examples = scan_pool(pool)
    errors = {id: error for id, error in zip(examples.id, examples.error, strict=True) if error}
    assert errors == {f"{name}.png": reason for name, reason in reasons.items()}
    assert len(examples.positions) == 6


def test_a_subfolder_that_may_not_be_listed_is_left_out_and_named(monkeypatch):
    photos = images(Path("photos"))
    images(photos / "lost+found")
    list_folder = os.scandir

    def forbidden(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    words = said_by_scan(photos, "run")
    assert "6 examples" in words
    assert "left out lost+found/: Permission denied" in words


def test_many_are_summed_up():
    many = PassedOver.of(
        [extension for n in range(12) for extension in [f".x{n}"] * (n + 1)],
        [(f"d{n}/", "Permission denied") for n in range(10)],
    )
    first, *rest = many.in_words()
    assert first.startswith("passed over 78 other file(s): 12 .x11, 11 .x10")
    assert first.endswith(", 10 others")
    assert rest[-1] == "... and 2 more that cannot be followed"
    assert PassedOver().in_words() == []
