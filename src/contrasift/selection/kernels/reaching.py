"""Which of many numbers reach a bound, a machine word of them at a time."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from contrasift.selection.kernels.dots import compiled

LANES = 64  # entries that are compared at once: one bit each of a machine word


def _reaching(typingctx: Any, values: Any, row: Any, first: Any, bound: Any) -> Any:
    """Which of the entries first … first + 63 of a row are at least a bound: one bit each."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        matrix = context.make_array(kind)(context, builder, arguments[0])
        length = cgutils.unpack_tuple(builder, matrix.shape, 2)[1]
        element = context.get_data_type(kind.dtype)
        vector, lane = ir.VectorType(element, LANES), ir.IntType(32)
        place = builder.add(builder.mul(arguments[1], length), arguments[2])
        address = builder.gep(matrix.data, [place], source_etype=element)
        entries = builder.load(address, align=kind.dtype.bitwidth // 8, typ=vector)
        nothing = ir.Constant(vector, ir.Undefined)
        single = builder.insert_element(nothing, arguments[3], ir.Constant(lane, 0))
        zeros = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
        bounds = builder.shuffle_vector(single, nothing, zeros)
        return builder.bitcast(builder.fcmp_ordered(">=", entries, bounds), ir.IntType(LANES))

    return types.uint64(values, types.intp, types.intp, values.dtype), codegen


def _first_bit(typingctx: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; one must be."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), codegen


reaching: Any = intrinsic(inspect.unwrap(_reaching))
first_bit: Any = intrinsic(inspect.unwrap(_first_bit))


@compiled
def reached_columns(values, row, width, bound, columns):
    """Columns of a row, of the first `width`, whose entries are at least a bound; how many.

    Args: float rows, C-contiguous; which; how many of its columns count; a bound of the entries' type;
    int64, filled with the columns, ascending.
    """
    whole = width - width % LANES
    count = 0
    for first in range(0, whole, LANES):
        bits = reaching(values, row, first, bound)
        while bits != 0:
            columns[count] = first + first_bit(bits)
            count += 1
            bits &= bits - np.uint64(1)
    for column in range(whole, width):
        if values[row, column] >= bound:
            columns[count] = column
            count += 1
    return count
