"""Lines of ratings.csv, where there is nothing but digits."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa

from recsvc.ingest.plain.blocks import KnownMovies, read_columns, unusual_but
from recsvc.ingest.sources.formats import RATINGS
from recsvc.ingest.sources.values import HIGHEST_RATING, LATEST_TIME, LOWEST_RATING
from recsvc.runtime.arrays import Mask

_TYPES = {
    "user_id": pa.int64(),
    "movie_id": pa.int64(),
    "rating": pa.float64(),
    "rated_at": pa.int64(),
}


class PlainRatings:
    """See :class:`recsvc.ingest.plain.blocks.PlainForm`.

    Arrow takes signs, spaces, exponents and hexadecimal digits for parts of numbers: no plain line
    has such bytes.
    """

    format = RATINGS
    line_breaks = False
    unusual = unusual_but(b"0123456789.,\r\n")
    # A longer rating is legal, but not plain: Arrow reads no line that spans two of its blocks.
    pattern = re.compile(
        rb"[0-9]{1,18},[0-9]{1,18},(?:[0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18}),[0-9]{1,18}\r?"
    )

    def converted(self, text: bytes) -> pd.DataFrame:
        """Convert lines that look plain."""
        rows: pd.DataFrame = read_columns(text, _TYPES).to_pandas()
        return rows

    def good(self, rows: pd.DataFrame, movies: KnownMovies) -> Mask:
        """Tell of each row whether its values may be stored."""
        rating = rows["rating"].to_numpy()
        in_range = (rating >= LOWEST_RATING) & (rating <= HIGHEST_RATING)
        in_time = rows["rated_at"].to_numpy() <= LATEST_TIME
        return np.asarray(in_range & in_time & movies.include(rows["movie_id"].to_numpy()))
