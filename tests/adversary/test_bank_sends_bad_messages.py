"""A message that breaks a rule is refused, its sender named, and nothing changes: the honest one is still taken."""

from __future__ import annotations

import pytest

from tests.adversary.dishonest_bank import LIES, play, play_unchecked


@pytest.mark.parametrize("name", LIES)
def test_refused_by_name_and_nothing_has_changed(name: str) -> None:
    play(LIES[name])


@pytest.mark.parametrize("name", LIES)
def test_control_a_server_without_the_checks_takes_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(LIES[name], monkeypatch)
