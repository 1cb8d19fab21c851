"""``fedsec attack``: table, page, one JSON object, exit codes; a wrong verdict fails the command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from rich.console import Console

from cli import attack as command
from cli.main import invoke
from compliance.attacks import page, suite
from tests.compliance.attacks.helpers import attack, finished_run, hurry, without_masks, without_noise

QUICK = ("first-layer", "key-swap", "harvest", "sum-membership", "bank-property")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(suite, "ATTACKS", tuple(map(attack, QUICK)))
    monkeypatch.chdir(tmp_path)


def test_a_table_and_a_page_where_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert invoke(["attack"]) == 0
    said = capsys.readouterr()
    assert "page: attack.html" in said.out and (tmp_path / "attack.html").is_file()
    for name in QUICK:
        assert " ".join(attack(name).title.split()[:3]) in said.out
    assert "Everything came out as claimed" in said.out
    assert f"{len(QUICK)}/{len(QUICK)}" in said.err
    assert "\x1b" not in said.out + said.err


def test_json_is_one_object_of_the_documented_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["attack", "--json", "--out", "seen.html"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True and said["page"] == "seen.html" and Path("seen.html").is_file()
    assert [each["name"] for each in said["attacks"]] == list(QUICK)
    for each in said["attacks"]:
        assert each["against_plain"] == "succeeded"
        assert each["against_fedsec"] in ("failed", "bounded", "not protected")
        assert each["evidence"]["fedsec"] and each["ok"] is True
    bounded = next(each for each in said["attacks"] if each["name"] == "sum-membership")["figures"]["fedsec"]
    assert bounded["low"] <= bounded["bound"]


@pytest.mark.parametrize(("control", "which"), [(without_masks, "first-layer"), (without_noise, "sum-membership")])
def test_control_unprotected_or_without_noise_the_command_fails(
    control: object, which: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(control)
    control(monkeypatch)
    assert invoke(["attack", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    wrong = [each["name"] for each in said["attacks"] if not each["ok"]]
    assert which in wrong
    assert invoke(["attack"]) == 1
    assert "NOT as claimed" in capsys.readouterr().out


def test_a_runs_parameters_are_attacked_and_its_directory_gets_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "run")
    assert invoke(["attack", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["subject"].startswith("the parameters of run 2026") and said["page"] == str(run / "attack.html")
    text = (run / "attack.html").read_text("utf-8")
    assert said["subject"] in text and "4,033 numbers" in text


def test_a_runs_report_shows_how_the_attacks_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run")
    assert invoke(["report", str(run), "--offline"]) == 0
    assert "fedsec attack RUN" in (run / "report.html").read_text("utf-8")  # the control: nothing was played yet
    assert invoke(["attack", str(run), "--out", str(tmp_path / "elsewhere.html")]) == 0
    kept = json.loads((run / "attack.json").read_bytes())
    assert [each["name"] for each in kept["verdicts"]] == list(QUICK) and all(
        each["right"] for each in kept["verdicts"]
    )
    assert invoke(["report", str(run), "--offline"]) == 0
    for name in ("report.html", "report.md"):
        text = (run / name).read_text("utf-8")
        assert f"All {len(QUICK)} ended as claimed" in text and "fedsec attack RUN" not in text
    assert invoke(["attack"]) == 0 and not (tmp_path / "attack.json").exists()  # of no run, no report


def test_neither_page_nor_table_names_what_the_run_must_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.compliance.helpers import IDENTIFIERS

    run = finished_run(tmp_path / "run")
    assert invoke(["attack", str(run)]) == 0
    text = capsys.readouterr().out + (run / "attack.html").read_text("utf-8")
    named = (*IDENTIFIERS.files, *IDENTIFIERS.datasets, "Nordhafen", "Kestrel", "merchantCategory", "iban_sender")
    assert not [name for name in named if name in text]
    assert run.name in text  # the control: what is there is found


@pytest.mark.parametrize("name", ["nothing-here", "run.partial", "empty"])
def test_what_is_no_finished_run_is_bad_input(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "empty":
        (tmp_path / name).mkdir()
    if name == "run.partial":
        finished_run(tmp_path / name)
    assert invoke(["attack", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if not line.startswith("…")]
    assert errors[0].startswith("Error: ") and len(errors) <= 2
    assert not list(tmp_path.rglob("attack.html"))


@pytest.mark.parametrize("out", ["no/such/folder/a.html", "."])
def test_a_page_that_cannot_be_written_is_told_before_anything_is_attacked(
    out: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "carry_out", lambda *_: pytest.fail("an attack was carried out"))
    assert invoke(["attack", "--out", out]) == 2
    assert "Name a file with --out" in capsys.readouterr().err


def test_a_file_of_another_kind_is_not_replaced_and_a_page_of_before_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "run")
    before = (run / "privacy.json").read_bytes()
    assert invoke(["attack", "--out", str(run / "privacy.json")]) == 2
    assert "privacy.json exists and is no page of fedsec attack" in capsys.readouterr().err
    assert (run / "privacy.json").read_bytes() == before
    assert invoke(["attack", "--out", "a.html"]) == 0
    first = Path("a.html").read_bytes()
    assert invoke(["attack", "--out", "a.html"]) == 0
    assert Path("a.html").read_bytes() != first


def test_a_page_that_the_system_refuses_is_told_before_anything_is_attacked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "carry_out", lambda *_: pytest.fail("an attack was carried out"))
    assert invoke(["attack", "--out", "/proc/x.html"]) == 2
    assert "/proc/x.html cannot be written" in capsys.readouterr().err


def test_a_folder_in_the_pages_place_is_told_before_anything_is_attacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(tmp_path / "run")
    (run / "attack.html").mkdir()
    monkeypatch.setattr(suite, "carry_out", lambda *_: pytest.fail("an attack was carried out"))
    assert invoke(["attack", str(run)]) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_results_are_shown_although_the_page_fails_in_the_end(
    as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "write_page", full)
    assert invoke(["attack", *(["--json"] if as_json else [])]) == 2
    said = capsys.readouterr()
    assert "No space left on device" in said.err
    assert (json.loads(said.out)["page"] is None) if as_json else ("as claimed" in said.out)


def test_brand_and_record_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run")
    digest = hashlib.sha256((run / "privacy.json").read_bytes()).hexdigest()
    assert invoke(["attack", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["brands"] == ["SIMULATED KEYS"] and said["record"]["digest"] == digest
    text = (run / "attack.html").read_text("utf-8")
    for each in ("SIMULATED KEYS", digest, said["record"]["ledger_hash"], "not authenticated", "UTC", "best possible"):
        assert each in text
    assert invoke(["attack", str(run)]) == 0
    out = capsys.readouterr().out
    assert "SIMULATED KEYS" in out and digest[:16] in out and "not authenticated" in out


@pytest.mark.parametrize("width", [80, 100])
def test_no_verdict_is_cut(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "console", lambda: Console(width=width))
    assert invoke(["attack"]) == 0
    table = capsys.readouterr().out.partition("Everything")[0]
    assert max(map(len, table.splitlines()[4:])) <= width
    assert "protected," in table and "…" not in table


def test_control_in_half_of_that_width_something_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "console", lambda: Console(width=40))
    assert invoke(["attack"]) == 0
    assert "…" in capsys.readouterr().out.partition("Everything")[0]


def test_an_interruption_leaves_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "carry_out", interrupted)
    assert invoke(["attack"]) == 130
    assert "no page was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
