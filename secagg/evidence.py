"""What the server of a session can show of it afterwards: every signature, no masked input and no share.

Whoever has :class:`RoundEvidence` recomputes kid, T1, sid and T2 from what was signed, and verifies each signature
under the roster's keys. It tells which inputs a sum has and who agreed to that; it holds nothing that a listener on the
server's lines does not see, but the opened total. Only where masked inputs are kept on purpose are the seeds in it that
the opening revealed: with both, anybody can add up the inputs again and take the masks off.

Steps that were not reached are empty. What came in before a step failed to close is there all the same, with its
sender's signature; the server's own signature on the step is then empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedsec.errors import ConfigError, LocalProtocolError
from secagg import transcript
from secagg.config import RoundConfig, SessionConfig
from secagg.messages import Advertise, Agree, Bytes32, Dealing, Entry, Index, Message, Path, Signature, UpToN

VERSION = 1
ServerSignature = Annotated[bytes, msgspec.Meta(max_length=64)]  # empty where the step did not close


class Masked(Message, frozen=True, tag="masked"):
    """That a client sent a masked input: its digest (label ``MASKED_INPUT``) and the client's signature on it."""

    index: Index
    digest: Bytes32
    signature: Signature


class Revealed(Message, frozen=True, tag="revealed"):
    """That a client revealed its shares: their digest (label ``REVEALED``) and the client's signature on it."""

    index: Index
    digest: Bytes32
    signature: Signature


class PairEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``lower`` dealt ``higher``, with its path to the root that ``lower`` signed: it commits to their r_uv."""

    lower: Index
    higher: Index
    entry: Entry
    path: Path


class Seeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"own": "self"}):
    """What the opening revealed: b_u of U3 (encoded as "self"), a_v of U2 without U3, and for each survivor with each
    dropped neighbour the entry that commits to the post-quantum half of their secret. Each by rising index."""

    own: Annotated[tuple[tuple[Index, Bytes32], ...], UpToN]
    mask: Annotated[tuple[tuple[Index, Bytes32], ...], UpToN]
    pairs: tuple[PairEntry, ...]


def revealed_seeds(
    own: Mapping[int, bytes],
    mask: Mapping[int, bytes],
    pairs: Sequence[tuple[int, int]],
    *,
    entries: Mapping[int, Mapping[int, Entry]],
    paths: Mapping[int, Mapping[int, Path]],
) -> Seeds:
    """The seeds b_u and a_v by rising index, with the entries of ``pairs`` (lower, higher) and their paths, both by
    dealer and receiver."""
    return Seeds(
        own=tuple(own.items()),
        mask=tuple(mask.items()),
        pairs=tuple(
            PairEntry(lower=lower, higher=higher, entry=entries[lower][higher], path=paths[lower][higher])
            for lower, higher in pairs
        ),
    )


class RoundEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One session, from what was signed in it. Lists are by rising index; bytes are as they were signed.

    Attributes:
        session: encoded :class:`SessionConfig`; session_signature: the server's.
        advertised: U1 once closed; members_signature: the server's, on the root over it.
        round_config: encoded :class:`RoundConfig`; round_config_signature: the server's.
        dealings: U2 once closed; dealers_signature: the server's, on the root over it.
        masked: U3 once closed.
        agreed: everybody who signed U3; agreement_signature: the server's, on U3.
        revealed: everybody who answered the unmasking; convicted: those of them whose shares were false.
        total: the opened sum, int64 little-endian ``[d]``; empty unless it was opened.
        seeds: of an opened sum whose masked inputs were kept, else None.
    """

    version: int = VERSION
    session: bytes
    session_signature: ServerSignature
    advertised: Annotated[tuple[Advertise, ...], UpToN]
    members_signature: ServerSignature
    round_config: bytes
    round_config_signature: ServerSignature
    dealings: Annotated[tuple[Dealing, ...], UpToN]
    dealers_signature: ServerSignature
    masked: Annotated[tuple[Masked, ...], UpToN]
    agreed: Annotated[tuple[Agree, ...], UpToN]
    agreement_signature: ServerSignature
    revealed: Annotated[tuple[Revealed, ...], UpToN]
    convicted: Annotated[tuple[Index, ...], UpToN]
    total: bytes
    seeds: Seeds | None

    def encode(self) -> bytes:
        """The one spelling of it, as a round's file holds it."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> RoundEvidence:
        """The evidence in ``data``.

        Raises:
            ConfigError: it is none, of another version, not canonical, or not in order of rising indices.
        """
        try:
            found = msgspec.msgpack.decode(data, type=cls)
        except (msgspec.MsgspecError, ConfigError, ValueError, RecursionError):
            raise ConfigError("a round's evidence does not decode") from None
        lists = (found.advertised, found.dealings, found.masked, found.agreed, found.revealed)
        rising = all([entry.index for entry in each] == sorted({entry.index for entry in each}) for each in lists)
        if found.version != VERSION or not rising or found.encode() != data:
            raise ConfigError("a round's evidence is of another version, or not in its one spelling")
        return found

    def places(self) -> Places:
        """The hashes that signatures are bound to, recomputed; empty where a step was not reached.

        Raises:
            ConfigError: the session or the round configuration in it is none.
        """
        session = _decoded(self.session, SessionConfig)
        first = sid = second = b""
        if self.members_signature:
            first = transcript.t1(session.kid, transcript.members_root(self.advertised, session.clients)[0])
        if self.dealers_signature:
            sid = _decoded(self.round_config, RoundConfig).sid
            second = transcript.t2(sid, first, transcript.dealers_root(self.dealings, session.clients)[0])
        return Places(kid=session.kid, t1=first, sid=sid, t2=second)

    @property
    def members(self) -> tuple[int, ...]:
        """U1, by rising index; empty if step 0 did not close."""
        return tuple(entry.index for entry in self.advertised) if self.members_signature else ()

    @property
    def dealers(self) -> tuple[int, ...]:
        """U2, by rising index; empty if step 1 did not close."""
        return tuple(entry.index for entry in self.dealings) if self.dealers_signature else ()

    @property
    def survivors(self) -> tuple[int, ...]:
        """U3, by rising index; empty if step 3 did not close, so that nobody is known to have agreed."""
        return tuple(entry.index for entry in self.masked) if self.agreement_signature else ()

    @property
    def responders(self) -> tuple[int, ...]:
        """U4, by rising index: who answered the unmasking."""
        return tuple(entry.index for entry in self.revealed)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """kid, T1, sid and T2 of a session, 32 bytes each, or empty."""

    kid: bytes
    t1: bytes
    sid: bytes
    t2: bytes


class Record:
    """Keeps a server's evidence while its session runs."""

    def __init__(self) -> None:
        self.signatures: dict[str, bytes] = {}  # the server's own, by field
        self.session = self.round_config = b""
        self.advertised: dict[int, Advertise] = {}
        self.dealings: dict[int, Dealing] = {}
        self.masked: dict[int, Masked] = {}
        self.agreed: dict[int, Agree] = {}
        self.revealed: dict[int, Revealed] = {}
        self.convicted: tuple[int, ...] = ()
        self.total = b""
        self.seeds: Seeds | None = None

    def opened(self, total: NDArray[np.int64], seeds: Seeds | None) -> None:
        """Note the opened sum, int64 ``(d,)``, and what is kept of its seeds."""
        self.total = total.astype("<i8").tobytes()
        self.seeds = seeds

    def evidence(self) -> RoundEvidence:
        """What there is so far.

        Raises:
            LocalProtocolError: the session was not opened.
        """
        if not self.session:
            raise LocalProtocolError("there is no evidence of a session before it is opened")
        return RoundEvidence(
            session=self.session,
            session_signature=self._signature("session"),
            advertised=_by_index(self.advertised),
            members_signature=self._signature("members"),
            round_config=self.round_config,
            round_config_signature=self._signature("round_config"),
            dealings=_by_index(self.dealings),
            dealers_signature=self._signature("dealers"),
            masked=_by_index(self.masked),
            agreed=_by_index(self.agreed),
            agreement_signature=self._signature("agreement"),
            revealed=_by_index(self.revealed),
            convicted=self.convicted,
            total=self.total,
            seeds=self.seeds,
        )

    def _signature(self, of: str) -> bytes:
        return self.signatures.get(of, b"")


T = TypeVar("T")


def _by_index(entries: dict[int, T]) -> tuple[T, ...]:
    return tuple(entries[index] for index in sorted(entries))


def _decoded(data: bytes, kind: type[T]) -> T:
    config: Any
    try:
        config = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, ConfigError, ValueError, RecursionError):
        raise ConfigError(f"a round's evidence holds no {kind.__name__}") from None
    if msgspec.msgpack.encode(config) != data:
        raise ConfigError(f"a round's evidence holds a {kind.__name__} in another spelling")
    found: T = config
    return found
