"""Shaped array types, and the checks at the door: every public function calls these on what it is given."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from contrasift.class_names import label_array, plain_names, settled
from contrasift.errors import DataError, UsageError, first_line

EmbeddingMatrix: TypeAlias = Float32[np.ndarray, "n d"]
IndexVector: TypeAlias = Int64[np.ndarray, " k"]
RowMask: TypeAlias = Bool[np.ndarray, " n"]

_BLOCK_BYTES = 64 << 20
_BLOCK_ENTRIES = 1 << 20


@runtime_checkable
class RowReader(Protocol):
    """A matrix that lies elsewhere, whose rows are read when they are asked for.

    Attributes:
        shape: as an array's.
        dtype: as an array's.
        file: what it is read from.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    file: Any

    @property
    def ndim(self) -> int:
        """As an array's."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray: ...


class _Named(type):
    """Looks at what a type has, and reads nothing of an instance: ids and hashes cost a pass."""

    def __instancecheck__(cls, instance: object) -> bool:
        return all(hasattr(type(instance), name) for name in ("ids", "described", "fingerprint"))


class NamedRows(metaclass=_Named):
    """Rows that know how they are called and how they were made: `contrasift.matrices.Matrix`.

    Attributes:
        values: what the rows are read from.
        index: int64 [n]; pool index of every row; None where it is the row's number.
        ids: an Arrow array [n], or None.
        described: whether they are mean view embeddings, by what they say of themselves.
        description: what they say, and their hash.
        keeping: the same of some rows, by ascending numbers.
    """

    values: Any
    index: np.ndarray | None
    ids: Any
    described: bool
    description: Mapping[str, Any]
    keeping: Callable[[np.ndarray], Any]


# To the type checker both are arrays: whoever takes them indexes rows and asks for shape and dtype.
if TYPE_CHECKING:
    Rows = np.ndarray
else:
    Rows = np.ndarray | RowReader


def row_blocks(n_rows: int, row_bytes: int, block_bytes: int = _BLOCK_BYTES) -> list[slice]:
    """Consecutive slices that cover 0..n_rows, each of at most `block_bytes`."""
    step = max(1, block_bytes // max(1, row_bytes))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


@runtime_checkable
class Columns(Protocol):
    """Where arrays lie that have an entry for every example."""

    def new(self, n: int, kind: Any) -> np.ndarray:
        """So many zeros of a type."""
        ...


class HeldColumns:
    """Arrays in the memory of this process."""

    def new(self, n: int, kind: Any) -> np.ndarray:
        """So many zeros of a type."""
        return np.zeros(n, dtype=kind)


def largest_first(values: np.ndarray) -> np.ndarray:
    """The order of numbers from the largest, of equal ones the first first.

    As `np.argsort(-values, kind="stable")`, in less time where few are equal: NumPy's other sort has
    vector instructions, and what is equal is put in order afterwards.

    Args:
        values: float [n].
    """
    keys = -values
    order = np.argsort(keys)
    keys.sort()  # sooner done than looking each up
    same = (keys[1:] == keys[:-1]) | (keys[:-1] != keys[:-1])  # NaN come last, all alike
    if 8 * np.count_nonzero(same) > keys.size:
        return np.argsort(-values, kind="stable")
    if same.any():
        tied = np.zeros(keys.size, dtype=bool)
        tied[1:] = same
        tied[:-1] |= same
        run = np.zeros(keys.size, dtype=np.int64)
        np.cumsum(~same, out=run[1:])
        order[tied] = order[tied][np.lexsort((order[tied], run[tied]))]
    return order


def column_blocks(n: int) -> list[slice]:
    """Consecutive slices of columns of n entries, few enough to be copied and sorted at once."""
    return row_blocks(n, 1, _BLOCK_ENTRIES)


def row_numbers(rows: slice | np.ndarray, n: int) -> np.ndarray:
    """Rows that are asked for, of n: a slice, or integers in any order, counted from the end below 0.

    Returns:
        int64, each in 0..n-1.

    Raises:
        IndexError: no such row.
        TypeError: anything else, such as a mask.
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n), dtype=np.int64)
    wanted = np.asarray(rows)
    if wanted.ndim != 1 or (wanted.dtype.kind not in "iu" and wanted.size):
        raise TypeError(f"expected a slice or row numbers, got {wanted.dtype}{wanted.shape}")
    wanted = wanted.astype(np.int64)
    if wanted.size and not -n <= wanted.min() <= wanted.max() < n:
        raise IndexError(f"expected rows of 0..{n - 1}")
    return np.where(wanted < 0, wanted + n, wanted)


