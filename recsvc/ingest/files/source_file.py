"""One source file: its bytes in blocks of whole lines, hashed as they pass."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from recsvc.errors import SourceDataError

BLOCK_BYTES = 4 << 20

OnBytes = Callable[[int], None]


class SourceFile:
    """A CSV file that is read once, front to back.

    Attributes:
        path: where it is.
        bytes_read: bytes passed so far; after the last block, the size of the file.
        size: bytes that the file had when reading began.
    """

    def __init__(self, path: Path, on_bytes: OnBytes | None = None) -> None:
        self.path = path
        self.bytes_read = 0
        self.size = 0
        self._version: tuple[int, ...] = ()
        self._digest = hashlib.sha256()
        self._on_bytes = on_bytes

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.path.name

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes passed so far, in hexadecimal."""
        return self._digest.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """Yield the file in blocks that end at a line end, or at the end of the file.

        Raises:
            SourceDataError: the file cannot be read, or changes while it is.
        """
        try:
            with self.path.open("rb") as stream:
                found = os.fstat(stream.fileno())
                self._version, self.size = _version(found), found.st_size
                rest = b""
                while read := stream.read(BLOCK_BYTES):
                    self._account(read)
                    cut = read.rfind(b"\n") + 1
                    if cut:
                        yield rest + read[:cut]
                        rest = read[cut:]
                    else:
                        rest += read
                if rest:
                    yield rest
        except OSError as error:
            raise self._unreadable(error) from None
        self.require_unchanged()

    def require_unchanged(self) -> None:
        """Make sure that the file is still the one that was read.

        Raises:
            SourceDataError: it is another one, of another size, or was written to.
        """
        try:
            now = self.path.stat()
        except OSError as error:
            raise self._unreadable(error) from None
        if (*self._version, self.bytes_read) != (*_version(now), now.st_size):
            raise SourceDataError(
                f"{self.path} changed while it was read: ingest again when it is complete."
            )

    def _unreadable(self, error: OSError) -> SourceDataError:
        return SourceDataError(
            f"{self.path} cannot be read: {error.strerror}; nothing was changed."
        )

    def lines(self) -> Iterator[bytes]:
        r"""Yield the file line by line, each with its ``\n``."""
        return split_lines(self.blocks())

    def _account(self, read: bytes) -> None:
        self.bytes_read += len(read)
        self._digest.update(read)
        if self._on_bytes:
            self._on_bytes(len(read))


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the lines of blocks that end at line ends, each with its ``\n``."""
    for block in blocks:
        *whole, last = block.split(b"\n")
        for line in whole:
            yield line + b"\n"
        if last:
            yield last


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns
