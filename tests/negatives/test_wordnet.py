from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from contrasift.errors import DataError
from contrasift.negatives import wordnet
from contrasift.negatives.wordnet import (
    class_synsets,
    depth_table,
    find_wordnet,
    read_synset_file,
    read_wordnet,
)

# entity(1) <- thing(2) <- animal(3) <- dog(4); thing <- pet(5) <- dog; animal <- cat(6) <- tom(7);
# another root: 9. Words, pointers and glosses as WordNet has them.
SMALL = """  1 This software and database is being provided to you, the LICENSEE
  2 by Princeton University
00000001 03 n 01 entity 0 001 ~ 00000002 n 0000 | all there is
00000002 03 n 02 thing 0 object 1 002 @ 00000001 n 0000 ~ 00000003 n 0000 | a thing | with a bar
00000003 05 n 01 animal 0 001 @ 00000002 n 0000 | it lives
00000004 05 n 0a dog 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 002 @ 00000003 n 0000 @ 00000005 n 0000 | barks
00000005 05 n 01 pet 0 001 @ 00000002 n 0000 | at home
00000006 05 n 01 cat 0 002 #m 00000009 n 0000 @ 00000003 n 0000 | it mews
00000007 18 n 01 Tom 0 001 @i 00000006 n 0000 | chases Jerry
00000009 03 n 01 root 0 000 | alone
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "data.noun"
    path.write_text(SMALL, encoding="utf-8")
    return read_wordnet(path)


def test_the_reader(small):
    assert small.hypernyms == {
        1: (), 2: (1,), 3: (2,), 4: (3, 5), 5: (2,), 6: (3,), 7: (6,), 9: ()
    }  # fmt: skip
    assert small.lemmas[7] == "Tom"
    assert [small.depth(one) for one in (1, 2, 3, 4, 5, 6, 7, 9)] == [0, 1, 2, 3, 2, 3, 4, 0]


@pytest.mark.parametrize(
    ("first", "second", "depth"),
    [(4, 6, 2), (4, 4, 3), (4, 5, 2), (7, 6, 3), (1, 7, 0), (5, 6, 1), (4, 7, 2)],
)
def test_the_deepest_common_kind(small, first, second, depth):
    table = depth_table(small, [first, second])
    assert table[0, 1] == table[1, 0] == depth


def test_depth_is_that_of_the_longest_way(tmp_path):
    path = tmp_path / "data.noun"
    line = "{:08d} 03 n 01 w 0 {:03d} {}| g\n"
    ways = {1: (), 2: (1,), 3: (2,), 4: (3, 1), 5: (4,), 6: (4,)}
    path.write_text(
        "".join(
            line.format(one, len(above), "".join(f"@ {up:08d} n 0000 " for up in above))
            for one, above in ways.items()
        ),
        encoding="utf-8",
    )
    found = read_wordnet(path)
    assert found.depth(4) == 3
    assert depth_table(found, [5, 6])[0, 1] == 3


def test_the_table_is_the_pairwise_rule(small):
    synsets = [4, 6, 7, 5, 1]
    table = depth_table(small, synsets)
    expected = [
        [max(map(small.depth, small.kinds(a) & small.kinds(b))) for b in synsets] for a in synsets
    ]
    np.testing.assert_array_equal(table, np.array(expected, dtype=np.float32))


def test_nothing_in_common_and_unknown_synsets(small):
    assert depth_table(small, [9, 4])[0, 1] == -1
    with pytest.raises(DataError, match="1 unknown: n00000008"):
        depth_table(small, [4, 8])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no noun at all", "another format"),
        ("00000004 05 n 01 dog 0 001 @ 00000003 n 0000 | barks\n", "without all its synsets"),
        ("", "without all its synsets"),
        ("00000004 05 n 01 dog 0 002 @ 00000003 n 0000 | barks\n", "another format"),
    ],
)
def test_other_files(tmp_path, text, problem):
    path = tmp_path / "data.noun"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_wordnet(path)
    with pytest.raises(DataError, match=r"WordNet's nouns at .*wordnet-base"):
        read_wordnet(tmp_path / "nothing")


def test_class_names(tmp_path, monkeypatch):
    assert class_synsets(["dog", "cat"]) == [2084071, 2121620]
    assert class_synsets(["T-shirt/top", "Ankle boot", "Bag"]) == [3595614, 2872752, 2773037]
    assert class_synsets(["sweet_pepper", "n02084071"]) == [7720615, 2084071]
    assert class_synsets(["0", "1"]) is None
    assert class_synsets(["dog", "nonsense"]) is None
    assert class_synsets(["Hund", "dog"], {"hund": "n02084071"}) == [2084071, 2084071]
    with pytest.raises(DataError, match="synsets like n02084071; got 'dog.n.01'"):
        class_synsets(["dog"], {"dog": "dog.n.01"})
    path = tmp_path / "map.tsv"
    path.write_text("Hund\tn02084071\n\nA b\tn02121620 \n", encoding="utf-8")
    assert read_synset_file(path) == {"Hund": "n02084071", "A b": "n02121620"}
    path.write_text("Hund n02084071\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: 'Hund n02084071'"):
        read_synset_file(path)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="no timm")
def test_imagenet_names():
    table = wordnet.imagenet_synsets()
    assert len(set(table.values())) == 999  # two classes are called crane
    assert class_synsets(["tench, Tinca tinca", "monarch", "toilet tissue"]) is not None


real = pytest.mark.skipif(find_wordnet() is None, reason=f"no WordNet here. {wordnet.HOW_TO_GET}")


@real
def test_real_wordnet():
    nouns = read_wordnet(find_wordnet())
    # WordNet 3.0 has 82,115 noun synsets (wnstats(7WN)) and one root, entity.
    assert len(nouns.hypernyms) == 82115
    assert [one for one, above in nouns.hypernyms.items() if not above] == [1740]
    assert nouns.lemmas[1740] == "entity"
    # dog and cat are both carnivores; dog itself is also a domestic animal.
    common = nouns.kinds(2084071) & nouns.kinds(2121620)
    deepest = max(common, key=nouns.depth)
    assert nouns.lemmas[deepest] == "carnivore"
    assert depth_table(nouns, [2084071, 2121620])[0, 1] == nouns.depth(deepest) == 11


@real
def test_every_built_in_class_is_in_the_real_one():
    nouns = read_wordnet(find_wordnet())
    for name, synset in wordnet._SMALL_SETS.items():
        assert re.fullmatch(r"n\d{8}", synset), name
        assert int(synset[1:]) in nouns.hypernyms, name
    assert len(wordnet._SMALL_SETS) == 10 + 100 + 10
    imagenet = wordnet.imagenet_synsets()
    if imagenet:
        table = depth_table(nouns, [int(one[1:]) for one in sorted(set(imagenet.values()))])
        assert table.shape == (999, 999)
        assert table.min() >= 0
