"""Emoji sets as npm's packages `@iconify-json/NAME` hold them: which picture shows which emoji."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from contrasift.errors import DataError, first_line

# Every set in colour that may be passed on; the versions are those of benchmarks/emoji.tsv.
_SETS = {
    "emojione": "1.2.3", "emojione-v1": "1.2.3", "fluent-emoji": "1.2.7", "fluent-emoji-flat": "1.2.6",
    "fxemoji": "1.2.2", "noto": "1.2.9", "noto-v1": "1.2.5", "openmoji": "1.2.29",
    "streamline-emojis": "1.2.4", "twemoji": "1.2.5",
}  # fmt: skip
_SCOPE, _LABELS = "@iconify-json", "emojibase-data"
_PACKAGES = {f"{_SCOPE}/{name}": version for name, version in _SETS.items()} | {_LABELS: "17.0.0"}
PROBE = f"node_modules/{_SCOPE}"
# Flags are the same picture in every set; components are skin tones and hair without a head.
_LEFT_OUT = frozenset({"flags", "component"})


def install(folder: object) -> str:
    """The command that installs every package below a folder."""
    packages = " ".join(f"{name}@{version}" for name, version in _PACKAGES.items())
    return f"npm install --prefix {folder} {packages}"


@dataclass(frozen=True)
class EmojiPackages:
    """The packages below a folder's `node_modules`.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def sets(self) -> dict[str, Path]:
        """The sets that are installed, by name."""
        places = {name: self.root / PROBE / name for name in sorted(_SETS)}
        return {name: place for name, place in places.items() if place.is_dir()}

    @property
    def labels(self) -> Path:
        """The package of names and subgroups."""
        return self.root / "node_modules" / _LABELS

    @property
    def files(self) -> list[Path]:
        """What decides which pictures there are."""
        return [
            *(
                place / name
                for place in self.sets.values()
                for name in ("icons.json", "chars.json")
            ),
            *(self.labels / name for name in ("en/data.json", "meta/groups.json", "package.json")),
        ]

    def pictures(self) -> dict[str, dict[str, str]]:
        """By set the first picture of every emoji: SVG by `SUBGROUP/NAME`.

        Raises:
            DataError: files that are absent or damaged.
        """
        sets = {
            name: EmojiSet(self.read(place / "icons.json"), self.read(place / "chars.json"))
            for name, place in self.sets.items()
        }
        names = read_names(self, [one.chars for one in sets.values()])
        return {name: one.pictures(names) for name, one in sets.items()}

    def read(self, path: Path) -> Any:
        """A JSON file of a package.

        Raises:
            DataError: it is absent or damaged.
        """
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                f"JSON in {path}",
                first_line(error),
                f"Delete {self.root / 'node_modules'} and run: {install(self.root)}",
            ) from error


@dataclass(frozen=True)
class EmojiNames:
    """What Unicode calls an emoji, and where it belongs.

    Attributes:
        places: `SUBGROUP/NAME` by code points; without skin tones, flags and components.
        known: code points by any of the names that an emoji has or had.
    """

    places: dict[str, str]
    known: dict[str, str]


def read_names(packages: EmojiPackages, spoken: list[dict[str, str]]) -> EmojiNames:
    """Names and subgroups of all emoji.

    Args:
        packages: where the package of labels is.
        spoken: more names, each by code points.

    Raises:
        DataError: files that are absent or damaged.
    """
    groups = packages.read(packages.labels / "meta" / "groups.json")
    emoji = {
        _plain(one["hexcode"]): one
        for one in packages.read(packages.labels / "en" / "data.json")
        if groups["groups"].get(str(one.get("group"))) not in {None, *_LEFT_OUT}
    }
    official = packages.read(packages.labels / "meta" / "unicode-names.json")
    labels = {codes: one["label"] for codes, one in emoji.items()}
    known: dict[str, str] = {}
    for codes, name in (item for names in (labels, official, *spoken) for item in names.items()):
        if _plain(codes) in emoji:
            known.setdefault(_key(name), _plain(codes))
    subgroup = {codes: groups["subgroups"][str(one["subgroup"])] for codes, one in emoji.items()}
    return EmojiNames({codes: f"{subgroup[codes]}/{labels[codes]}" for codes in emoji}, known)


@dataclass(frozen=True)
class EmojiSet:
    """One set as its package has it.

    Attributes:
        icons: `icons.json`.
        chars: names by code points; empty where the package has none.
    """

    icons: dict[str, Any]
    chars: dict[str, str]

    def pictures(self, names: EmojiNames) -> dict[str, str]:
        """The first picture of every emoji: SVG by `SUBGROUP/NAME`."""
        found: dict[str, str] = {}
        for name in self.icons["icons"]:
            places = [
                names.places[code] for code in self._codes(name, names) if code in names.places
            ]
            if places:
                found.setdefault(places[0], self._markup(name))
        return found

    def _codes(self, name: str, names: EmojiNames) -> list[str]:
        if self.chars:
            return [self._by_name.get(name, "")]
        # Sets without code points say what Unicode says or said; `-1` and `-2` are variants.
        spoken = [name, re.sub(r"-\d$", "", name), *self._aliases.get(name, [])]
        return [names.known.get(_key(one), "") for one in spoken]

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {name: _plain(codes) for codes, name in sorted(self.chars.items(), reverse=True)}

    @cached_property
    def _aliases(self) -> dict[str, list[str]]:
        aliases: dict[str, list[str]] = {}
        for alias, of in self.icons.get("aliases", {}).items():
            aliases.setdefault(of["parent"], []).append(alias)
        return aliases

    def _markup(self, name: str) -> str:
        # A picture says where it differs from its set, and a set where it differs from 16 by 16.
        own = self.icons["icons"][name]
        box = {"left": 0, "top": 0, "width": 16, "height": 16} | self.icons | own
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box["left"]} {box["top"]} {box["width"]} {box["height"]}">{own["body"]}</svg>'
        )


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _plain(codes: str) -> str:
    """Code points without the one that asks for colour."""
    return "-".join(code for code in codes.lower().split("-") if code != "fe0f")
