"""Who shares masks and secrets with whom: everybody with everybody, or each with k neighbours (SecAgg+).

Bell, Bonawitz, Gascon, Lepoint, Raykova (CCS 2020, ePrint 2020/704): a Harary graph, a ring in which everybody
is joined to the k/2 nearest on either side, over a permutation that nobody could choose (:mod:`secagg.draw`).
How large k and t must be is :mod:`secagg.sparse`'s.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, TypeAlias

import msgspec

from fedsec.errors import ConfigError
from fedsec.keystream import KeyStream
from secagg import keys, labels
from secagg.encoding import fields, number

MAX_DEGREE = 512  # far above what any bound asks for; keeps a stranger's configuration cheap to check
COMPLETE_LIMIT = 200  # above it every client's work, linear in n, asks for the sparse graph
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Complete(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="complete"):
    """Everybody is everybody's neighbour."""


class Harary(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, tag="harary"):
    """A ring over a drawn order.

    Attributes:
        degree: k, neighbours of each client, even, 2 to 512.
        seed: of the order, 32 bytes, as drawn.

    Raises:
        ConfigError: another degree, or a seed of another length.
    """

    degree: int
    seed: Digest

    def __post_init__(self) -> None:
        if not 2 <= self.degree <= MAX_DEGREE or self.degree % 2 or len(self.seed) != 32:
            raise ConfigError(f"a sparse graph has an even degree from 2 to {MAX_DEGREE}, and a seed of 32 bytes")


Graph: TypeAlias = Complete | Harary


def neighbourhood(graph: Graph, clients: int, index: int) -> tuple[int, ...]:
    """Client ``index`` of ``clients`` and its neighbours, by rising index."""
    if isinstance(graph, Complete):
        return tuple(range(clients))
    order = permutation(graph.seed, clients)
    place = order.index(index)
    reach = graph.degree // 2
    return tuple(sorted({order[(place + step) % clients] for step in range(-reach, reach + 1)}))


@lru_cache(maxsize=4)
def permutation(seed: bytes, clients: int) -> tuple[int, ...]:
    """All ``clients`` indices, in the uniform order of ``seed`` (Durstenfeld's shuffle, CACM 1964)."""
    stream = KeyStream(keys.derive(seed, None, fields(labels.KEY_PERMUTATION, number(clients))))
    order = list(range(clients))
    for last in range(clients - 1, 0, -1):
        other = _below(stream, last + 1)
        order[last], order[other] = order[other], order[last]
    return tuple(order)


def _below(stream: KeyStream, bound: int) -> int:
    """Uniform in ``[0, bound)``: words that would favour the small numbers are drawn again."""
    word = bytearray(8)
    while True:
        stream.read_into(memoryview(word))
        value = int.from_bytes(word, "little")
        if value < (1 << 64) // bound * bound:
            return value % bound
