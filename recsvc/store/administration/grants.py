"""Who else may read: a role that sees the views and nothing behind them."""

import sqlalchemy as sa

from recsvc.store.database.backend import ReaderGrant
from recsvc.store.database.backends import backend_of


def grant_reader(engine: sa.Engine, role: str, *, statement_timeout: int) -> ReaderGrant:
    """Let a role select the views and the data dictionary, and nothing else; make it if missing.

    Args:
        engine: the database, its schema at head.
        role: name of the role, as it is: quotes, spaces and capitals belong to it.
        statement_timeout: seconds after which its statements are cancelled.

    Raises:
        UsageError: the database has no roles, the name cannot be one, the role can do more than
            read for other reasons, or whoever connects may not make roles.
    """
    return backend_of(engine).grant_reader(engine, role, statement_timeout=statement_timeout)
