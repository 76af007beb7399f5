"""Fetch a MovieLens data set from GroupLens, checksum verified.

GroupLens publishes each set as ``NAME.zip`` with ``NAME.zip.md5`` beside it
(https://grouplens.org/datasets/movielens/).
"""

import hashlib
import http.client
import re
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from recsvc.errors import SourceDataError, UsageError

BASE_URL: Final = "https://files.grouplens.org/datasets/movielens"
NAMES: Final = ("ml-latest-small", "ml-latest", "ml-25m", "ml-32m")
TIMEOUT_SECONDS: Final = 20.0  #: for connecting and for each wait for data, not for the whole

_CHUNK_BYTES: Final = 1 << 20
_REQUIRED: Final = ("ratings.csv", "movies.csv")
_UNREACHABLE: Final = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


class Response(Protocol):
    """What ``urllib.request.urlopen`` returns, as far as it is used here."""

    @property
    def headers(self) -> "Headers":
        """The response's headers."""

    def read(self, amount: int, /) -> bytes:
        """Return at most ``amount`` bytes; none at the end."""


class Headers(Protocol):
    """Headers by name."""

    def get(self, name: str, /) -> str | None:
        """Return the header's value, or None without it."""


Opener = Callable[[str], AbstractContextManager[Response]]
#: Called with the bytes received so far and, where the server tells, the bytes there are.
Progress = Callable[[int, int | None], None]


def open_url(url: str) -> AbstractContextManager[Response]:
    """Open an address with a timeout; redirects and proxy variables are followed by urllib."""
    response: AbstractContextManager[Response] = urllib.request.urlopen(  # noqa: S310 - BASE_URL is https
        url, timeout=TIMEOUT_SECONDS
    )
    return response


def download(
    name: str,
    directory: Path,
    *,
    on_progress: Progress | None = None,
    opener: Opener = open_url,
) -> Path:
    """Download the set ``name`` into ``directory / name`` and return that folder.

    It holds the set's CSV files and README.txt, and appears only when all of them are complete.

    Args:
        name: one of ``NAMES``.
        directory: made if it does not exist.
        on_progress: called after each chunk of the archive.
        opener: opens an address for reading; tests put their own in.

    Raises:
        UsageError: the name is unknown, or the folder is there already or cannot be made.
        SourceDataError: GroupLens cannot be reached, or what came is not the published archive.
    """
    if name not in NAMES:
        raise UsageError(f"There is no data set {name!r}; choose one of {', '.join(NAMES)}.")
    target = directory / name
    if target.exists():
        raise UsageError(f"{target} exists already and is not overwritten; name another folder.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot make the folder {directory}: {error.strerror}.") from error
    with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as scratch:
        archive, complete = Path(scratch, "archive.zip"), Path(scratch, name)
        url = f"{BASE_URL}/{name}.zip"
        try:
            expected = _published_md5(opener, f"{url}.md5")
            actual = _fetch(opener, url, archive, on_progress)
        except _UNREACHABLE as error:
            raise SourceDataError(_unreachable(url, directory, error)) from error
        if actual != expected:
            raise SourceDataError(
                f"{url} arrived damaged: its MD5 is {actual}, published is {expected}; try again."
            )
        _extract(archive, name, complete)
        complete.rename(target)
    return target


def _unreachable(url: str, directory: Path, error: Exception) -> str:
    cause = getattr(error, "reason", None)
    cause = cause if isinstance(cause, OSError) else error
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return (
        f"Cannot download {url} ({reason}); make data of the same shape with "
        f"`recsvc synth {directory} --ratings 100000`, or pass a folder that holds the CSV files."
    )


def _published_md5(opener: Opener, url: str) -> str:
    """Read a checksum file, in the form of md5sum or of BSD's md5."""
    with opener(url) as response:
        text = response.read(4096).decode("utf-8", "replace")
    found = re.search(r"\b[0-9a-f]{32}\b", text.lower())
    if found is None:
        raise SourceDataError(f"{url} holds no MD5 checksum; nothing was downloaded.")
    return found.group()


def _fetch(opener: Opener, url: str, path: Path, on_progress: Progress | None) -> str:
    """Save ``url`` as ``path`` and return its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    with opener(url) as response, path.open("wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdigit() else None
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if on_progress is not None:
                on_progress(received, total)
    return digest.hexdigest()


def _extract(archive: Path, name: str, target: Path) -> None:
    """Copy ``NAME/*.csv`` and ``NAME/README.txt``; any other member is left out.

    Members are written under their last path component alone, so that no name in the archive can
    lead out of ``target``.
    """
    target.mkdir()
    wanted = re.compile(rf"{re.escape(name)}/([\w-]+\.csv|README\.txt)")
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                if match := wanted.fullmatch(member.filename):
                    with members.open(member) as source, (target / match[1]).open("wb") as file:
                        shutil.copyfileobj(source, file, _CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceDataError(f"The archive of {name} cannot be unpacked: {error}.") from error
    missing = [file for file in _REQUIRED if not (target / file).is_file()]
    if missing:
        raise SourceDataError(f"The archive of {name} lacks {' and '.join(missing)}.")
