"""Adding rows to rows in whole vectors, which the compiler alone does not do well.

It cannot know that two rows do not overlap. For a few dozen numbers its checks, and its loops for
all that a row might be, take longer than the sums.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

NUMBERS = 16  # of a vector; the compiler splits it into what the processor has
_FLOAT, _WORD = ir.FloatType(), ir.IntType(64)


def _row(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    """Address of a row's first number."""
    view = context.make_array(array_type)(context, builder, array)
    stride = builder.extract_value(view.strides, 0)
    byte = builder.bitcast(view.data, ir.IntType(8).as_pointer())
    start = builder.gep(byte, [builder.mul(row, stride)])
    return builder.bitcast(start, _FLOAT.as_pointer())


def _add_scaled(
    _context: Any, target: Any, _target_row: Any, source: Any, _source_row: Any, _factor: Any
) -> Any:
    """Write the machine's instructions; Numba gives the arguments' types."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to_type, from_type = signature.args[0], signature.args[2]
        to = _row(context, builder, to_type, arguments[0], arguments[1])
        origin = _row(context, builder, from_type, arguments[2], arguments[3])
        scale = arguments[4]
        view = context.make_array(to_type)(context, builder, arguments[0])
        width = builder.extract_value(view.shape, 1)
        first, whole = _WORD(0), builder.and_(width, _WORD(-NUMBERS))

        def add(kind: Any, factor: Any, column: Any) -> None:
            place, other = (
                builder.bitcast(builder.gep(row, [column]), kind.as_pointer())
                for row in (to, origin)
            )
            old, summand = (builder.load(pointer, align=4) for pointer in (place, other))
            product = builder.fmul(factor, summand, flags=("contract",))
            total = builder.fadd(old, product, flags=("contract",))
            builder.store(total, place, align=4)

        vector = ir.VectorType(_FLOAT, NUMBERS)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), scale, _WORD(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), NUMBERS), [0] * NUMBERS)
        scales = builder.shuffle_vector(one, one, mask)
        with cgutils.for_range_slice(builder, first, whole, _WORD(NUMBERS), _WORD) as (column, _):
            add(vector, scales, column)
        with cgutils.for_range_slice(builder, whole, width, _WORD(1), _WORD) as (column, _):
            add(_FLOAT, scale, column)
        return context.get_dummy_value()

    index = types.int64
    return types.void(target, index, source, index, types.float32), generate


#: ``add_scaled(target, t, source, s, factor)``, in compiled functions only, adds
#: ``factor * source[s]`` to ``target[t]``, number by number. Both arrays are C-contiguous, of
#: float32 and equally wide; the rows must not overlap.
add_scaled: Any = intrinsic(_add_scaled)
