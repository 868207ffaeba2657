"""One dot product in one order, and sums that do not depend on order.

A selection must be the same for every block size, thread count and optimiser. Two things make it so:

- `row_dot` multiplies a float32 row by a float64 vector in float64, always in the same order: 32
  running sums (four vectors of eight lanes), combined in a fixed tree, then the last d mod 8 terms
  one by one. The lanes are written as LLVM vectors, so every processor does the same additions,
  whatever its own width, and no fast-math flag lets a compiler regroup or fuse them.
- Sums of rows are sums of int64 fixed-point numbers, which are exact and so free of order.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import NullCache
from numba.extending import intrinsic

from contrasift.errors import DataError, UsageError

LANES = 8
_ACCUMULATORS = 4
# Adding 1.5·2⁵² to |x| < 2⁵¹ leaves x, rounded to the nearest integer, in the low bits of the sum.
_ROUNDER = 1.5 * 2.0**52
_CACHE_LINE = 64  # bytes
_ASKED_AHEAD = 2048  # bytes of rows that a pass over a matrix asks for before it wants them
_SCATTERED_AHEAD = 8  # rows, where they lie anywhere
_FRACTION_BITS = 50
_SUM_BITS = 62
# A row costs about 10 ns: smaller inputs are done before a thread has started.
_ROWS_WORTH_A_THREAD = 16_384
_BLOCK_ROWS = 65_536

Result = TypeVar("Result")


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with numba, without the interpreter lock, kept on disk where that is possible."""
    return compiled_with(function, nogil=True, error_model="numpy")


def compiled_bare(function: Callable[..., Any]) -> Any:
    """`compiled` for a function that makes no array: counting references costs more than a dot."""
    return compiled_with(function, nogil=True, error_model="numpy", _nrt=False)


def compiled_with(function: Callable[..., Any], **options: Any) -> Any:
    """Compile with numba's options, kept on disk where that is possible."""
    plain = inspect.unwrap(function)
    try:
        made = njit(cache=True, **options)(plain)
    except RuntimeError:  # no folder that a cache could be written to
        return njit(**options)(plain)
    _forgive(made)
    return made


def _forgive(made: Any) -> None:
    """Compile anew where what is kept cannot be read: an earlier version's types may be gone by now."""
    load = made._cache.load_overload

    def load_or_forget(*key: Any) -> Any:
        try:
            return load(*key)
        except Exception:  # unpickling fails in many ways
            try:
                made._cache.flush()
            except OSError:  # a folder that may only be read
                made._cache = NullCache()
            return None

    made._cache.load_overload = load_or_forget


def _loop(builder: ir.IRBuilder, start: Any, stop: Any, step: int) -> Any:
    size = start.type
    return cgutils.for_range_slice(
        builder, start, stop, ir.Constant(size, step), intp=size, inc=True
    )


def _load_wide(builder: ir.IRBuilder, pointer: Any, index: Any, element: Any, lanes: int) -> Any:
    """Element(s) at pointer[index:], as float64."""
    address = builder.gep(pointer, [index], source_etype=element)
    wide: Any = ir.DoubleType()
    narrow = element
    if lanes > 1:
        wide = ir.VectorType(wide, lanes)
        narrow = ir.VectorType(element, lanes)
    loaded = builder.load(address, align=4 if isinstance(element, ir.FloatType) else 8, typ=narrow)
    return builder.fpext(loaded, wide) if isinstance(element, ir.FloatType) else loaded


