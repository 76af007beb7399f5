"""Commands start fast because they import little: what they import is held, not the seconds."""

import json
import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

#: Each of these takes longer to import than a command that reads a few rows takes to run.
HEAVY = (
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "numba",
    "lightfm",
    "alembic",
    "apscheduler",
    "jinja2",
)

#: Runs a command, then prints which of the named libraries it has imported.
SCRIPT = """
import json, sys
from recsvc.cli.main import main
try:
    main(sys.argv[2:])
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))
"""


def imports_of(*command: str, libraries: tuple[str, ...], url: sa.URL | None = None) -> list[str]:
    database = {"DATABASE_URL": url.render_as_string(hide_password=False)} if url else {}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(libraries), *command],
        env=os.environ | database,
        check=True,
        capture_output=True,
        text=True,
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["retrain", "--help"]])
def test_help_needs_no_library_of_databases(command: list[str]) -> None:
    libraries = (*HEAVY, "sqlalchemy", "psycopg")
    assert imports_of(*command, libraries=libraries) == []


@pytest.mark.parametrize("command", ["status", "runs"])
def test_a_command_that_reads_a_few_rows_needs_no_library_of_arrays(
    engine: sa.Engine, command: str
) -> None:
    assert imports_of(command, libraries=HEAVY, url=engine.url) == []
