"""How Alembic runs recsvc's migrations: one transaction each, on SQLite too."""

import sqlalchemy as sa
from alembic import context

from recsvc.settings import Settings
from recsvc.store.engine import is_sqlite, open_engine
from recsvc.store.migrate import VERSION_TABLE, only_ours
from recsvc.store.schema import metadata


def run(connection: sa.Connection) -> None:
    """Run the migrations on ``connection``."""
    if is_sqlite(connection):
        # Batch mode rebuilds tables, which cascades unless foreign keys are off; the pragma does
        # nothing inside a transaction.
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        connection = connection.execution_options(recsvc_begin="BEGIN IMMEDIATE")
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=only_ours,
        render_as_batch=True,
        transactional_ddl=True,
        transaction_per_migration=True,
    )
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        if is_sqlite(connection):
            connection.connection.cursor().execute("PRAGMA foreign_keys = ON")


if context.is_offline_mode():
    message = "Migrations look at the database: run them online."
    raise SystemExit(message)

engine = context.config.attributes.get("engine") or open_engine(Settings.read().url, create=True)
with engine.connect() as connection:
    run(connection)
