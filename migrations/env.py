"""How Alembic runs recsvc's migrations: in one transaction, alone, on SQLite too."""

import sqlalchemy as sa
from alembic import context

from recsvc.settings import Settings
from recsvc.store.administration.migrate import only_ours
from recsvc.store.administration.revision import VERSION_TABLE
from recsvc.store.contract.tables import metadata
from recsvc.store.database.backends import backend_of
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import WITHOUT_REFERENCES, WRITES


def run(connection: sa.Connection, lock_timeout: float) -> None:
    """Run the migrations on ``connection``."""
    # Batch mode rebuilds tables on SQLite, which would cascade.
    connection.execution_options(**{WRITES: True, WITHOUT_REFERENCES: True})
    backend = backend_of(connection)
    # Alembic looks up the revision inside this transaction, so it sees what others ran before.
    with connection.begin():
        backend.lock_migrations(connection, lock_timeout)
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table=VERSION_TABLE,
            include_name=only_ours,
            render_as_batch=True,
            transactional_ddl=True,
        )
        with backend.grants_kept(connection):
            context.run_migrations()


if context.is_offline_mode():
    message = "Migrations look at the database: run them online."
    raise SystemExit(message)

given = context.config.attributes
if "engine" in given:  # as recsvc db upgrade does
    with given["engine"].connect() as connection:
        run(connection, given["lock_timeout"])
else:  # as the alembic command does
    settings = Settings.read()
    engine = open_engine(settings.url, create=True)
    try:
        with engine.connect() as connection:
            run(connection, settings.lock_timeout_seconds)
    finally:
        engine.dispose()
