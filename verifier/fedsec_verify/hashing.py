"""Hashes and signatures as docs/protocol.md has them: length-prefixed fields, SHA-256, Ed25519.

``fields(label, f1, ..)`` is each part's length (8 bytes, big-endian) and the part, the label first. ``digest`` is
SHA-256 over it, a signature is Ed25519 over it with a context for the label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ROSTER = b"fedsec/v1/roster"
PLAN = b"fedsec/v1/plan"
INPUTS = b"fedsec/v1/inputs"
KID, SID = b"fedsec/v1/kid", b"fedsec/v1/sid"
T1, T2 = b"fedsec/v1/t1", b"fedsec/v1/t2"
MEMBER, DEALER, ABSENT = b"fedsec/v1/slot/member", b"fedsec/v1/slot/dealer", b"fedsec/v1/slot/absent"
TREE_NODE, TREE_ENTRY = b"fedsec/v1/tree/node", b"fedsec/v1/tree/entry"
CIPHERTEXT, PAIR = b"fedsec/v1/ciphertext", b"fedsec/v1/pair"
COMMITMENT, PAIR_COMMITMENT = b"fedsec/v1/com", b"fedsec/v1/pair-com"
MASKED_INPUT = b"fedsec/v1/masked-input"
PAIR_DATA = b"fedsec/v1/pair-data"
KEY_MASK, KEY_MASK_KEM = b"fedsec/v1/key/mask-key", b"fedsec/v1/key/mask-kem"
KEY_PAIR_SECRET, KEY_PAIR_SEAL = b"fedsec/v1/key/pair-secret", b"fedsec/v1/key/pair-seal"
KEY_PAIR, KEY_SELF = b"fedsec/v1/key/pair", b"fedsec/v1/key/self"
SIGN_SESSION, SIGN_ROUND = b"fedsec/v1/sign/session", b"fedsec/v1/sign/round"
SIGN_MEMBERS, SIGN_DEALERS = b"fedsec/v1/sign/members", b"fedsec/v1/sign/dealers"
SIGN_AGREEMENT = b"fedsec/v1/sign/agreement"
SIGN_ADVERTISE, SIGN_SHARE, SIGN_MASK = b"fedsec/v1/sign/advertise", b"fedsec/v1/sign/share", b"fedsec/v1/sign/mask"
SIGN_AGREE, SIGN_UNMASK = b"fedsec/v1/sign/agree", b"fedsec/v1/sign/unmask"

_FIELD = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = (0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8)  # y of the points whose order divides 8


def number(value: int) -> bytes:
    """``value`` in [0, 2^64) as 8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def numbers(values: Iterable[int]) -> bytes:
    """A list of numbers as one field."""
    return b"".join(number(value) for value in values)


def fields(label: bytes, *parts: bytes) -> bytes:
    """The injective encoding of ``label`` and ``parts``."""
    return b"".join(number(len(part)) + part for part in (label, *parts))


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 over :func:`fields`, 32 bytes."""
    return hashlib.sha256(fields(label, *parts)).digest()


def sha256(data: bytes) -> str:
    """Plain SHA-256 of ``data``, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is Ed25519 by ``public_key`` (32 bytes) over ``message``; never raises.

    A key of small order, under which anybody can sign, signs nothing here.
    """
    if is_weak(public_key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_signed(public_key: bytes, signature: bytes, context: bytes, *parts: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s over the fields ``parts`` in ``context``."""
    return is_signature(public_key, signature, fields(context, *parts))


def is_weak(public_key: bytes) -> bool:
    """Whether ``public_key`` has not 32 bytes, or is a point of small order."""
    return len(public_key) != 32 or int.from_bytes(public_key, "little") % 2**255 % _FIELD in _SMALL_ORDER


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """Root of a tree of the shape of RFC 9162, section 2.1, over at least one slot."""
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return digest(TREE_NODE, tree_root(hashes[:split]), tree_root(hashes[split:]))


def slots_root(taken: Mapping[int, bytes], clients: int) -> bytes:
    """Root over the slots 0 .. ``clients`` - 1; a slot that is not ``taken`` says that its client is absent."""
    return tree_root([taken.get(client) or digest(ABSENT, number(client)) for client in range(clients)])


def root_from_path(entry: bytes, position: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which ``path`` leads from ``entry`` in slot ``position`` of ``size``; None: a wrong length."""
    if size == 1:
        return entry if not path else None
    if not path:
        return None
    split = _split(size)
    if position < split:
        left = root_from_path(entry, position, split, path[:-1])
        return None if left is None else digest(TREE_NODE, left, path[-1])
    right = root_from_path(entry, position - split, size - split, path[:-1])
    return None if right is None else digest(TREE_NODE, path[-1], right)


def _split(size: int) -> int:
    """The largest power of two below ``size`` >= 2."""
    return 1 << ((size - 1).bit_length() - 1)
