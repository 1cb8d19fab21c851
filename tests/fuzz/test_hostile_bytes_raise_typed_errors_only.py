"""Whatever bytes a peer sends: nothing but a typed error comes out, a refusal changes nothing, memory does not grow.

The same targets as ``make fuzz``, with few inputs. Each property is also held against code that breaks it, which must
be found.
"""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.errors import RemoteProtocolError
from secagg import Client, Server, State, keys, messages
from secagg.draw import Drawer, DrawServer, DrawState, Reveal, decode
from tests.fuzz import campaign, decoders, draws, guided, machines, primitives
from tests.fuzz.mutations import mutate, parsed, spell
from tests.fuzz.registry import TARGETS
from tests.fuzz.schedule import units
from tests.fuzz.target import Target

FEW = {
    "messages": 1_500,
    "engine-messages": 1_000,
    "primitives": 300,
    "client": 300,
    "client-alone": 300,
    "client-sparse": 100,
    "server": 600,
    "server-dishonest-bank": 400,
    "server-sparse": 100,
    "draw": 300,
    "draw-alone": 300,
    "spoilt-rounds": 20,
}
SEED = 20_170_281


def found(target: Target, inputs: int = 1_500) -> str:
    """What a campaign finds, first finding only; empty if nothing."""
    findings = campaign.run(target, inputs, seed=SEED, most=1).findings
    return findings[0][1] if findings else ""


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_typed_errors_comes_out(name: str) -> None:
    target = TARGETS[name].make()
    result = campaign.run(target, FEW[name], seed=SEED)
    assert result.findings == []
    assert len(result.outcomes) >= 2, "inputs that all end alike test nothing"


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_stays_repaired(name: str) -> None:
    target = TARGETS[name].make()
    for data in (*campaign.saved(name), *target.seeds):
        target.check(data)


def test_control_an_input_that_found_something_is_saved_and_replayed(tmp_path: Path) -> None:
    assert campaign.saved("messages", tmp_path) == []
    campaign.save("messages", b"\x01bad", tmp_path)
    assert campaign.saved("messages", tmp_path) == [b"\x01bad"]


