"""A round of a large cohort on a sparse graph (SecAgg+), hybrid, all clients and the server in one process.

The order is drawn first, once for the roster; then one round in which some clients send no masked input. The opened
sum is compared with plain integer addition.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from secagg import (
    Client,
    ClientPolicy,
    Identity,
    PrivacyParameters,
    QuantiserParameters,
    Roster,
    RoundConfig,
    Server,
    SessionConfig,
    ring_bits_for,
)
from secagg.config import SEMI_HONEST
from secagg.draw import Drawer, DrawServer
from secagg.graph import Harary
from secagg.sparse import parameters

CLIENTS, DIMENSION, DROPOUT = 1_000, 100_000, 0.05
CORRUPT = 0.05
SATURATION = 10_000
STEPS = ("advertise", "share", "accept", "mask", "agree", "unmask")
TARGET_SECONDS, TARGET_BYTES = 90, 2e9
T = TypeVar("T")


def run() -> None:
    """Print the tables of one round; in a process of its own, so that the peak of memory is the round's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(sparse_round, CLIENTS, DIMENSION, DROPOUT).result()


def sparse_round(n: int, dimension: int, dropout: float) -> None:
    """Draw the order, run a round in which ``dropout`` of the ``n`` clients send no masked input, print the tables."""
    identities, server = [Identity.generate() for _ in range(n)], Identity.generate()
    roster = Roster(server=server.public_key, members=tuple((i, who.public_key) for i, who in enumerate(identities)))
    began = time.perf_counter()
    print("… drawing the order", file=sys.stderr)
    seed = _draw(identities, server, roster)
    drawing = time.perf_counter() - began
    corrupt, dropped = int(CORRUPT * n), int(dropout * n)
    degree, threshold = parameters(n, corrupt=corrupt, dropped=dropped)
    session = SessionConfig(
        task="benchmark",
        purpose="training",
        round=0,
        dimension=dimension,
        ring_bits=ring_bits_for(n, SATURATION, 0),
        quantiser=QuantiserParameters(scale=1000.0, saturation=SATURATION, noise_bound=0),
        privacy=PrivacyParameters(
            mode="local", clip=1.0, noise_multiplier=1.0, sensitivity=1.0, share_variance=1.0, honest_inputs=1
        ),
        clients=n,
        threshold=threshold,
        corrupt=corrupt,
        min_survivors=n - dropped,
        graph=Harary(degree=degree, seed=seed),
        adversary=SEMI_HONEST,
        roster_digest=roster.digest,
        step_timeout_seconds=60,
    )
    policy = ClientPolicy(
        tasks=frozenset({"benchmark"}),
        purposes=frozenset({"training"}),
        modes=frozenset({"local"}),
        max_corrupt=corrupt,
        min_noise_multiplier=0.0,
        adversaries=frozenset({SEMI_HONEST}),
        graph_seed=seed,
    )
    clients = [Client(index=i, identity=who, roster=roster, policy=policy) for i, who in enumerate(identities)]
    silent = frozenset(np.random.default_rng(0).permutation(n)[:dropped].tolist())
    measured = _Round(Server(identity=server, roster=roster, session=session), clients)
    began, worked = time.perf_counter(), time.process_time()
    measured.run(session, silent)
    total, work = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\n{n:,} clients, {dropped} silent, {dimension:,} values of {session.ring_bits} bits, hybrid,", end=" ")
    print(f"{degree} neighbours, threshold {threshold}\n")
    measured.print_steps()
    print("\n| figure | measured | target |\n| --- | ---: | ---: |")
    print(f"| the round, seconds, all in one process | {total:.1f} | {TARGET_SECONDS} |")
    print(f"| the same, seconds of processor time | {work:.1f} | |")
    print(f"| peak memory, MB, all in one process | {peak / 1e6:.0f} | {TARGET_BYTES / 1e6:.0f} |")
    print(f"| the draw, once for a roster, seconds, all members | {drawing:.1f} | |")


