"""One client's life as a record that brings it back: what it was told, and what it drew.

A client refuses to be copied. Whoever needs it many times in one state, or in another implementation, gives a new one
the same requests and the same random bytes. This is also the format of the settings in ``vectors/refusals.json``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

from secagg import Client, ClientPolicy, Identity, Roster, kem
from tests.secagg.helpers import STEPS, Federation, send


@dataclass(kw_only=True)
class Life:
    """What a client was told and drew, in order.

    Attributes:
        requests: the honest request of each step so far.
        entropy: what each call of ``os.urandom`` gave it.
        encapsulations: (secret, ciphertext) of each call of :func:`secagg.kem.encapsulate`; none without the hybrid.
    """

    requests: dict[str, bytes] = field(default_factory=dict)
    entropy: list[bytes] = field(default_factory=list)
    encapsulations: list[tuple[bytes, bytes]] = field(default_factory=list)


def watch(federation: Federation, *watched: int) -> dict[int, Life]:
    """Write down the lives of the clients ``watched`` as ``federation`` goes on."""
    lives = {index: Life() for index in watched}
    reply = federation.reply

    def recording(step: str, index: int, request: bytes) -> bytes:
        if index not in lives:
            return reply(step, index, request)
        life, urandom, encapsulate = lives[index], os.urandom, kem.encapsulate
        life.requests[step] = request

        def draw(size: int) -> bytes:
            life.entropy.append(urandom(size))
            return life.entropy[-1]

        def record(public: bytes) -> tuple[bytes, bytes]:
            life.encapsulations.append(encapsulate(public))
            return life.encapsulations[-1]

        with mock.patch("os.urandom", draw), mock.patch.object(kem, "encapsulate", record):
            return reply(step, index, request)

    federation.reply = recording
    return lives


@contextmanager
def _drawing(life: Life) -> Iterator[None]:
    entropy, encapsulations = iter(life.entropy), iter(life.encapsulations)

    def draw(size: int) -> bytes:
        drawn = next(entropy)
        assert len(drawn) == size
        return drawn

    with mock.patch("os.urandom", draw), mock.patch.object(kem, "encapsulate", lambda public: next(encapsulations)):
        yield


def bring_back(
    life: Life, *, until: str, index: int, identity: Identity, roster: Roster, policy: ClientPolicy, values: Any
) -> Client:
    """A new client in the state of that one before step ``until``; ``values`` is what it masks, if it comes to that."""
    client = Client(index=index, identity=identity, roster=roster, policy=policy)
    with _drawing(life):
        for step in STEPS[: STEPS.index(until)]:
            send(client, step, life.requests[step])
            if step == "mask":
                client.mask(np.asarray(values, dtype=np.int64))
    return client
