"""Bring the schema to head, and prove that it is what :mod:`recsvc.store.contract.tables` says."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

import recsvc
from recsvc.errors import DatabaseBusyError
from recsvc.store.administration.revision import (
    VERSION_TABLE,
    current_revision,
    require_head,
    require_known,
)
from recsvc.store.contract.tables import metadata
from recsvc.store.contract.views import VIEWS
from recsvc.store.database import retry
from recsvc.store.database.backends import backend_of
from recsvc.store.database.transactions import reading

LOCK_TIMEOUT_S, ATTEMPTS = 5.0, 4


def scripts_directory() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout."""
    package = Path(recsvc.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def alembic_config() -> Config:
    """Alembic's configuration, without a file, so that an installed wheel needs none."""
    config = Config()
    config.set_main_option("script_location", str(scripts_directory()).replace("%", "%%"))
    return config


def upgrade(
    engine: sa.Engine,
    revision: str = "head",
    *,
    lock_timeout: float = LOCK_TIMEOUT_S,
    attempts: int = ATTEMPTS,
) -> None:
    """Run the migrations that are missing, each in a transaction of its own.

    Several upgrades at once wait for each other; each migration is run by one of them.

    Args:
        engine: the database.
        revision: the last one to run.
        lock_timeout: seconds to wait for a lock; whoever comes later queues behind the wait.
        attempts: tries of each migration.

    Raises:
        DatabaseBusyError: others kept what a migration has to lock; it changed nothing.
        ConfigurationError: a newer version of recsvc upgraded the database.
    """
    for attempt in retry.attempts(attempts):
        with (
            attempt
        ):  # two that open a new SQLite file at the same moment may be in each other's way
            current = current_revision(engine)
    config = _config(engine, lock_timeout)
    script = ScriptDirectory.from_config(config)
    require_known(current, {step.revision for step in script.walk_revisions()})
    steps = [step.revision for step in script.iterate_revisions(revision, "base")]
    for step in reversed(steps):
        try:
            for attempt in retry.attempts(attempts):
                with attempt:
                    command.upgrade(config, step)
        except DBAPIError as error:
            if not retry.is_transient(error):
                raise
            raise DatabaseBusyError(
                f"The migration to {step} changed nothing: others held what it has to lock, at "
                f"each of {attempts} tries. End their long transactions, or wait, and run "
                "`recsvc db upgrade` again."
            ) from error


def downgrade(engine: sa.Engine, revision: str, *, lock_timeout: float = LOCK_TIMEOUT_S) -> None:
    """Undo migrations down to ``revision``, all or none of them."""
    command.downgrade(_config(engine, lock_timeout), revision)


def _config(engine: sa.Engine, lock_timeout: float) -> Config:
    config = alembic_config()
    config.attributes |= {"engine": engine, "lock_timeout": lock_timeout}
    return config


def _context(connection: sa.Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "compare_type": True,
            "target_metadata": metadata,
            "include_name": only_ours,
        },
    )


def only_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave out what is not ours: partitions, and tables that others keep in the database."""
    return kind != "table" or name in metadata.tables


def differences(engine: sa.Engine) -> list[str]:
    """List, a line each, where the database differs from what the code expects."""
    require_head(engine)
    with reading(engine) as connection:
        found = [f"schema: {change}" for change in compare_metadata(_context(connection), metadata)]
        has_view = backend_of(connection).has_view
        found += [
            f"view {view.name} differs"
            for view in VIEWS
            if not has_view(connection, view.name, view.select)
        ]
        stored = {
            (row.table_name, row.column_name): row.comment
            for row in connection.execute(sa.select(metadata.tables["data_dictionary"]))
        }
    expected = dictionary()
    found += [
        f"data_dictionary: {table}.{column} differs"
        for table, column in sorted(stored.keys() | expected.keys())
        if stored.get((table, column)) != expected.get((table, column))
    ]
    return found


def dictionary() -> dict[tuple[str, str], str]:
    """Return every table, view and column with its comment; the empty column is the table."""
    entries: dict[tuple[str, str], str] = {}
    for table in metadata.sorted_tables:
        entries[table.name, ""] = table.comment or ""
        entries |= {(table.name, column.name): column.comment or "" for column in table.columns}
    for view in VIEWS:
        entries[view.name, ""] = view.comment
        entries |= {(view.name, column): text for column, text in view.columns.items()}
    return entries
