"""CSV for spreadsheets: nothing in it is a formula, and everything can be had back exactly."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsvc.cli.spreadsheet import FORMULA_STARTS, as_csv, neutralised
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.store.reading.queries import columns_of
from tests import hostile
from tests.commands import Commands
from tests.prepared import DATABASES, Prepared, copied

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"

COMMANDS = {
    ("recommend", 5): "current_recommendations",
    ("similar", 7): "current_similar_movies",
    ("metrics", "--segment", "*"): "model_metrics",
    ("runs",): "run_history",
}


def undone(cell: str) -> str:
    """Undo it as the documentation says."""
    (code,) = re.findall(
        r"^```python\n(import re\n.*?)^```", OPERATING.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names = {"cell": cell}
    exec(code, names)  # noqa: S102 - our own documentation
    return names["cell"]


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


# --- the rule --------------------------------------------------------------------------------


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_text_that_could_be_a_formula_gets_an_apostrophe(start: str) -> None:
    assert neutralised(f"{start}1+1") == f"'{start}1+1"
    assert neutralised(f"'{start}1+1") == f"''{start}1+1", "or undoing it would be ambiguous"


@pytest.mark.parametrize(
    "text", ["", "Heat (1995)", "'Til There Was You (1997)", "''", "1-1", " =1", "(500) Days"]
)
def test_other_text_is_left_alone(text: str) -> None:
    assert neutralised(text) == text


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.text(st.sampled_from("'" + FORMULA_STARTS + 'a,"')),
)


@given(TEXTS)
@example("'=1+1")
@example("''''@")
def test_text_comes_back_from_a_spreadsheet_as_it_was(text: str) -> None:
    (row,) = parsed(as_csv([{"a": text, "b": 0}], ("a", "b")))
    cell = row["a"]
    assert cell[:1] not in tuple(FORMULA_STARTS)
    assert undone(cell) == text


@given(st.one_of(st.integers(), st.floats(allow_nan=False)))
@example(-0.1)
@example(-(2**63))
def test_numbers_are_never_touched_and_keep_every_digit(number: float) -> None:
    (row,) = parsed(as_csv([{"a": number, "b": 0}], ("a", "b")))
    assert type(number)(row["a"]) == number
    assert not row["a"].startswith("'")


def test_lines_end_as_rfc_4180_says_and_quotes_are_doubled() -> None:
    rows = [{"a": 'say "hi", twice', "b": None}, {"a": "two\nlines", "b": 1}]
    expected = 'a,b\r\n"say ""hi"", twice",\r\n"two\nlines",1\r\n'
    assert as_csv(rows, ("a", "b")) == expected


# --- the commands ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """A run on titles that are formulas."""
    folder = tmp_path_factory.mktemp("spreadsheet")
    with copied(request.param, request, folder) as database:
        with database.engine() as engine:
            ingest_folder(engine, hostile.write_files(folder / "files"))
            retrain(engine, database.settings())
        yield database


@pytest.fixture
def recsvc(
    published: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    commands = Commands(monkeypatch, capsys)
    commands.set("DATABASE_URL", published.url.render_as_string(hide_password=False))
    return commands


@pytest.mark.parametrize("command", COMMANDS)
def test_csv_has_the_rows_and_columns_of_the_view(
    recsvc: Commands, command: tuple[object, ...]
) -> None:
    rows = parsed(recsvc(*command, "--csv").out)
    expected = recsvc(*command, "--json").json
    assert len(rows) == len(expected) > 0
    for row, original in zip(rows, expected, strict=True):
        assert tuple(row) == columns_of(COMMANDS[command])
        for name, value in original.items():
            assert undone(row[name]) == ("" if value is None else str(value)), name


def test_titles_are_no_formulas(recsvc: Commands) -> None:
    rows = parsed(recsvc("similar", 7, "--limit", 60, "--csv").out)
    titles = [row["similar_title"] for row in rows]
    assert {undone(title) for title in titles} == set(hostile.TITLES)
    assert not [title for title in titles if title.startswith(tuple(FORMULA_STARTS))]


def test_a_list_without_rows_has_a_header(recsvc: Commands, published: Prepared) -> None:
    published.change("INSERT INTO users (user_id) VALUES (999)")
    printed = recsvc("recommend", 999, "--csv").out
    assert printed == ",".join(columns_of("current_recommendations")) + "\r\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_two_forms_at_once_are_wrong_usage(recsvc: Commands, command: tuple[object, ...]) -> None:
    for options in (("--json", "--csv"), ("--csv", "--json")):
        refused = recsvc(*command, *options)
        assert refused.code == 2
        assert refused.out == ""
        assert refused.err == "recsvc: --json and --csv exclude each other: give one of them.\n"
