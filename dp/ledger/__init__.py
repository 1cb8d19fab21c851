"""The privacy budget ledger: charge before release, append-only, signed, replayed (docs/ledger.md).

The truth is one table of chained and signed entries. Balances, reservations and burns are derived from it by
replay; nothing else is stored that could disagree with it.
"""

from dp.ledger.accounts import Account, Balance, Charge
from dp.ledger.closing import Closing, SignedClosing, sign_closing
from dp.ledger.export import Export
from dp.ledger.heads import CountersignedHead, Head, add_heads, countersign, encode_heads, read_heads
from dp.ledger.history import ReleaseCount, RunHistory
from dp.ledger.ledger import DEFAULT_DELTA, Ledger
from dp.ledger.location import Location, resolve
from dp.ledger.payloads import Lost
from dp.ledger.public_form import Form
from dp.ledger.verification import Step, Verification, countersign_verified, verify_ledger

__all__ = [
    "DEFAULT_DELTA",
    "Account",
    "Balance",
    "Charge",
    "Closing",
    "CountersignedHead",
    "Export",
    "Form",
    "Head",
    "Ledger",
    "Location",
    "Lost",
    "ReleaseCount",
    "RunHistory",
    "SignedClosing",
    "Step",
    "Verification",
    "add_heads",
    "countersign",
    "countersign_verified",
    "encode_heads",
    "read_heads",
    "resolve",
    "sign_closing",
    "verify_ledger",
]
