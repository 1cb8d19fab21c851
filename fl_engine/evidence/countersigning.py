"""What a bank checks before it countersigns the statement of a run.

A bank signs what it can vouch for: that the statement is about its roster and the plan that it accepted, that no
attempt is missing in which it took part or for which it was charged, and that whatever a round's file says under its
index it really sent: in the same session, under the same transcript, for the same U3. Of other banks it vouches for
nothing; t of them do so for themselves.

An attempt of which the coordinator says that it was interrupted has no file. It stays charged, and is in the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TypeVar

import msgspec

from fedsec.errors import ConfigError, RemoteProtocolError
from fl_engine.evidence.archive import ROUNDS, round_name
from fl_engine.evidence.statement import AttemptLine, RunPredicate, Statement, decode_run_statement, sha256
from fl_engine.plan import ETA, PLAN_CONTEXT, TaskPlan
from secagg import labels, transcript
from secagg.config import RoundConfig
from secagg.encoding import digest
from secagg.evidence import Masked, Places, Revealed, RoundEvidence
from secagg.identity import Roster, verify
from secagg.messages import Advertise, Agree, ClientMessage, Dealing, Mask, Share, Unmask


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One message that this bank sent: its signature, and the digest of what was masked or revealed (else empty)."""

    signature: bytes
    digest: bytes = b""


class Memory:
    """What one bank sent in each attempt, by kind of message; no vector and no share."""

    def __init__(self) -> None:
        self._sent: dict[int, dict[type[ClientMessage], Sent]] = {}

    @property
    def attempts(self) -> tuple[int, ...]:
        """The attempts that it took part in, by rising number."""
        return tuple(sorted(self._sent))

    def of(self, attempt: int) -> Mapping[type[ClientMessage], Sent]:
        """What it sent in one of :attr:`attempts`; empty for another."""
        return self._sent.get(attempt, {})

    def note(self, attempt: int, message: ClientMessage) -> None:
        """Remember that ``message`` is about to leave."""
        covered = b""
        if isinstance(message, Mask):
            covered = digest(labels.MASKED_INPUT, message.payload)
        elif isinstance(message, Unmask):
            covered = digest(labels.REVEALED, b"".join(message.self_shares), b"".join(message.mask_shares))
        self._sent.setdefault(attempt, {})[type(message)] = Sent(signature=message.signature, digest=covered)


class Countersigning:
    """One bank's checks of a statement.

    Args:
        index: the bank's; roster: as it pinned it.
        plan: that it accepted.
        charged: attempts (sum's name, ordinal) that its ledger saw burnt, by this process or before.
        memory: what it sent.
    """

    def __init__(
        self, *, index: int, roster: Roster, plan: TaskPlan, charged: Iterable[tuple[str, int]], memory: Memory
    ) -> None:
        self._index = index
        self._roster = roster
        self._plan = plan
        self._charged = frozenset(charged)
        self._memory = memory

    def check(self, payload: bytes, rounds: Iterable[bytes]) -> None:
        """Check the statement in ``payload`` with the files of its ``rounds``, in the statement's order.

        Raises:
            RemoteProtocolError: rule "evidence": the statement says what this bank cannot vouch for.
        """
        statement = _readable(decode_run_statement, payload)
        predicate, files = statement.predicate, tuple(rounds)
        self._check_task(predicate)
        self._check_completeness(predicate)
        whole = [line for line in predicate.attempts if line.status != "interrupted"]
        _require(len(files) == len(whole), "it has not as many rounds' files as attempts that ended")
        _require(
            _round_digests(statement)
            == {round_name(line.attempt): sha256(file) for line, file in zip(whole, files, strict=True)},
            "the rounds' files are not those that it is about",
        )
        for line, file in zip(whole, files, strict=True):
            self._check_attempt(line, _readable(RoundEvidence.decode, file))

    def _check_task(self, predicate: RunPredicate) -> None:
        plan, encoded = self._plan, msgspec.msgpack.encode(self._plan)
        _require(predicate.run == plan.task, "it is about another run")
        _require(predicate.coordinator == self._roster.server.hex(), "it names another coordinator")
        _require(predicate.roster == self._roster.digest.hex(), "it is about another roster")
        _require(predicate.private is not plan.insecure_deterministic_noise, "it misstates whether the run is private")
        signature = bytes.fromhex(predicate.plan.signature)
        _require(
            predicate.plan.sha256 == sha256(encoded) and verify(self._roster.server, signature, PLAN_CONTEXT, encoded),
            "it is about another plan than the one that this bank accepted",
        )
        _require((predicate.delta, predicate.eta) == (plan.delta, ETA), "it has another delta or eta than the plan")

    def _check_completeness(self, predicate: RunPredicate) -> None:
        """Every attempt of this bank has its line, each attempt has one, and the events count these lines."""
        lines, plan = predicate.attempts, self._plan
        numbers = [line.attempt for line in lines]
        _require(len(set(numbers)) == len(numbers), "an attempt is in it twice")
        for line in lines:
            place = plan.attempt(line.attempt)
            _require(place is not None and place[0].name == line.release, f"attempt {line.attempt} was never planned")
        _check_chain(lines)
        charged = {plan.first_attempt(name) + ordinal for name, ordinal in self._charged}
        missing = charged.union(self._memory.attempts).difference(numbers)
        _require(not missing, f"attempt {min(missing, default=0)}, in which this bank took part, is missing")
        counted = [
            (
                planned.name,
                planned.part,
                planned.event(),
                planned.attempts,
                sum(line.release == planned.name for line in lines),
                sum(line.release == planned.name and line.status == "opened" for line in lines),
            )
            for planned in plan.sums
        ]
        stated = [
            (each.release, each.part, each.event, each.planned, each.charged, each.opened) for each in predicate.events
        ]
        _require(stated == counted, "its privacy events are not those of the plan and of its attempts")

    def _check_attempt(self, line: AttemptLine, evidence: RoundEvidence) -> None:
        about = f"attempt {line.attempt}"
        place = self._plan.attempt(line.attempt)
        assert place is not None  # checked with the lines
        session = self._plan.session(place[0], line.attempt, self._roster.digest)
        _require(evidence.session == session.encode(), f"{about} has another session than the plan prescribes")
        derived = _readable(lambda found: _derived(line, found), evidence)
        _require(line == derived, f"{about} is stated otherwise than its file shows")
        if evidence.dealers_signature:
            started = msgspec.msgpack.decode(evidence.round_config, type=RoundConfig).model_digest.hex()
            _require(line.before == started, f"{about} is said to have started from another model")
        self._check_own(about, evidence, evidence.places(), self._memory.of(line.attempt))

    def _check_own(
        self, about: str, evidence: RoundEvidence, places: Places, sent: Mapping[type[ClientMessage], Sent]
    ) -> None:
        """What the file has under this bank's index is signed by it for this very place, and is what it remembers."""
        survivors = tuple(entry.index for entry in evidence.masked)
        found = _own_statements(evidence, places, self._index, survivors)
        for kind, (statement, signature) in found.items():
            signed = verify(self._roster.public_key(self._index), signature, *statement)
            _require(signed, f"{about} has a message of this bank that it never signed there")
            if sent:
                known = kind in sent and sent[kind].signature == signature
                _require(known, f"{about} has another message of this bank than it sent")
        # What the file leaves out must still fit: the U3 that this bank agreed to, the round that it masked for.
        if Mask in sent:
            masked = transcript.masked(places.sid, places.t2, self._index, sent[Mask].digest)
            self._require_signed(sent[Mask], masked, f"{about} is not the round that this bank's input was masked for")
        if Agree in sent:
            agreed = transcript.agree(places.sid, places.t2, self._index, survivors)
            self._require_signed(sent[Agree], agreed, f"{about} has another U3 than this bank agreed to")

    def _require_signed(self, sent: Sent, statement: transcript.Statement, otherwise: str) -> None:
        _require(verify(self._roster.public_key(self._index), sent.signature, *statement), otherwise)


