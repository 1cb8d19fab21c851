"""Whole rounds: cohorts of 10, 50 and 100, vectors of 10^5 to 10^7 values, 0, 10 and 30 % of the clients dropped.

Dropped clients fall silent at the masked input, which costs the server most: it takes off every mask that they share
with a survivor. In cohorts that would take minutes, three clients mask as they do, and the others with silence; they
do everything else. What the server does is the same, up to the sum, which it then has to refuse.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.secagg.cipher import raw_seconds
from benchmarks.secagg.federation import RING_BITS, STEPS, Federation, silent_streams
from benchmarks.secagg.memory import peaks
from fedsec.errors import RemoteProtocolError
from secagg.unmasking import InProcess

CLIENTS = (10, 50, 100)
DIMENSIONS = (100_000, 1_000_000, 10_000_000)
DROPPED = (0.0, 0.1, 0.3)
SAMPLE = 3
WHOLE_BYTES = 50e9  # of key stream of a whole cohort
RAW_STREAMS = 100  # of the server's; what more would take is computed
WORD_BYTES = 4


def run() -> None:
    """Print the table."""
    print(f"\nwhole rounds, {RING_BITS} bits a value, seconds of one core; 'AES' is raw AES-256-CTR of as many bytes\n")
    heads = ("n", "d", "dropped", "client", "AES", "server", "of it unmasking", "streams", "AES", "up MB", "down kB")
    print("| " + " | ".join((*heads, "client peak MB", "server peak MB", "clients measured, sum")) + " |")
    print("| --- " * (len(heads) + 3) + "|")
    for clients in CLIENTS:
        for dimension in DIMENSIONS:
            peak = peaks(clients=clients, dimension=dimension)
            memory = (f"{peak.client / 1e6:.1f}", f"{peak.server / 1e6:.1f}")
            for share in DROPPED:
                *figures, measured = _cell(clients, dimension, round(share * clients))
                name = (str(clients), f"{dimension:,}", f"{share:.0%}")
                print("| " + " | ".join((*name, *figures, *memory, measured)) + " |", flush=True)


class _Timed(InProcess):
    """In process, with the seconds and the streams that it took."""

    seconds = 0.0
    streams = 0

    def combine(self, words: NDArray[np.unsignedinteger], *, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
        start = time.process_time()
        super().combine(words, add=add, subtract=subtract)
        self.seconds += time.process_time() - start
        self.streams += len(add) + len(subtract)


def _cell(clients: int, dimension: int, dropped: int) -> tuple[str, ...]:
    timed = _Timed()
    whole = clients**2 * dimension * WORD_BYTES <= WHOLE_BYTES
    federation = (Federation if whole else _Sampled)(clients=clients, dimension=dimension, unmasker=timed)
    federation.run(dropped=dropped)
    size = dimension * WORD_BYTES
    raw = min(raw_seconds(clients, size) for _ in range(2))
    taken = min(timed.streams, RAW_STREAMS)
    raw_server = raw_seconds(taken, size) * timed.streams / taken
    client = sum(statistics.median(federation.client_seconds[step]) for step in STEPS)
    return (
        f"{client:.4f}",
        f"{raw:.4f}",
        f"{sum(federation.server_seconds.values()):.3f}",
        f"{timed.seconds:.3f}",
        f"{timed.streams:,}",
        f"{raw_server:.3f}",
        f"{federation.up / 1e6:.3f}",
        f"{federation.down / 1e3:.0f}",
        "all, right" if whole else f"{SAMPLE}, refused",
    )


class _Sampled(Federation):
    def masked(self, index: int) -> bytes:
        if index < SAMPLE:
            return super().masked(index)
        with silent_streams():
            return self.clients[index].mask(self.values)

    def run(self, *, until: str = "", dropped: int = 0) -> None:
        try:
            super().run(until=until, dropped=dropped)
        except RemoteProtocolError as error:
            if error.rule != "range":
                raise
        else:
            raise RuntimeError("a sum of unmasked inputs was opened")
