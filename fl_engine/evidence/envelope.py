"""DSSE envelopes (github.com/secure-systems-lab/dsse, version 1), signed with Ed25519.

What is signed begins with "DSSEv1 ", as no labelled field of :mod:`secagg.encoding` can, whose first eight bytes are a
length: so a signature of an identity on an envelope is never one on a message of the protocol, nor the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from secagg.identity import Identity

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign(payload: bytes, identity: Identity) -> bytes:
    """The 64-byte signature of ``identity`` on an envelope with ``payload``."""
    private = Ed25519PrivateKey.from_private_bytes(identity.private_bytes())
    public = SSlibKey.from_crypto(private.public_key(), keyid=identity.public_key.hex())
    signed = Envelope(payload, PAYLOAD_TYPE, {}).sign(CryptoSigner(private, public))
    return bytes.fromhex(signed.signature)


def is_signed(payload: bytes, public_key: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s (32 bytes) on an envelope with ``payload``."""
    key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public_key), keyid=public_key.hex())
    signed = {key.keyid: Signature(key.keyid, signature.hex())}
    try:
        Envelope(payload, PAYLOAD_TYPE, signed).verify([key], 1)
    except VerificationError:
        return False
    return True


def seal(payload: bytes, signatures: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The envelope's file: ``payload`` with ``(public key, signature)`` of each signer, in this order."""
    signed = {key.hex(): Signature(key.hex(), signature.hex()) for key, signature in signatures}
    return json.dumps(Envelope(payload, PAYLOAD_TYPE, signed).to_dict(), indent=1).encode() + b"\n"