def _emit_sums(builder: ir.IRBuilder, length: Any, number: int,
               terms: Callable[[Any, int], list[Any]]) -> list[Any]:  # fmt: skip
    """Code for Σ_i terms(i), `number` sums at once, in the one order that every kernel shares."""
    size = length.type
    double = ir.DoubleType()
    vector = ir.VectorType(double, LANES)
    zero = ir.Constant(vector, [0.0] * LANES)
    sums = [
        [cgutils.alloca_once(builder, vector) for _ in range(number)] for _ in range(_ACCUMULATORS)
    ]
    tails = [cgutils.alloca_once(builder, double) for _ in range(number)]
    for place in [place for places in sums for place in places]:
        builder.store(zero, place)
    for place in tails:
        builder.store(ir.Constant(double, 0.0), place)

    def add_terms(index: Any, places: list[Any], lanes: int) -> None:
        kind = vector if lanes > 1 else double
        for term, place in zip(terms(index, lanes), places, strict=True):
            builder.store(builder.fadd(builder.load(place, typ=kind), term), place)

    step = LANES * _ACCUMULATORS
    whole = builder.and_(length, ir.Constant(size, -step))
    eights = builder.and_(length, ir.Constant(size, -LANES))
    with _loop(builder, ir.Constant(size, 0), whole, step) as (index, _):
        for turn, places in enumerate(sums):
            add_terms(builder.add(index, ir.Constant(size, turn * LANES)), places, LANES)
    with _loop(builder, whole, eights, LANES) as (index, _):
        add_terms(index, sums[0], LANES)
    with _loop(builder, eights, length, 1) as (index, _):
        add_terms(index, tails, 1)
    return [_emit_total(builder, [places[i] for places in sums], tails[i]) for i in range(number)]


def _emit_total(builder: ir.IRBuilder, places: list[Any], tail: Any) -> Any:
    """Code for the sum of all lanes of four vectors, and of the tail."""
    double = ir.DoubleType()
    parts = [builder.load(place, typ=ir.VectorType(double, LANES)) for place in places]
    total = builder.fadd(builder.fadd(parts[0], parts[1]), builder.fadd(parts[2], parts[3]))
    lanes = [
        builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(LANES)
    ]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [builder.fadd(lanes[i], lanes[i + half]) for i in range(half)]
    return builder.fadd(lanes[0], builder.load(tail, typ=double))


def _emit_dot(builder: ir.IRBuilder, left: Any, left_type: Any, right: Any, right_type: Any,
              length: Any) -> Any:  # fmt: skip
    """Code for Σ_i left[i]·right[i]."""

    def product(index: Any, lanes: int) -> list[Any]:
        a = _load_wide(builder, left, index, left_type, lanes)
        return [builder.fmul(a, _load_wide(builder, right, index, right_type, lanes))]

    return _emit_sums(builder, length, 1, product)[0]


def _row_pointer(context: Any, builder: ir.IRBuilder, kind: Any, value: Any, row: Any) -> Any:
    """Pointer to the first entry of a row of a C-contiguous matrix, and the row's length."""
    matrix = context.make_array(kind)(context, builder, value)
    length = cgutils.unpack_tuple(builder, matrix.shape, 2)[1]
    element = context.get_data_type(kind.dtype)
    return builder.gep(matrix.data, [builder.mul(row, length)], source_etype=element), length


def _row_dot(typingctx: Any, rows: Any, row: Any, vector: Any) -> Any:
    """⟨rows[row], vector⟩: float32 (or float64) row, float64 vector, float64 sums."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, length = _row_pointer(
            context, builder, signature.args[0], arguments[0], arguments[1]
        )
        other = context.make_array(signature.args[2])(context, builder, arguments[2])
        element = context.get_data_type(signature.args[0].dtype)
        return _emit_dot(builder, pointer, element, other.data, ir.DoubleType(), length)

    return types.float64(rows, types.intp, vector), codegen


def _row_dots(typingctx: Any, rows: Any, row: Any, left: Any, right: Any) -> Any:
    """⟨rows[row], left⟩ and ⟨rows[row], right⟩, each as `row_dot` has it, the row read once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, length = _row_pointer(
            context, builder, signature.args[0], arguments[0], arguments[1]
        )
        element = context.get_data_type(signature.args[0].dtype)
        others = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[2:], arguments[2:], strict=True)
        ]

        def products(index: Any, lanes: int) -> list[Any]:
            a = _load_wide(builder, pointer, index, element, lanes)
            wide = [_load_wide(builder, b, index, ir.DoubleType(), lanes) for b in others]
            return [builder.fmul(a, b) for b in wide]

        sums = _emit_sums(builder, length, 2, products)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float64, 2)(rows, types.intp, left, right), codegen


