"""Files that are there whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    r"""Write a text file, as UTF-8 with ``\n``, in the place of an older one; all may read it.

    A symbolic link stays one: what it leads to is replaced.

    Raises:
        OSError: the folder is missing, full or not to be written to, or the path is that of a
            folder, a device or a pipe; what was there is as it was.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        # Whoever may write to /dev would otherwise put a file in the place of /dev/null.
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    descriptor, temporary = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
    )
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