def forget_pages(*arrays: Rows) -> None:
    """Let the system take back the pages of mapped files, so that memory stays flat."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    for array in arrays:
        if (forget := getattr(array, "forget", None)) is not None:  # of a matrix in several files
            forget()
            continue
        mapping = getattr(array, "_mmap", None)
        # Of a copy-on-write mapping this would discard what the caller wrote into it.
        if mapping is not None and advice is not None and getattr(array, "mode", "") in ("r", "r+"):
            mapping.madvise(advice)


def read_blocks(values: Rows, blocks: Iterable[slice]) -> Iterator[np.ndarray]:
    """The blocks of what may lie in mapped files, of which each is forgotten before the next."""
    for block in blocks:
        yield values[block]
        forget_pages(values)


def plain_tensor(values: Any) -> Any:
    """A tensor of torch as an array, wherever it lies and in whatever type; all else as it is."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    try:
        return values.numpy()
    except TypeError:  # bfloat16 and smaller, of which float32 holds every value
        return values.float().numpy()


def check_matrix(values: object, name: str = "embeddings") -> Rows:
    """A real matrix with at least one row and one column, left in its own type and place.

    Raises:
        DataError: not a two-dimensional array of numbers, or an empty one.
    """
    array: Any = values if isinstance(values, RowReader) else _as_array(values, name)
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"{name} of real numbers", f"dtype {array.dtype}", "Convert them to float32 first"
        )
    if array.ndim != 2:
        raise DataError(
            f"{name} as a matrix with one row an example",
            f"an array of shape {array.shape}",
            "Flatten every example's features into one row",
        )
    if 0 in array.shape:
        raise DataError(f"{name} with at least one row and one column", f"shape {array.shape}")
    return array


def _as_array(values: object, name: str) -> np.ndarray:
    """What is given as an array; what NumPy would make a wrong one of is refused."""
    wanted = f"{name} as a matrix with one row an example"
    if isinstance(values, str | os.PathLike):
        opened = f"contrasift.open_embeddings({os.fspath(values)!r})"
        raise DataError(wanted, f"the text {os.fspath(values)!r}", f"Open a file with {opened}")
    if hasattr(values, "toarray"):
        got = f"a sparse one ({type(values).__name__})"
        raise DataError(wanted, got, "Hand over a dense one: .toarray()")
    if np.ma.is_masked(values):
        rows = np.flatnonzero(np.ma.getmaskarray(values).reshape(len(values), -1).any(axis=1))
        got = f"masked entries in {rows.size} row(s), the first of them row {rows[0]}"
        raise DataError(f"{name} without gaps", got, "Leave these rows out, or fill the gaps")
    try:
        return np.asanyarray(plain_tensor(values))
    except ValueError as error:
        got = f"rows of unequal lengths ({first_line(error)})"
        raise DataError(wanted, got, "Bring all rows to one length") from None


def check_finite_rows(values: np.ndarray, name: str = "embeddings", first_row: int = 0) -> None:
    """Stop at the first row that holds NaN or infinity.

    Raises:
        DataError: names how many rows are bad and the first of them.
    """
    # The sum of a row is finite unless an entry is not, or it overflows: then look closely.
    suspicious = ~np.isfinite(values.sum(axis=1, dtype=np.float64))
    if not suspicious.any():
        return
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise DataError(
            f"{name} of finite numbers",
            f"NaN or infinity in {bad.size} row(s), the first of them row {first_row + bad[0]}",
            "Leave these examples out, or embed them again",
        )


