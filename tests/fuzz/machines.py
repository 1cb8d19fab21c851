"""Both state machines under hostile messages, from prepared states that are put back after each input.

A client aborts on the first bad request and a server is moved by the first good reply, so each input needs the state
from before it. Making that anew costs milliseconds of cryptography; instead every attribute of the object is kept and
restored. Both objects replace what they hold, or change it in place only in containers and an accumulator of their own,
which are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import numpy as np

from fedsec.errors import CohortError, LocalProtocolError, RemoteProtocolError
from secagg import Client, Server, State, messages
from secagg.evidence import Record
from secagg.identity import verify
from tests.fuzz.target import Target
from tests.secagg.helpers import STEPS, Federation, decode, sparse
from tests.secagg.make_vectors import counted_randomness

VICTIM = 0
LATE = 3  # the bank whose reply is still missing at each prepared server
REQUESTS = (
    messages.AdvertiseRequest,
    messages.ShareRequest,
    messages.MaskRequest,
    messages.AgreeRequest,
    messages.UnmaskRequest,
)
REPLIES = (messages.Advertise, messages.Share, None, messages.Agree, messages.Unmask)  # accept() replies nothing
SENDERS = 32  # numbers that a sender may have in an input, in the roster or outside
ROUND_EVERY = 400  # server inputs after which the round is finished and its sum compared

MUTABLE = (dict, set, list, np.ndarray)

Kept = dict[str, Any]


def keep(machine: Any) -> Kept:
    """Everything that ``machine`` holds, independent of what it does next."""
    return {place: _copy(getattr(owner, name)) for place, owner, name in _places(machine)}


def restore(machine: Any, kept: Kept) -> None:
    """Put ``machine`` back to where it was when ``kept`` was taken; ``kept`` can be used again."""
    for place, owner, name in _places(machine):
        setattr(owner, name, _copy(kept[place]))


def changes(before: Kept, machine: Any) -> list[str]:
    """Names of the attributes that differ from ``before``."""
    return [
        place
        for place, owner, name in _places(machine)
        if (
            value.tobytes() != before[place].tobytes()
            if isinstance(value := getattr(owner, name), np.ndarray)
            else value != before[place]
        )
    ]


def _places(machine: Any) -> list[tuple[str, Any, str]]:
    """Where ``machine`` holds something: what it is called, in which object, as which attribute."""
    found = []
    for name, value in vars(machine).items():
        if isinstance(value, Record):  # a part of the server
            found += [(f"{name}.{place}", owner, inner) for place, owner, inner in _places(value)]
        else:
            found.append((name, machine, name))
    return found


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, MUTABLE) else value


@contextmanager
def signing_anything(keys: Collection[bytes]) -> Iterator[None]:
    """Whoever has one of the public ``keys`` signs whatever is wanted: its signatures are valid on all bytes."""

    def lenient(public_key: bytes, *statement: bytes) -> bool:
        return public_key in keys or verify(public_key, *statement)

    with (
        mock.patch("secagg.rounds.verify", lenient),
        mock.patch("secagg.server.verify", lenient),
        mock.patch("secagg.draw.verify", lenient),
    ):
        yield


def everybody(federation: Federation) -> set[bytes]:
    """The public keys of server and banks."""
    return {federation.roster.server, *(key for _, key in federation.roster.members)}


def _answer(client: Client, step: int, request: bytes) -> Any:
    return client.accept(request) if STEPS[step] == "mask" else getattr(client, STEPS[step])(request)


class ClientMachine:
    """One client at each of its five requests; the first byte of an input chooses which, the rest is the request.

    ``seeds`` are the honest requests of ``steps``.
    """

    def __init__(
        self,
        *,
        collude: bool,
        victim: type[Client] = Client,
        steps: Collection[str] = STEPS,
        make: Callable[[], Federation] = Federation,
    ) -> None:
        self._signers = everybody(make()) if collude else set()
        self._prepared: list[tuple[Client, Kept, bytes]] = []
        with counted_randomness():
            for step in STEPS:
                federation = make()
                federation.clients[VICTIM] = victim(
                    index=VICTIM,
                    identity=federation.identities[VICTIM],
                    roster=federation.roster,
                    policy=federation.clients[VICTIM]._policy,
                )
                # A dropout among its neighbours at step 3, so that both kinds of share are revealed.
                dropped = max(set(federation.session.neighbourhood(VICTIM)) - {VICTIM})
                federation.run(until=step, drop={"mask": (dropped,)})
                client = federation.clients[VICTIM]
                self._prepared.append((client, keep(client), federation.requests[VICTIM]))

        self.seeds = tuple(
            bytes([step]) + request for step, (_, _, request) in enumerate(self._prepared) if STEPS[step] in steps
        )

    def prepared(self, step: int) -> Client:
        """The client as it waits for the request of ``step``."""
        client, before, _ = self._prepared[step]
        restore(client, before)
        return client

    def __call__(self, data: bytes) -> str:
        """Hand the request over, look at what is left of the client, and put it back."""
        step, request = (data[0] if data else 0) % len(STEPS), data[1:]
        client, before, honest = self._prepared[step]
        restore(client, before)
        try:
            with signing_anything(self._signers):
                reply = _answer(client, step, request)
        except RemoteProtocolError as error:
            assert client.state is State.ABORTED, "a client that refused did not abort"
            assert client._phase is None and not client._answered, "a client that aborted kept its secrets"
            assert error.__traceback__ is None or error.__traceback__.tb_next is not None
            _is_silent(client, step, honest)
            return f"refused: {error.rule}"
        kind = REPLIES[step]
        assert kind is None or decode(reply, kind).index == VICTIM, "a reply of another kind"
        assert client.state not in (State.ABORTED, before["_state"]), "an answer without a step"
        if not self._signers and request != honest:
            everyone = range(client.session.clients)
            _is_part_of(decode(request, REQUESTS[step]), decode(honest, REQUESTS[step]), everyone)
        return "accepted"


def _is_silent(client: Client, step: int, honest: bytes) -> None:
    try:
        _answer(client, step, honest)
    except LocalProtocolError:
        return
    raise AssertionError("a client that aborted answered again")


def _is_part_of(request: Any, honest: Any, everyone: Collection[int]) -> None:
    """What an honest client answers says nothing new: its lists are parts of the honest ones, all else is equal.

    But for the survivors: which of the dealers they are is the server's to say.
    """
    for name in request.__struct_fields__:
        mine, theirs = getattr(request, name), getattr(honest, name)
        theirs = everyone if name == "survivors" else theirs
        if isinstance(mine, messages.Listing):  # on a sparse graph a list loses a member and its path together
            _is_part_of(mine, theirs, everyone)
            continue
        known = set(mine) <= set(theirs) if isinstance(mine, tuple) else mine == theirs
        assert known, f"a forged {name} was answered"


def _with_replies(
    step: str, *, late: int, make: Callable[[], Federation] = Federation
) -> tuple[Federation, dict[int, bytes]]:
    """A federation at ``step`` with all replies but that of ``late`` received, and all replies."""
    with counted_randomness():
        federation = make().run(until=step)
        replies = {index: federation.reply(step, index, federation.requests[index]) for index in federation.requests}
    for index, reply in replies.items():
        if index != late:
            federation.server.receive(index, reply)
    return federation, replies


class ServerMachine:
    """The server at each of its five steps; the first byte of an input chooses step and sender, the rest is the reply.

    With ``collude`` the sender's signatures are always valid: a dishonest bank signs what it sends.
    """

    def __init__(
        self,
        *,
        collude: bool,
        server: type[Server] = Server,
        round_every: int = ROUND_EVERY,
        make: Callable[[], Federation] = Federation,
    ) -> None:
        self._make = make
        self._signers = everybody(make()) if collude else set()
        self._kind = server
        self._every = round_every
        self._count = [0] * len(STEPS)
        self._prepared = [self._prepare(step) for step in STEPS]

    def _prepare(self, step: str) -> tuple[Federation, dict[int, bytes], Kept]:
        federation, replies = _with_replies(step, late=LATE, make=self._make)
        federation.server.__class__ = self._kind
        return federation, replies, keep(federation.server)

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """Every bank's honest reply at each step; that of the late bank as often as those of all others together."""
        return tuple(
            bytes([SENDERS * step + sender]) + reply
            for step, (_, replies, _) in enumerate(self._prepared)
            for sender, reply in replies.items()
            for _ in range(len(replies) - 1 if sender == LATE else 1)
        )

    def __call__(self, data: bytes) -> str:
        """Hand the reply over and look whether a refusal changed anything; now and then finish the round."""
        selector, reply = (data[0] if data else 0), data[1:]
        sender, step = selector % SENDERS, selector // SENDERS % len(STEPS)
        federation, replies, before = self._prepared[step]
        server = federation.server
        try:
            with signing_anything(self._signers):
                server.receive(sender, reply)
        except RemoteProtocolError as error:
            assert not (changed := changes(before, server)), f"a refused message changed {changed}"
            assert error.peer == sender, "somebody else was blamed"
            outcome = f"refused: {error.rule}"
        else:
            changed = changes(before, server)
            outcome = "accepted" if changed else "discarded"
            assert not changed or sender == LATE, "an answer counted twice"
            assert not changed or self._signers or reply == replies[LATE], "a forged reply was accepted"
            restore(server, before)
        self._count[step] += 1
        if self._count[step] % self._every == 0:
            self._finish(step)
        return outcome

    def _finish(self, step: int) -> None:
        """The same server, after all that: the late reply comes, and the sum is exact."""
        federation, replies, before = self._prepared[step]
        clients = [(client, keep(client)) for client in federation.clients]
        federation.server.receive(LATE, replies[LATE])
        federation.close(STEPS[step])
        for name in STEPS[step + 1 :]:
            federation.collect(name)
            federation.close(name)
        assert np.array_equal(federation.opened().total, federation.plain_sum(range(federation.n))), "another sum"
        # Put back and not made anew: encapsulation takes no coins, so a second dealing would be another one.
        for machine, kept in ((federation.server, before), *clients):
            restore(machine, kept)


