"""Every negative vector is refused as it says, from the file alone: what another implementation can do with it too."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from fedsec.errors import RemoteProtocolError
from secagg import Client, ClientPolicy, Identity, Roster, RoundConfig, Server, SessionConfig, State
from tests.adversary.attacks import ATTACKS
from tests.adversary.dishonest_bank import LIES
from tests.adversary.unchecked import leave_out, leave_out_at_server
from tests.secagg.determinism import FOLDER
from tests.secagg.helpers import STEPS, send
from tests.secagg.replay import Life, bring_back


@cache
def _file() -> dict[str, Any]:
    return json.loads((FOLDER / "refusals.json").read_text())


def _vector(role: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    vector = next(vector for vector in _file()[role] if vector["name"] == name)
    return vector, _file()["settings"][vector["setting"]]


def _bytes(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name]) + bytes(vector.get("zeros", 0))


def _roster(setting: dict[str, Any]) -> Roster:
    return msgspec.msgpack.decode(bytes.fromhex(setting["roster"]), type=Roster)


def _client(setting: dict[str, Any], step: str) -> Client:
    life = Life(
        requests={at: bytes.fromhex(data) for at, data in setting["requests"].items()},
        entropy=[bytes.fromhex(drawn) for drawn in setting["entropy"]],
        encapsulations=[(bytes.fromhex(one), bytes.fromhex(two)) for one, two in setting["encapsulations"]],
    )
    terms = {name: frozenset(term) if isinstance(term, list) else term for name, term in setting["policy"].items()}
    return bring_back(
        life,
        until=step,
        index=setting["index"],
        identity=Identity.from_private_bytes(bytes.fromhex(setting["identity"])),
        roster=_roster(setting),
        policy=ClientPolicy(**terms),
        values=setting["input"],
    )


def test_the_file_has_every_attack_and_every_lie() -> None:
    assert [vector["name"] for vector in _file()["client"]] == list(ATTACKS)
    assert [vector["name"] for vector in _file()["server"]] == list(LIES)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_client_refuses(name: str) -> None:
    vector, setting = _vector("client", name)
    client = _client(setting, vector["step"])
    with pytest.raises(RemoteProtocolError) as caught:
        send(client, vector["step"], _bytes(vector, "request"))
    peer = None if vector["at_fault"] == "server" else vector["at_fault"]
    assert (caught.value.rule, caught.value.peer) == (vector["rule"], peer)
    assert client.state is State.ABORTED


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.unchecked])
def test_control_a_client_without_the_checks_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vector, setting = _vector("client", name)
    client = _client(setting, vector["step"])
    for check in ATTACKS[name].unchecked:
        leave_out(check, monkeypatch)
    assert send(client, vector["step"], _bytes(vector, "request"))


@pytest.mark.parametrize("number", range(len(_file()["settings"])))
def test_control_the_honest_round_of_every_setting_is_answered_byte_for_byte(number: int) -> None:
    setting = _file()["settings"][number]
    if setting["role"] == "server":
        server, _ = _server(setting, until=None)
        assert server.result().total.shape == (server._session.dimension,)
        return
    for step in STEPS[2:]:  # steps 0 and 1 are made again on the way
        client = _client(setting, step)
        reply = send(client, step, bytes.fromhex(setting["requests"][step]))
        if step == "mask":
            reply = client.mask(np.array(setting["input"], dtype=np.int64))
        assert reply.hex() == setting["replies"][step]


def _server(setting: dict[str, Any], until: str | None) -> tuple[Server, RoundConfig]:
    """The server before any message of step ``until``; at the end for ``None``."""
    session = msgspec.msgpack.decode(bytes.fromhex(setting["session"]), type=SessionConfig)
    config = msgspec.msgpack.decode(bytes.fromhex(setting["round"]), type=RoundConfig)
    identity = Identity.from_private_bytes(bytes.fromhex(setting["identity"]))
    server = Server(identity=identity, roster=_roster(setting), session=session)
    server.open()
    for step in STEPS[: STEPS.index(until)] if until else STEPS:
        for sender, data in setting["messages"][step].items():
            server.receive(int(sender), bytes.fromhex(data))
        server.advance(config if step == "share" else None)
    return server, config


def _at(vector: dict[str, Any], setting: dict[str, Any]) -> Server:
    server, _ = _server(setting, vector["step"])
    for sender in vector["after"]:
        server.receive(sender, bytes.fromhex(setting["messages"][vector["step"]][str(sender)]))
    return server


@pytest.mark.parametrize("name", LIES)
def test_the_server_refuses_and_goes_on(name: str) -> None:
    vector, setting = _vector("server", name)
    server = _at(vector, setting)
    awaited = server.awaited
    with pytest.raises(RemoteProtocolError) as caught:
        server.receive(vector["sender"], _bytes(vector, "message"))
    assert (caught.value.rule, caught.value.peer) == (vector["rule"], vector["at_fault"])
    assert server.awaited == awaited
    for sender, data in setting["messages"][vector["step"]].items():
        server.receive(int(sender), bytes.fromhex(data))
    assert not set(server.awaited) & {int(sender) for sender in setting["messages"][vector["step"]]}


@pytest.mark.parametrize("name", [name for name, lie in LIES.items() if lie.unchecked])
def test_control_a_server_without_the_checks_takes_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vector, setting = _vector("server", name)
    server = _at(vector, setting)
    for rule in LIES[name].unchecked:
        leave_out_at_server(rule, monkeypatch)
    server.receive(vector["sender"], _bytes(vector, "message"))
    assert vector["sender"] not in server.awaited


def test_control_a_policy_that_would_accept_is_answered() -> None:
    """The policy of a setting is part of it: with other terms the same request is answered."""
    vector, setting = _vector("client", "session-of-another-task")
    client = _client(setting, vector["step"])
    client._policy = replace(client._policy, tasks=frozenset({"other"}))
    assert client.advertise(_bytes(vector, "request"))
