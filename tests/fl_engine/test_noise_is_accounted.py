"""The noise that a run adds is the noise that it states, and its epsilon follows from privacy.json alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import stats

from tests.fl_engine.run_helpers import Finished, finished

FALSE_ALARM = 1e-7  # of each interval below


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory.mktemp("run"), evaluation="federated", rounds=4, drop_rate=0.1, seed=3)


@pytest.fixture(scope="module")
def statement(run: Finished) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run.path / "privacy.json").read_bytes())
    return loaded


def shares(run: Finished, name: str) -> np.ndarray:
    """Every draw of every noise share of a sum, over banks, attempts and coordinates."""
    return np.concatenate([after - before for before, after in run.record.noise[name]]).astype(np.float64)


def variance_holds(noise: np.ndarray, variance: float) -> bool:
    """Whether the mean square lies where a Gaussian of that variance puts it, but for a chance of 1e-7."""
    count = len(noise)
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], count)
    return bool(low <= float(noise @ noise) / variance <= high)


NAMES = ("scaling", "training", "evaluation")


@pytest.mark.parametrize("name", NAMES)
def test_the_noise_has_the_variance_that_is_stated(run: Finished, statement: dict[str, Any], name: str) -> None:
    (parameters,) = [each for each in statement["parameters"] if each["name"] == name]
    noise = shares(run, name)
    assert len(noise) >= 4 * parameters["dimension"]
    assert variance_holds(noise, parameters["share_variance"])
    assert abs(noise.mean()) <= 5.5 * math.sqrt(parameters["share_variance"] / len(noise))
    assert np.abs(noise).max() <= parameters["noise_bound"]


@pytest.mark.parametrize("name", ["training"])
def test_control_noise_smaller_by_three_percent_is_noticed(run: Finished, statement: dict[str, Any], name: str) -> None:
    (parameters,) = [each for each in statement["parameters"] if each["name"] == name]
    assert not variance_holds(0.97 * shares(run, name), parameters["share_variance"])


def test_every_masked_vector_got_a_share_of_its_own(run: Finished) -> None:
    noised = [after for name in NAMES for _, after in run.record.noise[name]]
    masked = [values for banks in run.record.masked.values() for values in banks.values()]
    assert len(noised) == len(masked)
    assert {v.tobytes() for v in noised} == {v.tobytes() for v in masked}  # nothing came between noise and mask
    noise = [(after - before).tobytes() for name in NAMES for before, after in run.record.noise[name]]
    assert len(set(noise)) == len(noise)


@pytest.mark.parametrize("name", NAMES)
def test_h_shares_carry_z_times_the_sensitivity(statement: dict[str, Any], name: str) -> None:
    (each,) = [each for each in statement["parameters"] if each["name"] == name]
    h = statement["cohort"]["honest_inputs"]
    promised = (each["noise_multiplier"] * each["sensitivity"]) ** 2
    assert promised <= h * each["share_variance"] <= promised * (1 + 1e-6) + h
    assert h == statement["cohort"]["threshold"] - statement["cohort"]["corrupt"]


def recomputed(statement: dict[str, Any], *, shares_counted: int | None = None, **charged: int) -> float:
    """Epsilon of the worse account, from the statement's own numbers, by formulas written here, in 40 digits.

    Kairouz, Liu, Steinke 2021, Theorem 1: order alpha of one sum costs alpha Delta^2 / (2 h sigma^2) + tau d. Then
    Canonne, Kamath, Steinke 2020, Proposition 12, minimised over all real orders by golden section.
    """
    h = shares_counted or statement["cohort"]["honest_inputs"]
    by_name = {each["name"]: each for each in statement["parameters"]}
    with mp.workdps(40):
        delta = mpf(statement["delta"]) - mpf(statement["eta"]) * (1 + mp.exp(mpf(statement["epsilon"])))
        worst = mpf(0)
        for part in {release["account"] for release in statement["releases"]}:
            slope = offset = mpf(0)
            for release in statement["releases"]:
                if release["account"] != part:
                    continue
                p = by_name[release["name"]]
                count, variance = charged.get(release["name"], release["charged"]), mpf(p["share_variance"])
                slope += count * mpf(p["sensitivity"]) ** 2 / (2 * h * variance)
                tau = 10 * sum((mp.exp(-2 * mp.pi**2 * variance * k / (k + 1)) for k in range(1, h)), mpf(0))
                offset += count * tau * p["dimension"]
            worst = max(worst, least_epsilon(offset, slope, delta))
        return float(worst)


def least_epsilon(offset: mpf, slope: mpf, delta: mpf) -> mpf:
    def price(x: mpf) -> mpf:
        excess = mp.exp(x)
        alpha = 1 + excess
        return offset + slope * alpha + mp.log(1 - 1 / alpha) - mp.log(delta * alpha) / excess

    low, high, golden = mpf(-5), mpf(14), (mp.sqrt(5) - 1) / 2
    for _ in range(80):
        third = golden * (high - low)
        low, high = (low, low + third) if price(high - third) < price(low + third) else (high - third, high)
    return price(low)


def test_a_third_party_gets_the_stated_epsilon_from_privacy_json_alone(statement: dict[str, Any]) -> None:
    assert recomputed(statement) == pytest.approx(statement["epsilon"], rel=1e-6)
    planned = {release["name"]: release["planned"] for release in statement["releases"]}
    assert recomputed(statement, **planned) == pytest.approx(statement["planned_epsilon"], rel=1e-6)


def test_a_third_party_gets_every_adversarys_epsilon(statement: dict[str, Any]) -> None:
    for bound in statement["adversaries"]:
        assert recomputed(statement, shares_counted=bound["shares"]) == pytest.approx(bound["epsilon"], rel=1e-6)
    assert [bound["name"] for bound in statement["adversaries"] if bound["target"]] == ["server-and-banks"]


def test_control_another_number_of_shares_or_rounds_gives_another_epsilon(statement: dict[str, Any]) -> None:
    h = statement["cohort"]["honest_inputs"]
    stated = pytest.approx(statement["epsilon"], rel=1e-3)
    assert recomputed(statement, shares_counted=h + 1) != stated
    assert recomputed(statement, shares_counted=h - 1) != stated
    assert recomputed(statement, training=1, evaluation=0) != stated


def test_the_events_in_the_statement_are_the_parameters(statement: dict[str, Any]) -> None:
    by_name = {each["name"]: each for each in statement["parameters"]}
    for release in statement["releases"]:
        event, p = release["event"], by_name[release["name"]]
        assert (event["type"], event["count"]) == ("repeated", 1)
        assert event["event"]["share_variance"] == p["share_variance"]
        assert event["event"]["sensitivity"] == p["sensitivity"]
        assert event["event"]["shares"] == statement["cohort"]["honest_inputs"]


def test_what_was_charged_is_what_was_attempted(run: Finished, statement: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_bytes().splitlines()]
    for release in statement["releases"]:
        attempts = [line for line in lines if line["release"] == release["name"]]
        assert release["charged"] == len(attempts) <= release["planned"]
        assert release["opened"] == sum(line["status"] == "opened" for line in attempts)
    assert statement["eta"] <= 2.0**-60
    assert statement["brands"] == ["SIMULATED KEYS"]
