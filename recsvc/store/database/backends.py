"""Which databases there are."""

from functools import cache
from importlib import import_module

import sqlalchemy as sa

from recsvc.store.database.backend import Backend

#: Module and class, imported when a database of the kind is opened: most commands open one.
_CLASSES = {
    "sqlite": ("recsvc.store.database.sqlite.backend", "Sqlite"),
    "postgresql": ("recsvc.store.database.postgresql.backend", "Postgresql"),
}
_opened: dict[str, Backend] = {}


@cache
def backend_named(name: str) -> Backend:
    """Return a database by SQLAlchemy's name of its dialect."""
    module, kind = _CLASSES[name]
    backend: Backend = getattr(import_module(module), kind)()
    _opened[name] = backend
    return backend


def backend_of(bind: sa.Engine | sa.Connection) -> Backend:
    """Return the database that an engine or a connection is of."""
    return backend_named(bind.dialect.name)


def backends_in_use() -> tuple[Backend, ...]:
    """Return those that were opened: errors of others cannot occur."""
    return tuple(_opened.values())
