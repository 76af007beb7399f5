"""The recsvc command: parse, call, print. Errors become messages and exit codes in one place."""

import errno
import os
import sys
import traceback

from recsvc.cli import data, display, nightly, reporting, schema, show
from recsvc.cli.application import app
from recsvc.errors import DatabaseUnreachableError, RecsvcError, UnwritableOutputError
from recsvc.runtime import logs
from recsvc.runtime.signals import Stopped, handled_by, stop

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

__all__ = ["app", "data", "main", "nightly", "reporting", "schema", "show"]


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with the code that docs/operating.md lists."""
    _open_closed_streams()
    try:
        with handled_by(stop):
            _run(arguments)
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code)
    except UnwritableOutputError as error:
        _discard_stdout()
        _fail(str(error), error.exit_code)
    except RecsvcError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _discard_stdout()
    except Exception as error:  # noqa: BLE001 - the last resort
        refused = _refused_by_database(error)
        if refused:
            _fail(str(refused), refused.exit_code)
        _fail(f"unexpected error, please report it:\n{traceback.format_exc()}", 1)


def _refused_by_database(error: Exception) -> RecsvcError | None:
    """Return what to say of an error that a database or its driver raised."""
    from sqlalchemy.exc import DBAPIError

    from recsvc.store.database.engine import what_is_refused
    from recsvc.store.database.retry import database_errors

    if isinstance(error, database_errors()):
        cause = error.orig if isinstance(error, DBAPIError) else error
        return DatabaseUnreachableError(f"The database refused: {cause}".strip())
    return what_is_refused(error) if isinstance(error, DBAPIError) else None


def _run(arguments: list[str] | None) -> None:
    try:
        try:
            app(args=arguments, prog_name="recsvc")
        except SystemExit:
            sys.stdout.flush()  # what cannot be written is told now, not while Python ends
            raise
    except OSError as error:
        # A file that cannot be written has a name; the streams have none.
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        raise UnwritableOutputError(
            f"The output cannot be written: {error.strerror}. Make room where it goes."
        ) from None


def _open_closed_streams() -> None:
    """Give closed streams a place, or the first file that is opened would be in theirs."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115


def _discard_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> None:
    if logs.is_json():
        logs.log.error(message, extra={"exit_code": code})
    else:
        line = f"recsvc: {logs.masked(message)}"
        display.stderr.print(line, markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