def _step_dots(typingctx: Any, now: Any, starts: Any, start: Any, units: Any, side: Any) -> Any:
    """⟨Δ, units[side]⟩ and ‖Δ‖² of Δ = now − starts[start], all float64, summed as `row_dot` sums."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        array = context.make_array(kinds[0])(context, builder, arguments[0])
        pointers = [array.data]
        for i in (1, 3):
            pointer, length = _row_pointer(
                context, builder, kinds[i], arguments[i], arguments[i + 1]
            )
            pointers.append(pointer)

        def products(index: Any, lanes: int) -> list[Any]:
            double = ir.DoubleType()
            a, b, v = (_load_wide(builder, each, index, double, lanes) for each in pointers)
            step = builder.fsub(a, b)
            return [builder.fmul(step, v), builder.fmul(step, step)]

        sums = _emit_sums(builder, length, 2, products)
        return context.make_tuple(builder, signature.return_type, sums)

    pair = types.UniTuple(types.float64, 2)
    return pair(now, starts, types.intp, units, types.intp), codegen


def _row_square(typingctx: Any, rows: Any, row: Any) -> Any:
    """‖rows[row]‖² in the same order as `row_dot`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, length = _row_pointer(
            context, builder, signature.args[0], arguments[0], arguments[1]
        )
        element = context.get_data_type(signature.args[0].dtype)
        return _emit_dot(builder, pointer, element, pointer, element, length)

    return types.float64(rows, types.intp), codegen


def _vector_dot(typingctx: Any, left: Any, right: Any) -> Any:
    """⟨left, right⟩ of float64 vectors in the same order as `row_dot`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a = context.make_array(signature.args[0])(context, builder, arguments[0])
        b = context.make_array(signature.args[1])(context, builder, arguments[1])
        length = cgutils.unpack_tuple(builder, a.shape, 1)[0]
        double = ir.DoubleType()
        return _emit_dot(builder, a.data, double, b.data, double, length)

    return types.float64(left, right), codegen


def _add_row(typingctx: Any, rows: Any, row: Any, scale: Any, sums: Any) -> Any:
    """Add round(rows[row] · scale) to sums, in int64; |entries · scale| must stay below 2⁵¹."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, length = _row_pointer(
            context, builder, signature.args[0], arguments[0], arguments[1]
        )
        element = context.get_data_type(signature.args[0].dtype)
        target = context.make_array(signature.args[3])(context, builder, arguments[3]).data
        size = length.type
        double, integer = ir.DoubleType(), ir.IntType(64)
        rounder_bits = int(np.float64(_ROUNDER).view(np.int64))

        def add_rounded(index: Any, lanes: int) -> None:
            def constant(kind: Any, number: Any) -> Any:
                if lanes == 1:
                    return ir.Constant(kind, number)
                return ir.Constant(ir.VectorType(kind, lanes), [number] * lanes)

            integers: Any = ir.VectorType(integer, lanes) if lanes > 1 else integer
            factor = arguments[2]
            if lanes > 1:
                vector = ir.VectorType(double, lanes)
                lane = ir.IntType(32)
                single = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), factor, ir.Constant(lane, 0)
                )
                factor = builder.shuffle_vector(
                    single,
                    ir.Constant(vector, ir.Undefined),
                    ir.Constant(ir.VectorType(lane, lanes), [0] * lanes),
                )
            scaled = builder.fmul(_load_wide(builder, pointer, index, element, lanes), factor)
            shifted = builder.fadd(scaled, constant(double, _ROUNDER))
            rounded = builder.sub(
                builder.bitcast(shifted, integers), constant(integer, rounder_bits)
            )
            place = builder.bitcast(
                builder.gep(target, [index], source_etype=integer), ir.PointerType(integers)
            )
            before = builder.load(place, align=8, typ=integers)
            builder.store(builder.add(before, rounded), place, align=8)

        eights = builder.and_(length, ir.Constant(size, -LANES))
        with _loop(builder, ir.Constant(size, 0), eights, LANES) as (index, _):
            add_rounded(index, LANES)
        with _loop(builder, eights, length, 1) as (index, _):
            add_rounded(index, 1)
        return context.get_dummy_value()

    return types.none(rows, types.intp, types.float64, sums), codegen


