"""After a first load."""

from collections.abc import Iterable

import sqlalchemy as sa

from recsvc.store.database.backends import backend_of
from recsvc.store.database.statements import LARGE_LOAD
from recsvc.store.sources.ingest_log import FileChanges
from recsvc.store.sources.source_tables import SourceTable


def settle(engine: sa.Engine, loads: Iterable[tuple[SourceTable, FileChanges]]) -> None:
    """Settle the large tables of which a committed ingest has brought at least half."""
    loaded = {
        source.large.name: (brought.inserted, brought.updated + brought.unchanged)
        for source, brought in loads
        if source.large is not None and brought.inserted >= LARGE_LOAD
    }
    if loaded:
        backend_of(engine).vacuum(engine, loaded)
