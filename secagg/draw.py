"""The order under a sparse graph, drawn so that nobody chooses it: commit, then reveal, once for a roster.

Every member draws 32 random bytes and sends a commitment; the server lists all commitments and signs the list; only
then does a member reveal, once; the seed is the hash of all reveals (Blum, 1981, for many). Whoever has one
honest member among those who reveal cannot have chosen the seed: when the list was signed, that member's bytes were
still unknown to everybody else.

What is left to a cheat is to see the seed first and not reveal. So there is one draw for a roster: a member that
stays silent has to leave, and a new roster is a new pinned digest, seen by everybody. The draw comes before any round,
so nobody knows by then who will be there. The seed is public; both sides of it are for whoever set the roster up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, NoReturn

import msgspec

from fedsec.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from fedsec.exclusive import Exclusive
from secagg import labels
from secagg.encoding import digest, number
from secagg.identity import MAX_CLIENTS, Identity, Roster, verify
from secagg.messages import Bytes32, Index, Message, Signature, decode, encode, small_limit

NONCE_BYTES = 32
Nonces = Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_CLIENTS)]


class Commit(Message, frozen=True, tag="draw-commit"):
    """A member's commitment to its nonce."""

    index: Index
    commitment: Bytes32
    signature: Signature


class RevealRequest(Message, frozen=True, tag="draw-reveal-request"):
    """Server: every member's commitment, by index, signed."""

    commitments: Nonces
    signature: Signature


class Reveal(Message, frozen=True, tag="draw-reveal"):
    """A member's nonce."""

    index: Index
    nonce: Bytes32
    signature: Signature


class Drawn(Message, frozen=True, tag="drawn"):
    """Server: every member's nonce, by index."""

    nonces: Nonces


class DrawState(Enum):
    """Where a member stands."""

    NEW = "new"
    COMMITTED = "committed"
    REVEALED = "revealed"
    DONE = "done"
    ABORTED = "aborted"


class Drawer(Exclusive):
    """One member's part in the draw of its roster's order.

    Use one object for a roster, ever: a member that reveals twice lets the server choose. It cannot be copied.

    Args:
        index, identity, roster: as for :class:`secagg.client.Client`.

    Raises:
        ConfigError: the roster has another key at ``index``.
    """

    def __init__(self, *, index: int, identity: Identity, roster: Roster) -> None:
        if not 0 <= index < len(roster.members) or roster.public_key(index) != identity.public_key:
            raise ConfigError(f"the roster does not list this identity as member {index}")
        super().__init__()
        self._index = index
        self._identity = identity
        self._roster = roster
        self._digest = roster.digest  # once: it hashes the whole roster, and every commitment has it
        self._state = DrawState.NEW
        self._nonce = os.urandom(NONCE_BYTES)
        self._listed: tuple[bytes, ...] = ()

    def commit(self) -> bytes:
        """The signed commitment, for the server.

        Raises:
            LocalProtocolError: it was made before.
        """
        with self._alone():
            self._expect(DrawState.NEW)
            commitment = _commitment(self._digest, self._index, self._nonce)
            statement = (labels.SIGN_DRAW_COMMIT, self._digest, number(self._index), commitment)
            self._state = DrawState.COMMITTED
            return encode(Commit(index=self._index, commitment=commitment, signature=self._identity.sign(*statement)))

    def reveal(self, request: bytes) -> bytes:
        """The signed nonce, once the server has signed a list with everybody's commitment and this one's unchanged.

        Raises:
            RemoteProtocolError: rules "size", "format", "canonical", "signature", "list"; nothing is ever revealed.
            LocalProtocolError: not the time for it.
        """
        with self._alone():
            self._expect(DrawState.COMMITTED)
            self._state = DrawState.ABORTED  # until every check has passed
            message = decode(request, RevealRequest, limit=small_limit(len(self._roster.members)), peer=None)
            if not verify(self._roster.server, message.signature, *_list(self._digest, message.commitments)):
                _refuse("the list of commitments is not signed by the server", "signature")
            if len(message.commitments) != len(self._roster.members):
                _refuse("the list has not one commitment for every member", "list")
            if message.commitments[self._index] != _commitment(self._digest, self._index, self._nonce):
                _refuse("the server changed this member's commitment", "list")
            self._listed = message.commitments
            statement = (labels.SIGN_DRAW_REVEAL, self._digest, number(self._index), self._nonce)
            self._state = DrawState.REVEALED
            return encode(Reveal(index=self._index, nonce=self._nonce, signature=self._identity.sign(*statement)))

    def finish(self, request: bytes) -> bytes:
        """The seed, 32 bytes, from everybody's nonces; what :class:`secagg.policy.ClientPolicy` then asks for.

        Raises:
            RemoteProtocolError: rules "size" etc., or "opening": a nonce that is not what was committed to.
            LocalProtocolError: not the time for it.
        """
        with self._alone():
            self._expect(DrawState.REVEALED)
            self._state = DrawState.ABORTED
            message = decode(request, Drawn, limit=small_limit(len(self._roster.members)), peer=None)
            opened = tuple(_commitment(self._digest, index, nonce) for index, nonce in enumerate(message.nonces))
            if opened != self._listed:
                _refuse("the nonces are not those that the members committed to", "opening")
            self._state = DrawState.DONE
            return _seed(self._digest, message.nonces)

    def _expect(self, state: DrawState) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"a draw that is {self._state.value} is not {state.value}")


