"""Lines of tags.csv, where there is nothing but plain ASCII."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsvc.ingest.plain.blocks import KnownMovies, read_columns, unusual_but
from recsvc.ingest.sources.formats import TAGS
from recsvc.ingest.sources.values import LATEST_TIME, LONGEST_TAG, SAFE_DIGITS
from recsvc.runtime.arrays import Mask

_NUMBERS = ("user_id", "movie_id", "tagged_at")
_TEXTS = dict.fromkeys(("user_id", "movie_id", "tag", "tagged_at"), pa.string())


class PlainTags:
    """See :class:`recsvc.ingest.plain.blocks.PlainForm`."""

    format = TAGS
    line_breaks = True
    unusual = unusual_but({*range(0x20, 0x7F), *b"\r\n"} - {*b'"'})
    pattern = re.compile(rb"[0-9]{1,18},[0-9]{1,18},[ !#-+\--~]{1,%d},[0-9]{1,12}\r?" % LONGEST_TAG)

    def converted(self, text: bytes) -> pd.DataFrame:
        """Convert lines that look plain.

        All are read as text first: Arrow takes spaces, signs and hexadecimal digits for numbers
        too, and a tag may have them.
        """
        texts = read_columns(text, _TEXTS)
        columns = {name: texts[name] for name in texts.column_names}
        for name in _NUMBERS:
            short = pc.less_equal(pc.binary_length(columns[name]), SAFE_DIGITS)
            if not pc.all(pc.and_(pc.ascii_is_decimal(columns[name]), short), min_count=0).as_py():
                raise pa.ArrowInvalid("not a whole number")
            columns[name] = columns[name].cast(pa.int64())
        columns["tag_key"] = pc.ascii_lower(pc.ascii_trim(columns["tag"], " "))
        rows: pd.DataFrame = pa.table(
            {name: columns[name] for name in TAGS.into.columns}
        ).to_pandas()
        return rows

    def good(self, rows: pd.DataFrame, movies: KnownMovies) -> Mask:
        """Tell of each row whether its values may be stored."""
        given = (rows["tag_key"] != "") & (rows["tag"].str.len() <= LONGEST_TAG)
        in_range = np.asarray(given & (rows["tagged_at"] <= LATEST_TIME), dtype=np.bool_)
        return in_range & movies.include(rows["movie_id"].to_numpy())
