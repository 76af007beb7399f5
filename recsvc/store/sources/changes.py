"""How rows from a file relate to those in the database: new, changed or unchanged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recsvc.runtime.arrays import Int64, Mask

_MOST_CODES = 2**62


@dataclass(frozen=True)
class Changes:
    """How rows from a file relate to those in the database."""

    inserted: pd.DataFrame  #: rows whose key is new
    updated: pd.DataFrame  #: rows whose key is there with other values
    unchanged: int  #: rows that are there already


def compare(existing: pd.DataFrame, incoming: pd.DataFrame, key: list[str]) -> Changes:
    """Sort incoming rows into new, changed and unchanged.

    Both frames have the same columns and each key once.
    """
    nothing = incoming.iloc[:0]
    if existing.empty:
        return Changes(incoming, nothing, 0)
    if len(existing) == len(incoming) and all(
        _equal(existing[name], incoming[name]).all() for name in incoming.columns
    ):  # most files of most nights, in the order in which they were loaded
        return Changes(nothing, nothing, len(incoming))
    old, new = _key_codes(existing, incoming, key)
    places, found = _places(old, new)
    candidates = incoming if found.all() else incoming.loc[found]
    same = np.ones(len(candidates), dtype=bool)
    for column in incoming.columns.difference(key):
        same &= _equal(existing[column].take(places), candidates[column])
    return Changes(incoming.loc[~found], candidates.loc[~same], int(same.sum()))


def _places(old: Int64, new: Int64) -> tuple[Int64, Mask]:
    """Find codes among others: whether each is there, and for those that are, where."""
    order = None if np.all(old[1:] > old[:-1]) else np.argsort(old, kind="stable")
    places = np.searchsorted(old, new, sorter=order).clip(max=len(old) - 1)
    if order is not None:
        places = order[places]
    found = old[places] == new
    return places[found], found


def _key_codes(
    existing: pd.DataFrame, incoming: pd.DataFrame, key: list[str]
) -> tuple[Int64, Int64]:
    """Pack each key into one integer, the same on both sides."""
    codes = np.zeros(len(existing) + len(incoming), dtype=np.int64)
    size = 1
    for column in key:
        both = pd.concat([existing[column], incoming[column]], ignore_index=True)
        part, values = pd.factorize(both)
        if size * len(values) > _MOST_CODES:
            codes = pd.factorize(codes)[0].astype(np.int64)
            size = int(codes.max()) + 1
        codes = codes * len(values) + part
        size *= len(values)
    return codes[: len(existing)], codes[len(existing) :]


def _equal(left: "pd.Series[Any]", right: "pd.Series[Any]") -> Mask:
    old, new = left.reset_index(drop=True), right.reset_index(drop=True)
    if not new.hasnans and not old.hasnans:
        return np.asarray(old.to_numpy() == new.to_numpy(), dtype=bool)
    missing = old.isna() & new.isna()
    return np.asarray((old == new).fillna(value=False).astype(bool) | missing, dtype=bool)
