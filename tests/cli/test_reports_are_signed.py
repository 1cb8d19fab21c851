"""A run's report is signed with the run's report key, each time that it is written; elsewhere none can be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from cli.main import invoke
from fl_engine.evidence import report_key
from tests.fl_engine.run_helpers import own_place

torch.set_num_threads(1)
REPORT = "evidence/report.dsse.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    small = ["--banks", "5", "--rounds", "1", "--rows", "1000", "--offline"]
    with own_place(folder):
        assert invoke(["run", *small, "--out", str(folder / "runs")]) == 0
    return folder


def run_of(folder: Path) -> Path:
    return (folder / "runs" / "latest").resolve()


def verified(run: Path) -> dict[str, Any]:
    """The report's statement, its signature checked under the key that the run's statement names."""
    about = json.loads(Envelope.from_dict(json.loads((run / "evidence/statement.dsse.json").read_bytes())).payload)
    named = about["predicate"]["report_key"]
    key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(named)), keyid=named)
    sealed = Envelope.from_dict(json.loads((run / REPORT).read_bytes()))
    assert list(sealed.signatures) == [named]
    sealed.verify([key], 1)
    with pytest.raises(VerificationError):  # control
        Envelope(sealed.payload + b" ", sealed.payload_type, sealed.signatures).verify([key], 1)
    return json.loads(sealed.payload)


def faults(run: Path, statement: dict[str, Any]) -> list[str]:
    """The files of the report that are not as stated."""
    stated = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    found = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in stated}
    return [name for name in stated if stated[name] != found[name]]


def test_a_run_signs_its_report_and_fedsec_report_signs_each_later_one(folder: Path) -> None:
    run = run_of(folder)
    first = verified(run)
    assert {each["name"] for each in first["subject"]} == {"report.html", "report.md", "report.json"}
    assert (
        first["predicate"]["statement"]
        == hashlib.sha256((run / "evidence/statement.dsse.json").read_bytes()).hexdigest()
    )
    assert first["predicate"]["writer"] == "offline" and faults(run, first) == []
    (run / "report.md").write_bytes(b"edited by hand")
    assert faults(run, first) == ["report.md"]  # control
    assert invoke_at(folder, "report", str(run), "--offline") == 0
    assert faults(run, verified(run)) == []


def invoke_at(home: Path, *arguments: str) -> int:
    with own_place(home):
        return invoke(list(arguments))


def test_without_the_report_key_no_report_in_the_run_is_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(folder)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert invoke_at(tmp_path, "report", str(run), "--offline") == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "no report of it can be signed" in told[0] and "--out DIR" in told[1]
    assert invoke_at(tmp_path, "report", str(run), "--offline", "--out", str(tmp_path / "elsewhere")) == 0
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"report.html", "report.md", "report.json"}
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_bytes(b"")
    assert invoke_at(tmp_path, "report", str(run), "--offline", "--out", str(tmp_path / "file" / "x")) == 2
    # control: with the key the same command does write it
    (run / REPORT).unlink()
    assert invoke_at(folder, "report", str(run), "--offline") == 0
    verified(run)


def test_the_report_key_is_private_and_all_other_keys_of_the_run_are_gone(folder: Path) -> None:
    run = run_of(folder)
    kept = folder / "home" / "report-keys" / run.name
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
    assert not list((folder / "home" / "runs").glob("*.json"))
    roster = json.loads((run / "evidence/roster.json").read_bytes())
    with own_place(folder):
        public = report_key.load(run.name).public_key.hex()
    assert public not in (roster["server"], *roster["members"])
    assert kept.read_bytes() not in b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())


def test_kept_inputs_are_told_of_with_what_they_cost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--banks", "5", "--rounds", "1", "--rows", "1000", "--offline", "--out", str(folder / "kept")]
    capsys.readouterr()
    assert invoke_at(folder, "run", *small, "--keep-masked-inputs", "--keep-masked-inputs-until", "2999-12-31") == 0
    told = everything_said(capsys)
    assert "whoever breaks the key exchange" in told and "2999-12-31" in told
    assert list((folder / "kept" / "latest" / "evidence" / "masked").iterdir())
    assert invoke_at(folder, "run", *small) == 0
    assert "whoever breaks the key exchange" not in everything_said(capsys)
    assert not (folder / "kept" / "latest" / "evidence" / "masked").exists()
    until = "--keep-masked-inputs-until"
    for wrong in ([until, "2999-12-31"], ["--keep-masked-inputs", until, "2001-01-01"]):
        assert invoke_at(folder, "run", *small, *wrong) == 2


def everything_said(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    return said.out + said.err
