"""Masks, from their seeds: X25519, ML-KEM-768, HKDF-SHA-256 and AES-256-CTR as docs/protocol.md ("Keys") has them."""

from __future__ import annotations

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from fedsec_verify.formats import Pair
from fedsec_verify.hashing import (
    KEY_MASK,
    KEY_MASK_KEM,
    KEY_PAIR,
    KEY_PAIR_SEAL,
    KEY_PAIR_SECRET,
    KEY_SELF,
    PAIR_DATA,
    fields,
    number,
)

_TILE = 1 << 14  # values; a multiple of 8, so that every tile of packed values begins with a byte


def mask_key(seed: bytes) -> X25519PrivateKey:
    """The X25519 key pair for masks of a_u."""
    return X25519PrivateKey.from_private_bytes(_derive(seed, None, fields(KEY_MASK)))


def mask_kem_key(seed: bytes) -> MLKEM768PrivateKey:
    """The ML-KEM-768 key pair for masks of a_u."""
    return MLKEM768PrivateKey.from_seed_bytes(_derive(seed, None, fields(KEY_MASK_KEM), 64))


def agreed(private: X25519PrivateKey, public: bytes) -> bytes | None:
    """The X25519 secret, 32 bytes; None for a public key of low order, or a second spelling of one."""
    if int.from_bytes(public, "little") >= 2**255 - 19:
        return None
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


def is_sound(public: bytes) -> bool:
    """Whether a secret can be agreed with the X25519 key ``public``, which hence is no point of low order."""
    return agreed(X25519PrivateKey.from_private_bytes(bytes(range(32))), public) is not None


def is_sound_kem(public: bytes) -> bool:
    """Whether ``public`` is an ML-KEM-768 key: 1184 bytes, every coefficient below q (FIPS 203, section 7.2)."""
    try:
        MLKEM768PublicKey.from_public_bytes(public)
    except ValueError:
        return False
    return True


def pair_secret(seed: bytes, t1: bytes, lower: int, higher: int) -> bytes:
    """r_uv from a_u of the lower of two banks."""
    return _derive(seed, t1, fields(KEY_PAIR_SECRET, number(lower), number(higher)))


def received_secret(pair: Pair, seed: bytes, *, kid: bytes, t1: bytes, lower: int, higher: int) -> bytes | None:
    """r_uv as the higher of two banks reads it with a_v; None if it does not open."""
    shared = mask_kem_key(seed).decapsulate(pair.kem)
    key = _derive(shared, t1, fields(KEY_PAIR_SEAL, number(lower), number(higher)))
    data = fields(PAIR_DATA, kid, t1, number(lower), number(higher), pair.kem)
    try:
        return AESGCM(key).decrypt(bytes(12), pair.sealed, data)
    except InvalidTag:
        return None


def pair_stream_key(secret: bytes, t2: bytes, one: int, other: int) -> bytes:
    """The key of the stream that two banks share, from their X25519 secret followed by r_uv."""
    return _derive(secret, t2, fields(KEY_PAIR, number(min(one, other)), number(max(one, other))))


def self_stream_key(seed: bytes, t2: bytes) -> bytes:
    """The key of the stream of b_u."""
    return _derive(seed, t2, fields(KEY_SELF))


def stream(key: bytes, count: int, bits: int) -> NDArray[np.uint64]:
    """The first ``count`` words of the stream of ``key``: little-endian, of 32 bits up to b = 32, else of 64."""
    width = 4 if bits <= 32 else 8
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(encryptor.update(bytes(count * width)), f"<u{width}").astype(np.uint64)


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` values of ``bits`` bits take."""
    return -(-count * bits // 8)


def unpack(data: bytes, count: int, bits: int) -> NDArray[np.uint64] | None:
    """``count`` values of ``bits`` bits: bit k of value i is bit i b + k of a little-endian bit stream.

    None if ``data`` has another length, or a spare bit of its last byte is set.
    """
    spare = 8 * len(data) - count * bits
    if len(data) != packed_size(count, bits) or (spare and data[-1] >> (8 - spare)):
        return None
    out = np.empty(count, dtype=np.uint64)
    for start in range(0, count, _TILE):
        values = min(_TILE, count - start)
        first = start * bits // 8
        piece = np.frombuffer(data, np.uint8)[first : first + packed_size(values, bits)]
        rows = np.unpackbits(piece, count=values * bits, bitorder="little").reshape(values, bits)
        whole = np.zeros((values, 64), dtype=np.uint8)
        whole[:, :bits] = rows
        out[start : start + values] = np.packbits(whole, axis=1, bitorder="little").view("<u8")[:, 0]
    return out


def lift(words: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """The integers in [-2^(b-1), 2^(b-1)) that words mod 2^b stand for."""
    up = np.uint64(64 - bits)
    return (words << up).view(np.int64) >> np.int64(64 - bits)


def _derive(secret: bytes, salt: bytes | None, info: bytes, length: int = 32) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
