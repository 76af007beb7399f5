"""Imports go downward only: the rooms of docs/architecture.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "recsvc"

#: The rooms from the ground up. A module imports its own room and the floors below, and nothing
#: else: neither what is above nor another room of its own floor.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("recsvc.errors", "recsvc.vocabulary"),
    ("recsvc.runtime",),
    ("recsvc.model.data", "recsvc.store.contract"),
    ("recsvc.model.lightfm.configuration", "recsvc.model.scores", "recsvc.store.database"),
    ("recsvc.model.fast", "recsvc.model.ranking", "recsvc.store.sources"),
    (
        *("recsvc.model.lightfm", "recsvc.model.evaluation", "recsvc.model.neighbours"),
        "recsvc.store.runs",
    ),
    ("recsvc.model.blend",),
    ("recsvc.model.recommenders", "recsvc.store.reading", "recsvc.store.administration"),
    ("recsvc.settings",),
    ("recsvc.ingest", "recsvc.datasets", "recsvc.report"),
    ("recsvc.pipeline",),
    ("recsvc.cli",),
    ("recsvc.__main__",),
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}

LOOSE = {"recsvc.__main__", "recsvc.errors", "recsvc.settings", "recsvc.vocabulary"}

MODEL, STORE, REPORT = "recsvc.model", "recsvc.store", "recsvc.report"

#: What only one room or file may import.
ONLY_IN = {
    "lightfm": {"recsvc.model.lightfm.fitting"},
    "sqlite3": {STORE},
    "psycopg": {STORE},
    "adbc_driver_manager": {STORE},
    "adbc_driver_postgresql": {STORE},
    "alembic": {STORE},
    "typer": {"recsvc.cli"},
    "rich": {"recsvc.cli"},
    "jinja2": {REPORT},
    "prometheus_client": {REPORT},
    "markupsafe": {REPORT},
}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def modules_imported(name: str) -> set[str]:
    """Return the modules of recsvc that a module imports."""
    return {
        module
        for found in imported(MODULES[name])
        if inside(found, "recsvc")
        for module in (found, found.rpartition(".")[0])
        if module in MODULES and module != "recsvc"
    }


def room_of(name: str) -> str | None:
    return next((room for room in FLOOR_OF if inside(name, room)), None)


def is_docstring_alone(path: Path) -> bool:
    return len(ast.parse(path.read_text("utf-8")).body) <= 1


def test_there_are_no_loose_modules_at_the_top() -> None:
    loose = {name for name, path in MODULES.items() if path.parent == PACKAGE} - {"recsvc"}
    assert {name for name in loose if MODULES[name].name != "__init__.py"} == LOOSE


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"recsvc"}))
def test_every_module_has_a_floor_and_imports_what_lies_below(name: str) -> None:
    room = room_of(name)
    if room is None:
        assert is_docstring_alone(MODULES[name]), f"{name} is on no floor"
        return
    for found in modules_imported(name):
        below = room_of(found)
        if below is None:
            assert is_docstring_alone(MODULES[found]), f"{name} imports {found}, on no floor"
        elif below != room:
            assert FLOOR_OF[below] < FLOOR_OF[room], f"{name} imports {found}, which is not below"


@pytest.mark.parametrize(("room", "other"), [(MODEL, STORE), (STORE, MODEL)])
def test_model_and_store_know_nothing_of_each_other(room: str, other: str) -> None:
    for name in MODULES:
        if inside(name, room):
            assert not [found for found in modules_imported(name) if inside(found, other)], name


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_is_particular_to_a_database_stays_in_its_folder(database: str) -> None:
    folder, dialect = f"recsvc.store.database.{database}", f"sqlalchemy.dialects.{database}"
    for name, path in MODULES.items():
        if inside(name, folder):
            continue
        assert not [found for found in modules_imported(name) if inside(found, folder)], name
        if not inside(name, "recsvc.store.contract"):  # declares column types
            assert not [found for found in imported(path) if inside(found, dialect)], name


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: modules_imported(name) - {name} for name in MODULES}
    while graph:
        free = {name for name, below in graph.items() if not below & graph.keys()}
        assert free, f"these import each other: {sorted(graph)}"
        graph = {name: below for name, below in graph.items() if name not in free}


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_stays_where_it_belongs(library: str) -> None:
    users = [
        name
        for name, path in MODULES.items()
        if any(inside(found, library) for found in imported(path))
    ]
    assert users, f"nothing imports {library} any more"
    for name in users:
        assert any(inside(name, room) for room in ONLY_IN[library]), f"{name} imports {library}"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if inside(name, MODEL) or inside(name, REPORT)]
)
def test_model_and_report_never_see_sql(name: str) -> None:
    for found in imported(MODULES[name]):
        assert not inside(found, "sqlalchemy"), f"{name} imports {found}"


def test_revisions_import_nothing_from_recsvc() -> None:
    revisions = sorted((ROOT / "migrations" / "versions").glob("*.py"))
    assert revisions
    for path in revisions:
        assert not [found for found in imported(path) if inside(found, "recsvc")], path.name


def test_nothing_imports_the_jobs() -> None:
    others = [*MODULES.values(), *(ROOT / "migrations").rglob("*.py")]
    for path in others:
        for found in imported(path):
            assert not inside(found, "jobs"), path
            assert not inside(found, "recsvc.jobs"), path


def test_jobs_call_the_command_and_nothing_else() -> None:
    for path in (ROOT / "jobs").glob("*.py"):
        used = {found for found in imported(path) if inside(found, "recsvc")}
        assert used <= {"recsvc.cli.main.main"}, path.name


def test_names_of_arrays_stand_once() -> None:
    arrays = MODULES["recsvc.runtime.arrays"]
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if path != arrays and isinstance(node, ast.Assign):
                assert not ast.unparse(node.value).startswith("npt.NDArray"), name
