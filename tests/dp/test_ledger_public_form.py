"""An extract names nobody and has the ledger's own chain; a ledger without its names is refused, since it hides."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dp.ledger import (
    Account,
    CountersignedHead,
    Export,
    Form,
    Ledger,
    Verification,
    countersign,
    resolve,
    verify_ledger,
)
from dp.ledger import entries as entries_module
from dp.ledger import log as log_module
from dp.ledger import public_form as module
from dp.ledger.admission import spent, total
from dp.ledger.entries import GENESIS, Entry, make_entry
from dp.ledger.keys import load_key_file, public_bytes, sign
from dp.ledger.payloads import BudgetSet, Naming, Payload, Reserved, decode, encode
from dp.ledger.public_form import public_form, public_text, salt_of
from dp.ledger.state import State
from fedsec.errors import BudgetError, ConfigError, LedgerError, LocalProtocolError
from tests.dp import ledger_document, ledger_vectors, make_vectors
from tests.dp.ledger_helpers import HOLDOUT, TRAIN, charge, full_batch, reserve, rows, write_one_of_everything
from tests.postgres import Server

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
BANK = Account(holder="north-bank", dataset="cards.csv", part="train")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    write_one_of_everything(path)
    return path


def put(path: Path, changed: list[Entry]) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM entries")
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", changed)
    connection.commit()
    connection.close()


def key_of(path: Path) -> Ed25519PrivateKey:
    key = load_key_file(resolve(path).key_path)
    assert key is not None
    return key


def rechained(path: Path, change: Callable[[Payload], Payload]) -> list[Entry]:
    """The ledger as its holder, who has the key, would write it anew by other software."""
    result: list[Entry] = []
    for entry in rows(path):
        payload = change(decode(entry.payload, seq=entry.seq))
        previous = result[-1].hash if result else GENESIS
        result.append(make_entry(key_of(path), seq=entry.seq, previous=previous, payload=payload))
    return result


def failed(result: Verification) -> list[int]:
    return [step.number for step in result.steps if not step.ok]


def check(path: Path) -> Verification:
    return verify_ledger(resolve(path))


def written(path: Path, export: Export) -> Path:
    path.write_bytes(export.encode())
    return path


def exported(path: Path, form: Any = "full") -> Export:
    with Ledger.open(path, create=False) as ledger:
        return ledger.export(form)


def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a reader that takes either form."""
    monkeypatch.setattr(State, "_check_form", lambda *_: None)


# --- what the public form is ----------------------------------------------------------------------------------------


def test_a_second_implementation_from_the_document_finds_the_committed_texts_hashes_and_salt() -> None:
    committed = json.loads(make_vectors.LEDGER_PATH.read_text("utf-8"))
    assert ledger_vectors.rows() == committed
    salt = ledger_document.salt(ledger_vectors.SIGNER.private_bytes_raw())
    previous = other = GENESIS
    for seq, row in enumerate(committed):
        for form in ("full", "public"):
            assert ledger_document.public_text(row[form].encode()).decode() == row["public"]
            assert ledger_document.entry_hash(seq, previous, row[form].encode()).hex() == row["hash"]
        if '"salt"' in row["full"]:
            assert f'"salt":"{salt}"' in row["full"]
            assert row["full"] != row["public"]
            other = ledger_document.entry_hash(seq, previous, row["full"].replace(salt, "0" * 32).encode())
            assert other.hex() != row["hash"]  # control: another salt is another text
        previous = bytes.fromhex(row["hash"])
    kinds = {row["kind"] for row in committed}
    assert len(kinds) == 8
    assert {row["kind"] for row in committed if row["full"] != row["public"]} == {
        "budget-set", "split-fixed", "reserved", "refused",
    }  # fmt: skip


NAME = st.text("ab._-", min_size=1, max_size=3)
LAYOUT = st.sampled_from([b"", bytes(32), bytes([1]) * 32])
SALT = "0123456789abcdef" * 2