def _larger(typingctx: Any, left: Any, right: Any) -> Any:
    """The larger of two floats that are not NaN; of equal ones any: loops of it take many at once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [double, double])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.maxnum.f64")
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return types.float64(types.float64, types.float64), codegen


def _prefetch_row(typingctx: Any, rows: Any, row: Any) -> Any:
    """Ask for a row that is wanted soon; it changes the time, never a result."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, length = _row_pointer(
            context, builder, signature.args[0], arguments[0], arguments[1]
        )
        size, small = length.type, ir.IntType(32)
        place = ir.PointerType(ir.IntType(8))
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [place, small, small, small]),
            "llvm.prefetch.p0",
        )
        element = context.get_data_type(signature.args[0].dtype)
        line = _CACHE_LINE // context.get_abi_sizeof(element)
        with _loop(builder, ir.Constant(size, 0), length, line) as (index, _):
            address = builder.gep(pointer, [index], source_etype=element)
            how = [ir.Constant(small, part) for part in (0, 3, 1)]  # to read, soon, data
            builder.call(prefetch, [builder.bitcast(address, place), *how])
        return context.get_dummy_value()

    return types.none(rows, types.intp), codegen


row_dot: Any = intrinsic(inspect.unwrap(_row_dot))
row_dots: Any = intrinsic(inspect.unwrap(_row_dots))
row_square: Any = intrinsic(inspect.unwrap(_row_square))
vector_dot: Any = intrinsic(inspect.unwrap(_vector_dot))
step_dots: Any = intrinsic(inspect.unwrap(_step_dots))
add_row: Any = intrinsic(inspect.unwrap(_add_row))
larger: Any = intrinsic(inspect.unwrap(_larger))
prefetch_row: Any = intrinsic(inspect.unwrap(_prefetch_row))


@compiled
def dot(left, right):
    """⟨left, right⟩ of two float64 vectors, in the order of `row_dot`."""
    return vector_dot(left, right)


