"""Who else may read: a PostgreSQL role that sees the views and nothing behind them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from recsvc.errors import UsageError
from recsvc.store.contract.tables import data_dictionary, metadata
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.backend import ReaderGrant
from recsvc.store.database.transactions import writing

READABLE = (*(view.name for view in VIEWS), data_dictionary.name)
LONGEST_NAME = 63  # bytes; PostgreSQL cuts what is longer, and would name another role


def grant_reader(engine: sa.Engine, role: str, *, statement_timeout: int) -> ReaderGrant:
    """Let a role select the views and the data dictionary, and nothing else; make it if missing.

    A new role may log in, though not by a password before it is given one: what is set for a role
    (read-only transactions, the timeout) holds for who logs in as it, not for a role's members.

    Args:
        engine: the database, its schema at head.
        role: name of the role, as it is: quotes, spaces and capitals belong to it.
        statement_timeout: seconds after which its statements are cancelled.

    Raises:
        UsageError: the name cannot be one, the role can do more than
            read for other reasons, or whoever connects may not make roles.
    """
    if not role or "\0" in role or len(role.encode()) > LONGEST_NAME:
        raise UsageError(f"A role's name has 1 to {LONGEST_NAME} bytes and no NUL.")
    try:
        with writing(engine) as connection:
            created = _grant(connection, role, statement_timeout)
            _require_nothing_else(connection, role)
    except DBAPIError as error:
        if isinstance(
            error.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.ReservedName
        ):
            raise UsageError(
                f"PostgreSQL refused to make {role!r} a reader: {error.orig.diag.message_primary}. "
                "Choose another name, or connect as a role that may create roles."
            ) from None
        raise
    return ReaderGrant(role, created, READABLE, statement_timeout)


def _grant(connection: sa.Connection, role: str, statement_timeout: int) -> bool:
    quoted = connection.dialect.identifier_preparer.quote_identifier
    name = quoted(role)
    schema, database = connection.execute(
        sa.select(sa.func.current_schema(), sa.func.current_database())
    ).one()
    tables = {table.name for table in metadata.tables.values()}
    missing = sa.select(~sa.exists().where(_ROLES.c.rolname == role))
    created = bool(connection.scalar(missing))
    statements = [f"CREATE ROLE {name} LOGIN"] if created else []
    statements += [
        f"ALTER ROLE {name} SET default_transaction_read_only = on",
        f"ALTER ROLE {name} SET statement_timeout = '{statement_timeout:d}s'",
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {name}",
        f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {name}",
        f"REVOKE ALL ON {_names(connection, tables)} FROM {name}",
        f"REVOKE ALL ON {_names(connection, READABLE)} FROM {name}",
        f"GRANT SELECT ON {_names(connection, READABLE)} TO {name}",
    ]
    for statement in statements:
        connection.exec_driver_sql(statement)
    return created


_ROLES = sa.table("pg_roles", sa.column("rolname"))


def _names(connection: sa.Connection, names: tuple[str, ...] | set[str]) -> str:
    return ", ".join(map(connection.dialect.identifier_preparer.quote_identifier, sorted(names)))


# Relations of ours, partitions included, and rights that a reader has no use for.
_EXCESS = sa.text("""\
WITH ours AS (
    SELECT c.oid, c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace
      AND (c.relname = ANY(:tables) OR c.oid IN (
          SELECT i.inhrelid FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
          WHERE p.relname = ANY(:tables) AND p.relnamespace = current_schema()::regnamespace))
)
SELECT 'is a superuser, or may create roles or databases' FROM pg_roles
WHERE rolname = :role AND (rolsuper OR rolcreaterole OR rolcreatedb)
UNION ALL
SELECT format('may create tables in the schema %s', current_schema())
WHERE has_schema_privilege(:role, current_schema(), 'CREATE')
UNION ALL
SELECT 'may create schemas' WHERE has_database_privilege(:role, current_database(), 'CREATE')
UNION ALL
SELECT format('owns %s', o.relname) FROM ours o JOIN pg_class c ON c.oid = o.oid
WHERE pg_has_role(:role, c.relowner, 'MEMBER')
UNION ALL
SELECT format('may %s %s', lower(privilege), relname)
FROM ours CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) privilege
WHERE has_table_privilege(:role, oid, privilege)
  AND NOT (privilege = 'SELECT' AND relname = ANY(:readable))
""")


def _require_nothing_else(connection: sa.Connection, role: str) -> None:
    """Refuse a role that owns tables, or was given more as a member of another or as PUBLIC."""
    names = [*metadata.tables, *(view.name for view in VIEWS)]
    parameters = {"role": role, "tables": names, "readable": list(READABLE)}
    excess = list(connection.scalars(_EXCESS, parameters))
    if excess:
        raise UsageError(
            f"The role {role!r} would not be a reader only: it {excess[0]}"
            f"{f', and {len(excess) - 1} rights more' if excess[1:] else ''}. Revoke that (from "
            "PUBLIC, or from the roles it is a member of), or choose another role."
        )


_VIEW_READERS = sa.text("""\
SELECT c.relname AS view,
       CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END AS role
FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
WHERE c.relkind = 'v' AND c.relnamespace = current_schema()::regnamespace
  AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
""")


@contextmanager
def grants_kept(connection: sa.Connection) -> Iterator[None]:
    """Give readers back what they lose where the block drops a view and creates it again."""
    before = _view_readers(connection)
    yield
    for view, role in sorted(before - _view_readers(connection), key=str):
        quoted = connection.dialect.identifier_preparer.quote_identifier
        exists = connection.scalar(sa.select(sa.func.to_regclass(quoted(view))))
        if exists is not None:
            to = "PUBLIC" if role is None else quoted(role)
            connection.exec_driver_sql(f"GRANT SELECT ON {quoted(view)} TO {to}")


def _view_readers(connection: sa.Connection) -> set[tuple[str, str | None]]:
    return {(row.view, row.role) for row in connection.execute(_VIEW_READERS)}
