"""Attributes of synthetic users: some go with tastes, as in MovieLens 100K, and some are noise.

By a multinomial logit model: each taste makes some values of an attribute likelier and others less
likely. No value follows from a user's tastes, yet users who share a value share some taste.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.datasets.synthetic.catalogue import N_TASTES
from recsvc.runtime.arrays import Float64

_EMPTY: Final = 0.05


@dataclass(frozen=True)
class Attribute:
    """One column of users.csv."""

    name: str  #: the column's
    frequencies: Mapping[str, float]  #: of each value, for users of average tastes; sum to one
    signal: float  #: standard deviation of what tastes add to a value's log odds; 0: noise


_AGES: Final = {"under 18": 0.06, "18-24": 0.22, "25-34": 0.34, "35-49": 0.26, "50+": 0.12}
_GENDERS: Final = {"F": 0.4, "M": 0.6}
_OCCUPATIONS: Final = {
    "student": 0.22, "educator": 0.12, "engineer": 0.12, "programmer": 0.1, "administrator": 0.1,
    "writer": 0.08, "librarian": 0.06, "healthcare": 0.05, "artist": 0.04, "other": 0.11,
}  # fmt: skip
_NEWSLETTER: Final = {"no": 0.65, "yes": 0.35}
_REGIONS: Final = dict.fromkeys(
    ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest"), 1 / 8
)

ATTRIBUTES: Final = (
    Attribute("age", _AGES, signal=1.5),
    Attribute("gender", _GENDERS, signal=1.5),
    Attribute("occupation", _OCCUPATIONS, signal=0.7),
    Attribute("newsletter", _NEWSLETTER, signal=0.0),
    Attribute("region", _REGIONS, signal=0.0),
)


class AttributeSampler:
    """Draws the attributes of users, block by block, from a stream of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._effects = [_effects(rng, attribute) for attribute in ATTRIBUTES]

    def columns(self, leanings: Float64) -> list[list[str]]:
        """Values of each attribute, some empty, for users with these leanings.

        ``leanings`` has shape ``(n_users, N_TASTES)`` and variance 1 in each column.
        """
        return [
            self._column(attribute, np.einsum("nt,tv->nv", leanings, effects))
            for attribute, effects in zip(ATTRIBUTES, self._effects, strict=True)
        ]

    def _column(self, attribute: Attribute, log_odds: Float64) -> list[str]:
        weights = np.array(list(attribute.frequencies.values())) * np.exp(log_odds)
        cumulative = np.cumsum(weights, axis=1)
        drawn = self._rng.random(len(weights)) * cumulative[:, -1]
        value = (drawn[:, None] >= cumulative[:, :-1]).sum(axis=1)
        value[self._rng.random(len(value)) < _EMPTY] = weights.shape[1]
        labels: list[str] = np.array([*attribute.frequencies, ""])[value].tolist()
        return labels


def _effects(rng: np.random.Generator, attribute: Attribute) -> Float64:
    """What a leaning adds to the log odds of each value, shape ``(N_TASTES, n_values)``."""
    directions = rng.standard_normal((N_TASTES, len(attribute.frequencies)))
    return np.asarray(attribute.signal * directions / np.linalg.norm(directions, axis=0))
