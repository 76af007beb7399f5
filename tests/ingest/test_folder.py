"""A folder into the database: all of it or nothing, and only what differs."""

import sqlalchemy as sa

from recsvc.ingest.folder import ingest_folder
from recsvc.store.contract import tables
from recsvc.store.database.transactions import writing
from tests.databases import is_sqlite
from tests.ingest.folders import MOVIES, RATINGS, TAGS, MakeFolder, Read, counts

LINKS = "movieId,imdbId,tmdbId\n"
USERS = "userId,gender,age\n"


# --- what is stored ----------------------------------------------------------------------------


def test_the_five_files_become_the_source_tables(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    report = ingest_folder(engine, make_folder())
    assert counts(report) == {
        "movies": (3, 0, 0),
        "users": (2, 0, 0),
        "links": (2, 0, 0),
        "ratings": (3, 0, 0),
        "tags": (2, 0, 0),
    }
    assert contents() == {
        "users": [(1,), (2,), (3,), (9,)],
        "user_features": [(1, "age:25"), (1, "gender:F"), (9, "gender:M")],
        "movies": [
            (1, "Toy Story (1995)", 1995, True),
            (2, "Heat (1995)", 1995, True),
            (3, "Babylon 5", None, True),
        ],
        "movie_genres": [(1, "Animation"), (1, "Children"), (2, "Action"), (2, "Crime")],
        "links": [(1, 114709, 862), (2, 113277, None)],
        "ratings": [(1, 1, 4.0, 100), (1, 2, 3.5, 110), (2, 1, 5.0, 120)],
        "tags": [(1, 1, "pixar", "pixar", 130), (3, 1, "Pixar", "pixar", 140)],
    }


def test_only_movies_and_ratings_are_needed(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder(tags=None, links=None, users=None))
    assert contents("users", "links", "tags") == {"users": [(1,), (2,)], "links": [], "tags": []}


def test_files_without_rows_are_accepted(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder(movies=MOVIES, ratings=RATINGS, tags=TAGS, links=LINKS, users=USERS)
    for _ in range(2):
        assert not ingest_folder(engine, folder).changed
    assert not any(contents().values())


def test_a_tag_in_nfc_and_in_nfd_is_two_texts_of_one_key(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(
        engine, make_folder(tags=f"{TAGS}1,1,caf\u00e9,5\n1,1,cafe\u0301,6\n1,1,CAF\u00c9,7\n")
    )
    assert [row[2:4] for row in contents("tags")["tags"]] == [
        ("CAF\u00c9", "caf\u00e9"),
        ("cafe\u0301", "caf\u00e9"),
        ("caf\u00e9", "caf\u00e9"),
    ]


def test_ids_reach_to_the_last_of_64_bits(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    top = 2**63 - 1
    folder = make_folder(
        movies=f"{MOVIES}{top},A,X\n0,B,\n",
        ratings=f"{RATINGS}{top},{top},5,1\n{top - 1},0,5,1\n",
        tags=f"{TAGS}{top},{top},t,1\n",
        links=f"{LINKS}{top},{top},{top - 1}\n0,,0\n",
        users=f"userId,a\n{top},b\n",
    )
    ingest_folder(engine, folder)
    found = contents()
    assert found["ratings"] == [(top - 1, 0, 5.0, 1), (top, top, 5.0, 1)]
    assert found["links"] == [(0, None, 0), (top, top, top - 1)]
    assert not ingest_folder(engine, folder).changed


def test_text_is_stored_as_it_is_written(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    odd = [
        'a "quoted" one',
        "back\\slash \\N \\.",
        "line\nbreak\r\n\\.\n",
        "=1+1",
        "<b>",
        "\t",
        "\U0001f3ac",
    ]
    odd[5] = "tab\tinside"
    lines = [f'1,1,"{text.replace(chr(34), chr(34) * 2)}",5\n' for text in odd]
    folder = make_folder(tags=TAGS + "".join(lines))
    ingest_folder(engine, folder)
    assert {row[2] for row in contents("tags")["tags"]} == set(odd)
    assert not ingest_folder(engine, folder).changed


# --- only what differs -------------------------------------------------------------------------


def test_the_same_files_again_change_nothing(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder()
    first = ingest_folder(engine, folder)
    before = contents()
    second = ingest_folder(engine, folder)
    assert second.changed == 0
    assert counts(second) == {
        name: (0, 0, inserted) for name, (inserted, _, _) in counts(first).items()
    }
    assert contents() == before


def test_a_changed_file_touches_its_changed_rows_and_no_other(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    forbid_changes(engine, "ratings", "user_id = 2")
    changed = make_folder(ratings=f"{RATINGS}1,1,1.0,100\n1,2,3.5,110\n2,1,5.0,120\n2,2,0.5,7\n")
    assert counts(ingest_folder(engine, changed))["ratings"] == (1, 1, 2)
    assert contents("ratings")["ratings"] == [
        (1, 1, 1.0, 100), (1, 2, 3.5, 110), (2, 1, 5.0, 120), (2, 2, 0.5, 7),
    ]  # fmt: skip


def forbid_changes(engine: sa.Engine, table: str, rows: str) -> None:
    """Make the database refuse to update or delete some rows, even to the values they have."""
    with writing(engine) as connection:
        if is_sqlite(engine):
            for change in ("UPDATE", "DELETE"):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER no_{change} BEFORE {change} ON {table} WHEN old.{rows}"
                    " BEGIN SELECT RAISE(ABORT, 'touched'); END"
                )
        else:
            connection.exec_driver_sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE 'touched'; END $$"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
                f" WHEN (old.{rows}) EXECUTE FUNCTION refuse()"
            )


def test_a_rating_changed_and_changed_back_is_stored_both_times(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    original, other = make_folder(), f"{RATINGS}1,1,0.5,90\n"
    ingest_folder(engine, original)
    before = contents()
    assert counts(ingest_folder(engine, make_folder("other", ratings=other)))["ratings"] == (
        0,
        1,
        0,
    )
    assert contents("ratings")["ratings"][0] == (1, 1, 0.5, 90)
    assert counts(ingest_folder(engine, original))["ratings"] == (0, 1, 2)
    assert contents() == before


def test_rows_that_a_file_does_not_mention_stay(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    before = contents()
    empty = make_folder(
        "empty", movies=MOVIES, ratings=RATINGS, tags=TAGS, links=LINKS, users=USERS
    )
    assert not ingest_folder(engine, empty).changed
    assert contents() == before


def test_changed_genres_replace_the_former_ones(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    movies = (
        f"{MOVIES}1,Toy Story (1995),Children|Comedy\n2,Heat (1995),(no genres listed)\n"
        "3,Babylon 5,Sci-Fi\n"
    )
    assert counts(ingest_folder(engine, make_folder(movies=movies)))["movies"] == (0, 3, 0)
    assert contents("movie_genres")["movie_genres"] == [
        (1, "Children"), (1, "Comedy"), (3, "Sci-Fi"),
    ]  # fmt: skip


def test_genres_in_another_order_or_twice_are_no_change(
    engine: sa.Engine, make_folder: MakeFolder
) -> None:
    ingest_folder(engine, make_folder())
    movies = f"{MOVIES}1,Toy Story (1995),Children|Animation|Children\n2,Heat (1995),Crime|Action\n"
    assert counts(ingest_folder(engine, make_folder(movies=movies)))["movies"] == (0, 0, 2)


def test_a_changed_title_brings_its_year(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    movies = f"{MOVIES}1,Toy Story,Animation|Children\n3,Babylon 5 (1993),\n"
    assert counts(ingest_folder(engine, make_folder(movies=movies)))["movies"] == (0, 2, 0)
    found = contents("movies")["movies"]
    assert [(row[1], row[2]) for row in found] == [
        ("Toy Story", None),
        ("Heat (1995)", 1995),
        ("Babylon 5 (1993)", 1993),
    ]


def test_a_withdrawn_movie_stays_withdrawn(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    with writing(engine) as connection:
        withdraw = sa.update(tables.movies).where(tables.movies.c.movie_id == 1)
        connection.execute(withdraw.values(available=False))
    movies = f"{MOVIES}1,Toy Story! (1995),Drama\n4,New,\n"
    ingest_folder(engine, make_folder(movies=movies))
    available = {row[1]: row[3] for row in contents("movies")["movies"]}
    assert available == {
        "Toy Story! (1995)": False, "Heat (1995)": True, "Babylon 5": True, "New": True,
    }  # fmt: skip


def test_attributes_of_listed_users_are_replaced_and_those_of_others_kept(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    report = ingest_folder(engine, make_folder(users="userId,gender,job\n1,F,poet\n2,,\n7,X,\n"))
    assert counts(report)["users"] == (1, 1, 1)
    assert contents("user_features")["user_features"] == [
        (1, "gender:F"), (1, "job:poet"), (7, "gender:X"), (9, "gender:M"),
    ]  # fmt: skip
    assert counts(ingest_folder(engine, make_folder(users="userId\n1\n")))["users"] == (0, 1, 0)
    assert contents("user_features")["user_features"] == [(7, "gender:X"), (9, "gender:M")]


def test_a_link_gains_and_loses_a_number(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    report = ingest_folder(engine, make_folder(links=f"{LINKS}1,,862\n2,0113277,949\n3,,\n"))
    assert counts(report)["links"] == (1, 2, 0)
    assert contents("links")["links"] == [(1, None, 862), (2, 113277, 949), (3, None, None)]


def test_a_movie_may_be_in_the_database_from_an_earlier_ingest(
    engine: sa.Engine, make_folder: MakeFolder
) -> None:
    ingest_folder(engine, make_folder())
    report = ingest_folder(engine, make_folder(movies=f"{MOVIES}4,New,\n"))
    assert (report.rejects, counts(report)["ratings"]) == ([], (0, 0, 3))


def test_the_order_of_the_rows_makes_no_difference(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    rows = ["1,1,4.0,100", "1,1,2.0,100", "1,2,3.0,90", "1,2,3.5,110", "2,1,5.0,120", "2,1,5.0,120"]
    ingest_folder(engine, make_folder(ratings=RATINGS + "\n".join(rows)))
    first = contents()
    assert first["ratings"] == [(1, 1, 4.0, 100), (1, 2, 3.5, 110), (2, 1, 5.0, 120)]
    for order in (rows[::-1], rows[3:] + rows[:3]):
        report = ingest_folder(engine, make_folder(ratings=RATINGS + "\n".join(order)))
        assert report.changed == 0
        assert report.files[3].duplicates == 3
    assert contents() == first
