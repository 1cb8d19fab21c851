"""The public form of a payload: what it says, without the name of a data set, of a holder or of a file's columns.

The hash of an entry covers the public form alone, so an extract that names nobody has the same chain, signatures and
heads as the ledger. It is itself a payload, which replays under the same rules to the same balances.

| field | in the public form |
| --- | --- |
| ``dataset`` | ``_`` and the first 62 hex digits of SHA-256 of the label, the salt, the holder and the data set |
| ``holder`` | ``_`` |
| ``layout`` | SHA-256 of the label, the salt and the layout; empty where it was empty |
| ``salt`` | empty |

Each part of a hash goes after its length as 8 bytes big-endian, texts in UTF-8. A holder who had two names with one
pseudonym could exchange them later, and a spent data set would look fresh: at 248 bits that takes 2^124 trials.

The salt is secret to whoever has only an extract, or names could be guessed by trying them. It is derived from the
signing key, so nothing more has to be kept, and one ledger has one: a data set has one pseudonym in all of its entries.
Where names are, a form without them is no use but to hide what was spent: a ledger holds full forms only
(:class:`dp.ledger.state.State`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from dp.ledger import labels
from dp.ledger.accounts import Account
from dp.ledger.payloads import BudgetSet, Naming, Payload, Refused, Reserved, SplitFixed, decode, encode
from fedsec.errors import LedgerError

Form: TypeAlias = Literal["full", "public"]
SALT_BYTES = 16
HIDDEN_HOLDER = "_"
_PSEUDONYM_DIGITS = 62  # and the underscore: an identifier has up to 64 characters
_PSEUDONYM = re.compile(rf"_[0-9a-f]{{{_PSEUDONYM_DIGITS}}}")
_SALT = re.compile(rf"[0-9a-f]{{{2 * SALT_BYTES}}}")


def salt_of(signing_key: Ed25519PrivateKey) -> str:
    """The salt of the ledger that ``signing_key`` signs: HMAC-SHA256 under its 32 bytes, 16 bytes of it, in hex."""
    return hmac.digest(signing_key.private_bytes_raw(), labels.SALT, "sha256")[:SALT_BYTES].hex()


def is_salt(text: str) -> bool:
    """Whether ``text`` has the form of a salt."""
    return _SALT.fullmatch(text) is not None


def public_form(payload: Payload) -> Payload:
    """``payload`` without names; itself where it holds none."""
    if not isinstance(payload, Naming) or not payload.salt:
        return payload
    salt = payload.salt
    match payload:
        case BudgetSet() | SplitFixed():
            hidden = _pseudonym(salt, payload.holder, payload.dataset)
            return replace(payload, holder=HIDDEN_HOLDER, dataset=hidden, salt="")
        case Refused():
            return replace(payload, account=_hidden(salt, payload.account), salt="")
        case Reserved():
            charges = tuple(replace(charge, account=_hidden(salt, charge.account)) for charge in payload.charges)
            layout = _digest(labels.LAYOUT_PSEUDONYM, salt.encode(), payload.layout) if payload.layout else b""
            return replace(payload, charges=charges, layout=layout, salt="")


def public_text(text: bytes) -> bytes:
    """The text of the public form of the payload that ``text`` is; ``text`` itself where it is no payload at all."""
    try:
        payload = decode(text, seq=0)
    except LedgerError:
        return text
    hidden = public_form(payload)
    return text if hidden is payload else encode(hidden)


def is_public(payload: Naming) -> bool:
    """Whether ``payload`` is in public form, all names in it pseudonyms."""
    return not payload.salt and all(
        holder == HIDDEN_HOLDER and _PSEUDONYM.fullmatch(dataset) for holder, dataset in _names(payload)
    )


def _names(payload: Naming) -> Iterator[tuple[str, str]]:
    match payload:
        case BudgetSet() | SplitFixed():
            yield payload.holder, payload.dataset
        case Refused():
            yield payload.account.holder, payload.account.dataset
        case Reserved():
            for charge in payload.charges:
                yield charge.account.holder, charge.account.dataset


def _hidden(salt: str, account: Account) -> Account:
    return replace(account, holder=HIDDEN_HOLDER, dataset=_pseudonym(salt, account.holder, account.dataset))


def _pseudonym(salt: str, holder: str, dataset: str) -> str:
    digest = _digest(labels.DATASET_PSEUDONYM, salt.encode(), holder.encode(), dataset.encode())
    return "_" + digest.hex()[:_PSEUDONYM_DIGITS]


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
