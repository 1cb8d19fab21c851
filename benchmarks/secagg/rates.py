"""How near masking and unmasking come to the cipher that they consist of, and what a second core brings.

Everything in a row is measured in turns, so that a busy machine slows all of it, and the fastest of its times counts.
What one core does is told in seconds of CPU, what two do in seconds on the clock.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.secagg.cipher import raw_seconds
from benchmarks.secagg.federation import NOISE_BOUND, RING_BITS, SATURATION, Federation
from fedsec.keystream import KEY_BYTES, KeyStream
from fl_engine.unmasking import SeveralCores
from secagg import masking
from secagg.packing import word_type
from secagg.unmasking import IN_PROCESS

DIMENSION = 1_000_000
COHORTS = {10: 30, 100: 10}  # clients, and how often each thing is measured
WIDTHS = (20, 22, 23, RING_BITS, 32)
WORD_BYTES = 4


@dataclass
class _Least:
    """Seconds of this process's CPU, and on the clock."""

    cpu: float = math.inf
    clock: float = math.inf

    def __str__(self) -> str:
        return f"{1e3 * self.cpu:.2f}"


def run() -> None:
    """Print three tables."""
    print(f"\none client, {DIMENSION:,} values, ms; shares of the raw rate\n")
    print("| clients | raw AES | masking.mask | share | Client.mask: also hash, sign, encode | share |")
    print("| --- | --- | --- | --- | --- | --- |")
    for clients, repeats in COHORTS.items():
        _print_client(clients, repeats)
    print(f"\nthe width of a value, 10 clients, ms; upload beside {DIMENSION:,} float32\n")
    print("| ring bits | masking.mask | share of the raw rate | upload |\n| --- | --- | --- | --- |")
    for bits in WIDTHS:
        _print_width(bits)
    print(f"\nthe server, masks of all clients off {DIMENSION:,} values, ms\n")
    print("| clients | raw AES | one core | share of the raw rate | one, clock | two, clock | speed-up |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for clients, repeats in COHORTS.items():
        _print_server(clients, repeats)


def _print_client(clients: int, repeats: int) -> None:
    federation = Federation(clients=clients, dimension=DIMENSION)
    federation.run(until="mask")

    def whole() -> None:  # A client masks once. It is forgotten then, with its reply: the next one gets its memory.
        federation.clients.pop().mask(federation.values)

    raw, alone = _in_turns(repeats, lambda: _raw(clients), lambda: _mask(federation, clients, RING_BITS))
    raw_beside, called = _in_turns(min(repeats, clients) - 1, lambda: _raw(clients), whole)
    print(f"| {clients} | {raw} | {alone} | {raw.cpu / alone.cpu:.2f} | {called} | {raw_beside.cpu / called.cpu:.2f} |")


def _print_width(bits: int) -> None:
    federation = Federation(clients=10, dimension=DIMENSION, bits=bits)
    federation.run()
    raw, alone = _in_turns(COHORTS[10], lambda: _raw(10), lambda: _mask(federation, 10, bits))
    print(f"| {bits} | {alone} | {raw.cpu / alone.cpu:.2f} | {federation.up / (4 * DIMENSION):.2f} |")


def _print_server(clients: int, repeats: int) -> None:
    keys = [os.urandom(KEY_BYTES) for _ in range(clients)]
    dtype = word_type(RING_BITS)
    with SeveralCores(2) as two:
        alone, shared = IN_PROCESS.zeros(DIMENSION, dtype), two.zeros(DIMENSION, dtype)
        raw, one, several = _in_turns(
            repeats,
            lambda: _raw(clients),
            lambda: IN_PROCESS.combine(alone, add=[], subtract=keys),
            lambda: two.combine(shared, add=[], subtract=keys),
        )
    print(
        f"| {clients} | {raw} | {one} | {raw.cpu / one.cpu:.2f} "
        f"| {1e3 * one.clock:.2f} | {1e3 * several.clock:.2f} | {one.clock / several.clock:.2f} |"
    )


def _raw(streams: int) -> None:
    raw_seconds(streams, WORD_BYTES * DIMENSION)


def _mask(federation: Federation, clients: int, bits: int) -> None:
    """As a client in the middle of the roster does."""
    streams = [KeyStream(os.urandom(KEY_BYTES)) for _ in range(clients)]
    middle = clients // 2
    masking.mask(
        federation.values,
        ring_bits=bits,
        bound=SATURATION + NOISE_BOUND,
        add=streams[:middle],
        subtract=streams[middle:],
    )


def _in_turns(repeats: int, *calls: Callable[[], None]) -> list[_Least]:
    """The least that each of ``calls`` took in so many turns, after one to warm up."""
    least = [_Least() for _ in calls]
    for turn in range(repeats + 1):
        for call, of in zip(calls, least, strict=True):
            clock, cpu = time.perf_counter(), time.process_time()
            call()
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            if turn:
                of.cpu, of.clock = min(of.cpu, cpu), min(of.clock, clock)
    return least
