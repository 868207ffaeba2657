from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from reproduce.cell import Cell
from reproduce.render.pictures import (
    ShownPool,
    chooses,
    map_picture,
    nearest_selected,
    pairs_picture,
)


def chosen(sizes, seed=0, share=0.2):
    rng = np.random.default_rng(seed)
    classes = np.repeat([f"<{k}>" for k in range(len(sizes))], sizes)
    values = rng.normal(size=(classes.size, 5)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    selected = rng.random(classes.size) < share
    return ShownPool(values, classes, selected, lambda row: f"data:image/png;base64,{row}")


def rows_shown(text):
    images = [one for one in ElementTree.fromstring(text).iter() if one.tag.endswith("image")]
    return [int(one.get("href").rpartition(",")[2]) for one in images]


def test_pairs_are_of_one_class_and_their_distances_those_of_the_formula():
    one = chosen([30, 3, 20])
    text = pairs_picture(one)
    assert "<script" not in text
    rows = rows_shown(text)
    assert len(rows) == 2 * 2 * 4 * 2  # two classes, near and far, four pairs of two
    written = [t.text for t in ElementTree.fromstring(text).iter() if t.tag.endswith("text")]
    assert "class <0>" in written
    assert "class <1>" not in written  # three examples are too few
    for i, j in zip(rows[::2], rows[1::2], strict=True):
        assert one.classes[i] == one.classes[j]
        assert f"{2 - 2 * one.values[i] @ one.values[j]:.3f}" in written


def test_links_lead_to_the_nearest_selected():
    one = chosen([40])
    found = nearest_selected(one.values, one.selected)
    rows = np.flatnonzero(one.selected)
    for i, j in enumerate(found):
        if one.selected[i]:
            assert j == i
        else:
            distances = ((one.values[rows] - one.values[i]) ** 2).sum(axis=1)
            assert j == rows[distances.argmin()]
    assert (nearest_selected(one.values, np.zeros(40, bool)) == -1).all()


def test_a_map_links_every_example_and_shows_selected_ones_first():
    one = chosen([25, 12])
    text = map_picture(one)
    tree = ElementTree.fromstring(text)
    lines = [t.get("d") for t in tree.iter() if t.tag.endswith("path")]
    assert sum(d.count("M") for d in lines) == (~one.selected).sum()
    frames = [t for t in tree.iter() if t.tag.endswith("rect")]
    shown = rows_shown(text)
    assert 0 < len(frames) <= one.selected.sum()
    assert one.selected[shown].sum() == len(frames)
    assert len(shown) > len(frames)


def test_nothing_selected_and_classes_too_small_are_no_faults():
    assert rows_shown(map_picture(chosen([9], share=0.0))) == []
    assert rows_shown(map_picture(chosen([2]))) == []
    assert rows_shown(pairs_picture(chosen([1, 2]))) == []


def test_what_can_be_pictured():
    base = {"pool.pool": "digits", "select.fraction": 0.2}
    assert chooses(Cell.of(base, 0))
    for other in (
        {"select.objective": "random"},
        {"select.fraction": 1.0, "train.negatives": "~same_latent_class"},
        {"arm.trained": False},
        {"arm.kept": "last"},
    ):
        assert not chooses(Cell.of({**base, **other}, 0))