@compiled
def rows_ahead(values):
    """How many rows ahead of itself a pass asks for them, so that it waits less for memory."""
    return max(1, _ASKED_AHEAD // (values.itemsize * max(1, values.shape[1])))


@compiled
def scores_block(values, start, stop, direction, scores):
    """scores[i] = ⟨z_i, direction⟩ for start ≤ i < stop."""
    ahead = rows_ahead(values)
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        scores[i] = row_dot(values, i, direction)


@compiled
def squares_block(values, start, stop, squares):
    """squares[i] = ‖z_i‖² for start ≤ i < stop."""
    ahead = rows_ahead(values)
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        squares[i] = row_square(values, i)


@compiled
def largest_square_block(values, start, stop):
    """Largest ‖z_i‖² over start ≤ i < stop."""
    ahead = rows_ahead(values)
    largest = 0.0
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        largest = max(largest, row_square(values, i))
    return largest


@compiled
def peak_bits_block(bits, start, stop):
    """Largest |entry| as the bits of a float32: as an integer, which NaN and infinity exceed."""
    peak = np.uint32(0)
    for i in range(start, stop):
        for j in range(bits.shape[1]):
            peak = max(peak, np.uint32(bits[i, j] & np.uint32(0x7FFFFFFF)))
    return peak


@compiled
def squares_and_peak_block(values, bits, start, stop, squares):
    """`squares_block` and `peak_bits_block` of the same rows, which are read once."""
    ahead = rows_ahead(values)
    peak = np.uint32(0)
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        squares[i] = row_square(values, i)
        for j in range(bits.shape[1]):
            peak = max(peak, np.uint32(bits[i, j] & np.uint32(0x7FFFFFFF)))
    return peak


@compiled
def sum_block(values, start, stop, scale):
    """Σ round(z_i · scale) over start ≤ i < stop, int64 [d]."""
    ahead = rows_ahead(values)
    sums = np.zeros(values.shape[1], np.int64)
    for i in range(start, stop):
        prefetch_row(values, min(i + ahead, stop - 1))
        add_row(values, i, scale, sums)
    return sums


@compiled
def sum_rows_block(values, rows, start, stop, scale):
    """Σ round(z_{rows[i]} · scale) over start ≤ i < stop, int64 [d]."""
    sums = np.zeros(values.shape[1], np.int64)
    for i in range(start, stop):
        prefetch_row(values, rows[min(i + _SCATTERED_AHEAD, stop - 1)])
        add_row(values, rows[i], scale, sums)
    return sums


def available_threads(threads: int | None = None) -> int:
    """How many threads to use: as asked, else OMP_NUM_THREADS, else the processors we may use."""
    if threads is not None:
        if threads < 1:
            raise UsageError("at least one thread", f"{threads}")
        return threads
    wished = os.environ.get("OMP_NUM_THREADS", "")
    if wished.isdigit() and int(wished) > 0:
        return int(wished)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_blocks(work: Callable[[int, int], Result], n: int, threads: int | None = None,
               block_rows: int = _BLOCK_ROWS) -> list[Result]:  # fmt: skip
    """work(start, stop) over consecutive blocks of 0..n, in threads where that pays, in order."""
    count = available_threads(threads)
    if count == 1 or n < _ROWS_WORTH_A_THREAD:
        block_rows = max(n, 1)
    # Blocks small enough for every thread to get some.
    block_rows = max(1, min(block_rows, -(-n // (4 * count)))) if count > 1 else block_rows
    starts = range(0, n, block_rows)
    if len(starts) <= 1 or count == 1 or n < _ROWS_WORTH_A_THREAD:
        return [work(start, min(start + block_rows, n)) for start in starts]
    found: list[Any] = [None] * len(starts)
    left = iter(enumerate(starts))
    failures: list[tuple[int, BaseException]] = []

    def share() -> None:
        number = -1
        try:
            for number, start in left:
                found[number] = work(start, min(start + block_rows, n))
        except BaseException as error:
            failures.append((number, error))
            for _ in left:  # whoever works ends after its block
                pass

    # A pool and its futures cost as much as many a pass has to share: the caller takes blocks itself.
    others = [threading.Thread(target=share) for _ in range(min(count, len(starts)) - 1)]
    for other in others:
        other.start()
    share()
    for other in others:
        other.join()
    if failures:  # the first of the blocks, as without threads
        raise min(failures, key=lambda one: one[0])[1]
    return found


def embedding_rows(values: object) -> np.ndarray:
    """A float32 matrix in C order, as a read-only plain view that all kernels are compiled for.

    Raises:
        UsageError: another type, shape or order.
    """
    array = np.asarray(values)
    if array.dtype != np.float32 or array.ndim != 2 or not array.flags.c_contiguous:
        raise UsageError(
            "embeddings as a C-contiguous float32 matrix [n, d]",
            f"{array.dtype} of shape {array.shape}",
            "Use np.ascontiguousarray(values, dtype=np.float32)",
        )
    view = array.view()
    view.flags.writeable = False
    return view


def fixed_point_scale(values: np.ndarray, threads: int | None = None) -> float:
    """The power of two that turns entries into integers whose sum over all rows cannot overflow.

    With |z| < 2^e and n ≤ 2^b rows, scale = 2^(min(50, 62 − b) − e): a sum over any subset stays
    below 2^62, and an entry is off by at most 2^(e − 1 − min(50, 62 − b)): 2^-43 for a million
    unit rows. Entries above 2^(e − 1 − min(50, 62 − b) + 24) are not rounded at all.

    Args:
        values: float32 [n, d].
        threads: as in `available_threads`.

    Raises:
        DataError: NaN or infinity among the entries.
    """
    n = values.shape[0]
    if values.size == 0:
        return 1.0
    bits = values.view(np.uint32)
    peaks = map_blocks(lambda start, stop: peak_bits_block(bits, start, stop), n, threads)
    peak = np.uint32(max(int(value) for value in peaks)).view(np.float32)
    return scale_of_peak(peak, n)


def scale_of_peak(peak: np.floating, n: int) -> float:
    """`fixed_point_scale` of n rows whose largest |entry| is known.

    Raises:
        DataError: it is NaN or infinite.
    """
    if not np.isfinite(peak):
        raise DataError(
            "embeddings of finite numbers",
            "NaN or infinity",
            "Leave these examples out, or embed them again",
        )
    exponent = int(np.frexp(float(peak))[1])
    return float(2.0 ** (min(_FRACTION_BITS, _SUM_BITS - (n - 1).bit_length()) - exponent))


def add_exactly(parts: list[np.ndarray], dimension: int) -> np.ndarray:
    """Sum of int64 partial sums [d]."""
    sums = np.zeros(dimension, dtype=np.int64)
    for part in parts:
        sums += part
    return sums
