"""``fedsec ledger`` as a user and a script meet it: text without control codes, stable JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import invoke
from dp.ledger import Ledger, resolve
from dp.ledger.keys import load_key_file
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


def test_an_export_verifies_without_the_database_and_holds_no_secret(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    out = tmp_path / "audit.json"
    told = run_json(capsys, "ledger", "export", "--out", str(out))
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "auditor"))
    result = run_json(capsys, "ledger", "verify", "--ledger", str(out), "--ledger-key", told["public_key"])
    assert (result["ok"], result["entries"], result["covered"]) == (True, 10, 9)
    content = out.read_text("utf-8")
    key = load_key_file(resolve(filled).key_path)
    assert key is not None
    split_keys = json.loads(resolve(filled).secrets_path.read_bytes()).values()
    secrets = [key.private_bytes_raw(), *map(base64.b64decode, split_keys)]
    assert len(secrets) == 2

    def holds(text: str, secret: bytes) -> bool:
        return secret.hex() in text or base64.b64encode(secret).decode() in text

    assert not any(holds(content, secret) for secret in secrets)
    assert str(tmp_path) not in content
    assert holds(content, bytes.fromhex(told["public_key"]))  # control: the search finds what is there
    out.write_text(content.replace('\\"count\\":50', '\\"count\\":10', 1), "utf-8")  # control: a changed plan
    assert out.read_text("utf-8") != content
    changed = run_json(capsys, "ledger", "verify", "--ledger", str(out), code=1)
    assert changed["first_bad"] is not None


def test_a_public_export_verifies_names_nobody_and_is_no_table(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full, public = tmp_path / "audit.json", tmp_path / "extract.json"
    told = run_json(capsys, "ledger", "export", "--public", "--out", str(public))
    run_json(capsys, "ledger", "export", "--out", str(full))
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "auditor"))
    for file, form in ((public, "public"), (full, "full")):
        result = run_json(capsys, "ledger", "verify", "--ledger", str(file), "--ledger-key", told["public_key"])
        assert (result["ok"], result["entries"], result["covered"], len(result["steps"])) == (True, 10, 9, 9)
        assert result["head"] == told["head"]
        assert result["steps"][4]["detail"] == f"entries 0 to 9, in {form} form"
        named = b"fraud" in file.read_bytes()
        assert named == (form == "full")  # control
    table = tmp_path / "table.csv"
    assert invoke(["ledger", "export", "--public", "--out", str(table)]) == 2
    assert "a table names data sets" in capsys.readouterr().err
    assert not table.exists()
    assert invoke(["ledger", "export", "--out", str(table)]) == 0  # control
    capsys.readouterr()
    mixed = json.loads(public.read_bytes())
    mixed["entries"][3] = json.loads(full.read_bytes())["entries"][3]
    public.write_text(json.dumps(mixed), "utf-8")
    assert invoke(["ledger", "verify", "--ledger", str(public)]) == 1
    text = capsys.readouterr().out
    assert "entry 3: " in text
    assert "this extract identifies somebody" in text


def test_an_export_shows_a_cut_to_a_bank_that_countersigned_before(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, heads = tmp_path / "monday.json", tmp_path / "friday.json", tmp_path / "bank.json"
    run_json(capsys, "ledger", "export", "--out", str(first))
    with Ledger.open(filled) as ledger:
        ledger.set_budget("fraud", 6, 1e-5)
    run_json(capsys, "ledger", "export", "--out", str(second))
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "bank"))
    signed = run_json(capsys, "ledger", "verify", "--ledger", str(second), "--countersign", str(heads))
    assert len(signed["countersigned_by"]) == 64
    for options in (["--head", str(heads)], []):  # the file, or what the bank's machine keeps
        older = run_json(capsys, "ledger", "verify", "--ledger", str(first), *options, code=1)
        assert older["disagreements"][0]["kind"] == "cut off"
        assert older["disagreements"][0]["entry"] == 10
    assert invoke(["ledger", "verify", "--ledger", str(first)]) == 1
    assert "this is not the ledger that was countersigned" in capsys.readouterr().out
    assert (
        run_json(capsys, "ledger", "verify", "--ledger", str(first), "--countersign", str(heads), code=1)[
            "countersigned_by"
        ]
        is None
    )  # what does not hold is not signed
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "stranger"))  # control: who countersigned nothing
    assert run_json(capsys, "ledger", "verify", "--ledger", str(first))["ok"] is True


def test_a_table_tells_what_was_charged_when_and_of_one_data_set_alone(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import csv

    with Ledger.open(filled) as ledger:
        ledger.set_budget("other", 1.0, 1e-5)
        spent = {line.account.name: line.spent_epsilon for line in ledger.balances()}
    every, one = tmp_path / "all.csv", tmp_path / "fraud.csv"
    run_json(capsys, "ledger", "export", "--out", str(every))
    run_json(capsys, "ledger", "export", "fraud", "--out", str(one))
    lines = list(csv.DictReader(one.read_text("utf-8").splitlines()))
    assert "other" in every.read_text("utf-8")  # control
    assert "other" not in one.read_text("utf-8")
    last = [line for line in lines if line["kind"] == "settled" and line["account"] == "fraud/train"][-1]
    assert float(last["epsilon_spent_after"]) == pytest.approx(spent["fraud/train"])
    assert (last["openings"], last["note"]) == ("50", "in full: no closing statement")
    assert {line["kind"] for line in lines} == {
        "opened", "budget-set", "split-fixed", "reserved", "burnt", "settled", "refused",
    }  # fmt: skip


def test_export_refuses_what_would_mislead(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "audit.json"
    assert invoke(["ledger", "export", "fraud", "--out", str(out)]) == 2  # the chain holds only whole
    assert invoke(["ledger", "export", "--out", str(tmp_path / "audit.txt")]) == 2
    assert invoke(["ledger", "export", "unknown", "--out", str(tmp_path / "t.csv")]) == 2
    assert not list(tmp_path.glob("audit*")) + list(tmp_path.glob("t.csv"))
    assert invoke(["ledger", "export", "--out", str(out)]) == 0  # control
    assert invoke(["ledger", "export", "--out", str(out)]) == 2  # never over a file that is there
    capsys.readouterr()


def test_accept_loss_is_told_by_show(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    assert invoke(["ledger", "accept-loss"]) == 2
    assert "has lost nothing" in capsys.readouterr().err
    connection = sqlite3.connect(filled)
    connection.execute("DELETE FROM entries WHERE seq > 6")
    connection.commit()
    connection.close()
    assert invoke(["ledger", "show"]) == 1
    told = capsys.readouterr().err
    assert "entries 7 to 9 are missing" in told
    assert "fedsec ledger accept-loss" in told
    assert run_json(capsys, "ledger", "accept-loss")["losses"][0]["entry"] == 9
    assert invoke(["ledger", "show"]) == 0
    shown = capsys.readouterr().out
    assert "Entries up to 9 were given up as lost" in shown
    assert "unbounded" in shown


def test_an_export_given_as_a_ledger_to_use_is_bad_input_and_no_damage(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit.json"
    assert invoke(["ledger", "export", "--out", str(out)]) == 0
    capsys.readouterr()
    for command in (["show"], ["budget", "fraud", "--epsilon", "3"]):
        assert invoke(["ledger", *command, "--ledger", str(out)]) == 2
        told = capsys.readouterr().err
        assert "an exported ledger" in told
        assert "fedsec ledger verify --ledger" in told
        assert "damaged" not in told
    out.write_text("no ledger")  # control: what is no export is told as before
    assert invoke(["ledger", "show", "--ledger", str(out)]) == 1
    assert "damaged" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_not_called_a_complete_one(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert invoke(["ledger", "settle", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "is no run's directory" in told and "complete" not in told
    (folder / "summary.json").write_text("{}")  # control: what a complete run has
    assert invoke(["ledger", "settle", str(folder)]) == 2
    assert "is complete, there is nothing to resume or settle" in capsys.readouterr().err
