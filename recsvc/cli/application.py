"""The application that commands register with, and what they share.

A command imports what it needs when it runs, so that none waits for what another needs: the help of
all commands needs neither a database library nor pandas.
"""

from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsvc.runtime import logs

if TYPE_CHECKING:
    import sqlalchemy as sa

    from recsvc.settings import Settings

app = typer.Typer(
    help="Nightly recommendations as SQL tables. The database is named by DATABASE_URL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db = typer.Typer(help="The schema of the database.", no_args_is_help=True)
app.add_typer(db, name="db")

_opened = ExitStack()  # engines, until the command ends

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets.")]

INT64: dict[str, Any] = {"min": -(2**63), "max": 2**63 - 1}
UserId = Annotated[int, typer.Argument(help="MovieLens userId.", **INT64)]
MovieId = Annotated[int, typer.Argument(help="MovieLens movieId.", **INT64)]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recsvc {version('recsvc')}")
        raise typer.Exit


@app.callback()
def configure(
    context: typer.Context,
    log_json: Annotated[
        bool,
        typer.Option("--log-json", envvar="RECSVC_LOG_JSON", help="Log one JSON object a line."),
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Prepare what every command needs."""
    logs.configure(as_json=log_json)
    context.call_on_close(_opened.close)


def engine_at_head(settings: "Settings | None" = None) -> "sa.Engine":
    """Open the database, and refuse to work on a schema of another version."""
    from recsvc.settings import Settings
    from recsvc.store.administration.revision import require_head

    engine = open_database(settings or Settings.read())
    require_head(engine)
    return engine


def open_database(settings: "Settings", *, create: bool = False) -> "sa.Engine":
    """Open the database until the command ends."""
    from recsvc.store.database.engine import open_engine

    engine = open_engine(settings.url, create=create)
    _opened.callback(engine.dispose)
    return engine
