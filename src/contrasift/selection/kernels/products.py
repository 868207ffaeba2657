"""Similarities of many pairs at the speed of a matrix product, each the same wherever it is made.

A library's matrix product gives a pair's similarity other last bits in another block, which decides
otherwise whether it reaches a threshold, and which of two equal rows is taken. Here

    s_ij = fma(z_i,d−1, z_j,d−1, … fma(z_i1, z_j1, fma(z_i0, z_j0, 0)))      in float32

one chain of fused multiply-adds over the coordinates, in their order, is *the* similarity of two
rows: symmetric, and the same bits for every block, thread count, tile and processor. It is within
d·2⁻²⁴·‖z_i‖‖z_j‖ of the true one. A pair counts iff its s_ij ≥ τ; sums of those that count are made
in fixed point (see `kernels`), which is exact and so free of order.

Many chains are computed side by side: a tile holds a few rows of the left matrix against as many
columns as fill the processor's registers (Goto & van de Geijn 2008).
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from contrasift.selection.kernels.dots import _ROUNDER, compiled, embedding_rows


class RegisterTile(NamedTuple):
    """Shape of a tile: so many rows, times `vectors` registers of `lanes` columns."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes


def tile_of_host() -> RegisterTile:
    """The tile that fits this processor's registers; it changes the speed, never a result."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return RegisterTile(12, 2, 16)
    return RegisterTile(6, 2, 8) if features.get("avx2") else RegisterTile(6, 4, 4)


def _loop(builder: ir.IRBuilder, stop: Any) -> Any:
    size = stop.type
    return cgutils.for_range_slice(
        builder, ir.Constant(size, 0), stop, ir.Constant(size, 1), intp=size, inc=True
    )


def _splat(builder: ir.IRBuilder, scalar: Any, lanes: int) -> Any:
    """A vector with the scalar in every lane."""
    vector, lane = ir.VectorType(scalar.type, lanes), ir.IntType(32)
    nothing = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(nothing, scalar, ir.Constant(lane, 0))
    zeros = ir.Constant(ir.VectorType(lane, lanes), [0] * lanes)
    return builder.shuffle_vector(single, nothing, zeros)


def _sum_of_lanes(builder: ir.IRBuilder, vector: Any, lanes: int) -> Any:
    nothing = ir.Constant(vector.type, ir.Undefined)
    lane = ir.IntType(32)
    width = lanes
    while width > 1:
        half = width // 2
        moved = [half + i if i < half else i for i in range(lanes)]
        mask = ir.Constant(ir.VectorType(lane, lanes), moved)
        vector = builder.add(vector, builder.shuffle_vector(vector, nothing, mask))
        width = half
    return builder.extract_element(vector, ir.Constant(lane, 0))


def _emit_chains(context: Any, builder: Any, tile: RegisterTile, left: Any, row: Any, packed: Any,
                 panel: Any) -> list[list[Any]]:  # fmt: skip
    """Code for s_ij of a tile: left[row:row + tile.rows] against one panel of packed columns."""
    (left_kind, left_value), (packed_kind, packed_value) = left, packed
    single = ir.FloatType()
    vector = ir.VectorType(single, tile.lanes)
    matrix = context.make_array(left_kind)(context, builder, left_value)
    length = cgutils.unpack_tuple(builder, matrix.shape, 2)[1]
    size = length.type
    columns = context.make_array(packed_kind)(context, builder, packed_value).data
    start = builder.mul(panel, builder.mul(length, ir.Constant(size, tile.columns)))
    columns = builder.gep(columns, [start], source_etype=single)
    rows = []
    for number in range(tile.rows):
        first = builder.mul(builder.add(row, ir.Constant(size, number)), length)
        rows.append(builder.gep(matrix.data, [first], source_etype=single))
    sums = [
        [cgutils.alloca_once(builder, vector) for _ in range(tile.vectors)]
        for _ in range(tile.rows)
    ]
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{tile.lanes}f32"
    )
    zero = ir.Constant(vector, [0.0] * tile.lanes)
    for places in sums:
        for place in places:
            builder.store(zero, place)
    with _loop(builder, length) as (index, _):
        place = builder.mul(index, ir.Constant(size, tile.columns))
        right = []
        for number in range(tile.vectors):
            address = builder.gep(
                columns, [builder.add(place, ir.Constant(size, number * tile.lanes))],
                source_etype=single,
            )  # fmt: skip
            right.append(builder.load(address, align=4, typ=vector))
        for pointer, places in zip(rows, sums, strict=True):
            entry = builder.load(
                builder.gep(pointer, [index], source_etype=single), align=4, typ=single
            )
            factor = _splat(builder, entry, tile.lanes)
            for other, place in zip(right, places, strict=True):
                before = builder.load(place, typ=vector)
                builder.store(builder.call(multiply_add, [factor, other, before]), place)
    return [[builder.load(place, typ=vector) for place in places] for places in sums]


def _kept(builder: Any, similar: Any, cut: Any, lanes: int) -> Any:
    """What counts of each similarity: s · [s ≥ cut]."""
    zero = ir.Constant(similar.type, [0.0] * lanes)
    return builder.select(builder.fcmp_ordered(">=", similar, cut), similar, zero)


def _vector_at(builder: Any, array: Any, index: Any, element: Any, lanes: int) -> Any:
    address = builder.gep(array, [index], source_etype=element)
    return builder.bitcast(address, ir.PointerType(ir.VectorType(element, lanes)))


def make_tile_sums(tile: RegisterTile) -> Any:
    """An intrinsic that adds a tile's s·[s ≥ cut], in fixed point, to sums of rows and columns."""

    def _tile_sums(typingctx: Any, left: Any, row: Any, packed: Any, panel: Any, cut: Any,
                   scale: Any, row_sums: Any, column_sums: Any) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            similar = _emit_chains(
                context, builder, tile, (kinds[0], arguments[0]), arguments[1],
                (kinds[2], arguments[2]), arguments[3],
            )  # fmt: skip
            size = arguments[1].type
            integer = ir.IntType(64)
            wide = ir.VectorType(ir.DoubleType(), tile.lanes)
            integers = ir.VectorType(integer, tile.lanes)
            least = _splat(builder, arguments[4], tile.lanes)
            factor = _splat(builder, arguments[5], tile.lanes)
            rounder = ir.Constant(wide, [_ROUNDER] * tile.lanes)
            bits = ir.Constant(integers, [int(np.float64(_ROUNDER).view(np.int64))] * tile.lanes)
            row_data = context.make_array(kinds[6])(context, builder, arguments[6]).data
            column_data = context.make_array(kinds[7])(context, builder, arguments[7]).data
            columns: list[Any] = [None] * tile.vectors
            for number, vectors in enumerate(similar):
                across = None
                for position, vector in enumerate(vectors):
                    kept = builder.fpext(_kept(builder, vector, least, tile.lanes), wide)
                    shifted = builder.fadd(builder.fmul(kept, factor), rounder)
                    fixed = builder.sub(builder.bitcast(shifted, integers), bits)
                    across = fixed if across is None else builder.add(across, fixed)
                    before = columns[position]
                    columns[position] = fixed if before is None else builder.add(before, fixed)
                index = builder.add(arguments[1], ir.Constant(size, number))
                address = builder.gep(row_data, [index], source_etype=integer)
                total = _sum_of_lanes(builder, across, tile.lanes)
                builder.store(builder.add(builder.load(address, typ=integer), total), address)
            first = builder.mul(arguments[3], ir.Constant(size, tile.columns))
            for position, vector in enumerate(columns):
                index = builder.add(first, ir.Constant(size, position * tile.lanes))
                address = _vector_at(builder, column_data, index, integer, tile.lanes)
                before = builder.load(address, align=8, typ=integers)
                builder.store(builder.add(before, vector), address, align=8)
            return context.get_dummy_value()

        return types.none(
            left, types.intp, packed, types.intp, types.float32, types.float64, row_sums,
            column_sums,
        ), codegen  # fmt: skip

    return intrinsic(inspect.unwrap(_tile_sums))


