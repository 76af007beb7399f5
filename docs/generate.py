"""Write the parts of the documentation that the code knows: schema, settings, commands.

``make docs`` runs it; a test fails when the files are not what it would write.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import annotated_types
import sqlalchemy as sa
import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sqlalchemy.dialects import postgresql, sqlite

from recsvc.cli.main import app
from recsvc.model.data.configuration import EXPERT
from recsvc.settings import PRESETS, Recipe, Settings
from recsvc.store.contract.tables import metadata
from recsvc.store.contract.views import VIEWS

DOCS = Path(__file__).parent

SOURCE_TABLES = (
    "users",
    "user_features",
    "movies",
    "movie_genres",
    "links",
    "ratings",
    "tags",
    "ingests",
    "ingest_files",
    "rejected_rows",
)

SCHEMA_INTRODUCTION = """\
# Schema

Readers use the views: their names and columns are a contract, the same on SQLite and PostgreSQL,
and change only with a note in the changelog. Tables may change with any release.

The same texts are in the table `data_dictionary`, and on PostgreSQL in the comments of tables and
columns:

```sql
SELECT column_name, comment FROM data_dictionary WHERE table_name = 'current_recommendations';
```

Times are UTC: `timestamptz` on PostgreSQL, text such as `2026-11-23 02:00:00.000000` on SQLite,
which sorts in time order and which SQLite's date functions read. Where the type of a column is
given twice, the first is SQLite's and the second PostgreSQL's.
"""

SETTINGS_INTRODUCTION = """\
# Settings

Everything is set by environment variables and read once at the start. A value that does not hold
ends the program with exit code 78 and a message that names the variable. Options of a command,
such as `recsvc retrain --seed 7`, win over variables, and so does a preset.
"""

RECIPE_INTRODUCTION = """\
These are recorded with every run, in `runs.settings`. Changing one makes the next `recsvc retrain`
train again even if no data changed.
"""

EXPERT_INTRODUCTION = """\
These exist for experiments, or to repeat those of others; the defaults are what was found best.
They are recorded with every run as well.
"""

COMMANDS_INTRODUCTION = """\
# Commands

