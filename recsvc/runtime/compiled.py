"""Functions that Numba compiles, kept on disk where there is a place for them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

NOWHERE = "no locator available"  # how Numba says that no folder for its cache can be written to


def jit(**options: Any) -> Callable[[Function], Function]:
    """Compile at the first call, release the interpreter's lock, keep the result on disk.

    Where neither the package nor the user's cache folder can be written to, each process compiles
    again: that takes seconds, while Numba itself would refuse to be imported.
    """

    def decorate(function: Function) -> Function:
        return _kept(function, nogil=True, **options)

    return decorate


def _kept(function: Function, **options: Any) -> Function:
    try:
        return cast("Function", njit(cache=True, **options)(function))
    except RuntimeError as error:
        if NOWHERE not in str(error):
            raise
        return cast("Function", njit(**options)(function))
