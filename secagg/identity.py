"""Long-lived Ed25519 identities (RFC 8032) and the roster that a client pins.

A client is an index here and nowhere a name. Who admits members, how keys are exchanged, rotated and
revoked is out of band (docs/protocol.md, "Identities").
"""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedsec.errors import ConfigError
from secagg import labels
from secagg.encoding import digest, fields

PublicKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
MAX_CLIENTS = 10_000  # bounds every list on the wire
_FIELD = 2**255 - 19
# y of the points whose order divides 8 (RFC 8032, section 5.1), the two of order 8 in the last place.
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})


class Identity:
    """An Ed25519 key pair that outlives rounds. It signs labelled fields only, never bare bytes."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Identity:
        """A fresh identity from the operating system's randomness."""
        return cls.from_private_bytes(os.urandom(32))

    @classmethod
    def from_private_bytes(cls, private: bytes) -> Identity:
        """The identity of a 32-byte private key, as :meth:`private_bytes` gave it."""
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    def private_bytes(self) -> bytes:
        """The 32-byte private key, to be stored by the caller where only this party can read it."""
        return self._key.private_bytes_raw()

    def sign(self, context: bytes, *parts: bytes) -> bytes:
        """64-byte signature over the injective encoding of ``context`` (from :mod:`secagg.labels`) and ``parts``."""
        return self._key.sign(fields(context, *parts))


def verify(public_key: bytes, signature: bytes, context: bytes, *parts: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s over ``context`` and ``parts``; never raises for bad bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, fields(context, *parts))
    except (InvalidSignature, ValueError):
        return False
    return True


def is_weak(public_key: bytes) -> bool:
    """Whether ``public_key`` (32 bytes) is a point of small order: anybody can make signatures that it verifies."""
    sign_bit = 1 << 255
    return int.from_bytes(public_key, "little") % sign_bit % _FIELD in _SMALL_ORDER


class Roster(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """Who takes part: the server's public key and the members' by index. Clients pin its digest out of band.

    Attributes:
        server: 32-byte Ed25519 public key of the server.
        members: ``(index, public key)`` with indices 0, 1, .., n - 1 in order; an index is also the
            client's index in every cohort under this roster.

    Raises:
        ConfigError: indices are not 0 .. n - 1, more than 10,000 members, a key occurs twice, or one is of small order.
    """

    server: PublicKey
    members: tuple[tuple[int, PublicKey], ...]

    def __post_init__(self) -> None:
        if [index for index, _ in self.members] != list(range(len(self.members))):
            raise ConfigError("a roster lists the indices 0, 1, .., n - 1 in this order")
        if len(self.members) > MAX_CLIENTS:
            raise ConfigError(f"a roster has at most {MAX_CLIENTS} members")
        keys = [self.server, *(key for _, key in self.members)]
        if any(len(key) != 32 for key in keys):
            raise ConfigError("a public key in the roster has 32 bytes")
        if len(set(keys)) != len(keys):
            # One party under two indices would count as two honest ones.
            raise ConfigError("a public key occurs twice in the roster")
        if any(is_weak(key) for key in keys):
            raise ConfigError("a public key in the roster is one under which anybody can sign")

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for the whole roster; what a client pins and a session names."""
        return digest(labels.ROSTER, msgspec.msgpack.encode(self))

    def public_key(self, index: int) -> bytes:
        """The Ed25519 public key of member ``index`` in ``[0, n)``."""
        return self.members[index][1]
