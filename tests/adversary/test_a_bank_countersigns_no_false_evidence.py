"""A bank countersigns the statement of a run only if it is true as far as the bank can know.

The coordinator is dishonest: it alters the statement or the rounds' files that it shows a bank, and puts right again
what follows from the alteration: lines, digests, counts, its own signatures. What it does not have are banks' keys.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dp.ledger import Ledger
from fedsec.errors import RemoteProtocolError
from fl_engine.bank import Bank
from fl_engine.evidence.archive import round_name
from fl_engine.evidence.countersigning import Countersigning
from fl_engine.evidence.envelope import is_signed
from fl_engine.evidence.statement import (
    AttemptLine,
    RunPredicate,
    Sha256,
    Subject,
    decode_run_statement,
    run_statement,
    sha256,
)
from fl_engine.messages import Countersign, Countersigned, Request, decode, encode
from fl_engine.plan import PLAN_CONTEXT
from secagg.evidence import RoundEvidence
from secagg.identity import Identity
from secagg.server import Server
from tests.fl_engine.run_helpers import begin, own_place

WITNESS, OTHER = 2, 4
LIMIT = 1 << 24


@dataclass(frozen=True)
class Shown:
    """What a coordinator shows a bank: the predicate, the rounds by attempt, and what else the run's files are."""

    predicate: RunPredicate
    rounds: dict[int, RoundEvidence]
    others: dict[str, str]
    coordinator: Identity = field(repr=False)

    def request(self) -> bytes:
        files = [self.rounds[line.attempt].encode() for line in self.lines if line.status != "interrupted"]
        digests = {round_name(attempt): sha256(found.encode()) for attempt, found in self.rounds.items()}
        payload = run_statement(self.predicate, {**self.others, **digests}).encode()
        return encode(Countersign(payload=payload, rounds=tuple(files)))

    @property
    def lines(self) -> tuple[AttemptLine, ...]:
        return self.predicate.attempts

    def but(self, **fields: Any) -> Shown:
        return replace(self, predicate=msgspec.structs.replace(self.predicate, **fields))

    def with_lines(self, lines: list[AttemptLine]) -> Shown:
        """With these lines, and the privacy events that count them."""
        events = tuple(
            msgspec.structs.replace(
                event,
                charged=sum(line.release == event.release for line in lines),
                opened=sum(line.release == event.release and line.status == "opened" for line in lines),
            )
            for event in self.predicate.events
        )
        return self.but(attempts=tuple(lines), events=events)

    def with_line(self, attempt: int, **fields: Any) -> Shown:
        return self.with_lines(
            [msgspec.structs.replace(line, **fields) if line.attempt == attempt else line for line in self.lines]
        )

    def with_round(self, attempt: int, **fields: Any) -> Shown:
        """With an altered file of one attempt, and the line that follows from it."""
        found = msgspec.structs.replace(self.rounds[attempt], **fields)
        lines = []
        for line in self.lines:
            told = {name: getattr(line, name) for name in ("attempt", "release", "reason", "before", "after")}
            lines.append(AttemptLine.of(found, **told) if line.attempt == attempt else line)
        return replace(self, rounds={**self.rounds, attempt: found}).with_lines(lines)


@dataclass
class Ended:
    honest: Shown
    bank: Bank
    key: bytes


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """A run of five banks whose statement is about to be signed, one round of it with a dropout."""
    folder = tmp_path_factory.mktemp("countersigned")
    with own_place(folder), Ledger.open() as ledger:
        run = begin(folder, ledger, drop_rate=0.2, seed=3)
        for _ in run.attempts():
            pass
        requests: list[bytes] = []
        federation, coordinator = run._federation, Identity.from_private_bytes(run._private.coordinator_key)
        asked = federation.countersign
        federation.countersign = lambda request: requests.append(request) or asked(request)  # type: ignore[method-assign]
        run.complete()
        message = decode(requests[0], Countersign, limit=LIMIT, peer=None)
        statement = decode_run_statement(message.payload)
        rounds = [RoundEvidence.decode(data) for data in message.rounds]
        numbers = [line.attempt for line in statement.predicate.attempts]
        others = {
            subject.name: subject.digest.sha256
            for subject in statement.subject
            if not subject.name.startswith("evidence/rounds/")
        }
        honest = Shown(statement.predicate, dict(zip(numbers, rounds, strict=True)), others, coordinator)
        yield Ended(honest, federation._banks[WITNESS], run.roster.public_key(WITNESS))


