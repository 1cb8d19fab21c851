"""Bytes that are no message, or not in its one spelling, end the client at any step."""

from __future__ import annotations

import pytest

from tests.adversary.attacks import ATTACKS, MALFORMED
from tests.adversary.dishonest_server import play, play_unchecked


@pytest.mark.parametrize("name", MALFORMED)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(MALFORMED[name])


@pytest.mark.parametrize("name", MALFORMED)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(MALFORMED[name], monkeypatch)


def test_only_what_is_no_message_has_no_client_that_would_take_it() -> None:
    """Every other attack names the checks that stop it, and its control shows that they do."""
    nameless = {name for name, attack in ATTACKS.items() if not attack.unchecked}
    no_message = ("empty-message", "truncated-message", "message-of-another-type")
    assert {name for name in nameless if not name.startswith(no_message)} == {
        "session-on-an-unknown-graph",
        "round-that-is-no-round",
    }
