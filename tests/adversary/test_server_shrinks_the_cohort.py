"""No step goes on with fewer members than the threshold, or than the session promised."""

from __future__ import annotations

import pytest

from tests.adversary.attacks import SHRUNK
from tests.adversary.dishonest_server import play, play_unchecked


@pytest.mark.parametrize("name", SHRUNK)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(SHRUNK[name])


@pytest.mark.parametrize("name", SHRUNK)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(SHRUNK[name], monkeypatch)
