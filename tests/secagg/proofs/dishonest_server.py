"""All that a dishonest server can say to one client, from parts that are known to it.

Every request that some honest server could send, for every choice of U1, U2 and model and for a traitor with two sets
of keys and two dealings, is made by the production server out of production clients' messages. Deviations are made of
these: lists with members left out or taken from other requests, fields of one request in another, requests of another
step, session or transcript, signatures on other lists, and configurations of elsewhere that the server signs for here.
What a message consists of is known to this module and to no other of the search.

Randomness is fixed for each party and call, so that a client can be made again in the state that a path leads to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, combinations, product
from typing import Any

import msgspec
import pytest

from secagg import Client, RoundConfig, Server, messages, transcript
from secagg.states import Call
from tests.secagg.helpers import POLICY, Federation, change, decode

VICTIM = 0
ORDER = list(Call)
KINDS = {
    Call.ADVERTISE: messages.AdvertiseRequest,
    Call.SHARE: messages.ShareRequest,
    Call.ACCEPT: messages.MaskRequest,
    Call.AGREE: messages.AgreeRequest,
    Call.UNMASK: messages.UnmaskRequest,
}

Request = bytes
Deed = tuple[Call, Request]  # of a call to mask() the request says which of two inputs it is: b"0" or b"1"
Path = tuple[Deed, ...]


@dataclass(frozen=True)
class Party:
    """A bank, and which of two sets of keys it advertises and of two dealings it makes. Only the traitor has two."""

    index: int
    keys: int = 0
    dealing: int = 0

    def label(self, call: Call) -> str:
        return f"{self.index} {self.keys} {self.dealing if call is Call.SHARE else 0} {call.value}"


@dataclass(frozen=True)
class Branch:
    """What an honest server did up to step 2: who advertised what, who dealt what, for which session and model."""

    session: int
    u1: tuple[Party, ...]
    u2: tuple[Party, ...] = ()
    model: int = 0


def call(client: Client, party: Party, deed: Deed, inputs: Any) -> Any:
    """Do ``deed`` to ``client``, with random bytes that depend on ``party`` and call alone."""
    name, request = deed
    blocks = 0

    def urandom(size: int) -> bytes:
        nonlocal blocks
        blocks += 1
        return hashlib.shake_256(f"{party.label(name)} {blocks}".encode()).digest(size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", urandom)
        if name is Call.MASK:
            return client.mask(inputs[int(request)])
        return getattr(client, name.value)(request)


class DishonestServer:
    """A server, and a traitor among n banks, the last one. The victim is bank 0, whose emissions are all it lacks.

    Args:
        n: banks, 3 or 4: the least number in a session has to be lowered for as long as this object is used.
        models: how many of two models the server tries.
    """

    def __init__(self, *, n: int, models: int) -> None:
        corrupt = (n - 1) // 3
        self.threshold = (n + corrupt) // 2 + 1
        changes = {"corrupt": corrupt, "threshold": self.threshold, "dimension": 2, "key_exchange": "x25519"}
        policy = replace(POLICY, min_clients=n, min_corrupt=0, key_exchanges=frozenset({"x25519"}))
        self._sessions = [Federation(n=n, changes=changes | {"round": r}, policy=policy) for r in (0, 1)]
        self.inputs = [self._sessions[0].inputs[VICTIM], self._sessions[0].inputs[1]]
        self._others = tuple(range(1, n - 1))
        self._traitor = n - 1
        self._models = models
        self._elsewhere = Federation(n=5).run(until="unmask")  # another roster; its messages are templates for others
        self._proof = decode(self._elsewhere.requests[0], messages.UnmaskRequest)
        self._list = decode(Federation(n=5).run(until="agree").requests[0], messages.AgreeRequest)
        self.branches: dict[Request, Branch] = {}  # by the request that it makes an honest server send to the victim
        for session in range(2):
            self.branches[self._opening(session)] = Branch(session, ())
            for u1 in self._first_lists():
                self.branches[self._requests(Branch(session, u1))[VICTIM]] = Branch(session, u1)

    def client(self, kind: type[Client] = Client, party: Party = Party(VICTIM)) -> Client:
        """Bank ``party`` before step 0."""
        federation = self._sessions[0]
        return kind(
            index=party.index,
            identity=federation.identities[party.index],
            roster=federation.roster,
            policy=federation.policy,
        )

    def deeds(self, path: Path) -> list[Deed]:
        """What may be done to a victim that ``path`` led to a new state at each of its deeds.

        For the step that is due every message there is, for the others those that an honest server may send.
        """
        answered = dict(path)
        due = next((name for name in ORDER if name not in answered), None)
        found = [
            (name, request)
            for name in ORDER
            for request in chain(self._honest(name, answered), self._forged(name, answered) if name is due else ())
        ]
        return list(dict.fromkeys(found))

    def is_mirrored(self, path: Path) -> bool:
        """Whether ``path`` goes on in the second session, where everything is as in the first, roles exchanged."""
        return self._branch(dict(path)).session == 1

    def is_honest(self, path: Path, deed: Deed) -> bool:
        """Whether an honest server may do ``deed`` after ``path``."""
        name, request = deed
        answered = dict(path)
        if name is not Call.UNMASK:
            return request in self._honest(name, answered)
        agreed = decode(request, KINDS[name]).agreed
        signed = self._agreed(self._branch(answered), _survivors(answered[Call.AGREE]))
        return len(agreed) >= self.threshold and all(agree in signed for agree in agreed)

    def _honest(self, name: Call, answered: dict[Call, Request]) -> Iterable[Request]:
        branch = self._branch(answered)
        match name:
            case Call.ADVERTISE:
                return [self._opening(0), self._opening(1)]
            case Call.SHARE:
                return [self._requests(Branch(branch.session, u1))[VICTIM] for u1 in self._first_lists()]
            case Call.ACCEPT:
                return [self._mask_request(branch, u2, model) for u2, model in self._second(branch)]
            case Call.MASK:
                return [b"0", b"1"] if Call.MASK in answered else [b"0"]
            case Call.AGREE:
                return [change(self._list, survivors=chosen) for chosen in self._third_lists(branch)]
            case Call.UNMASK:
                lists = [_survivors(answered[Call.AGREE])] if Call.AGREE in answered else self._third_lists(branch)
                return [change(self._proof, agreed=self._agreed(branch, survivors)) for survivors in lists]

    def _forged(self, name: Call, answered: dict[Call, Request]) -> Iterator[Request]:
        """Everything else. Where two honest requests differ in a field, that field of one is put into the other."""
        branch = self._branch(answered)
        honest = [decode(request, KINDS[name]) for request in self._honest(name, answered)] if name in KINDS else []
        yield from (_encode(spliced) for spliced in _splices(honest[:3]))
        match name:
            case Call.ADVERTISE:
                encoded = self._elsewhere.session.encode()
                yield self._signed(honest[0], "session", encoded, transcript.session(encoded))
            case Call.SHARE:
                foreign = self._honest(name, {Call.ADVERTISE: self._opening(1 - branch.session)})
                others = [decode(request, KINDS[name]) for request in foreign]
                yield from (_encode(spliced) for spliced in _splices([honest[-1], others[-1]]))
                for entries in _recombined([m.entries for m in (*honest, *others)], key=lambda entry: entry.index):
                    yield change(honest[0], entries=entries)
                    yield change(honest[0], entries=entries, listing=self._listing_of_members(branch, entries))
            case Call.ACCEPT:
                here, there = (self._sessions[session].session.kid for session in (branch.session, 1 - branch.session))
                encoded = RoundConfig(kid=there, model_digest=bytes(32), optimiser=b"").encode()
                yield self._signed(honest[0], "round_config", encoded, transcript.round_config(here, encoded))
                elsewhere = self._another_first_list(branch)
                second = self._second(elsewhere)
                others = [decode(self._mask_request(elsewhere, u2, model), KINDS[name]) for u2, model in second]
                yield from (_encode(spliced) for spliced in _splices([honest[-1], others[-1]]))
                for message in (honest[0], honest[-1]):  # of the models
                    pairs = [_pairs(m) for m in (*honest, *others)]
                    for chosen in _recombined(pairs, key=lambda pair: pair[0].index):
                        dealings = tuple(dealing for dealing, _ in chosen)
                        yield change(
                            message,
                            dealings=dealings,
                            listing=self._listing_of_dealers(branch, dealings),
                            deliveries=tuple(delivery for _, delivery in chosen if delivery is not None),
                        )
            case Call.AGREE:
                everybody = range(self._traitor + 1)
                for size in range(self._traitor + 2):
                    yield from (change(self._list, survivors=chosen) for chosen in combinations(everybody, size))
                for chosen in ((1, 0, 2), (0, 0, 1), (0, 1, 1, 2), (0, 1, self._traitor + 1)):
                    yield change(self._list, survivors=chosen)
            case Call.UNMASK:
                yield from self._forged_proofs(branch, _survivors(answered[Call.AGREE]))
        for other in KINDS:
            if other is not name and name in KINDS:
                yield from list(self._honest(other, answered))[:1]

    def _forged_proofs(self, branch: Branch, survivors: tuple[int, ...]) -> Iterator[Request]:
        """Any signatures: on this list, on another one, on this one under another transcript; the victim's on this."""
        lists = [survivors, *(other for other in self._third_lists(branch) if other != survivors)]
        choices: list[list[Any]] = []
        for party in branch.u2:
            signed = [self._agree(party, branch, chosen) for chosen in lists[:2] if party.index in chosen]
            choices.append([None, *(signed[:1] if party.index == VICTIM else signed)])
        first = branch.u2[1]
        if self._models == 2 and first.index in survivors:
            choices[1].append(self._agree(first, replace(branch, model=1 - branch.model), survivors))
        for chosen in product(*choices):
            yield change(self._proof, agreed=tuple(agree for agree in chosen if agree is not None))

    def _signed(self, request: Any, name: str, encoded: bytes, statement: tuple[bytes, ...]) -> Request:
        """``request`` with ``encoded`` in field ``name``, which the server signs, lying."""
        signature = self._sessions[0].server_identity.sign(*statement)
        return change(request, **{name: encoded, "signature": signature})

    def _listing_of_members(self, branch: Branch, entries: Iterable[Any]) -> messages.Listing:
        root, _ = transcript.members_root(entries, self._traitor + 1)
        return self._listing(transcript.members(self._sessions[branch.session].session.kid, root), root)

    def _listing_of_dealers(self, branch: Branch, dealings: Iterable[Any]) -> messages.Listing:
        kid = self._sessions[branch.session].session.kid
        first = self._requests(replace(branch, u2=(), model=0))[VICTIM]
        t1 = transcript.t1(kid, decode(first, messages.ShareRequest).listing.root)
        root, _ = transcript.dealers_root(dealings, self._traitor + 1)
        return self._listing(transcript.dealers(kid, t1, root), root)

    def _listing(self, statement: tuple[bytes, ...], root: bytes) -> messages.Listing:
        """What the server signs of a list that it made up, so that the lie is all of one piece."""
        signature = self._sessions[0].server_identity.sign(*statement)
        return messages.Listing(root=root, signature=signature, paths=())

    def _branch(self, answered: dict[Call, Request]) -> Branch:
        """Where ``answered`` leads to; a whole cohort where it is open."""
        for name in (Call.ACCEPT, Call.SHARE, Call.ADVERTISE):
            if name in answered:
                branch = self.branches[answered[name]]
                break
        else:
            branch = Branch(0, ())
        everybody = tuple(Party(index) for index in range(self._traitor + 1))
        u1 = branch.u1 or everybody
        return replace(branch, u1=u1, u2=branch.u2 or u1)

    def _first_lists(self) -> list[tuple[Party, ...]]:
        """Every U1 with the victim and t members."""
        traitor = [None, Party(self._traitor), Party(self._traitor, keys=1)]
        return self._lists([[Party(VICTIM)], *([None, Party(index)] for index in self._others), traitor])

    def _second(self, branch: Branch) -> list[tuple[tuple[Party, ...], int]]:
        """Every U2 within U1, and model."""
        options: list[list[Party | None]] = [[None, party] for party in branch.u1[1:]]
        if branch.u1[-1].index == self._traitor:
            options[-1].append(replace(branch.u1[-1], dealing=1))
        return list(product(self._lists([[branch.u1[0]], *options]), range(self._models)))

    def _third_lists(self, branch: Branch) -> list[tuple[int, ...]]:
        """Every U3 within U2 with the victim and t members."""
        options: list[list[Party | None]] = [[None, party] for party in branch.u2[1:]]
        return [tuple(party.index for party in chosen) for chosen in self._lists([[branch.u2[0]], *options])]

    def _lists(self, options: Sequence[Sequence[Party | None]]) -> list[tuple[Party, ...]]:
        lists = (tuple(party for party in chosen if party is not None) for chosen in product(*options))
        return [chosen for chosen in lists if len(chosen) >= self.threshold]

    def _another_first_list(self, branch: Branch) -> Branch:
        return next(replace(branch, u1=u1) for u1 in reversed(self._first_lists()) if u1 != branch.u1)

    def _mask_request(self, branch: Branch, u2: tuple[Party, ...], model: int) -> Request:
        reached = replace(branch, u2=u2, model=model)
        request = self._requests(reached)[VICTIM]
        self.branches[request] = reached
        return request

    @cache  # noqa: B019 - one object for each test
    def _opening(self, session: int) -> Request:
        federation = self._sessions[session]
        server = Server(identity=federation.server_identity, roster=federation.roster, session=federation.session)
        return server.open()[VICTIM]

    @cache  # noqa: B019
    def _requests(self, branch: Branch) -> dict[int, Request]:
        """What an honest server sends at step 1, or at step 2 if ``branch`` says who dealt."""
        federation = self._sessions[branch.session]
        server = Server(identity=federation.server_identity, roster=federation.roster, session=federation.session)
        opening = (Call.ADVERTISE, server.open()[VICTIM])
        for party in branch.u1:
            server.receive(party.index, self._reply(party, (opening,)))
        requests = server.advance()
        if not branch.u2:
            return requests
        for party in branch.u2:
            server.receive(party.index, self._reply(party, (opening, (Call.SHARE, requests[party.index]))))
        model = bytes([branch.model]) * 32
        return server.advance(RoundConfig(kid=federation.session.kid, model_digest=model, optimiser=b""))

    def _agree(self, party: Party, branch: Branch, survivors: tuple[int, ...]) -> Any:
        """What ``party`` signs at step 3 in ``branch``. Each list is signed by a client of its own.

        So the server has more signatures than honest banks, who sign once, would give it.
        """
        path = (
            (Call.ADVERTISE, self._opening(branch.session)),
            (Call.SHARE, self._requests(replace(branch, u2=(), model=0))[party.index]),
            (Call.ACCEPT, self._requests(branch)[party.index]),
            (Call.MASK, b"0"),
            (Call.AGREE, change(self._list, survivors=survivors)),
        )
        return decode(self._reply(party, path), messages.Agree)

    def _agreed(self, branch: Branch, survivors: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(self._agree(party, branch, survivors) for party in branch.u2 if party.index in survivors)

    @cache  # noqa: B019
    def _reply(self, party: Party, path: Path) -> bytes:
        client = self.client(party=party)
        return [call(client, party, deed, self.inputs) for deed in path][-1]


def received_shares(client: Client) -> tuple[dict[bytes, tuple[int, str]], Any]:
    """Dealer and kind of each share that ``client`` holds after step 2, and the place (public) that it masked for."""
    phase: Any = client._phase
    kinds = {"self": phase.self_shares, "mask": phase.mask_shares}
    return {share: (dealer, kind) for kind, shares in kinds.items() for dealer, share in shares.items()}, phase.place


def kind_of(reply: bytes) -> type[Any]:
    """Which message a client's reply is."""
    return type(decode(reply, messages.ClientMessage))


def _survivors(request: Request) -> tuple[int, ...]:
    survivors: tuple[int, ...] = decode(request, messages.AgreeRequest).survivors
    return survivors


def _pairs(request: Any) -> list[tuple[Any, Any]]:
    """Dealings with their deliveries; the victim's own has none."""
    deliveries = {delivery.dealer: delivery for delivery in request.deliveries}
    return [(dealing, deliveries.get(dealing.index)) for dealing in request.dealings]


def _recombined(lists: Iterable[Sequence[Any]], *, key: Any) -> Iterator[tuple[Any, ...]]:
    """Every list by rising index whose item at an index is absent or the one of some list."""
    variants: dict[int, list[Any]] = {}
    for item in chain.from_iterable(lists):
        known = variants.setdefault(key(item), [None])
        if item not in known:
            known.append(item)
    for chosen in product(*(variants[index] for index in sorted(variants))):
        yield tuple(item for item in chosen if item is not None)


def _splices(requests: Sequence[Any]) -> Iterator[Any]:
    """Each request with one field of another."""
    for one, other in product(requests, repeat=2):
        for name in msgspec.structs.fields(type(one)):
            if getattr(one, name.name) != getattr(other, name.name):
                yield msgspec.structs.replace(one, **{name.name: getattr(other, name.name)})


def _encode(message: Any) -> bytes:
    return msgspec.msgpack.encode(message)