def make_tile_store(tile: RegisterTile) -> Any:
    """An intrinsic that writes a tile's s·[s ≥ cut] into a matrix, float32."""

    def _tile_store(typingctx: Any, left: Any, row: Any, packed: Any, panel: Any, cut: Any,
                    result: Any) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            similar = _emit_chains(
                context, builder, tile, (kinds[0], arguments[0]), arguments[1],
                (kinds[2], arguments[2]), arguments[3],
            )  # fmt: skip
            size = arguments[1].type
            least = _splat(builder, arguments[4], tile.lanes)
            matrix = context.make_array(kinds[5])(context, builder, arguments[5])
            width = cgutils.unpack_tuple(builder, matrix.shape, 2)[1]
            first = builder.mul(arguments[3], ir.Constant(size, tile.columns))
            for number, vectors in enumerate(similar):
                start = builder.mul(builder.add(arguments[1], ir.Constant(size, number)), width)
                start = builder.add(start, first)
                for position, vector in enumerate(vectors):
                    index = builder.add(start, ir.Constant(size, position * tile.lanes))
                    address = _vector_at(builder, matrix.data, index, ir.FloatType(), tile.lanes)
                    builder.store(_kept(builder, vector, least, tile.lanes), address, align=4)
            return context.get_dummy_value()

        return types.none(
            left, types.intp, packed, types.intp, types.float32, result
        ), codegen  # fmt: skip

    return intrinsic(inspect.unwrap(_tile_store))


