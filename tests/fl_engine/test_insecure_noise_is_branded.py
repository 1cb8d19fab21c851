"""A run whose noise anybody can repeat says so wherever it is spoken of, and no budget pays for it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import msgspec
import pytest
from safetensors import safe_open

from cli.main import invoke
from dp.ledger import Ledger
from dp.statement import PrivacyStatement
from fedsec.errors import BudgetError
from tests.fl_engine.run_helpers import begin, finish, own_place

BRAND = "NOT PRIVATE"
SIZE = ["--rounds", "2", "--rows", "1000", "--banks", "5", "--offline"]
FLAG = "--insecure-deterministic-noise"


def fedsec(folder: Path, *arguments: str) -> str:
    """Standard output of a command that succeeds."""
    out = io.StringIO()
    with own_place(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert invoke(list(arguments)) == 0
    return out.getvalue()


def run_in(folder: Path) -> Path:
    return (folder / "runs" / "latest").resolve()


def places(folder: Path, *, flag: bool) -> dict[str, bool]:
    """Where the brand stands after a run: terminal, every file of the run, ledger."""
    given = [FLAG] if flag else []
    done = fedsec(folder, "run", *SIZE, *given, "--out", str(folder / "runs"))
    run = run_in(folder)
    with safe_open(run / "model.safetensors", "numpy") as model:
        card = model.metadata()["brands"]
    shown = fedsec(folder, "ledger", "show")
    told = {
        "terminal": done,
        "privacy.json": (run / "privacy.json").read_text(),
        "report.html": (run / "report.html").read_text(),
        "report.md": (run / "report.md").read_text(),
        "report.json": "" if json.loads((run / "report.json").read_text())["facts"]["private"] else BRAND,
        "model": card,
        "ledger": shown,
    }
    return {where: BRAND in text for where, text in told.items()}


def test_the_brand_stands_in_terminal_report_statement_model_and_ledger(tmp_path: Path) -> None:
    found = places(tmp_path, flag=True)
    assert all(found.values()), found
    statement = msgspec.json.decode((run_in(tmp_path) / "privacy.json").read_bytes(), type=PrivacyStatement)
    assert not statement.private
    assert {bound.epsilon for bound in statement.adversaries} == {None}  # it holds against nobody


def test_the_terminal_states_no_epsilon_of_it_that_could_be_taken_for_a_claim(tmp_path: Path) -> None:
    would = "with noise from the operating system it would be"
    told = {}
    for flags in ([FLAG], []):
        place = tmp_path / ("branded" if flags else "private")
        place.mkdir()
        told[bool(flags)] = fedsec(place, "run", *SIZE, *flags, "--out", str(place / "runs"))
    claims = [line for line in told[True].splitlines() if "ε ≤ 3 at" in line or "ε = " in line]
    assert claims and all(would in line for line in claims), claims
    assert "ε is above 1" not in told[True]
    assert "ε (void)" in told[True] and "ε so far" not in told[True]
    # Control: of a private run they are claims.
    assert would not in told[False] and "ε is above 1" in told[False] and "ε so far" in told[False]


def test_control_a_private_run_carries_the_brand_nowhere(tmp_path: Path) -> None:
    found = places(tmp_path, flag=False)
    assert not any(found.values()), found


def test_json_says_not_private_and_gives_no_epsilon(tmp_path: Path) -> None:
    done = fedsec(tmp_path, "run", *SIZE, FLAG, "--json", "--out", str(tmp_path / "runs"))
    result = json.loads(done)
    assert result["private"] is False
    assert result["privacy"]["epsilon"] is None
    assert {each["epsilon"] for each in result["privacy"]["adversaries"]} == {None}
    assert {each["spent_epsilon"] for each in result["ledger"]} == {None}


def test_a_budget_refuses_it_and_nothing_is_trained(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        ledger.set_budget("synthetic-1", 10.0, 1e-5)
        with pytest.raises(BudgetError, match="protects nobody"):
            begin(tmp_path, ledger, insecure_deterministic_noise=True)
        assert not list((tmp_path / "runs").glob("*"))
        finish(begin(tmp_path, ledger, rounds=1))  # control: a private run is paid for


def models(folder: Path, **settings: object) -> list[bytes]:
    """The models of two runs on the same data, the same split and the same seed."""
    weights = []
    with own_place(folder), Ledger.open() as ledger:
        for _ in range(2):
            run = begin(folder, ledger, rounds=2, **settings)
            finish(run)
            weights.append(run.progress.adam.weights.tobytes())
    return weights


@pytest.mark.parametrize("mode", ["distributed", "local"])
def test_its_noise_can_be_repeated_bit_by_bit(tmp_path: Path, mode: str) -> None:
    first, second = models(tmp_path, insecure_deterministic_noise=True, dp_mode=mode)
    assert first == second


def test_control_private_noise_is_never_the_same(tmp_path: Path) -> None:
    first, second = models(tmp_path)
    assert first != second


def test_no_line_before_the_training_claims_an_epsilon_for_it(tmp_path: Path) -> None:
    def claims(folder: Path, *flag: str) -> list[str]:
        said = fedsec(folder, "run", *SIZE, *flag, "--out", str(folder / "runs"))
        return [line for line in said.splitlines() if "ε ≤ 3" in line and "would be" not in line]

    assert claims(tmp_path / "insecure", FLAG) == []
    assert len(claims(tmp_path / "private")) == 1  # control: a private run does claim it
