"""An audit leaves the product alone, finds broken noise, and really exercises what a bank releases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from compliance.audit import training
from compliance.audit.canaries import CanarySum, coins
from compliance.audit.controls import SaturatedAfterNoise
from compliance.audit.results import read_record, write_record
from compliance.audit.setting import default_setting
from compliance.audit.suite import carry_out, control, controls
from compliance.audit.training import Variant, limit_of, scores
from dp.mechanism import SumMechanism
from fedsec.errors import ConfigError
from fl_engine.model import initial_weights
from fl_engine.plan import TaskPlan
from fl_engine.settings import RunSettings
from tests.compliance.audit.helpers import audited, setting

MODES = ("distributed", "local")


@pytest.mark.parametrize("mode", MODES)
def test_the_product_is_not_disproved_and_noise_off_is(mode: str) -> None:
    genuine = audited(setting(mode))
    assert 0 < genuine.lower_bound < genuine.claimed_epsilon <= 3 and genuine.ok and genuine.private
    broken = audited(setting(mode), "no-noise")
    assert broken.lower_bound > broken.claimed_epsilon and not broken.ok and not broken.private


@pytest.mark.parametrize(("mode", "kind"), [("distributed", "saturate-after-noise"), ("local", "no-sampling")])
def test_what_else_breaks_the_noise_is_found(mode: str, kind: str) -> None:
    """A saturation leaves one share of h = 16, of forty banks: a quarter of the deviation, noticed beyond doubt."""
    of = setting(mode, banks=40)
    assert control(of, kind).expected
    assert audited(of, kind).disproved
    assert not audited(of).disproved


@pytest.mark.parametrize("mode", MODES)
def test_noise_cut_to_half_of_what_is_noticed_is_found_and_whole_noise_is_not(mode: str) -> None:
    of = setting(mode)
    assert audited(of, f"noise-cut={of.design.noticed / 2}").disproved
    assert not audited(of, "noise-cut=1").disproved


def test_an_audit_that_looks_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    of = setting()
    works = carry_out(of, tried=controls(of)[:1], instead=None, progress=lambda *_: None)
    assert works.ok and not works.missed
    monkeypatch.setattr("compliance.audit.suite.scores", lambda *_: np.random.default_rng().random(of.canaries))
    blind = carry_out(of, tried=controls(of), instead=None, progress=lambda *_: None)
    assert not blind.ok and not blind.disproved
    assert [each.name for each in blind.missed] == [each.name for each in controls(of) if each.expected]


def test_the_banks_own_noise_is_what_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise in the product itself, as a bug would have it, the audit of the product fails."""
    for mode in MODES:
        assert not audited(setting(mode)).disproved
        with monkeypatch.context() as patch:
            patch.setattr(SumMechanism, "add_noise", lambda _mechanism, values, **_: values)
            assert audited(setting(mode)).disproved


def test_the_release_is_the_one_that_a_bank_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    of = setting()
    seen: list[str] = []
    genuine = TaskPlan.released

    def released(plan, planned, values):  # type: ignore[no-untyped-def]
        seen.append(planned.name)
        return genuine(plan, planned, values)

    monkeypatch.setattr(TaskPlan, "released", released)
    scores(of, Variant(mechanism=of.training.mechanism), coins(of.canaries))
    assert seen == ["training"] * of.shares * of.training.attempts
    source = (Path(__file__).parents[3] / "fl_engine" / "bank.py").read_text("utf-8")
    assert ".released(planned, values, coins=coins)" in source and ".add_noise(" not in source


