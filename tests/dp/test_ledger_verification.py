"""Tampering: whatever is changed in a ledger's file is found, or changed nothing that an entry says."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.ledger import Ledger, Verification, entries, ledger, payloads, resolve, store, verification, verify_ledger
from dp.ledger.entries import Entry, make_entry
from dp.ledger.keys import load_key_file, public_bytes, read_public_key
from dp.ledger.payloads import BudgetSet, Reserved
from dp.ledger.store import Salvage
from fedsec.errors import ConfigError, FedsecError, LedgerError
from tests.dp.ledger_helpers import charge, closing, reserve, rows, write_one_of_everything

RECOMPUTED = 6
T = TypeVar("T")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    write_one_of_everything(path)
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    for file in original.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / original.name


def check(path: Path, key: bytes | None = None) -> Verification:
    return verify_ledger(resolve(path), key)


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def rewrite(path: Path, change: Callable[[list[Entry]], list[Entry]]) -> None:
    changed = change(rows(path))
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM entries")
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", changed)
    connection.commit()
    connection.close()


def failed(result: Verification) -> list[int]:
    return [step.number for step in result.steps if not step.ok]


def examine(changed: list[Entry], key: bytes) -> Verification:
    """The verifier's steps over rows, without a file between."""
    salvage = Salvage.__new__(Salvage)
    salvage.entries, salvage.complaint, salvage.resumes = changed, None, None
    salvage.structure, salvage.extras = None, ()
    return verification._Examination(changed, key, "given").report(salvage)


def test_an_honest_ledger_holds_and_its_steps_are_numbered(original: Path) -> None:
    result = check(original)
    assert result.ok
    assert [step.number for step in result.steps] == list(range(1, 10))
    assert [step.kind for step in result.steps] == ["recomputed"] * RECOMPUTED + ["attested", "assumed", "assumed"]
    last = rows(original)[-1]
    assert result.head is not None
    assert (result.head.entry, result.head.hash) == (last.seq, last.hash.hex())
    assert result.first_bad is None
    assert result.entries == last.seq + 1


def test_the_main_file_alone_holds_every_entry_once_the_ledger_is_closed(original: Path, tmp_path: Path) -> None:
    alone = tmp_path / "copy.sqlite"
    shutil.copy(original, alone)
    key = read_public_key(str(resolve(original).key_path))
    result = check(alone, key)
    assert result.ok
    assert result.entries == len(rows(original))
    assert result.key_source == "given"


def test_every_changed_byte_of_every_cell_is_found_at_its_entry(original: Path) -> None:
    honest = rows(original)
    key = honest_key(original)
    assert examine(honest, key).ok
    for entry in honest:
        for column, cell in enumerate(entry[1:], start=1):
            for position in range(len(cell)):
                changed = list(entry)
                changed[column] = cell[:position] + bytes([cell[position] ^ 1 << position % 8]) + cell[position + 1 :]
                result = examine([*honest[: entry.seq], Entry(*changed), *honest[entry.seq + 1 :]], key)
                assert not result.ok, (entry.seq, Entry._fields[column], position)
                assert result.first_bad == entry.seq


def test_random_damage_of_the_file_is_found_or_harmless(original: Path, tmp_path: Path) -> None:
    honest, image, path = rows(original), original.read_bytes(), tmp_path / "ledger.sqlite"
    key = honest_key(original)
    draw = random.Random(20260101)
    found = 0
    positions = [*range(0, 100), *(draw.randrange(len(image)) for _ in range(400))]  # the header, then anywhere
    for position in positions:
        damaged = bytearray(image)
        damaged[position] ^= draw.randrange(1, 256)
        path.write_bytes(damaged)
        result = check(path, key)
        if result.ok:
            assert Salvage(resolve(path)).entries == honest, position
        else:
            found += 1
            assert result.first_bad is not None or not result.steps[0].ok
        for leftover in tmp_path.iterdir():
            leftover.unlink()
    assert found > 150