class SpoiltRound:
    """Whole rounds with one dishonest bank: it sends one message of an input's choice, properly signed, and goes on.

    The others are honest, and what they make of it is played to the end: an error that names a rule, or a sum. Where
    its message was refused it has dropped out, and the sum is exactly that of the others.
    """

    def __init__(self) -> None:
        self._prepared = []
        for step in STEPS:
            federation, replies = _with_replies(step, late=LATE)
            machines = [federation.server, *federation.clients]
            self._prepared.append((federation, replies, [(machine, keep(machine)) for machine in machines]))

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """The dishonest bank's honest reply at each step."""
        return tuple(bytes([step]) + replies[LATE] for step, (_, replies, _) in enumerate(self._prepared))

    def __call__(self, data: bytes) -> str:
        """Play one round from the chosen step on."""
        first, reply = (data[0] if data else 0) % len(STEPS), data[1:]
        federation, _, kept = self._prepared[first]
        for machine, before in kept:
            restore(machine, before)
        with signing_anything({federation.roster.public_key(LATE)}):
            return self._play(federation, first, reply)

    def _play(self, federation: Federation, first: int, reply: bytes) -> str:
        try:
            federation.server.receive(LATE, reply)
            taken = LATE not in federation.server.awaited
        except RemoteProtocolError:
            taken = False
        try:
            self._go_on(federation, first, set() if taken else {LATE})
        except (CohortError, RemoteProtocolError) as error:
            assert taken, "a refused message ended the round"
            return f"not opened: {getattr(error, 'rule', 'cohort')}"
        opened = federation.opened()
        assert taken or LATE not in opened.survivors or STEPS[first] in ("agree", "unmask")
        if not taken:
            assert np.array_equal(opened.total, federation.plain_sum(opened.survivors)), "another sum"
        return "opened" if taken else "opened without it"

    def _go_on(self, federation: Federation, first: int, lost: set[int]) -> None:
        requests = federation.server.advance(federation.round if STEPS[first] == "share" else None)
        for step in STEPS[first + 1 :]:
            for index, request in requests.items():
                if index in lost:
                    continue
                try:
                    honest = federation.reply(step, index, request)
                except RemoteProtocolError:
                    lost.add(index)  # it saw what the dishonest bank did, and is silent
                    continue
                except LocalProtocolError:
                    assert index == LATE, "an honest bank was led astray"
                    continue
                federation.server.receive(index, honest)
            requests = federation.server.advance(federation.round if step == "share" else None)


