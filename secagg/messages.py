"""The messages on the wire: tagged msgpack arrays, decoded strictly.

A message is refused before decoding if it is longer than its kind can be, and after decoding unless
encoding it again gives the same bytes: every message has one spelling. List lengths are bounded in the
types, so a forged length allocates nothing. Server to client: ``...Request``; client to server: the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

import msgspec

from fedsec.errors import ConfigError, RemoteProtocolError
from secagg.config import SessionConfig
from secagg.identity import MAX_CLIENTS
from secagg.keys import TAG_BYTES
from secagg.packing import packed_size
from secagg.shamir import SHARE_BYTES

CIPHERTEXT_BYTES = 2 * SHARE_BYTES + TAG_BYTES
KEM_PUBLIC_BYTES = 1184  # ML-KEM-768, FIPS 203 table 3
KEM_CIPHERTEXT_BYTES = 1088
SEALED_BYTES = 32 + TAG_BYTES

Index = Annotated[int, msgspec.Meta(ge=0, lt=MAX_CLIENTS)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Ciphertext = Annotated[bytes, msgspec.Meta(max_length=CIPHERTEXT_BYTES)]
ShareBytes = Annotated[bytes, msgspec.Meta(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]
UpToN = msgspec.Meta(max_length=MAX_CLIENTS)
Path = Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=14)]  # ceil(log2(10,000))
KemPublic = Annotated[bytes, msgspec.Meta(max_length=KEM_PUBLIC_BYTES)]  # empty without the hybrid
KemCiphertext = Annotated[bytes, msgspec.Meta(max_length=KEM_CIPHERTEXT_BYTES)]  # empty without the hybrid


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What all messages have in common."""


class Advertise(Message, frozen=True, tag="advertise"):
    """Step 0, client: fresh public keys for share encryption and for masks, X25519 and in the hybrid ML-KEM-768."""

    index: Index
    share_key: Bytes32
    mask_key: Bytes32
    share_kem: KemPublic
    mask_kem: KemPublic
    signature: Signature


class Pair(Message, frozen=True, tag="pair"):
    """How r_uv, the post-quantum half of a pair's secret, gets from u to v > u: :mod:`secagg.kem`."""

    kem: Annotated[bytes, msgspec.Meta(min_length=KEM_CIPHERTEXT_BYTES, max_length=KEM_CIPHERTEXT_BYTES)]
    sealed: Annotated[bytes, msgspec.Meta(min_length=SEALED_BYTES, max_length=SEALED_BYTES)]
    commitment: Bytes32


class Entry(Message, frozen=True, tag="entry"):
    """One (u, v) of a dealer u: the ciphertext for v and the leaves that commit to the two shares inside.

    In the hybrid also ``kem``, which carries a part of the ciphertext's key, and, for v > u, ``pair``.
    """

    ciphertext: Ciphertext
    kem: KemCiphertext
    self_leaf: Bytes32
    mask_leaf: Bytes32
    pair: Pair | None


class Share(Message, frozen=True, tag="share"):
    """Step 1, client: one entry for each member of U1 in its neighbourhood, in order (its own: empty ciphertext)."""

    index: Index
    entries: Annotated[tuple[Entry, ...], UpToN]
    commitment: Bytes32
    signature: Signature


class Mask(Message, frozen=True, tag="mask"):
    """Step 2, client: the masked input, bit-packed."""

    index: Index
    signature: Signature
    payload: memoryview


class Agree(Message, frozen=True, tag="agree"):
    """Step 3, client: its signature on U3."""

    index: Index
    signature: Signature


class Unmask(Message, frozen=True, tag="unmask"):
    """Step 4, client: shares of b_v for v in U3 in order, and of a_v for v in U2 without U3 in order; with a sparse
    graph, of the v in its neighbourhood."""

    index: Index
    self_shares: Annotated[tuple[ShareBytes, ...], UpToN]
    mask_shares: Annotated[tuple[ShareBytes, ...], UpToN]
    signature: Signature


class AdvertiseRequest(Message, frozen=True, tag="advertise-request"):
    """Step 0, server: the signed session configuration."""

    session: bytes
    signature: Signature


class Listing(Message, frozen=True, tag="listing"):
    """Which tree over all members a list is from: root, the server's signature on it, and, where the receiver does not
    know the whole tree, a path for each slot of its neighbourhood."""

    root: Bytes32
    signature: Signature
    paths: Annotated[tuple[Path, ...], UpToN]