TILE = tile_of_host()
_ROWS, _COLUMNS = TILE.rows, TILE.columns
_tile_sums = make_tile_sums(TILE)
_row_sums = make_tile_sums(TILE._replace(rows=1))
_tile_store = make_tile_store(TILE)
_row_store = make_tile_store(TILE._replace(rows=1))


@compiled
def add_products(left, start, stop, packed, cut, scale, block, row_sums, column_sums):
    """Add round(s'_ij · scale) to row_sums[i] and column_sums[j], over start ≤ i < stop, all j."""
    for first in range(start, stop, block):
        last = min(stop, first + block)
        whole = last - (last - first) % _ROWS
        for panel in range(packed.shape[0]):
            for i in range(first, whole, _ROWS):
                _tile_sums(left, i, packed, panel, cut, scale, row_sums, column_sums)
            for i in range(whole, last):
                _row_sums(left, i, packed, panel, cut, scale, row_sums, column_sums)


@compiled
def store_products(left, packed, cut, result):
    """result[i, j] = s'_ij."""
    whole = left.shape[0] - left.shape[0] % _ROWS
    for panel in range(packed.shape[0]):
        for i in range(0, whole, _ROWS):
            _tile_store(left, i, packed, panel, cut, result)
        for i in range(whole, left.shape[0]):
            _row_store(left, i, packed, panel, cut, result)


@compiled
def pack(rows, start, stop, packed):
    """Lay rows start..stop out as panels [panel, coordinate, column], the last filled with zeros."""
    for panel in range(packed.shape[0]):
        for j in range(packed.shape[2]):
            i = start + panel * packed.shape[2] + j
            for coordinate in range(packed.shape[1]):
                packed[panel, coordinate, j] = rows[i, coordinate] if i < stop else 0.0


def packed_rows(rows: np.ndarray) -> np.ndarray:
    """Rows as panels: float32 [⌈n / columns⌉, d, columns]."""
    n, d = rows.shape
    packed = np.empty((-(-n // _COLUMNS), d, _COLUMNS), dtype=np.float32)
    pack(embedding_rows(rows), 0, n, packed)
    return packed


def _chain(typingctx: Any, left: Any, i: Any, right: Any, j: Any) -> Any:
    """s_ij of row i of one matrix and row j of another."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = ir.FloatType()
        pointers = []
        for place in (0, 2):
            matrix = context.make_array(signature.args[place])(context, builder, arguments[place])
            length = cgutils.unpack_tuple(builder, matrix.shape, 2)[1]
            start = builder.mul(arguments[place + 1], length)
            pointers.append(builder.gep(matrix.data, [start], source_etype=single))
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(single, [single] * 3), "llvm.fma.f32"
        )
        place = cgutils.alloca_once_value(builder, ir.Constant(single, 0.0))
        with _loop(builder, length) as (index, _):
            entries = [
                builder.load(
                    builder.gep(pointer, [index], source_etype=single), align=4, typ=single
                )
                for pointer in pointers
            ]
            before = builder.load(place, typ=single)
            builder.store(builder.call(multiply_add, [*entries, before]), place)
        return builder.load(place, typ=single)

    return types.float32(left, types.intp, right, types.intp), codegen


_pair_chain = intrinsic(inspect.unwrap(_chain))


@compiled
def own_products(rows, start, stop, cut, scale, result):
    """result[i] = round(s'_ii · scale) for start ≤ i < stop."""
    for i in range(start, stop):
        similar = _pair_chain(rows, i, rows, i)
        result[i] = np.int64(np.rint(np.float64(similar) * scale)) if similar >= cut else 0


@compiled
def pair_products(left, rows, right, result):
    """result[i, k] = s_ij of row i and row j = rows[i, k] of the right matrix; −∞ where j < 0."""
    for i in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            j = rows[i, place]
            result[i, place] = _pair_chain(left, i, right, j) if j >= 0 else np.float32(-np.inf)
