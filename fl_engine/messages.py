"""What travels between coordinator and bank around the secure-aggregation messages.

Every field that a bank sends has a row in docs/releases.md; a test compares them. Decoding is strict: unknown fields
and non-canonical encodings are refused, and so is a message that is longer than its kind can be, before it is decoded.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fedsec.errors import ConfigError, RemoteProtocolError
from fl_engine.plan import TaskPlan
from fl_engine.scaling import Standardiser
from secagg.config import SessionConfig
from secagg.encoding import digest
from secagg.messages import client_limit, small_limit

INPUTS_LABEL = b"fedsec/v1/inputs"

OFFER_BYTES = 1 << 16  # a plan of 200 banks and a network of ten layers takes about 4 KiB
ANSWER_BYTES = 32
COUNTERSIGNED_BYTES = 128
_ENVELOPE_BYTES = 256  # names and lengths of fields, an attempt's number, a step's name


class Offer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Coordinator to bank, once a task: the canonical bytes of the plan and the coordinator's signature over them."""

    plan: bytes
    signature: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bank to coordinator, once a task: yes, or no without a reason."""

    accepted: bool


class RoundInputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an attempt is computed from: float32 little-endian weights, and the scaling once it is known."""

    weights: bytes
    standardiser: Standardiser | None

    def encode(self) -> bytes:
        """Canonical bytes; their :func:`inputs_digest` is the round's model digest, so it is in every mask key."""
        return msgspec.msgpack.encode(self)


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Coordinator to bank: a secure-aggregation request of one step; ``inputs`` only at the step "mask"."""

    attempt: int
    step: str
    payload: bytes
    inputs: bytes = b""


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bank to coordinator: the secure-aggregation reply."""

    attempt: int
    step: str
    payload: bytes


class Countersign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Coordinator to bank, once a task is settled: the statement of the run, as it is to be signed, and the files of
    the rounds that it is about, in its order."""

    payload: bytes
    rounds: tuple[bytes, ...]


class Countersigned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bank to coordinator: its signature on an envelope with that payload."""

    signature: bytes


Message = TypeVar("Message", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    """Canonical MessagePack of a message."""
    return msgspec.msgpack.encode(message)


def inputs_limit(plan: TaskPlan) -> int:
    """Most bytes of encoded :class:`RoundInputs` in the task of ``plan``."""
    return _ENVELOPE_BYTES + 4 * plan.model.parameters + 16 * plan.numeric_width


def request_limit(plan: TaskPlan) -> int:
    """Most bytes of an encoded :class:`Request` in the task of ``plan``."""
    return _ENVELOPE_BYTES + small_limit(plan.clients) + inputs_limit(plan)


def reply_limit(session: SessionConfig) -> int:
    """Most bytes of an encoded :class:`Reply` in an attempt with ``session``."""
    return _ENVELOPE_BYTES + client_limit(session)


def countersign_limit(plan: TaskPlan) -> int:
    """Most bytes of an encoded :class:`Countersign` in the task of ``plan``."""
    pairs = plan.clients**2 // 4  # of a survivor and a dropped bank, where seeds were kept
    attempts = sum(
        planned.attempts * (3 * small_limit(plan.clients) + small_limit(pairs) + 8 * planned.dimension)
        for planned in plan.sums
    )
    return OFFER_BYTES + attempts


def decode(data: bytes, kind: type[Message], *, limit: int, peer: int | None) -> Message:
    """A message of ``kind``, of at most ``limit`` bytes, from ``peer`` (None: the coordinator).

    Raises:
        RemoteProtocolError: rule "size"; or "encoding": it does not decode, or is not the canonical encoding of what
            it decodes to.
    """
    if len(data) > limit:
        raise RemoteProtocolError(
            f"a message of {len(data)} bytes from {sender(peer)}, over the limit of {limit}", peer=peer, rule="size"
        )
    try:
        message = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, ConfigError, ValueError, RecursionError):
        # ConfigError: a struct that refuses its fields. ValueError: msgspec lets the UnicodeDecodeError of a bad
        # string pass through.
        raise RemoteProtocolError(
            f"a message from {sender(peer)} is no {kind.__name__}", peer=peer, rule="encoding"
        ) from None
    if encode(message) != data:
        raise RemoteProtocolError(
            f"a {kind.__name__} from {sender(peer)} is not canonically encoded", peer=peer, rule="encoding"
        )
    return message


def sender(peer: int | None) -> str:
    """How a peer is called in a message."""
    return "the coordinator" if peer is None else f"bank {peer}"


def inputs_digest(inputs: bytes) -> bytes:
    """The model digest of a round: labelled SHA-256 (:mod:`secagg.encoding`) of encoded :class:`RoundInputs`."""
    return digest(INPUTS_LABEL, inputs)
