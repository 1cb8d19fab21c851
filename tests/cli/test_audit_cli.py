"""``fedsec audit``: table, one JSON object, exit codes, a run's file, and the bound beside the claim in its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from cli.main import invoke
from compliance.audit.results import read_record, write_record
from compliance.report import write_report
from fedsec.errors import ConfigError
from tests.fl_engine.run_helpers import own_place

torch.set_num_threads(1)
SMALL = ("--rounds", "1", "--canaries", "18000")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real, small run's directory."""
    folder = tmp_path_factory.mktemp("audited")
    with own_place(folder):
        assert invoke(["run", "--rows", "1500", "--rounds", "1", "--offline", "--out", str(folder / "runs")]) == 0
        yield next(each for each in (folder / "runs").iterdir() if (each / "privacy.json").is_file())


def test_a_table_tells_claim_bound_controls_and_that_it_is_no_proof(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["audit", *SMALL]) == 0
    said = capsys.readouterr()
    for words in (
        "not disproved",
        "control: noise off",
        "found out, as it must be",
        "notices noise cut to",
        "proves nothing",
    ):
        assert words in said.out
    assert "δ = 1e-5" in said.out and "95 % confidence" in said.out and "NOT PRIVATE" not in said.out
    assert "distributed training" in said.err and "\x1b" not in said.out + said.err


def test_json_is_one_object_of_the_documented_shape(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert invoke(["audit", *SMALL, "--dp-mode", "local", "--json", "--out", str(tmp_path / "a.json")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True and said["confidence"] == 0.95 and said["brands"] == []
    assert 0 < said["lower_bound"] < said["claimed_epsilon"] <= 3
    assert [each["name"] for each in said["controls"]] == ["no-noise", "no-sampling", "noise-cut"]
    assert all(each["noticed"] for each in said["controls"])
    assert read_record(tmp_path / "a.json").lower_bound == said["lower_bound"]


@pytest.mark.parametrize("control", ["no-noise", "noise-cut=0.2"])
def test_control_broken_noise_fails_the_command_and_is_branded(
    control: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["audit", *SMALL, "--insecure-control", control, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False and said["lower_bound"] > said["claimed_epsilon"]
    assert said["brands"] == ["NOT PRIVATE (debug control)"] and said["private"] is False
    assert invoke(["audit", *SMALL, "--insecure-control", control]) == 1
    assert "NOT PRIVATE (debug control)" in capsys.readouterr().out


def test_a_runs_report_shows_the_bound_beside_the_claim(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no audit measured a lower bound" in (finished / "report.html").read_text("utf-8")
    assert invoke(["audit", str(finished), "--canaries", "18000"]) == 0
    assert f"result: {finished / 'audit.json'}" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    record = read_record(finished / "audit.json")
    with own_place(finished.parents[1]):  # where the run's report key lies
        assert invoke(["report", str(finished), "--offline"]) == 0
    facts = json.loads((finished / "report.json").read_bytes())["facts"]
    assert facts["audit"]["lower_bound"] == record.lower_bound < facts["audit"]["claimed_epsilon"]
    for name in ("report.html", "report.md"):
        text = (finished / name).read_text("utf-8")
        assert f"{record.lower_bound:.4g}" in text and "An audit can disprove a promise, never prove it" in text
        assert "no audit" not in text and "does not hold:" not in text
    assert before["privacy.json"] == (finished / "privacy.json").read_bytes()  # the run is only read
    shown = msgspec.structs.replace(record, lower_bound=4.5)
    write_record(finished / "audit.json", shown)
    write_report(finished, narrator=None, identifiers=None)
    assert "The lower bound is above the claim: the claim does not hold" in (finished / "report.md").read_text("utf-8")
    write_record(finished / "audit.json", record)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "another"},
        {"private": False},
        {"noise_multiplier": 1.0},
        {"mode": "local"},
        {"unit": "entity at one bank"},
    ],
)
def test_an_audit_of_something_else_is_no_audit_of_a_run(finished: Path, change: dict[str, object]) -> None:
    if not (finished / "audit.json").exists():
        assert invoke(["audit", str(finished), "--canaries", "18000", "--json"]) == 0
    record = read_record(finished / "audit.json")
    write_report(finished, narrator=None, identifiers=None)
    try:
        write_record(finished / "audit.json", msgspec.structs.replace(record, **change))
        with pytest.raises(ConfigError, match="other settings"):
            write_report(finished, narrator=None, identifiers=None)
    finally:
        write_record(finished / "audit.json", record)


def test_the_bound_of_a_run_with_entities_is_for_an_entity(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"c{row // 3},{row % 97},{int(row % 40 == 0)}\n" for row in range(1500))
    (tmp_path / "cards.csv").write_text("customer,amount,fraud\n" + rows, "utf-8")
    given = ["--data", str(tmp_path / "cards.csv"), "--label", "fraud", "--unit-column", "customer", "--rounds", "1"]
    with own_place(tmp_path):
        assert invoke(["run", *given, "--offline", "--out", str(tmp_path / "runs")]) == 0
    entities = next(each for each in (tmp_path / "runs").iterdir() if (each / "privacy.json").is_file())
    unit = "entity at one bank"
    for run, said, other in ((entities, unit, "record"), (finished, "record", unit)):  # each is the other's control
        capsys.readouterr()
        assert invoke(["audit", str(run), "--canaries", "18000"]) == 0
        told = capsys.readouterr().out
        assert f"confidence, for one {said}." in told and f"for one {other}." not in told
        assert read_record(run / "audit.json").unit == said
        write_report(run, narrator=None, identifiers=None)
        text = (run / "report.md").read_text("utf-8")
        assert ("reserved for an entity's training records at one bank" in text) == (said == unit)
        assert ("reserved for a training record" in text) == (said != unit)


def test_broken_noise_is_never_written_into_a_runs_directory(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished / "other.json"
    arguments = ["audit", str(finished), "--insecure-control", "no-noise", "--canaries", "5000"]
    assert invoke([*arguments, "--out", str(out)]) == 2
    assert not out.exists() and "does not belong" in capsys.readouterr().err
    known = sorted(path.name for path in finished.iterdir())
    assert invoke(arguments) == 1
    assert sorted(path.name for path in finished.iterdir()) == known


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing-here"], "is not a run's directory"),
        ([".", "--epsilon", "1"], "RUN goes with no --epsilon"),
        (["--epsilon", "-1"], "--epsilon"),
        (["--epsilon", "9"], "cannot disprove"),
        (["--out", "no/folder/a.json"], "is in no folder that exists"),
        (["--out", "other.txt"], "is no result of fedsec audit"),
        (["--confidence", "1"], "--confidence"),
        (["--insecure-control", "nothing"], "no control"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_clear_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text("mine")
    assert invoke(["audit", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
    assert (tmp_path / "other.txt").read_text() == "mine"
