"""The key schedule: X25519 (RFC 7748), HKDF-SHA-256 (RFC 5869), AES-256-GCM (SP 800-38D).

| key | from | salt | info |
| --- | --- | --- | --- |
| mask key pair of u | a_u | none | KEY_MASK |
| ciphertext key u -> v | X25519(c_u, c_v) [, ML-KEM secret of u for v] | T1 | KEY_SHARE, u, v, H(its ciphertext) |
| key stream of {u, v} | X25519(s_u, s_v) [, r_uv] | T2 | KEY_PAIR, min(u, v), max(u, v) |
| key stream of u itself | b_u | T2 | KEY_SELF |

What stands in brackets is the hybrid's (:mod:`secagg.kem`); both halves are 32 bytes, so their concatenation is
unambiguous. Each derived key has one use. A ciphertext key encrypts one message ever (T1 holds both fresh public
keys and a client answers a step once), hence the constant nonce.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg import labels
from secagg.encoding import digest, fields, number

SEED_BYTES = 32
TAG_BYTES = 16
_NONCE = bytes(12)
_CURVE_PRIME = 2**255 - 19


def private_key(private: bytes) -> X25519PrivateKey:
    """The X25519 key of 32 random bytes."""
    return X25519PrivateKey.from_private_bytes(private)


def public_bytes(private: X25519PrivateKey) -> bytes:
    """The 32-byte public key."""
    return private.public_key().public_bytes_raw()


def agree(private: X25519PrivateKey, public: bytes) -> bytes | None:
    """The 32-byte X25519 secret, or ``None`` for a public key to be refused.

    Refused are encodings of numbers not below 2^255 - 19 (a second spelling of another key) and points of
    low order, for which the secret would be all zeros whatever ``private`` is (RFC 7748 section 6.1).
    """
    if int.from_bytes(public, "little") >= _CURVE_PRIME:
        return None
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


def is_sound(public: bytes) -> bool:
    """Whether :func:`agree` would accept ``public``, whoever asks."""
    return agree(private_key(os.urandom(SEED_BYTES)), public) is not None


def mask_private_key(seed: bytes) -> X25519PrivateKey:
    """The mask key pair of a_u (32 bytes)."""
    return X25519PrivateKey.from_private_bytes(derive(seed, None, fields(labels.KEY_MASK)))


def ciphertext_key(secret: bytes, t1: bytes, sender: int, receiver: int, kem: bytes = b"") -> bytes:
    """The AES-256-GCM key from ``sender`` to ``receiver``.

    Args:
        secret: their X25519 secret, in the hybrid followed by the ML-KEM secret.
        kem: the ciphertext that carried the ML-KEM secret, so that the key stands for the whole exchange.
    """
    carried = digest(labels.SHARE_KEM, kem)
    return derive(secret, t1, fields(labels.KEY_SHARE, number(sender), number(receiver), carried))


def pair_key(secret: bytes, t2: bytes, one: int, other: int) -> bytes:
    """The stream key that the clients ``one`` and ``other`` share; symmetric in them.

    ``secret`` is their X25519 secret, in the hybrid followed by r_uv. T2 stands for all that carried them.
    """
    return derive(secret, t2, fields(labels.KEY_PAIR, number(min(one, other)), number(max(one, other))))


def self_key(seed: bytes, t2: bytes) -> bytes:
    """The stream key of b_u (32 bytes)."""
    return derive(seed, t2, fields(labels.KEY_SELF))


def commitment(kid: bytes, index: int, seed: bytes) -> bytes:
    """The 32-byte commitment of client ``index`` to its b_u; hiding because b_u is 32 random bytes."""
    return digest(labels.COMMITMENT, kid, number(index), seed)


def seal(key: bytes, plaintext: bytes, data: bytes) -> bytes:
    """AES-256-GCM under a key that is used for this one message."""
    return AESGCM(key).encrypt(_NONCE, plaintext, data)


def unseal(key: bytes, ciphertext: bytes, data: bytes) -> bytes | None:
    """The plaintext, or ``None`` if the ciphertext or the associated data is not what was sealed."""
    try:
        return AESGCM(key).decrypt(_NONCE, ciphertext, data)
    except InvalidTag:
        return None


def derive(secret: bytes, salt: bytes | None, info: bytes, *, length: int = 32) -> bytes:
    """HKDF-SHA-256 (RFC 5869); ``info`` are labelled fields that name the one use of the result."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
