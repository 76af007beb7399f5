"""What columns of a query are, on their way out of a database."""

from typing import Any

import pyarrow as pa
import sqlalchemy as sa

_ARROW_TYPES = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bytes: pa.large_binary(),
}


def schema_of(query: sa.Select[Any]) -> pa.Schema:
    """Return what the columns of a query are in Arrow."""
    columns = query.selected_columns
    return pa.schema([(column.name, _ARROW_TYPES[column.type.python_type]) for column in columns])


def unlabelled(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column without the name that a query gave it."""
    return column.element if isinstance(column, sa.Label) else column
