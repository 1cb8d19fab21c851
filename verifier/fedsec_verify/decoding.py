"""Strict decoding: what has two spellings, a field too many or is too long is refused, never guessed at.

A document of evidence is JSON with sorted keys, or msgpack; encoding what was read must give the same bytes, which
leaves no room for a duplicate key, a second spelling of a number, or bytes behind the end.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, TypeVar

import msgspec

from fedsec_verify.findings import Refused

T = TypeVar("T")


def from_msgpack(data: bytes, kind: type[T], file: str) -> T:
    """The ``kind`` in ``data``, the only spelling of it.

    Raises:
        Refused: it is not.
    """
    try:
        value = msgspec.msgpack.decode(data, type=kind)
        again = msgspec.msgpack.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise Refused(file, f"a {kind.__name__} in canonical msgpack", _told(error)) from None
    if again != data:
        raise Refused(file, f"a {kind.__name__} in canonical msgpack", "another spelling of one")
    return value


def from_json(data: bytes, kind: type[T], file: str, *, canonical: bool = False) -> T:
    """The ``kind`` in ``data``: no object names a key twice; if ``canonical``, keys sorted and no space between.

    Raises:
        Refused: it is not.
    """
    try:
        plain = json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
        value = msgspec.json.decode(data, type=kind)
        spelled = msgspec.json.encode(plain, order="sorted") if canonical else data
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise Refused(file, f"a {kind.__name__} in JSON", _told(error)) from None
    if spelled != data:
        raise Refused(file, f"a {kind.__name__} in JSON with sorted keys and no spaces", "another spelling of one")
    return value


def from_hex(text: str, length: int, file: str, what: str) -> bytes:
    """The ``length`` bytes that ``text`` spells in lower-case hex.

    Raises:
        Refused: it spells none.
    """
    if len(text) != 2 * length or not set(text) <= set("0123456789abcdef"):
        raise Refused(file, f"{what} in {2 * length} lower-case hex digits", repr(text[:80]))
    return bytes.fromhex(text)


def from_base64(text: str, file: str, what: str) -> bytes:
    """The bytes that ``text`` spells in standard base64, padded, in their only spelling.

    Raises:
        Refused: it spells none.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(file, f"{what} in base64") from None
    if base64.b64encode(data).decode() != text:
        raise Refused(file, f"{what} in the one spelling of base64")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return seen


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _told(error: Exception) -> str:
    return str(error).replace("\n", " ")[:200]