Data go to stdout; progress, logs and messages to stderr. Commands with `--json` print JSON for
scripts, those with `--csv` [CSV for spreadsheets](operating.md#spreadsheets). Exit codes are listed
in [operating.md](operating.md#exit-codes). `python -m recsvc` is the same as `recsvc`.
"""


def main() -> None:
    """Write every generated file."""
    for name, text in render().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def render() -> dict[str, str]:
    """Return the text of every generated file, by name."""
    return {
        "schema.md": _schema(),
        "settings.md": _settings(),
        "commands.md": _commands(),
    }


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# --- schema ----------------------------------------------------------------------------------


def _schema() -> str:
    tables = {table.name: table for table in metadata.tables.values()}
    source = [tables.pop(name) for name in SOURCE_TABLES]
    parts = [SCHEMA_INTRODUCTION, "## Views: what readers see\n"]
    for view in VIEWS:
        columns = _table(("column", "meaning"), _code_first(view.columns.items()))
        parts.append(f"### {view.name}\n\n{view.comment}\n\n{columns}")
    parts.append("## Tables filled by ingest\n")
    parts += map(_describe, source)
    parts.append("## Tables filled by retrain\n")
    parts += map(_describe, tables.values())
    return "\n".join(parts)


def _code_first(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((f"`{name}`", text) for name, text in rows)


def _describe(table: sa.Table) -> str:
    rows = (
        (
            f"`{column.name}`",
            _type(column),
            "yes" if column.nullable else "",
            column.comment or "",
        )
        for column in table.columns
    )
    columns = _table(("column", "type", "may be NULL", "meaning"), rows)
    rules = "".join(f"- {rule}\n" for rule in _rules(table))
    return f"### {table.name}\n\n{table.comment}\n\n{columns}\n{rules}"


def _type(column: sa.Column[Any]) -> str:
    names = [
        column.type.compile(dialect=dialect).lower()
        for dialect in (sqlite.dialect(), postgresql.dialect())  # type: ignore[no-untyped-call]
    ]
    return names[0] if names[0] == names[1] else f"{names[0]} / {names[1]}"


def _rules(table: sa.Table) -> Iterator[str]:
    yield f"primary key {_names(table.primary_key.columns)}"
    for column in table.columns:
        for key in column.foreign_keys:
            yield f"`{column.name}` refers to `{key.target_fullname}`"
    for constraint in sorted(table.constraints, key=lambda found: str(found.name)):
        if isinstance(constraint, sa.UniqueConstraint):
            yield f"unique {_names(constraint.columns)}"
        elif isinstance(constraint, sa.CheckConstraint):
            yield f"check `{constraint.sqltext}`"
    for index in sorted(table.indexes, key=lambda found: str(found.name)):
        where = index.dialect_options["sqlite"]["where"]
        kind = "unique" if index.unique else "index"
        yield f"{kind} {_names(index.columns)}" + (f" where `{where}`" if where is not None else "")


def _names(columns: Iterable[sa.Column[Any]]) -> str:
    return ", ".join(f"`{column.name}`" for column in columns)


# --- settings --------------------------------------------------------------------------------


def _settings() -> str:
    fields = Settings.model_fields
    running = {name: field for name, field in fields.items() if name not in Recipe.model_fields}
    recipe = {name: field for name, field in fields.items() if name in Recipe.model_fields}
    expert = {name: field for name, field in recipe.items() if field.json_schema_extra == EXPERT}
    usual = {name: field for name, field in recipe.items() if name not in expert}
    return "\n".join(
        (
            SETTINGS_INTRODUCTION,
            "## How it runs\n",
            _variables(running),
            "## What the recommendations depend on\n",
            RECIPE_INTRODUCTION,
            _variables(usual),
            "## For experts\n",
            EXPERT_INTRODUCTION,
            _variables(expert),
            "## Presets\n",
            *map(_preset, PRESETS),
        )
    )


def variable(name: str, field: FieldInfo) -> str:
    """Return the environment variable that sets a field."""
    return str(field.validation_alias or f"RECSVC_{name.upper()}")


def _variables(fields: dict[str, FieldInfo]) -> str:
    rows = (
        (f"`{variable(name, field)}`", _default(field), _range(field), field.description or "")
        for name, field in fields.items()
    )
    return _table(("variable", "default", "accepted", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "all cores"
    if field.default is None or field.default is PydanticUndefined:
        return ""
    secret = getattr(field.default, "get_secret_value", None)
    return f"`{_plain(secret() if secret else field.default)}`"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_BOUNDS = {
    annotated_types.Ge: "≥ {0.ge}",
    annotated_types.Gt: "> {0.gt}",
    annotated_types.Le: "≤ {0.le}",
    annotated_types.Lt: "< {0.lt}",
}


def _range(field: FieldInfo) -> str:
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if field.annotation is bool:
        return "`true`, `false`"
    bounds = (_BOUNDS[type(part)].format(part) for part in field.metadata if type(part) in _BOUNDS)
    return ", ".join(bounds)


def _preset(name: str) -> str:
    preset = PRESETS[name].items()
    rows = ((f"`RECSVC_{key.upper()}`", f"`{_plain(value)}`") for key, value in preset)
    table = _table(("variable", "value"), rows)
    return f"`recsvc retrain --preset {name}` sets:\n\n{table}"


# --- commands --------------------------------------------------------------------------------


def _commands() -> str:
    parts = [COMMANDS_INTRODUCTION]
    parts += [_command(name, command) for name, command in commands()]
    return "\n".join(parts)


def commands() -> list[tuple[str, Any]]:
    """Return every command with its full name, such as ``db upgrade``."""
    return list(_leaves("", typer.main.get_command(app)))


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child in children.values():
        yield from _leaves(f"{name} {child.name}".strip(), child)


def _command(name: str, command: Any) -> str:
    text, _, example = (command.help or "").partition("Example:")
    words = (_placeholder(parameter) for parameter in command.params if _is_argument(parameter))
    usage = " ".join(("recsvc", name, *words))
    rows = [(_spelling(parameter), _meaning(parameter)) for parameter in command.params]
    table = f"\n{_table(('argument or option', 'meaning'), rows)}" if rows else ""
    return (
        f"## {usage}\n\n{' '.join(text.split())}\n{table}\n"
        f"```console\n$ {' '.join(example.split())}\n```\n"
    )


def _placeholder(argument: Any) -> str:
    name = str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _spelling(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{option}`" for option in parameter.opts)


def _meaning(parameter: Any) -> str:
    default = parameter.default
    silent = default is None or isinstance(default, bool) or _is_argument(parameter)
    return (parameter.help or "") + ("" if silent else f" Default: {default}.")


if __name__ == "__main__":
    main()
