"""What makes a round reproducible for vectors: counted randomness, and a list of what encapsulations gave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from secagg import kem
from secagg.config import CLASSICAL, HYBRID

FOLDER = Path(__file__).parent / "vectors"
VICTIM = 0
SMALL: dict[str, Any] = {"dimension": 5, "ring_bits": 21, "key_exchange": CLASSICAL}


class Encapsulations:
    """Stands in for :func:`secagg.kem.encapsulate`: replays a list of its results, or makes one."""

    def __init__(self, recorded: list[list[str]] | None = None) -> None:
        self.made: list[list[str]] = []
        self._recorded = recorded
        self._really = kem.encapsulate

    def __call__(self, public: bytes) -> tuple[bytes, bytes]:
        if self._recorded is None:
            secret, ciphertext = self._really(public)
        else:
            secret, ciphertext = (bytes.fromhex(part) for part in self._recorded[len(self.made)])
        self.made.append([secret.hex(), ciphertext.hex()])
        return secret, ciphertext


@contextmanager
def counted_randomness() -> Iterator[None]:
    """``os.urandom`` gives blocks SHA-256("fedsec test entropy" || counter); a call starts at a new block."""
    counter = 0

    def draw(size: int) -> bytes:
        nonlocal counter
        out = b""
        while len(out) < size:
            out += hashlib.sha256(b"fedsec test entropy" + counter.to_bytes(8, "big")).digest()
            counter += 1
        return out[:size]

    with mock.patch("os.urandom", draw):
        yield


@contextmanager
def deterministic(key_exchange: str) -> Iterator[None]:
    """Counted randomness and, in the hybrid, the encapsulations of ``hybrid.json``: five banks that all deal."""
    recorded = json.loads((FOLDER / "hybrid.json").read_text())["encapsulations"] if key_exchange == HYBRID else []
    with counted_randomness(), mock.patch.object(kem, "encapsulate", Encapsulations(recorded)):
        yield
