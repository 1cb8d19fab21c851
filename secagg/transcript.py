"""Transcript hashes, and for each message the exact fields that its signature covers.

A statement is ``(context, field, ..)``: what :meth:`secagg.identity.Identity.sign` and
:func:`secagg.identity.verify` take. Signer and verifier build it with the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secagg import labels, tree
from secagg.encoding import digest, number, numbers
from secagg.messages import Advertise, Dealing

Statement = tuple[bytes, ...]


def members_root(entries: Iterable[Advertise], clients: int) -> tuple[bytes, list[tree.Path]]:
    """Root and paths of the tree of U1: one slot for each member of the roster, present or absent."""
    return tree.over_slots({entry.index: member_slot(entry) for entry in entries}, range(clients))


def dealers_root(dealings: Iterable[Dealing], clients: int) -> tuple[bytes, list[tree.Path]]:
    """Root and paths of the tree of U2."""
    return tree.over_slots({dealing.index: dealer_slot(dealing) for dealing in dealings}, range(clients))


def member_slot(entry: Advertise) -> bytes:
    """A member of U1 in its slot: index, all public keys, signature."""
    public = (entry.share_key, entry.mask_key, entry.share_kem, entry.mask_kem)
    return digest(labels.MEMBER, number(entry.index), *public, entry.signature)


def dealer_slot(dealing: Dealing) -> bytes:
    """A member of U2 in its slot: index, root, commitment, signature."""
    return digest(labels.DEALER, number(dealing.index), dealing.root, dealing.commitment, dealing.signature)


def t1(kid: bytes, root: bytes) -> bytes:
    """T1, which stands for the session and all that U1 advertised."""
    return digest(labels.T1, kid, root)


def t2(sid: bytes, first: bytes, root: bytes) -> bytes:
    """T2, which stands for the round with its model, T1, and all that U2 dealt."""
    return digest(labels.T2, sid, first, root)


def session(encoded: bytes) -> Statement:
    """What the server signs of a session configuration."""
    return (labels.SIGN_SESSION, encoded)


def members(kid: bytes, root: bytes) -> Statement:
    """What the server signs of U1."""
    return (labels.SIGN_MEMBERS, kid, root)


def dealers(kid: bytes, first: bytes, root: bytes) -> Statement:
    """What the server signs of U2."""
    return (labels.SIGN_DEALERS, kid, first, root)


def round_config(kid: bytes, encoded: bytes) -> Statement:
    """What the server signs of a round configuration."""
    return (labels.SIGN_ROUND, kid, encoded)


def advertise(kid: bytes, index: int, *public: bytes) -> Statement:
    """Step 0: all four public keys, in the order of :class:`secagg.messages.Advertise`."""
    return (labels.SIGN_ADVERTISE, kid, number(index), *public)


def share(kid: bytes, first: bytes, index: int, root: bytes, commitment: bytes) -> Statement:
    """Step 1, under T1."""
    return (labels.SIGN_SHARE, kid, first, number(index), root, commitment)


def mask(sid: bytes, second: bytes, index: int, payload: memoryview) -> Statement:
    """Step 2, under T2."""
    return masked(sid, second, index, digest(labels.MASKED_INPUT, payload))


def masked(sid: bytes, second: bytes, index: int, payload_digest: bytes) -> Statement:
    """The same, by whoever has the masked input's digest alone."""
    return (labels.SIGN_MASK, sid, second, number(index), payload_digest)


def agree(sid: bytes, second: bytes, index: int, survivors: Sequence[int]) -> Statement:
    """Step 3: U3, by rising index."""
    return (labels.SIGN_AGREE, sid, second, number(index), numbers(survivors))


def unmask(
    sid: bytes,
    second: bytes,
    index: int,
    survivors: Sequence[int],
    *,
    self_shares: Iterable[bytes],
    mask_shares: Iterable[bytes],
) -> Statement:
    """Step 4: the revealed shares of both kinds, for one U3."""
    return revealed(
        sid, second, index, survivors, digest(labels.REVEALED, b"".join(self_shares), b"".join(mask_shares))
    )


def revealed(sid: bytes, second: bytes, index: int, survivors: Sequence[int], shares_digest: bytes) -> Statement:
    """The same, by whoever has the digest of the shares alone."""
    return (labels.SIGN_UNMASK, sid, second, number(index), numbers(survivors), shares_digest)


def agreement(sid: bytes, second: bytes, survivors: Sequence[int]) -> Statement:
    """What the server signs when step 3 closes."""
    return (labels.SIGN_AGREEMENT, sid, second, numbers(survivors))
