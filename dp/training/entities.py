"""Which rows of a bank belong to one entity and which of them count, in arrays shaped by slots and m alone.

At most m rows of an entity count, chosen by public coins of the slots that they lie in: nothing in a row is looked at,
so the choice depends on where the entity's own rows lie and on no other entity. No row moves: every computation finds
an entity's rows at their slots, so that emptying one entity leaves all others exactly where they were. How many
entities there are shows in no shape.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedsec.errors import ConfigError
from fedsec.keystream import KeyStream

EMPTY = -1
_CHOICE_OF_ROWS = hashlib.sha256(b"fedsec/v1/choice-of-an-entity's-rows").digest()


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityRows:
    """The counted rows of every entity at one bank.

    Attributes:
        mates: int64 ``(slots, m)``; for a counted slot all counted slots of its entity, itself included, ascending,
            then ``slots`` as filler; for any other slot filler alone.
        first: int64 ``(slots,)``; the least counted slot of the entity, for a slot that does not count the slot itself.
        size: int64 ``(slots,)``; how many rows of the slot's entity count, 0 to m.
    """

    mates: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]

    @classmethod
    def choose(cls, entities: NDArray[np.int64], *, most: int) -> Self:
        """Choose at most ``most`` (m >= 1) rows of each entity.

        Args:
            entities: int64 ``(slots,)``; equal numbers are one entity, ``EMPTY`` is an empty slot.

        Raises:
            ConfigError: ``most`` is below 1.
        """
        if most < 1:
            raise ConfigError("at least one row of an entity has to count")
        slots = len(entities)
        coins = KeyStream(_CHOICE_OF_ROWS).words(slots, np.uint64)
        rank = _ranks(np.lexsort((coins, entities)), entities)
        counted = (entities != EMPTY) & (rank < most)
        chosen = np.flatnonzero(counted)
        number = np.unique(entities[chosen], return_inverse=True)[1]
        place = _ranks(np.argsort(number, kind="stable"), number)  # stable: slots ascend within an entity
        table = np.full((slots, most), slots, dtype=np.int64)
        table[number, place] = chosen
        mates = np.full((slots, most), slots, dtype=np.int64)
        mates[chosen] = table[number]
        first = np.arange(slots)
        first[chosen] = mates[chosen, 0]
        return cls(mates=mates, first=first, size=(mates < slots).sum(axis=1))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which slots count, bool ``(slots,)``."""
        return np.asarray(self.size > 0)

    @property
    def leads(self) -> NDArray[np.bool_]:
        """Which slot stands for its entity, bool ``(slots,)``: one for each."""
        return np.asarray(self.counted & (self.first == np.arange(len(self.first))))

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of ``values`` ``(slots, k)`` over the counted rows of each slot's entity, float64 ``(slots, k)``."""
        padded = np.concatenate([values, np.zeros((1, values.shape[1]))])
        total = np.zeros_like(values)
        for mate in self.mates.T:
            total += padded[mate]
        total /= np.maximum(self.size, 1)[:, None]
        return total


def _ranks(order: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each element's place in its group, from 0, where ``order`` sorts the elements by group first."""
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.r_[True, sorted_groups[1:] != sorted_groups[:-1]]) if len(order) else order
    lengths = np.diff(np.r_[starts, len(order)])
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return ranks
