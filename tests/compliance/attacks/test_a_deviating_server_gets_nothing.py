"""Five ways to break the protocol: the naive control gives the update away, fedsec's banks refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compliance.attacks.cohort import Cohort
from compliance.attacks.deviations import both_shares, first_inputs
from compliance.attacks.results import Outcome
from fedsec.errors import ConfigError
from secagg import SessionConfig, rounds
from tests.compliance.attacks.helpers import played, setting

NAMES = ("both-shares", "roster-shrink", "split-view", "key-swap", "replay")
UNCHECKED: dict[str, tuple[str, Callable[..., Any]]] = {
    "roster-shrink": ("read_survivors", lambda data, **_: (0,)),
    "split-view": ("verify", lambda *_: True),
    "key-swap": ("verify", lambda *_: True),
    "replay": ("verify", lambda *_: True),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_control_falls_and_fedsec_refuses(name: str) -> None:
    result = played(name)
    assert result.findings.plain.outcome is Outcome.SUCCEEDED
    assert result.findings.fedsec.outcome is Outcome.FAILED
    assert result.right


@pytest.mark.parametrize("name", UNCHECKED)
def test_control_a_bank_that_does_not_check_makes_the_verdict_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, *UNCHECKED[name])
    result = played(name)
    assert result.findings.fedsec.outcome is Outcome.SUCCEEDED
    assert result.verdict.startswith("WRONG: fedsec")


def test_corrupt_banks_get_as_far_as_the_bound_of_the_threshold_says() -> None:
    """t shares of one kind are to be had, that is how sums open; of the other kind fewer than t."""
    figures = both_shares(setting()).fedsec.figures
    assert figures["needed"] == setting().threshold == 7
    assert setting().corrupt <= figures["least_kind"] < setting().threshold


def test_control_a_threshold_one_lower_gives_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """2t = n + c - 1: two lists of survivors find t signatures each. A session that validates refuses such a t."""
    weak = replace(setting(), threshold=setting().threshold - 1)
    with pytest.raises(ConfigError):
        both_shares(weak)
    monkeypatch.setattr(SessionConfig, "_check_cohort", lambda _: None)
    assert both_shares(weak).fedsec.outcome is Outcome.SUCCEEDED


def test_without_a_check_of_the_agreement_the_threshold_alone_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "check_agreement", lambda *_, **__: None)
    figures = both_shares(setting()).fedsec.figures
    assert figures["least_kind"] == figures["needed"] - 1


def test_an_honest_round_among_the_same_objects_opens_the_sum() -> None:
    """The banks are not deaf: it is the deviation that they refuse."""
    inputs = first_inputs(setting())
    total = Cohort(setting(), inputs).to_the_end().opened().total
    assert (total == inputs.sum(axis=0)).all()
