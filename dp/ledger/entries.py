"""Ledger entries: payloads in a chain of hashes, each hash signed.

``hash = SHA-256(len(label) || label || seq || previous || len(text) || text)``, where ``text`` is the public form of
the payload (:mod:`dp.ledger.public_form`), lengths and ``seq`` 8 bytes big-endian; the signature is Ed25519 over the
hash under its own context label. ``previous`` of entry 0 is 32 zero bytes.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.ledger import labels
from dp.ledger.keys import sign, verifies
from dp.ledger.payloads import HASH_BYTES, Payload, encode
from dp.ledger.public_form import public_text

GENESIS = bytes(HASH_BYTES)
EARLIER_FORMAT = "has an earlier format, whose hashes cover the names of data sets: no damage, but it is not read"


class Entry(NamedTuple):
    """One row; ``seq`` counts from 0, ``previous`` and ``hash`` have 32 bytes, ``signature`` 64."""

    seq: int
    payload: bytes
    previous: bytes
    hash: bytes
    signature: bytes


def entry_hash(seq: int, previous: bytes, payload: bytes) -> bytes:
    """The 32-byte hash of an entry; each part has a fixed or prefixed length: no two share a text."""
    return _hash(labels.ENTRY_HASH, seq, previous, public_text(payload))


def make_entry(key: Ed25519PrivateKey, *, seq: int, previous: bytes, payload: Payload) -> Entry:
    """Encode, chain and sign ``payload`` as entry ``seq``.

    Raises:
        LocalProtocolError: the payload would not read back as it is (an infinite or not-a-number field, for
        one).
    """
    encoded = encode(payload)
    digest = entry_hash(seq, previous, encoded)
    return Entry(seq, encoded, previous, digest, sign(key, labels.ENTRY_SIGNATURE, digest))


def is_signed(entry: Entry, public_key: bytes) -> bool:
    """Whether ``public_key`` signed the entry's stored hash."""
    return verifies(public_key, entry.signature, labels.ENTRY_SIGNATURE, entry.hash)


def is_chained(entry: Entry, previous: bytes) -> bool:
    """Whether the entry follows ``previous`` and its stored hash is the hash of what it holds."""
    return entry.previous == previous and entry.hash == entry_hash(entry.seq, previous, entry.payload)


def is_of_before(first: Entry) -> bool:
    """Whether entry 0 is of the format before, whose hashes cover the names: recognised to be told, not read."""
    return first.hash == _hash(labels.EARLIER_ENTRY_HASH, 0, GENESIS, first.payload)


def _hash(label: bytes, seq: int, previous: bytes, text: bytes) -> bytes:
    parts = (_length_of(len(label)), label, _length_of(seq), previous, _length_of(len(text)), text)
    return hashlib.sha256(b"".join(parts)).digest()


def _length_of(number: int) -> bytes:
    return number.to_bytes(8, "big")
