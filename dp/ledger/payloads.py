"""What an entry of the ledger may say, and the one text that says it.

A payload is JSON with sorted keys, no blanks, bytes in base 64 and numbers in the shortest form that reads back. No
other text of it is read, so no two texts mean the same. Time stamps (``at``, ISO 8601, UTC) are information: no rule
reads them, so a clock that runs backwards does no harm.

Payloads that name a data set carry ``salt``, 32 hex digits, one and the same in all of a ledger. It hides the
names in the public form, where it is empty (:mod:`dp.ledger.public_form`).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from dp.ledger.accounts import Account, Charge
from dp.ledger.closing import SignedClosing
from fedsec.errors import FedsecError, LedgerError, LocalProtocolError

HASH_BYTES = 32


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
    salt: str
    at: str


class SplitFixed(msgspec.Struct, frozen=True, kw_only=True, tag="split-fixed", forbid_unknown_fields=True):
    """The holdout's fraction and a SHA-256 commitment to the secret split key; once per data set."""

    holder: str
    dataset: str
    fraction: float
    commitment: bytes
    salt: str
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
    salt: str
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
    salt: str
    at: str


class Burnt(msgspec.Struct, frozen=True, kw_only=True, tag="burnt", forbid_unknown_fields=True):
    """One attempt of ``release``, durable before its masked input leaves; ``index`` numbers attempts.

    ``mark`` is random, 32 hex digits: without it two processes that burn one attempt in one second would make the same
    entry, and one whose commit was cut off would take the other's for its own.
    """

    run: str
    release: str
    index: int
    at: str
    mark: str


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


Naming: TypeAlias = BudgetSet | SplitFixed | Reserved | Refused  # those that name a data set
Payload: TypeAlias = Opened | Naming | Burnt | Settled | Lost

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER: msgspec.json.Decoder[Payload] = msgspec.json.Decoder(Payload)


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
    """Read a payload back, strictly: unknown fields, missing fields and any text but the canonical one are refused.

    Raises:
        LedgerError: it is no payload of this version.
    """
    try:
        payload = _DECODER.decode(data)
        canonical = _ENCODER.encode(payload) == data
    except (msgspec.MsgspecError, FedsecError, ValueError, RecursionError) as error:
        raise LedgerError(f"entry {seq} of the ledger is not readable: {error}", entry=seq) from error
    if not canonical:
        raise LedgerError(
            f"entry {seq} of the ledger is not written in the one way that its format allows, so two readers could "
            "read it differently",
            entry=seq,
        )
    return payload
