"""A path proves one entry at one position of a tree of one size."""

from __future__ import annotations

import pytest

from secagg import labels, tree
from secagg.encoding import digest, number
from tests.secagg.helpers import flip


def _entries(size: int) -> list[bytes]:
    return [digest(labels.TREE_ENTRY, bytes([position])) for position in range(size)]


@pytest.mark.parametrize("size", [*range(1, 34), 100, 199, 200])
def test_paths_lead_to_the_root_from_their_own_position_only(size: int) -> None:
    entries = _entries(size)
    root, paths = tree.root_and_paths(entries)
    for position, (entry, path) in enumerate(zip(entries, paths, strict=True)):
        assert len(path) <= 8
        assert tree.root_from_path(entry, position=position, size=size, path=path) == root
        if size == 1:
            continue
        assert tree.root_from_path(flip(entry), position=position, size=size, path=path) != root
        assert tree.root_from_path(entry, position=(position + 1) % size, size=size, path=path) != root
        assert tree.root_from_path(entry, position=position, size=size, path=path[1:]) is None
        assert tree.root_from_path(entry, position=position, size=size, path=(*path, root)) is None
        assert tree.root_from_path(entry, position=position, size=size, path=(flip(path[0]), *path[1:])) != root


def test_the_shape_is_that_of_rfc_9162() -> None:
    """Section 2.1.5: seven leaves, split four and three."""
    a, b, c, d, e, f, g = _entries(7)

    def node(left: bytes, right: bytes) -> bytes:
        return digest(labels.TREE_NODE, left, right)

    left, right = node(node(a, b), node(c, d)), node(node(e, f), g)
    root, paths = tree.root_and_paths([a, b, c, d, e, f, g])
    assert root == node(left, right)
    assert paths[0] == (b, node(c, d), right)
    assert paths[6] == (node(e, f), left)


def test_an_inner_node_is_no_entry() -> None:
    """Control: under one label for both, a node would pass as an entry of a smaller tree."""
    entries = _entries(4)
    root, _ = tree.root_and_paths(entries)
    inner = [digest(labels.TREE_NODE, *entries[:2]), digest(labels.TREE_NODE, *entries[2:])]
    assert tree.root_and_paths(inner)[0] == root  # the tree alone does not tell: entries must have their own label
    assert labels.TREE_ENTRY != labels.TREE_NODE
    assert all(digest(labels.TREE_ENTRY, *pair) not in inner for pair in (entries[:2], entries[2:]))


def test_an_absent_slot_is_no_other_ones_and_no_entry() -> None:
    """Whoever is absent is absent at its own place: no path shows it elsewhere, and nobody moves up."""
    slots = (3, 5, 8, 13)
    alone = {3: digest(labels.TREE_ENTRY, b"3")}
    root, paths = tree.over_slots(alone, slots)
    assert [len(path) for path in paths] == [2, 2, 2, 2]
    left_out = [digest(labels.ABSENT, number(client)) for client in slots]
    for position, mine in enumerate(left_out[1:], 1):
        assert tree.root_from_path(mine, position=position, size=4, path=paths[position]) == root
        for other in {*left_out, *alone.values()} - {mine}:
            assert tree.root_from_path(other, position=position, size=4, path=paths[position]) != root
    # Two lists that differ in who is absent, and in nothing else, have two roots: control, the same list has one.
    assert tree.over_slots(alone, slots) == (root, paths)
    assert tree.over_slots({5: alone[3]}, slots)[0] != root
    assert tree.over_slots(alone, (3, 5, 8, 14))[0] != root
