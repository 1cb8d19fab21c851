"""Step 1: a dealer splits its two seeds, encrypts the shares and commits to every one of them.

For dealer u and receiver v there are two leaves, one for each kind of share, ``H(kid, T1, u, v, kind,
share, H(ciphertext, kem))``: two and not one, since a responder reveals one share only. An entry of u's tree is
``H(H(ciphertext, kem), self leaf, mask leaf, H(pair))``, in the slot of v in u's neighbourhood, so a receiver can tell
a server that changed something (the path does not lead to the signed root) from a dealer that dealt badly (it does).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedsec.errors import RemoteProtocolError
from secagg import keys, labels, shamir, transcript, tree
from secagg.encoding import digest, fields, number
from secagg.exchange import Exchange
from secagg.identity import Identity
from secagg.messages import Advertise, Dealing, Delivery, Entry, Share

SELF = b"self"  # share of b_u, revealed where u's input is in the sum
MASK = b"mask"  # share of a_u, revealed where it is not


def leaf(kid: bytes, t1: bytes, *, dealer: int, receiver: int, kind: bytes, share: bytes, sealed: bytes) -> bytes:
    """The commitment to one share, 32 bytes; hiding because a share is uniform over more than 2^256 values.

    ``sealed`` is :func:`sealed_digest` of what the share travels in.
    """
    return digest(labels.LEAF, kid, t1, number(dealer), number(receiver), kind, share, sealed)


def sealed_digest(ciphertext: bytes, kem: bytes) -> bytes:
    """What stands for a ciphertext and the KEM ciphertext beside it."""
    return digest(labels.CIPHERTEXT, ciphertext, kem)


def entries_root(entries: Mapping[int, Entry], slots: Sequence[int]) -> tuple[bytes, list[tree.Path]]:
    """Root and paths of a dealer's tree over ``slots``, its neighbourhood, with ``entries`` by receiver."""
    return tree.over_slots({receiver: entry_hash(entry) for receiver, entry in entries.items()}, slots)


def entry_hash(entry: Entry) -> bytes:
    """What stands in one slot of a dealer's tree."""
    pair = b""
    if entry.pair is not None:
        pair = digest(labels.PAIR, entry.pair.kem, entry.pair.sealed, entry.pair.commitment)
    sealed = sealed_digest(entry.ciphertext, entry.kem)
    return digest(labels.TREE_ENTRY, sealed, entry.self_leaf, entry.mask_leaf, pair)


@dataclass(frozen=True, kw_only=True, repr=False)
class Dealt:
    """What :func:`deal` gives: the message, what everybody will learn of it, and the dealer's own share of b_u."""

    message: Share
    dealing: Dealing
    own_self_share: bytes


def deal(
    *,
    identity: Identity,
    exchange: Exchange,
    threshold: int,
    members: Sequence[Advertise],
    slots: Sequence[int],
    self_seed: bytes,
    mask_seed: bytes,
) -> Dealt:
    """Deal ``self_seed`` (b_u) and ``mask_seed`` (a_u) to ``members`` (of U1, by rising index, with the dealer).

    ``slots`` is the dealer's whole neighbourhood, in which ``members`` are. The dealer keeps its own shares: their
    entry has an empty ciphertext.
    """
    index, kid, t1 = exchange.index, exchange.kid, exchange.t1
    receivers = [member.index for member in members]
    self_shares = shamir.split(int.from_bytes(self_seed, "big"), threshold=threshold, indices=receivers)
    mask_shares = shamir.split(int.from_bytes(mask_seed, "big"), threshold=threshold, indices=receivers)
    entries = {}
    for member in members:
        receiver = member.index
        self_share = shamir.to_bytes(self_shares[receiver])
        mask_share = shamir.to_bytes(mask_shares[receiver])
        ciphertext, kem, pair = b"", b"", None
        if receiver != index:
            key, kem = exchange.key_to(member)
            ciphertext = keys.seal(key, self_share + mask_share, _data(kid, t1, index, receiver))
            pair = exchange.pair_to(member)
        leaves = [
            leaf(
                kid,
                t1,
                dealer=index,
                receiver=receiver,
                kind=kind,
                share=share,
                sealed=sealed_digest(ciphertext, kem),
            )
            for kind, share in ((SELF, self_share), (MASK, mask_share))
        ]
        entries[receiver] = Entry(ciphertext=ciphertext, kem=kem, self_leaf=leaves[0], mask_leaf=leaves[1], pair=pair)
    root, _ = entries_root(entries, slots)
    commitment = keys.commitment(kid, index, self_seed)
    signature = identity.sign(*transcript.share(kid, t1, index, root, commitment))
    return Dealt(
        message=Share(index=index, entries=tuple(entries.values()), commitment=commitment, signature=signature),
        dealing=Dealing(index=index, root=root, commitment=commitment, signature=signature),
        own_self_share=shamir.to_bytes(self_shares[index]),
    )


def check_delivery(delivery: Delivery, *, root: bytes, slots: Sequence[int], receiver: int) -> None:
    """That ``delivery`` is what the dealer signed for ``receiver``.

    Args:
        root: the dealer's, whose signature has been verified.
        slots: the dealer's neighbourhood, by rising index.

    Raises:
        RemoteProtocolError: it is not; ``peer=None``, the server changed it.
    """
    reached = tree.root_from_path(
        entry_hash(delivery.entry), position=bisect_left(slots, receiver), size=len(slots), path=delivery.path
    )
    if reached != root:
        raise RemoteProtocolError(
            f"the server delivered shares that bank {delivery.dealer} did not sign", peer=None, rule="delivery"
        )


def open_delivery(delivery: Delivery, exchange: Exchange) -> tuple[bytes, bytes]:
    """The two shares (of b and of a) in ``delivery``, which has passed :func:`check_delivery`.

    Raises:
        RemoteProtocolError: it does not open to shares that match its leaves; ``peer`` is the dealer, who signed it.
    """
    dealer, entry = delivery.dealer, delivery.entry
    kid, t1, receiver = exchange.kid, exchange.t1, exchange.index
    key = exchange.key_from(dealer, entry)
    plaintext = None
    if key is not None:
        plaintext = keys.unseal(key, entry.ciphertext, _data(kid, t1, dealer, receiver))
    if plaintext is None or len(plaintext) != 2 * shamir.SHARE_BYTES:
        raise RemoteProtocolError(f"the ciphertext of bank {dealer} does not open", peer=dealer, rule="ciphertext")
    self_share, mask_share = plaintext[: shamir.SHARE_BYTES], plaintext[shamir.SHARE_BYTES :]
    sealed = sealed_digest(entry.ciphertext, entry.kem)
    for kind, share, expected in ((SELF, self_share, entry.self_leaf), (MASK, mask_share, entry.mask_leaf)):
        found = leaf(kid, t1, dealer=dealer, receiver=receiver, kind=kind, share=share, sealed=sealed)
        if found != expected or shamir.from_bytes(share) is None:
            raise RemoteProtocolError(f"a share of bank {dealer} does not match its leaf", peer=dealer, rule="leaf")
    return self_share, mask_share


def _data(kid: bytes, t1: bytes, sender: int, receiver: int) -> bytes:
    return fields(labels.SHARE_DATA, kid, t1, number(sender), number(receiver))
