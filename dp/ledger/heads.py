"""Countersigned heads: what somebody else signed that the last entry of a ledger was.

Whoever holds the ledger's signing key can cut off its end, put an older copy back or rewrite all of it, and sign
what is left: the file alone then shows nothing. A head that somebody else keeps shows it
(:mod:`dp.ledger.agreement`). A head holds the ledger's own signature on the entry, so no witness can invent one.

A heads file is JSON, ``{"version": 1, "heads": [...]}``, keys sorted; each head stands once, with everybody who
countersigned it. Keys, hashes and signatures are lower-case hex.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.ledger import labels
from dp.ledger.entries import Entry
from dp.ledger.keys import public_bytes, sign, verifies, write_durably
from fedsec.errors import ConfigError

HEADS_NAME = "ledger-heads.json"
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Hex64 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Time = Annotated[str, msgspec.Meta(pattern=r"\A[0-9TZ:+.-]{1,40}\Z")]


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last entry of a ledger at some moment.

    Attributes:
        ledger: 32-byte public key that signs its entries; it identifies the ledger.
        entry: number of the entry, from 0; hash: its 32 bytes, which cover all entries before it.
        signature: the ledger's own, 64 bytes, as it stands in the entry.
    """

    ledger: Hex32
    entry: Number
    hash: Hex32
    signature: Hex64


class Countersignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who saw the head: 32-byte Ed25519 key, time (ISO 8601, by the signer's clock), 64-byte signature on both."""

    signer: Hex32
    at: Time
    signature: Hex64


class CountersignedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head with everybody who countersigned it, at least one."""

    head: Head
    countersigned: Annotated[tuple[Countersignature, ...], msgspec.Meta(min_length=1)]


class _HeadsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1] = 1
    heads: tuple[CountersignedHead, ...]


_ENCODER = msgspec.json.Encoder(order="sorted")


def head_of(entry: Entry, public_key: bytes) -> Head:
    """``entry`` as the head of the ledger with the 32-byte ``public_key``."""
    return Head(ledger=public_key.hex(), entry=entry.seq, hash=entry.hash.hex(), signature=bytes(entry.signature).hex())


def countersign(head: Head, keys: Iterable[Ed25519PrivateKey], *, at: str) -> CountersignedHead:
    """``head``, signed by each of ``keys`` (at least one) at the time ``at``."""
    message = _message(head, at)
    signed = tuple(
        Countersignature(
            signer=public_bytes(key).hex(), at=at, signature=sign(key, labels.HEAD_SIGNATURE, message).hex()
        )
        for key in keys
    )
    return CountersignedHead(head=head, countersigned=signed)


def merged(heads: Iterable[CountersignedHead]) -> tuple[CountersignedHead, ...]:
    """Each head once, by ledger and entry, with its signers, each at its first time."""
    found: dict[Head, dict[str, Countersignature]] = {}
    for countersigned in heads:
        signers = found.setdefault(countersigned.head, {})
        for signature in countersigned.countersigned:
            known = signers.get(signature.signer)
            if known is None or signature.at < known.at:
                signers[signature.signer] = signature
    ordered = sorted(found, key=lambda head: (head.ledger, head.entry, head.hash))
    return tuple(
        CountersignedHead(head=head, countersigned=tuple(signers[name] for name in sorted(signers)))
        for head in ordered
        for signers in (found[head],)
    )


def encode_heads(heads: Iterable[CountersignedHead]) -> bytes:
    """The heads file of ``heads``, merged."""
    return msgspec.json.format(_ENCODER.encode(_HeadsFile(heads=merged(heads))), indent=1) + b"\n"


def decode_heads(data: bytes, *, origin: str) -> tuple[CountersignedHead, ...]:
    """The heads in a heads file, every signature checked; ``origin`` names the file in an error.

    Raises:
        ConfigError: it is no heads file, or a signature in it does not hold.
    """
    try:
        heads = msgspec.json.decode(data, type=_HeadsFile).heads
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ConfigError(
            f"{origin} is damaged, or no file of countersigned heads: {error}", remedy="get it anew from who signed it"
        ) from error
    check_heads(heads, origin=origin)
    return heads


def check_heads(heads: Iterable[CountersignedHead], *, origin: str) -> None:
    """Check the signatures of the ledger and of each witness.

    Raises:
        ConfigError: one does not hold.
    """
    for countersigned in heads:
        head = countersigned.head
        if not verifies(*_raw(head.ledger, head.signature), labels.ENTRY_SIGNATURE, bytes.fromhex(head.hash)):
            raise _forged(origin, f"the head at entry {head.entry} is not signed by the ledger that it names")
        for signature in countersigned.countersigned:
            message = _message(head, signature.at)
            if not verifies(*_raw(signature.signer, signature.signature), labels.HEAD_SIGNATURE, message):
                raise _forged(
                    origin, f"the countersignature of {signature.signer[:16]} at entry {head.entry} does not hold"
                )


def read_heads(path: Path) -> tuple[CountersignedHead, ...]:
    """The heads in a heads file, or in that of a run's directory.

    Raises:
        ConfigError: there is none, it is damaged, or a signature in it does not hold.
    """
    file = path / HEADS_NAME if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the heads {file} cannot be read: {error.strerror}",
            remedy="name a file of countersigned heads, or a run's directory",
        ) from error
    return decode_heads(data, origin=str(file))


def add_heads(path: Path, heads: Iterable[CountersignedHead]) -> None:
    """Add ``heads``, all of one ledger, to the heads file ``path``, which is made where it is missing; durably.

    Raises:
        ConfigError: the file is there and no heads file, or of another ledger, or it cannot be written.
    """
    joined = [*(read_heads(path) if path.exists() else ()), *heads]
    if len({line.head.ledger for line in joined}) > 1:
        raise ConfigError(
            f"{path} holds a head of another ledger, so verify would take either ledger for a replaced one",
            remedy="name another file: one for each ledger",
        )
    try:
        write_durably(path, encode_heads(joined))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", remedy="name a file in a folder of your own"
        ) from error


def _message(head: Head, at: str) -> bytes:
    """What a witness signs: four parts of fixed length, then the time."""
    number = head.entry.to_bytes(8, "big")
    return bytes.fromhex(head.ledger) + number + bytes.fromhex(head.hash + head.signature) + at.encode()


def _raw(*values: str) -> tuple[bytes, bytes]:
    key, signature = map(bytes.fromhex, values)
    return key, signature


def _forged(origin: str, what: str) -> ConfigError:
    return ConfigError(f"{origin}: {what}", remedy="somebody changed the file; get it anew from who signed it")
