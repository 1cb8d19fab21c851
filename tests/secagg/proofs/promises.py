"""What a client must never do, watched from outside; and clients that do it, for the controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg import Client, State, labels, messages
from secagg.encoding import digest
from secagg.states import Call
from tests.secagg.memory import round_secrets
from tests.secagg.proofs.dishonest_server import kind_of, received_shares


class BrokenPromiseError(Exception):
    """A client did what it must never do."""


@dataclass
class Watched:
    """A client, and what it has given away.

    Attributes:
        emitted: all replies. shares: whose share, of which kind, the bytes are that it received.
        place: round, transcript and U2 that it masked for, once it has; public.
        aborted: whether it refused a request, or was told to abort.
    """

    client: Client
    emitted: list[bytes] = field(default_factory=list)
    shares: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    place: Any = None
    aborted: bool = False

    def do(self, act: Callable[[Client], Any]) -> bool:
        """Do something to the client; say whether anything came of it.

        Raises:
            BrokenPromiseError: there are now two kinds of share for a peer, two lists of survivors signed, two masked
                inputs or two different answers to any other step; or after an abort it speaks or knows secrets.
        """
        before = self.client.state, len(set(self.emitted))
        was_aborted = self.aborted
        try:
            reply = act(self.client)
        except RemoteProtocolError:
            self.aborted, reply = True, None
        except LocalProtocolError:
            reply = None
        self.aborted |= self.client.state is State.ABORTED
        if isinstance(reply, bytes):
            self.emitted.append(reply)
        if self.client.state is State.MASKED and not self.shares:
            self.shares, self.place = received_shares(self.client)
        if was_aborted and reply is not None:
            raise BrokenPromiseError("speaks after an abort")
        self.check()
        return (self.client.state, len(set(self.emitted))) != before

    def check(self) -> None:
        if self.aborted and (self.client.state is not State.ABORTED or round_secrets(self.client)):
            raise BrokenPromiseError("knows secrets after an abort")
        kinds = [kind_of(reply) for reply in set(self.emitted)]
        for kind, promise in ((messages.Agree, "two lists of survivors"), (messages.Mask, "two masked inputs")):
            if kinds.count(kind) > 1:
                raise BrokenPromiseError(promise)
        if len(kinds) != len(set(kinds)):
            raise BrokenPromiseError("two answers to one step")
        revealed = self.revealed()
        if len({dealer for dealer, _ in revealed}) != len(revealed):
            raise BrokenPromiseError("two kinds of share for a peer")

    def revealed(self) -> set[tuple[int, str]]:
        """Dealer and kind of every received share whose bytes are in a reply."""
        return {place for share, place in self.shares.items() if any(share in reply for reply in self.emitted)}


def forgetful(forgotten: Call) -> type[Client]:
    """Clients that answer ``forgotten`` and are then as before."""

    class Forgetful(Client):
        def _answer(self, call: Call, request: bytes, respond: Any) -> Any:
            before = self._phase, self._state
            reply = super()._answer(call, request, respond)
            if call is forgotten:
                self._phase, self._state = before
                self._answered.pop(call)
            return reply

    return Forgetful


class RevealsBoth(Client):
    """Reveals shares of every a_v, and of b_v for the survivors."""

    def _agree(self, data: bytes) -> bytes:
        before: Any = self._phase
        reply = super()._agree(data)
        self._phase = replace(self._phase, mask_shares=tuple(before.mask_shares.values()))
        return reply


class NeverAborts(Client):
    """Refuses a wrong request and carries on."""

    def abort(self) -> None:
        pass


class RepeatsItself(Client):
    """Has its old replies at hand after an abort too."""

    def _answer(self, call: Call, request: bytes, respond: Any) -> Any:
        replies = vars(self).setdefault("replies", {})
        if (call, request) not in replies:
            replies[call, request] = super()._answer(call, request, respond)
        return replies[call, request]


class ShrugsOff(Client):
    """Passes over a second, different request for a step, and can be asked the next one."""

    def _answer(self, call: Call, request: bytes, respond: Any) -> Any:
        if call in self._answered and self._answered[call].request != digest(labels.MESSAGE, request):
            raise LocalProtocolError("was answered before")
        return super()._answer(call, request, respond)


class RollsBack(Client):
    """Is after step 4 what it was after step 2, as on a machine restored from a snapshot."""

    def _answer(self, call: Call, request: bytes, respond: Any) -> Any:
        reply = super()._answer(call, request, respond)
        if call is Call.MASK:
            vars(self)["snapshot"] = self._phase, self._state
        if call is Call.UNMASK:
            self._phase, self._state = vars(self)["snapshot"]
            del self._answered[Call.AGREE], self._answered[Call.UNMASK]
        return reply
