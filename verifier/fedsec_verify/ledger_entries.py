"""Entries of the privacy ledger as docs/ledger.md fixes them: payloads, hash chain, signatures, countersigned heads.

An extract holds the entries in their public form: no data set, holder or layout can be read from it, and no salt.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedsec_verify.formats import Event

ENTRY_HASH = b"fedsec ledger v2: entry hash"
ENTRY_SIGNATURE = b"fedsec ledger v1: entry signature"
CLOSING_SIGNATURE = b"fedsec ledger v1: coordinator's closing statement"
HEAD_SIGNATURE = b"fedsec ledger v1: countersigned head"

Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Hex64 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Part = Literal["train", "holdout"]
_PUBLIC_DATASET = re.compile(r"_[0-9a-f]{62}")


class LedgerError(ValueError):
    """An entry cannot be read, or breaks a rule."""


class AccountName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One budget: a holder's data set, one part of its split."""

    holder: Name = "local"
    dataset: Name
    part: Part


class Charge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``count`` planned openings of ``event`` on an account; ``eta``: distance of one opening's noise from ideal."""

    account: AccountName
    release: Name
    event: Event
    count: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    eta: Annotated[float, msgspec.Meta(ge=0, lt=1e300)]


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened", forbid_unknown_fields=True):
    """Entry 0: a random id, and the key that signs every entry."""

    ledger: str
    public_key: Key
    at: str


class BudgetSet(msgspec.Struct, frozen=True, kw_only=True, tag="budget-set", forbid_unknown_fields=True):
    """From here on each part of the data set may spend this in all."""

    holder: Name
    dataset: Name
    epsilon: Annotated[float, msgspec.Meta(gt=0, lt=1e300)]
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    at: str
    salt: str


class SplitFixed(msgspec.Struct, frozen=True, kw_only=True, tag="split-fixed", forbid_unknown_fields=True):
    """The first fraction held out, and a commitment to the key that splits."""

    holder: Name
    dataset: Name
    fraction: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    commitment: bytes
    at: str
    salt: str


class Reserved(msgspec.Struct, frozen=True, kw_only=True, tag="reserved", forbid_unknown_fields=True):
    """The whole plan of a run, charged in full until it is settled."""

    run: Name
    charges: tuple[Charge, ...]
    coordinator: Key
    private: bool
    brands: tuple[str, ...]
    layout: bytes
    at: str
    salt: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", forbid_unknown_fields=True):
    """A plan that an account could not pay: nothing was charged."""

    run: Name
    account: AccountName
    private: bool
    asked_epsilon: float | None
    asked_eta: float
    spent_epsilon: float | None
    budget_epsilon: float
    delta: float
    at: str
    salt: str


class Burnt(msgspec.Struct, frozen=True, kw_only=True, tag="burnt", forbid_unknown_fields=True):
    """One attempt of a release, durable before its masked input leaves."""

    run: Name
    release: str
    index: int
    at: str
    mark: str


class Closing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run attempted in all, by release."""

    run: str
    attempts: dict[str, int]


class SignedClosing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A closing statement with the coordinator's signature."""

    closing: Closing
    signature: bytes

    def signed_by(self, public_key: bytes) -> bool:
        """Whether ``public_key`` signed it."""
        return signed(public_key, self.signature, CLOSING_SIGNATURE, _ENCODER.encode(self.closing))


class Settled(msgspec.Struct, frozen=True, kw_only=True, tag="settled", forbid_unknown_fields=True):
    """The end of a run."""

    run: Name
    closing: SignedClosing | None
    at: str


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost", forbid_unknown_fields=True):
    """Entries are lost for good: every account is unbounded since."""

    ledger: Key
    entry: Annotated[int, msgspec.Meta(ge=0)]
    hash: Key
    at: str


Payload: TypeAlias = Opened | BudgetSet | SplitFixed | Reserved | Refused | Burnt | Settled | Lost

_ENCODER = msgspec.json.Encoder(order="sorted")
_PAYLOADS: msgspec.json.Decoder[Payload] = msgspec.json.Decoder(Payload)


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry in an extract."""

    seq: int
    payload: str
    hash: Hex32
    signature: Hex64


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last entry of a ledger at some moment, with the ledger's own signature on it."""

    ledger: Hex32
    entry: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    hash: Hex32
    signature: Hex64


class Countersignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who saw a head, when by its own clock, and its signature on both."""

    signer: Hex32
    at: Annotated[str, msgspec.Meta(pattern=r"\A[0-9TZ:+.-]{1,40}\Z")]
    signature: Hex64


class CountersignedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head and everybody who countersigned it."""

    head: Head
    countersigned: Annotated[tuple[Countersignature, ...], msgspec.Meta(min_length=1)]

    def signers(self) -> frozenset[str]:
        """The keys, hex, whose signatures hold; none where the head is not the ledger's own.

        Raises:
            LedgerError: one signature does not hold.
        """
        head = self.head
        raw = bytes.fromhex(head.ledger) + head.entry.to_bytes(8, "big") + bytes.fromhex(head.hash + head.signature)
        key, own = bytes.fromhex(head.ledger), bytes.fromhex(head.signature)
        if not signed(key, own, ENTRY_SIGNATURE, bytes.fromhex(head.hash)):
            raise LedgerError(f"the head at entry {head.entry} is not signed by the ledger that it names")
        for line in self.countersigned:
            witness, signature = bytes.fromhex(line.signer), bytes.fromhex(line.signature)
            if not signed(witness, signature, HEAD_SIGNATURE, raw + line.at.encode()):
                raise LedgerError(f"the countersignature of {line.signer[:16]} at entry {head.entry} does not hold")
        return frozenset(line.signer for line in self.countersigned)


class HeadsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``ledger-heads.json``."""

    version: Literal[1]
    heads: tuple[CountersignedHead, ...]


class Extract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``evidence/ledger.json``: every entry in public form."""

    version: Literal[1]
    form: Literal["public"]
    public_key: Hex32
    entries: tuple[Line, ...]
    heads: tuple[CountersignedHead, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry that was read; ``hash`` has 32 bytes."""

    seq: int
    payload: Payload
    hash: bytes
    signature: bytes


def signed(public_key: bytes, signature: bytes, label: bytes, message: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s over the label, its length before it in one byte, and ``message``."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, bytes([len(label)]) + label + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def entry_hash(seq: int, previous: bytes, payload: bytes) -> bytes:
    """The 32-byte hash of an entry."""
    parts = (len(ENTRY_HASH).to_bytes(8, "big"), ENTRY_HASH, seq.to_bytes(8, "big"), previous)
    return hashlib.sha256(b"".join(parts) + len(payload).to_bytes(8, "big") + payload).digest()


def read_chain(extract: Extract) -> tuple[Entry, ...]:
    """The entries of an extract: numbered, chained, signed by one key, in public form, spelled in the one way.

    Raises:
        LedgerError: names the first entry that is not, and what was expected.
    """
    public_key = bytes.fromhex(extract.public_key)
    previous, entries = bytes(32), []
    for number, line in enumerate(extract.entries):
        where = f"entry {number}"
        if line.seq != number:
            raise LedgerError(f"{where}: entry {line.seq} stands in its place")
        raw, digest, signature = line.payload.encode(), bytes.fromhex(line.hash), bytes.fromhex(line.signature)
        if digest != entry_hash(number, previous, raw):
            raise LedgerError(f"{where}: its hash is not that of its content and its predecessor")
        if not signed(public_key, signature, ENTRY_SIGNATURE, digest):
            raise LedgerError(f"{where}: it is not signed by the ledger's key {extract.public_key}")
        try:
            payload = _PAYLOADS.decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise LedgerError(f"{where}: it cannot be read: {error}") from None
        if _ENCODER.encode(payload) != raw:
            raise LedgerError(f"{where}: it is not written in the one way that its format allows")
        if not is_public(payload):
            raise LedgerError(f"{where}: it is not in public form, so it may name a data set")
        entries.append(Entry(seq=number, payload=payload, hash=digest, signature=signature))
        previous = digest
    return tuple(entries)


def is_public(payload: Payload) -> bool:
    """Whether an entry tells neither data set nor holder nor salt."""
    if getattr(payload, "salt", ""):
        return False
    match payload:
        case BudgetSet() | SplitFixed():
            named = [(payload.holder, payload.dataset)]
        case Reserved():
            named = [(charge.account.holder, charge.account.dataset) for charge in payload.charges]
        case Refused():
            named = [(payload.account.holder, payload.account.dataset)]
        case _:
            named = []
    return all(holder == "_" and _PUBLIC_DATASET.fullmatch(dataset) for holder, dataset in named)