def test_a_canary_is_one_clipped_gradient_and_sits_out_where_its_slot_does() -> None:
    of = setting()
    mechanism, spec = of.training.mechanism, of.plan.model
    places = np.array([5, 17, 4_000])
    sums = CanarySum(spec, mechanism=mechanism, records=2, coordinates=places, ballast=np.zeros(mechanism.dimension))
    weights = initial_weights(spec, 1)
    features, labels = np.ones((5, spec.inputs)), np.zeros(5)
    total = sums(weights, features, labels, np.array([True, True, True, False, True]))
    moved = total - sums.known[0]
    assert np.flatnonzero(moved).tolist() == [5, 4_000]
    assert moved[places].tolist() == pytest.approx([mechanism.clip, 0.0, mechanism.clip])
    assert np.linalg.norm(sums.known[0]) > 0  # the real records are there too


def test_saturation_after_noise_swallows_a_share_and_saturation_before_does_not() -> None:
    mechanism = setting().training.mechanism
    limit = limit_of(mechanism)
    fields = {name: getattr(mechanism, name) for name in SumMechanism.__struct_fields__}
    broken = SaturatedAfterNoise(**fields, limit=limit)
    far = np.full(mechanism.dimension, 3 * limit)
    assert np.ptp(broken.add_noise(far)) == 0
    assert np.ptp(mechanism.add_noise(np.minimum(far, limit))) > 0


def test_a_banks_ballast_is_no_more_than_clipped_records_in_its_slots_add() -> None:
    of = setting()
    own = -(-of.canaries // of.shares)
    bank = training._Bank(of, np.random.default_rng(), np.arange(own), np.ones(own, np.bool_), heavy=True)
    ballast = of.plan.slots[0] - training.RECORDS - own
    assert np.linalg.norm(bank.sum._ballast) <= ballast * of.training.mechanism.clip * (1 + 1e-9)
    assert not np.linalg.norm(1.1 * bank.sum._ballast) <= ballast * of.training.mechanism.clip
    assert bank.sum._ballast[:own].max() == 0 < bank.sum._ballast[own:].min()


def test_half_of_the_canaries_are_in() -> None:
    """Six deviations of fair coins; coins that are always heads are not."""
    count = 100_000
    assert abs(int(coins(count).sum()) - count / 2) < 6 * (count / 4) ** 0.5
    assert not abs(int((coins(count) | True).sum()) - count / 2) < 6 * (count / 4) ** 0.5


def test_an_epsilon_that_no_audit_can_disprove_is_refused() -> None:
    default_setting(RunSettings(rounds=1, epsilon=5), canaries=5_000)
    with pytest.raises(ConfigError, match="cannot disprove ε = 9"):
        default_setting(RunSettings(rounds=1, epsilon=9), canaries=5_000)
    with pytest.raises(ConfigError, match="cannot disprove"):
        default_setting(RunSettings(rounds=1), canaries=20)


@pytest.mark.parametrize(
    ("mode", "name"), [("distributed", "no-sampling"), ("local", "saturate-after-noise"), ("local", "noise-cut=2")]
)
def test_a_control_that_does_not_exist_is_refused_with_those_that_do(mode: str, name: str) -> None:
    with pytest.raises(ConfigError, match="no control") as refused:
        control(setting(mode), name)
    assert control(setting(mode), "no-noise").name in refused.value.remedy


def test_a_record_comes_back_as_it_was_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    record = replace_bound(audited(setting(), "no-noise"))
    write_record(tmp_path / "audit.json", record)
    assert read_record(tmp_path / "audit.json") == record
    for damaged in (b"{}", b"\xff", msgspec.json.encode(msgspec.structs.replace(record, lower_bound=-1.0))):
        (tmp_path / "audit.json").write_bytes(damaged)
        with pytest.raises(ConfigError, match="damaged"):
            read_record(tmp_path / "audit.json")


def replace_bound(record):  # type: ignore[no-untyped-def]
    return msgspec.structs.replace(record, lower_bound=1.25)


def test_where_delta_leaves_no_room_for_ballast_that_control_is_not_played() -> None:
    of = replace(setting(), ballast=0)
    assert control(of, "saturate-after-noise").variant is None
    assert not control(of, "saturate-after-noise").expected
    with pytest.raises(ConfigError, match="cannot be played"):
        audited(of, "saturate-after-noise")
