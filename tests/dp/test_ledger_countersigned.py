"""Countersigned heads: cut off, put back, rewritten or forked, a ledger is found out, and the message says where."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.ledger import (
    CountersignedHead,
    Ledger,
    Verification,
    add_heads,
    countersign,
    countersign_verified,
    encode_heads,
    kept,
    read_heads,
    resolve,
    verification,
    verify_ledger,
)
from dp.ledger.entries import GENESIS, Entry, make_entry
from dp.ledger.heads import head_of
from dp.ledger.keys import load_key_file, public_bytes
from dp.ledger.payloads import BudgetSet, decode
from fedsec.errors import BudgetError, ConfigError, LedgerError
from fedsec.home import private_folder
from tests.dp.ledger_helpers import charge, reserve, rows, spent, write_one_of_everything

BANKS = [Ed25519PrivateKey.generate() for _ in range(3)]
DAY = "2026-03-14T10:15:00+00:00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger" / "ledger.sqlite"
    path.parent.mkdir()
    write_one_of_everything(path)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on, work on a machine that never saw the ledger: the controls, and what only others' heads can show."""
    return lambda: monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "another machine"))


def key_of(path: Path) -> Ed25519PrivateKey:
    key = load_key_file(resolve(path).key_path)
    assert key is not None
    return key


def heads_at(path: Path, *numbers: int, by: Ed25519PrivateKey = BANKS[0]) -> list[CountersignedHead]:
    public_key = public_bytes(key_of(path))
    return [countersign(head_of(rows(path)[number], public_key), [by], at=DAY) for number in numbers]


def put(path: Path, entries: list[Entry]) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM entries")
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", entries)
    connection.commit()
    connection.close()


def rechained(path: Path, change: Callable[[int, object], object]) -> list[Entry]:
    """The ledger as its holder, who has the key, would write it anew with some payloads changed."""
    key, previous, result = key_of(path), GENESIS, []
    for entry in rows(path):
        payload = change(entry.seq, decode(entry.payload, seq=entry.seq))
        result.append(make_entry(key, seq=entry.seq, previous=previous, payload=payload))  # type: ignore[arg-type]
        previous = result[-1].hash
    return result


def cut_off(path: Path) -> None:
    put(path, rows(path)[:-3])


