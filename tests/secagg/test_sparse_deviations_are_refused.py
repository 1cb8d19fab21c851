"""A server that deviates on a sparse graph: the client names what it saw, falls silent, and knows no secret any more.

A sparse graph is for a semi-honest server; these are the checks that a client makes all the same. The control of each
runs the same attack against a client without that one check, which must answer, blame a bank that did no wrong, or
get as far as the next check that says something else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from fedsec.errors import RemoteProtocolError
from secagg import ClientPolicy, SessionConfig, messages, transcript, tree
from secagg import rounds as production
from tests.adversary.dishonest_server import VICTIM, assert_refused, other_session
from tests.secagg.helpers import REQUESTS, Federation, change, decode, flip, send, sparse

ORDER = b"\x05" * 32
NEAR = sparse(30, corrupt=2, dropped=3, order=ORDER).session.neighbourhood(VICTIM)
BESIDE = NEAR[1]  # a neighbour of the victim, index 0
STRANGER = next(v for v in range(30) if v not in NEAR)

Forge = Callable[[Federation, Any], bytes]
# A function of secagg.rounds, and what of its source is left out in the control.
Blind = tuple[str, str, str]
LISTING: Blind = ("_check_listing", "if not holds:", "if False:")
ROOT: Blind = ("_check_listing", "if not verify(roster.server, listing.signature, *statement):", "if False:")
STRANGERS: Blind = ("_check_members", "or not set(indices) <= set(session.neighbourhood(index))", "")
TOO_FEW: Blind = ("_check_members", "if len(indices) < least:", "if False:")
UNKNOWN: Blind = ("read_round", "if not set(members) <= set(phase.members):", "if False:")
OWN: Blind = ("read_members", "if own not in entries:", "if False:")
NEVER_DEALT: Blind = ("read_survivors", "if not near <= set(phase.place.members):", "if False:")
SURVIVORS: Blind = ("read_survivors", "len(survivors) < session.min_survivors or ", "")
NEAR_SURVIVORS: Blind = ("read_survivors", " or len(near) < session.threshold", "")
SIGNERS: Blind = ("check_agreement", " or not near.issuperset(signers)", "")
SIGNER_COUNT: Blind = ("check_agreement", " or len(signers) < session.threshold", "")
SIGNATURES: Blind = (
    "check_agreement",
    "if not verify(roster.public_key(agree.index), agree.signature, *statement):",
    "if False:",
)


@dataclass(frozen=True)
class Attack:
    """What the server sends to the victim at ``step`` instead of the honest request, and the rule that it breaks."""

    step: str
    rule: str
    forge: Forge
    blind: Blind | tuple[Blind, ...] | str  # what the control leaves out
    later: str = ""  # the rule that stops it then, where another one does
    drop: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)  # the victim's, where it is another one
    peer: int | None = None


def _listing(**edit: Callable[[Federation, Any], Any]) -> Forge:
    """The list as it is, under another root, signature or paths."""

    def forge(federation: Federation, request: Any) -> bytes:
        replaced = {name: other(federation, request.listing) for name, other in edit.items()}
        return change(request, listing=msgspec.structs.replace(request.listing, **replaced))

    return forge


def _statement(federation: Federation, step: str, root: bytes) -> transcript.Statement:
    kid, server = federation.session.kid, federation.server
    return transcript.members(kid, root) if step == "share" else transcript.dealers(kid, server._t1, root)


def _of_another_list(step: str) -> Forge:
    """A list that the server did sign, of which one neighbour is missing, and the items of the honest one."""

    def forge(federation: Federation, request: Any) -> bytes:
        server = federation.server
        everybody = server._record.advertised if step == "share" else server._record.dealings
        slot = transcript.member_slot if step == "share" else transcript.dealer_slot
        others = {index: slot(item) for index, item in everybody.items() if index != BESIDE}
        root, paths = tree.over_slots(others, range(federation.n))
        signature = federation.server_identity.sign(*_statement(federation, step, root))
        near = tuple(paths[index] for index in NEAR)
        return change(request, listing=messages.Listing(root=root, signature=signature, paths=near))

    return forge


def _signed_root(step: str) -> Callable[[Federation, Any], Any]:
    """The server's signature on another root than the tree's."""
    return lambda f, listing: f.server_identity.sign(*_statement(f, step, flip(listing.root)))


def _swapped(_: Federation, listing: Any) -> Any:
    return (listing.paths[1], listing.paths[0], *listing.paths[2:])


def _listed(federation: Federation, step: str, items: list[Any]) -> messages.Listing:
    """What a server that lies about the victim's neighbourhood signs, so that the lie is all of one piece."""
    everybody = federation.server._record.advertised if step == "share" else federation.server._record.dealings
    slot = transcript.member_slot if step == "share" else transcript.dealer_slot
    slots = {index: slot(item) for index, item in everybody.items() if index not in NEAR}
    root, paths = tree.over_slots(slots | {item.index: slot(item) for item in items}, range(federation.n))
    signature = federation.server_identity.sign(*_statement(federation, step, root))
    return messages.Listing(root=root, signature=signature, paths=tuple(paths[index] for index in NEAR))


