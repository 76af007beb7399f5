"""After a first load."""

from collections.abc import Sequence

import sqlalchemy as sa

from recsvc.store.contract import tables
from recsvc.store.database.backends import backend_of
from recsvc.store.database.statements import LARGE_LOAD
from recsvc.store.sources.ingest_log import FileChanges

_TABLES = {"ratings.csv": tables.ratings, "tags.csv": tables.tags}


def settle(engine: sa.Engine, files: Sequence[FileChanges]) -> None:
    """Settle the large tables of which a committed ingest has brought at least half."""
    loaded = {
        _TABLES[file.file].name: (file.inserted, file.updated + file.unchanged)
        for file in files
        if file.file in _TABLES and file.inserted >= LARGE_LOAD
    }
    if loaded:
        backend_of(engine).vacuum(engine, loaded)
