"""Commands about the schema and who may read it."""

from dataclasses import asdict
from typing import Annotated

import typer

from recsvc.cli import display
from recsvc.cli.application import Json, app, db, engine_at_head, open_database
from recsvc.errors import ConfigurationError
from recsvc.runtime import logs


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema to head; a missing SQLite file is created.

    Example: recsvc db upgrade
    """
    from recsvc.settings import Settings
    from recsvc.store.administration import migrate
    from recsvc.store.administration.revision import current_revision

    settings = Settings.read()
    engine = open_database(settings, create=True)
    before = current_revision(engine)
    migrate.upgrade(engine, lock_timeout=settings.lock_timeout_seconds, attempts=settings.attempts)
    after = current_revision(engine)
    where = engine.url.render_as_string(hide_password=True)
    done = "is at head already" if before == after else f"was upgraded from {before or 'nothing'}"
    display.print_line(logs.masked(f"{where} {done}: revision {after}."))


@db.command("current")
def db_current(as_json: Json = False) -> None:
    """Show the revision of the schema.

    Example: recsvc db current
    """
    from recsvc.settings import Settings
    from recsvc.store.administration.revision import HEAD, current_revision

    current = current_revision(open_database(Settings.read()))
    if as_json:
        display.print_json({"current": current, "head": HEAD})
    else:
        display.print_line(f"current {current or 'none'}, head {HEAD}")


@db.command("check")
def db_check() -> None:
    """Prove that the database is what this version expects: tables, views and comments.

    Example: recsvc db check
    """
    from recsvc.settings import Settings
    from recsvc.store.administration import migrate
    from recsvc.store.administration.revision import HEAD

    differences = migrate.differences(open_database(Settings.read()))
    if differences:
        raise ConfigurationError(
            "The schema was changed by hand: " + "; ".join(differences) + ". Undo the change."
        )
    display.print_line(f"The schema is as expected at revision {HEAD}.")


@app.command("grant-reader")
def grant_reader_command(
    role: Annotated[str, typer.Argument(help="Name of a PostgreSQL role; made if missing.")],
    statement_timeout: Annotated[
        int, typer.Option(min=1, max=86_400, help="Seconds that its statements may take.")
    ] = 60,
    as_json: Json = False,
) -> None:
    """Let a PostgreSQL role read the views and the data dictionary, and nothing else.

    Example: recsvc grant-reader analyst
    """
    from recsvc.store.administration.grants import grant_reader

    granted = grant_reader(engine_at_head(), role, statement_timeout=statement_timeout)
    if as_json:
        display.print_json(asdict(granted))
    else:
        done = "was made and may" if granted.created else "may"
        display.print_line(f"The role {role} {done} read {', '.join(granted.readable)}.")
