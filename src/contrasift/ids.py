"""The names that users have for their rows: text, whole numbers, or DataComp's pairs of halves.

Ids are Arrow arrays: 20 million of them as Python objects would take more memory than the rows.
A uid of DataComp is 128 bits: 32 hexadecimal digits in its tables, two uint64 in its index files.
Here it is the text.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from contrasift.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 5
_HALF = 16  # hexadecimal digits of a uint64


def as_ids(values: Any, where: str) -> pa.ChunkedArray:
    """Ids in one form: large strings, or int64 or uint64.

    Args:
        values: an Arrow array, a NumPy array of text, whole numbers or pairs of uint64, or a list.
        where: what they are, for messages.

    Raises:
        DataError: other values, or a row without an id.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(values, np.ndarray):
        values = _plain(values)
    try:
        found = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    except (pa.ArrowException, TypeError) as error:
        raise _not_ids(where, str(error).split("\n")[0]) from error
    if isinstance(found, pa.Array):
        found = pa.chunked_array([found])
    kind = found.type.value_type if pa.types.is_dictionary(found.type) else found.type
    if pa.types.is_integer(kind):
        target = pa.uint64() if kind == pa.uint64() else pa.int64()
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        target = pa.large_string()
    elif pa.types.is_null(kind) and not len(found):
        target = pa.int64()
    else:
        raise _not_ids(where, str(kind))
    if found.null_count:
        row = pc.index(pc.is_null(found), True).as_py()  # pyright: ignore[reportAttributeAccessIssue]
        raise DataError(
            f"an id for every row in {where}",
            f"{found.null_count:,} rows without one, the first of them row {row}",
            "Name another column, or `none`: id='none'",
        )
    return found.cast(target)


def _plain(values: np.ndarray) -> Any:
    if values.ndim != 1:
        raise DataError("ids, one a row", f"an array of shape {list(values.shape)}")
    if values.dtype.names and len(values.dtype.names) == 2:  # DataComp's index files
        first, second = (values[name].tolist() for name in values.dtype.names)
        return [f"{high:016x}{low:016x}" for high, low in zip(first, second, strict=True)]
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8").tolist()
    return values.tolist() if values.dtype.kind in "UOT" else values


def _not_ids(where: str, got: str) -> DataError:
    return DataError(f"ids that are text or whole numbers in {where}", got)


def are_numbers(values: Any) -> bool:
    """Whether ids, or a list of what may be ids, are whole numbers, and not text or pairs."""
    kind = getattr(values, "type", None)
    if kind is not None:
        import pyarrow as pa

        return pa.types.is_integer(kind)
    return np.asarray(values).dtype.kind in "iu"


def ids_digest(ids: pa.ChunkedArray) -> str:
    """A hash of all ids in their order, however they are cut into chunks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    made, lengths = hashlib.sha256(), hashlib.sha256(str(ids.type).encode())
    for chunk in ids.chunks:
        if pa.types.is_integer(ids.type):
            made.update(chunk.to_numpy().tobytes())
            continue
        long = pc.binary_length(chunk).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
        lengths.update(long.astype(np.int64).tobytes())
        begin, end = (chunk.offset, chunk.offset + len(chunk))
        bounds = np.frombuffer(chunk.buffers()[1], np.int64)[[begin, end]] if len(chunk) else (0, 0)
        data = chunk.buffers()[2]
        made.update(b"" if data is None else memoryview(data)[int(bounds[0]) : int(bounds[1])])
    lengths.update(made.digest())
    return lengths.hexdigest()


def check_unique(ids: pa.ChunkedArray, where: str) -> None:
    """Stop where an id names two rows.

    Raises:
        DataError: it shows the first five.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(ids.type):
        ordered = np.sort(ids.to_numpy())
        twice: Any = np.unique(ordered[1:][ordered[1:] == ordered[:-1]]).tolist()
    elif pc.count_distinct(ids).as_py() == len(ids):  # pyright: ignore[reportAttributeAccessIssue]
        return
    else:
        counts = pc.value_counts(ids)  # pyright: ignore[reportAttributeAccessIssue]
        more = pc.greater(counts.field("counts"), 1)  # pyright: ignore[reportAttributeAccessIssue]
        twice = counts.field("values").filter(more).to_pylist()
    if twice:
        raise DataError(
            f"every id once in {where}",
            f"{len(twice):,} of them more than once: {_listed(twice)}",
            "Name another column, or take row numbers: id='none'",
        )


def rows_of_ids(ids: pa.ChunkedArray, wanted: Any, name: str) -> np.ndarray:
    """The row of each wanted id, in their order.

    Args:
        ids: of all rows, each once.
        wanted: what `as_ids` takes.
        name: of the list, for messages.

    Returns:
        int64, one a wanted id.

    Raises:
        UsageError: ids that there are not; it shows the first five.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = as_ids(wanted, name)
    if pa.types.is_integer(wanted.type) != pa.types.is_integer(ids.type):
        kinds = {True: "whole numbers", False: "text"}
        raise UsageError(
            f"{name} with ids as the source has them: {kinds[pa.types.is_integer(ids.type)]}, "
            f"such as {ids[0].as_py()!r}",
            f"{kinds[pa.types.is_integer(wanted.type)]}, such as {wanted[0].as_py()!r}",
        )
    # The table is made of what is wanted, which is mostly few.
    distinct = wanted.cast(ids.type).unique()
    found = pc.index_in(ids, value_set=distinct)  # pyright: ignore[reportAttributeAccessIssue]
    numbers = found.combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
    rows = np.full(len(distinct), -1, dtype=np.int64)
    there = np.flatnonzero(numbers >= 0)
    rows[numbers[there]] = there
    missing = np.flatnonzero(rows < 0)
    if missing.size:
        first = [distinct[int(place)].as_py() for place in missing[:_SHOWN]]
        raise UsageError(
            f"{name} with ids that the embeddings have, such as {ids[0].as_py()!r}",
            f"{missing.size:,} that they have not: {_listed(first, missing.size)}",
        )
    place = pc.index_in(wanted.cast(ids.type), value_set=distinct)  # pyright: ignore[reportAttributeAccessIssue]
    return rows[place.combine_chunks().to_numpy(zero_copy_only=False)]


def uid_halves(ids: pa.ChunkedArray) -> np.ndarray:
    """Uids of DataComp as its index files have them: pairs of uint64, sorted.

    Raises:
        DataError: ids that are not 32 hexadecimal digits.
    """
    pairs = []
    for text in ids.to_pylist():
        try:
            if len(text) != 2 * _HALF:
                raise ValueError
            pairs.append((int(text[:_HALF], 16), int(text[_HALF:], 16)))
        except (TypeError, ValueError):
            raise DataError(
                "uids of DataComp, 32 hexadecimal digits each", f"{text!r}", "Export ids instead"
            ) from None
    return np.sort(np.array(pairs, dtype=np.dtype("u8,u8")))


def _listed(some: list[Any], count: int | None = None) -> str:
    text = ", ".join(repr(one) for one in some[:_SHOWN])
    return text + (", …" if (count or len(some)) > _SHOWN else "")
