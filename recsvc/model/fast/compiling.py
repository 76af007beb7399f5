"""How the numerical functions of this package are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

from recsvc.runtime.compiled import jit

Function = TypeVar("Function", bound=Callable[..., Any])

_decorator: Any = njit
#: Sums may be reordered and square roots approximated; NaN and infinity keep their meaning.
_FAST_MATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


def compiled(function: Function) -> Function:
    """Compile at the first call, keep the result on disk, release the interpreter's lock.

    Division follows IEEE 754: Python's check for zero would keep loops from being vectorised.
    Such a function cannot allocate. In return its arrays carry no reference counts, whose atomic
    updates cost time in the inner loop and make threads wait for each other.
    """
    return jit(error_model="numpy", fastmath=_FAST_MATH, _nrt=False)(function)


def inlined(function: Function) -> Function:
    """Compile as part of the callers; a call would cost as much as a dot product of 64 numbers."""
    return cast("Function", _decorator(inline="always", error_model="numpy")(function))