def _check_chain(lines: tuple[AttemptLine, ...]) -> None:
    """Each attempt starts from the model that the one before left, and only one that opened leaves another."""
    for line in lines:
        kept = line.before == line.after or line.status == "opened"
        _require(kept, f"attempt {line.attempt} changed the model without an opened sum")
    for line, following in pairwise(lines):
        started = line.after == following.before
        _require(started, f"attempt {following.attempt} started from another model than was left to it")


def _own_statements(
    evidence: RoundEvidence, places: Places, index: int, survivors: tuple[int, ...]
) -> dict[type[ClientMessage], tuple[transcript.Statement, bytes]]:
    """By kind of message, what a signature of bank ``index`` in the file must cover, and the signature."""
    kid, t1, sid, t2 = places.kid, places.t1, places.sid, places.t2
    found: dict[type[ClientMessage], tuple[transcript.Statement, bytes]] = {}
    for own in _own(evidence.advertised, index):
        public = (own.share_key, own.mask_key, own.share_kem, own.mask_kem)
        found[Advertise] = (transcript.advertise(kid, index, *public), own.signature)
    for dealt in _own(evidence.dealings, index):
        found[Share] = (transcript.share(kid, t1, index, dealt.root, dealt.commitment), dealt.signature)
    for masked in _own(evidence.masked, index):
        found[Mask] = (transcript.masked(sid, t2, index, masked.digest), masked.signature)
    for agreed in _own(evidence.agreed, index):
        found[Agree] = (transcript.agree(sid, t2, index, survivors), agreed.signature)
    for revealed in _own(evidence.revealed, index):
        found[Unmask] = (transcript.revealed(sid, t2, index, survivors, revealed.digest), revealed.signature)
    return found


Given = TypeVar("Given")
Read = TypeVar("Read")
E = TypeVar("E", Advertise, Dealing, Masked, Agree, Revealed)


def _own(entries: Iterable[E], index: int) -> list[E]:
    return [entry for entry in entries if entry.index == index]


def _round_digests(statement: Statement[RunPredicate]) -> dict[str, str]:
    return {each.name: each.digest.sha256 for each in statement.subject if each.name.startswith(f"{ROUNDS}/")}


def _derived(line: AttemptLine, evidence: RoundEvidence) -> AttemptLine:
    """``line`` with all that follows from the file put in anew."""
    told = {name: getattr(line, name) for name in ("attempt", "release", "reason", "before", "after")}
    return AttemptLine.of(evidence, **told)


def _readable(read: Callable[[Given], Read], given: Given) -> Read:
    try:
        return read(given)
    except ConfigError as error:
        raise _refused(str(error)) from None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _refused(otherwise)


def _refused(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"this bank does not countersign the statement of the run: {why}", peer=None, rule="evidence"
    )
