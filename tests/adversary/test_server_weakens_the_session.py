"""A session that protects less than the bank's roster, policy or the rules ask for is not answered."""

from __future__ import annotations

import pytest

from fedsec.errors import RemoteProtocolError
from secagg import ClientPolicy, Identity, messages, transcript
from tests.adversary.attacks import SESSIONS
from tests.adversary.dishonest_server import VICTIM, assert_refused, play, play_unchecked
from tests.secagg.helpers import Federation, make_session


@pytest.mark.parametrize("name", SESSIONS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(SESSIONS[name])


@pytest.mark.parametrize("name", SESSIONS)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(SESSIONS[name], monkeypatch)


def test_policy_terms_are_each_enforced() -> None:
    federation = Federation(n=10)
    accepted = ClientPolicy(
        tasks=frozenset({"task"}),
        purposes=frozenset({"training"}),
        modes=frozenset({"distributed"}),
        min_clients=10,
        min_corrupt=3,
        max_corrupt=3,
        min_honest_inputs=4,
        min_noise_multiplier=1.0,
        max_dimension=7,
    )
    accepted.check(federation.session)
    for name, value in (
        ("tasks", frozenset()),
        ("purposes", frozenset()),
        ("modes", frozenset({"local"})),
        ("min_clients", 11),
        ("min_corrupt", 4),
        ("max_corrupt", 2),
        ("min_honest_inputs", 5),
        ("min_noise_multiplier", 1.1),
        ("max_dimension", 6),
        ("key_exchanges", frozenset({"x25519"})),
        ("adversaries", frozenset({"semi-honest"})),
    ):
        fields = {field: getattr(accepted, field) for field in accepted.__dataclass_fields__}
        with pytest.raises(RemoteProtocolError) as caught:
            ClientPolicy(**(fields | {name: value})).check(federation.session)
        assert caught.value.rule == "policy", name


def test_a_server_with_another_key_is_nobody() -> None:
    federation = Federation().start()
    impostor = Identity.from_private_bytes(b"\xee" * 32)
    encoded = make_session(federation.roster).encode()
    request = messages.AdvertiseRequest(session=encoded, signature=impostor.sign(*transcript.session(encoded)))
    client, honest = federation.clients[VICTIM], federation.requests[VICTIM]
    error = assert_refused(client, messages.encode(request), step="advertise", honest=honest)
    assert (error.rule, error.peer) == ("signature", None)
