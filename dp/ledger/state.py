"""What the entries say, replayed: budgets, splits and runs, with the rules that an entry must keep.

``check`` raises and changes nothing; ``apply`` checks and then changes. The same two serve a new entry, the
reading of an old ledger and the verifier, so none of them can be laxer than the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from dp.ledger.accounts import PARTS, Account, Charge, check_budget, check_identifier
from dp.ledger.keys import PUBLIC_KEY_BYTES
from dp.ledger.payloads import (
    HASH_BYTES,
    BudgetSet,
    Burnt,
    Lost,
    Naming,
    Opened,
    Payload,
    Refused,
    Reserved,
    Settled,
    SplitFixed,
)
from dp.ledger.public_form import Form, is_public, is_salt
from fedsec.errors import FedsecError, LedgerError, LocalProtocolError, RemoteProtocolError

Status = Literal["open", "settled"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """An (epsilon, delta) that each part of a data set may spend."""

    epsilon: float
    delta: float


@dataclass(kw_only=True)
class Run:
    """A reserved run. ``burnt`` holds the attempts that were burnt, by release."""

    reservation: Reserved
    burnt: dict[str, set[int]] = field(default_factory=dict)
    settlement: Settled | None = None

    @property
    def status(self) -> Status:
        """Open until an entry settles the run."""
        return "open" if self.settlement is None else "settled"

    def planned(self, release: str) -> int:
        """Attempts reserved for ``release``; 0 for a release that the plan does not have."""
        return next((charge.count for charge in self.reservation.charges if charge.release == release), 0)

    def charged(self, release: str) -> int:
        """Attempts that the accounts pay for: all that was reserved, unless the coordinator signed that it
        was less.

        Even then never less than was burnt: a dishonest or mistaken coordinator cannot take back a release.
        """
        if self.settlement is None or self.settlement.closing is None:
            return self.planned(release)
        return max(self.settlement.closing.closing.attempts[release], len(self.burnt.get(release, ())))


class State:
    """The state after the entries applied so far.

    Args:
        form: of every entry that names a data set. A ledger holds full forms only: an entry whose names were taken away
            keeps its hash, and would hide from its account what was spent.
        salt: the ledger's, where it is known; else that of the first entry that has one is.
    """

    def __init__(self, *, form: Form = "full", salt: str = "") -> None:
        self.form = form
        self.salt = salt
        self.opened: Opened | None = None
        self.budgets: dict[tuple[str, str], Budget] = {}
        self.splits: dict[tuple[str, str], SplitFixed] = {}
        self.runs: dict[str, Run] = {}
        self.refusals: list[Refused] = []
        self.lost: list[Lost] = []

    def budget(self, account: Account) -> Budget | None:
        """The budget of ``account``, or ``None`` where none was set."""
        return self.budgets.get((account.holder, account.dataset))

    def accounts(self) -> tuple[Account, ...]:
        """Every account that has a budget or was charged, by name."""
        known = {charge.account for run in self.runs.values() for charge in run.reservation.charges}
        for holder, dataset in self.budgets:
            known.add(Account(holder=holder, dataset=dataset, part="train"))
            known.add(Account(holder=holder, dataset=dataset, part="holdout"))
        return tuple(sorted(known, key=lambda account: (account.holder, account.dataset, account.part == "holdout")))

    def charges_on(self, account: Account) -> list[tuple[Run, Charge]]:
        """The runs that reserved on ``account``, with what each reserved, in order."""
        return [
            (run, charge)
            for run in self.runs.values()
            for charge in run.reservation.charges
            if charge.account == account
        ]

    def layouts(self, holder: str, dataset: str) -> set[bytes]:
        """The layouts of the file that runs on ``dataset`` were reserved under."""
        return {
            run.reservation.layout
            for run in self.runs.values()
            if any((c.account.holder, c.account.dataset) == (holder, dataset) for c in run.reservation.charges)
        }

    def charged_for_its_split(self, plan: Reserved) -> Reserved:
        """``plan``, every release charged to both parts of a data set that was reserved under another layout before.

        Another set of columns, or another unit, gives every record a new coin: it may have been in either part.
        """
        own = {(charge.account, charge.release): charge for charge in plan.charges}
        charges: dict[tuple[Account, str], Charge] = {}
        for charge in plan.charges:
            paying: tuple[Account, ...] = (charge.account,)
            if self.layouts(charge.account.holder, charge.account.dataset) - {plan.layout}:
                paying = tuple(msgspec.structs.replace(charge.account, part=part) for part in PARTS)
            for account in paying:
                known = own.get((account, charge.release))
                charges[account, charge.release] = known or msgspec.structs.replace(charge, account=account)
        return msgspec.structs.replace(plan, charges=tuple(charges.values()))

    def run(self, name: str) -> Run:
        """The reserved run ``name``.

        Raises:
            LocalProtocolError: nothing was reserved for it.
        """
        if name not in self.runs:
            raise LocalProtocolError(f"run {name} has no reservation in the ledger")
        return self.runs[name]

    def check(self, payload: Payload) -> None:
        """Raise unless ``payload`` may be the next entry.

        Raises:
            LocalProtocolError: it breaks a rule of the ledger.
            ConfigError: a budget, a name or an identifier is out of its range.
            RemoteProtocolError: a closing statement is not the coordinator's, or contradicts the reservation.
        """
        if (self.opened is None) != isinstance(payload, Opened):
            raise LocalProtocolError("a ledger begins with its opening entry, and has one")
        if isinstance(payload, Naming):
            self._check_form(payload)
        match payload:
            case Opened():
                _require(len(payload.public_key) == PUBLIC_KEY_BYTES, "the ledger's public key has 32 bytes")
            case BudgetSet():
                check_budget(payload.epsilon, payload.delta)
                Account(holder=payload.holder, dataset=payload.dataset, part="train")
            case SplitFixed():
                Account(holder=payload.holder, dataset=payload.dataset, part="train")
                _require(0 <= payload.fraction < 1, "the holdout's fraction is at least 0 and below 1")
                _require(
                    (payload.holder, payload.dataset) not in self.splits,
                    "the split of this data set is fixed",
                )
            case Reserved():
                self._check_reservation(payload)
            case Burnt():
                self._check_burn(payload)
            case Settled():
                self._check_settlement(payload)
            case Lost():
                _require(
                    (len(payload.ledger), len(payload.hash)) == (PUBLIC_KEY_BYTES, HASH_BYTES) and payload.entry >= 0,
                    "a lost entry has a number, the ledger's key and a hash, of 32 bytes each",
                )

    def apply(self, payload: Payload) -> None:
        """Check ``payload`` and let it change the state; where :meth:`check` raises, nothing changes."""
        self.check(payload)
        if isinstance(payload, Naming):
            self.salt = payload.salt
        match payload:
            case Opened():
                self.opened = payload
            case BudgetSet():
                budget = Budget(epsilon=payload.epsilon, delta=payload.delta)
                self.budgets[payload.holder, payload.dataset] = budget
            case SplitFixed():
                self.splits[payload.holder, payload.dataset] = payload
            case Reserved():
                self.runs[payload.run] = Run(reservation=payload)
            case Refused():
                self.refusals.append(payload)
            case Burnt():
                self.runs[payload.run].burnt.setdefault(payload.release, set()).add(payload.index)
            case Settled():
                self.runs[payload.run].settlement = payload
            case Lost():
                self.lost.append(payload)

    def replay(self, payload: Payload, *, seq: int) -> None:
        """Apply an entry that was read back.

        Raises:
            LedgerError: it breaks a rule, so the holder's software did not write it as it should.
        """
        try:
            self.apply(payload)
        except FedsecError as error:
            raise LedgerError(
                f"entry {seq} of the ledger breaks a rule: {error}",
                entry=seq,
                remedy="restore the ledger from a backup; if its entry was so from the start, other software wrote it",
            ) from error

    def _check_form(self, payload: Naming) -> None:
        if self.form == "public":
            _require(is_public(payload), "it names a data set or a holder, so this extract identifies somebody")
            return
        _require(payload.salt != "", "its names are taken away, so what it charged is hidden from its account")
        _require(is_salt(payload.salt), "a salt has 32 hex digits")
        _require(self.salt in ("", payload.salt), "its salt is not the ledger's, so its names have other pseudonyms")

    def _check_reservation(self, payload: Reserved) -> None:
        check_identifier(payload.run, what="the run")
        _require(payload.run not in self.runs, f"run {payload.run} has a reservation already")
        _require(len(payload.charges) > 0, "a reservation has at least one charge")
        _require(len(payload.coordinator) == PUBLIC_KEY_BYTES, "the coordinator's public key has 32 bytes")
        _require(len(payload.layout) in (0, 32), "a layout is a digest of 32 bytes, or empty")
        pairs = {(charge.account, charge.release) for charge in payload.charges}
        _require(len(pairs) == len(payload.charges), "an account is charged once for a release")
        counts = {(charge.release, charge.count) for charge in payload.charges}
        releases = {charge.release for charge in payload.charges}
        _require(len(counts) == len(releases), "all accounts pay for the same number of attempts of a release")

    def _check_burn(self, payload: Burnt) -> None:
        run = self.run(payload.run)
        burnt = run.burnt.get(payload.release, set())
        _require(run.settlement is None, f"run {payload.run} is settled: nothing more may be released")
        _require(payload.index >= 0, "attempts are numbered from 0")
        _require(payload.index not in burnt, f"attempt {payload.index} of {payload.release} is burnt already")
        _require(
            len(burnt) < run.planned(payload.release),
            f"run {payload.run} has no attempt of {payload.release} left, of {run.planned(payload.release)}",
        )

    def _check_settlement(self, payload: Settled) -> None:
        run = self.run(payload.run)
        _require(run.settlement is None, f"run {payload.run} is settled already")
        if payload.closing is None:
            return
        closing = payload.closing.closing
        if not payload.closing.signed_by(run.reservation.coordinator):
            raise RemoteProtocolError(
                f"the closing statement of run {payload.run} is not signed by its coordinator",
                peer=None,
                rule="signature",
                remedy="the run stays charged in full",
            )
        planned = {charge.release: charge.count for charge in run.reservation.charges}
        in_range = all(0 <= closing.attempts.get(release, -1) <= count for release, count in planned.items())
        if closing.run != payload.run or closing.attempts.keys() != planned.keys() or not in_range:
            raise RemoteProtocolError(
                f"the closing statement of run {payload.run} does not fit what the run reserved",
                peer=None,
                rule="closing",
                remedy="the run stays charged in full",
            )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise LocalProtocolError(message)