def _target(name: str, machine: Callable[[bytes], str]) -> Target:
    return Target(name=name, check=machine, seeds=machine.seeds, selectors=1)  # type: ignore[attr-defined]


def on_a_sparse_graph() -> Federation:
    """Twenty banks, of which each knows a few."""
    return sparse(20, order=b"\x05" * 32)


@cache
def client_target() -> Target:
    """A client whose server has no signature but its own."""
    return _target("client", ClientMachine(collude=False))


@cache
def colluding_client_target() -> Target:
    """A client whose server and peers sign anything."""
    return _target("client-alone", ClientMachine(collude=True))


@cache
def server_target() -> Target:
    """A server whose banks have lost no key."""
    return _target("server", ServerMachine(collude=False))


@cache
def colluding_server_target() -> Target:
    """A server whose banks sign anything."""
    return _target("server-dishonest-bank", ServerMachine(collude=True))


@cache
def sparse_client_target() -> Target:
    """A client on a sparse graph, whose server has no signature but its own."""
    return _target("client-sparse", ClientMachine(collude=False, make=on_a_sparse_graph))


@cache
def sparse_server_target() -> Target:
    """A server on a sparse graph, whose banks sign anything."""
    return _target("server-sparse", ServerMachine(collude=True, make=on_a_sparse_graph))


@cache
def round_target() -> Target:
    """Whole rounds with a dishonest bank."""
    return _target("spoilt-rounds", SpoiltRound())
