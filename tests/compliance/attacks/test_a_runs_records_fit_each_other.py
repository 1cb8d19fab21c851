"""A run whose records contradict each other is not attacked: one edit at a time to a run that is taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compliance.attacks.setting import run_setting
from fedsec.errors import ConfigError
from tests.compliance.attacks.helpers import finished_run

Edit = Callable[[dict[str, Any]], None]


def _set(*path: Any, to: Any) -> Edit:
    """An edit of the entry at ``path``; a function as ``to`` is given the old value."""

    def edit(record: dict[str, Any]) -> None:
        for step in path[:-1]:
            record = record[step]
        record[path[-1]] = to(record[path[-1]]) if callable(to) else to

    return edit


def _retarget(record: dict[str, Any]) -> None:
    for each in record["adversaries"]:
        each["target"] = each["name"] == "released-model"


EDITS: dict[str, Edit] = {
    "a variance of a 160,000th": _set("parameters", 1, "share_variance", to=lambda old: old / 160_000),
    "a variance 400 times as large": _set("parameters", 1, "share_variance", to=lambda old: old * 400),
    "a sensitivity 20 times as large": _set("parameters", 1, "sensitivity", to=lambda old: old * 20),
    "another noise multiplier": _set("parameters", 1, "noise_multiplier", to=lambda old: old * 2),
    "another sampling rate": _set("parameters", 1, "sampling_rate", to=0.5),
    "noise that is cut": _set("parameters", 1, "noise_bound", to=1),
    "a clip 4 times as large": _set("parameters", 1, "clip", to=4.0),
    "an event of 10 shares": _set("releases", 1, "event", "event", "shares", to=10),
    "no corrupt banks": _set("cohort", "corrupt", to=0),
    "nine corrupt banks": _set("cohort", "corrupt", to=9),
    "a threshold of 2": _set("cohort", "threshold", to=2),
    "h of 7": _set("cohort", "honest_inputs", to=7),
    "5 banks": _set("cohort", "clients", to=5),
    "local mode": _set("mode", to="local"),
    "an unknown mode": _set("mode", to="global"),
    "not private": _set("private", to=False),
    "branded NOT PRIVATE": _set("brands", to=["NOT PRIVATE", "SIMULATED KEYS"]),
    "no brand": _set("brands", to=[]),
    "no voids": _set("voids", to=[]),
    "another target": _retarget,
    "another epsilon": _set("epsilon", to=20.0),
    "fewer openings": _set("releases", 1, "opened", to=1),
    "other records": _set("slots", to=1_000),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "run")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_privacy_statement_is_refused(edit: str, run: Path) -> None:
    assert run_setting(run).record is not None  # the control: unedited it is taken
    statement = json.loads((run / "privacy.json").read_text("utf-8"))
    EDITS[edit](statement)
    (run / "privacy.json").write_text(json.dumps(statement), "utf-8")
    with pytest.raises(ConfigError):
        run_setting(run)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.jsonl", ""),
        ("config.toml", "not toml"),
        ("config.toml", "banks = 5\n"),
        ("config.toml", 'dp_mode = "local"\n'),
        ("config.toml", "epsilon = 0.1\n"),
    ],
)
def test_other_files_that_say_something_else_are_refused(file: str, content: str, run: Path) -> None:
    (run / file).write_text(content, "utf-8")
    with pytest.raises(ConfigError):
        run_setting(run)


@pytest.mark.parametrize("edit", [_set("mode", to="local"), _set("banks", to=9), _set("rounds_opened", to=1)])
def test_another_summary_is_refused(edit: Edit, run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    edit(summary)
    (run / "summary.json").write_text(json.dumps(summary), "utf-8")
    with pytest.raises(ConfigError):
        run_setting(run)


def test_a_damaged_record_is_named_with_its_path_and_a_remedy(run: Path) -> None:
    (run / "privacy.json").write_text("{", "utf-8")
    with pytest.raises(ConfigError) as caught:
        run_setting(run)
    assert str(run / "privacy.json") in caught.value.message
    assert caught.value.remedy


def test_a_run_in_local_mode_is_taken_too(tmp_path: Path) -> None:
    assert run_setting(finished_run(tmp_path / "run", mode="local")).shares == 1
