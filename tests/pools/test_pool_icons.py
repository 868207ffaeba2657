"""Icons: which file is taken, the drawing, families of themes, the split, the cache."""

import gzip
import itertools

import numpy as np
import pytest
from PIL import Image

from contrasift.errors import DataError, MissingExtraError
from contrasift.pools import icons, named_pools, open_pool
from contrasift.pools.drawn import held_out
from contrasift.pools.icon_drawing import draw_icon, lay_over
from contrasift.pools.icon_families import alike, alike_any, shapes_of, theme_families
from contrasift.pools.icon_names import CONTEXTS, NAMES
from contrasift.pools.icon_themes import find_themes

DRAWN = ("document-new", "edit-cut", "folder", "go-next", "go-previous", "user-home")
pytest.importorskip("resvg_py")


def svg(seed, colour="#204a87", kind="polygon"):
    """Some random polygons: another seed is another drawing, another colour is the same in it."""
    rng = np.random.default_rng(seed)
    shapes = "".join(
        f'<polygon fill="{colour}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'
        for points in rng.integers(0, 49, (3, 4, 2))
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48">{shapes}</svg>'


def make_theme(root, name, drawings, inherits="hicolor", folder="48x48/all"):
    place = root / name / folder
    place.mkdir(parents=True)
    (root / name / "index.theme").write_text(
        f"[Icon Theme]\nName={name}\nInherits={inherits}\nDirectories={folder}\n\n"
        f"[{folder}]\nSize=48\nContext=Actions\n"
    )
    for icon, text in drawings.items():
        (place / f"{icon}.svg").write_text(text)


def drawings(number, colour="#204a87", names=DRAWN):
    return {name: svg([number, DRAWN.index(name)], colour) for name in names}


@pytest.fixture(scope="module")
def themes(tmp_path_factory):
    """Twelve families; one has a recoloured variant, one a recoloured copy of another name."""
    root = tmp_path_factory.mktemp("icons")
    for number in range(12):
        make_theme(root, f"Theme{number}", drawings(number))
    make_theme(root, "Theme3-Red", drawings(3, "#a40000", DRAWN[:2]), "Theme3,hicolor")
    make_theme(root, "Another", drawings(5, "#4e9a06"))
    return root


def test_the_specification_has_each_name_once():
    names = [name for context in CONTEXTS.values() for name in context.split()]
    assert len(names) == len(NAMES) == 284
    assert all(list(text.split()) == sorted(text.split()) for text in CONTEXTS.values())


def test_the_pool(themes):
    pool = open_pool(f"icons:{themes}")
    assert (pool.channels, pool.image_size, pool.mirror) == (3, 48, False)
    assert pool.label_names == DRAWN
    assert [id.split("/")[1] for id in pool.ids] == [DRAWN[label] for label in pool.labels]
    assert list(pool.ids) == sorted(pool.ids, key=lambda id: id.split("/"))
    assert len(pool) + len(pool.test) == 12 * 6 + 2 + 6
    kin = {"Theme3-Red": "Theme3", "Another": "Theme5"}
    of = [
        {kin.get(theme, theme) for theme in (id.split("/")[0] for id in part.ids)}
        for part in (pool, pool.test)
    ]
    assert not of[0] & of[1]
    assert len(of[0] | of[1]) == 12
    assert 0 < len(pool.test) <= 0.2 * (12 * 6 + 8)
    every = np.concatenate([part.images(np.arange(len(part))) for part in (pool, pool.test)])
    assert len({image.tobytes() for image in every}) == len(every)


def test_what_has_too_few_families_is_left_out(themes, tmp_path):
    for place in sorted(themes.iterdir())[:10]:
        (tmp_path / place.name).symlink_to(place)
    with pytest.raises(DataError, match=r"at least 10 families.*got themes of 8 in .*icons\.txt"):
        open_pool(f"icons:{tmp_path}")
    with pytest.raises(DataError, match="got themes of 0"):
        open_pool(f"icons:{themes / 'Another'}")


def test_the_fittest_file_is_taken(tmp_path):
    folders = {"16": 16, "32": 32, "48": 48, "64": 64, "scalable": 128}
    index = "[Icon Theme]\nInherits=A, B,A\nDirectories=" + ",".join(folders) + ",none,48\n"
    for folder, size in folders.items():
        index += f"[{folder}]\nSize={size}\n"
        (tmp_path / "T" / folder).mkdir(parents=True)
    index += "Type=Scalable\nMinSize=8\nMaxSize=512\n[64x]\nSize=half\n"
    (tmp_path / "T" / "index.theme").write_text(index)

    def touch(*paths):
        for path in paths:
            (tmp_path / "T" / path).touch()

    touch("16/folder.png", "16/go-up.svg", "32/folder.png", "64/folder.png", "48/other.png")
    touch("16/edit-cut.png", "scalable/go-up.svg", "64/go-down.png", "48/go-down.xpm")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.theme").write_text("no section")
    (theme,) = find_themes([tmp_path, tmp_path / "nothing"], NAMES)
    found = {
        name: [str(path.relative_to(tmp_path / "T")) for path in paths]
        for name, paths in theme.files.items()
    }
    assert found == {
        "folder": ["64/folder.png", "32/folder.png"],
        "go-down": ["64/go-down.png"],
        "go-up": ["scalable/go-up.svg", "16/go-up.svg"],
    }
    assert theme.inherits == ("A", "B")


def test_vectors_and_rasters_are_centred_in_their_proportions(tmp_path):
    bar = '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}"><rect width="100" height="100" fill="red"/></svg>'
    (tmp_path / "wide.svg").write_text(bar.format(100, 50))
    (tmp_path / "high.svgz").write_bytes(gzip.compress(bar.format(50, 100).encode()))
    Image.new("RGBA", (64, 32), (255, 0, 0, 255)).save(tmp_path / "wide.png")
    for name, box in (
        ("wide.svg", (0, 12, 48, 36)),
        ("high.svgz", (12, 0, 36, 48)),
        ("wide.png", (0, 12, 48, 36)),
    ):
        icon = draw_icon(tmp_path / name)
        assert Image.fromarray(icon).getchannel("A").getbbox() == box
        assert icon[24, 24].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize("content", [b"", b"no picture", b"<svg/>", svg(0, "none").encode()])
@pytest.mark.parametrize("suffix", [".svg", ".svgz", ".png"])
def test_what_cannot_be_drawn_is_left_out(tmp_path, content, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert draw_icon(tmp_path / f"a{suffix}") is None
    assert draw_icon(tmp_path / f"absent{suffix}") is None


def test_pale_icons_stand_on_dark_grey():
    icon = np.zeros((48, 48, 4), np.uint8)
    icon[10:38, 10:38] = (230, 230, 230, 255)
    assert set(np.unique(lay_over(icon))) == {48, 230}
    icon[10:38, 10:38, :3] = 100
    assert set(np.unique(lay_over(icon))) == {100, 255}
    icon[10:38, 10:38, 3] = 128
    assert np.unique(lay_over(icon)).tolist() == [177, 255]


def icon_of(tmp_path, text):
    (tmp_path / "a.svg").write_text(text)
    return draw_icon(tmp_path / "a.svg")


def test_colours_make_no_other_drawing(tmp_path):
    shaded = svg(1).replace("#204a87", "#eeeeec", 1)
    reversed_ = svg(1, "#222222").replace("#222222", "#ccddff", 1)
    texts = [svg(1), svg(1, "#eeeeec"), svg(2), shaded, reversed_]
    shapes = shapes_of(np.array([icon_of(tmp_path, text) for text in texts]))
    pairs = np.array(list(itertools.combinations(range(5), 2)))
    same = {(int(one), int(other)) for one, other in pairs[alike(shapes, *pairs.T)]}
    assert same == {(0, 1), (3, 4)}  # one colour, and two that changed places
    assert alike_any(shapes, np.array([0, 2, 4]), np.array([1, 3])).tolist() == [True, False, True]
    assert alike_any(shapes, np.array([], int), np.array([1])).tolist() == []
    assert alike_any(shapes, np.array([1]), np.array([], int)).tolist() == [False]


def naive_families(same, themes):
    """Smallest number that can be reached from each theme, by walking until nothing changes."""
    kin = list(range(len(themes)))
    for _ in themes:
        for one, other in itertools.permutations(range(len(themes)), 2):
            if (one, other) in same or (other, one) in same:
                kin[one] = min(kin[one], kin[other])
    return kin


@pytest.mark.parametrize("seed", range(4))
def test_families_are_those_of_a_naive_version(tmp_path, seed):
    rng = np.random.default_rng(seed)
    pictures = shapes_of(np.array([icon_of(tmp_path, svg(k)) for k in range(40)]))
    themes = [(f"T{n}", ()) for n in range(6)] + [("T0-Blue", ("X", "T0")), ("T1-Red", ())]
    names = [f"n{k}" for k in range(10)]
    taken = rng.integers(0, 40, (len(themes), 10))  # what each draws under each name
    taken[3, :4], taken[4, 4:] = taken[2, :4], taken[3, 4:]
    drawn = [(theme, name) for theme in range(len(themes)) for name in names]
    rows = taken.ravel()
    shapes = type(pictures)(
        pictures.outline[rows], pictures.opacity[rows], pictures.brightness[rows]
    )
    same = {(0, 6)}
    for one, other in itertools.combinations(range(len(themes)), 2):
        equal = sum(taken[one, k] == taken[other, k] for k in range(10))
        if equal >= 5:
            same.add((one, other))
    assert theme_families(shapes, drawn, themes).tolist() == naive_families(same, themes)
    assert len(same) >= 2
    assert theme_families(shapes_of(np.zeros((0, 48, 48, 4), np.uint8)), [], []).tolist() == []


def test_the_test_part_fits_into_a_fifth_and_is_never_empty():
    names = [f"family {number}" for number in range(60)]
    sizes = np.random.default_rng(0).integers(1, 50, 60)
    families = np.repeat(np.arange(60), sizes)
    chosen = held_out(families, names)
    share = sizes[chosen].sum() / sizes.sum()
    assert 0.17 < share <= 0.2
    assert held_out(np.array([0, 0, 1, 1, 1]), names) == [0]
    assert held_out(np.array([0, 0]), names) == []
    assert held_out(np.array([], int), names) == []


def test_a_link_to_another_name_gives_way_and_copies_stay_out_of_the_test_part(themes, tmp_path):
    for place in themes.iterdir():
        if place.name != "Theme0":
            (tmp_path / place.name).symlink_to(place)
    make_theme(tmp_path, "Theme0", drawings(0, names=("go-next",)))
    (tmp_path / "Theme0/48x48/all/folder.svg").symlink_to("go-next.svg")
    before = icons.draw_icons(find_themes([tmp_path], NAMES))
    own = [
        name
        for name, theme in zip(before.names, before.themes, strict=True)
        if before.theme_names[theme] == "Theme0"
    ]
    assert own == ["go-next"]
    assert not before.copied.any()
    # A tested family takes one drawing of a trained one, in other colours.
    tested, trained = (
        next(
            before.theme_names[t]
            for t, of in zip(before.themes, before.testing, strict=True)
            if of == part
            and before.theme_names[t].startswith("Theme")
            and before.theme_names[t] != "Theme0"
        )
        for part in (True, False)
    )
    number = int(trained.removeprefix("Theme"))
    (tmp_path / tested).unlink()
    own = drawings(int(tested.removeprefix("Theme")))
    make_theme(
        tmp_path, tested, own | {"go-next": svg([number, DRAWN.index("go-next")], "#c17d11")}
    )
    after = icons.draw_icons(find_themes([tmp_path], NAMES))
    copied = [
        (after.theme_names[after.themes[row]], after.names[row])
        for row in np.flatnonzero(after.copied)
    ]
    assert copied == [(tested, "go-next")]
    assert f"{tested}/go-next" not in open_pool(f"icons:{tmp_path}").test.ids


def test_the_cache_gives_the_same_pool(themes, monkeypatch):
    calls = []
    first = open_pool(f"icons:{themes}", progress=lambda *call: calls.append(call))
    assert calls == [(done, 80) for done in range(1, 81)]
    monkeypatch.setattr(icons, "draw_icons", None)  # would fail if it were called
    again = open_pool(f"icons:{themes}")
    assert again.fingerprint == first.fingerprint
    assert list(again.test.ids) == list(first.test.ids)
    monkeypatch.undo()


def test_without_the_library_that_draws_vectors(themes, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(MissingExtraError, match=r"contrasift\[icons\]"):
        open_pool(f"icons:{themes}")


def test_it_is_listed():
    info = {pool.name: pool for pool in named_pools()}["icons"]
    assert info.available == icons.enough_themes()
