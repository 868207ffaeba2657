"""A pool is grey only where every image of it is."""

from __future__ import annotations

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contrasift.pools import open_pool
from contrasift.pools.base import channels_of


def png(colour: object, mode: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (8, 8), colour).save(file, "PNG")
    return file.getvalue()


GREY, RED = png(90, "L"), png((255, 0, 0), "RGB")


def write(form: str, data: list[bytes], folder):
    if form == "folder":
        (folder / "photos").mkdir()
        for number, image in enumerate(data):
            (folder / "photos" / f"{number}.png").write_bytes(image)
        return folder / "photos"
    if form == "parquet":
        pq.write_table(pa.table({"image": pa.array(data)}), folder / "t.parquet", row_group_size=50)
        return folder / "t.parquet"
    with tarfile.open(folder / "t.tar", "w") as tar:
        for number, image in enumerate(data):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(image)
            tar.addfile(member, io.BytesIO(image))
    return folder / "t.tar"


@pytest.mark.parametrize("form", ["folder", "tar", "parquet"])
def test_forty_red_images_among_four_hundred_grey_ones(form, tmp_path):
    """Between the 64 that a sample would look at."""
    data = [GREY] * 440
    for place in range(3, 440, 11):
        data[place] = RED
    sampled = {round(439 * step / 63) for step in range(64)}
    data = [GREY if place in sampled else image for place, image in enumerate(data)]
    pool = open_pool(write(form, data, tmp_path), image_size=8)
    assert pool.channels == 3
    assert RED in data
    assert pool.read(data.index(RED))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["folder", "tar", "parquet"])
def test_a_pool_of_grey_images_stays_grey(form, tmp_path):
    assert open_pool(write(form, [GREY] * 200, tmp_path), image_size=8).channels == 1


@given(
    st.lists(st.sampled_from([True, True, True, True, None]), min_size=1, max_size=300),
    st.integers(0, 299) | st.none(),
    st.booleans(),
)
def test_one_coloured_image_anywhere_makes_a_pool_coloured(answers, place, every):
    if place is not None:
        answers[place % len(answers)] = False
    expected = 1 if True in answers and False not in answers else 3
    found = channels_of(len(answers), answers.__getitem__, 3, every=every)
    seen_all = every or len(answers) <= 64
    assert found == (expected if seen_all else 3)
