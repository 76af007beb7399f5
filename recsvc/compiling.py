"""Functions that Numba compiles, kept on disk where there is a place for them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_decorator: Any = njit

NOWHERE = "no locator available"  # how Numba says that no folder for its cache can be written to


def jit(**options: Any) -> Callable[[Function], Function]:
    """Compile at the first call, release the interpreter's lock, keep the result on disk.

    Where neither the package nor the user's cache folder can be written to, each process compiles
    again: that takes seconds, while Numba itself would refuse to be imported.
    """

    def decorate(function: Function) -> Function:
        try:
            return cast("Function", _decorator(nogil=True, cache=True, **options)(function))
        except RuntimeError as error:
            if NOWHERE not in str(error):
                raise
            return cast("Function", _decorator(nogil=True, **options)(function))

    return decorate
