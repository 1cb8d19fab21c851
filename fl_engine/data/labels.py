"""Versioned, purpose-naming labels of every hash in this package; one purpose, one label."""

from __future__ import annotations

from typing import Final

SPLIT_COIN: Final = b"fedsec data/split-coin v1\x00"  # HMAC-SHA-256: a record's side of the split
ENTITY_COIN: Final = b"fedsec data/entity-coin v1\x00"  # HMAC-SHA-256: an entity's side of the split
TEXT_IDENTITY: Final = b"fedsec data/text-identity v1\x00"  # SHA-256: a text value inside a record's identity
CATEGORY_BUCKET: Final = b"fedsec data/category-bucket v1\x00"  # SHA-256: the bucket of an unlisted category