def sign(ended: Ended, shown: Shown) -> bytes:
    return decode(ended.bank.countersign(shown.request()), Countersigned, limit=128, peer=WITNESS).signature


def forget_the_signature(bank: Bank) -> None:
    """As a bank that has signed no statement yet."""
    bank._countersigned = None


def refuses(ended: Ended, shown: Shown) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        ended.bank.countersign(shown.request())
    assert (refused.value.rule, refused.value.peer) == ("evidence", None)
    return str(refused.value)


def opened(shown: Shown, *, since: int = 0) -> int:
    """The number of an opened training attempt in which all whom the tests need took part."""
    return [
        line.attempt
        for line in shown.lines
        if line.status == "opened" and line.release == "training" and {WITNESS, OTHER} <= set(line.responders)
    ][since]


def without(entries: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return tuple(entry for entry in entries if entry.index != index)


def changed(entries: tuple[Any, ...], index: int, **fields: Any) -> tuple[Any, ...]:
    return tuple(msgspec.structs.replace(each, **fields) if each.index == index else each for each in entries)


def smaller_cohort(shown: Shown, left_out: int) -> Shown:
    """U3 without one bank, whose signatures are left out as well."""
    attempt = opened(shown)
    found = shown.rounds[attempt]
    return shown.with_round(
        attempt,
        masked=without(found.masked, left_out),
        agreed=without(found.agreed, left_out),
        revealed=without(found.revealed, left_out),
    )


def unsigned_cohort(shown: Shown) -> Shown:
    """U3 without another bank, and without what this bank signed of U3."""
    smaller = smaller_cohort(shown, OTHER)
    attempt = opened(shown)
    found = smaller.rounds[attempt]
    return smaller.with_round(attempt, agreed=without(found.agreed, WITNESS), revealed=without(found.revealed, WITNESS))


def own_digest(shown: Shown) -> Shown:
    attempt = opened(shown)
    return shown.with_round(attempt, masked=changed(shown.rounds[attempt].masked, WITNESS, digest=bytes(32)))


def messages_of_another_attempt(shown: Shown) -> Shown:
    attempt, other = opened(shown), opened(shown, since=1)
    return shown.with_round(attempt, masked=shown.rounds[other].masked)


def another_total(shown: Shown) -> Shown:
    """The line's digest of the sum is another than the file's."""
    return shown.with_line(opened(shown), total="0" * 64)


def without_attempt(shown: Shown) -> Shown:
    """The last attempt never was: no line, no file, no charge; the chain of models still holds."""
    last = shown.lines[-1].attempt
    rounds = {attempt: found for attempt, found in shown.rounds.items() if attempt != last}
    return replace(shown, rounds=rounds).with_lines(list(shown.lines[:-1]))


def hidden_opening(shown: Shown) -> Shown:
    """An opened training round is called interrupted, to use its sum and not to show it."""
    attempt = opened(shown)
    empty = dict.fromkeys(("kid", "t1", "sid", "t2", "total"), "")
    lists: dict[str, Any] = dict.fromkeys(("members", "dealers", "survivors", "responders", "convicted"), ())
    rounds = {number: found for number, found in shown.rounds.items() if number != attempt}
    before = next(line.before for line in shown.lines if line.attempt == attempt)
    hidden = {"status": "interrupted", "reason": "the power failed", "after": before}
    return replace(shown, rounds=rounds).with_line(attempt, **hidden, **empty, **lists)


def another_plan(shown: Shown) -> Shown:
    plan = b"another plan"
    signature = shown.coordinator.sign(PLAN_CONTEXT, plan).hex()
    return shown.but(plan=msgspec.structs.replace(shown.predicate.plan, sha256=sha256(plan), signature=signature))


def unsigned_plan(shown: Shown) -> Shown:
    return shown.but(plan=msgspec.structs.replace(shown.predicate.plan, signature="0" * 128))


def fewer_charged(shown: Shown) -> Shown:
    first, *rest = shown.predicate.events
    return shown.but(events=(msgspec.structs.replace(first, charged=0), *rest))


def more_noise(shown: Shown) -> Shown:
    first, *rest = shown.predicate.events
    event = msgspec.structs.replace(first.event, count=first.event.count + 1)
    return shown.but(events=(msgspec.structs.replace(first, event=event), *rest))


def another_start(shown: Shown) -> Shown:
    """A round is said to have started from a model that the round before is said to have left."""
    attempt = opened(shown, since=1)
    before = [line.attempt for line in shown.lines]
    previous = before[before.index(attempt) - 1]
    return shown.with_line(attempt, before="0" * 64).with_line(previous, after="0" * 64)


def attempt_twice(shown: Shown) -> Shown:
    last = shown.lines[-1]
    again = msgspec.structs.replace(last, before=last.after)
    return shown.with_lines([*shown.lines, again])


def another_session(shown: Shown) -> Shown:
    attempt = opened(shown)
    return shown.with_round(attempt, session=shown.rounds[opened(shown, since=1)].session)


def no_round_config(shown: Shown) -> Shown:
    """The attempt is said to have ended before anything was masked, so that nothing was released."""
    attempt = opened(shown)
    empty: dict[str, Any] = {"masked": (), "agreed": (), "revealed": (), "dealings": (), "total": b""}
    signatures = dict.fromkeys(
        ("round_config", "round_config_signature", "dealers_signature", "agreement_signature"), b""
    )
    return shown.with_round(attempt, **empty, **signatures)


FORGERIES: dict[str, tuple[Callable[[Shown], Shown], str]] = {
    "U3 without another bank": (lambda shown: smaller_cohort(shown, OTHER), "that it never signed there"),
    "U3 without it, and nothing of this bank on that": (unsigned_cohort, "another U3 than this bank agreed to"),
    "U3 without this bank": (lambda shown: smaller_cohort(shown, WITNESS), "another U3 than this bank agreed to"),
    "the digest of its own masked input": (own_digest, "that it never signed there"),
    "masked inputs of another attempt": (messages_of_another_attempt, "that it never signed there"),
    "the sum's digest": (another_total, "stated otherwise than its file shows"),
    "an attempt that never was": (without_attempt, "in which this bank took part, is missing"),
    "an opening that is hidden": (hidden_opening, "started from another model"),
    "a round that ended earlier": (no_round_config, "changed the model without an opened sum"),
    "another plan, signed": (another_plan, "another plan"),
    "the plan without a signature": (unsigned_plan, "another plan"),
    "fewer attempts charged": (fewer_charged, "privacy events"),
    "an event with other noise": (more_noise, "privacy events"),
    "another model to start from": (another_start, "started from another model"),
    "an attempt twice": (attempt_twice, "twice"),
    "another session": (another_session, "another session"),
    "another run": (lambda shown: shown.but(run="20260101-000000-0000"), "another run"),
    "another roster": (lambda shown: shown.but(roster="0" * 64), "another roster"),
    "another coordinator": (lambda shown: shown.but(coordinator="0" * 64), "another coordinator"),
    "another delta": (lambda shown: shown.but(delta=1e-9), "another delta"),
    "another eta": (lambda shown: shown.but(eta=0.0), "another delta or eta"),
    "not private where it is": (lambda shown: shown.but(private=False), "misstates"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_bank_does_not_countersign(ended: Ended, forgery: str) -> None:
    forge, why = FORGERIES[forgery]
    assert why in refuses(ended, forge(ended.honest))


def test_control_what_is_true_is_countersigned(ended: Ended) -> None:
    """The same path through the same helpers, nothing changed. What another bank sent is not vouched for."""
    payload = decode(ended.honest.request(), Countersign, limit=LIMIT, peer=None).payload
    assert is_signed(payload, ended.key, sign(ended, ended.honest))
    attempt = opened(ended.honest)
    others = ended.honest.with_round(
        attempt, masked=changed(ended.honest.rounds[attempt].masked, OTHER, digest=bytes(32))
    )
    forged = decode(others.request(), Countersign, limit=LIMIT, peer=None).payload
    forget_the_signature(ended.bank)
    signature = sign(ended, others)
    assert is_signed(forged, ended.key, signature) and not is_signed(payload, ended.key, signature)


def test_control_a_bank_that_checks_nothing_signs_all_of_it(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Countersigning, "check", lambda *_: None)
    for forge, _ in FORGERIES.values():
        forget_the_signature(ended.bank)
        assert sign(ended, forge(ended.honest))
    forget_the_signature(ended.bank)


def test_a_bank_signs_one_statement_of_a_run(ended: Ended) -> None:
    """Two true statements of one run differ in what a bank cannot check: the model's file, the report key, the day."""
    forget_the_signature(ended.bank)
    first = ended.bank.countersign(ended.honest.request())
    others = (
        replace(ended.honest, others={**ended.honest.others, "model.safetensors": "0" * 64}),
        ended.honest.but(report_key="0" * 64),
        ended.honest.but(made="2020-01-01T00:00:00Z"),
    )
    for other in others:
        with pytest.raises(RemoteProtocolError) as refused:
            ended.bank.countersign(other.request())
        assert refused.value.rule == "one-statement"
    assert ended.bank.countersign(ended.honest.request()) == first
    for other in others:  # control: nothing else is wrong with them
        forget_the_signature(ended.bank)
        assert sign(ended, other)
    forget_the_signature(ended.bank)


def test_a_bank_that_signed_takes_part_in_nothing_more(ended: Ended) -> None:
    """Else a sum could be opened of which the signed statement knows nothing."""
    forget_the_signature(ended.bank)
    bank, plan = ended.bank, ended.bank._agreed()
    following = next(
        number
        for number in range(bank._attempt + 1, sum(planned.attempts for planned in plan.sums))
        if plan.attempt(number) is not None
    )
    place = plan.attempt(following)
    assert place is not None
    session = plan.session(place[0], following, bank._roster.digest)
    server = Server(identity=ended.honest.coordinator, roster=bank._roster, session=session)
    request = encode(Request(attempt=following, step="advertise", payload=server.open()[WITNESS]))
    assert ended.bank.countersign(ended.honest.request())
    with pytest.raises(RemoteProtocolError) as refused:
        bank.handle(request)
    assert refused.value.rule == "run-is-over"
    memory = bank._memory
    bank._memory = copy.deepcopy(memory)
    forget_the_signature(bank)  # control: the request is one that it would answer
    try:
        assert bank.handle(request)
    finally:
        bank._memory = memory


def test_the_shown_files_are_those_that_are_stated(ended: Ended) -> None:
    message = decode(ended.honest.request(), Countersign, limit=LIMIT, peer=None)
    statement = decode_run_statement(message.payload)
    subjects = tuple(
        Subject(name=each.name, digest=Sha256(sha256="0" * 64)) if each.name == round_name(0) else each
        for each in statement.subject
    )
    for payload, rounds in (
        (msgspec.structs.replace(statement, subject=subjects).encode(), message.rounds),
        (msgspec.structs.replace(statement, subject=statement.subject[1:-1]).encode(), message.rounds[1:]),
        (message.payload, message.rounds[:-1]),
        (message.payload, (*message.rounds[:-1], b"")),
        (message.payload[:-1], message.rounds),
        (message.payload + b" ", message.rounds),
    ):
        with pytest.raises(RemoteProtocolError) as refused:
            ended.bank.countersign(encode(Countersign(payload=payload, rounds=rounds)))
        assert refused.value.rule == "evidence"
    assert ended.bank.countersign(encode(message))


def test_a_bank_that_forgot_still_knows_what_its_ledger_charged(ended: Ended, tmp_path: Path) -> None:
    """A bank that comes back with its key alone remembers no message; its ledger has the attempts that it burnt."""
    bank, shown = ended.bank, ended.honest
    message = decode(without_attempt(shown).request(), Countersign, limit=LIMIT, peer=None)
    last = bank._agreed().attempt(shown.lines[-1].attempt)
    assert last is not None
    for charged, why in ((frozenset({(last[0].name, last[1])}), "is missing"), (frozenset(), None)):
        forgetful = Countersigning(
            index=WITNESS, roster=bank._roster, plan=bank._agreed(), charged=charged, memory=type(bank._memory)()
        )
        if why is None:  # control: without the burn nothing says that the attempt was
            forgetful.check(message.payload, message.rounds)
        else:
            with pytest.raises(RemoteProtocolError, match=why):
                forgetful.check(message.payload, message.rounds)
