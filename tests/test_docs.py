"""What the documentation says is run here: commands, queries, names."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from recsvc import errors
from recsvc.cli.main import main
from recsvc.settings import Settings
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.engine import open_engine
from tests import taste

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])

#: The commands that outsiders rely on.
CONTRACT = {
    *("db upgrade", "db check", "db current"),
    *("ingest", "retrain", "schedule", "status", "runs", "metrics"),
    *("recommend", "similar", "explain", "rollback", "prune", "synth", "download"),
    "report",
}

QUICK = {
    "RECSVC_THREADS": "1",
    "RECSVC_COMPONENTS": "16",
    "RECSVC_EPOCHS": "10",
    "RECSVC_LEARNING_RATE": "0.05",
    "RECSVC_TOP_N": "20",
    "RECSVC_SIMILAR_N": "5",
}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The module that writes the generated files."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


def queries() -> list[tuple[Path, str]]:
    """Return every SQL statement of the documentation with its page."""
    return [(page, query) for page in PAGES for query in blocks(page, "sql")]


# --- generated files -------------------------------------------------------------------------


def test_generated_pages_are_what_the_code_says(generator: ModuleType) -> None:
    for name, text in generator.render().items():
        assert (DOCS / name).read_text("utf-8") == text, f"docs/{name} is old: run `make docs`"


def test_every_setting_is_documented() -> None:
    page = (DOCS / "settings.md").read_text("utf-8")
    for name, field in Settings.model_fields.items():
        variable = field.validation_alias or f"RECSVC_{name.upper()}"
        assert f"| `{variable}` |" in page
        assert field.description


def test_every_view_is_documented_column_by_column() -> None:
    page = (DOCS / "schema.md").read_text("utf-8")
    for view in VIEWS:
        section = page.split(f"### {view.name}\n")[1].split("\n### ")[0]
        assert all(f"| `{column}` |" in section for column in view.columns)
        assert f"`{view.name}`" in (ROOT / "README.md").read_text("utf-8")


def test_every_command_of_the_contract_exists(generator: ModuleType) -> None:
    assert {name for name, _ in generator.commands()} >= CONTRACT


def test_every_command_shows_an_example_of_itself(generator: ModuleType) -> None:
    for name, command in generator.commands():
        _, found, example = (command.help or "").partition("Example:")
        assert found, f"recsvc {name} --help has no example"
        assert " ".join(example.split()).startswith(f"recsvc {name}")


def test_every_exit_code_is_explained() -> None:
    page = (DOCS / "operating.md").read_text("utf-8")
    codes = {
        found.exit_code
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, errors.RecsvcError)
    }
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes | {
        0,
        1,
        2,
    }


def test_links_lead_to_files_that_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text("utf-8")
        named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets, page.name


# --- commands and queries --------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path, database_url: sa.URL, monkeypatch: pytest.MonkeyPatch) -> sa.URL:
    """A database with two runs, so that rolling back has a meaning, in a newcomer's folder."""
    reader = [(42, movie, 5.0, taste.START) for movie in range(2, 40, 4)]
    bad = [(42, 1, 7.0, taste.START)]
    folder = tmp_path / "ml-latest-small"
    taste.write_files(folder, ratings=[*taste.rating_rows(), *reader, *bad])
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", database_url.render_as_string(hide_password=False))
    run("recsvc ingest ml-latest-small")
    run("recsvc retrain")
    run("recsvc retrain --force")
    return database_url


def run(line: str) -> None:
    """Run a line as a shell would, as far as documentation goes: variables, ``&&``, recsvc."""
    for part in line.split("&&"):
        words = shlex.split(part)
        variables = {}
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        assert words[0] == "recsvc", f"this test does not know how to run {part!r}"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            _recsvc(words[1:])


def _recsvc(words: list[str]) -> None:
    code: object = 0
    try:
        main(words)
    except SystemExit as ending:
        code = ending.code
    assert not code, f"recsvc {' '.join(words)} ended with {code}"


def lines(page: Path) -> Iterator[str]:
    """Yield the commands of a page, but for exports: the database is the test's."""
    for block in blocks(page, "console"):
        for line in block.splitlines():
            assert line.startswith("$ "), f"{page.name}: {line}"
            if not line.startswith("$ export "):
                yield line.removeprefix("$ ")


#: Commands that need the network, run for ever, or make roles.
ELSEWHERE = ("recsvc download", "recsvc schedule", "recsvc grant-reader")


#: Queries that have no row when all is well.
ALARM = re.compile(r"age_seconds > |'failed'")


def test_commands_and_queries_of_the_documentation_run(published: sa.URL) -> None:
    for page in PAGES:
        for line in lines(page):
            if not line.startswith(ELSEWHERE):
                run(line.replace("--ratings 1000000", "--ratings 1000"))
    engine = open_engine(published)
    for page, query in queries():
        with engine.connect() as connection:
            result = connection.exec_driver_sql(query)
            if result.returns_rows:
                assert result.all() or ALARM.search(query), f"no row: {page.name}: {query}"
    engine.dispose()


NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(?:(\w+)::)?(\w+)`")


def test_every_test_that_a_page_names_is_there() -> None:
    named = [found for page in PAGES for found in NAMED_TEST.findall(page.read_text("utf-8"))]
    assert named
    gone = [name for name in named if not _is_defined(*name)]
    assert not gone


def _is_defined(file: str, group: str, name: str) -> bool:
    module = ast.parse((ROOT / file).read_text("utf-8")) if (ROOT / file).exists() else None
    body = module.body if module else []
    if group:
        body = next((n.body for n in body if isinstance(n, ast.ClassDef) and n.name == group), [])
    return any(isinstance(n, ast.FunctionDef) and n.name == name for n in body)
