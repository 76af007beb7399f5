"""Functions that Numba compiles, kept on disk where there is a place for them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import cfunc, njit

Function = TypeVar("Function", bound=Callable[..., Any])

NOWHERE = "no locator available"  # how Numba says that no folder for its cache can be written to


def jit(**options: Any) -> Callable[[Function], Function]:
    """Compile at the first call, release the interpreter's lock, keep the result on disk.

    Where neither the package nor the user's cache folder can be written to, each process compiles
    again: that takes seconds, while Numba itself would refuse to be imported.
    """

    def decorate(function: Function) -> Function:
        return cast("Function", _kept(njit, function, nogil=True, **options))

    return decorate


def c_function(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile at once for a library to call; the result's ``address`` is what it is given."""

    def decorate(function: Callable[..., Any]) -> Any:
        return _kept(cfunc, function, signature, error_model="numpy")

    return decorate


def _kept(decorator: Any, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return decorator(*arguments, cache=True, **options)(function)
    except RuntimeError as error:
        if NOWHERE not in str(error):
            raise
        return decorator(*arguments, **options)(function)
