"""Honest clients and a server in one process, with the seconds and bytes that each of them took.

Seconds are of CPU: all is done by one thread, and what else the machine does counts less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar
from unittest.mock import patch

import numpy as np

from secagg import (
    Client,
    ClientPolicy,
    Identity,
    Opened,
    PrivacyParameters,
    QuantiserParameters,
    Roster,
    RoundConfig,
    Server,
    SessionConfig,
    default_corrupt,
    threshold,
)
from secagg.config import HYBRID
from secagg.states import Call
from secagg.unmasking import IN_PROCESS, Unmasker

STEPS = ("advertise", "share", "accept", "mask", "agree", "unmask")
SATURATION = 2**15 - 1  # 16 bits a value
NOISE_BOUND = 2**13
RING_BITS = 24  # for up to 100 clients 23 would do: a whole number of bytes packs in a third of the time
T = TypeVar("T")


class Federation:
    """One session among ``clients`` honest clients, who all have the same input.

    Attributes:
        client_seconds: by step, of every client that was measured.
        server_seconds: by step.
        up, down: bytes that client 0 sent and received.
    """

    def __init__(
        self,
        *,
        clients: int,
        dimension: int,
        bits: int = RING_BITS,
        key_exchange: str = HYBRID,
        unmasker: Unmasker = IN_PROCESS,
    ) -> None:
        identities = [Identity.generate() for _ in range(clients)]
        server = Identity.generate()
        roster = Roster(
            server=server.public_key, members=tuple((i, who.public_key) for i, who in enumerate(identities))
        )
        corrupt = default_corrupt(clients)
        least = threshold(clients, corrupt)
        self.session = SessionConfig(
            task="benchmark",
            purpose="training",
            round=0,
            dimension=dimension,
            ring_bits=bits,
            quantiser=QuantiserParameters(scale=1000.0, saturation=SATURATION, noise_bound=NOISE_BOUND),
            privacy=PrivacyParameters(
                mode="local", clip=1.0, noise_multiplier=1.0, sensitivity=1.0, share_variance=1.0, honest_inputs=1
            ),
            clients=clients,
            threshold=least,
            corrupt=corrupt,
            min_survivors=least,
            key_exchange=key_exchange,
            roster_digest=roster.digest,
            step_timeout_seconds=60,
        )
        policy = ClientPolicy(
            tasks=frozenset({"benchmark"}),
            purposes=frozenset({"training"}),
            modes=frozenset({"local"}),
            max_corrupt=corrupt,
            min_noise_multiplier=0.0,
            key_exchanges=frozenset({key_exchange}),
        )
        self.server = Server(identity=server, roster=roster, session=self.session, unmasker=unmasker)
        self.clients = [Client(index=i, identity=who, roster=roster, policy=policy) for i, who in enumerate(identities)]
        bound = SATURATION + NOISE_BOUND
        self.values = np.random.default_rng(0).integers(-bound, bound, dimension, endpoint=True)
        self.client_seconds: dict[str, list[float]] = {step: [] for step in STEPS}
        self.server_seconds = dict.fromkeys(STEPS, 0.0)
        self.up = self.down = 0
        self._requests: dict[int, bytes] = {}

    def run(self, *, until: str = "", dropped: int = 0) -> None:
        """All steps before ``until``; the last ``dropped`` clients send no masked input.

        Raises:
            RuntimeError: the opened sum is not that of the survivors' inputs.
        """
        self._requests = self._serve("advertise", self.server.open)
        for step in STEPS:
            if step == until:
                return
            self._step(step, len(self.clients) - (dropped if step == "mask" else 0))
        if not np.array_equal(self.opened().total, (len(self.clients) - dropped) * self.values):
            raise RuntimeError("the opened sum is wrong")

    def opened(self) -> Opened:
        """The server's result."""
        return self.server.result()

    def masked(self, index: int) -> bytes:
        """The masked input of a client, timed; a subclass decides who masks how."""
        start = time.process_time()
        reply = self.clients[index].mask(self.values)
        self.client_seconds["mask"].append(time.process_time() - start)
        return reply

    def _step(self, step: str, senders: int) -> None:
        for index, request in self._requests.items():
            if index >= senders:
                continue
            reply = self.masked(index) if step == "mask" else self._reply(step, index, request)
            if index == 0 and step != "accept":
                self.up += len(reply)
                self.down += len(request)
            if step != "accept":
                self._serve(step, partial(self.server.receive, index, reply))
            if step == "mask":
                # A client keeps its reply, should it be asked again; here that would be every vector at once.
                self.clients[index]._answered.pop(Call.MASK)
        if step == "share":
            config = RoundConfig(kid=self.session.kid, model_digest=bytes(32), optimiser=b"")
            self._requests = self._serve(step, partial(self.server.advance, config))
        elif step != "accept":
            self._requests = self._serve(step, self.server.advance)

    def _reply(self, step: str, index: int, request: bytes) -> bytes:
        client = self.clients[index]
        call: Callable[[bytes], object] = getattr(client, step)
        start = time.process_time()
        reply = call(request)
        self.client_seconds[step].append(time.process_time() - start)
        return reply if isinstance(reply, bytes) else b""

    def _serve(self, step: str, call: Callable[[], T]) -> T:
        start = time.process_time()
        try:
            return call()
        finally:
            self.server_seconds[step] += time.process_time() - start


@contextmanager
def silent_streams() -> Iterator[None]:
    """Clients mask with zeros while this is open: all else of their work, and messages that the server accepts."""
    with patch("secagg.client.KeyStream", _Silent):
        yield


class _Silent:
    def __init__(self, key: bytes) -> None:
        pass

    def read_into(self, buffer: memoryview) -> None:
        pass  # the pad that it is to fill begins as zeros
