"""Merkle trees with the shape of RFC 9162 section 2.1, over entries whose hashes name their purpose.

A tree has one slot for each of a list of clients that is fixed beforehand, so a position says whose entry it is, and
an absent client's slot says that it is absent. The tree splits at the largest power of two below its size, so (size,
position) fix the path's length and sides: a path proves an entry at one position only. Entries and inner nodes are
hashed under different labels, the RFC's 0x00 and 0x01.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from secagg import labels
from secagg.encoding import digest, number

Path: TypeAlias = tuple[bytes, ...]


def over_slots(entries: Mapping[int, bytes], slots: Sequence[int]) -> tuple[bytes, list[Path]]:
    """Root and paths of the tree over the clients ``slots``, with the hashes ``entries`` of those that are present."""
    return root_and_paths([slot(entries, client) for client in slots])


def slot(entries: Mapping[int, bytes], client: int) -> bytes:
    """What stands in the slot of ``client``: its hash in ``entries``, or that it is absent."""
    return entries.get(client) or digest(labels.ABSENT, number(client))


def root_and_paths(entries: Sequence[bytes]) -> tuple[bytes, list[Path]]:
    """The root, and for every entry its path: the siblings from the entry up to the root."""
    if len(entries) == 1:
        return entries[0], [()]
    split = _split(len(entries))
    left, left_paths = root_and_paths(entries[:split])
    right, right_paths = root_and_paths(entries[split:])
    paths = [(*path, right) for path in left_paths] + [(*path, left) for path in right_paths]
    return _node(left, right), paths


def root_from_path(entry: bytes, *, position: int, size: int, path: Path) -> bytes | None:
    """The root of a tree of ``size`` entries with ``entry`` at ``position``, or ``None`` if the path's
    length is wrong."""
    sides: list[bool] = []  # from the root down: whether the entry is in the left part
    while size > 1:
        split = _split(size)
        in_left = position < split
        sides.append(in_left)
        position, size = (position, split) if in_left else (position - split, size - split)
    if len(path) != len(sides):
        return None
    for sibling, in_left in zip(path, reversed(sides), strict=True):
        entry = _node(entry, sibling) if in_left else _node(sibling, entry)
    return entry


def _node(left: bytes, right: bytes) -> bytes:
    return digest(labels.TREE_NODE, left, right)


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)
