"""A ledger whose every byte is fixed: each kind of payload, two holders, with and without a layout."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.events import DiscreteGaussianSum, NonPrivate, PoissonSampled
from dp.ledger import Account, Charge, Closing, sign_closing
from dp.ledger.entries import GENESIS, Entry, make_entry
from dp.ledger.keys import public_bytes
from dp.ledger.payloads import (
    BudgetSet,
    Burnt,
    Lost,
    Opened,
    Payload,
    Refused,
    Reserved,
    Settled,
    SplitFixed,
    decode,
)
from dp.ledger.public_form import public_text, salt_of

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COORDINATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
AT = "2026-03-14T10:15:00+00:00"
NAMES = ("fraud-2024", "cards.csv", "north-bank", "local")
LAYOUT = bytes(range(64, 96))
_TRAIN = Account(dataset=NAMES[0], part="train")
_OTHER = Account(holder=NAMES[2], dataset=NAMES[1], part="holdout")
_SUM = DiscreteGaussianSum(sensitivity=1e4, share_variance=1.875e9, shares=4, dimension=10)


def payloads() -> list[Payload]:
    """In an order that keeps every rule but the refusal's: its figures are invented, and no rule reads them."""
    salt = salt_of(SIGNER)
    training = Charge(account=_TRAIN, release="training", event=_SUM, count=50, eta=1e-25)
    charges = (
        training,
        Charge(account=_OTHER, release="training", event=PoissonSampled(rate=0.01, event=_SUM), count=50, eta=0.0),
        Charge(account=_OTHER, release="public-evaluation", event=NonPrivate(), count=1, eta=0.0),
    )
    closing = Closing(run="run-1", attempts={"training": 2, "public-evaluation": 0})
    reserved = {"coordinator": public_bytes(COORDINATOR), "private": True, "salt": salt, "at": AT}
    return [
        Opened(ledger="0123456789abcdef" * 2, public_key=public_bytes(SIGNER), at=AT),
        BudgetSet(holder="local", dataset=NAMES[0], epsilon=5.0, delta=1e-5, salt=salt, at=AT),
        SplitFixed(holder="local", dataset=NAMES[0], fraction=0.2, commitment=bytes(32), salt=salt, at=AT),
        Reserved(run="run-1", charges=charges, brands=("SIMULATED KEYS",), layout=LAYOUT, **reserved),
        Burnt(run="run-1", release="training", index=0, at=AT, mark="00" * 16),
        Settled(run="run-1", closing=sign_closing(COORDINATOR, closing), at=AT),
        Reserved(run="run-2", charges=(training,), brands=(), layout=b"", **reserved),
        Settled(run="run-2", closing=None, at=AT),
        Refused(
            run="run-3", account=_TRAIN, private=True, asked_epsilon=6.25, asked_eta=5e-24, spent_epsilon=3.5,
            budget_epsilon=5.0, delta=1e-5, salt=salt, at=AT,
        ),
        BudgetSet(holder=NAMES[2], dataset=NAMES[1], epsilon=1e16, delta=1e-5, salt=salt, at=AT),
        Lost(ledger=public_bytes(SIGNER), entry=12, hash=bytes(range(32)), at=AT),
    ]  # fmt: skip


def entries(changed: list[Payload] | None = None) -> list[Entry]:
    """The payloads, chained and signed."""
    result: list[Entry] = []
    for payload in payloads() if changed is None else changed:
        previous = result[-1].hash if result else GENESIS
        result.append(make_entry(SIGNER, seq=len(result), previous=previous, payload=payload))
    return result


def rows() -> list[dict[str, Any]]:
    """What is committed: both texts of each entry, its hash and its signature."""
    return [
        {
            "kind": type(decode(entry.payload, seq=entry.seq)).__struct_config__.tag,
            "full": entry.payload.decode(),
            "public": public_text(entry.payload).decode(),
            "hash": entry.hash.hex(),
            "signature": entry.signature.hex(),
        }
        for entry in entries()
    ]
