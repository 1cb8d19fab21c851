"""The post-quantum half of the key exchange: ML-KEM-768 (FIPS 203), beside X25519 and never instead of it.

A recording of today's traffic stays secret from whoever can break X25519 one day; signatures stay classical,
since a forgery then does not change what was recorded now.

Two uses, each with a key pair of its own:

* *shares*: a dealer encapsulates to each receiver's share key; the secret goes into the key of the ciphertext.
* *masks*: a KEM has a sender and a receiver, a mask has two equal ends, both of which the server must be able to
  rebuild from their seeds. So for u < v the dealer u draws r_uv from a_u, encapsulates to v's mask key, which v
  draws from a_v, and sends r_uv sealed under that secret (``encapsulate`` takes no coins: its secret cannot be
  r_uv itself). If u drops out, a_u gives r_uv; if v does, a_v opens what u sent.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from fedsec.errors import ConfigError
from secagg import keys, labels
from secagg.encoding import digest, fields, number
from secagg.messages import Pair

KEY_SEED_BYTES = 64  # d || z of FIPS 203
MlKemPrivateKey = MLKEM768PrivateKey


def private_key(seed: bytes) -> MLKEM768PrivateKey:
    """The key pair of a 64-byte seed.

    Raises:
        ConfigError: this build of ``cryptography`` has no ML-KEM-768.
    """
    try:
        return MLKEM768PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm:
        raise ConfigError(
            "this build of the package cryptography has no ML-KEM-768",
            remedy="Install cryptography 48 or newer as a wheel, or build it with an OpenSSL of 3.5 or newer.",
        ) from None


def check_supported() -> None:
    """Find a build without ML-KEM-768 before anything depends on it.

    Raises:
        ConfigError: this is one.
    """
    private_key(bytes(KEY_SEED_BYTES))


def mask_private_key(seed: bytes) -> MLKEM768PrivateKey:
    """The ML-KEM key pair for masks of a_u (32 bytes)."""
    return private_key(keys.derive(seed, None, fields(labels.KEY_MASK_KEM), length=KEY_SEED_BYTES))


def public_bytes(private: MLKEM768PrivateKey) -> bytes:
    """The 1184-byte encapsulation key."""
    return private.public_key().public_bytes_raw()


def is_sound(public: bytes) -> bool:
    """Whether ``public`` is an encapsulation key: right length, every coefficient below q (FIPS 203 section 7.2)."""
    try:
        MLKEM768PublicKey.from_public_bytes(public)
    except ValueError:
        return False
    return True


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """A fresh 32-byte secret for the owner of ``public`` (sound), and the 1088 bytes that carry it."""
    return MLKEM768PublicKey.from_public_bytes(public).encapsulate()


def decapsulate(private: MLKEM768PrivateKey, ciphertext: bytes) -> bytes | None:
    """The secret in ``ciphertext``; another one for a forged ciphertext, ``None`` for one of a wrong length."""
    try:
        return private.decapsulate(ciphertext)
    except ValueError:
        return None


def pair_secret(mask_seed: bytes, t1: bytes, lower: int, higher: int) -> bytes:
    """r_uv, 32 bytes, as the seed a_u of the ``lower`` of two clients gives it."""
    return keys.derive(mask_seed, t1, fields(labels.KEY_PAIR_SECRET, number(lower), number(higher)))


def commit(kid: bytes, lower: int, higher: int, secret: bytes) -> bytes:
    """The 32-byte commitment to r_uv; hiding because r_uv is 32 bytes that nobody else can guess."""
    return digest(labels.PAIR_COMMITMENT, kid, number(lower), number(higher), secret)


def send(secret: bytes, *, kid: bytes, t1: bytes, lower: int, higher: int, public: bytes) -> Pair:
    """r_uv = ``secret`` on its way from ``lower`` to the owner of the mask key ``public``."""
    shared, ciphertext = encapsulate(public)
    key = keys.derive(shared, t1, fields(labels.KEY_PAIR_SEAL, number(lower), number(higher)))
    return Pair(
        kem=ciphertext,
        sealed=keys.seal(key, secret, _data(kid, t1, lower, higher, ciphertext)),
        commitment=commit(kid, lower, higher, secret),
    )


def receive(pair: Pair, *, kid: bytes, t1: bytes, lower: int, higher: int, private: MLKEM768PrivateKey) -> bytes | None:
    """r_uv as ``higher`` reads it with its mask key, or ``None``: it does not open, or is not what was committed to."""
    shared = decapsulate(private, pair.kem)
    if shared is None:
        return None
    key = keys.derive(shared, t1, fields(labels.KEY_PAIR_SEAL, number(lower), number(higher)))
    secret = keys.unseal(key, pair.sealed, _data(kid, t1, lower, higher, pair.kem))
    if secret is None or commit(kid, lower, higher, secret) != pair.commitment:
        return None
    return secret


def _data(kid: bytes, t1: bytes, lower: int, higher: int, ciphertext: bytes) -> bytes:
    return fields(labels.PAIR_DATA, kid, t1, number(lower), number(higher), ciphertext)
