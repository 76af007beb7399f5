"""Engines, whose errors say what an operator can mend."""

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from recsvc.errors import ConfigurationError, RecsvcError
from recsvc.store.database.backends import backend_named, backends_in_use
from recsvc.store.database.failures import first_line, full_disk, shown, unreachable


def open_engine(url: sa.URL, *, create: bool = False) -> sa.Engine:
    """Make an engine for ``url``.

    Args:
        url: with the driver names of :data:`recsvc.settings.DRIVERS`.
        create: whether a missing SQLite file is made (readable by its owner only).

    Raises:
        ConfigurationError: the SQLite file does not exist and ``create`` is false, or whether it
            does cannot be seen.
    """
    engine = backend_named(url.get_backend_name()).open_engine(url, create=create)
    sa.event.listen(engine, "handle_error", _name_what_operators_mend)
    return engine


def _name_what_operators_mend(context: ExceptionContext) -> None:
    if context.is_pre_ping:
        return  # the pool opens another connection by itself
    backend = backend_named(context.dialect.name)
    url = context.engine.url if context.engine else None
    cause = context.original_exception
    if backend.is_full_disk(cause):
        raise full_disk(url, cause) from cause
    error = context.sqlalchemy_exception
    connecting = context.connection is None
    if connecting and backend.asks_for_another_url(cause):
        raise ConfigurationError(
            f"The database {shown(url)} cannot be opened: {first_line(cause)}. Correct "
            "DATABASE_URL, or who may read and write the file and its folder."
        ) from cause
    if connecting and isinstance(error, ProgrammingError):  # a parameter that libpq does not know
        raise ConfigurationError(
            f"DATABASE_URL {shown(url)} does not hold: {first_line(cause)}."
        ) from cause
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or (connecting and isinstance(error, OperationalError)):
        raise unreachable(url, cause) from cause


def what_is_refused(error: DBAPIError) -> RecsvcError | None:
    """Return what to say of missing rights or a damaged file; ``None`` for anything else."""
    if error.orig is None:
        return None
    found = (backend.what_is_refused(error.orig) for backend in backends_in_use())
    return next((refused for refused in found if refused), None)