def _left_out(items: str) -> Forge:
    """A neighbour is missing that is in the tree which the server signed for everybody."""

    def forge(_: Federation, request: Any) -> bytes:
        kept = tuple(item for item in getattr(request, items) if item.index != BESIDE)
        changed: dict[str, Any] = {items: kept}
        if items == "dealings":
            changed["deliveries"] = tuple(delivery for delivery in request.deliveries if delivery.dealer != BESIDE)
        return change(request, **changed)

    return forge


def _entries(edit: Callable[[Federation, list[Any]], list[Any]]) -> Forge:
    """Other entries, in a tree of their own that the server signs."""

    def forge(federation: Federation, request: Any) -> bytes:
        entries = edit(federation, list(request.entries))
        return change(request, entries=tuple(entries), listing=_listed(federation, "share", entries))

    return forge


def _with(federation: Federation, entries: list[Any], index: int) -> list[Any]:
    return sorted([*entries, federation.server._record.advertised[index]], key=lambda entry: entry.index)


def _dealings(edit: Callable[[Federation, list[Any]], list[Any]]) -> Forge:
    """Other dealings, in a tree of their own that the server signs; deliveries of those that have any."""

    def forge(federation: Federation, request: Any) -> bytes:
        dealings = edit(federation, list(request.dealings))
        listing = _listed(federation, "mask", dealings)
        kept = {dealing.index for dealing in dealings}
        deliveries = tuple(delivery for delivery in request.deliveries if delivery.dealer in kept)
        return change(request, dealings=tuple(dealings), listing=listing, deliveries=deliveries)

    return forge


def _deliveries(edit: Callable[[Federation, list[Any]], list[Any]]) -> Forge:
    return lambda federation, request: change(request, deliveries=tuple(edit(federation, list(request.deliveries))))


def _of_another_slot(federation: Federation, deliveries: list[Any], *, path: bool = True) -> list[Any]:
    """What the first dealer signed for another of its neighbours, with that one's path or the victim's own."""
    server, first = federation.server, deliveries[0]
    receiver = next(v for v in federation.session.neighbourhood(first.dealer) if v not in (VICTIM, first.dealer))
    forged = msgspec.structs.replace(first, entry=server._entries[first.dealer][receiver])
    if path:
        forged = msgspec.structs.replace(forged, path=server._paths[first.dealer][receiver])
    return [forged, *deliveries[1:]]