def test_a_changed_cell_count_cannot_cut_off_the_tail(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte of a page's header hides its last entries and leaves a chain that holds; the structure tells."""
    honest, image = rows(path), path.read_bytes()
    last_page = image.rindex(honest[-1].hash) // 4096 * 4096
    count = last_page + 4  # of the cells in a leaf: bytes 3 and 4 of its header (SQLite file format, 1.6)
    path.write_bytes(image[:count] + bytes([image[count] - 1]) + image[count + 1 :])
    result = check(path)
    assert result.entries == len(honest) - 1
    assert failed(result) == [1]
    assert "may be missing" in result.steps[0].detail
    with pytest.raises(LedgerError, match="is damaged"):
        Ledger.open(path)

    def without_structure(salvage: Salvage, *arguments: object) -> None:
        read(salvage, *arguments)  # type: ignore[arg-type]  # handed through
        salvage.structure = None

    read = Salvage._read
    monkeypatch.setattr(Salvage, "_read", without_structure)
    assert check(path).ok  # negative control


def test_a_verifier_without_hash_and_signature_would_miss_an_edited_charge(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the same edit, the same steps, but for the two that see it."""

    def cheaper(honest: list[Entry]) -> list[Entry]:
        return [entry._replace(payload=entry.payload.replace(b'"count":50', b'"count":5')) for entry in honest]

    rewrite(path, cheaper)
    result = check(path)
    assert failed(result)[0] == 3
    assert result.first_bad == 3
    monkeypatch.setattr(verification._Examination, "_chain", lambda *_: None)
    monkeypatch.setattr(verification._Examination, "_signatures", lambda *_: None)
    assert check(path).ok


def test_a_chain_recomputed_without_the_key_fails_the_signature(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rechained(honest: list[Entry]) -> list[Entry]:
        previous, made = entries.GENESIS, []
        for entry in honest:
            payload = entry.payload.replace(b'"count":50', b'"count":5')
            previous_now, previous = previous, entries.entry_hash(entry.seq, previous, payload)
            made.append(Entry(entry.seq, payload, previous_now, previous, entry.signature))
        return made

    rewrite(path, rechained)
    result = check(path)
    assert failed(result)[0] == 4
    assert result.first_bad == 3
    with pytest.raises(LedgerError, match="not signed"):
        Ledger.open(path)
    monkeypatch.setattr(verification._Examination, "_signatures", lambda *_: None)
    assert check(path).ok


def test_a_ledger_signed_by_another_key_fails_against_the_holders_and_is_only_self_asserted_without_it(
    original: Path, tmp_path: Path
) -> None:
    forged = tmp_path / "forged.sqlite"
    Ledger.open(forged).close()
    honest = honest_key(original)
    result = check(forged, honest)
    assert failed(result)[0] == 4
    assert result.first_bad == 0
    resolve(forged).key_path.unlink()
    alone = check(forged)
    assert alone.ok
    assert alone.key_source == "self-asserted"
    assert "self-asserted" in alone.steps[7].detail


def test_entry_0_must_name_the_key_that_signs(path: Path) -> None:
    mine = Ed25519PrivateKey.generate()
    opened = payloads.Opened(ledger="x", public_key=public_bytes(Ed25519PrivateKey.generate()), at="")
    rewrite(path, lambda _: [make_entry(mine, seq=0, previous=entries.GENESIS, payload=opened)])
    result = check(path, public_bytes(mine))
    assert failed(result)[0] == 5
    assert "another public key" in result.steps[4].detail


@pytest.mark.parametrize(
    ("change", "first_bad", "step"),
    [
        (lambda honest: [*honest[:4], *honest[5:]], 4, 2),
        (lambda honest: [*honest[:4], honest[5]._replace(seq=4), honest[4]._replace(seq=5), *honest[6:]], 4, 3),
        (lambda honest: honest[1:], 0, 2),
        (lambda honest: [*honest, honest[4]._replace(seq=len(honest))], 10, 3),
        (lambda honest: [], 0, 1),
    ],
    ids=["deleted", "swapped", "beginning cut off", "replayed", "emptied"],
)
def test_moved_entries_are_found(
    path: Path, change: Callable[[list[Entry]], list[Entry]], first_bad: int, step: int
) -> None:
    rewrite(path, change)
    result = check(path)
    assert result.first_bad == first_bad
    assert failed(result)[0] == step
    with pytest.raises(LedgerError):
        Ledger.open(path, create=False)


def test_a_tail_that_was_cut_off_shows_only_in_the_head(path: Path) -> None:
    """What the file alone cannot show, said as it is: the head that was noted before is not found again."""
    noted = check(path).head
    rewrite(path, lambda honest: honest[:-1])
    result = check(path)
    assert result.ok
    assert result.head != noted
    assert result.steps[8].kind == "assumed"


def test_an_open_ledger_notices_that_its_file_was_rolled_back(path: Path) -> None:
    with Ledger.open(path) as opened:
        execute(path, "DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)")
        with pytest.raises(LedgerError, match="taken back"):
            opened.balances()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE entries ADD COLUMN note TEXT",
        "CREATE TRIGGER lose AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE seq = new.seq; END",
        "CREATE TABLE other (x)",
        "CREATE INDEX i ON entries (hash)",
    ],
)
def test_anything_else_in_the_file_is_named(path: Path, statement: str) -> None:
    execute(path, statement)
    result = check(path)
    assert failed(result) == [1]
    assert "also holds" in result.steps[0].detail
    assert result.first_bad is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET payload = CAST(payload AS TEXT) WHERE seq = 3",
        "UPDATE entries SET signature = 7 WHERE seq = 3",
        "UPDATE entries SET hash = zeroblob(0) WHERE seq = 3",
    ],
)
def test_cells_of_another_type_are_found(path: Path, statement: str) -> None:
    execute(path, statement)
    result = check(path)
    assert result.first_bad == 3
    with pytest.raises(LedgerError, match="entry 3"):
        Ledger.open(path)


def test_unreadable_pages_are_named_by_the_entries_around_them(path: Path) -> None:
    with Ledger.open(path) as opened:
        for number in range(200):
            opened.set_budget("fraud", 5 + number, 1e-5)
    page_size = 4096
    image = bytearray(path.read_bytes())
    middle = image.index(b'"epsilon":100.0') // page_size * page_size
    image[middle : middle + page_size] = b"\xff" * page_size
    path.write_bytes(image)
    result = check(path)
    assert not result.steps[0].ok
    assert "cannot be read" in result.steps[0].detail
    assert result.first_bad is not None
    assert f"entries {result.first_bad} to " in result.steps[0].detail
    assert 50 < result.first_bad < 111
    assert [step.ok for step in result.steps[1:6]] == [True] * 5
    with pytest.raises(LedgerError, match="is damaged"):
        Ledger.open(path)


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_ledger_is_told_and_not_a_crash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    result = check(path)
    assert not result.ok
    assert result.first_bad == 0
    assert result.head is None
    with pytest.raises((LedgerError, ConfigError)):
        Ledger.open(path, create=False)


def test_there_is_nothing_to_verify_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no ledger"):
        check(tmp_path / "missing.sqlite")


def test_a_run_that_was_admitted_beyond_its_budget_is_found_although_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder who patches the filter out of his own software signs what he writes, and is found all the same."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as opened, monkeypatch.context() as patch:
        opened.set_budget("fraud", 1, 1e-5)
        patch.setattr(ledger, "refusal", lambda *_, **__: None)
        reserve(opened, "run-1")
    result = check(path)
    assert failed(result) == [6]
    assert result.first_bad == 2
    assert "beyond the budget of fraud/train" in result.steps[5].detail


def test_a_signed_entry_that_breaks_a_rule_is_found(path: Path) -> None:
    """Burn more than was reserved, settle on a forged statement, count in two ways: signatures do not excuse it."""
    key = load_key_file(resolve(path).key_path)
    assert key is not None
    honest = rows(path)

    def with_last(payload: bytes) -> Verification:
        seq, previous = len(honest), honest[-1].hash
        digest = entries.entry_hash(seq, previous, payload)
        signature = entries.sign(key, entries.labels.ENTRY_SIGNATURE, digest)
        return examine([*honest, Entry(seq, payload, previous, digest, signature)], public_bytes(key))

    unknown_run = b'{"at":"","index":0,"mark":"","release":"t","run":"x","type":"burnt"}'
    assert with_last(unknown_run).first_bad == len(honest)
    known = payloads.encode(msgspec.structs.replace(_first(honest, BudgetSet), epsilon=7.0))
    assert with_last(known).ok  # control of all that follow
    for text in (
        known.replace(b'"epsilon":7.0', b'"epsilon":7.0,"more":1'),
        known.replace(b'"epsilon":7.0', b'"epsilon":70.0,"epsilon":7.0'),
        known.replace(b'"epsilon":7.0', b'"epsilon":7'),
        known.replace(b'"dataset":"fraud"', b'"dataset":"fr\\u0061ud"'),
        known.replace(b",", b", "),
        b" " + known,
    ):
        assert text != known
        assert failed(with_last(text))[0] == 5, text
    assert failed(with_last(b'{"type":"opened"' + b"[" * 100_000))[0] == 5
    reopened = payloads.encode(payloads.Opened(ledger="x", public_key=bytes(32), at=""))
    assert failed(with_last(reopened))[0] == 5


def test_a_ledger_that_names_no_key_cannot_be_checked_without_one(path: Path) -> None:
    def nameless(honest: list[Entry]) -> list[Entry]:
        digest = entries.entry_hash(0, entries.GENESIS, b"{}")
        return [Entry(0, b"{}", entries.GENESIS, digest, honest[0].signature)]

    rewrite(path, nameless)
    resolve(path).key_path.unlink()
    result = check(path)
    assert failed(result)[0] == 4
    assert "names no public key" in result.steps[3].detail
    assert result.public_key is None
    assert result.head is None
    with pytest.raises(LedgerError, match="not readable"):
        Ledger.open(path)


def test_a_signed_event_that_cannot_be_accounted_is_found(path: Path) -> None:
    key = load_key_file(resolve(path).key_path)
    assert key is not None
    honest = rows(path)
    encoded = payloads.encode(_first(honest, Reserved)).replace(b'"sensitivity":10000.0', b'"sensitivity":1e300')
    payload = payloads.decode(encoded.replace(b"run-1", b"run-9"), seq=0)
    last = make_entry(key, seq=len(honest), previous=honest[-1].hash, payload=payload)
    result = examine([*honest, last], public_bytes(key))
    assert failed(result) == [6]
    assert "cannot be accounted" in result.steps[5].detail


def test_closing_statements_are_told_as_attested(original: Path) -> None:
    step = check(original).steps[6]
    assert step.kind == "attested"
    assert "1 of 2 settled runs" in step.detail


def test_a_ledger_without_its_key_file_verifies_and_shows_but_refuses_to_go_on(path: Path) -> None:
    key_path = resolve(path).key_path
    honest = honest_key(path)
    key_path.unlink()
    with Ledger.open(path) as opened:
        assert opened.public_key == honest
        assert opened.verify(honest).ok
        assert len(opened.history()) == 3
        with pytest.raises(LedgerError, match="signing key"):
            opened.set_budget("fraud", 100, 1e-5)
        with pytest.raises(LedgerError, match="signing key"):
            reserve(opened, "run-9", charge(count=1))


def test_another_key_beside_the_ledger_is_not_used(path: Path, tmp_path: Path) -> None:
    Ledger.open(tmp_path / "other").close()
    (tmp_path / "other.key").replace(resolve(path).key_path)
    with Ledger.open(path) as opened, pytest.raises(LedgerError, match="another one"):
        opened.set_budget("fraud", 100, 1e-5)
    assert not check(path).ok


def test_a_deleted_ledger_is_not_silently_begun_anew(path: Path) -> None:
    path.unlink()
    with pytest.raises(LedgerError, match="was the ledger deleted") as error:
        Ledger.open(path)
    assert "backup" in error.value.remedy
    with pytest.raises(LedgerError, match="was the ledger deleted"):
        Ledger.open(path)
    resolve(path).key_path.unlink()
    with Ledger.open(path) as opened:
        assert opened.history() == ()


def test_a_read_only_folder_can_be_verified(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.os, "access", lambda *_: False)
    before = sorted(file.name for file in path.parent.iterdir())
    assert check(path).ok
    assert sorted(file.name for file in path.parent.iterdir()) == before


@pytest.mark.parametrize("damage", ["rubbish", "RSA"])
def test_a_key_file_that_holds_no_key_of_ours_is_told(path: Path, damage: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    resolve(path).key_path.write_bytes(b"rubbish" if damage == "rubbish" else other)
    with pytest.raises(LedgerError, match="key"):
        Ledger.open(path)
    result = check(path)
    assert result.ok
    assert result.key_source == "self-asserted"


def test_public_keys_are_read_in_each_form(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = public_bytes(key)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    forms = {"hex": public.hex().encode() + b"\n", "pem": pem}
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
        assert read_public_key(str(tmp_path / name)) == public
    assert read_public_key(public.hex()) == public
    (tmp_path / "none").write_bytes(b"nothing")
    for source in ("abcd", str(tmp_path / "none"), str(tmp_path / "missing"), "x" * 5000):
        with pytest.raises(ConfigError):
            read_public_key(source)


def test_a_closing_statement_under_an_entrys_label_is_no_signature() -> None:
    """Labels keep signatures apart: what the coordinator signs can never pass for an entry, and the reverse."""
    key = Ed25519PrivateKey.generate()
    for label in (entries.labels.ENTRY_SIGNATURE, entries.labels.CLOSING_SIGNATURE):
        signature = entries.sign(key, label, b"text")
        verdicts = {
            other: entries.verifies(public_bytes(key), signature, other, b"text")
            for other in (entries.labels.ENTRY_SIGNATURE, entries.labels.CLOSING_SIGNATURE)
        }
        assert verdicts == {other: other == label for other in verdicts}
    assert not entries.verifies(b"short", bytes(64), b"", b"")
    assert closing("run", training=1).signature != closing("run", training=2).signature


def test_errors_of_the_file_never_surface_as_other_than_ours(original: Path, tmp_path: Path) -> None:
    image, path = original.read_bytes(), tmp_path / "ledger.sqlite"
    draw = random.Random(7)
    for position in [*range(0, 100, 3), *(draw.randrange(len(image)) for _ in range(60))]:
        damaged = bytearray(image)
        damaged[position] ^= draw.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            Ledger.open(path).close()
        except FedsecError as error:
            assert str(error)
        for leftover in tmp_path.iterdir():
            leftover.unlink()


def honest_key(path: Path) -> bytes:
    return read_public_key(str(resolve(path).key_path))


def _first(honest: list[Entry], kind: type[T]) -> T:
    return next(payload for payload in map(_decoded, honest) if isinstance(payload, kind))


def _decoded(entry: Entry) -> object:
    return payloads.decode(entry.payload, seq=entry.seq)
