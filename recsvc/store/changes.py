"""How rows from a file relate to those in the database: new, changed or unchanged."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

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
    if existing.empty:
        return Changes(incoming, incoming.iloc[:0], 0)
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


@dataclass(frozen=True)
class PackedKeys:
    """Keys of several integers, each packed into one."""

    lowest: list[int]  #: of each column
    spans: list[int]  #: highest - lowest + 1 of each column
    codes: Int64  #: the packed keys, ascending

    @classmethod
    def of(cls, columns: list[Int64]) -> "PackedKeys | None":
        """Pack the keys of rows in key order; ``None`` if they do not fit into one integer."""
        lowest = [int(column.min()) for column in columns]
        spans = [int(column.max()) - low + 1 for column, low in zip(columns, lowest, strict=True)]
        if math.prod(spans) > _MOST_CODES:
            return None
        return cls(lowest, spans, _packed(columns, lowest, spans))

    def find(self, columns: list[Int64]) -> tuple[Mask, Int64]:
        """Look up keys: whether each is among these, and for those that are, where."""
        among = np.ones(len(columns[0]), dtype=bool)
        for column, low, span in zip(columns, self.lowest, self.spans, strict=True):
            among &= (column >= low) & (column <= low + span - 1)
        codes = _packed([column[among] for column in columns], self.lowest, self.spans)
        places = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        exact = self.codes[places] == codes
        among[among] = exact
        return among, places[exact]


def _packed(columns: list[Int64], lowest: list[int], spans: list[int]) -> Int64:
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column, low, span in zip(columns, lowest, spans, strict=True):
        codes *= span
        codes += column - low
    return codes


def compare_batches(
    existing: Iterable[pa.RecordBatch], incoming: pd.DataFrame, keys: PackedKeys, n_keys: int
) -> Changes:
    """Sort incoming rows as :func:`compare` does, without holding all existing rows at once.

    Args:
        existing: batches of numbers, none missing, in the columns of ``incoming``.
        incoming: the rows, in key order.
        keys: their keys.
        n_keys: how many columns, from the left, are the key.
    """
    columns = [incoming[name].to_numpy() for name in incoming.columns]
    there, same = np.zeros((2, len(incoming)), dtype=bool)
    for batch in existing:
        values = [column.to_numpy() for column in batch.columns]
        found, places = keys.find(values[:n_keys])
        there[places] = same[places] = True
        for old, new in zip(values[n_keys:], columns[n_keys:], strict=True):
            same[places] &= old[found] == new[places]
    inserted = incoming.loc[~there] if there.any() else incoming
    return Changes(inserted, incoming.loc[there & ~same], int(same.sum()))
