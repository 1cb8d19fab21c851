"""Peak memory of one client's masking and of the server, in a session of its own: tracing costs time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.secagg.federation import Federation, silent_streams
from fedsec.errors import RemoteProtocolError
from secagg.unmasking import InProcess

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Bytes.

    Attributes:
        client: what ``Client.mask`` allocates at most beside its caller's vector, its reply included.
        server: what the server holds at most from its accumulator on, the message that it is reading included.
    """

    client: int
    server: int


def peaks(*, clients: int, dimension: int) -> Peaks:
    """Of a session without dropouts; all clients but the first mask with silence, which takes the same memory."""
    federation = _Traced(clients=clients, dimension=dimension, unmasker=_TracedFromZeros())
    try:
        with suppress(RemoteProtocolError):  # the sum is out of range: not all masks are on it
            federation.run()
    finally:
        tracemalloc.stop()
    return Peaks(client=federation.client_peak, server=federation.server_peak)


class _TracedFromZeros(InProcess):
    def zeros(self, count: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        tracemalloc.start()
        return super().zeros(count, dtype)


class _Traced(Federation):
    client_peak = server_peak = 0

    def masked(self, index: int) -> bytes:
        if index:
            with silent_streams():
                return super().masked(index)
        before = _reset()
        reply = super().masked(index)
        self.client_peak = tracemalloc.get_traced_memory()[1] - before
        return reply

    def _serve(self, step: str, call: Callable[[], T]) -> T:
        _reset()
        try:
            return super()._serve(step, call)
        finally:
            self.server_peak = max(self.server_peak, tracemalloc.get_traced_memory()[1])


def _reset() -> int:
    """Begin a new peak; what is allocated now."""
    if not tracemalloc.is_tracing():
        return 0
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]
