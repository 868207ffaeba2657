"""What a pool's place holds besides its images: told, so that nothing goes missing in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_HEIF = (".heic", ".heif", ".heics", ".heifs", ".hif")
_HELP = {
    **dict.fromkeys(_HEIF, "pip install 'contrasift[heif]' opens them"),
    **dict.fromkeys((".avif", ".avifs"), "Pillow 11.3 and later opens them"),
    **dict.fromkeys((".jxl", ".svg", ".pdf"), "convert them to PNG or JPEG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "raw: develop them to TIFF or JPEG"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "films: take frames out of them"),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".7z", ".rar"), "unpack them"),
    ".tar": "shards are read where they are named, as FOLDER/*.tar",
    "": "if they are images, give them the extension of their format",
}  # fmt: skip
_SHOWN = 8


@dataclass(frozen=True)
class PassedOver:
    """What is there and was not taken.

    Attributes:
        files: how many by their lower-case extension with its dot; "" without one.
        unlisted: (path, reason) of folders and links that could not be followed.
    """

    files: Mapping[str, int] = field(default_factory=dict)
    unlisted: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, extensions: Iterable[str], unlisted: Iterable[tuple[str, str]] = ()) -> PassedOver:
        """Count extensions."""
        return cls(Counter(extension.lower() for extension in extensions), tuple(sorted(unlisted)))

    @property
    def total(self) -> int:
        """How many files."""
        return sum(self.files.values())

    def in_words(self) -> list[str]:
        """Lines for the user: counts by extension, the most first, and what would open them."""
        lines = []
        if self.total:
            kinds = sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
            named = [_named(kind, n) for kind, n in kinds[:_SHOWN]]
            rest = sum(n for _, n in kinds[_SHOWN:])
            named += [f"{rest:,} others"] if rest else []
            lines.append(f"passed over {self.total:,} other file(s): {', '.join(named)}")
        for path, reason in self.unlisted[:_SHOWN]:
            lines.append(f"left out {path}: {reason}")
        if len(self.unlisted) > _SHOWN:
            lines.append(f"... and {len(self.unlisted) - _SHOWN} more that cannot be followed")
        return lines


def _named(kind: str, n: int) -> str:
    said = f"{n:,} {kind or 'without extension'}"
    return f"{said} ({_HELP[kind]})" if kind in _HELP else said


NOTHING = PassedOver()