class ShareRequest(Message, frozen=True, tag="share-request"):
    """Step 1, server: what U1 advertised, by rising index; with a sparse graph the client's neighbourhood of it."""

    entries: Annotated[tuple[Advertise, ...], UpToN]
    listing: Listing


class Dealing(Message, frozen=True, tag="dealing"):
    """What everybody learns of a dealer's step 1: root over its entries, commitment to b_u, signature over both."""

    index: Index
    root: Bytes32
    commitment: Bytes32
    signature: Signature


class Delivery(Message, frozen=True, tag="delivery"):
    """What one client learns of a dealer's step 1: its own entry and the path to the dealer's root."""

    dealer: Index
    entry: Entry
    path: Path


class MaskRequest(Message, frozen=True, tag="mask-request"):
    """Step 2, server: the signed round configuration, U2's dealings, and this client's deliveries, by rising index;
    with a sparse graph of its neighbourhood."""

    round_config: bytes
    signature: Signature
    dealings: Annotated[tuple[Dealing, ...], UpToN]
    listing: Listing
    deliveries: Annotated[tuple[Delivery, ...], UpToN]


class AgreeRequest(Message, frozen=True, tag="agree-request"):
    """Step 3, server: U3 by rising index."""

    survivors: Annotated[tuple[Index, ...], UpToN]


class UnmaskRequest(Message, frozen=True, tag="unmask-request"):
    """Step 4, server: who signed U3, by rising index. It names no client to unmask: that follows from U3 alone."""

    agreed: Annotated[tuple[Agree, ...], UpToN]


class Agreement(Message, frozen=True, tag="agreement"):
    """The server's record of a closed step 3, signed: which inputs the sum has, and who agreed to it."""

    sid: Bytes32
    transcript: Bytes32
    survivors: Annotated[tuple[Index, ...], UpToN]
    agreed: Annotated[tuple[Agree, ...], UpToN]
    signature: Signature


ClientMessage = Advertise | Share | Mask | Agree | Unmask
M = TypeVar("M", bound=msgspec.Struct)

_CONFIG_BYTES = 8192
_PER_CLIENT_BYTES = 4096  # the longest per-client item is a delivery with its dealing and two paths, under 3600 bytes


def encode(message: msgspec.Struct) -> bytes:
    """The one spelling of ``message``."""
    return msgspec.msgpack.encode(message)


def small_limit(clients: int) -> int:
    """Most bytes of any message without a masked input, in a cohort of ``clients``."""
    return _CONFIG_BYTES + _PER_CLIENT_BYTES * clients


def client_limit(session: SessionConfig) -> int:
    """Most bytes of any message that a client of ``session`` sends."""
    return small_limit(session.clients) + packed_size(session.dimension, session.ring_bits)


def decode(data: bytes, kind: type[M], *, limit: int, peer: int | None) -> M:
    """The message of type ``kind`` in ``data``, sent by ``peer`` (``None``: the server).

    Raises:
        RemoteProtocolError: rule "size", "format" (not this kind, or a field out of range) or "canonical".
    """
    message: M = _decode(data, kind, limit=limit, peer=peer)
    return message


def decode_client(data: bytes, *, limit: int, peer: int) -> ClientMessage:
    """The same for a message of any kind that a client sends."""
    message: ClientMessage = _decode(data, ClientMessage, limit=limit, peer=peer)
    return message


def _decode(data: bytes, kind: Any, *, limit: int, peer: int | None) -> Any:
    if len(data) > limit:
        raise RemoteProtocolError(f"a message of {len(data)} bytes, over the limit of {limit}", peer=peer, rule="size")
    try:
        message = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, ConfigError, ValueError, RecursionError) as error:
        # ValueError: msgspec lets the UnicodeDecodeError of a bad string pass through.
        # The decoder's words may quote the message, which may be secret: only ours are passed on.
        raise RemoteProtocolError("a message that is not what this step expects", peer=peer, rule="format") from error
    if msgspec.msgpack.encode(message) != data:
        raise RemoteProtocolError("a message that is not canonically encoded", peer=peer, rule="canonical")
    return message


def rising(indices: Sequence[int]) -> bool:
    """Whether ``indices`` strictly rise, hence are distinct."""
    return all(before < after for before, after in pairwise(indices))
