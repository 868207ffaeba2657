"""WordNet's nouns, read from any `data.noun`, and how deep two classes' nearest common kind lies."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contrasift.errors import DataError
from contrasift.reading import read_lines

FOLDERS = (Path("/usr/share/wordnet"), Path("/usr/local/share/wordnet"))
HOW_TO_GET = (
    "Install WordNet 3.0, on Debian for example: apt-get install wordnet-base; or name its "
    "data.noun with wordnet="
)
_SYNSET = re.compile(r"n(\d{8})")


@dataclass(frozen=True)
class WordNet:
    """The noun synsets and what kind of thing each is.

    Attributes:
        hypernyms: offset of a synset to those of its hypernyms (instances: of what they are one).
        lemmas: offset to its first word.
    """

    hypernyms: Mapping[int, tuple[int, ...]]
    lemmas: Mapping[int, str]

    @functools.cached_property
    def _depths(self) -> dict[int, int]:
        return {}

    def depth(self, synset: int) -> int:
        """Steps on the longest way up to a root; `entity` has depth 0."""
        depths = self._depths
        waiting = [synset]
        while waiting:
            last = waiting[-1]
            above = self.hypernyms[last]
            unknown = [one for one in above if one not in depths]
            if unknown:
                waiting += unknown
            else:
                depths[last] = 1 + max((depths[one] for one in above), default=-1)
                waiting.pop()
        return depths[synset]

    def kinds(self, synset: int) -> frozenset[int]:
        """The synset and everything that it is a kind of."""
        found, waiting = {synset}, [synset]
        while waiting:
            for one in self.hypernyms[waiting.pop()]:
                if one not in found:
                    found.add(one)
                    waiting.append(one)
        return frozenset(found)


def read_wordnet(path: Path) -> WordNet:
    """Read WordNet's nouns from its `data.noun` (format: wndb(5WN)).

    A line is `offset file n words(hex) (word id)… pointers (sign offset part source)… | gloss`;
    the signs @ and @i lead to hypernyms.

    Raises:
        DataError: no such file, or another format.
    """
    hypernyms: dict[int, tuple[int, ...]] = {}
    lemmas: dict[int, str] = {}
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("  "):  # the licence
                    continue
                fields = line.split(" | ")[0].split()
                pointers = 4 + 2 * int(fields[3], 16)
                offset = int(fields[0])
                lemmas[offset] = fields[4]
                hypernyms[offset] = tuple(
                    int(fields[place + 1])
                    for place in range(pointers + 1, pointers + 4 * int(fields[pointers]), 4)
                    if fields[place] in ("@", "@i")
                )
    except OSError as error:
        raise DataError(
            f"WordNet's nouns at {path}", error.strerror or str(error), HOW_TO_GET
        ) from error
    except (ValueError, IndexError) as error:
        raise DataError(f"WordNet's data.noun at {path}", "another format", HOW_TO_GET) from error
    known = hypernyms.keys()
    if not hypernyms or any(one not in known for above in hypernyms.values() for one in above):
        raise DataError(f"a whole data.noun at {path}", "one without all its synsets", HOW_TO_GET)
    return WordNet(hypernyms, lemmas)


def find_wordnet() -> Path | None:
    """The `data.noun` of this machine: where $WNSEARCHDIR or $WNHOME point, or the usual folders."""
    folders = [*FOLDERS]
    if "WNHOME" in os.environ:
        folders.insert(0, Path(os.environ["WNHOME"]) / "dict")
    if "WNSEARCHDIR" in os.environ:
        folders.insert(0, Path(os.environ["WNSEARCHDIR"]))
    return next(
        (folder / "data.noun" for folder in folders if (folder / "data.noun").exists()), None
    )


def depth_table(wordnet: WordNet, synsets: Sequence[int]) -> np.ndarray:
    """Depth of the deepest common kind of every pair of classes; −1 where they have nothing in common.

    WordNet is no tree: of all common hypernyms (a synset counts as its own) the one with the
    greatest depth is taken, and depth is that of the longest way to the root.

    Args:
        wordnet: the nouns.
        synsets: offset of each class.

    Returns:
        float32 [C, C], symmetric.

    Raises:
        DataError: a synset that this WordNet does not have (other versions have other offsets).
    """
    missing = [f"n{one:08d}" for one in synsets if one not in wordnet.hypernyms]
    if missing:
        raise DataError(
            "synsets of this WordNet (built-in ones are of WordNet 3.0)",
            f"{len(missing)} unknown: {', '.join(missing[:5])}",
        )
    kinds = [wordnet.kinds(one) for one in synsets]
    everything = sorted(frozenset().union(*kinds))
    depths = np.array([wordnet.depth(one) for one in everything])
    place = {one: number for number, one in enumerate(everything)}
    member = np.zeros((len(synsets), len(everything)), dtype=bool)
    for row, those in enumerate(kinds):
        member[row, [place[one] for one in those]] = True
    table = np.empty((len(synsets), len(synsets)), dtype=np.float32)
    for row in range(len(synsets)):
        table[row] = np.where(member & member[row], depths, -1).max(axis=1, initial=-1)
    return table


# Which synset a class is ---------------------------------------------------------------------------


def class_synsets(names: Sequence[str], given: Mapping[str, str] | None = None) -> list[int] | None:
    """The WordNet 3.0 synset of every class, by its name.

    Names may be synsets (`n02084071`), keys of `given`, or the class names of CIFAR-10, CIFAR-100,
    Fashion-MNIST or ImageNet-1k (the words of the first need not match in case, and `_`, `-`, `/`
    count as blanks).

    Args:
        names: of the classes.
        given: class name to synset, before anything that is built in.

    Returns:
        One offset a class; None if a class is known to no source.

    Raises:
        DataError: a given synset is not of the form n02084071.
    """
    given = given or {}
    for name, synset in given.items():
        if not _SYNSET.fullmatch(synset):
            raise DataError("synsets like n02084071", f"{synset!r} for {name!r}")
    chosen = {_plain(name): synset for name, synset in given.items()}
    for known in (_SMALL_SETS, None):
        table = imagenet_synsets() if known is None else known
        found = [
            name if _SYNSET.fullmatch(name) else chosen.get(_plain(name), table.get(_plain(name)))
            for name in names
        ]
        if all(found):
            return [int(str(synset)[1:]) for synset in found]
    return None


def read_synset_file(path: Path) -> dict[str, str]:
    """A map from class to synset: lines `class name<TAB>n02084071`.

    Raises:
        DataError: unreadable, or a line of another form.
    """
    found = {}
    for number, line in enumerate(read_lines(path, "a map from class to synset"), start=1):
        name, tab, synset = line.rpartition("\t")
        if not line.strip():
            continue
        if not tab or not _SYNSET.fullmatch(synset.strip()):
            raise DataError(
                f"lines `class name<TAB>n02084071` in {path}", f"line {number}: {line!r}"
            )
        found[name.strip()] = synset.strip()
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-/]+", " ", name).strip().casefold()


@functools.cache
def imagenet_synsets() -> dict[str, str]:
    """ImageNet-1k's synsets by class name, as timm lists them; empty without timm.

    The name `crane`, which two classes have, is the bird's.
    """
    found = importlib.util.find_spec("timm")
    if found is None or not found.submodule_search_locations:
        return {}
    folder = Path(found.submodule_search_locations[0]) / "data" / "_info"
    try:
        synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    words = dict(line.split("\t", 1) for line in lines)
    table: dict[str, str] = {}
    for synset in synsets:
        table.setdefault(_plain(words[synset]), synset)
    for synset in synsets:  # the first word alone, where no other class is called so
        table.setdefault(_plain(words[synset].split(",")[0]), synset)
    return table


def _table(text: str) -> dict[str, str]:
    pairs = text.split()
    return {
        _plain(name): f"n{offset}" for name, offset in zip(pairs[::2], pairs[1::2], strict=True)
    }


# Chosen by hand among the senses of each word in WordNet 3.0, with the pictures in mind: `tank` is
# the armoured one, `keyboard` the computer's, `ray` and `seal` the animals. Names that two sets
# share mean the same in both, but for Fashion-MNIST's, which has no name in common with the others.
_SMALL_SETS = _table("""
airplane 02691156 automobile 02958343 bird 01503061 cat 02121620 deer 02430045 dog 02084071
frog 01639765 horse 02374451 ship 04194289 truck 04490091

