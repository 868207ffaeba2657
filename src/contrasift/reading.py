"""Text that a user brings: one way to read it, whatever program wrote it."""

from __future__ import annotations

import codecs
from pathlib import Path

from contrasift.errors import DataError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_SAVE_AGAIN = "Save it as UTF-8, or: iconv -f UTF-16 -t UTF-8 OLD > NEW"


def decode_text(data: bytes, what: str, where: object) -> str:
    r"""UTF-8 as text, without a byte-order mark and with `\n` as the only end of a line.

    Args:
        data: the bytes.
        what: what the text should be, for an error.
        where: where it lies, for an error.

    Raises:
        DataError: UTF-16, or what is no text.
    """
    if data.startswith(_UTF16):
        raise DataError(f"{what} in UTF-8", f"{where}, which is UTF-16 or UTF-32", _SAVE_AGAIN)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{what} in UTF-8",
            f"{where}, line {line}: byte 0x{data[error.start]:02x}, {error.reason}",
            "Save it as UTF-8",
        ) from error
    if "\0" in text:
        raise DataError(
            f"{what} in UTF-8",
            f"{where} with NUL characters: UTF-16 without a mark, or no text",
            _SAVE_AGAIN,
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path | str, what: str) -> str:
    """The text of a file, as `decode_text` gives it.

    Raises:
        DataError: no such file, one that cannot be read, or no UTF-8.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"a file of {what}", f"{path}, which does not exist") from error
    except (OSError, ValueError) as error:  # a name with NUL is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{what} that can be read", f"{path}: {reason}") from error
    return decode_text(data, what, path)


def read_lines(path: Path | str, what: str) -> list[str]:
    """The lines of a file without blanks and tabs around them; blank last lines are left out.

    Raises:
        DataError: as `read_text`.
    """
    lines = [line.strip(" \t") for line in read_text(path, what).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def read_filled_lines(path: Path | str, what: str) -> list[str]:
    """The lines of a file in which something stands."""
    return [line for line in read_lines(path, what) if line]
