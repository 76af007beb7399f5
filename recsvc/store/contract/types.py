"""Column types that mean the same on SQLite and PostgreSQL.

SQLite tables are STRICT, which knows only INTEGER, REAL, TEXT and BLOB; each type names the one
it uses there.
"""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Count = BigId
Real: TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
Flag = sa.Boolean().with_variant(sa.Integer(), "sqlite")


def _in_utc(value: datetime) -> datetime:
    """Refuse naive times: a local time would be stored as if it were UTC."""
    if value.tzinfo is None:
        message = f"{value!r} has no time zone"
        raise ValueError(message)
    return value.astimezone(UTC)


class _TextTime(TypeDecorator[datetime]):
    """Text such as ``2026-11-23 02:00:00.000000``.

    It sorts in time order, and SQLite's own date functions read it.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write in UTC."""
        return None if value is None else _in_utc(value).strftime("%Y-%m-%d %H:%M:%S.%f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware time in UTC."""
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


class _TimeWithZone(TypeDecorator[datetime]):
    """``timestamptz``."""

    impl = sa.TIMESTAMP(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Pass on in UTC."""
        return None if value is None else _in_utc(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware time in UTC."""
        moment: datetime | None = value
        return None if moment is None else moment.astimezone(UTC)


#: An aware UTC ``datetime``.
UtcTimestamp = _TimeWithZone().with_variant(_TextTime(), "sqlite")


class _TextJson(TypeDecorator[Any]):
    """JSON in a TEXT column: STRICT tables know no JSON type."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Sorted keys, so that equal documents are equal texts."""
        return None if value is None else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Parse."""
        return None if value is None else json.loads(value)


Document = JSONB(none_as_null=True).with_variant(_TextJson(), "sqlite")
