"""A server that deviates, in memory, against the production client: what it forges, and what must come of it.

An :class:`Attack` starts from an honest run up to one step. The property is :func:`assert_refused`: the client raises
an error that names the rule and who broke it, sends nothing from then on, and refers to no secret any more. An
attack's control is the same forgery against a client without the checks ``unchecked``, which must answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg import Client, State, dealing, messages, transcript, tree
from tests.adversary.unchecked import leave_out
from tests.secagg.helpers import REQUESTS, STEPS, Federation, change, decode, send
from tests.secagg.memory import frames_of_package, round_secrets, still_known

VICTIM = 0
ACCOMPLICE = 3  # a bank that works with the server
LOW_ORDER = (
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
)
Forge = Callable[[Federation, Any], bytes]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What the server sends to the victim at ``step`` instead of the honest request, and the rule that it breaks.

    Attributes:
        peer: who is named: ``None`` is the server.
        unchecked: the checks, of :data:`tests.adversary.unchecked.CHECKS`, without which the client answers. Empty
            where no client could: there the control is that the honest request is answered.
        n, drop, changes: of the federation that it starts from.
        hybrid: whether it needs the hybrid key exchange.
        victim: who is attacked.
    """

    step: str
    rule: str
    forge: Forge
    peer: int | None = None
    unchecked: tuple[str, ...] = ()
    n: int = 5
    drop: Mapping[str, Collection[int]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    hybrid: bool = False
    victim: int = VICTIM


def stage(attack: Attack, **changes: Any) -> tuple[Federation, bytes]:
    """The federation before the attacked step, and what the victim is sent there."""
    federation = Federation(n=attack.n, changes={**changes, **attack.changes}).run(until=attack.step, drop=attack.drop)
    honest = decode(federation.requests[attack.victim], REQUESTS[attack.step])
    return federation, attack.forge(federation, honest)


def assert_silent(client: Client, request: bytes) -> None:
    """No call, with the request that was honest, emits another byte."""
    assert client.state is State.ABORTED, "it has not aborted"
    for step in STEPS:
        with pytest.raises(LocalProtocolError):
            send(client, step, request)
    with pytest.raises(LocalProtocolError):
        client.mask(np.zeros(1, dtype=np.int64))


def assert_refused(client: Client, forged: bytes, *, step: str, honest: bytes) -> RemoteProtocolError:
    """``client`` refuses ``forged`` at ``step``, is silent then, also to what was ``honest``, and knows no secret."""
    secrets = round_secrets(client)
    assert secrets or client.state in (State.NEW, State.DONE)
    with pytest.raises(RemoteProtocolError) as caught:
        send(client, step, forged)
    assert_silent(client, honest)
    known = still_known(secrets, client, caught.value, *frames_of_package(caught.value))
    assert not known, "it still knows secrets"
    return caught.value


def play(attack: Attack) -> None:
    """The attack against the production client."""
    federation, forged = stage(attack)
    client, honest = federation.clients[attack.victim], federation.requests[attack.victim]
    error = assert_refused(client, forged, step=attack.step, honest=honest)
    assert (error.rule, error.peer) == (attack.rule, attack.peer)


def play_unchecked(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without its checks, or else with the honest request, the client answers."""
    federation, forged = stage(attack)
    client, honest = federation.clients[attack.victim], federation.requests[attack.victim]
    for check in attack.unchecked:
        leave_out(check, monkeypatch)
    assert send(client, attack.step, forged if attack.unchecked else honest)
    assert client.state is not State.ABORTED


def resigned(federation: Federation, session: bytes) -> bytes:
    """Session bytes under the server's signature."""
    signature = federation.server_identity.sign(*transcript.session(session))
    return messages.encode(messages.AdvertiseRequest(session=session, signature=signature))


def other_session(**changes: Any) -> Forge:
    """A session with ``changes`` that the server signs, made without the production validation."""

    def forge(federation: Federation, _: Any) -> bytes:
        fields = msgspec.structs.asdict(federation.session) | changes
        return resigned(federation, msgspec.msgpack.encode(list(fields.values())))

    return forge


def listed(federation: Federation, entries: Sequence[Any], sign: Callable[..., Any], *context: bytes) -> Any:
    """What a server that lies about ``entries`` signs, so that the lie is all of one piece."""
    slot = transcript.member_slot if sign is transcript.members else transcript.dealer_slot
    root, _ = tree.over_slots({entry.index: slot(entry) for entry in entries}, range(federation.n))
    signature = federation.server_identity.sign(*sign(federation.session.kid, *context, root))
    return messages.Listing(root=root, signature=signature, paths=())


def entries(edit: Callable[[Federation, list[Any]], list[Any]]) -> Forge:
    """Step 1 with other advertisements, listed as if all had advertised them."""

    def forge(federation: Federation, request: Any) -> bytes:
        edited = edit(federation, list(request.entries))
        return change(request, entries=tuple(edited), listing=listed(federation, edited, transcript.members))

    return forge


def listing(**edit: Callable[[Federation, Any], Any]) -> Forge:
    """The list as it is, under another root, signature or paths."""

    def forge(federation: Federation, request: Any) -> bytes:
        other = request.listing
        for name, value in edit.items():
            other = msgspec.structs.replace(other, **{name: value(federation, other)})
        return change(request, listing=other)

    return forge


def signed_keys(federation: Federation, index: int, **replaced: bytes) -> messages.Advertise:
    """An advertisement of a bank that works with the server."""
    entry = decode(federation.sent["advertise", index], messages.Advertise)
    entry = msgspec.structs.replace(entry, **replaced)
    public = (entry.share_key, entry.mask_key, entry.share_kem, entry.mask_kem)
    statement = transcript.advertise(federation.session.kid, index, *public)
    return msgspec.structs.replace(entry, signature=federation.identities[index].sign(*statement))


def swap(items: Sequence[Any], of: int, /, **replaced: Any) -> list[Any]:
    """``items`` with fields of the one with index ``of`` replaced."""
    return [msgspec.structs.replace(e, **replaced) if e.index == of else e for e in items]


def dealings(edit: Callable[[list[Any]], list[Any]]) -> Forge:
    """Step 2 with other dealings, listed as if all had dealt them."""

    def forge(federation: Federation, request: Any) -> bytes:
        edited = edit(list(request.dealings))
        t1 = federation.clients[VICTIM]._phase.exchange.t1
        return change(request, dealings=tuple(edited), listing=listed(federation, edited, transcript.dealers, t1))

    return forge


def deliveries(edit: Callable[[list[Any]], list[Any]]) -> Forge:
    """Step 2 with other deliveries."""
    return lambda federation, request: change(request, deliveries=tuple(edit(list(request.deliveries))))


def first_entry(**edit: Callable[[Any], Any]) -> Forge:
    """The first delivery with fields of its entry edited."""

    def forge(items: list[Any]) -> list[Any]:
        entry = items[0].entry
        replaced = {name: other(getattr(entry, name)) for name, other in edit.items()}
        return [msgspec.structs.replace(items[0], entry=msgspec.structs.replace(entry, **replaced)), *items[1:]]

    return deliveries(forge)


def from_accomplice(
    edit: Callable[[Federation, messages.Entry], messages.Entry], *, dealer: int = ACCOMPLICE, victim: int = VICTIM
) -> Forge:
    """A dealer that signs an edited entry for the victim: tree, signatures and list all fit."""

    def forge(federation: Federation, request: Any) -> bytes:
        share = decode(federation.sent["share", dealer], messages.Share)
        dealt = dict(enumerate(share.entries))
        dealt[victim] = edit(federation, dealt[victim])
        root, paths = dealing.entries_root(dealt, range(federation.n))
        t1 = federation.clients[victim]._phase.exchange.t1
        statement = transcript.share(federation.session.kid, t1, dealer, root, share.commitment)
        signature = federation.identities[dealer].sign(*statement)
        edited = swap(request.dealings, dealer, root=root, signature=signature)
        delivery = messages.Delivery(dealer=dealer, entry=dealt[victim], path=paths[victim])
        return change(
            request,
            dealings=tuple(edited),
            listing=listed(federation, edited, transcript.dealers, t1),
            deliveries=tuple(delivery if each.dealer == dealer else each for each in request.deliveries),
        )

    return forge


def round_of(make: Callable[[Federation], bytes], *, signer: str = "server") -> Forge:
    """Step 2 with another round configuration, signed."""

    def forge(federation: Federation, request: Any) -> bytes:
        encoded = make(federation)
        identity = federation.server_identity if signer == "server" else federation.identities[1]
        signature = identity.sign(*transcript.round_config(federation.session.kid, encoded))
        return change(request, round_config=encoded, signature=signature)

    return forge


def survivors(*indices: int) -> Forge:
    """Step 3 with other survivors."""
    return lambda federation, request: change(request, survivors=indices)


def agreed(edit: Callable[[Federation, list[Any]], list[Any]]) -> Forge:
    """Step 4 with other signatures."""
    return lambda federation, request: change(request, agreed=tuple(edit(federation, list(request.agreed))))
