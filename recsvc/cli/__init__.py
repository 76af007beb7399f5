"""The recsvc command: parse, call, print. Errors become messages and exit codes in one place."""

import os
import sys
import traceback

from sqlalchemy.exc import DBAPIError

from recsvc import display, logs
from recsvc.cli import data, nightly, reporting, schema, show
from recsvc.cli.application import app
from recsvc.errors import DatabaseUnreachableError, RecsvcError
from recsvc.signals import Stopped, handled_by, stop
from recsvc.store.engine import what_is_refused
from recsvc.store.transient import DATABASE_ERRORS

__all__ = ["app", "data", "main", "nightly", "reporting", "schema", "show"]


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with the code that docs/operating.md lists."""
    try:
        with handled_by(stop):
            app(args=arguments, prog_name="recsvc")
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code)
    except RecsvcError as error:
        _fail(str(error), error.exit_code)
    except DATABASE_ERRORS as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        _fail(f"The database refused: {cause}".strip(), DatabaseUnreachableError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the last resort
        refused = what_is_refused(error) if isinstance(error, DBAPIError) else None
        if refused:
            _fail(str(refused), refused.exit_code)
        _fail(f"unexpected error, please report it:\n{traceback.format_exc()}", 1)


def _fail(message: str, code: int) -> None:
    if logs.is_json():
        logs.log.error(message, extra={"exit_code": code})
    else:
        line = f"recsvc: {logs.masked(message)}"
        display.stderr.print(line, markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
