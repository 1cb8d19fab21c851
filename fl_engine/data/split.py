"""Which records are held out: one keyed coin per record or entity, thrown over nothing but that itself.

A record keeps its side wherever it stands in the file, whichever records come and go around it, and
whatever options a run has (labels, dropped columns, schema), so training and holdout accounts stay apart
over all runs. A row's position, or a shuffle with a quota, would let one record decide the side of another.
Under one key the sides nest: who is held out at 0.1 is held out at 0.2. Equal records share a side.

Where the unit is an entity, its coin is thrown over its name alone, so all its rows share a side, at every bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow.compute as pc
from cryptography.hazmat.primitives import hashes, hmac
from numpy.typing import NDArray

from fl_engine.data.labels import ENTITY_COIN, SPLIT_COIN, TEXT_IDENTITY
from fl_engine.data.tabular import Column

_COIN_BYTES: Final = 8  # resolution 2^-64
MIN_KEY_BYTES: Final = 16


def record_identities(columns: Sequence[Column]) -> NDArray[np.uint64]:
    """The canonical content of every record: little-endian uint64[rows, columns], columns by name.

    All columns of the file count, the label and dropped ones too. A number is its float64 pattern (one
    zero, one NaN, which also stands for a missing value), so 1, 1.0 and the text "1" are the same; other
    text is the first 8 bytes of its SHA-256; anything else is hashed as Python writes it.
    """
    ordered = sorted(columns, key=lambda column: column.name)
    identities = np.empty((len(ordered[0].numbers), len(ordered)), dtype="<u8")
    for position, column in enumerate(ordered):
        numbers = np.where(np.isnan(column.numbers), np.nan, column.numbers) + 0.0  # -0.0 + 0.0 is 0.0
        identities[:, position] = numbers.astype("<f8").view("<u8")
        if column.kind != "number":
            words = ~column.is_number
            identities[words, position] = _hash_cells(column)[words]
    return identities


def holdout_coins(identities: NDArray[np.uint64], *, key: bytes, fraction: float) -> NDArray[np.bool_]:
    """Whether each record is held out, bool[rows]: HMAC-SHA-256 of its identity, below ``fraction`` of the
    range.

    Args:
        identities: as :func:`record_identities` returns them, uint64[rows, columns].
        key: at least 16 secret bytes, kept with the ledger account; who knows it can predict a record's side.
        fraction: chance of being held out, ``0 <= fraction < 1``.

    Raises:
        ValueError: the key is too short or the fraction out of range.
    """
    content = identities.astype("<u8").tobytes()
    width = identities.shape[1] * identities.itemsize
    records = (content[start : start + width] for start in range(0, len(content), width))
    return _coins(SPLIT_COIN, records, key=key, fraction=fraction)


def entity_coins(entities: Sequence[str], *, key: bytes, fraction: float) -> NDArray[np.bool_]:
    """Whether each entity is held out, bool[entities]: HMAC-SHA-256 of its name, under a label of its own.

    Args:
        entities: names as :func:`fl_engine.data.roles.read_units` gives them.
        key, fraction: as :func:`holdout_coins` takes them.

    Raises:
        ValueError: the key is too short or the fraction out of range.
    """
    return _coins(ENTITY_COIN, (name.encode() for name in entities), key=key, fraction=fraction)


def _coins(label: bytes, contents: Iterable[bytes], *, key: bytes, fraction: float) -> NDArray[np.bool_]:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"a split key has at least {MIN_KEY_BYTES} bytes, not {len(key)}")
    if not 0.0 <= fraction < 1.0:
        raise ValueError("the held-out fraction must be at least 0 and below 1")
    keyed = hmac.HMAC(key, hashes.SHA256())
    keyed.update(label)
    coins = bytearray()
    for content in contents:
        coin = keyed.copy()
        coin.update(content)
        coins += coin.finalize()[:_COIN_BYTES]
    below = np.uint64(min(int(fraction * 2.0**64), 2**64 - 1))
    held_out: NDArray[np.bool_] = np.frombuffer(bytes(coins), dtype=">u8") < below
    return held_out


def _hash_cells(column: Column) -> NDArray[np.uint64]:
    """First 8 bytes of the SHA-256 of each cell's text, uint64[rows]; 0 where missing."""
    if column.holds_text:
        encoded = pc.dictionary_encode(column.data)
        distinct = encoded.dictionary.to_pylist()
        rows = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    else:
        distinct = [repr(cell) for cell in column.data.to_pylist()]
        rows = np.arange(len(distinct))
    hashed = np.zeros(len(distinct) + 1, dtype=np.uint64)
    for position, text in enumerate(distinct):
        digest = hashes.Hash(hashes.SHA256())
        digest.update(TEXT_IDENTITY + text.encode())
        hashed[position] = int.from_bytes(digest.finalize()[:8], "big")
    cells: NDArray[np.uint64] = hashed[rows]
    return cells
