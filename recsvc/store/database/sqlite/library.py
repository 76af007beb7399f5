"""The SQLite library that Python itself uses, by its C interface.

Python does not show SQLite's address of a connection, which the C interface asks for. SQLite gives
it to an "automatic extension", a function that it calls whenever a connection is opened
(https://sqlite.org/c3ref/auto_extension.html).
"""

import _sqlite3
import ctypes
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_opening = threading.local()  # the handle of the connection that this thread opens
_lock = threading.Lock()


def python_library() -> ctypes.CDLL:
    """Return what holds that library: Python's own module, which leads to it.

    A second copy of the library would be dangerous (:mod:`recsvc.store.database.sqlite.reader`).
    """
    return ctypes.CDLL(getattr(_sqlite3, "__file__", None))


def handle_of(opening: Callable[[], None]) -> int | None:
    """Open a connection; return SQLite's address of it, or ``None`` where that cannot be had.

    It cannot where SQLite is built into Python and its functions are hidden.
    """
    _opening.handle = None
    try:
        library = python_library()
        register, cancel = library.sqlite3_auto_extension, library.sqlite3_cancel_auto_extension
    except (AttributeError, OSError):
        opening()
        return None
    with _lock, _signals_held():
        register(_notice)
        try:
            opening()
        finally:
            cancel(_notice)
    handle: int | None = _opening.handle
    return handle


@contextmanager
def _signals_held() -> Iterator[None]:
    """Put off what a signal's handler raises: within a callback from C it would be lost."""
    if threading.current_thread() is not threading.main_thread():  # handlers run there only
        yield
        return
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


def _remember(handle: int, _message: int, _interface: int) -> int:
    _opening.handle = handle
    return sqlite3.SQLITE_OK


_notice = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(_remember)
