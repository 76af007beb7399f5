"""What to say of a database that does not do as it is asked."""

import sqlalchemy as sa

from recsvc.errors import DatabaseUnreachableError, DiskFullError


def full_disk(url: sa.URL | None, cause: BaseException) -> DiskFullError:
    """Say which database has no room left."""
    return DiskFullError(
        f"The disk of the database {shown(url)} is full: {first_line(cause)}. Make room, then "
        "run the command again; nothing has to be cleaned up."
    )


def unreachable(url: sa.URL | None, cause: BaseException) -> DatabaseUnreachableError:
    """Say which database does not answer."""
    return DatabaseUnreachableError(
        f"The database {shown(url)} does not answer: {first_line(cause)}. "
        "Check DATABASE_URL and the server."
    )


def shown(url: sa.URL | None) -> str:
    """Return a URL as it may be printed."""
    return url.render_as_string(hide_password=True) if url else "?"


def first_line(error: BaseException) -> str:
    """Return what an error says, without the driver's explanations."""
    return str(error).strip().partition("\n")[0].removesuffix(".")
