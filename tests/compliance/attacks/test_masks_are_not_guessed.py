"""Masks are used once, have 256 bits, and rest on what the session's key exchange rests on."""

from __future__ import annotations

import os

import numpy as np
import pytest

from compliance.attacks import masks
from compliance.attacks.cohort import Cohort, without_streams
from compliance.attacks.controls.naive_masking import OWN, own_key
from compliance.attacks.deviations import first_inputs
from compliance.attacks.masks import CLASSICAL
from compliance.attacks.naive_server import NaiveCohort
from compliance.attacks.results import Outcome
from secagg import keys
from tests.compliance.attacks.helpers import hurry, played, setting, without_masks


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.mark.parametrize("name", ["keystream-reuse", "folded-seed"])
def test_the_control_falls_and_fedsec_does_not(name: str) -> None:
    result = played(name)
    assert result.findings.plain.outcome is Outcome.SUCCEEDED
    assert result.findings.fedsec.outcome is Outcome.FAILED
    assert result.right


def test_control_without_masks_the_difference_of_two_updates_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    without_masks(monkeypatch)
    result = played("keystream-reuse")
    assert result.findings.fedsec.outcome is Outcome.SUCCEEDED
    assert not result.right


def test_control_a_folded_stream_in_production_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "self_key", lambda seed, t2: int(seed[0]).to_bytes(32, "big"))
    assert played("folded-seed").verdict.startswith("WRONG: fedsec")


def test_control_a_seed_that_is_not_folded_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "NaiveCohort", lambda setting, seed_bits: NaiveCohort(setting, seed_bits=256))
    assert played("folded-seed").verdict.startswith("WRONG: the attack itself")


def test_recorded_traffic_is_read_once_its_key_exchange_is_broken() -> None:
    result = played("harvest")
    default = Cohort(setting(), first_inputs(setting())).session.key_exchange
    assert result.findings.plain.outcome is Outcome.SUCCEEDED
    assert result.findings.fedsec.outcome is (Outcome.NOT_PROTECTED if default == CLASSICAL else Outcome.FAILED)
    assert result.right


def test_control_with_keys_that_are_not_the_recorded_ones_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cohort, "curve_key", lambda *_: keys.private_key(os.urandom(32)))
    result = played("harvest")
    assert result.findings.plain.outcome is Outcome.FAILED
    assert not result.right


def test_naive_masks_cancel_in_the_sum_so_the_control_is_a_secure_aggregation() -> None:
    """The control is broken by what it answers, not by its arithmetic."""
    inputs = first_inputs(setting())
    naive = NaiveCohort(setting())
    everybody = naive.keys(range(len(naive.banks)))
    total = np.zeros(setting().dimension, dtype=np.uint64)
    for bank, values in zip(naive.banks, inputs, strict=True):
        words = bank.mask(values, {i: key for i, key in everybody.items() if i != bank.index})
        own = naive.seed(bank.index, OWN, asked=range(naive.threshold))
        opened = without_streams(words, bank.index, self_key=own_key(own), pair_keys={})
        assert (naive.quantiser.lift(opened) != values).mean() > 0.99
        total += opened
    assert (naive.quantiser.lift(total) == inputs.sum(axis=0)).all()
