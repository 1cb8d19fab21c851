"""What docs/ledger.md says of hashes and of the public form, in the standard library alone: a second implementation."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from typing import Any


def salt(seed: bytes) -> str:
    return hmac.new(seed, b"fedsec ledger v1: salt of the public form", hashlib.sha256).hexdigest()[:32]


def entry_hash(seq: int, previous: bytes, payload: bytes) -> bytes:
    label, text = b"fedsec ledger v2: entry hash", public_text(payload)
    number = seq.to_bytes(8, "big")
    return hashlib.sha256(_sized(label) + number + previous + _sized(text)).digest()


def public_text(payload: bytes) -> bytes:
    """Numbers are carried over as they stand, since languages differ in how they write them."""
    value = json.loads(payload, parse_float=lambda number: f"\0{number}\0")
    key = value.get("salt")
    if not key:
        return payload
    _hide(value, key.encode())
    value["salt"] = ""
    if value.get("layout"):
        layout = _digest(b"fedsec ledger v1: pseudonym of a layout", key.encode(), b64decode(value["layout"]))
        value["layout"] = b64encode(layout).decode()
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.replace('"\\u0000', "").replace('\\u0000"', "").encode()


def _hide(value: Any, key: bytes) -> None:
    if isinstance(value, dict):
        if "dataset" in value:
            label = b"fedsec ledger v1: pseudonym of a data set"
            digest = _digest(label, key, value["holder"].encode(), value["dataset"].encode())
            value["dataset"], value["holder"] = "_" + digest.hex()[:62], "_"
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _hide(inner, key)


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(map(_sized, parts))).digest()


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part
