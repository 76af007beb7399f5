"""One source file: its bytes in blocks of whole lines, hashed as they pass."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from recsvc.errors import SourceDataError

BLOCK_BYTES = 4 << 20

OnBytes = Callable[[int], None]


class SourceFile:
    """A CSV file that is read once, front to back.

    Attributes:
        path: where it is.
        bytes_read: bytes passed so far; after the last block, the size of the file.
    """

    def __init__(self, path: Path, on_bytes: OnBytes | None = None) -> None:
        self.path = path
        self.bytes_read = 0
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
                before = os.fstat(stream.fileno())
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
                after = self.path.stat()
        except OSError as error:
            raise SourceDataError(f"{self.path} cannot be read: {error.strerror}.") from None
        if (before.st_ino, before.st_mtime_ns, self.bytes_read) != (
            after.st_ino,
            after.st_mtime_ns,
            after.st_size,
        ):
            raise SourceDataError(
                f"{self.path} changed while it was read: ingest again when it is complete."
            )

    def lines(self) -> Iterator[bytes]:
        r"""Yield the file line by line, each with its ``\n``."""
        for block in self.blocks():
            *whole, last = block.split(b"\n")
            for line in whole:
                yield line + b"\n"
            if last:
                yield last

    def _account(self, read: bytes) -> None:
        self.bytes_read += len(read)
        self._digest.update(read)
        if self._on_bytes:
            self._on_bytes(len(read))
