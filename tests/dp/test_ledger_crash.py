"""Killed anywhere, a ledger reopens, verifies, and reports no less than was released."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from dp.accounting import epsilon
from dp.events import Repeated
from dp.ledger import Ledger, keys, log, resolve
from dp.ledger.entries import Entry
from fedsec.errors import ConfigError, LedgerError
from tests.dp.ledger_helpers import charge, closing, full_batch, reserve, rows, spent, write_one_of_everything

Released = multiprocessing.SimpleQueue


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run(path: Path, released: Released[int], die_at: str) -> None:
    """A run of ten attempts that releases after each burn, killed at ``die_at``."""
    insert = log.append

    def append(connection: Connection, entry: Entry) -> None:
        insert(connection, entry)
        if die_at == f"in entry {entry.seq}":
            _die()

    log.append = append  # type: ignore[assignment]  # between the insert and its commit
    ledger = Ledger.open(path)
    reserve(ledger, "run-1", charge(count=10))
    if die_at == "after the reservation":
        _die()
    for index in range(6):
        ledger.burn("run-1", "training", index)
        if die_at == f"before release {index}":
            _die()
        released.put(index)
        if die_at == f"after release {index}":
            _die()
    ledger.settle("run-1", closing("run-1", training=6))
    if die_at == "after the settlement":
        _die()
    ledger.close()


@pytest.mark.parametrize(
    "die_at",
    [
        "in entry 0",
        "in entry 1",
        "after the reservation",
        "in entry 2",
        "before release 0",
        "after release 0",
        "in entry 5",
        "before release 3",
        "after release 5",
        "in entry 8",
        "after the settlement",
        "never",
    ],
)
def test_a_killed_run_reports_no_less_than_it_released(tmp_path: Path, die_at: str) -> None:
    path = tmp_path / "ledger.sqlite"
    context = multiprocessing.get_context("fork")
    released: Released[int] = context.SimpleQueue()
    child = context.Process(target=_run, args=(path, released, die_at))
    child.start()
    child.join(60)
    assert child.exitcode == (0 if die_at == "never" else -signal.SIGKILL)
    count = 0
    while not released.empty():
        released.get()
        count += 1

    with Ledger.open(path) as ledger:  # killed in entry 0, it left a draft of a key that signed nothing
        assert ledger.verify().ok
        least = epsilon(Repeated(count=count, event=full_batch()), 1e-5) if count else 0.0
        held = spent(ledger)
        assert held is not None
        assert held >= least * (1 - 1e-9)
        if die_at != "in entry 0":
            assert not resolve(path).key_path.with_name("ledger.sqlite.key.new").exists()
        if count:
            assert len(ledger.burnt("run-1")["training"]) >= count
        if die_at in ("after the reservation", "after release 5", "in entry 8"):  # not settled: in full
            assert held == pytest.approx(epsilon(Repeated(count=10, event=full_batch()), 1e-5), rel=1e-9)


def test_a_ledger_that_trusted_burns_alone_would_report_too_little(tmp_path: Path) -> None:
    """Negative control: killed between a release and a burn that comes too late, burns alone miss the release."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1", charge(count=10))
        released = 1  # sent, and killed before a burn that should have come first
        burnt = len(ledger.burnt("run-1")["training"])
        assert burnt < released
        held = spent(ledger)
    assert held is not None
    assert held >= epsilon(Repeated(count=released, event=full_batch()), 1e-5)


@pytest.mark.parametrize("statement", ["burn", "reserve", "settle"])
def test_what_cannot_be_written_raises_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """A full disk: the error comes before the masked input leaves, and the account is as it was."""
    path = tmp_path / "ledger.sqlite"
    actions: dict[str, Callable[[Ledger], None]] = {
        "burn": lambda ledger: ledger.burn("run-1", "training", 0),
        "reserve": lambda ledger: reserve(ledger, "run-2"),
        "settle": lambda ledger: ledger.settle("run-1", None),
    }
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        before = ledger.history(), ledger.balances()

        def full(_connection: Connection, entry: Entry) -> None:
            _connection.exec_driver_sql("PRAGMA max_page_count = 1")
            _connection.exec_driver_sql(
                "INSERT INTO entries VALUES (?, zeroblob(1000000), x'', x'', x'')", (entry.seq,)
            )

        with monkeypatch.context() as patch:
            patch.setattr(log, "append", full)
            with pytest.raises(LedgerError, match="full"):
                actions[statement](ledger)
        assert (ledger.history(), ledger.balances()) == before
    with Ledger.open(path) as ledger:
        assert (ledger.history(), ledger.balances()) == before
        actions[statement](ledger)
        assert ledger.verify().ok


def test_a_first_entry_that_cannot_be_written_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"

    def fail(connection: Connection, _entry: Entry) -> None:
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", fail)
        with pytest.raises(LedgerError, match="nowhere"):
            Ledger.open(path)
    Ledger.open(path).close()


def test_an_interrupted_write_of_a_key_leaves_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    keys.write_durably(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(ConfigError, match="cannot be written: No space"):
            keys.write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="is not a fedsec ledger"):
        Ledger.open(path)
    with pytest.raises(ConfigError, match="there is no ledger"):
        Ledger.open(tmp_path / "missing", create=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Ledger.open(tmp_path / "file" / "ledger.sqlite")


def test_a_ledger_that_may_not_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    write_one_of_everything(path)
    count = len(rows(path))
    with Ledger.open(path) as ledger:

        def read_only(connection: Connection, _entry: Entry) -> None:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("DELETE FROM entries")

        monkeypatch.setattr(log, "append", read_only)
        with pytest.raises(ConfigError, match="cannot be written"):
            ledger.set_budget("fraud", 4, 1e-5)
    assert len(rows(path)) == count


def test_a_deleted_ledger_does_not_become_an_unspent_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine keeps its head; another one finds a key that is no draft; control: with that gone, none can tell."""
    path = tmp_path / "ledger.sqlite"
    Ledger.open(path).close()
    path.unlink()
    with pytest.raises(LedgerError, match="entry 0 is missing"):
        Ledger.open(path)
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "another machine"))
    with pytest.raises(LedgerError, match="was the ledger deleted"):
        Ledger.open(path)
    resolve(path).key_path.unlink()
    Ledger.open(path).close()


def test_a_key_gets_its_name_from_a_draft_that_the_ledger_names_and_from_no_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(path).close()
    key = resolve(path).key_path
    draft = key.with_name(key.name + ".new")
    key.replace(draft)  # killed between entry 0 and the renaming
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 4, 1e-5)
    assert key.exists()
    assert not draft.exists()
    key.unlink()
    keys.create_key_file(key)  # control: a draft of another key
    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="missing or another one"):
        ledger.set_budget("fraud", 4, 1e-5)
