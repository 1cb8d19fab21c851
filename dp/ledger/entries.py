"""Ledger entries: the payloads, their canonical encoding, the hash chain and the signature.

``hash = SHA-256(len(label) || label || seq || previous || len(payload) || payload)``, lengths and ``seq`` as
8 bytes big-endian; the signature is Ed25519 over the hash under its own context label. ``previous`` of entry
0 is 32 zero bytes. Time stamps (``at``, ISO 8601, UTC) are information: no rule reads them, so a clock that
runs backwards does no harm.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.ledger import labels
from dp.ledger.accounts import Account, Charge
from dp.ledger.closing import SignedClosing
from dp.ledger.keys import sign, verifies
from fedsec.errors import FedsecError, LedgerError, LocalProtocolError

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened", forbid_unknown_fields=True):
    """Entry 0 and no other: a random ledger id (hex) and the 32-byte public key that signs every entry."""

    ledger: str
    public_key: bytes
    at: str


class BudgetSet(msgspec.Struct, frozen=True, kw_only=True, tag="budget-set", forbid_unknown_fields=True):
    """From here on each part of ``dataset`` may spend this much in all, earlier runs included."""

    holder: str
    dataset: str
    epsilon: float
    delta: float
    at: str


class SplitFixed(msgspec.Struct, frozen=True, kw_only=True, tag="split-fixed", forbid_unknown_fields=True):
    """The holdout's fraction and a SHA-256 commitment to the secret split key; once per data set."""

    holder: str
    dataset: str
    fraction: float
    commitment: bytes
    at: str


class Reserved(msgspec.Struct, frozen=True, kw_only=True, tag="reserved", forbid_unknown_fields=True):
    """The whole plan of a run, charged in full until it is settled.

    Attributes:
        run: identifier, used once.
        charges: at most one per account and release.
        coordinator: 32-byte Ed25519 public key of who may sign the closing statement.
        private: False for a run without its noise: whatever it releases makes the account's total unbounded.
        brands: warnings that the run carries.
        layout: 32-byte digest of the columns that a record's side of the split depends on; empty where there are none.
    """

    run: str
    charges: tuple[Charge, ...]
    coordinator: bytes
    private: bool
    brands: tuple[str, ...]
    layout: bytes
    at: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", forbid_unknown_fields=True):
    """A plan that ``account`` could not pay: nothing was charged. ``None`` stands for unbounded.

    ``asked_epsilon`` and ``asked_eta`` are what the account would have reached: its epsilon at ``delta``, and the
    summed statistical distance of the noise. ``private`` is the plan's.
    """

    run: str
    account: Account
    private: bool
    asked_epsilon: float | None
    asked_eta: float
    spent_epsilon: float | None
    budget_epsilon: float
    delta: float
    at: str


class Burnt(msgspec.Struct, frozen=True, kw_only=True, tag="burnt", forbid_unknown_fields=True):
    """One attempt of ``release``, durable before its masked input leaves; ``index`` numbers attempts.

    ``mark`` is random, 32 hex digits: without it two processes that burn one attempt in one second would make the same
    entry, and one whose commit was cut off would take the other's for its own. Empty in entries made before it.
    """

    run: str
    release: str
    index: int
    at: str
    mark: str = ""


class Settled(msgspec.Struct, frozen=True, kw_only=True, tag="settled", forbid_unknown_fields=True):
    """The end of a run: on the coordinator's statement, or in full where there is none."""

    run: str
    closing: SignedClosing | None
    at: str


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost", forbid_unknown_fields=True):
    """Countersigned entries are lost for good, and what they charged is not known: every account is unbounded since.

    Attributes:
        ledger: 32-byte public key of the ledger that lost them: this one, or one that stood in its place.
        entry: number of the last of them that is known; hash: its 32 bytes.
    """

    ledger: bytes
    entry: int
    hash: bytes
    at: str


Payload: TypeAlias = Opened | BudgetSet | SplitFixed | Reserved | Refused | Burnt | Settled | Lost

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER: msgspec.json.Decoder[Payload] = msgspec.json.Decoder(Payload)


class Entry(NamedTuple):
    """One row; ``seq`` counts from 0, ``previous`` and ``hash`` have 32 bytes, ``signature`` 64."""

    seq: int
    payload: bytes
    previous: bytes
    hash: bytes
    signature: bytes


def entry_hash(seq: int, previous: bytes, payload: bytes) -> bytes:
    """The 32-byte hash of an entry; each part has a fixed or prefixed length: no two share a text."""
    digest = hashlib.sha256()
    for part in (
        _length(labels.ENTRY_HASH),
        labels.ENTRY_HASH,
        _length_of(seq),
        previous,
        _length(payload),
        payload,
    ):
        digest.update(part)
    return digest.digest()


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


def encode(payload: Payload) -> bytes:
    """Canonical JSON: keys sorted, no blanks, bytes in base 64, numbers in the shortest form that reads back.

    Raises:
        LocalProtocolError: the payload would not read back as it is.
    """
    try:
        readable = _DECODER.decode(_ENCODER.encode(payload))
    except (msgspec.MsgspecError, FedsecError, UnicodeError) as error:
        raise LocalProtocolError(f"this cannot be written to the ledger: {error}") from error
    return _ENCODER.encode(readable)  # once more: a whole number in a float field gets its ".0"


def decode(data: bytes, *, seq: int) -> Payload:
    """Read a payload back, strictly: unknown fields, missing fields and doubled keys are refused.

    Raises:
        LedgerError: it is no payload of this version.
    """
    try:
        json.loads(data, object_pairs_hook=_without_doubles)
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, FedsecError, ValueError, RecursionError) as error:
        raise LedgerError(f"entry {seq} of the ledger is not readable: {error}", entry=seq) from error


def _without_doubles(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice, so two readers could read it differently")


def _length(data: bytes) -> bytes:
    return _length_of(len(data))


def _length_of(number: int) -> bytes:
    return number.to_bytes(8, "big")