def _unadvertised(federation: Federation, dealings: list[Any]) -> list[Any]:
    """A neighbour that had advertised nothing, and signs a dealing all the same."""
    server = federation.server
    statement = transcript.share(federation.session.kid, server._t1, BESIDE, bytes(32), bytes(32))
    signature = federation.identities[BESIDE].sign(*statement)
    forged = messages.Dealing(index=BESIDE, root=bytes(32), commitment=bytes(32), signature=signature)
    return sorted([*dealings, forged], key=lambda dealing: dealing.index)


def _survivors(*, without: tuple[int, ...] = (), also: tuple[int, ...] = ()) -> Forge:
    def forge(_: Federation, request: Any) -> bytes:
        return change(request, survivors=tuple(sorted({*request.survivors, *also} - set(without))))

    return forge


def _agreed_by(*indices: int, survivors: tuple[int, ...] | None = None) -> Forge:
    """Signatures of ``indices``, each its own, on the victim's U3 or on other ``survivors``."""

    def forge(federation: Federation, request: Any) -> bytes:
        phase = federation.clients[VICTIM]._phase
        signed = phase.survivors if survivors is None else survivors
        place = phase.place
        agreed = []
        for index in indices:
            statement = transcript.agree(place.sid, place.t2, index, signed)
            agreed.append(messages.Agree(index=index, signature=federation.identities[index].sign(*statement)))
        return change(request, agreed=tuple(agreed))

    return forge


def _honest(_: Federation, request: Any) -> bytes:
    return messages.encode(request)


def _other_graph(**graph: Any) -> Forge:
    def forge(federation: Federation, request: Any) -> bytes:
        other = {"degree": 6, "seed": ORDER} | graph
        return other_session(graph=["harary", other["degree"], other["seed"]])(federation, request)

    return forge


