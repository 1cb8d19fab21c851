"""The verifier reads a real ledger's extract, comes to its balances, and finds whatever was changed in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.ledger import Ledger, countersign
from dp.ledger.keys import sign
from fedsec_verify.ledger_entries import (
    ENTRY_SIGNATURE,
    Extract,
    LedgerError,
    Line,
    Reserved,
    entry_hash,
    read_chain,
)
from fedsec_verify.ledger_replay import Ledger as Replay
from tests.dp.ledger_helpers import write_one_of_everything

Lines = tuple[Line, ...]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    write_one_of_everything(path)
    return path


@pytest.fixture(scope="module")
def extract(place: Path) -> Extract:
    with Ledger.open(place) as ledger:
        return msgspec.json.decode(ledger.export(form="public").encode(), type=Extract)


def replayed(extract: Extract) -> Replay:
    return Replay.replayed(read_chain(extract), key=bytes.fromhex(extract.public_key))


def resealed(extract: Extract, lines: Lines, key: Ed25519PrivateKey) -> Extract:
    """``lines`` numbered, chained and signed anew by whoever holds ``key``."""
    previous, made = bytes(32), []
    for number, line in enumerate(lines):
        digest = entry_hash(number, previous, line.payload.encode())
        signature = sign(key, ENTRY_SIGNATURE, digest).hex()
        made.append(Line(seq=number, payload=line.payload, hash=digest.hex(), signature=signature))
        previous = digest
    return msgspec.structs.replace(extract, entries=tuple(made))


def holders_key(place: Path) -> Ed25519PrivateKey:
    from dp.ledger.keys import load_key_file

    key = load_key_file(Path(f"{place}.key"))
    assert key is not None
    return key


def test_balances_are_those_of_the_ledger(place: Path, extract: Extract) -> None:
    replay = replayed(extract)
    accounts = {charge.account for run in replay.runs.values() for charge in run.reserved.charges}
    with Ledger.open(place) as ledger:
        expected = sorted(balance.spent_epsilon for balance in ledger.balances() if balance.runs)
    found = sorted(replay.load(account).epsilon(replay.budget(account)[1]) for account in accounts)
    assert len(found) == len(expected) > 1
    assert found == pytest.approx(expected, rel=1e-4)
    half = replay.load(next(iter(accounts)), without="run-1").epsilon(1e-5)
    assert all(abs(half - value) > 1e-3 for value in expected), "control: a run less is another balance"


def changed(text: str, old: str, new: str) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        place = next(number for number, line in enumerate(lines) if f'"type":"{text}"' in line.payload)
        line = lines[place]
        assert old in line.payload
        edited = msgspec.structs.replace(line, payload=line.payload.replace(old, new, 1))
        return (*lines[:place], edited, *lines[place + 1 :])

    return change


def without(kind: str) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        place = next(number for number, line in enumerate(lines) if f'"type":"{kind}"' in line.payload)
        return lines[:place] + lines[place + 1 :]

    return change


EDITS: dict[str, Callable[[Lines], Lines]] = {
    "a burn twice": lambda lines: lines + tuple(line for line in lines if '"type":"burnt"' in line.payload)[:1],
    "a second opening": lambda lines: lines + lines[:1],
    "no reservation": without("reserved"),
    "an opening less": without("opened"),
    "two entries exchanged": lambda lines: (lines[0], lines[4], lines[3], *lines[1:3], *lines[5:]),
    "a budget below what was admitted": changed("budget-set", '"epsilon":5.0', '"epsilon":0.5'),
    "another count": changed("reserved", '"count":50', '"count":1'),
    "a closing of more": changed("settled", '"training":2', '"training":51'),
    "a closing of less": changed("settled", '"training":2', '"training":0'),
    "a spelling": changed("opened", '{"at"', '{ "at"'),
    "a field": changed("opened", '{"at"', '{"aa":1,"at"'),
    "a name": changed("budget-set", '"holder":"_"', '"holder":"ING"'),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_of_an_entry_is_found_even_where_the_holder_signs_it(
    name: str, place: Path, extract: Extract
) -> None:
    edited = EDITS[name](extract.entries)
    with pytest.raises(LedgerError):
        replayed(msgspec.structs.replace(extract, entries=edited))
    with pytest.raises(LedgerError):
        replayed(resealed(extract, edited, holders_key(place)))
    assert replayed(resealed(extract, extract.entries, holders_key(place))).runs, (
        "control: sealing alone changes nothing"
    )


def test_another_key_and_a_full_form_are_refused(place: Path, extract: Extract) -> None:
    with pytest.raises(LedgerError, match="another public key"):
        key = Ed25519PrivateKey.generate()
        other = msgspec.structs.replace(extract, public_key=key.public_key().public_bytes_raw().hex())
        replayed(resealed(other, extract.entries, key))
    with Ledger.open(place) as ledger:
        full = ledger.export(form="full").encode()
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(full, type=Extract)
    pretending = msgspec.json.decode(full.replace(b'"form": "full"', b'"form": "public"'), type=Extract)
    with pytest.raises(LedgerError):
        read_chain(pretending)
    assert any(isinstance(entry.payload, Reserved) for entry in read_chain(extract)), "control"


def test_a_head_is_only_worth_the_signatures_that_hold(place: Path, extract: Extract) -> None:
    from fedsec_verify.ledger_entries import CountersignedHead

    key = Ed25519PrivateKey.generate()
    with Ledger.open(place) as ledger:
        made = msgspec.json.encode(countersign(ledger.head, [key], at="2026-01-01T00:00:00+00:00"))
    head = msgspec.json.decode(made, type=CountersignedHead)
    assert head.signers() == {key.public_key().public_bytes_raw().hex()}
    for part in ("hash", "signature"):
        value = getattr(head.head, part)
        flipped = value[:-1] + ("0" if value[-1] != "0" else "1")
        with pytest.raises(LedgerError):
            forged = msgspec.structs.replace(head.head, **{part: flipped})
            msgspec.structs.replace(head, head=forged).signers()
    later = msgspec.structs.replace(head.countersigned[0], at="2027-01-01T00:00:00+00:00")
    with pytest.raises(LedgerError):
        msgspec.structs.replace(head, countersigned=(later,)).signers()
