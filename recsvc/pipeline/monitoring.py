"""Figures for a monitor, written when a run has ended, however it ended."""

import logging
from pathlib import Path

import sqlalchemy as sa

from recsvc.errors import RecsvcError
from recsvc.report.prometheus import exposition
from recsvc.runtime.files import write_atomically
from recsvc.settings import Settings
from recsvc.store.database.transactions import reading
from recsvc.store.reading.figures import figures

log = logging.getLogger("recsvc")


def after_run(engine: sa.Engine, settings: Settings) -> None:
    """Write the file that the settings name; a failure is no reason for a run to fail."""
    if settings.metrics_textfile is None:
        return
    try:
        write_textfile(engine, settings.metrics_textfile)
    except (OSError, RecsvcError, sa.exc.SQLAlchemyError) as error:
        log.warning("%s keeps its old figures: %s", settings.metrics_textfile, error)


def write_textfile(engine: sa.Engine, path: Path) -> None:
    """Write the figures of the nightly job, all of them or none, readable by everybody.

    Raises:
        OSError: the folder is missing, full or not to be written to; the old file is as it was.
    """
    with reading(engine) as connection:
        found = figures(connection)
    write_atomically(path, exposition(found))
