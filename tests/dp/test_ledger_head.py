"""The head that a run notes: it follows every entry, and shows a ledger that its own key rewrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp.ledger import Ledger
from fedsec.errors import BudgetError
from tests.dp.ledger_helpers import charge


def reserve(ledger: Ledger, run: str) -> None:
    ledger.reserve(run=run, charges=[charge(count=5)], coordinator=bytes(32), private=True)


def test_the_head_is_the_last_entry_that_the_verifier_finds(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.sqlite") as ledger, Ledger.open(tmp_path / "l.sqlite") as other:
        for number in range(3):
            head = ledger.head
            assert head.entry == number
            assert head == ledger.verify().head
            other.set_budget("fraud", 3.0 + number, 1e-5)  # another process writes; the next look sees it


def test_a_ledger_that_its_holder_rewrote_verifies_and_only_the_noted_head_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, key = tmp_path / "l.sqlite", tmp_path / "l.sqlite.key"
    with Ledger.open(file) as ledger:
        ledger.set_budget("fraud", 1.0, 1e-5)
        noted, public_key = ledger.head, ledger.public_key
    secret = key.read_bytes()
    for path in tmp_path.iterdir():
        path.unlink()
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "forgotten"))  # on this machine, where heads are kept
    with pytest.MonkeyPatch.context() as patch:
        from dp.ledger import log
        from dp.ledger.keys import load_key_file

        def kept(path: Path) -> object:
            path.write_bytes(secret)
            return load_key_file(path)

        patch.setattr(log, "create_key_file", kept)
        with Ledger.open(file) as rewritten:
            rewritten.set_budget("fraud", 100.0, 1e-5)
            found = rewritten.verify(public_key)
            assert found.ok
            assert found.covered == 1  # the rewritten one: all that the forgetful machine keeps
            assert rewritten.head != noted
            assert rewritten.head.entry == noted.entry


def test_a_refused_run_is_told_to_ask_for_less_first(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.sqlite") as ledger:
        ledger.set_budget("fraud", 0.01, 1e-5)
        with pytest.raises(BudgetError) as refusal:
            reserve(ledger, "r1")
    assert refusal.value.remedy.startswith(
        "lower --epsilon, or have the budget raised with `fedsec ledger budget fraud"
    )