@given(st.sampled_from(["messages", "primitives"]), st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes(name: str, data: bytes) -> None:
    TARGETS[name].make().check(data)


@given(st.sampled_from(["messages", "client", "server"]), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_changed_messages(name: str, rng: random.Random) -> None:
    target = TARGETS[name].make()
    target.check(target.draw(rng))


@given(st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_spelling_is_the_decoders_own_unless_it_is_meant_to_be_odd(rng: random.Random) -> None:
    """The mutator takes honest messages apart and puts them together again, and changes most of them."""
    for data in decoders.honest_messages():
        assert spell(parsed(data)) == data
    data = rng.choice(decoders.honest_messages())
    assert any(mutate(data, random.Random(number)) != data for number in range(20))


def _blind(name: str) -> Callable[..., Any]:
    """The decoder without one of its checks."""

    def decode(data: bytes, kind: Any, *, limit: int, peer: int | None) -> Any:
        if name != "size" and len(data) > limit:
            raise messages.RemoteProtocolError("too long", peer=peer, rule="size")
        handled = tuple(
            error
            for error in (msgspec.MsgspecError, messages.ConfigError, ValueError, RecursionError)
            if error.__name__ != name
        )
        try:
            message = msgspec.msgpack.decode(data, type=kind)
        except handled as error:
            raise messages.RemoteProtocolError("no message", peer=peer, rule="format") from error
        if name != "canonical" and msgspec.msgpack.encode(message) != data:
            raise messages.RemoteProtocolError("not canonical", peer=peer, rule="canonical")
        if name == "KeyError" and isinstance(message, messages.AgreeRequest):
            return {}[len(message.survivors)]
        return message

    return decode


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("", ""),  # the rewritten decoder itself is right
        ("size", "the size rule is about the size"),
        ("canonical", "second spelling"),
        ("ValueError", "UnicodeDecodeError"),
        ("ConfigError", "ConfigError"),
        ("KeyError", "KeyError"),
    ],
)
def test_control_a_decoder_without_one_of_its_checks_is_found(
    broken: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_decode", _blind(broken))
    text = found(decoders.decoder_target(), 12_000 if told else 2_000)
    assert (told in text) if told else text == ""


def test_control_a_primitive_that_raises_or_has_two_spellings_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    target = primitives.primitive_target()
    with monkeypatch.context() as patch:
        patch.setattr(primitives.packing, "has_clean_padding", lambda *_: True)
        assert "second spelling" in found(target)
    with monkeypatch.context() as patch:
        patch.setattr(primitives.shamir, "from_bytes", lambda share: int.from_bytes(share, "big"))
        assert "AssertionError" in found(target)
    with monkeypatch.context() as patch:
        patch.setattr(
            keys, "agree", lambda private, public: private.exchange(keys.X25519PublicKey.from_public_bytes(public))
        )
        assert "ValueError" in found(target)


class _Undead(Client):
    """Forgets to abort."""

    def abort(self) -> None:
        self._phase = None


class _Hoarder(Client):
    """Aborts and keeps its secrets."""

    def abort(self) -> None:
        self._aborted = True


class _Credulous(Client):
    """Stumbles over survivors that it has not masked with."""

    def _agree(self, data: bytes) -> bytes:
        survivors = messages.decode(data, messages.AgreeRequest, limit=10_000, peer=None).survivors
        if 4 in survivors:
            raise KeyError(survivors)
        return super()._agree(data)


@pytest.mark.parametrize(
    ("victim", "told"),
    [(Client, ""), (_Undead, "did not abort"), (_Hoarder, "kept its secrets"), (_Credulous, "KeyError")],
)
def test_control_a_client_that_goes_wrong_is_found(victim: type[Client], told: str) -> None:
    machine = machines.ClientMachine(collude=False, victim=victim, steps=("agree",))
    text = found(Target(name="control", check=machine, seeds=machine.seeds, selectors=1), 300)
    assert (told in text) if told else text == ""


class _Forgetful(Server):
    """Counts an answer before it looks at it."""

    def _take(self, message: messages.ClientMessage) -> None:
        self._seen[message.index] = b"refused or not"
        super()._take(message)


class _Gullible(Server):
    """Believes every signature."""

    def _check_signature(self, *_: Any) -> None:
        pass


class _Spoilt(Server):
    """Adds something of a refused message to the sum."""

    def receive(self, sender: int, data: bytes) -> None:
        if len(self._sum) and len(data) == 7:
            self._sum[0] += self._sum.dtype.type(1)
        super().receive(sender, data)


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (Server, ""),
        (_Forgetful, "changed ['_seen']"),
        (_Gullible, "forged reply was accepted"),
        (_Spoilt, "changed ['_sum']"),
    ],
)
def test_control_a_server_that_goes_wrong_is_found(server: type[Server], told: str) -> None:
    machine = machines.ServerMachine(collude=False, server=server, round_every=100)
    short = bytes([machines.SENDERS * 3 + machines.LATE]) + b"7 bytes"  # while the sum is being opened
    target = Target(name="control", check=machine, seeds=(*machine.seeds, short, short), selectors=1)
    text = found(target, 3_000 if told else 600)
    assert (told in text) if told else text == ""


class _Revealing(Drawer):
    """Goes on after a list that it refused."""

    def reveal(self, request: bytes) -> bytes:
        try:
            return super().reveal(request)
        except RemoteProtocolError:
            self._state = DrawState.COMMITTED
            raise


class _Trusting(DrawServer):
    """Takes any nonce for the one that was committed to."""

    def receive_reveal(self, sender: int, data: bytes) -> None:
        self._nonces[sender] = decode(data, Reveal, limit=1_000, peer=sender).nonce


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({}, ""),
        ({"drawer": _Revealing}, "did not abort"),
        ({"server": _Trusting}, "took two turns"),
    ],
)
def test_control_a_draw_that_goes_wrong_is_found(parts: dict[str, Any], told: str) -> None:
    machine = draws.DrawMachine(collude=False, **parts)
    text = found(Target(name="control", check=machine, seeds=machine.seeds, selectors=1), 1_000)
    assert (told in text) if told else text == ""


