"""Both sides of the draw of a sparse graph's order, under hostile messages."""

from __future__ import annotations

from functools import cache

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg.draw import Commit, Drawer, Drawn, DrawServer, DrawState, Reveal, RevealRequest, encode
from tests.fuzz.machines import changes, everybody, keep, restore, signing_anything
from tests.fuzz.target import Target
from tests.secagg.helpers import Federation, decode

MEMBER = 0  # whose side is fuzzed
LATE = 3  # the member whose message is still missing at the server
CALLS = ("reveal", "finish", "receive_commit", "receive_reveal")
SENDERS = 32


class DrawMachine:
    """A member as it waits for the list and for the nonces, the server as it waits for one commitment and one nonce.

    The first byte of an input chooses which of the four, and for the server the sender; the rest is the message. With
    ``collude`` everybody signs anything.
    """

    def __init__(self, *, collude: bool, drawer: type[Drawer] = Drawer, server: type[DrawServer] = DrawServer) -> None:
        federation = Federation()
        self._signers = everybody(federation) if collude else set()
        roster = federation.roster
        members = [
            (drawer if i == MEMBER else Drawer)(index=i, identity=identity, roster=roster)
            for i, identity in enumerate(federation.identities)
        ]
        collecting = server(identity=federation.server_identity, roster=roster)
        opening = server(identity=federation.server_identity, roster=roster)
        commits = [member.commit() for member in members]
        for index, commit in enumerate(commits):
            opening.receive_commit(index, commit)
            if index != LATE:
                collecting.receive_commit(index, commit)
        listed = opening.list_commitments()
        member = members[MEMBER]
        committed = keep(member)
        reveals = [each.reveal(listed) for each in members]
        nonces = tuple(decode(reveal, Reveal).nonce for reveal in reveals)
        for index in set(range(len(reveals))) - {LATE}:
            DrawServer.receive_reveal(opening, index, reveals[index])
        self._member, self._states = member, (committed, keep(member))
        self._servers = tuple((each, keep(each)) for each in (collecting, opening))
        self._honest = (listed, encode(Drawn(nonces=nonces)), commits[LATE], reveals[LATE])
        self._commits, self._reveals = commits, reveals

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """Every honest message of a draw, at its place."""
        to_server = [
            bytes([SENDERS * (2 + kind) + sender]) + message
            for kind, sent in enumerate((self._commits, self._reveals))
            for sender, message in enumerate(sent)
        ]
        late = [seed for seed in to_server if seed[0] % SENDERS == LATE]
        return (bytes([0]) + self._honest[0], bytes([SENDERS]) + self._honest[1], *to_server, *late, *late)

    def __call__(self, data: bytes) -> str:
        """Hand the message over and look at what it changed."""
        selector, message = (data[0] if data else 0), data[1:]
        call = selector // SENDERS % len(CALLS)
        with signing_anything(self._signers):
            return self._ask(call, message) if call < 2 else self._tell(call, selector % SENDERS, message)

    def _ask(self, call: int, message: bytes) -> str:
        member = self._member
        restore(member, self._states[call])
        honest = self._honest[call]
        try:
            reply = getattr(member, CALLS[call])(message)
        except RemoteProtocolError as error:
            assert error.peer is None, "a bank was blamed for what the server sent"
            assert member._state is DrawState.ABORTED, "a member that refused did not abort"
            self._is_silent(call, honest)
            return f"refused: {error.rule}"
        if call == 1:
            assert message == honest, "nonces that nobody committed to gave a seed"
            return "accepted"
        assert self._signers or message == honest, "a forged list got the nonce"
        listed = decode(message, RevealRequest).commitments
        mine = decode(self._commits[MEMBER], Commit).commitment
        assert len(listed) == len(self._commits) and listed[MEMBER] == mine, "a list without it got the nonce"
        assert decode(reply, Reveal).index == MEMBER
        return "accepted"

    def _is_silent(self, call: int, honest: bytes) -> None:
        try:
            getattr(self._member, CALLS[call])(honest)
        except LocalProtocolError:
            return
        raise AssertionError("a member that aborted answered again")

    def _tell(self, call: int, sender: int, message: bytes) -> str:
        server, before = self._servers[call - 2]
        try:
            getattr(server, CALLS[call])(sender, message)
        except RemoteProtocolError as error:
            assert not (changed := changes(before, server)), f"a refused message changed {changed}"
            assert error.peer == sender, "somebody else was blamed"
            return f"refused: {error.rule}"
        restore(server, before)
        assert sender == LATE, "a member took two turns"
        if call == 3:
            nonce = decode(self._reveals[LATE], Reveal).nonce
            assert decode(message, Reveal).nonce == nonce, "a forged message was taken"
        assert self._signers or message == self._honest[call], "a forged message was taken"
        return "accepted"


@cache
def draw_target() -> Target:
    """A draw in which nobody has lost a key."""
    return _target("draw", collude=False)


@cache
def colluding_draw_target() -> Target:
    """A draw in which everybody else signs anything."""
    return _target("draw-alone", collude=True)


def _target(name: str, *, collude: bool) -> Target:
    machine = DrawMachine(collude=collude)
    return Target(name=name, check=machine, seeds=machine.seeds, selectors=1)
