"""Which version of the schema a database has, and which one this version of recsvc works on."""

from collections.abc import Collection

import sqlalchemy as sa

from recsvc.errors import ConfigurationError
from recsvc.store.database.transactions import reading

VERSION_TABLE = "recsvc_alembic_version"

#: The revisions of ``migrations/versions``, oldest first. They stand here as well because Alembic
#: takes longer to import than most commands take to run.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]

_version = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))


def current_revision(engine: sa.Engine) -> str | None:
    """Return the revision the database is at; ``None`` before the first migration."""
    with reading(engine) as connection:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        revision: str | None = connection.scalar(sa.select(_version.c.version_num))
        return revision


def require_head(engine: sa.Engine) -> None:
    """Refuse to work on a schema that this version does not know.

    Raises:
        ConfigurationError: naming the command that mends it.
    """
    current = current_revision(engine)
    if current == HEAD:
        return
    require_known(current)
    state = f"at revision {current}" if current else "empty"
    raise ConfigurationError(
        f"The database is {state}, this version needs {HEAD}: run `recsvc db upgrade`."
    )


def require_known(current: str | None, known: Collection[str] = REVISIONS) -> None:
    """Refuse a schema that a newer version made: this one cannot tell what changed.

    Args:
        current: the revision the database is at.
        known: the revisions that there are.

    Raises:
        ConfigurationError: the revision is none of this version's.
    """
    if current and current not in known:
        raise ConfigurationError(
            f"The database is at revision {current}, which this version of recsvc does not know: "
            "install the version that upgraded it, or a newer one."
        )