STRANGE = tuple(v for v in range(30) if v not in NEAR)
ATTACKS = {
    # Step 0: a sparse graph that this client did not ask for.
    "another-order-than-drawn": Attack("advertise", "policy", _other_graph(seed=b"\x06" * 32), "policy"),
    "a-graph-without-a-draw": Attack("advertise", "policy", _honest, "policy", policy={"graph_seed": None}),
    "a-policy-against-an-active-server": Attack(
        "advertise", "policy", _honest, "policy", policy={"adversaries": frozenset({"active"})}
    ),
    "a-sparse-graph-against-an-active-server": Attack(
        "advertise", "format", other_session(adversary="active"), "session"
    ),
    "too-few-neighbours": Attack("advertise", "format", _other_graph(degree=4), "session"),
    "a-threshold-that-corrupt-neighbours-reach": Attack(
        "advertise", "format", other_session(threshold=2), "session"
    ),
    "more-corrupt-than-honest-inputs-allow": Attack(
        "advertise", "policy", _honest, "policy", policy={"min_honest_inputs": 26}
    ),
    # Step 1: who of the neighbourhood advertised what, and in which tree.
    "a-stranger-more": Attack("share", "members", _entries(lambda f, e: _with(f, e, STRANGER)), STRANGERS),
    "a-stranger-for-a-neighbour": Attack(
        "share", "members", _entries(lambda f, e: _with(f, [x for x in e if x.index != BESIDE], STRANGER)), STRANGERS
    ),
    "fewer-than-t-near": Attack("share", "members", _entries(lambda f, e: e[:2]), TOO_FEW),
    "own-keys-left-out": Attack("share", "own-entry", _entries(lambda f, e: e[1:]), OWN, later="its own share"),
    # Step 1 and 2: the tree.
    **{
        f"{name}-at-{step}": Attack(step, rule, forge, blind)
        for step in ("share", "mask")
        for name, rule, forge, blind in (
            ("a-path-missing", "listing", _listing(paths=lambda f, x: x.paths[:-1]), LISTING),
            ("a-path-too-many", "listing", _listing(paths=lambda f, x: (*x.paths, x.paths[0])), LISTING),
            ("no-paths", "listing", _listing(paths=lambda f, x: ()), LISTING),
            ("paths-of-each-others-positions", "listing", _listing(paths=_swapped), LISTING),
            (
                "a-path-cut",
                "listing",
                _listing(paths=lambda f, x: (x.paths[0][1:], *x.paths[1:])),
                LISTING,
            ),
            (
                "a-path-from-another-side",
                "listing",
                _listing(paths=lambda f, x: (x.paths[0][::-1], *x.paths[1:])),
                LISTING,
            ),
            (
                "another-root-signed",
                "listing",
                _listing(root=lambda f, x: flip(x.root), signature=_signed_root(step)),
                LISTING,
            ),
            ("another-list-signed", "listing", _of_another_list(step), LISTING),
            ("another-root-unsigned", "signature", _listing(root=lambda f, x: flip(x.root)), (ROOT, LISTING)),
            ("a-root-signed-by-nobody", "signature", _listing(signature=lambda f, x: flip(x.signature)), ROOT),
            (
                "a-root-signed-as-another-steps",
                "signature",
                _listing(
                    signature=lambda f, x, step=step: f.server_identity.sign(
                        *_statement(f, "mask" if step == "share" else "share", x.root)
                    )
                ),
                ROOT,
            ),
        )
    },
    "a-neighbour-left-out-of-the-keys": Attack("share", "listing", _left_out("entries"), LISTING),
    "a-neighbour-left-out-of-the-dealings": Attack("mask", "listing", _left_out("dealings"), LISTING),
    # Step 2: what was dealt, and what is delivered.
    "a-dealing-of-a-stranger": Attack(
        "mask",
        "members",
        _dealings(lambda f, d: sorted([*d, f.server._record.dealings[STRANGER]], key=lambda x: x.index)),
        (STRANGERS, UNKNOWN),
        later="delivery",
    ),
    "a-dealing-of-a-neighbour-without-keys": Attack(
        "mask", "members", _dealings(_unadvertised), UNKNOWN, later="delivery", drop={"advertise": (BESIDE,)}
    ),
    "fewer-than-t-dealers-near": Attack("mask", "members", _dealings(lambda f, d: d[:2]), TOO_FEW),
    "a-delivery-for-another-slot": Attack("mask", "delivery", _deliveries(_of_another_slot), "delivery"),
    "a-delivery-for-another-slot-with-the-right-path": Attack(
        "mask", "delivery", _deliveries(lambda f, d: _of_another_slot(f, d, path=False)), "delivery"
    ),
    # Step 3: who survived.
    "a-neighbour-that-never-dealt-survives": Attack(
        "agree", "survivors", _survivors(also=(BESIDE,)), NEVER_DEALT, drop={"share": (BESIDE,)}
    ),
    "a-neighbour-that-never-advertised-survives": Attack(
        "agree", "survivors", _survivors(also=(BESIDE,)), NEVER_DEALT, drop={"advertise": (BESIDE,)}
    ),
    "fewer-survivors-than-the-minimum": Attack("agree", "survivors", _survivors(without=STRANGE[:4]), SURVIVORS),
    "fewer-than-t-survivors-near": Attack(
        "agree", "survivors", _survivors(without=NEAR[1:3]), NEAR_SURVIVORS, changes={"threshold": 6}
    ),
    # Step 4: who agreed.
    "an-agreement-of-strangers": Attack("unmask", "agreement", _agreed_by(*STRANGE[:3]), SIGNERS),
    "an-agreement-with-one-stranger": Attack(
        "unmask", "agreement", _agreed_by(*sorted((*NEAR[:2], STRANGER))), SIGNERS
    ),
    "an-agreement-of-a-neighbour-that-dropped-out": Attack(
        "unmask", "agreement", _agreed_by(*NEAR[:3]), SIGNERS, drop={"mask": (BESIDE,)}
    ),
    "an-agreement-of-fewer-than-t": Attack("unmask", "agreement", _agreed_by(*NEAR[:2]), SIGNER_COUNT),
    "an-agreement-on-other-survivors": Attack(
        "unmask", "signature", _agreed_by(*NEAR[:3], survivors=tuple(range(29))), SIGNATURES
    ),
}  # fmt: skip


