"""Which accounts a run charges: one a part, and both parts where the data were split otherwise before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp.ledger import Ledger
from fedsec.errors import BudgetError
from fl_engine.charging import EARLIER_INSECURE, EARLIER_PUBLIC, LOST
from fl_engine.run import Run
from fl_engine.settings import DataSettings, RunSettings
from tests.fl_engine.run_helpers import begin, finish, own_place


def charged(ledger: Ledger, run: str) -> dict[str, set[str]]:
    (history,) = [line for line in ledger.history() if line.run == run]
    found: dict[str, set[str]] = {}
    for item in history.releases:
        found.setdefault(item.release, set()).add(item.account)
    return found


def test_a_run_with_another_split_is_charged_to_both_parts(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        first = begin(tmp_path, ledger, rounds=1)
        finish(first)
        assert charged(ledger, first.directory.name) == {
            "scaling": {"synthetic-1/train"},
            "training": {"synthetic-1/train"},
        }
        other = begin(tmp_path, ledger, rounds=1, holdout=0.4)
        summary = finish(other)
        assert charged(ledger, other.directory.name) == {
            "scaling": {"synthetic-1/train", "synthetic-1/holdout"},
            "training": {"synthetic-1/train", "synthetic-1/holdout"},
        }
        assert [balance.account for balance in summary.ledger] == ["train", "holdout"]
        told = json.loads((other.directory.path / "summary.json").read_bytes())["ledger"]
        assert all(account["spent_epsilon"] > 0 for account in told)


def test_an_exhausted_holdout_stops_a_federated_run_and_not_a_public_one(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        ledger.set_budget("synthetic-1", 3.0, 1e-5)
        finish(begin(tmp_path, ledger, rounds=1, epsilon=0.5, evaluation="federated"))
        finish(begin(tmp_path, ledger, rounds=1, epsilon=1.0))
        with pytest.raises(BudgetError) as caught:
            begin(tmp_path, ledger, rounds=1, epsilon=3.0, evaluation="federated")
        assert caught.value.account == "synthetic-1/train"
        assert caught.value.budget_epsilon == 3.0
        assert caught.value.asked_epsilon > 3.0 > caught.value.spent_epsilon
        assert ledger.verify().ok


def test_an_open_run_counts_with_all_that_it_reserved(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        ledger.set_budget("synthetic-1", 3.5, 1e-5)
        run = begin(tmp_path, ledger, rounds=1)
        with pytest.raises(BudgetError):
            begin(tmp_path, ledger, rounds=1)
        finish(run)  # control: once it is settled, what it did not use is free again
        run = begin(tmp_path, ledger, rounds=1, epsilon=2.0)
        assert run.balances()[0].open_runs == (run.directory.name,)
        run.close()


def own_file(folder: Path, *, more_columns: bool = False) -> DataSettings:
    generator = np.random.default_rng(5)
    labels = (generator.random(600) < 0.2).astype(int)
    numbers = generator.normal(size=600)
    lines = ["a,b,fraud"] + [f"{a:.4f},{a + y:.4f},{y}" for a, y in zip(numbers, labels, strict=True)]
    if more_columns:
        lines = [line + (",1" if number else ",c") for number, line in enumerate(lines)]
    path = folder / "cards.csv"
    path.write_text("\n".join(lines) + "\n")
    return DataSettings(data=path, label="fraud")


def run_on(folder: Path, ledger: Ledger, data: DataSettings, **settings: Any) -> Run:
    given = {"rounds": 1, "banks": 5, "epsilon": 0.5} | settings
    run = Run.start(RunSettings(**given), data, out=folder / "runs", ledger=ledger)
    finish(run)
    return run


def test_a_public_evaluation_of_real_records_leaves_their_account_without_a_bound(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        data = own_file(tmp_path)
        run = run_on(tmp_path, ledger, data, evaluation="public")
        spent = {balance.account.part: balance.spent_epsilon for balance in run.balances()}
        assert spent["holdout"] is None
        assert spent["train"] is not None
        told = json.loads((run.directory.path / "privacy.json").read_bytes())["outside_ledger"]
        assert any("in clear" in sentence for sentence in told)
        later = run_on(tmp_path, ledger, data, evaluation="federated")
        told = json.loads((later.directory.path / "privacy.json").read_bytes())["outside_ledger"]
        assert any("an earlier run" in sentence for sentence in told)


def test_a_statement_says_why_an_account_has_no_bound_and_blames_no_run_that_never_was(tmp_path: Path) -> None:
    def told(ledger: Ledger, **settings: Any) -> list[str]:
        run = run_on(tmp_path, ledger, own_file(tmp_path), evaluation="federated", **settings)
        sentences: list[str] = json.loads((run.directory.path / "privacy.json").read_bytes())["outside_ledger"]
        return [sentence for sentence in sentences if sentence in (EARLIER_PUBLIC, EARLIER_INSECURE, LOST)]

    with own_place(tmp_path):
        with Ledger.open() as ledger:
            assert told(ledger) == []
            assert told(ledger, insecure_deterministic_noise=True) == []  # it has no bound itself, and is branded
            assert told(ledger) == [EARLIER_INSECURE]
            run_on(tmp_path, ledger, own_file(tmp_path), evaluation="public")
            assert told(ledger) == [EARLIER_INSECURE, EARLIER_PUBLIC]
            place = Path(ledger.location.label)
        for file in place.parent.glob(f"{place.name}*"):
            file.unlink()
        Ledger.accept_loss().close()
        with Ledger.open() as ledger:
            assert told(ledger) == [LOST]


def test_no_budget_covers_a_public_evaluation_of_real_records(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        data = own_file(tmp_path)
        ledger.set_budget("cards", 4.0, 1e-5)
        with pytest.raises(BudgetError, match="cards/holdout"):
            run_on(tmp_path, ledger, data, evaluation="public")
        assert not list((tmp_path / "runs").glob("*"))
        run_on(tmp_path, ledger, data, evaluation="federated")  # the control: charged, and within the budget


def test_another_set_of_columns_is_charged_to_both_parts(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        first = run_on(tmp_path, ledger, own_file(tmp_path))
        again = run_on(tmp_path, ledger, own_file(tmp_path))
        other = run_on(tmp_path, ledger, own_file(tmp_path, more_columns=True))
        for run in (first, again):
            assert charged(ledger, run.directory.name)["training"] == {"cards/train"}
        assert charged(ledger, other.directory.name)["training"] == {"cards/train", "cards/holdout"}
        told = json.loads((other.directory.path / "privacy.json").read_bytes())["releases"]
        assert all(release["charged_to"] == ["train", "holdout"] for release in told)