def put_back_and_continued(path: Path) -> None:
    put(path, rows(path)[:-4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSEC_HOME", str(path.parent / "of the forger"))
        with Ledger.open(path) as ledger:
            for _ in range(6):
                ledger.set_budget("other", 9.0, 1e-5)


def rewritten(path: Path) -> None:
    def change(seq: int, payload: object) -> object:
        return msgspec.structs.replace(payload, epsilon=5.5) if isinstance(payload, BudgetSet) else payload

    put(path, rechained(path, change))


def replaced(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSEC_HOME", str(path.parent.parent / "of the forger"))
        with Ledger.open(path) as ledger:
            ledger.set_budget("fraud", 5.0, 1e-5)


# What is done to a ledger of entries 0 to 9, and what is said of it.
ATTACKS = {
    "the end is cut off": (cut_off, "cut off or rolled back to an older copy: entries 7 to 9 are missing"),
    "an older copy is put back and used": (put_back_and_continued, "rewritten or forked from entry 0 on: entry 9"),
    "the holder rewrites an entry": (rewritten, "rewritten or forked from entry 0 on: entry 9"),
    "another ledger takes its place": (replaced, "replaced: a ledger of another key"),
}


@pytest.mark.parametrize(("attack", "said"), ATTACKS.values(), ids=ATTACKS.keys())
def test_the_next_to_open_the_ledger_on_this_machine_is_told(
    path: Path, attack: Callable[[Path], None], said: str
) -> None:
    Ledger.open(path).close()  # control: before, it opens
    attack(path)
    with pytest.raises(LedgerError) as refusal:
        Ledger.open(path)
    assert said in refusal.value.message
    assert "countersigned at 20" in refusal.value.message
    assert "accept-loss" in refusal.value.remedy
    result = verify_ledger(resolve(path))
    assert [step.number for step in result.steps if not step.ok] == [9]
    assert said in result.steps[8].detail


@pytest.mark.parametrize(("attack", "said"), ATTACKS.values(), ids=ATTACKS.keys())
def test_a_head_of_another_bank_shows_it_to_a_machine_that_never_saw_the_ledger(
    path: Path, elsewhere: Callable[[], None], attack: Callable[[Path], None], said: str
) -> None:
    heads = heads_at(path, 9)
    elsewhere()
    honest = verify_ledger(resolve(path), None, heads)
    assert honest.ok
    assert honest.covered == 9
    assert "1 head of 1 signer, the newest at entry 9" in honest.steps[8].detail
    attack(path)
    control = verify_ledger(resolve(path))  # without the head every step holds
    assert control.ok
    assert control.steps[8].kind == "assumed"
    result = verify_ledger(resolve(path), None, heads)
    assert [step.number for step in result.steps if not step.ok] == [9]
    assert said in result.steps[8].detail
    assert DAY in result.steps[8].detail
    assert public_bytes(BANKS[0]).hex()[:16] in result.steps[8].detail


def test_older_heads_narrow_down_where_the_versions_part(path: Path, elsewhere: Callable[[], None]) -> None:
    heads = heads_at(path, 2, 5, 9)
    elsewhere()
    put_back_and_continued(path)  # from entry 6 on
    said = verify_ledger(resolve(path), None, heads).steps[8].detail
    assert "somewhere from entry 6 on" in said


def test_two_banks_that_saw_two_versions_prove_a_fork(path: Path, elsewhere: Callable[[], None]) -> None:
    first = heads_at(path, 9, by=BANKS[0])
    elsewhere()
    put_back_and_continued(path)
    second = heads_at(path, 11, by=BANKS[1])
    assert "rewritten or forked" in verify_ledger(resolve(path), None, first).steps[8].detail  # control: one bank alone
    result = verify_ledger(resolve(path), None, [*first, *second])
    assert result.disagreements[0].kind == "forked"
    said = result.steps[8].detail
    assert "two versions were shown" in said
    for bank in BANKS[:2]:
        assert public_bytes(bank).hex()[:16] in said


def test_a_head_that_no_ledger_signed_cannot_accuse_it(path: Path, tmp_path: Path) -> None:
    honest = heads_at(path, 9)[0]
    invented = msgspec.structs.replace(honest.head, hash="ab" * 32)
    file = tmp_path / "heads.json"
    file.write_bytes(encode_heads([countersign(invented, [BANKS[0]], at=DAY)]))
    with pytest.raises(ConfigError, match="not signed by the ledger that it names"):
        read_heads(file)
    file.write_bytes(encode_heads([honest]))
    assert read_heads(file) == (honest,)  # control


def test_a_witness_that_misnumbers_a_head_is_told_apart(path: Path) -> None:
    wrong = msgspec.structs.replace(heads_at(path, 5)[0].head, entry=400)
    result = verify_ledger(resolve(path), None, [countersign(wrong, [BANKS[0]], at=DAY)])
    assert result.disagreements[0].kind == "misnumbered"
    assert "but that is entry 5" in result.steps[8].detail


def test_every_changed_character_of_a_heads_file_is_refused_or_changes_nothing(path: Path, tmp_path: Path) -> None:
    content = encode_heads(heads_at(path, 3))
    file, refused = tmp_path / "heads.json", 0
    file.write_bytes(content)
    honest = read_heads(file)
    for position in range(len(content)):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            assert read_heads(file) == honest, position
        except ConfigError:
            refused += 1
    assert refused > 500


def test_heads_of_several_banks_are_added_to_one_file(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "heads.json"
    add_heads(file, heads_at(path, 9, by=BANKS[0]))
    add_heads(file, heads_at(path, 9, by=BANKS[1]))
    add_heads(file, heads_at(path, 9, by=BANKS[1]))
    add_heads(file, heads_at(path, 4, by=BANKS[2]))
    assert [(line.head.entry, len(line.countersigned)) for line in read_heads(file)] == [(4, 1), (9, 2)]


def test_one_file_holds_the_heads_of_one_ledger(path: Path, tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    """Heads of two honest ledgers in one file would accuse each of having replaced the other."""
    other = tmp_path / "other" / "ledger.sqlite"
    other.parent.mkdir()
    Ledger.open(other).close()
    file = tmp_path / "heads.json"
    ours, theirs = heads_at(path, 9), heads_at(other, 0)
    elsewhere()
    add_heads(file, ours)
    with pytest.raises(ConfigError, match="of another ledger"):
        add_heads(file, theirs)
    assert read_heads(file) == tuple(ours)
    assert verify_ledger(resolve(path), None, read_heads(file)).ok
    file.write_bytes(encode_heads([*ours, *theirs]))  # control: what a file of both leads to
    result = verify_ledger(resolve(path), None, read_heads(file))
    assert [found.kind for found in result.disagreements] == ["replaced"]
    assert "compare the key" in result.steps[8].detail


def test_a_ledger_that_was_moved_is_known_by_its_key(path: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "ledger.sqlite"
    shutil.copytree(path.parent, moved.parent)
    Ledger.open(moved).close()  # control: a copy that lacks nothing
    cut_off(moved)
    with pytest.raises(LedgerError, match="entries 7 to 9 are missing"):
        Ledger.open(moved)


def test_a_deleted_ledger_is_no_fresh_one(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(LedgerError, match="entries 0 to 9 are missing"):
        Ledger.open(path)
    other = path.with_name("other.sqlite")
    with Ledger.open(other) as ledger:  # control: at a place where none was
        ledger.set_budget("fraud", 1.0, 1e-5)


def test_accepted_loss_is_on_record_and_no_budget_holds_after_it(path: Path, elsewhere: Callable[[], None]) -> None:
    heads = heads_at(path, 9)
    cut_off(path)
    with Ledger.accept_loss(path) as ledger:
        assert ledger.losses[0].entry == 9
        assert spent(ledger) is None
        with pytest.raises(BudgetError, match="lost entries"):
            reserve(ledger, "next", charge(count=1))
    with Ledger.open(path) as ledger:  # goes on, and a data set that nobody heard of is no way out
        assert [balance.spent_epsilon for balance in ledger.balances()] == [None, None]
        ledger.set_budget("fresh", 5.0, 1e-5)
        with pytest.raises(BudgetError):
            reserve(ledger, "next", charge(type(ledger.balances()[0].account)(dataset="fresh", part="train"), count=1))
    elsewhere()
    result = verify_ledger(resolve(path), None, heads)
    assert result.ok
    assert "1 given up" in result.steps[8].detail
    # Control: heads of what came after it are not excused.
    late = heads_at(path, len(rows(path)) - 1)
    put(path, rows(path)[:-1])
    assert not verify_ledger(resolve(path), None, late).ok


def test_nothing_lost_is_no_loss_to_record(path: Path) -> None:
    with pytest.raises(ConfigError, match="has lost nothing"):
        Ledger.accept_loss(path)
    assert len(rows(path)) == 10


def test_a_cut_behind_the_last_kept_head_takes_burns_alone_and_gives_nothing_back(path: Path) -> None:
    """The window that remains: burns are not kept one by one, but an open run pays for all it reserved."""
    ledger = Ledger.open(path)
    ledger.set_budget("cards", 9.0, 1e-5)
    account = charge().account
    reserve(ledger, "open", charge(type(account)(dataset="cards", part="train"), count=5))
    kept = len(rows(path))
    for index in range(3):
        ledger.burn("open", "training", index)
    before = [balance.spent_epsilon for balance in ledger.balances()]
    del ledger  # killed: nothing is closed
    put(path, rows(path)[:kept])
    with Ledger.open(path) as reopened:
        assert [balance.spent_epsilon for balance in reopened.balances()] == before
    put(path, rows(path)[: kept - 1])  # control: the reservation itself is missed
    with pytest.raises(LedgerError, match="missing"):
        Ledger.open(path)


def _budgets(path: Path, count: int) -> None:
    with Ledger.open(path) as ledger:
        for _ in range(count):
            ledger.set_budget("fraud", 5.0, 1e-5)


def test_processes_that_write_at_once_move_the_kept_head_forward_only(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_budgets, args=(path, 6)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    result: Verification = verify_ledger(resolve(path))
    assert result.ok
    assert result.covered == len(rows(path)) - 1 == 27


def _at_once(act: Callable[[], object], *, processes: int = 4) -> list[object]:
    """What ``act`` returns, or the error it raises, in processes that start it at one moment."""
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(processes), context.SimpleQueue()

    def one() -> None:
        barrier.wait(60)
        try:
            told.put(act())
        except BaseException as error:
            told.put(f"failed: {error}")

    children = [context.Process(target=one) for _ in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    return [told.get() for _ in range(processes)]


def _witnessed_at_once(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: str) -> list[str]:
    """Four processes of a machine without a key verify and countersign into one file; which keys did, and do stand."""
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / trial))
    file = tmp_path / f"{trial}.json"
    result = verify_ledger(resolve(path))
    told = _at_once(lambda: countersign_verified(resolve(path), result, file))
    try:
        stand = [signature.signer for line in read_heads(file) for signature in line.countersigned]
    except ConfigError as error:
        stand = [f"failed: {error}"]
    return [*map(str, told), *stand]


def test_processes_that_countersign_at_once_sign_with_one_key_into_one_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trial in range(10):
        assert len(set(_witnessed_at_once(path, tmp_path, monkeypatch, f"locked-{trial}"))) == 1
    # Control: without the lock the second of two takes the file away that the first is writing, or signs with a key
    # that is overwritten; one trial alone shows it nearly always.
    monkeypatch.setattr(kept, "locked", contextlib.nullcontext)
    monkeypatch.setattr(verification, "locked", contextlib.nullcontext)
    assert any(len(set(_witnessed_at_once(path, tmp_path, monkeypatch, f"open-{trial}"))) > 1 for trial in range(20))


def test_the_key_and_the_heads_of_this_machine_are_private(path: Path) -> None:
    folder = private_folder() / "heads"
    assert path.parent not in [folder, *folder.parents]
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(folder.glob("*.tmp"))


def test_what_is_committed_stands_where_its_head_cannot_be_kept(path: Path) -> None:
    """Told that the reservation failed, a run would delete what it takes to settle it."""
    ledger = Ledger.open(path)
    before = ledger.head.entry
    key = private_folder() / "heads" / "witness.key"
    secret = key.read_bytes()
    key.write_bytes(secret[:40])
    ledger.set_budget("cards", 9.0, 1e-5)
    assert ledger.head.entry == before + 1
    ledger.close()
    with pytest.raises(LedgerError, match="holds no signing key"):  # control: the next to open it is told
        Ledger.open(path)
    key.write_bytes(secret)
    Ledger.open(path).close()


def test_a_damaged_kept_head_is_said_and_not_passed_over(path: Path) -> None:
    file = next((private_folder() / "heads").glob("*-*.json"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(LedgerError, match="cannot be read"):
        Ledger.open(path)