@st.composite
def naming(draw: st.DrawFn) -> Naming:
    holder, dataset = draw(NAME), draw(NAME)
    if draw(st.booleans()):
        return BudgetSet(holder=holder, dataset=dataset, epsilon=1.0, delta=1e-5, salt=SALT, at="")
    account = Account(holder=holder, dataset=dataset, part=draw(st.sampled_from(["train", "holdout"])))
    return Reserved(
        run="r", charges=(charge(account),), coordinator=bytes(32), private=True, brands=(), layout=draw(LAYOUT),
        salt=SALT, at="",
    )  # fmt: skip


def _agrees(one: Naming, two: Naming) -> bool:
    """Idempotent, readable, and the same text for the same payload alone."""
    texts = [encode(one), encode(two)]
    hidden = [public_text(text) for text in texts]
    return (
        [public_text(text) for text in hidden] == hidden
        and all(module.is_public(decode(text, seq=0)) for text in hidden)  # type: ignore[arg-type]
        and (hidden[0] == hidden[1]) == (texts[0] == texts[1])
    )


@settings(max_examples=200, deadline=None)
@given(naming(), naming())
def test_the_public_form_is_idempotent_and_keeps_apart_what_differs(one: Naming, two: Naming) -> None:
    assert _agrees(one, two)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("_pseudonym", lambda salt, holder, dataset: "_" + "0" * 62),
        ("_pseudonym", lambda salt, holder, dataset: _pseudonym(salt, "", holder + dataset)),
        ("_pseudonym", lambda salt, holder, dataset: dataset),
        ("_digest", lambda *parts: bytes(32)),
    ],
    ids=["one for all", "holder and data set run together", "the name itself", "one layout for all"],
)
def test_control_a_public_form_that_mixes_names_up_is_noticed(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., Any]
) -> None:
    one = BudgetSet(holder="a", dataset="ab", epsilon=1.0, delta=1e-5, salt=SALT, at="")
    two = replace(one, holder="aa", dataset="b")
    assert _agrees(one, two)
    monkeypatch.setattr(module, name, broken)
    assert not _agrees(one, two)


_pseudonym = module._pseudonym


def test_every_field_is_either_hidden_or_means_nothing_to_a_stranger() -> None:
    """A field added to a payload has to be thought of here; control: the hidden ones are those that the text loses."""
    hidden = {"holder", "dataset", "account", "charges", "layout", "salt"}
    open_to_all = {
        "budget-set": {"epsilon", "delta", "at"},
        "split-fixed": {"fraction", "commitment", "at"},
        "reserved": {"run", "coordinator", "private", "brands", "at"},
        "refused": {
            "run", "private", "asked_epsilon", "asked_eta", "spent_epsilon", "budget_epsilon", "delta", "at",
        },
    }  # fmt: skip
    seen = set()
    for payload in ledger_vectors.payloads():
        if isinstance(payload, Naming):
            kind, shown = type(payload).__struct_config__.tag, public_form(payload)
            fields = set(type(payload).__struct_fields__)
            same = {name for name in fields if getattr(shown, name) == getattr(payload, name)}
            assert fields - hidden == open_to_all[kind], kind  # type: ignore[index]
            assert same - {"layout"} == open_to_all[kind]  # type: ignore[index]
            seen.add(kind)
    assert seen == set(open_to_all)


# --- an extract -----------------------------------------------------------------------------------------------------


