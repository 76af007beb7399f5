"""SQLite connections with one more aggregate: ``packed(x, ...)``, many rows as one blob.

A row that passes through Python costs more than to read it. With ``packed`` a group of rows passes
as one value: row after row its numbers in eight bytes each, in the machine's byte order, integers
as int64 and reals as double. Anything else is refused.

The aggregate is compiled and calls SQLite's C interface. That needs the address of a connection,
which Python does not show; but SQLite gives it to an "automatic extension", a function that it
calls whenever a connection is opened (https://sqlite.org/c3ref/auto_extension.html). The library
that is asked is the one that Python itself uses, since a second copy would be dangerous
(:mod:`recsvc.store.snapshot`). Where its functions cannot be reached, as where SQLite is built into
Python, an aggregate in Python gives the same blobs, some five times as slowly.
"""

import _sqlite3
import ctypes
import sqlite3
import struct
import threading
from collections.abc import Callable
from typing import Any, cast

_ANY_NUMBER = -1  # of arguments

_opening = threading.local()  # the handle of the connection that this thread opens
_lock = threading.Lock()


class PackingConnection(sqlite3.Connection):
    """A connection that can be given ``packed``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with _lock:
            self._handle = _noticed(lambda: super(type(self), self).__init__(*arguments, **options))
        self._packs = False

    def add_packed(self) -> None:
        """Make ``packed`` known, if it is not yet."""
        if self._packs:
            return
        if self._handle is None:
            self.create_aggregate("packed", _ANY_NUMBER, cast("Any", PackedInPython))
        else:
            # Numba takes long to import, and most commands read few rows.
            from recsvc.store.sqlite_packed import add_compiled  # noqa: PLC0415

            add_compiled(self._handle)
        self._packs = True


class PackedInPython:
    """What ``packed`` does, in the words of Python's ``sqlite3``."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []

    def step(self, *values: float) -> None:
        """Take a row; one that holds anything but numbers raises ``struct.error``."""
        kinds = "".join("d" if isinstance(value, float) else "q" for value in values)
        self._rows.append(struct.pack(f"={kinds}", *values))

    def finalize(self) -> bytes:
        """Return the blob."""
        return b"".join(self._rows)


def python_library() -> ctypes.CDLL:
    """Return what holds the SQLite that Python uses: its module, which leads to the library."""
    return ctypes.CDLL(getattr(_sqlite3, "__file__", None))


def _remember(handle: int, _message: int, _interface: int) -> int:
    _opening.handle = handle
    return sqlite3.SQLITE_OK


_notice = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(_remember)


def _noticed(opening: Callable[[], None]) -> int | None:
    """Open a connection and return its handle; ``None`` if SQLite cannot be asked for it."""
    _opening.handle = None
    try:
        library = python_library()
        library.sqlite3_auto_extension(_notice)
    except (AttributeError, OSError):
        opening()
        return None
    try:
        opening()
    finally:
        library.sqlite3_cancel_auto_extension(_notice)
    handle: int | None = _opening.handle
    return handle
