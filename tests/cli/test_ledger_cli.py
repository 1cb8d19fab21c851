"""``fedsec ledger`` as a user and a script meet it: text without control codes, stable JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import invoke
from dp.ledger import Ledger
from fedsec.errors import BudgetError
from tests.dp.ledger_helpers import charge, reserve, rows, write_one_of_everything


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger.sqlite"
    monkeypatch.setenv("FEDSEC_LEDGER", str(path))
    return path


@pytest.fixture
def filled(path: Path) -> Path:
    write_one_of_everything(path)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert invoke([*arguments, "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    result = json.loads(captured.out)
    assert isinstance(result, dict)
    return result


def test_show_tells_accounts_runs_and_why_one_was_refused(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["ledger", "show"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    for words in ("fraud/train", "fraud/holdout", "5.00", "1e-5", "settled", "refused", str(filled)):
        assert words in text
    assert "would exceed the budget of 5.00" in text
    assert "2 charged of 50 reserved, 1 burnt" in text


def test_show_as_json_has_stable_keys(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "ledger", "show", "fraud")
    assert set(result) == {"ledger", "public_key", "accounts", "runs", "losses"}
    assert [line["account"] for line in result["accounts"]] == ["fraud/train", "fraud/holdout"]
    assert set(result["accounts"][0]) == {
        "account",
        "holder",
        "dataset",
        "part",
        "spent_epsilon",
        "unbounded",
        "budget_epsilon",
        "delta",
        "open_runs",
        "runs",
    }
    assert {line["run"]: line["status"] for line in result["runs"]} == {
        "run-1": "settled",
        "run-2": "settled",
        "run-3": "refused",
    }
    refused = next(line["refused"] for line in result["runs"] if line["refused"])
    assert set(refused) == {"account", "asked_epsilon", "spent_epsilon", "budget_epsilon", "delta"}
    assert refused["asked_epsilon"] > 5


def test_show_of_a_data_set_that_the_ledger_does_not_know_names_those_it_knows(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["ledger", "show", "other"]) == 2
    told = capsys.readouterr().err
    assert "knows no data set other" in told
    assert "fraud" in told


def test_show_brands_what_was_not_private(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "debug", private=False)
    assert invoke(["ledger", "show"]) == 0
    text = capsys.readouterr().out
    assert "NOT PRIVATE" in text
    assert "unbounded" in text
    assert "none: unlimited" in text
    account = run_json(capsys, "ledger", "show")["accounts"][0]
    assert account["unbounded"] is True
    assert account["spent_epsilon"] is None
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 1, 1e-5)
        with pytest.raises(BudgetError):
            reserve(ledger, "debug-2", charge(count=1), private=False)
    assert invoke(["ledger", "show"]) == 0
    assert "fraud/train: a run without noise would exceed the budget of 1.00" in capsys.readouterr().out


def test_budget_makes_the_ledger_and_sets_both_parts(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "ledger", "budget", "fraud", "--epsilon", "4", "--delta", "1e-6")
    assert [(line["part"], line["budget_epsilon"], line["delta"]) for line in result["accounts"]] == [
        ("train", 4.0, 1e-6),
        ("holdout", 4.0, 1e-6),
    ]
    assert invoke(["ledger", "budget", "fraud", "--epsilon", "2"]) == 0
    assert "2.00" in capsys.readouterr().out
    with Ledger.open(path) as ledger:
        assert ledger.balances()[0].budget_epsilon == 2


def test_a_budget_out_of_range_is_bad_input(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["fraud", "--epsilon", "0"],
        ["fraud", "--epsilon", "nan"],
        ["fraud", "--epsilon", "1", "--delta", "1"],
    ):
        assert invoke(["ledger", "budget", *arguments]) == 2, arguments
    assert invoke(["ledger", "budget", "not a name", "--epsilon", "1"]) == 2
    assert "Error: " in capsys.readouterr().err
    assert run_json(capsys, "ledger", "show")["accounts"] == []


def test_verify_holds_and_prints_the_head(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "ledger", "verify")
    assert result["ok"] is True
    assert [set(step) for step in result["steps"]] == [{"number", "name", "kind", "ok", "detail"}] * 9
    head = rows(filled)[-1]
    assert result["head"] == {"entry": head.seq, "hash": head.hash.hex()}
    assert result["key_source"] == "key file"
    assert invoke(["ledger", "verify"]) == 0
    text = capsys.readouterr().out
    assert f"head: entry {head.seq}, {head.hash.hex()}" in text
    assert "Every step that can be checked holds; 1 is assumed." in text
    assert "\x1b" not in text


def test_verify_needs_only_the_file_and_a_public_key(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = run_json(capsys, "ledger", "show")["public_key"]
    alone = tmp_path / "auditor" / "ledger.sqlite"
    alone.parent.mkdir()
    alone.write_bytes(filled.read_bytes())
    result = run_json(capsys, "ledger", "verify", "--ledger", str(alone), "--ledger-key", key)
    assert result["key_source"] == "given"
    unnamed = run_json(capsys, "ledger", "verify", "--ledger", str(alone))
    assert unnamed["key_source"] == "self-asserted"
    assert "self-asserted" in unnamed["steps"][7]["detail"]
    wrong = run_json(capsys, "ledger", "verify", "--ledger-key", "00" * 32, code=1)
    assert wrong["ok"] is False


def test_verify_exits_1_on_a_changed_byte_and_names_the_entry(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = filled.read_bytes()
    filled.write_bytes(image.replace(b'"count":50', b'"count":05', 1).replace(b'"count":05', b'"count":10', 1))
    result = run_json(capsys, "ledger", "verify", code=1)
    assert result["ok"] is False
    assert result["first_bad"] is not None
    assert invoke(["ledger", "verify"]) == 1
    text = capsys.readouterr().out
    assert f"The ledger does not hold from entry {result['first_bad']} on." in text
    assert "FAILED" in text


def test_verify_tells_of_a_file_with_more_in_it(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    connection = sqlite3.connect(filled)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    assert invoke(["ledger", "verify"]) == 1
    assert "The entries hold, the file does not." in capsys.readouterr().out


def test_errors_are_told_in_two_lines_or_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "verify"):
        assert invoke(["ledger", command]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("Error: there is no ledger")
        assert len(captured.err.splitlines()) == 2
        error = run_json(capsys, "ledger", command, code=2)["error"]
        assert set(error) == {"kind", "message", "remedy"}
        assert error["kind"] == "config"
    assert not path.exists()


@pytest.mark.parametrize("command", ["show", "budget", "verify", "export", "accept-loss"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["ledger", command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"fedsec ledger {command}" in text.split("Example")[1]