def test_an_extract_verifies_in_every_step_and_has_the_ledgers_head(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(path) as ledger:
        signed: CountersignedHead = countersign(ledger.head, [OTHER], at="2026-03-14T10:15:00+00:00")
        extract = written(tmp_path / "extract.json", ledger.export("public", [signed]))
        head, key = ledger.head, ledger.public_key
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "auditor"))
    result = verify_ledger(resolve(extract), key)
    assert result.ok
    assert (result.head, result.covered, result.heads) == (head, head.entry, 1)
    assert [step.kind for step in result.steps] == ["recomputed"] * 6 + ["attested", "assumed", "recomputed"]
    read = json.loads(extract.read_bytes())
    assert (read["form"], [line["countersigned"][0]["signer"] for line in read["heads"]]) == (
        "public",
        [public_bytes(OTHER).hex()],
    )
    for line in read["entries"]:  # control: each payload matters
        changed = {**read, "entries": [{**e, "payload": e["payload"].replace("at", "AT")} if e is line else e
                                       for e in read["entries"]]}  # fmt: skip
        extract.write_text(json.dumps(changed), "utf-8")
        assert verify_ledger(resolve(extract), key).first_bad == line["seq"]


def _occurring(content: bytes, secrets: dict[str, bytes]) -> set[str]:
    """Which of ``secrets`` stand in ``content``, as they are, in hex or in base 64, with or without JSON's escapes."""
    forms = {name: {s, s.hex().encode(), b64encode(s), json.dumps(s.decode("latin-1"))[1:-1].encode()}
             for name, s in secrets.items()}  # fmt: skip
    text = content + content.replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    return {name for name, shapes in forms.items() if any(shape in text for shape in shapes)}


def test_no_name_holder_layout_or_salt_is_in_the_bytes_of_an_extract(tmp_path: Path) -> None:
    """Names are letters, digits, dots, underscores and hyphens, so JSON never escapes one: `Account` refuses others."""
    entries = ledger_vectors.entries()
    key = public_bytes(ledger_vectors.SIGNER)
    named = {name: name.encode() for name in ledger_vectors.NAMES}
    secrets = {**named, "layout": ledger_vectors.LAYOUT, "salt": salt_of(ledger_vectors.SIGNER).encode()}
    assert _occurring(Export.of(entries, key, [], form="public").encode(), secrets) == set()
    assert _occurring(Export.of(entries, key, [], form="full").encode(), secrets) == set(secrets)  # control
    for name in ('a"b', "a/b", "a\\b", "ä", "a b", "a\nb"):
        with pytest.raises(ConfigError):
            Account(holder=name, dataset="fraud", part="train")
        with pytest.raises(ConfigError):
            Account(dataset=name, part="train")
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger, pytest.raises(ConfigError):
            ledger.set_budget(name, 1.0, 1e-5)


def test_equal_names_have_one_pseudonym_in_a_ledger_and_another_in_another_ledger(tmp_path: Path) -> None:
    def pseudonyms(path: Path) -> set[str]:
        with Ledger.open(path) as ledger:
            for number in range(3):
                ledger.set_budget("fraud", 5.0 + number, 1e-5)
        with Ledger.open(path) as ledger:
            ledger.split_key("fraud", 0.2)
            extract = ledger.export("public")
        named = [json.loads(entry.payload).get("dataset") for entry in extract.entries]
        assert len(named) == 5
        return set(named) - {None}

    one, two = pseudonyms(tmp_path / "one"), pseudonyms(tmp_path / "two")
    assert len(one) == len(two) == 1
    assert one != two  # whoever has another ledger's names, cannot look them up here


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([TRAIN, HOLDOUT, BANK]), st.integers(1, 40), st.booleans()), max_size=8))
def test_an_extract_replays_to_the_same_balances(history: list[tuple[Account, int, bool]]) -> None:
    salt = salt_of(ledger_vectors.SIGNER)
    payloads: list[Payload] = [ledger_vectors.payloads()[0]]
    for number, (account, count, private) in enumerate(history):
        names = {"holder": account.holder, "dataset": account.dataset, "salt": salt, "at": ""}
        charges = (charge(account, count=count, event=full_batch(8.0 + number)),)
        plan = {"charges": charges, "coordinator": bytes(32), "private": private, "brands": (), "layout": b""}
        payloads.append(BudgetSet(epsilon=float(count), delta=1e-5, **names))
        payloads.append(Reserved(run=f"r{number}", salt=salt, at="", **plan))
    full, public = State(), State(form="public")
    for seq, payload in enumerate(payloads):
        full.replay(payload, seq=seq)
        public.replay(public_form(payload), seq=seq)

    def balances(state: State) -> list[tuple[str, float, float | None]]:
        found = []
        for account in state.accounts():
            budget = state.budget(account)
            found.append((account.part, spent(total(state, account), 1e-5), None if budget is None else budget.epsilon))
        return sorted(found, key=str)

    assert balances(full) == balances(public)
    assert len({(a.holder, a.dataset) for a in full.accounts()}) == len({a.dataset for a in public.accounts()})
    if history and all(private for _, _, private in history):  # control: one opening more is another balance
        full.replay(replace(payloads[-1], run="more"), seq=0)  # type: ignore[arg-type]
        assert balances(full) != balances(public)