class _Round:
    """One round; per step the seconds of all clients and of the server, and the bytes."""

    def __init__(self, server: Server, clients: list[Client]) -> None:
        self._server = server
        self._clients = clients
        self._client_seconds: dict[str, float] = defaultdict(float)
        self._server_seconds: dict[str, float] = defaultdict(float)
        self._answers: dict[str, int] = defaultdict(int)
        self._up: dict[str, int] = defaultdict(int)
        self._down: dict[str, int] = defaultdict(int)

    def run(self, session: SessionConfig, silent: frozenset[int]) -> None:
        """All steps; ``silent`` send no masked input.

        Raises:
            AssertionError: the opened sum is not the survivors'.
        """
        config = RoundConfig(kid=session.kid, model_digest=bytes(32), optimiser=b"")
        expected = np.zeros(session.dimension, dtype=np.int64)
        requests = _timed(self._server_seconds, "advertise", self._server.open)
        for step in STEPS:
            print(f"… {step}", file=sys.stderr)
            for index, request in requests.items():
                if step == "mask" and index in silent:
                    continue
                values = _values(index, session.dimension) if step == "mask" else None
                reply = _timed(self._client_seconds, step, self._call(step, index, request, values))
                self._answers[step] += 1
                self._down[step] += len(request) if step != "mask" else 0  # "accept" took the request of step 2
                if values is not None:
                    expected += values
                if step != "accept":
                    self._up[step] += len(reply)
                    _timed(self._server_seconds, step, partial(self._server.receive, index, reply))
            if step != "accept":
                given = config if step == "share" else None
                requests = _timed(self._server_seconds, step, partial(self._server.advance, given))
        if not np.array_equal(self._server.result().total, expected):
            raise AssertionError("the opened sum is not that of the survivors' inputs")

    def print_steps(self) -> None:
        """The table of steps; bytes and milliseconds are means over those who answered."""
        print("| step | clients, s | server, s | a client, ms | up, bytes | down, bytes |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        totals = [0.0] * 5
        for step in STEPS:
            count = self._answers[step]
            row = [
                self._client_seconds[step],
                self._server_seconds[step],
                1e3 * self._client_seconds[step] / count,
                self._up[step] / count,
                self._down[step] / count,
            ]
            totals = [before + part for before, part in zip(totals, row, strict=True)]
            _print_row(step, row)
        _print_row("all", totals)

    def _call(self, step: str, index: int, request: bytes, values: NDArray[np.int64] | None) -> Callable[[], bytes]:
        client = self._clients[index]
        if values is not None:
            return lambda: client.mask(values)
        if step == "accept":
            return lambda: client.accept(request).encode()
        calls = {"advertise": client.advertise, "share": client.share, "agree": client.agree, "unmask": client.unmask}
        return lambda: calls[step](request)


def _draw(identities: list[Identity], server: Identity, roster: Roster) -> bytes:
    relay = DrawServer(identity=server, roster=roster)
    members = [Drawer(index=i, identity=who, roster=roster) for i, who in enumerate(identities)]
    for index, member in enumerate(members):
        relay.receive_commit(index, member.commit())
    listed = relay.list_commitments()
    for index, member in enumerate(members):
        relay.receive_reveal(index, member.reveal(listed))
    seed, drawn = relay.finish()
    if {member.finish(drawn) for member in members} != {seed}:
        raise AssertionError("the members drew different seeds")
    return seed


def _values(index: int, dimension: int) -> NDArray[np.int64]:
    return np.random.default_rng(index).integers(-SATURATION, SATURATION, dimension, endpoint=True)


def _timed(seconds: dict[str, float], step: str, call: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = call()
    seconds[step] += time.perf_counter() - start
    return result


def _print_row(name: str, row: list[float]) -> None:
    print(f"| {name} | {row[0]:.2f} | {row[1]:.2f} | {row[2]:.2f} | {row[3]:,.0f} | {row[4]:,.0f} |")


if __name__ == "__main__":
    run()
