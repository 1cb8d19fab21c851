"""Every field of every request, replaced, spliced from another session, or swapped with a sibling, is refused at once.

The walk is over the messages' types, so a new field is in it by itself. Where a session or a round is opaque bytes that
the server may sign anew, the last tests show that every field inside is in what keys and signatures bind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from fedsec.errors import RemoteProtocolError
from secagg import Client, RoundConfig, SessionConfig, messages
from tests.adversary.attacks import ATTACKS
from tests.adversary.dishonest_server import assert_refused, resigned, round_of
from tests.adversary.mutations import mutated
from tests.adversary.unchecked import leave_out
from tests.secagg.helpers import REQUESTS, STEPS, Federation, decode, flip, send, sparse
from tests.secagg.replay import Life, bring_back, watch

VICTIM = 2  # has lower and higher neighbours, hence pair parts from some and for others
GRAPHS = ("complete", "sparse")


@dataclass(frozen=True)
class Lived:
    """A federation that has run, and the victim's life in it."""

    federation: Federation
    life: Life

    def client(self, step: str) -> Client:
        federation = self.federation
        policy = replace(federation.policy, key_exchanges=frozenset({federation.session.key_exchange}))
        return bring_back(
            self.life,
            until=step,
            index=VICTIM,
            identity=federation.identities[VICTIM],
            roster=federation.roster,
            policy=policy,
            values=federation.inputs[VICTIM],
        )

    def request(self, step: str) -> Any:
        return decode(self.life.requests[step], REQUESTS[step])


@cache
def lived(graph: str, round_number: int = 0) -> Lived:
    """One neighbour of the victim never deals, and all others must survive: no other list of survivors is the server's
    to choose without the one that the victim knows to be absent."""
    changes = {"round": round_number}
    whole = Federation(n=6, changes=changes | {"min_survivors": 5})
    federation = sparse(20, **changes) if graph == "sparse" else whole
    absent = max(set(federation.session.neighbourhood(VICTIM)) - {VICTIM})
    lives = watch(federation, VICTIM)
    federation.run(drop={"share": (absent,)})
    return Lived(federation=federation, life=lives[VICTIM])


def mutations(graph: str, step: str) -> dict[str, bytes]:
    """By name, every mutation of the victim's request at ``step`` that does not leave it as it is.

    The whole request of another session is not among them: at step 0 that is a proposal like any other.
    """
    honest, foreign = lived(graph).request(step), lived(graph, 1).request(step)
    made = {name: messages.encode(other) for name, other in mutated(honest, foreign, step)}
    made.pop(f"{step}: spliced", None)
    return {name: data for name, data in made.items() if data != lived(graph).life.requests[step]}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_refused_at_once_and_no_bank_blamed(graph: str, step: str) -> None:
    case = lived(graph)
    found = mutations(graph, step)
    assert len(found) >= 10 * len(REQUESTS[step].__struct_fields__) or step in ("advertise", "agree")
    for name, forged in found.items():
        try:
            error = assert_refused(case.client(step), forged, step=step, honest=case.life.requests[step])
        except BaseException as failure:
            failure.add_note(name)
            raise
        assert error.peer is None, name
        assert error.rule in {attack.rule for attack in ATTACKS.values()}, name


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_control_the_client_so_brought_back_answers_as_it_did(graph: str, step: str) -> None:
    case = lived(graph)
    client = case.client(step)
    reply = send(client, step, case.life.requests[step])
    if step == "mask":
        reply = client.mask(np.asarray(case.federation.inputs[VICTIM]))
    elif step == "share" or step == "advertise":  # draws what the life recorded for later steps
        return
    assert reply == case.federation.sent[step, VICTIM]


BLIND = {
    "advertise": ("signature",),
    "share": ("signature", "listing", "own-entry", "members", "distinct", "point"),
    "mask": ("signature", "listing", "own-entry", "members", "delivery", "shares", "pair", "round"),
    "agree": ("survivors",),
    "unmask": ("signature", "agreement"),
}


@pytest.mark.parametrize("step", STEPS)
def test_control_a_blind_client_answers_nearly_all_of_them(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it still refuses is no message by its type: a length or a number out of range."""
    case = lived("complete")
    clients = {name: case.client(step) for name in mutations("complete", step)}
    for check in BLIND[step]:
        leave_out(check, monkeypatch)
    refused = {}
    for name, forged in mutations("complete", step).items():
        try:
            send(clients[name], step, forged)
        except RemoteProtocolError as error:
            refused[name] = error.rule
    assert len(refused) <= len(clients) / 3
    assert set(refused.values()) <= {"format"}


# --- What is signed as bytes: every field inside is bound -----------------------------------------------------------


def _other_values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``value``, a tree of msgpack's types, with one leaf changed."""
    match value:
        case list():
            for place, item in enumerate(value):
                for name, other in _other_values(item, f"{path}[{place}]"):
                    yield name, [*value[:place], other, *value[place + 1 :]]
        case bytes():
            yield path, flip(value)
        case str():
            yield path, value + "x"
        case float():
            yield path, value * 0.5
            yield path + " up", value * 2
        case int():
            yield path, value - 1
            yield path + " up", value + 1


def test_a_session_signed_anew_is_refused_or_another_session() -> None:
    """The server may propose what it likes. What it then gets is good for no other session: the kid differs."""
    federation = Federation(n=7).run(until="share")
    outcomes = {}
    for name, other in _other_values(msgspec.msgpack.decode(federation.session.encode())):
        encoded = msgspec.msgpack.encode(other)
        client = federation.client(VICTIM)
        try:
            client.advertise(resigned(federation, encoded))
        except RemoteProtocolError as error:
            outcomes[name] = error.rule
            continue
        assert client.session.kid != federation.session.kid, name
        with pytest.raises(RemoteProtocolError):
            client.share(federation.requests[VICTIM])
        outcomes[name] = "another kid"
    assert len(outcomes) >= len(SessionConfig.__struct_fields__)
    assert set(outcomes.values()) == {"another kid", "format", "roster", "policy"}


@pytest.mark.parametrize("field", ["model_digest", "optimiser"])
def test_a_round_signed_anew_for_one_bank_gets_no_share(field: str) -> None:
    federation = Federation(n=7).run(until="mask")
    honest = decode(federation.requests[VICTIM], messages.MaskRequest)
    other = msgspec.structs.replace(federation.round, **{field: b"x" * 32})
    assert isinstance(other, RoundConfig)
    federation.requests[VICTIM] = round_of(lambda f: other.encode())(federation, honest)
    reply = decode(federation.reply("mask", VICTIM, federation.requests[VICTIM]), messages.Mask)
    with pytest.raises(RemoteProtocolError) as caught:
        federation.server.receive(VICTIM, messages.encode(reply))  # an honest server takes it for no answer
    assert caught.value.rule == "signature"
    federation.collect("mask", without=(VICTIM,))
    federation.server._seen[VICTIM] = bytes(32)  # a dishonest one goes on as if it had come
    federation.close("mask")
    federation.reply("agree", VICTIM, federation.requests[VICTIM])
    federation.collect("agree", without=(VICTIM,))
    federation.close("agree")
    client = federation.clients[VICTIM]
    request = next(iter(federation.requests.values()))
    error = assert_refused(client, request, step="unmask", honest=request)
    assert error.rule == "signature"