def finite_or_none(value: float) -> float | None:
    """A number as JSON may hold it: None for NaN and infinity."""
    return value if math.isfinite(value) else None


def check_fraction(fraction: float) -> float:
    """A share in (0, 1].

    Raises:
        UsageError: outside it, or NaN.
    """
    if not 0.0 < fraction <= 1.0:
        raise UsageError("a fraction in (0, 1]", f"{fraction}", "A fifth of the pool is 0.2")
    return float(fraction)


def check_budget(budget: int, n: int) -> int:
    """A count of examples between 0 and n.

    Raises:
        UsageError: negative, or more than there are.
    """
    if not 0 <= budget <= n:
        raise UsageError(f"a budget between 0 and the {n} examples there are", f"{budget}")
    return int(budget)


def unit_rows(
    values: np.ndarray,
    first_row: int = 0,
    expected: str = "rows that can be scaled to length one",
    otherwise: str = "",
) -> np.ndarray:
    """Rows scaled to length one, in float32, computed in float64.

    Args:
        values: real [n, d].
        first_row: the number of the first.
        expected: what is said to be expected of them.
        otherwise: what else can be done than to leave rows of zeros out.

    Raises:
        DataError: a row of zeros, which has no direction.
    """
    scaled, zero = directions(values)
    if zero.size:
        raise DataError(
            expected,
            f"{zero.size} row(s) of zeros, the first of them row {first_row + zero[0]}",
            "Leave these examples out" + (f", or {otherwise}" if otherwise else ""),
        )
    return scaled


def directions(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows divided by their lengths, in float32, and which rows are zero and have none.

    Rows whose squares float64 cannot hold are brought near 1 first, by a power of two.
    """
    wide = np.asarray(values, dtype=np.float64)
    squares = np.einsum("ij,ij->i", wide, wide)
    far = ~((squares > 1e-280) & (squares < 1e280))
    if far.any():
        _, exponents = np.frexp(np.abs(wide[far]).max(axis=1, initial=0))
        wide = wide.copy()
        wide[far] = np.ldexp(wide[far], -exponents[:, None])
        squares = np.einsum("ij,ij->i", wide, wide)
    zero = np.flatnonzero(squares == 0)
    norms = np.sqrt(np.where(squares == 0, 1.0, squares))
    return (wide / norms[:, None]).astype(np.float32), zero


def class_codes(
    classes: object, n: int, columns: Columns | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Any labels (integers with gaps, strings) as codes 0..K-1 and the sorted names behind them.

    What is one name and what are two is settled in `contrasift.class_names`.

    Args:
        classes: one label an example; None puts all in one class, named 0.
        n: the number of examples.
        columns: where the codes shall lie; default: in memory.

    Returns:
        codes int64 [n], and names [K] (int64 or str), so that names[codes] are the labels.

    Raises:
        DataError: another length, another shape, nulls, or labels that are neither integers nor
            text, or that their type cannot keep apart.
    """
    codes = (columns or HeldColumns()).new(n, np.int64)
    if classes is None:
        return codes, np.zeros(1, dtype=np.int64)
    labels = label_array(classes)
    if labels.ndim != 1:
        raise DataError("classes as one label an example", f"an array of shape {labels.shape}")
    if labels.shape[0] != n:
        raise DataError(
            f"one class for each of the {n} examples",
            f"{labels.shape[0]} classes",
            "Check that both files come from the same pool, in the same order",
        )
    found = [plain_names(labels[:0])]
    for block in column_blocks(n):
        found.append(np.unique(plain_names(labels[block])))
        forget_pages(labels)
    written = np.unique(np.concatenate(found))
    # Text that turns out to be numbers has another order.
    names, place = np.unique(settled(written), return_inverse=True)
    for block in column_blocks(n):
        own, inverse = np.unique(plain_names(labels[block]), return_inverse=True)
        codes[block] = place[np.searchsorted(written, own)][inverse]
        forget_pages(labels, codes)
    return codes, names
