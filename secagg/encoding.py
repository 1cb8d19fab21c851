"""Injective encoding of labelled fields, and SHA-256 over it.

``fields(label, f1, ..)`` is ``len(label) || label || len(f1) || f1 || ..`` with 8-byte big-endian lengths.
Two different (label, fields) never encode to the same bytes, so what is hashed or signed is unambiguous.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes

DIGEST_BYTES = 32


def number(value: int) -> bytes:
    """``value`` in ``[0, 2**64)`` as 8 big-endian bytes, the only form in which a number enters a hash."""
    return value.to_bytes(8, "big")


def numbers(values: Sequence[int]) -> bytes:
    """A list of numbers as one field: 8 big-endian bytes each."""
    return struct.pack(f">{len(values)}Q", *values)


def fields(label: bytes, *parts: bytes | memoryview) -> bytes:
    """The injective encoding of ``label`` and ``parts``."""
    return b"".join(piece for part in (label, *parts) for piece in (number(len(part)), part))


def digest(label: bytes, *parts: bytes | memoryview) -> bytes:
    """SHA-256 (FIPS 180-4) of :func:`fields`, 32 bytes; a long part is hashed where it lies, not copied."""
    hasher = hashes.Hash(hashes.SHA256())
    for part in (label, *parts):
        hasher.update(number(len(part)))
        hasher.update(part)
    return hasher.finalize()
