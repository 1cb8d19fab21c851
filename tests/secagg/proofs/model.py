"""One round as a coalition of the server and corrupt clients sees it, with streams instead of keys.

What a stream's words are is left open: the proofs enumerate them, probe with them or shift them. All arithmetic on
masks is :mod:`secagg.masking`'s; that its caller, the production client, adds and subtracts the streams that
:meth:`Round.added` and :meth:`Round.subtracted` list is shown in ``test_only_the_survivors_sum_is_determined.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from secagg import masking
from secagg.packing import word_type

Stream = tuple[int, int]  # (u, v) with u < v: of the pair; (u, u): the self-mask of u
Words = NDArray[np.unsignedinteger]


class Injected:
    """A stream of given words, read forwards once."""

    def __init__(self, words: Words) -> None:
        self._left = memoryview(np.ascontiguousarray(words)).cast("B")

    def read_into(self, buffer: memoryview) -> None:
        buffer[:] = self._left[: len(buffer)]
        self._left = self._left[len(buffer) :]


@dataclass(frozen=True, kw_only=True)
class Round:
    """Who is where, and, for the controls, what is broken.

    Attributes:
        members: U2. survivors: U3. corrupt: who works with the server, within U2.
        cut: pairs without a stream (none in the complete graph).
        bare: members without a self-mask (nobody in the protocol).
        both_kinds: members of which the server rebuilt both seeds (nobody in the protocol).
    """

    members: tuple[int, ...]
    survivors: frozenset[int]
    corrupt: frozenset[int] = frozenset()
    cut: frozenset[Stream] = frozenset()
    bare: frozenset[int] = frozenset()
    both_kinds: frozenset[int] = frozenset()

    @property
    def honest(self) -> tuple[int, ...]:
        return tuple(u for u in self.members if u not in self.corrupt)

    @property
    def honest_survivors(self) -> tuple[int, ...]:
        return tuple(u for u in self.honest if u in self.survivors)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream of the round: self-masks, then pairs."""
        own = tuple((u, u) for u in self.members if u not in self.bare)
        return own + tuple(pair for pair in combinations(self.members, 2) if pair not in self.cut)

    def is_known(self, stream: Stream) -> bool:
        """Whether the coalition knows ``stream`` after step 4.

        All streams of its own members; the self-mask of a survivor, from b_v; every pair stream of a dealer that
        did not survive, from a_v.
        """
        if self.corrupt & {*stream} or self.both_kinds & {*stream}:
            return True
        u, v = stream
        return u in self.survivors if u == v else not {u, v} <= self.survivors

    @property
    def known(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if self.is_known(stream))

    @property
    def unknown(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if not self.is_known(stream))

    def added(self, u: int) -> tuple[Stream, ...]:
        """The streams that u adds: its own, and those with members of a higher index."""
        return tuple(stream for stream in self.streams if stream[0] == u)

    def subtracted(self, u: int) -> tuple[Stream, ...]:
        """The streams that u subtracts: those with members of a lower index."""
        return tuple(stream for stream in self.streams if stream[1] == u != stream[0])

    def masked(
        self, u: int, values: NDArray[np.int64], streams: Mapping[Stream, Words], *, ring_bits: int
    ) -> bytearray:
        """y_u, packed, by the production mask."""
        return masking.mask(
            values,
            ring_bits=ring_bits,
            bound=1 << ring_bits,
            add=[Injected(streams[stream]) for stream in self.added(u)],
            subtract=[Injected(streams[stream]) for stream in self.subtracted(u)],
        )

    def opened(
        self, masked: Mapping[int, bytearray], known: Mapping[Stream, Words], size: int, *, ring_bits: int
    ) -> Words:
        """The survivors' sum mod R, shape ``(size,)``: the production code adds masked inputs and removes streams."""
        total = np.zeros(size, dtype=word_type(ring_bits))
        for u in sorted(self.survivors):
            masking.add_packed(total, memoryview(masked[u]), ring_bits)
        add: list[Injected] = []
        subtract: list[Injected] = []
        for u in sorted(self.survivors):
            # What a survivor added is subtracted. Streams between two survivors cancel.
            subtract += [Injected(known[s]) for s in self.added(u) if not self._cancels(s)]
            add += [Injected(known[s]) for s in self.subtracted(u) if not self._cancels(s)]
        masking.combine(total, add=add, subtract=subtract)
        return total & total.dtype.type((1 << ring_bits) - 1)

    def _cancels(self, stream: Stream) -> bool:
        return stream[0] != stream[1] and {*stream} <= self.survivors


def every_round(members: tuple[int, ...]) -> list[Round]:
    """Every choice of U3 and of corrupt clients among U2 = ``members``: 4^|U2| rounds."""
    return [
        Round(members=members, survivors=survivors, corrupt=corrupt)
        for survivors in _subsets(members)
        for corrupt in _subsets(members)
    ]


def _subsets(members: Collection[int]) -> list[frozenset[int]]:
    ordered = sorted(members)
    return [frozenset(chosen) for size in range(len(ordered) + 1) for chosen in combinations(ordered, size)]
