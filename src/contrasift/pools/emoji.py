"""The pool `emoji`: the emoji of every free set in colour, one class a subgroup of Unicode.

Sets of one family (an older version, another finish of the same drawings) are all in the training
or all in the test part.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from contrasift.errors import DataError
from contrasift.narration import Progress
from contrasift.pools.drawn import Drawing, Drawn, drawing_stamp, file_stamp, set_apart, whole
from contrasift.pools.emoji_sets import EmojiPackages, install
from contrasift.pools.icon_drawing import draw_markup
from contrasift.pools.whole import Whole
from contrasift.store.cache import cache_folder, cached

_FORMAT = 1  # of the cache; raise it when the drawing changes
SIDE = 32
FEWEST_IMAGES = 40
# A fifth of the images, in two styles, with every class; a new set changes no other one's part.
TESTED = ("fxemoji", "twemoji")
HOW_TO_GET = f"pip install 'contrasift[icons]'; {install('{data}/emoji')}; or name the folder"


def emoji_pool(root: Path, progress: Progress | None) -> Whole:
    """A pool of the emoji in the sets below a folder.

    Args:
        root: with `node_modules`, as npm installs packages.
        progress: called with (emoji done, emoji in all) while drawing.

    Raises:
        DataError: damaged packages, or too few of them.
        MissingExtraError: without the library that draws vectors.
    """
    packages = EmojiPackages(root)
    place = cache_folder() / "emoji" / f"{_fingerprint(packages)}.npz"
    drawn = cached(place, Drawn, lambda: draw_emoji(packages, progress))
    classes = large_classes(drawn)
    if not classes or not drawn.testing.any():
        raise DataError(
            f"{' or '.join(TESTED)}, and others with classes of at least {FEWEST_IMAGES} images",
            f"the set(s) {', '.join(packages.sets) or 'none'} in {root}",
            f"Run: {install(root)}",
        )
    return whole(drawn, "emoji", classes, mirror=True)


def large_classes(drawn: Drawn) -> list[str]:
    """The subgroups with enough training images."""
    images = Counter(
        label for label, test in zip(drawn.classes, drawn.testing, strict=True) if not test
    )
    return sorted(label for label, count in images.items() if count >= FEWEST_IMAGES)


def draw_emoji(packages: EmojiPackages, progress: Progress | None = None) -> Drawn:
    """Draw every emoji of some sets, tell families apart and set some of them aside.

    Args:
        packages: the sets.
        progress: called with (done, total).

    Raises:
        DataError: damaged packages.
        MissingExtraError: without the library that draws vectors.
    """
    pictures = packages.pictures()
    wanted = [
        (number, name, pictures[one][name])
        for number, one in enumerate(pictures)
        for name in sorted(pictures[one])
    ]
    drawings = []
    for done, (number, name, text) in enumerate(wanted, start=1):
        icon = draw_markup(text, SIDE)
        if icon is not None:
            drawings.append(Drawing(number, name, False, icon))
        if progress is not None:
            progress(done, len(wanted))
    # `noto-v1` is a variant of `noto`: to inherit from all is to be told by the name alone.
    return set_apart(drawings, [(name, tuple(pictures)) for name in pictures], SIDE, TESTED)


def _fingerprint(packages: EmojiPackages) -> str:
    digest = hashlib.sha256(f"{_FORMAT}\0".encode() + drawing_stamp())
    for path in packages.files:
        digest.update(file_stamp(path))
    return digest.hexdigest()[:24]
