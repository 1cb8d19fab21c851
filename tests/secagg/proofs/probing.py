"""Masked inputs of production clients, with the streams that each of them opened given names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest

import secagg.client
from fedsec.keystream import KeyStream
from secagg import messages
from secagg.packing import unpack, word_type
from tests.secagg.helpers import Federation, decode
from tests.secagg.proofs.model import Injected, Stream, Words


@dataclass(frozen=True, kw_only=True)
class Masked:
    """What step 2 came to.

    Attributes:
        keys: the key of each stream, as the clients derived it.
        payloads: y_u as it was sent, packed; also of members whose masked input never reached the server.
        words: the same unpacked, shape ``(d,)``.
    """

    keys: dict[Stream, bytes]
    payloads: dict[int, bytes]
    words: dict[int, Words]


def mask_all(federation: Federation, words: Callable[[bytes], Words]) -> Masked:
    """Every member of U2 masks, ``words(key)`` standing in for the stream of ``key``; nothing is delivered yet."""
    opened: dict[int, list[bytes]] = {}
    for u, request in federation.requests.items():
        mine = opened[u] = []

        def open_stream(key: bytes, mine: list[bytes] = mine) -> Injected:
            mine.append(key)
            return Injected(words(key))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(secagg.client, "KeyStream", open_stream)
            federation.sent["mask", u] = federation.reply("mask", u, request)
    payloads = {u: bytes(decode(federation.sent["mask", u], messages.Mask).payload) for u in opened}
    session = federation.session
    return Masked(
        keys=_names(opened),
        payloads=payloads,
        words={u: unpack(memoryview(y), session.dimension, session.ring_bits) for u, y in payloads.items()},
    )


def deliver(federation: Federation, survivors: Collection[int]) -> None:
    """The masked inputs of ``survivors`` arrive; the others' come too late."""
    for u in survivors:
        federation.server.receive(u, federation.sent["mask", u])


def real_words(federation: Federation) -> Callable[[bytes], Words]:
    """The words of the production key stream."""
    session = federation.session
    kind: Any = word_type(session.ring_bits).type
    return lambda key: KeyStream(key).words(session.dimension, kind)


def _names(opened: dict[int, list[bytes]]) -> dict[Stream, bytes]:
    """A key that two clients used is their pair's, one that a single client used is its own; other uses are errors."""
    names: dict[Stream, bytes] = {}
    for u, v in combinations(sorted(opened), 2):
        common = set(opened[u]) & set(opened[v])
        assert len(common) <= 1
        for key in common:
            names[u, v] = key
    paired = set(names.values())
    for u, keys in opened.items():
        (names[u, u],) = set(keys) - paired
    assert len(set(names.values())) == len(names)  # no stream serves two pairs
    assert sorted(key for keys in opened.values() for key in keys) == sorted(
        key for (u, v), key in names.items() for _ in range(1 if u == v else 2)
    )  # and none is opened twice by one client
    return names