def test_an_extract_with_a_name_in_it_is_refused_as_identifying(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full form has the same hash, so its signature holds; a name without a salt stands under a hash of its own."""
    full, public = exported(path), exported(path, "public")
    for seq, line in enumerate(public.entries):
        if full.entries[seq].payload == line.payload:
            continue
        mixed = replace(public, entries=(*public.entries[:seq], full.entries[seq], *public.entries[seq + 1 :]))
        result = check(written(tmp_path / "mixed.json", mixed))
        assert failed(result)[0] == 5
        assert result.first_bad == seq
        assert "identifies somebody" in result.steps[4].detail

    def saltless(payload: Payload) -> Payload:
        return replace(payload, salt="") if isinstance(payload, Naming) else payload

    named = Export.of(rechained(path, saltless), public_bytes(key_of(path)), [], form="public")
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "auditor"))
    assert failed(check(written(tmp_path / "named.json", named))) == [5]
    assert check(written(tmp_path / "extract.json", public)).ok  # control
    lenient(monkeypatch)
    assert check(tmp_path / "named.json").ok


def test_swapped_pseudonyms_or_names_break_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        for name in ("fraud", "loans"):
            ledger.set_budget(name, 5.0, 1e-5)
            reserve(ledger, f"run-{name}", charge(Account(dataset=name, part="train"), count=20))
    public = exported(path, "public")
    one, two = (json.loads(public.entries[seq].payload)["dataset"] for seq in (1, 3))
    assert one != two

    def swapped(text: str, one: str, two: str) -> str:
        return text.replace(one, "\0").replace(two, one).replace("\0", two)

    lines = tuple(replace(line, payload=swapped(line.payload, one, two)) for line in public.entries)
    result = check(written(tmp_path / "swapped.json", replace(public, entries=lines)))
    assert (failed(result)[0], result.first_bad) == (3, 1)
    again = tuple(replace(line, payload=swapped(line.payload, two, one)) for line in lines)
    assert check(written(tmp_path / "swapped.json", replace(public, entries=again))).ok  # control: swapped back
    honest = rows(path)
    put(path, [
        entry._replace(payload=swapped(entry.payload.decode(), '"dataset":"fraud"', '"dataset":"loans"').encode())
        for entry in honest
    ])  # fmt: skip
    assert (failed(check(path))[0], check(path).first_bad) == (3, 1)
    with pytest.raises(LedgerError, match="chain of hashes"):
        Ledger.open(path)
    put(path, honest)
    assert check(path).ok  # control


# --- a ledger holds its names ---------------------------------------------------------------------------------------


def stripped(entry: Entry) -> Entry:
    return entry._replace(payload=public_text(entry.payload))


def test_names_taken_out_of_a_ledger_are_found_although_the_chain_holds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget attack: a spent data set would look fresh, and each hash, signature and countersigned head holds."""
    honest = rows(path)
    spending = next(entry.seq for entry in honest if b'"run":"run-2"' in entry.payload)
    for taken in ({*range(spending + 1)}, {spending}):
        put(path, [stripped(entry) if entry.seq in taken else entry for entry in honest])
        first = 1 if 1 in taken else spending
        result = check(path)
        assert (failed(result)[0], result.first_bad) == (5, first)
        assert "names are taken away" in result.steps[4].detail
        with pytest.raises(LedgerError, match=f"entry {first} .* names are taken away"):
            Ledger.open(path)
    with monkeypatch.context() as patch:
        lenient(patch)
        assert check(path).ok  # control: what it would do
        with Ledger.open(path) as ledger:
            assert ledger.balances([TRAIN])[0].runs == ("run-1",)
            reserve(ledger, "run-9", charge(count=40))
    put(path, honest)
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "another"))  # or the head of run-9 would be missed
    with Ledger.open(path) as ledger, pytest.raises(BudgetError):
        reserve(ledger, "run-9", charge(count=40))


