"""Titles, genres and tags that try to be more than text, for pages and spreadsheets."""

from pathlib import Path

from tests import taste

TITLES = (
    "<script>document.title='owned'</script>",
    "</style><script>document.title='owned'</script>",
    "</title><img src=x onerror=document.title='owned'>",
    "\"><svg onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "{{ 7 * 7 }} {% raw %} & &amp; &lt;b&gt;",
    '--> ]]> <!-- Tom & Jerry\'s "best"',
    "\u202ethgir ot tfel",
    '=HYPERLINK("http://example.com/?"&A1,"free")',
    "'=1+1",
    "+1 (2001)",
    "-1.5",
    "@SUM(A1:A9)",
    "\uff1d1+1",
    "'Til There Was You (1997)",
)
GENRE = "<b onclick=document.title='owned'>Drama & Co</b>"
TAG = "<script>document.title='owned'</script>"
REJECTED = "</code><script>document.title='owned'</script>"


def write_files(folder: Path) -> Path:
    """Write the population of ``taste``, but with these titles, so that they are in every list."""
    movies = [
        (movie, TITLES[movie % len(TITLES)], f"{genre}|{GENRE}")
        for movie, _, genre in taste.movie_rows()
    ]
    tags = [(user, movie, TAG, taste.START) for user, movie in ((1, 1), (2, 5), (3, 9))]
    rejected = [(REJECTED, 1, 5.0, taste.START)]
    ratings = [*taste.rating_rows(), *rejected]
    return taste.write_files(folder, movies=movies, ratings=ratings, tags=tags)
