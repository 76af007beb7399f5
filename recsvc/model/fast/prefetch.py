"""Asking the processor for a row of memory some time before it is read."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

CACHE_LINE = 64  # bytes
_READ, _KEEP_IN_ALL_CACHES, _DATA = 0, 3, 1


def _prefetch(_context: Any, array: Any, row: Any) -> Any:
    """Write the machine's instructions; Numba gives the arguments' types."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(view.strides, 0)
        byte, word = ir.IntType(8), ir.IntType(32)
        start = builder.gep(
            builder.bitcast(view.data, byte.as_pointer()),
            [builder.mul(builder.sext(arguments[1], stride.type), stride)],
        )
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [byte.as_pointer()],
            ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word]),
        )
        flags = [word(flag) for flag in (_READ, _KEEP_IN_ALL_CACHES, _DATA)]
        end = builder.gep(start, [stride])
        with cgutils.for_range_slice(
            builder,
            builder.ptrtoint(start, stride.type),
            builder.ptrtoint(end, stride.type),
            stride.type(CACHE_LINE),
            stride.type,
        ) as (address, _):
            builder.call(hint, [builder.inttoptr(address, byte.as_pointer()), *flags])
        return context.get_dummy_value()

    return types.void(array, row), generate


#: ``prefetch(array, row)``, in compiled functions only, begins to load ``array[row]``. Results stay
#: the same, and so does memory; only waiting gets shorter. ``array`` is C-contiguous.
prefetch: Any = intrinsic(_prefetch)