class DrawServer:
    """The server's part: collects, lists, passes on. It learns no more than everybody.

    Args:
        identity: the server's, whose public key the roster has.
        roster: all of its members take part.

    Raises:
        ConfigError: the roster names another server.
    """

    def __init__(self, *, identity: Identity, roster: Roster) -> None:
        if identity.public_key != roster.server:
            raise ConfigError("the roster names another server")
        self._identity = identity
        self._roster = roster
        self._digest = roster.digest
        self._commitments: dict[int, bytes] = {}
        self._nonces: dict[int, bytes] = {}

    def receive_commit(self, sender: int, data: bytes) -> None:
        """Take a commitment.

        Raises:
            RemoteProtocolError: rules "size", "format", "canonical", "sender", "once", "signature"; nothing changed.
        """
        message = decode(data, Commit, limit=small_limit(0), peer=sender)
        self._check(sender, message.index, self._commitments)
        statement = (labels.SIGN_DRAW_COMMIT, self._digest, number(sender), message.commitment)
        if not verify(self._roster.public_key(sender), message.signature, *statement):
            _refuse(f"the commitment of bank {sender} is not signed by it", "signature", sender)
        self._commitments[sender] = message.commitment

    def list_commitments(self) -> bytes:
        """The signed list, for every member; it is the only one there will be.

        Raises:
            LocalProtocolError: not all members have committed.
        """
        commitments = _complete(self._commitments, self._roster, "committed")
        signature = self._identity.sign(*_list(self._digest, commitments))
        return encode(RevealRequest(commitments=commitments, signature=signature))

    def receive_reveal(self, sender: int, data: bytes) -> None:
        """Take a nonce.

        Raises:
            RemoteProtocolError: as :meth:`receive_commit`, and rule "opening": it is not what was committed to.
        """
        message = decode(data, Reveal, limit=small_limit(0), peer=sender)
        self._check(sender, message.index, self._nonces)
        statement = (labels.SIGN_DRAW_REVEAL, self._digest, number(sender), message.nonce)
        if not verify(self._roster.public_key(sender), message.signature, *statement):
            _refuse(f"the nonce of bank {sender} is not signed by it", "signature", sender)
        if _commitment(self._digest, sender, message.nonce) != self._commitments.get(sender):
            _refuse(f"the nonce of bank {sender} is not what it committed to", "opening", sender)
        self._nonces[sender] = message.nonce

    def finish(self) -> tuple[bytes, bytes]:
        """The seed, and what every member needs to compute it.

        Raises:
            LocalProtocolError: not all members have revealed. Those that will not have to leave the roster.
        """
        nonces = _complete(self._nonces, self._roster, "revealed")
        return _seed(self._digest, nonces), encode(Drawn(nonces=nonces))

    def _check(self, sender: int, index: int, taken: Mapping[int, bytes]) -> None:
        if index != sender or not 0 <= sender < len(self._roster.members):
            _refuse(f"bank {sender} sent a message of bank {index}", "sender", sender)
        if sender in taken:
            _refuse(f"bank {sender} took its turn in the draw before", "once", sender)


def _commitment(roster_digest: bytes, index: int, nonce: bytes) -> bytes:
    return digest(labels.DRAW_COMMITMENT, roster_digest, number(index), nonce)


def _list(roster_digest: bytes, commitments: tuple[bytes, ...]) -> tuple[bytes, bytes, bytes]:
    return (labels.SIGN_DRAW_LIST, roster_digest, b"".join(commitments))


def _seed(roster_digest: bytes, nonces: tuple[bytes, ...]) -> bytes:
    return digest(labels.DRAW_SEED, roster_digest, b"".join(nonces))


def _complete(values: Mapping[int, bytes], roster: Roster, done: str) -> tuple[bytes, ...]:
    missing = [index for index, _ in roster.members if index not in values]
    if missing:
        raise LocalProtocolError(f"{len(missing)} members have not {done}, the first of them bank {missing[0]}")
    return tuple(values[index] for index, _ in roster.members)


def _refuse(message: str, rule: str, peer: int | None = None) -> NoReturn:
    raise RemoteProtocolError(message, peer=peer, rule=rule)
