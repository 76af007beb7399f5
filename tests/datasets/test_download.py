import hashlib
import http.server
import io
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from recsvc.datasets.download import BASE_URL, NAMES, Response, download
from recsvc.errors import SourceDataError, UsageError

NAME = "ml-latest-small"
FILES = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n",
    "movies.csv": b"movieId,title,genres\n1,Toy Story (1995),Adventure\n",
    "README.txt": b"Summary\n",
}


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


class Server:
    """Pages by path, served on the loopback interface."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        pages = self.pages

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                self.send_response(200 if page is not None else 404)
                self.send_header("Content-Length", str(len(page or b"")))
                self.end_headers()
                self.wfile.write(page or b"")

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def publish(self, content: bytes, md5: str | None = None) -> None:
        self.pages[f"/{NAME}.zip"] = content
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.pages[f"/{NAME}.zip.md5"] = (md5 or f"{digest}  {NAME}.zip\n").encode()

    def open(self, url: str) -> AbstractContextManager[Response]:
        path = url.removeprefix(BASE_URL)
        assert path != url
        port = self.http.server_address[1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(f"http://127.0.0.1:{port}{path}", timeout=10)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def unreachable(url: str) -> AbstractContextManager[Response]:
    raise urllib.error.URLError(OSError(-2, f"no route to {url}"))


def test_a_set_arrives_in_a_folder_of_its_name(server: Server, tmp_path: Path) -> None:
    server.publish(archive({f"{NAME}/{file}": content for file, content in FILES.items()}))
    folder = download(NAME, tmp_path / "data", opener=server.open)
    assert folder == tmp_path / "data" / NAME
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert [path.name for path in (tmp_path / "data").iterdir()] == [NAME]


def test_a_checksum_in_bsd_form_is_understood(server: Server, tmp_path: Path) -> None:
    content = archive({f"{NAME}/{file}": text for file, text in FILES.items()})
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest().upper()
    server.publish(content, md5=f"MD5 ({NAME}.zip) = {digest}\n")
    assert download(NAME, tmp_path, opener=server.open).is_dir()


def test_progress_counts_bytes_up_to_the_length_that_the_server_tells(
    server: Server, tmp_path: Path
) -> None:
    content = archive({f"{NAME}/{file}": text for file, text in FILES.items()})
    server.publish(content)
    reports: list[tuple[int, int | None]] = []
    download(NAME, tmp_path, opener=server.open, on_progress=lambda *r: reports.append(r))
    assert reports[-1] == (len(content), len(content))


def test_only_csv_files_and_the_readme_are_taken_and_nothing_leads_outside(
    server: Server, tmp_path: Path
) -> None:
    wanted = {f"{NAME}/{file}": content for file, content in FILES.items()}
    unwanted = dict.fromkeys(
        (
            "../evil.csv",
            "/evil.csv",
            f"{NAME}/../evil.csv",
            f"{NAME}/sub/evil.csv",
            f"{NAME}/..\\evil.csv",
            f"{NAME}/run.sh",
            f"{NAME}/.hidden.csv",
            "other/evil.csv",
        ),
        b"evil",
    )
    server.publish(archive(unwanted | wanted))
    folder = download(NAME, tmp_path / "data", opener=server.open)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


def test_an_unknown_name_lists_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        download("ml-1b", tmp_path, opener=unreachable)
    assert all(name in str(caught.value) for name in NAMES)


def test_an_existing_folder_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "ratings.csv").write_text("mine")
    with pytest.raises(UsageError, match="not overwritten"):
        download(NAME, tmp_path, opener=unreachable)
    assert (tmp_path / NAME / "ratings.csv").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Cannot make the folder"):
        download(NAME, tmp_path / "file" / "below", opener=unreachable)


def test_without_a_network_one_sentence_says_what_was_tried_and_what_to_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceDataError) as caught:
        download(NAME, tmp_path, opener=unreachable)
    message = str(caught.value)
    assert f"{BASE_URL}/{NAME}.zip (no route to" in message
    assert f"recsvc synth {tmp_path} --ratings" in message
    assert "folder that holds the CSV files" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_not_there_is_named_with_its_status(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SourceDataError, match="HTTP Error 404"):
        download(NAME, tmp_path, opener=server.open)


def test_a_connection_that_stalls_half_way_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.publish(archive({f"{NAME}/{file}": content for file, content in FILES.items()}))

    def stall(*_: object) -> None:
        raise TimeoutError("timed out")

    with pytest.raises(SourceDataError, match="timed out"):
        download(NAME, tmp_path, opener=server.open, on_progress=stall)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_is_refused_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    content = archive({f"{NAME}/{file}": text for file, text in FILES.items()})
    server.publish(content[:-10], md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    with pytest.raises(SourceDataError, match="arrived damaged"):
        download(NAME, tmp_path, opener=server.open)
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_page_without_a_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    server.publish(archive({}), md5="<html>Not here</html>")
    with pytest.raises(SourceDataError, match="holds no MD5"):
        download(NAME, tmp_path, opener=server.open)


def test_what_is_no_archive_is_refused(server: Server, tmp_path: Path) -> None:
    server.publish(b"hello")
    with pytest.raises(SourceDataError, match="cannot be unpacked"):
        download(NAME, tmp_path, opener=server.open)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_ratings_is_refused(server: Server, tmp_path: Path) -> None:
    server.publish(archive({f"{NAME}/movies.csv": FILES["movies.csv"]}))
    with pytest.raises(SourceDataError, match=r"lacks ratings\.csv"):
        download(NAME, tmp_path, opener=server.open)
