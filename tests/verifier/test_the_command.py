"""``fedsec verify RUN``: exit codes, what is told, and what it is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cli.main import invoke
from fedsec_verify import bundle as names
from fedsec_verify.bundle import Options
from fedsec_verify.command import main
from fedsec_verify.table import STEPS
from tests.verifier.cases import Case, verified
from tests.verifier.runs import Runs


@pytest.fixture
def case(runs: Runs, tmp_path: Path) -> Case:
    path = tmp_path / "runs" / "one"
    shutil.copytree(runs.plain.path, path)
    return Case(path=path, other=runs.plain.other, keys=runs.plain.keys)


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert invoke(["verify", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_every_step_is_told_and_the_exit_code_is_0(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {3: "assumed", 8: "attested", 12: "assumed"}  # without --roster, --keep-masked-inputs, --ledger-key
    assert invoke(["verify", str(case.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[: len(STEPS)]] == [
        [str(step.number), step.name, kinds.get(step.number, step.kind)] for step in STEPS
    ]
    assert lines[len(STEPS)].startswith("Every step holds.")
    assert [line.split()[0] for line in lines[len(STEPS) + 1 :]] == ["3", "12", "20"]
    assert [step.number for step in STEPS] == list(range(1, 21))


def test_json_is_as_designed(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    result = told(capsys, str(case.path))
    assert result["ok"] is True and "failed" not in result
    assert {key for step in result["steps"] for key in step} == {"number", "name", "kind", "ok", "detail"}
    case.flip("summary.json")
    result = told(capsys, str(case.path), code=1)
    assert result["ok"] is False
    assert (result["failed"]["number"], result["failed"]["file"]) == (2, "summary.json")
    assert "SHA-256" in result["failed"]["expected"]


def test_a_failure_names_step_file_and_what_was_expected(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.flip(names.PLAN)
    assert invoke(["verify", str(case.path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Step 2 (files) does not hold, evidence/plan.msgpack: expected a file of SHA-256")


def test_hostile_names_reach_no_terminal(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.write("evidence/\x1b[31mred\udcff", b"")
    assert invoke(["verify", str(case.path)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\udcff" not in out and "[31mred" in out
    failed = told(capsys, str(case.path), code=1)["failed"]
    assert "[31mred" in failed["file"] and "\x1b" not in failed["file"]


def test_latest_is_followed(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    link = case.path.with_name("latest")
    link.symlink_to(case.path.name)
    assert told(capsys, str(link))["ok"] is True


def test_what_is_no_finished_run_is_a_usage_error(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    partial = case.path.rename(case.path.with_name("one.partial"))
    bare = case.path.with_name("bare")
    bare.mkdir()
    loop = case.path.with_name("loop")
    loop.symlink_to(loop)
    for path, words in (
        (partial, "did not finish"),
        (bare, "holds no evidence"),
        (bare / "no", "no run's directory"),
        (loop, "loop"),
    ):
        assert invoke(["verify", str(path)]) == 2
        error = capsys.readouterr().err.splitlines()
        assert error[0].startswith("Error: ") and words in error[0]
        with pytest.raises(SystemExit) as exit_:
            main([str(path)])
        assert exit_.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.splitlines() == error[:1]


def test_the_distribution_of_its_own_says_the_same(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(["verify", str(case.path)])
    one = capsys.readouterr().out
    for flip, code in ((False, 0), (True, 1)):
        if flip:
            case.flip("summary.json")
        with pytest.raises(SystemExit) as exit_:
            main([str(case.path)])
        assert exit_.value.code == code
        other = capsys.readouterr().out
        assert (one == other) is not flip


def test_a_roster_from_elsewhere(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roster = tmp_path / "roster.json"
    roster.write_bytes(case.read(names.ROSTER_FILE))
    steps = told(capsys, str(case.path), "--roster", str(roster))["steps"]
    assert (steps[2]["name"], steps[2]["kind"]) == ("roster", "recomputed")
    other = json.loads(roster.read_text())
    other["members"].reverse()
    roster.write_text(json.dumps(other))
    assert told(capsys, str(case.path), "--roster", str(roster), code=1)["failed"]["number"] == 3
    roster.write_text("{}")
    for name in (str(roster), str(tmp_path / "none")):
        assert told(capsys, str(case.path), "--roster", name, code=2)["error"]["kind"] == "usage"


def test_kept_inputs_that_have_expired_are_no_failure(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    expires = runs.kept.statement()["predicate"]["masked_inputs"]["expires"]
    for today, words in ((expires, "not to be relied upon after"), ("9999-12-31", "EXPIRED")):
        step = verified(runs.kept.path, Options(roster=None, ledger_key=None, today=today))[7]
        assert step.ok and step.kind == "recomputed" and f"{words} {expires}" in step.detail
    step = verified(runs.plain.path)[7]
    assert step.ok and step.kind == "attested"  # the control: without inputs it is somebody's word


def test_a_ledger_key_from_elsewhere(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = case.statement()["predicate"]["ledger"]["public_key"]
    file = tmp_path / "key"
    file.write_text(own + "\n")
    for given in (own, str(file)):
        steps = told(capsys, str(case.path), "--ledger-key", given)["steps"]
        assert (steps[11]["name"], steps[11]["kind"]) == ("ledger-key", "recomputed")
    key = Ed25519PrivateKey.generate()
    stranger = tmp_path / "stranger.pem"
    for pem in (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        stranger.write_bytes(pem)
        failed = told(capsys, str(case.path), "--ledger-key", str(stranger), code=1)["failed"]
        assert failed["name"] == "ledger-key"
    stranger.write_text("no key")
    for given in (str(stranger), "abcd", str(tmp_path / "none")):
        assert told(capsys, str(case.path), "--ledger-key", given, code=2)["error"]["kind"] == "usage"
