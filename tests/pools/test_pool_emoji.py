"""Emoji: which picture shows which emoji, classes, families of sets, the split, the cache."""

import json
import re

import pytest

from contrasift.errors import DataError, MissingExtraError
from contrasift.pools import emoji, open_pool
from contrasift.pools.emoji_sets import EmojiNames, EmojiPackages, EmojiSet, install
from pools.test_pool_icons import svg

pytest.importorskip("resvg_py")

EACH = 14  # emoji of a class; three training sets of other drawings are 42 images
GROUPS = {
    "groups": {"0": "smileys-emotion", "2": "component", "9": "flags"},
    "subgroups": {"0": "face-happy", "1": "face-sad", "2": "skin-tone", "3": "country-flag"},
}
# Code points, name, group, subgroup.
KNOWN = [(f"1F6{n:02}", f"thing {n}", 0, n // EACH) for n in range(2 * EACH)] + [
    ("1F3FB", "light skin tone", 2, 2),
    ("1F1E6", "flag: Aruba", 9, 3),
    ("1F7FF", "regional indicator", None, None),
]


def write_set(place, bodies, chars=None, **further):
    place.mkdir(parents=True)
    icons = {name: {"body": body} for name, body in bodies.items()}
    (place / "icons.json").write_text(
        json.dumps({"icons": icons, "width": 48, "height": 48} | further)
    )
    (place / "chars.json").write_text(json.dumps(chars or {}))


def write_labels(place):
    for folder in ("en", "meta"):
        (place / folder).mkdir(parents=True)
    emoji = [{"hexcode": c, "label": n, "group": g, "subgroup": s} for c, n, g, s in KNOWN]
    (place / "en/data.json").write_text(json.dumps(emoji))
    (place / "meta/groups.json").write_text(json.dumps(GROUPS))
    (place / "meta/unicode-names.json").write_text(json.dumps({"1F600": "FORMER NAME"}))
    (place / "package.json").write_text("{}")


def make_packages(root):
    """Two sets by code points, of which one is held out, and two by names, variants of each other."""
    sets = root / "node_modules" / "@iconify-json"
    for number, name in enumerate(("noto", "twemoji", "emojione", "emojione-v1")):
        of = {label: (number, n) for n, (_, label, *_) in enumerate(KNOWN)}
        if name == "twemoji":
            of["thing 3"] = (0, 3)  # noto's, in other colours
        bodies = {label.replace(" ", "-"): body(seed, number) for label, seed in of.items()}
        chars = {code.lower(): label.replace(" ", "-") for code, label, *_ in KNOWN}
        write_set(sets / name, bodies, chars if number < 2 else None)
    write_labels(root / "node_modules" / "emojibase-data")


def body(seed, number):
    text = svg(list(seed), ("#204a87", "#a40000", "#4e9a06", "#c17d11")[number])
    return re.sub("</?svg[^>]*>", "", text)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    root = tmp_path_factory.mktemp("emoji")
    make_packages(root)
    return root


def test_the_pool(packages):
    pool = open_pool(f"emoji:{packages}")
    assert (pool.channels, pool.image_size, pool.mirror) == (3, 32, True)
    assert pool.label_names == ("face-happy", "face-sad")
    assert {id.split("/")[0] for id in pool.ids} == {"noto", "emojione", "emojione-v1"}
    assert [id.split("/")[1] for id in pool.ids] == [pool.label_names[n] for n in pool.labels]
    assert len(pool) == 3 * 2 * EACH
    assert pool.ids[0] == "emojione/face-happy/thing 0"
    assert {id.split("/")[0] for id in pool.test.ids} == {"twemoji"}
    assert len(pool.test) == 2 * EACH - 1
    assert "twemoji/face-happy/thing 3" not in pool.test.ids


def test_an_older_version_is_of_the_same_family(packages):
    drawn = emoji.draw_emoji(EmojiPackages(packages))
    assert drawn.theme_names == ("emojione", "emojione-v1", "noto", "twemoji")
    assert drawn.families.tolist() == [0, 0, 2, 3]


def test_what_is_too_small_is_no_class(packages, monkeypatch):
    monkeypatch.setattr(emoji, "FEWEST_IMAGES", 3 * EACH + 1)
    with pytest.raises(DataError, match="at least 43 images; got the set.* emojione, emojione-v1,"):
        open_pool(f"emoji:{packages}")


def test_which_picture_shows_which_emoji():
    names = EmojiNames(
        {"1f600": "a/one", "1f601": "a/two", "2764": "b/heart"},
        {"one": "1f600", "formerone": "1f600", "two": "1f601", "heart": "2764"},
    )
    bodies = ["one-1", "one-2", "Former One", "Two", "nothing", "red"]
    icons = {name: {"body": f"<g id='{name}'/>"} for name in bodies}
    icons["red"] |= {"left": -2, "height": 20}
    spoken = EmojiSet({"icons": icons, "width": 36, "aliases": {"heart": {"parent": "red"}}}, {})
    found = spoken.pictures(names)
    assert {place: re.findall("id='(.*)'", text) for place, text in found.items()} == {
        "a/one": ["one-1"], "a/two": ["Two"], "b/heart": ["red"],
    }  # fmt: skip
    assert 'viewBox="-2 0 36 20"' in found["b/heart"]
    assert 'viewBox="0 0 36 16"' in found["a/one"]
    # Where there are code points, names do not count.
    by_codes = EmojiSet({"icons": icons}, {"2764-fe0f": "one-2", "1f4a9": "Two"})
    assert list(by_codes.pictures(names)) == ["b/heart"]


def test_the_cache_gives_the_same_pool_until_a_file_changes(packages, monkeypatch):
    first = open_pool(f"emoji:{packages}")
    monkeypatch.setattr(emoji, "draw_emoji", None)  # would fail if it were called
    again = open_pool(f"emoji:{packages}")
    assert again.fingerprint == first.fingerprint
    (packages / "node_modules/@iconify-json/noto/chars.json").touch()
    with pytest.raises(TypeError, match="not callable"):
        open_pool(f"emoji:{packages}")


def test_without_packages_the_command_that_installs_them_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTRASIFT_DATA", str(tmp_path))
    with pytest.raises(DataError, match="none there") as caught:
        open_pool("emoji")
    assert install(tmp_path / "emoji") in str(caught.value)
    assert "@iconify-json/noto@" in str(caught.value)
    assert "emojibase-data@" in str(caught.value)


def test_progress_and_the_library_that_draws(packages, monkeypatch):
    calls = []
    emoji.draw_emoji(EmojiPackages(packages), lambda *call: calls.append(call))
    assert calls == [(done, 8 * EACH) for done in range(1, 8 * EACH + 1)]
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(MissingExtraError, match=r"contrasift\[icons\]"):
        emoji.draw_emoji(EmojiPackages(packages))
