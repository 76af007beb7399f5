"""SQLite connections with one more aggregate: ``packed(x, ...)``, many rows as one blob.

A row that passes through Python costs more than to read it. With ``packed`` a group of rows passes
as one value, row after row: numbers in eight bytes each, in the machine's byte order, integers as
int64 and reals as double; of a text its length in bytes, likewise, and then its UTF-8, filled up
with zeros to whole words. Anything else is refused. The blob of no rows is NULL.

The aggregate is compiled and calls SQLite's C interface. Where that cannot be reached, one in
Python gives the same blobs, only slower.
"""

import sqlite3
import struct
from typing import Any, cast

from recsvc.store.database.sqlite.library import handle_of

_ANY_NUMBER = -1  # of arguments


class PackingConnection(sqlite3.Connection):
    """A connection that can be given ``packed``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        def opening() -> None:
            super(PackingConnection, self).__init__(*arguments, **options)

        self._handle = handle_of(opening)
        self._packs = False

    def add_packed(self) -> None:
        """Make ``packed`` known, if it is not yet."""
        if self._packs:
            return
        if self._handle is None:
            self.create_aggregate("packed", _ANY_NUMBER, cast("Any", PackedInPython))
        else:
            # Numba takes long to import, and most commands read few rows.
            from recsvc.store.database.sqlite.packed import add_compiled  # noqa: PLC0415

            add_compiled(self._handle)
        self._packs = True

    def close(self) -> None:
        """Close; SQLite's address of a closed connection must not be used again."""
        self._handle = None
        super().close()


class PackedInPython:
    """What ``packed`` does, in the words of Python's ``sqlite3``."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []

    def step(self, *values: float | str) -> None:
        """Take a row; anything but numbers and texts raises ``struct.error``."""
        self._rows += map(_words, values)

    def finalize(self) -> bytes:
        """Return the blob."""
        return b"".join(self._rows)


def _words(value: float | str) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return struct.pack("=q", len(text)) + text + bytes(-len(text) % 8)
    return struct.pack("=d" if isinstance(value, float) else "=q", value)
