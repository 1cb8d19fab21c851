"""When a verdict is wrong, what every row has to name, what the page says, and what is taken from a run."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from compliance.attacks import page
from compliance.attacks.page import render_page, write_page
from compliance.attacks.results import Outcome
from compliance.attacks.setting import run_setting
from compliance.attacks.statistics import Measured
from compliance.attacks.suite import ATTACKS, carry_out
from compliance.reading import read_run
from dp.accounting import epsilon
from fedsec.errors import ConfigError
from tests.compliance.attacks.helpers import attack, finished_run, hurry, result, setting

ROOT = Path(__file__).parents[3]
MADE = datetime(2026, 3, 14, 10, 15, tzinfo=UTC)


def test_every_attack_names_a_test_that_exists_a_control_a_shield_and_a_source() -> None:
    for each in ATTACKS:
        assert (ROOT / each.test).is_file(), each.name
        assert all((each.title, each.how, each.control, each.shield, each.source))
    names = [each.name for each in ATTACKS]
    assert len(set(names)) == len(names)


def test_at_least_eleven_attacks_on_masked_updates_must_fail_and_sums_are_never_said_to_be_secret() -> None:
    must_fail = [each for each in ATTACKS if each.allowed == {Outcome.FAILED}]
    assert len(must_fail) >= 11
    for each in ATTACKS:
        assert Outcome.SUCCEEDED not in each.allowed
        assert (each.target == "opened sum") == (Outcome.FAILED not in each.allowed)


def test_a_verdict_is_right_only_if_the_control_fell_and_fedsec_did_as_claimed() -> None:
    assert result().right
    assert result(outcome=Outcome.SUCCEEDED).verdict.startswith("WRONG: fedsec")
    assert not result(outcome=Outcome.NOT_PROTECTED).right
    held = result()
    both_failed = replace(held.findings, plain=held.findings.fedsec)
    assert replace(held, findings=both_failed).verdict.startswith("WRONG: the attack itself")


@pytest.mark.parametrize(("low", "right"), [(0.1, True), (0.3, False)])
def test_an_advantage_above_its_bound_beyond_chance_is_wrong_whatever_its_outcome_says(low: float, right: bool) -> None:
    found = result(measured=Measured(advantage=0.35, low=low, high=0.5, trials=100), bound=0.2)
    assert found.right is right


def test_broken_variants_are_imported_by_attacks_and_audit_alone() -> None:
    users = set()
    for package in ("fedsec", "secagg", "dp", "fl_engine", "compliance", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module and "controls" in node.module:
                    users.add(path.relative_to(ROOT).as_posix())
    assert users == {
        "compliance/attacks/naive_server.py",
        "compliance/attacks/masks.py",
        "compliance/audit/suite.py",
    }


@pytest.fixture(scope="module")
def quick_results() -> list:
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        return list(
            carry_out(setting(), tuple(map(attack, ("first-layer", "key-swap", "sum-membership", "sum-record"))))
        )


def test_the_page_stands_alone_and_says_what_it_does_not_show(quick_results: list) -> None:
    text = render_page(setting(), quick_results, made=MADE)
    assert "<title>The dishonest server, with an invented cohort with the default settings</title>" in text
    assert "What this page does not show" in text and "It is no proof" in text
    assert text.count("<svg") == 5
    for outside in ("<script", "<link", "src=", "@import", "<iframe", "xlink:href"):
        assert outside not in text
    for each in quick_results:
        assert each.attack.test in text and each.verdict in text
    assert "NOT AS CLAIMED" not in text


def test_control_a_page_with_a_wrong_verdict_says_so_at_the_top(quick_results: list) -> None:
    text = render_page(setting(), [*quick_results, result(outcome=Outcome.SUCCEEDED)], made=MADE)
    assert text.index("NOT AS CLAIMED") < text.index("WRONG: fedsec did not hold")
    assert "Everything came out as claimed" not in text


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, quick_results: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "attack.html"
    target.write_text("before", "utf-8")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(page.Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_page(target, setting(), quick_results, made=MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["attack.html"]
    assert target.read_text("utf-8") == "before"
    write_page(target, setting(), quick_results, made=MADE)
    assert target.read_text("utf-8").lstrip().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["attack.html"]


def test_a_runs_parameters_are_its_statements(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    statement = read_run(run).statement
    taken = run_setting(run)
    training = statement.parameters[1]
    assert (taken.clip, taken.sensitivity, taken.noise_bound) == (1.0, training.sensitivity, training.noise_bound)
    assert (taken.clients, taken.corrupt, taken.threshold, taken.shares) == (10, 3, 7, 4)
    assert taken.openings == 3 and taken.epsilon == statement.epsilon
    assert taken.share_variance <= training.share_variance < taken.share_variance + 1
    release = next(r for r in statement.releases if r.name == "training")
    assert taken.spent() == pytest.approx(epsilon(release.event, statement.delta, statement.eta), rel=1e-6)
    assert np.isfinite(taken.weights).all() and len(taken.weights) == training.dimension


@pytest.mark.parametrize("spoilt", ["absent", "partial", "no-model", "other-model", "damaged-model", "no-summary"])
def test_what_is_no_finished_run_is_bad_input_in_one_line(spoilt: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path / ("run.partial" if spoilt == "partial" else "run"))
    if spoilt == "absent":
        run = tmp_path / "elsewhere"
    if spoilt == "no-model":
        (run / "model.safetensors").unlink()
    if spoilt == "other-model":
        (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-4])
    if spoilt == "damaged-model":
        (run / "model.safetensors").write_bytes(b"no model")
    if spoilt == "no-summary":
        (run / "summary.json").unlink()
    with pytest.raises(ConfigError) as caught:
        run_setting(run)
    assert "\n" not in caught.value.message


def test_control_the_same_run_unspoilt_is_taken(tmp_path: Path) -> None:
    assert run_setting(finished_run(tmp_path / "run")).subject.startswith("the parameters of run 2026")
