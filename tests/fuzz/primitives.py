"""Functions that get a peer's bytes after decoding: a value or ``None`` comes back, never an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from secagg import keys, packing, shamir, tree
from secagg.identity import Identity, verify
from tests.fuzz.target import Target

_PRIVATE = keys.private_key(b"\x01" * 32)
_KEY = b"\x02" * 32
_IDENTITY = Identity.from_private_bytes(b"\x03" * 32)


def _share(data: bytes) -> str:
    value = shamir.from_bytes(data)
    if len(data) != shamir.SHARE_BYTES:
        return "another length"
    assert (value is None) == (int.from_bytes(data, "big") >= shamir.PRIME)
    assert value is None or shamir.to_bytes(value) == data, "a share has a second spelling"
    return "refused" if value is None else "accepted"


def _packed(data: bytes) -> str:
    if not data:
        return "empty"
    bits, body = 1 + data[0] % 64, data[1:]
    count = len(body) * 8 // bits
    body = body[: packing.packed_size(count, bits)]
    words = packing.unpack(memoryview(body), count, bits)
    assert words.dtype == packing.word_type(bits) and len(words) == count
    assert all(int(word) < 2**bits for word in words[-3:])
    again = np.zeros(len(body), dtype=np.uint8)
    packing.pack_into(words, bits, again)
    clean = count == 0 or packing.has_clean_padding(memoryview(body), count, bits)
    assert (again.tobytes() == body) == clean, "a packing has a second spelling"
    return "accepted" if clean else "refused"


def _public_key(data: bytes) -> str:
    secret = keys.agree(_PRIVATE, data)
    assert secret is None or (len(secret) == 32 and any(secret)), "a key that says nothing of the private one"
    assert keys.is_sound(data) == (secret is not None)
    return "refused" if secret is None else "accepted"


def _signature(data: bytes) -> str:
    verify(data[:32], data[32:96], b"context", data[96:])  # whatever stands for a key or a signature, no error
    assert not verify(_IDENTITY.public_key, data[:64], b"context", data[64:]), "a forgery"
    return "refused"


def _sealed(data: bytes) -> str:
    assert keys.unseal(_KEY, data, b"data") is None, "a forgery"
    return "refused"


def _path(data: bytes) -> str:
    size = 1 + (data[0] if data else 0)
    position = (data[1] if len(data) > 1 else 0) % size
    width = 1 + (data[2] if len(data) > 2 else 31) % 40
    path = [data[start : start + width] for start in range(3, len(data), width)]
    root = tree.root_from_path(bytes(32), position=position, size=size, path=path)
    assert root is None or len(root) == 32
    return "refused" if root is None else "accepted"


CHECKS: tuple[Callable[[bytes], str], ...] = (_share, _packed, _public_key, _signature, _sealed, _path)
_HONEST: tuple[tuple[Callable[[bytes], str], bytes], ...] = (
    (_share, shamir.to_bytes(shamir.PRIME - 1)),
    (_share, shamir.PRIME.to_bytes(33, "big")),
    (_packed, bytes([20]) + bytes(range(1, 57))),
    (_packed, bytes([31]) + b"\xff" * 64),
    (_public_key, keys.public_bytes(_PRIVATE)),
    (_public_key, bytes(32)),
    (_public_key, (2**255 - 19).to_bytes(32, "little")),
    (_signature, _IDENTITY.public_key + _IDENTITY.sign(b"another context", b"data") + b"data"),
    (_signature, _IDENTITY.sign(b"another context", b"data")),
    (_sealed, keys.seal(_KEY, bytes(66), b"other data")),
    (_path, bytes([4, 2, 31]) + bytes(96)),
    (_path, bytes([199, 130, 31]) + bytes(256)),
)


def check_primitive(data: bytes) -> str:
    """Give ``data`` without its first byte to the function that it chooses."""
    function = CHECKS[(data[0] if data else 0) % len(CHECKS)]
    return f"{function.__name__[1:]} {function(data[1:])}"


@cache
def primitive_target() -> Target:
    """Shares, packed vectors, public keys, signatures, ciphertexts and paths."""
    seeds = tuple(bytes([CHECKS.index(function)]) + data for function, data in _HONEST)
    return Target(name="primitives", check=check_primitive, seeds=seeds, selectors=1)