def test_names_taken_out_of_a_full_export_are_found(path: Path, tmp_path: Path) -> None:
    full, public = exported(path), exported(path, "public")
    mixed = replace(full, entries=(*full.entries[:3], public.entries[3], *full.entries[4:]))
    result = check(written(tmp_path / "mixed.json", mixed))
    assert (failed(result)[0], result.first_bad) == (5, 3)
    for form, other in ((full, "public"), (public, "full")):  # what a file says of itself decides
        result = check(written(tmp_path / "other.json", replace(form, form=other)))
        assert (failed(result)[0], result.first_bad) == (5, 1)
        assert check(written(tmp_path / "own.json", form)).ok  # control


def test_names_taken_out_of_a_ledger_on_a_server_are_found(postgres_server: Server) -> None:
    url = postgres_server.fresh("ledger")
    with Ledger.open(url) as ledger:
        ledger.set_budget("fraud", 5.0, 1e-5)
        reserve(ledger, "run-1", charge(count=10))
        public = ledger.export("public").entries
        full = ledger.export().entries
        assert ledger.verify().ok

    def change(payload: str) -> None:
        postgres_server.ask(f"UPDATE ledger.entries SET payload = '\\x{payload.encode().hex()}' WHERE seq = 2")

    change(public[2].payload)
    result = verify_ledger(resolve(url))
    assert (failed(result)[0], result.first_bad) == (5, 2)
    with pytest.raises(LedgerError, match="names are taken away"):
        Ledger.open(url)
    change(full[2].payload)
    with Ledger.open(url) as ledger:  # control
        assert ledger.verify().ok


def test_a_ledger_with_two_salts_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other software would split one data set's pseudonyms: in extracts its spending would be on two accounts."""
    other = salt_of(OTHER)
    honest = rows(path)

    def changed(payload: Payload) -> Payload:
        later = isinstance(payload, Reserved) and payload.run == "run-2"
        return replace(payload, salt=other) if later else payload  # type: ignore[arg-type]

    plan = next(line for line in honest if b'"run":"run-2"' in line.payload)
    assert plan.seq == next(e.seq for e in honest if changed(decode(e.payload, seq=0)) != decode(e.payload, seq=0))
    other_text = encode(changed(decode(plan.payload, seq=plan.seq)))
    again = rechained(path, changed)
    put(path, [line._replace(payload=other_text) if line == plan else line for line in honest])
    assert (failed(check(path))[0], check(path).first_bad) == (3, plan.seq)  # written over: another public form
    put(path, again)
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "auditor"))  # which keeps no head of the ledger before
    result = check(path)
    assert (failed(result)[0], result.first_bad) == (5, plan.seq)
    assert "salt is not the ledger's" in result.steps[4].detail
    with pytest.raises(LedgerError, match="salt is not the ledger's"):
        Ledger.open(path)
    lenient(monkeypatch)
    assert check(path).ok  # control
    named = [json.loads(line.payload) for line in exported(path, "public").entries]
    assert len({run["charges"][0]["account"]["dataset"] for run in named if run["type"] == "reserved"}) == 2


