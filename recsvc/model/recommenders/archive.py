"""What is kept of the published recommender, as bytes and back: ``.npz``, free of pickles."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.model.data.identifiers import IdMap
from recsvc.vocabulary import LIGHTFM_HYBRID

Arrays = dict[str, npt.NDArray[Any]]

_RECOMMENDER, _USERS, _ITEMS = "recommender", "user_ids", "item_ids"


@dataclass(frozen=True)
class Archive:
    """What it takes to explain a score of a run, or to go on training from it."""

    recommender: str  #: one of ``vocabulary.MODELS``
    users: IdMap  #: the users whose indices the arrays know
    items: IdMap  #: likewise the movies
    arrays: Arrays  #: whatever the recommender keeps, by name


@dataclass(frozen=True)
class Previous:
    """An earlier model, and what its ids have become."""

    archive: Archive
    users: IdMap  #: of the data to train on now
    items: IdMap  #: likewise


def to_bytes(archive: Archive) -> bytes:
    """Pack.

    Raises:
        ValueError: an array holds objects.
    """
    buffer = io.BytesIO()
    named = {
        _RECOMMENDER: np.array(archive.recommender),
        _USERS: archive.users.ids,
        _ITEMS: archive.items.ids,
    }
    np.savez(buffer, allow_pickle=False, **named, **archive.arrays)
    return buffer.getvalue()


def from_bytes(packed: bytes) -> Archive:
    """Unpack what :func:`to_bytes` packed."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as found:
        arrays = dict(found.items())
    # Releases up to 0.1 published one recommender alone, and did not name it.
    name = str(arrays.pop(_RECOMMENDER, LIGHTFM_HYBRID))
    users, items = IdMap(arrays.pop(_USERS)), IdMap(arrays.pop(_ITEMS))
    return Archive(name, users, items, arrays)
