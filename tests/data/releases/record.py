"""Record a database as this release makes it, for later releases to upgrade in their tests.

Run it once for each release that changed the schema, and never again for that revision:

    .venv/bin/python tests/data/releases/record.py

It writes REVISION.sqlite, a small database with something in every table, and REVISION.sql, the
queries that a reader of that release may have written: every column of every view.
"""

import shutil
import sqlite3
import tempfile
from pathlib import Path

import sqlalchemy as sa

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.settings import Settings
from recsvc.store.administration import migrate
from recsvc.store.administration.revision import HEAD
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.engine import open_engine

HERE = Path(__file__).parent
TINY = {"components": 2, "epochs": 2, "top_n": 2, "similar_n": 1, "holdout_last": 1, "threads": 1}
MOVIES = [
    (1, "Toy Story (1995)"),
    (2, 'He Said "Hi" (2001)'),
    (3, "Amélie (2001)"),
    (4, "Untitled"),
]
RATED_AT = 1_700_000_000


def write_source(folder: Path) -> None:
    """Write four movies, four users, and one row that is rejected."""
    movies = [f'{key},"{title.replace(chr(34), chr(34) * 2)}",Drama|War' for key, title in MOVIES]
    ratings = [
        f"{user},{movie},{5 - (user + movie) % 2},{RATED_AT + user * 60 + movie}"
        for user in range(1, 5)
        for movie in range(1, 5)
        if user != movie
    ]
    files = {
        "movies.csv": ["movieId,title,genres", *movies],
        "ratings.csv": ["userId,movieId,rating,timestamp", *ratings, f"1,1,99,{RATED_AT}"],
        "tags.csv": ["userId,movieId,tag,timestamp", f"1,2,Noir,{RATED_AT}"],
        "links.csv": ["movieId,imdbId,tmdbId", "1,0114709,862"],
        "users.csv": ["userId,gender", "1,F"],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


def record(folder: Path) -> Path:
    """Make the database in ``folder`` and keep a compact copy here."""
    path = folder / "recsvc.db"
    engine = open_engine(sa.URL.create("sqlite", database=str(path)), create=True)
    migrate.upgrade(engine)
    write_source(folder)
    ingest_folder(engine, folder, max_rejects=50)
    retrain(engine, Settings.read(TINY), force=True)
    revision = HEAD
    engine.dispose()
    kept = HERE / f"{revision}.sqlite"
    kept.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ingests SET source = 'films'")
    connection.execute("UPDATE runs SET host = 'somewhere:1'")
    connection.commit()
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM INTO ?", [str(kept)])
    connection.close()
    queries = [f"SELECT {', '.join(view.columns)} FROM {view.name};\n" for view in VIEWS]
    (HERE / f"{revision}.sql").write_text("".join(queries), encoding="utf-8")
    return kept


if __name__ == "__main__":
    scratch = Path(tempfile.mkdtemp())
    try:
        record(scratch)
    finally:
        shutil.rmtree(scratch)
