"""The offline check of a ledger, in numbered steps, from its file or export, a public key, and countersigned heads
(docs/ledger.md).

| step | kind | holds when |
| --- | --- | --- |
| 1 | recomputed | every entry can be read, the file's structure is whole, and it holds nothing but the table |
| 2 | recomputed | entries are numbered 0, 1, 2, … without a gap |
| 3 | recomputed | each entry's hash is the hash of its number, its predecessor's hash and its payload's public form |
| 4 | recomputed | each hash is signed by the public key |
| 5 | recomputed | each payload is well-formed and keeps the ledger's rules, closing statements too, all in one form |
| 6 | recomputed | no run was admitted that its account's budget did not cover at that point |
| 7 | attested | charges below the reservation rest on the coordinator's signed closing statement |
| 8 | assumed | the public key is the holder's |
| 9 | recomputed | it contains every countersigned head: nothing before the newest was cut off or rewritten |

A step looks at the entries before the first that failed an earlier one, so the first bad entry is named even
where the rest is rubble. The caller brings the public key and the heads that others countersigned; those that this
machine keeps are used too. Without any, step 9 is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from dp.ledger.admission import refusal
from dp.ledger.agreement import Agreement, Disagreement, compare
from dp.ledger.entries import EARLIER_FORMAT, GENESIS, Entry, is_chained, is_of_before, is_signed
from dp.ledger.export import ExportedLedger, is_export
from dp.ledger.heads import CountersignedHead, Head, add_heads, head_of, merged
from dp.ledger.kept import KeptHeads, locked
from dp.ledger.keys import load_key_file, public_bytes
from dp.ledger.location import Location
from dp.ledger.log import now
from dp.ledger.payloads import Lost, Opened, Payload, Reserved, decode
from dp.ledger.public_form import Form, salt_of
from dp.ledger.state import State
from dp.ledger.store import Salvage, has_good_types
from fedsec.errors import FedsecError, LedgerError, LocalProtocolError

Kind = Literal["recomputed", "attested", "assumed"]
KeySource = Literal["given", "key file", "self-asserted"]
_Fault: TypeAlias = tuple[int, str]
_Finder: TypeAlias = Callable[[list[Entry]], _Fault | None]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One check: ``kind`` says what it rests on, ``detail`` what was found."""

    number: int
    name: str
    kind: Kind
    ok: bool
    detail: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found.

    Attributes:
        steps: in order; all are there, whatever was found.
        entries: how many entries were read.
        first_bad: number of the first entry that fails a step or cannot be read; ``None`` where all hold.
        head: the last entry that holds, for an auditor to countersign; ``None`` where none holds.
        public_key: hex, used for step 4; key_source: where it came from.
        heads: how many countersigned heads were looked for; covered: number of the newest that was found.
        disagreements: those that were not found; losses: entries that give heads up.
    """

    steps: tuple[Step, ...]
    entries: int
    first_bad: int | None
    head: Head | None
    public_key: str | None
    key_source: KeySource
    heads: int
    covered: int | None
    disagreements: tuple[Disagreement, ...]
    losses: tuple[Lost, ...]

    @property
    def ok(self) -> bool:
        """Whether every step holds."""
        return all(step.ok for step in self.steps)


def verify_ledger(
    location: Location, public_key: bytes | None = None, heads: Sequence[CountersignedHead] = ()
) -> Verification:
    """Check the ledger at ``location``, damaged as it may be; never raises over what a database holds.

    Args:
        location: of the ledger or an export of it; only its file is needed.
        public_key: 32 bytes that the caller trusts; else that of the key file beside the ledger, else the one
            that entry 0 names, which is then only self-asserted.
        heads: countersigned by others, signatures checked; those kept on this machine and in an export are added.

    Raises:
        ConfigError: there is no such file, or it is an export that cannot be read.
        LedgerError: a head that this machine keeps is damaged.
    """
    keeper = KeptHeads(location)
    kept = keeper.read()  # before any entry is read: see dp.ledger.kept
    salvage: Salvage | ExportedLedger
    if location.path is not None and location.path.is_file() and is_export(location.path):
        salvage = ExportedLedger(location.path)
        heads = [*heads, *salvage.heads]
    else:
        salvage = Salvage(location)
    source: KeySource = "given"
    salt = ""
    if public_key is None:
        try:
            key = load_key_file(location.key_path)
        except (LedgerError, OSError):
            key = None
        public_key = None if key is None else public_bytes(key)
        source = "self-asserted" if key is None else "key file"
        salt = "" if key is None else salt_of(key)
    examination = _Examination(salvage.entries, public_key, source, form=salvage.form, salt=salt)
    return examination.report(salvage, [*heads, *keeper.of(kept, examination.public_key)])


def countersign_verified(location: Location, result: Verification, path: Path) -> str:
    """Sign the head of a ledger that ``result`` found to hold, keep it here and add it to the heads file ``path``.

    Returns this machine's public key, hex.

    Raises:
        ConfigError: the file cannot be written, or is no heads file.
        LocalProtocolError: the ledger does not hold.
    """
    if not result.ok or result.head is None:
        raise LocalProtocolError("a head is countersigned only where every step holds")
    signed = KeptHeads.sign(result.head, at=now())
    with locked():  # or one of two processes that countersign at once would write over the other's head
        add_heads(path, [signed])
    KeptHeads(location).note(result.head, at=now(), lost=result.losses)
    return signed.countersigned[0].signer


class _Examination:
    """The steps over rows as they were read. ``good`` counts the leading entries that hold so far."""

    def __init__(
        self, entries: list[Entry], public_key: bytes | None, source: KeySource, *, form: Form = "full", salt: str = ""
    ) -> None:
        self.entries = entries
        self.good = len(entries)
        self.source = source
        self.public_key = public_key if public_key is not None else _named_key(entries)
        self.payloads: list[Payload] = []
        self.state = State(form=form, salt=salt)
        self.steps: list[Step] = []

    def report(self, salvage: Salvage | ExportedLedger, heads: Sequence[CountersignedHead] = ()) -> Verification:
        """Run all steps."""
        self._readable(salvage)
        self._examine("entries are numbered without a gap", self._numbering)
        self._examine("the chain of hashes holds", self._chain)
        self._examine("every entry is signed", self._signatures)
        self._examine("every entry keeps the rules", self._rules, more=f", in {self.state.form} form")
        self._examine("no run was admitted beyond a budget", self._budgets)
        self._attested()
        self._assumed()
        damaged = self.good < len(self.entries) or salvage.complaint is not None or not self.entries
        agreement = self._heads(merged(heads), damaged=damaged)
        head = self.entries[self.good - 1] if self.good else None
        return Verification(
            steps=tuple(self.steps),
            entries=len(self.entries),
            first_bad=self.good if damaged else None,
            head=None if head is None or self.public_key is None else head_of(head, self.public_key),
            public_key=None if self.public_key is None else self.public_key.hex(),
            key_source=self.source,
            heads=len(merged(heads)),
            covered=agreement.contained[-1].head.entry if agreement.contained else None,
            disagreements=agreement.disagreements,
            losses=tuple(self.state.lost),
        )

    def _readable(self, salvage: Salvage | ExportedLedger) -> None:
        faults = []
        if salvage.complaint is not None:
            resumes = salvage.resumes
            upto = "on" if resumes is None or resumes <= self.good else f"to {resumes - 1}"
            faults.append(f"entries {self.good} {upto} cannot be read: {salvage.complaint}")
        elif not self.entries:
            faults.append("there is no entry")
        if salvage.structure is not None:
            faults.append(f"the file's structure is damaged, so entries may be missing at the end: {salvage.structure}")
        if salvage.extras:
            faults.append(f"the file also holds {', '.join(salvage.extras)}")
        detail = "; ".join(faults) or f"{_counted(self.good)}, and nothing else in the file"
        self._step("every entry can be read", "recomputed", ok=not faults, detail=detail)

    def _examine(self, name: str, find: _Finder, *, more: str = "") -> None:
        """Run ``find`` over the entries that hold so far; it returns the first bad one and what is wrong."""
        if not self.good:
            self._step(name, "recomputed", ok=False, detail="not checked: no entry holds so far")
            return
        found = find(self.entries[: self.good])
        if found is None:
            self._step(name, "recomputed", ok=True, detail=_span(self.good) + more)
            return
        self.good, what = found
        self._step(name, "recomputed", ok=False, detail=f"entry {self.good}: {what}")

    @staticmethod
    def _numbering(entries: list[Entry]) -> _Fault | None:
        for number, entry in enumerate(entries):
            if not has_good_types(entry):
                return number, "a cell has the wrong type"
            if entry.seq != number:
                return number, f"entry {entry.seq} stands in its place"
        return None

    @staticmethod
    def _chain(entries: list[Entry]) -> _Fault | None:
        previous = GENESIS
        for entry in entries:
            if not is_chained(entry, previous):
                if entry.seq == 0 and is_of_before(entry):
                    return 0, f"the ledger {EARLIER_FORMAT}"
                return entry.seq, "its hash is not that of its content and its predecessor"
            previous = entry.hash
        return None

    def _signatures(self, entries: list[Entry]) -> _Fault | None:
        if self.public_key is None:
            return 0, "it names no public key, and none was given"
        for entry in entries:
            if not is_signed(entry, self.public_key):
                return entry.seq, f"it is not signed by the public key {self.public_key.hex()}"
        return None

    def _rules(self, entries: list[Entry]) -> _Fault | None:
        for entry in entries:
            try:
                payload = decode(entry.payload, seq=entry.seq)
                if isinstance(payload, Opened) and payload.public_key != self.public_key:
                    return entry.seq, "it names another public key"
                self.state.replay(payload, seq=entry.seq)
            except LedgerError as error:
                return entry.seq, error.message
            self.payloads.append(payload)
        return None

    def _budgets(self, entries: list[Entry]) -> _Fault | None:
        replayed = State(form=self.state.form)
        for entry, payload in zip(entries, self.payloads, strict=False):
            if isinstance(payload, Reserved):
                try:
                    refused = refusal(replayed, payload)
                except FedsecError as error:
                    return entry.seq, f"run {payload.run} cannot be accounted: {error}"
                if refused is not None:
                    return (
                        entry.seq,
                        f"run {payload.run} was admitted beyond the budget of {refused.account.name}",
                    )
            replayed.replay(payload, seq=entry.seq)
        return None

    def _attested(self) -> None:
        settled = [run.settlement for run in self.state.runs.values() if run.settlement is not None]
        signed = sum(settlement.closing is not None for settlement in settled)
        self._step(
            "settled runs released no more than their coordinators signed",
            "attested",
            ok=True,
            detail=f"{signed} of {len(settled)} settled runs rest on a signed statement; others pay in full",
        )

    def _assumed(self) -> None:
        key = "none" if self.public_key is None else self.public_key.hex()
        origin = {
            "given": "given by you",
            "key file": "from the signing key beside the ledger",
            "self-asserted": "self-asserted by entry 0: compare it with one that you got from the holder",
        }[self.source]
        self._step("the public key is the holder's", "assumed", ok=True, detail=f"{key}, {origin}")

    def _heads(self, heads: tuple[CountersignedHead, ...], *, damaged: bool) -> Agreement:
        """Step 9. In a damaged ledger heads after the last entry that holds are not judged: the damage is told."""
        judged = [line for line in heads if not damaged or line.head.entry < self.good]
        agreement = compare(
            judged,
            ledger=self.public_key or b"",
            hashes=[entry.hash for entry in self.entries[: self.good]],
            last_at=self.payloads[self.good - 1].at if 0 < self.good <= len(self.payloads) else "an unknown time",
            lost=self.state.lost,
        )
        name = "the ledger contains every countersigned head"
        if agreement.disagreements:
            detail = "; ".join(dict.fromkeys(finding.message for finding in agreement.disagreements))
            self._step(name, "recomputed", ok=False, detail=detail)
        elif not judged:
            self._step(name, "assumed", ok=True, detail=self._unseen(after_damage=len(heads)))
        else:
            self._step(name, "recomputed", ok=True, detail=_found(agreement, unjudged=len(heads) - len(judged)))
        return agreement

    def _unseen(self, *, after_damage: int) -> str:
        if after_damage or not self.good:
            return "no head is before the first entry that does not hold"
        return (
            f"no head was given or kept here: the head is entry {self.good - 1}: whoever holds the signing key can cut "
            "off its end, or rewrite all of the ledger and sign it anew, and only a head kept elsewhere shows it"
        )

    def _step(self, name: str, kind: Kind, *, ok: bool, detail: str) -> None:
        self.steps.append(Step(number=len(self.steps) + 1, name=name, kind=kind, ok=ok, detail=detail))


def _named_key(entries: list[Entry]) -> bytes | None:
    """The public key that entry 0 names, if it can be read at all."""
    if not entries or not has_good_types(entries[0]):
        return None
    try:
        first = decode(entries[0].payload, seq=0)
    except LedgerError:
        return None
    return first.public_key if isinstance(first, Opened) else None


def _found(agreement: Agreement, *, unjudged: int) -> str:
    told = []
    if agreement.contained:
        newest = agreement.contained[-1]
        signers = {signature.signer for line in agreement.contained for signature in line.countersigned}
        last = max(signature.at for signature in newest.countersigned)
        heads, by = len(agreement.contained), len(signers)
        told.append(
            f"{heads} {'head' if heads == 1 else 'heads'} of {by} {'signer' if by == 1 else 'signers'}, the newest at "
            f"entry {newest.head.entry}, countersigned at {last}; nothing covers later entries"
        )
    if agreement.excused:
        told.append(f"{len(agreement.excused)} given up: the loss is on record, and every account is unbounded since")
    if unjudged:
        told.append(f"{unjudged} after the first entry that does not hold are not judged")
    return "; ".join(told)


def _counted(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"


def _span(good: int) -> str:
    return "entry 0" if good == 1 else f"entries 0 to {good - 1}"
