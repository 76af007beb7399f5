"""What reading a file gives."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsvc.errors import SourceDataError
from recsvc.runtime.arrays import Int64

_BLOCK_ROWS = 2**17  # compared at once: what is made of them stays in the processor's cache


@dataclass(frozen=True)
class Reject:
    """A row that was not accepted."""

    file: str  #: file name
    line: int  #: line on which the row starts, the header being line 1
    reason: str  #: why
    raw: str  #: the row as it stands in the file; bytes that are not text are escaped

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.reason}"


@dataclass(frozen=True)
class ParsedFile:
    """The rows of one file, each key once."""

    name: str  #: file name
    sha256: str  #: of the bytes that were read
    bytes: int  #: size of the file
    rows: pd.DataFrame  #: accepted rows, in key order, columns as in the database
    rejects: list[Reject]  #: rows that were not accepted
    duplicates: int  #: accepted rows that another row of the same key superseded

    @property
    def total(self) -> int:
        """Data rows in the file."""
        return len(self.rows) + self.duplicates + len(self.rejects)

    def require_acceptable(self, max_rejects: float) -> None:
        """Refuse a file in which more than ``max_rejects`` percent of the rows are bad.

        Raises:
            SourceDataError: with the first reasons.
        """
        if len(self.rejects) * 100 <= max_rejects * self.total:
            return
        share = 100 * len(self.rejects) / self.total
        shown = "; ".join(str(reject) for reject in self.rejects[:3])
        raise SourceDataError(
            f"{self.name}: {len(self.rejects):,} of {self.total:,} rows ({share:.1f} %) are bad, "
            f"more than --max-rejects {max_rejects:g} allows; nothing was changed. First: {shown}."
        )


def deduplicated(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Sort by key and keep the last row of each key.

    The remaining columns decide which is last, from the right: the timestamp first where there is
    one. So the outcome does not depend on the order of the file.
    """
    if _strictly_increasing(rows, key):
        return rows
    ordered = _in_key_order(rows, key)
    if _strictly_increasing(ordered, key):
        return ordered
    del ordered  # a copy of all rows
    others = [column for column in rows.columns if column not in key]
    ordered = rows.sort_values([*key, *reversed(others)], kind="stable", na_position="first")
    return ordered.drop_duplicates(key, keep="last", ignore_index=True)


def _in_key_order(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    packed = _packed(rows[key])
    if packed is None:
        return rows.sort_values(key, kind="stable", ignore_index=True)
    # A file that is nearly in order, as most are, is sorted in a few passes.
    return rows.take(np.argsort(packed, kind="stable")).reset_index(drop=True)


def _packed(keys: pd.DataFrame) -> Int64 | None:
    """Make one number of each key, in the order of keys; ``None`` if 64 bits do not hold them."""
    packed = np.zeros(len(keys), dtype=np.int64)
    size = 1
    for name in keys.columns:
        if keys[name].dtype == "str":
            part, values = pd.factorize(keys[name], sort=True)
            many = len(values)
        else:
            part = keys[name].to_numpy()  # ids, none of them negative
            many = int(part.max()) + 1
        size *= many
        if size > np.iinfo(np.int64).max:
            return None
        packed = packed * many + part
    return packed


def _strictly_increasing(rows: pd.DataFrame, key: list[str]) -> bool:
    """Tell whether each row's key is above that of the row before, block by block."""
    keys = rows[key]
    starts = range(0, len(rows), _BLOCK_ROWS)
    return all(_block_increases(keys.iloc[start : start + _BLOCK_ROWS + 1]) for start in starts)


def _block_increases(rows: pd.DataFrame) -> bool:
    equal = np.ones(len(rows) - 1 if len(rows) else 0, dtype=np.bool_)
    increasing = ~equal
    for column in rows.columns:
        values = rows[column].array if rows[column].dtype == "str" else rows[column].to_numpy()
        before, after = values[:-1], values[1:]
        increasing |= equal & np.asarray(after > before)
        equal &= np.asarray(after == before)
    return bool(np.all(increasing))
