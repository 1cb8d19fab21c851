"""DSSE v1 (github.com/secure-systems-lab/dsse, protocol.md): what an envelope's signatures are over, and by whom."""

from __future__ import annotations

from fedsec_verify.decoding import from_base64
from fedsec_verify.findings import require
from fedsec_verify.formats import Envelope
from fedsec_verify.hashing import is_signature

PAYLOAD_TYPE = "application/vnd.in-toto+json"
IN_TOTO = "https://in-toto.io/Statement/v1"


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """PAE: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signers(envelope: Envelope, payload: bytes, file: str) -> tuple[str, ...]:
    """Who signed, as hex of public keys, in the envelope's order, each once; every signature has been verified.

    Raises:
        Refused: another type of payload, one signature that does not hold, or one signer twice.
    """
    require(envelope.payloadType == PAYLOAD_TYPE, file, f"a payload of type {PAYLOAD_TYPE}")
    message = pre_authentication(envelope.payloadType, payload)
    for signature in envelope.signatures:
        holds = is_signature(bytes.fromhex(signature.keyid), from_base64(signature.sig, file, "a signature"), message)
        require(holds, file, f"a signature over its payload by {signature.keyid[:16]}…")
    keys = tuple(signature.keyid for signature in envelope.signatures)
    require(len(set(keys)) == len(keys), file, "one signature of each signer")
    return keys
