"""Keys that a bank did not advertise, or with which no secret can be agreed, are refused before anything is dealt."""

from __future__ import annotations

import pytest

from tests.adversary.attacks import KEYS
from tests.adversary.dishonest_server import play, play_unchecked


@pytest.mark.parametrize("name", KEYS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(KEYS[name])


@pytest.mark.parametrize("name", KEYS)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(KEYS[name], monkeypatch)