def test_a_server_is_the_same_after_its_round_was_finished() -> None:
    """Honest replies are the ones that it waits for, before and after."""
    machine = machines.ServerMachine(collude=False, round_every=1)
    late = [seed for seed in dict.fromkeys(machine.seeds) if seed[0] % machines.SENDERS == machines.LATE]
    assert len(late) == 5
    for _ in range(2):
        assert [machine(seed) for seed in late] == ["accepted"] * 5


def growth(target: Target, inputs: int) -> int:
    """Bytes of Python's memory that ``inputs`` inputs leave behind, after as many to warm up."""
    rng = random.Random(SEED)
    drawn = [target.draw(rng) for _ in range(inputs)]
    for data in drawn:
        target.check(data)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for data in drawn:
            target.check(data)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


LEAST_LEAK = 20_000  # of 200 inputs, far below one small object for each


@pytest.mark.parametrize("name", ["messages", "primitives", "client", "server"])
def test_memory_stays_flat(name: str) -> None:
    assert growth(TARGETS[name].make(), 200) < LEAST_LEAK


def test_control_a_target_that_keeps_its_inputs_is_seen_to_grow() -> None:
    honest = decoders.decoder_target()
    kept: list[bytes] = []

    def leaky(data: bytes) -> str:
        kept.append(bytes(bytearray(data)))
        return honest.check(data)

    assert growth(replace(honest, check=leaky), 200) > LEAST_LEAK
    kept.clear()
    # So large that the allocator asks the system for each: smaller ones may fit into what the process has free.
    much = replace(honest, check=lambda data: leaky(data + bytes(40 << 20)))
    assert campaign.run(much, 5, seed=SEED, most=10**6).leaks
    kept.clear()
    assert not campaign.run(honest, 100, seed=SEED).leaks


@pytest.mark.parametrize("with_atheris", [True, False])
def test_every_last_input_is_given_to_some_process(with_atheris: bool) -> None:
    plan = units(1_000_003, names=list(TARGETS), seed=1, with_atheris=with_atheris)
    assert sum(unit.inputs for unit in plan) == 1_000_003
    assert {unit.target for unit in plan} == set(TARGETS)
    assert len({unit.seed for unit in plan}) == len(plan)
    assert any(unit.guided for unit in plan) == with_atheris


@pytest.mark.skipif(not guided.is_available(), reason="atheris is not installed: the extra 'fuzz' has it")
def test_by_coverage_nothing_is_found_and_control_a_fault_is() -> None:
    target = decoders.decoder_target()
    result, branches = guided.run("messages", target, 2_000, seed=SEED)
    assert result.findings == [] and result.inputs >= 2_000 and branches > 50
    program = (
        "import sys; from dataclasses import replace; from tests.fuzz import guided\n"
        "def make():\n"
        "    from tests.fuzz.decoders import decoder_target\n"
        "    honest = decoder_target()\n"
        "    return replace(honest, check=lambda data: {'accepted': 1}[honest.check(data)])\n"
        "guided.fuzz(make, sys.argv[1:])"
    )
    broken, _ = guided.run_program(["-c", program], target, 2_000, seed=SEED)
    assert "KeyError" in broken.findings[0][1]
    with pytest.raises(KeyError):
        {"accepted": 1}[target.check(broken.findings[0][0])]


def test_states_of_the_prepared_clients_are_those_of_the_five_requests() -> None:
    """What is put back after each input is the state in which a client really waits for that request."""
    machine = machines.ClientMachine(collude=False)
    states = [State.NEW, State.ADVERTISED, State.SHARED, State.MASKED, State.AGREED]
    for step, state in enumerate(states):
        client = machine.prepared(step)
        assert client.state is state
        for seed in machine.seeds:
            machine(seed)
            assert machine.prepared(step).state is state