apple 07739125 aquarium_fish 02512053 baby 09827683 bear 02131653 beaver 02363005 bed 02818832
bee 02206856 beetle 02164464 bicycle 02834778 bottle 02876657 bowl 02881193 boy 10285313
bridge 02898711 bus 02924116 butterfly 02274259 camel 02437136 can 02946921 castle 02980441
caterpillar 02309337 cattle 02402425 chair 03001627 chimpanzee 02481823 clock 03046257
cloud 09247410 cockroach 02233338 couch 04256520 crab 01976957 crocodile 01697178 cup 03147509
dinosaur 01699831 dolphin 02068974 elephant 02503517 flatfish 02657368 forest 09284015
fox 02118333 girl 10084295 hamster 02342885 house 03544360 kangaroo 01877134 keyboard 03085013
lamp 03636649 lawn_mower 03649909 leopard 02128385 lion 02129165 lizard 01674464 lobster 01982650
man 10287213 maple_tree 12752205 motorcycle 03790512 mountain 09359803 mouse 02330245
mushroom 13000891 oak_tree 12268246 orange 07747607 orchid 12041446 otter 02444819
palm_tree 12582231 pear 07767847 pickup_truck 03930630 pine_tree 11608250 plain 09393605
plate 03959485 poppy 11900569 porcupine 02346627 possum 01874928 rabbit 02324045 raccoon 02508021
ray 01495701 road 04096066 rocket 04099429 rose 12620196 sea 09426788 seal 02076196 shark 01482330
shrew 01891633 skunk 02445715 skyscraper 04233124 snail 01944390 snake 01726692 spider 01772222
squirrel 02355227 streetcar 04335435 sunflower 11978233 sweet_pepper 07720615 table 04379243
tank 04389033 telephone 04401088 television 04405907 tiger 02129604 tractor 04465501
train 04468005 trout 02537085 tulip 12454159 turtle 01662784 wardrobe 04550184 whale 02062744
willow_tree 12724942 wolf 02114100 woman 10787470 worm 01922303

t-shirt/top 03595614 trouser 04489008 pullover 04021028 dress 03236735 coat 03057021
sandal 04133789 shirt 04197391 sneaker 03472535 bag 02773037 ankle_boot 02872752
""")