def test_a_salt_that_is_not_of_the_signing_key_is_refused_where_the_key_is_there(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(payload: Payload) -> Payload:
        return replace(payload, salt=salt_of(OTHER)) if isinstance(payload, Naming) else payload

    put(path, rechained(path, changed))
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "auditor"))
    assert (failed(check(path))[0], check(path).first_bad) == (5, 1)
    with pytest.raises(LedgerError, match="not of its signing key"):
        Ledger.open(path)
    resolve(path).key_path.unlink()
    assert check(
        path
    ).ok  # control, and as far as an auditor can see: one salt, which whoever lacks the key cannot judge


def test_an_entry_that_another_process_writes_under_another_salt_is_refused_while_the_ledger_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as first, Ledger.open(path) as second:
        assert first.balances() == second.balances() == ()  # neither has seen a salt, both know their own
        with monkeypatch.context() as patch:
            patch.setattr(log_module, "salt_of", lambda _key: salt_of(OTHER))
            lenient(patch)
            second.set_budget("fraud", 5.0, 1e-5)
        with pytest.raises(LedgerError, match="salt is not the ledger's"):
            first.balances()
    good = tmp_path / "good.sqlite"
    with Ledger.open(good) as first, Ledger.open(good) as second:  # control
        second.set_budget("fraud", 5.0, 1e-5)
        assert len(first.balances()) == 2


def test_each_field_of_a_payload_decides_which_form_it_is_in() -> None:
    """A pseudonym beside a salt, a holder's name beside a pseudonym, a pseudonym of another length."""
    opening, full = ledger_vectors.payloads()[:2]
    public = public_form(full)
    assert isinstance(full, BudgetSet) and isinstance(public, BudgetSet)
    disguised = replace(public, salt=full.salt)
    refused: dict[Form, list[BudgetSet]] = {
        "full": [public, *(replace(full, salt=text) for text in (full.salt.upper(), full.salt[:-1], "x" * 32))],
        "public": [full, disguised, replace(public, holder="local"), replace(public, dataset=public.dataset[:-1]),
                   replace(public, dataset=public.dataset.upper()), replace(public, dataset="fraud")],
    }  # fmt: skip
    for form, payloads in refused.items():
        state = State(form=form)
        state.apply(opening)
        for payload in payloads:
            with pytest.raises(LocalProtocolError, match=r"salt|names are taken away|identifies somebody"):
                state.check(payload)
        state.check(full if form == "full" else public)  # control
    assert public_form(disguised) != disguised  # a name that looks like a pseudonym is hidden like any other


# --- the format before ----------------------------------------------------------------------------------------------


def test_a_ledger_of_the_earlier_format_is_told_in_one_line_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli.main import invoke

    path = tmp_path / "ledger.sqlite"
    Ledger.open(path).close()
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "another"))
    opening = rows(path)[0]
    assert check(path).ok  # control
    digest = entries_module._hash(b"fedsec ledger v1: entry hash", 0, GENESIS, opening.payload)
    signature = sign(key_of(path), b"fedsec ledger v1: entry signature", digest)
    put(path, [opening._replace(hash=digest, signature=signature)])
    for command in (["show"], ["budget", "fraud", "--epsilon", "3"], ["export", "--out", str(tmp_path / "a.json")]):
        assert invoke(["ledger", *command, "--ledger", str(path)]) == 1
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 2
        assert "earlier format" in told[0]
        assert "no damage" in told[0]
        assert "fedsec that wrote it" in told[1]
    result = check(path)
    assert (failed(result)[0], result.first_bad) == (3, 0)
    assert "earlier format" in result.steps[2].detail
    put(path, [opening._replace(hash=bytes(32))])  # control: what is of neither is damaged
    with pytest.raises(LedgerError, match="does not continue the chain"):
        Ledger.open(path)
