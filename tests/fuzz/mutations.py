"""Structure-aware mutation of MessagePack: a message is taken apart, changed and spelled again, rightly or wrongly.

Every choice comes from the ``random.Random`` that is passed, so a seed reproduces an input and Hypothesis can shrink
one.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class Raw:
    """Bytes that go into the encoding as they are: text that is no text, a header with nothing behind it."""

    data: bytes


BOMBS = (
    b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1 items
    b"\xdc\xff\xff",
    b"\xdf\xff\xff\xff\xff",  # a map
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\xdb\xff\xff\xff\xff",  # text
    b"\xc9\xff\xff\xff\xff\x01",  # an extension
    b"\x91" * 3000,  # nesting
)
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    199,
    200,
    2**31,
    2**63 - 1,
    2**64 - 1,
    -(2**63),
    0.0,
    float("inf"),
    float("nan"),
    "",
    "advertise",
    "x" * 65,
    b"",
    bytes(32),
    b"\xff" * 33,
    bytes(64),
    [],
    [[]],
    {},
    {"index": 1},
    Raw(b"\xa2\xff\xfe"),  # no UTF-8
    Raw(b"\xc1"),  # never used by MessagePack
    Raw(b"\xd6\xff\x00\x00\x00\x00"),  # a timestamp
    *(Raw(bomb) for bomb in BOMBS),
)


def mutate(seed: bytes, rng: random.Random, donors: Sequence[bytes] = ()) -> bytes:
    """``seed`` changed once or more: its bytes, its fields, fields of ``donors``, its spelling.

    Half of the time it keeps its shape, types and lengths, so that it gets past the decoder. Now and then nothing
    changes: an honest message is an input too.
    """
    value = parsed(seed)
    if value is not None and rng.random() < 0.5:
        for _ in range(rng.choice((1, 1, 1, 2))):
            value = _nudge(value, rng, donors)
        return spell(value)
    if value is not None and rng.random() < 0.7:
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            value = _edit(value, rng, donors)
        data = spell(value, rng if rng.random() < 0.2 else None)
    else:
        data = seed
    if rng.random() < 0.3 or value is None:
        for _ in range(rng.choice((1, 1, 2, 8))):
            data = rng.choice(_BYTES)(data, rng)
    return data


def parsed(data: bytes) -> Any:
    """``data`` as lists, dictionaries and leaves, or ``None`` if it is no MessagePack."""
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _nudge(value: Any, rng: random.Random, donors: Sequence[bytes]) -> Any:
    """``value`` changed in one place within its type: a bit, a number, an item left out, repeated or moved."""
    if isinstance(value, list) and value:
        place = rng.randrange(1 if isinstance(value[0], str) and len(value) > 1 else 0, len(value))  # not the tag
        item = value[place]
        kind = rng.randrange(8) if isinstance(item, (list, int)) and len(value) > 1 else 7
        if kind == 0:
            return value[:place] + value[place + 1 :]
        if kind == 1:
            return [*value[:place], item, *value[place:]]
        if kind == 2:
            return [*value[:place], *reversed(value[place:])]
        return [*value[:place], _nudge(item, rng, donors), *value[place + 1 :]]
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return value | {key: _nudge(value[key], rng, donors)}
    if isinstance(value, bytes) and (inner := parsed(value)) and isinstance(inner, list) and rng.random() < 0.8:
        return spell(_nudge(inner, rng, donors))  # a configuration inside a request
    if isinstance(value, bytes):
        other = _part(parsed(rng.choice(donors)), rng) if donors and rng.random() < 0.3 else None
        return other if isinstance(other, bytes) and len(other) == len(value) else _flip(value, rng)
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value + rng.choice((-1, 1, 1, 3)))
    if isinstance(value, float):
        return value * rng.choice((0.5, 2.0, 1.0 + 2**-52))
    if isinstance(value, str):
        return value[:-1] + rng.choice("aé\0")
    return value


def _edit(value: Any, rng: random.Random, donors: Sequence[bytes]) -> Any:
    """``value`` with one place in it changed."""
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        kind = rng.randrange(12)
        if kind == 0:
            return value[:place] + value[place + 1 :]
        if kind == 1:
            return [*value[:place], value[place], *value[place:]]
        if kind == 2:
            other = rng.randrange(len(value))
            swapped = list(value)
            swapped[place], swapped[other] = value[other], value[place]
            return swapped
        return [*value[:place], _edit(value[place], rng, donors), *value[place + 1 :]]
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        kind = rng.randrange(6)
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        if kind == 1:
            return dict(reversed(value.items()))
        if kind == 2:
            return value | {"more": rng.choice(ODD)}
        return value | {key: _edit(value[key], rng, donors)}
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(ODD)
    if kind == 1 and donors:
        return _part(parsed(rng.choice(donors)), rng)
    if isinstance(value, bytes) and value:
        if kind == 2:
            return value[: rng.randrange(len(value))] if rng.random() < 0.5 else value + bytes(rng.randrange(1, 9))
        return _flip(value, rng)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 7, 256))
    if isinstance(value, float):
        return value * rng.choice((-1.0, 0.5, 1e300))
    if isinstance(value, str):
        return value[:-1] if rng.random() < 0.5 else value + "\0"
    return rng.choice(ODD)


def _part(value: Any, rng: random.Random) -> Any:
    """Something inside ``value``, at any depth."""
    while isinstance(value, list) and value and rng.random() < 0.8:
        value = rng.choice(value)
    return value


def spell(value: Any, rng: random.Random | None = None) -> bytes:
    """``value`` in MessagePack: the shortest spelling, or with ``rng`` one in which some headers are too long."""
    out = bytearray()
    _spell(value, rng, out)
    return bytes(out)


def _spell(value: Any, rng: random.Random | None, out: bytearray) -> None:
    longer = rng is not None and rng.random() < 0.3
    if isinstance(value, Raw):
        out += value.data
    elif value is None or isinstance(value, (bool, float)):
        out += msgspec.msgpack.encode(value)
    elif isinstance(value, int):
        if longer and 0 <= value < 2**32:
            out += b"\xce" + struct.pack(">I", value)
        elif -(2**63) <= value < 2**64:
            out += msgspec.msgpack.encode(value)
        else:
            out += b"\xcf" + bytes(8)
    elif isinstance(value, bytes):
        _header(len(value), longer, out, ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4)))
        out += value
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        if len(text) < 32 and not longer:
            out.append(0xA0 | len(text))
        else:
            _header(len(text), longer, out, ((b"\xd9", 1), (b"\xda", 2), (b"\xdb", 4)))
        out += text
    elif isinstance(value, list):
        if len(value) < 16 and not longer:
            out.append(0x90 | len(value))
        else:
            _header(len(value), longer, out, ((b"\xdc", 2), (b"\xdd", 4)))
        for item in value:
            _spell(item, rng, out)
    elif isinstance(value, dict):
        if len(value) < 16 and not longer:
            out.append(0x80 | len(value))
        else:
            _header(len(value), longer, out, ((b"\xde", 2), (b"\xdf", 4)))
        for key, item in value.items():
            _spell(key, rng, out)
            _spell(item, rng, out)
    else:
        out += msgspec.msgpack.encode(value)


def _header(size: int, longer: bool, out: bytearray, kinds: Sequence[tuple[bytes, int]]) -> None:
    fitting = [kind for kind in kinds if size < 256 ** kind[1]]
    marker, width = fitting[-1 if longer else 0]
    out += marker + size.to_bytes(width, "big")


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + data[place + rng.randrange(1, 9) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place:]


def _bomb(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(BOMBS) + data[place:]


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(200))


def _lengthen(data: bytes, rng: random.Random) -> bytes:
    return data + bytes(rng.choice((1, 20_000)))


_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _flip,
    _overwrite,
    _cut,
    _drop,
    _insert,
    _bomb,
    _noise,
    _lengthen,
)
