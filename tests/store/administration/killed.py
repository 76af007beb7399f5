"""A migration whose process is killed, run in a process of its own."""

import os
import signal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recsvc.store.administration import migrate
from recsvc.store.database.engine import open_engine


def upgrade_until(url: sa.URL, scripts: Path, at: int) -> None:
    """Kill this process instead of sending the statement or the commit of this number."""
    moments = 0

    def pass_or_die(*_: Any) -> None:
        nonlocal moments
        if moments == at:
            os.kill(os.getpid(), signal.SIGKILL)
        moments += 1

    migrate.scripts_directory = lambda: scripts
    engine = open_engine(url)
    sa.event.listen(engine, "before_cursor_execute", pass_or_die)
    sa.event.listen(engine, "commit", pass_or_die)
    migrate.upgrade(engine)
    engine.dispose()