def prepare(name: str) -> tuple[Federation, bytes]:
    attack = ATTACKS[name]
    federation = sparse(30, corrupt=2, dropped=3, order=ORDER, **attack.changes)
    if attack.policy:
        federation.policy = replace(federation.policy, **attack.policy)
        federation.clients[VICTIM] = federation.client(VICTIM)
    federation.run(until=attack.step, drop=attack.drop)
    honest = decode(federation.requests[VICTIM], REQUESTS[attack.step])
    return federation, attack.forge(federation, honest)


def without(monkeypatch: pytest.MonkeyPatch, *blinds: Blind) -> None:
    """``secagg.rounds`` with some checks left out."""
    sources = {name: inspect.getsource(getattr(production, name)) for name, _, _ in blinds}
    for name, old, new in blinds:
        assert sources[name].count(old) == 1, old
        sources[name] = sources[name].replace(old, new)
    for name, source in sources.items():
        made: dict[str, Any] = {}
        exec(compile(source, "variant", "exec"), vars(production), made)
        monkeypatch.setattr(production, name, made[name])


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    federation, forged = prepare(name)
    attack = ATTACKS[name]
    client, honest = federation.clients[VICTIM], federation.requests[VICTIM]
    error = assert_refused(client, forged, step=attack.step, honest=honest)
    assert (error.rule, error.peer) == (attack.rule, attack.peer)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.blind != "delivery"])
def test_control_without_the_check_the_attack_is_answered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, forged = prepare(name)
    blind = ATTACKS[name].blind
    if blind == "policy":
        monkeypatch.setattr(ClientPolicy, "check", lambda *_: None)
    elif blind == "session":
        monkeypatch.setattr(SessionConfig, "_check_sparse", lambda *_: None)
        monkeypatch.setattr(ClientPolicy, "check", lambda *_: None)
    else:
        without(monkeypatch, *(blind if isinstance(blind[0], tuple) else (blind,)))
    client, attack = federation.clients[VICTIM], ATTACKS[name]
    if not attack.later:
        assert send(client, attack.step, forged)
    elif attack.later == "its own share":
        with pytest.raises(KeyError):  # it goes as far as to deal, and does not find the share that it keeps
            send(client, attack.step, forged)
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            send(client, attack.step, forged)
        assert caught.value.rule == attack.later


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.blind == "delivery"])
def test_control_without_the_check_an_innocent_dealer_is_blamed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, forged = prepare(name)
    monkeypatch.setattr(production, "check_delivery", lambda *_, **__: None)
    with pytest.raises(RemoteProtocolError) as caught:
        federation.clients[VICTIM].accept(forged)
    assert (caught.value.rule, caught.value.peer) == ("ciphertext", BESIDE)


@pytest.mark.parametrize("step", REQUESTS)
def test_control_the_honest_request_is_answered(step: str) -> None:
    federation = sparse(30, corrupt=2, dropped=3, order=ORDER).run(until=step)
    assert send(federation.clients[VICTIM], step, federation.requests[VICTIM])


def test_no_bank_reveals_both_shares_of_a_dealer_or_any_of_a_stranger() -> None:
    federation = sparse(30, corrupt=2, dropped=3, order=ORDER).run(until="unmask", drop={"mask": NEAR[1:4]})
    for index, request in federation.requests.items():
        near = federation.session.neighbourhood(index)
        gone = len(set(near) & set(NEAR[1:4]))
        reply = decode(federation.clients[index].unmask(request), messages.Unmask)
        assert (len(reply.self_shares), len(reply.mask_shares)) == (len(near) - gone, gone)
        assert not set(reply.self_shares) & set(reply.mask_shares)
