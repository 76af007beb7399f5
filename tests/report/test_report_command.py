"""The command that writes the page, and a browser that opens it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.commands import Commands
from tests.prepared import Prepared
from tests.report.pages import rendered

CHROMIUM = "/usr/bin/chromium"


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def recsvc(
    published: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    commands = Commands(monkeypatch, capsys)
    commands.set("DATABASE_URL", published.url.render_as_string(hide_password=False))
    return commands


class TestCommand:
    def test_it_writes_the_file_whole_and_names_it(self, recsvc: Commands, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_text("older")
        written = recsvc("report", "-o", path)
        assert (written.code, written.out) == (0, f"{path}\n")
        assert path.read_text("utf-8").startswith("<!DOCTYPE html>\n")
        assert path.read_text("utf-8").endswith("</html>\n")
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    def test_a_dash_is_stdout(self, recsvc: Commands) -> None:
        written = recsvc("report", "-o", "-")
        assert written.code == 0
        assert written.out.startswith("<!DOCTYPE html>\n")
        assert written.out.endswith("</html>\n")

    def test_a_missing_folder_is_named_before_anything_is_read(
        self, recsvc: Commands, tmp_path: Path
    ) -> None:
        recsvc.set("DATABASE_URL", "sqlite:///nowhere.db")
        refused = recsvc("report", "-o", tmp_path / "none" / "report.html")
        assert refused.code == 2
        folder = tmp_path / "none"
        assert (
            refused.err == f"recsvc: There is no folder {folder} for the report: make it first.\n"
        )

    def test_a_device_or_a_pipe_is_no_file(self, recsvc: Commands, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        refused = recsvc("report", "-o", pipe)
        assert refused.code == 2
        assert "no regular file" in refused.err
        assert pipe.is_fifo()

    def test_a_link_still_leads_to_the_file(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        link, file = tmp_path / "report.html", tmp_path / "of-today.html"
        link.symlink_to(file)
        assert recsvc("report", "-o", link).code == 0
        assert link.is_symlink()
        assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_a_folder_is_no_file(self, recsvc: Commands, tmp_path: Path) -> None:
        refused = recsvc("report", "-o", tmp_path)
        assert refused.code == 2
        assert "is a folder" in refused.err

    def test_where_it_cannot_be_written_the_older_one_stays(
        self, recsvc: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "report.html"
        path.write_text("older")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        refused = recsvc("report", "-o", path)
        assert refused.code == 2
        assert "No space left on device" in refused.err
        assert path.read_text() == "older"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    def test_a_database_without_a_schema_says_what_to_do(
        self, recsvc: Commands, tmp_path: Path
    ) -> None:
        (tmp_path / "new.db").touch()
        recsvc.set("DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
        refused = recsvc("report", "-o", "-")
        assert refused.code == 78
        assert "recsvc db upgrade" in refused.err


# --- a browser -------------------------------------------------------------------------------

Browse = Callable[[str], tuple[str, str]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Load a page in Chromium, and return what became of it and what the browser logged."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"there is no {CHROMIUM}")

    def load(text: str) -> tuple[str, str]:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        switches = (
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
        )
        loaded = subprocess.run(
            [CHROMIUM, *switches, path.as_uri()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        return loaded.stdout, loaded.stderr

    return load


def title_of(dom: str) -> str:
    return dom.partition("<title>")[2].partition("</title>")[0]


ATTACK = "<script>document.title='owned'</script>"


def test_in_a_browser_hostile_titles_stay_text(html: str, browse: Browse) -> None:
    dom, logged = browse(html)
    assert title_of(dom).startswith("Recommendations, ")
    assert "&lt;script&gt;document.title='owned'&lt;/script&gt;" in dom
    assert "<script" not in dom
    assert "Content Security Policy" not in logged, "the page's own style sheet is allowed"


def test_in_a_browser_the_policy_stops_what_escaping_let_through(
    engine: sa.Engine, browse: Browse
) -> None:
    whole = rendered(engine)
    dom, logged = browse(whole.replace("<main>", f"<main>{ATTACK}<p style='color: red'>"))
    assert title_of(dom).startswith("Recommendations, ")
    assert "Content Security Policy" in logged
    without = re.sub("<meta http-equiv=.*", "", whole)
    dom, logged = browse(without.replace("<main>", f"<main>{ATTACK}"))
    assert title_of(dom) == "owned", "or these tests prove nothing"
