"""From a plain update a server reads records, labels and who took part; from a masked one it reads nothing."""

from __future__ import annotations

import numpy as np
import pytest

from compliance.attacks import gradients, guesses
from compliance.attacks.records import counting_weights, invented_records, update
from compliance.attacks.results import Outcome
from tests.compliance.attacks.helpers import hurry, played, setting, without_masks

NAMES = ("first-layer", "gradient-inversion", "label-recovery", "membership")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(guesses, "GAMES", 200)  # enough for a leak to show beyond chance


@pytest.mark.parametrize("name", NAMES)
def test_it_works_on_the_plain_update_and_not_on_the_masked_one(name: str) -> None:
    result = played(name)
    assert result.findings.plain.outcome is Outcome.SUCCEEDED
    assert result.findings.fedsec.outcome is Outcome.FAILED
    assert result.right
    assert result.verdict == "held"


@pytest.mark.parametrize("name", NAMES)
def test_control_without_masks_it_works_on_fedsec_and_the_verdict_is_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_masks(monkeypatch)
    result = played(name)
    assert result.findings.fedsec.outcome is Outcome.SUCCEEDED
    assert not result.right
    assert result.verdict.startswith("WRONG: fedsec")


def test_division_gives_the_very_record_and_not_another() -> None:
    victim, other = invented_records(setting()).of(1, 2)
    gradient = update(setting(), setting().weights, victim[None], np.ones(1), clipped=True)
    found = gradients.divide(setting().model, gradient)
    assert np.abs(found - victim).max() < 1e-3
    assert np.abs(found - other).max() > 0.5


def test_division_is_off_once_a_second_record_is_in_the_update() -> None:
    """Why fitting is an attack of its own."""
    victims = invented_records(setting()).of(1, 2)
    gradient = update(setting(), setting().weights, victims, np.ones(2), clipped=False)
    assert np.abs(gradients.divide(setting().model, gradient) - victims[0]).max() > 0.1


def test_counting_weights_turn_an_update_into_a_count_of_frauds() -> None:
    records = invented_records(setting())
    gradient = update(setting(), counting_weights(setting()), records.features, records.labels, clipped=True)
    assert round(-gradient[-1]) == records.labels.sum() > 50
    assert np.abs(gradient[:-1]).max() < 1e-9


def test_control_honest_weights_do_not_count() -> None:
    records = invented_records(setting())
    gradient = update(setting(), setting().weights, records.features, records.labels, clipped=True)
    assert round(-gradient[-1]) != records.labels.sum()
