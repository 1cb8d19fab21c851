"""What the entries of a ledger say, replayed: its rules, what each account bears, and whether its budget covered it.

Written after docs/ledger.md. Time stamps take no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedsec_verify.accountant import Account
from fedsec_verify.budgets import admits
from fedsec_verify.ledger_entries import (
    AccountName,
    BudgetSet,
    Burnt,
    Charge,
    Entry,
    LedgerError,
    Lost,
    Opened,
    Payload,
    Refused,
    Reserved,
    Settled,
    SplitFixed,
)

DEFAULT_DELTA = 1e-5


@dataclass(kw_only=True)
class Run:
    """A run that reserved, with the attempts that were burnt, by release, and its end."""

    reserved: Reserved
    burnt: dict[str, set[int]] = field(default_factory=dict)
    settled: Settled | None = None

    def planned(self, release: str) -> int:
        """Attempts that were reserved."""
        return next((charge.count for charge in self.reserved.charges if charge.release == release), 0)

    def charged(self, release: str) -> int:
        """Attempts that the accounts pay for: all, or what the coordinator signed, never below what was burnt."""
        if self.settled is None or self.settled.closing is None:
            return self.planned(release)
        return max(self.settled.closing.closing.attempts[release], len(self.burnt.get(release, ())))


@dataclass(frozen=True, kw_only=True)
class Load:
    """What an account bears: the charges, and the summed distance of their noise from its ideal."""

    account: Account
    eta: float

    def epsilon(self, delta: float) -> float:
        """Its epsilon at ``delta``."""
        return self.account.epsilon(delta, self.eta)


class Ledger:
    """The state after the entries that were applied."""

    def __init__(self) -> None:
        self.public_key: bytes | None = None
        self.budgets: dict[tuple[str, str], tuple[float, float]] = {}
        self.splits: dict[tuple[str, str], float] = {}
        self.runs: dict[str, Run] = {}
        self.lost = False

    @classmethod
    def replayed(cls, entries: Sequence[Entry], *, key: bytes) -> Ledger:
        """The state after ``entries``, which ``key`` signed; every rule and every admission is checked.

        Raises:
            LedgerError: names the first entry that breaks one.
        """
        ledger = cls()
        for entry in entries:
            try:
                if isinstance(entry.payload, Opened):
                    _require(entry.payload.public_key == key, "it names another public key")
                if isinstance(entry.payload, Reserved):
                    ledger.check_admission(entry.payload)
                ledger.apply(entry.payload)
            except LedgerError as fault:
                raise LedgerError(f"entry {entry.seq}: {fault}") from None
        return ledger

    def apply(self, payload: Payload) -> None:
        """Let ``payload`` be the next entry.

        Raises:
            LedgerError: it breaks a rule.
        """
        _require(
            (self.public_key is None) == isinstance(payload, Opened), "a ledger begins with its opening, and has one"
        )
        match payload:
            case Opened():
                self.public_key = payload.public_key
            case BudgetSet():
                self.budgets[payload.holder, payload.dataset] = (payload.epsilon, payload.delta)
            case SplitFixed():
                place = (payload.holder, payload.dataset)
                _require(place not in self.splits, "the split of this data set is fixed already")
                self.splits[place] = payload.fraction
            case Reserved():
                self._reserve(payload)
            case Burnt():
                self._burn(payload)
            case Settled():
                self._settle(payload)
            case Lost():
                self.lost = True
            case Refused():
                pass  # nothing was charged

    def check_admission(self, plan: Reserved) -> None:
        """Check that the budget of each account that ``plan`` charges, as it stands, covers it.

        Raises:
            LedgerError: one does not.
        """
        for name in dict.fromkeys(charge.account for charge in plan.charges):
            budget = self.budgets.get((name.holder, name.dataset))
            if budget is None:
                continue
            asked = [charge for charge in plan.charges if charge.account == name]
            then = self._load([*self._bears(name), *((charge, charge.count, plan.private) for charge in asked)])
            earlier = self.charges_on(name)
            first = [charge for run, charge in earlier if run is earlier[0][0]] or asked
            whole = self._load(((charge, charge.count, True) for charge in first), lost=False).account
            covered = admits(*budget, first=whole, total=then.account, eta=then.eta)
            _require(covered, f"run {plan.run} was admitted beyond the budget of its {name.part} account")

    def charges_on(self, name: AccountName) -> list[tuple[Run, Charge]]:
        """The runs that reserved on an account and what each reserved, in order."""
        return [
            (run, charge) for run in self.runs.values() for charge in run.reserved.charges if charge.account == name
        ]

    def load(self, name: AccountName, *, without: str | None = None, only: dict[str, int] | None = None) -> Load:
        """What an account bears now.

        ``without`` leaves a run out, but for ``only`` so many attempts of its releases.
        """
        bears = [
            (charge, count, run.reserved.private)
            for run, charge in self.charges_on(name)
            for count in [
                run.charged(charge.release) if run.reserved.run != without else (only or {}).get(charge.release, 0)
            ]
        ]
        return self._load(bears)

    def budget(self, name: AccountName) -> tuple[float | None, float]:
        """The account's epsilon, None where no budget was set, and the delta of its balance."""
        return self.budgets.get((name.holder, name.dataset), (None, DEFAULT_DELTA))

    def layouts(self, name: AccountName, *, before: str) -> set[bytes]:
        """The layouts under which runs on the account's data set reserved, until the run ``before`` did."""
        place, found = (name.holder, name.dataset), set()
        for run in self.runs.values():
            if run.reserved.run == before:
                break
            if any((charge.account.holder, charge.account.dataset) == place for charge in run.reserved.charges):
                found.add(run.reserved.layout)
        return found

    def _bears(self, name: AccountName) -> list[tuple[Charge, int, bool]]:
        charges = self.charges_on(name)
        return [(charge, run.charged(charge.release), run.reserved.private) for run, charge in charges]

    def _load(self, bears: Iterable[tuple[Charge, int, bool]], *, lost: bool | None = None) -> Load:
        account, eta = Account(), 0.0
        account.unbounded = self.lost if lost is None else lost
        for charge, count, private in bears:
            if count:
                account.plus(charge.event, count)
                account.unbounded = account.unbounded or not private
                eta += count * charge.eta
        return Load(account=account, eta=eta)

    def _reserve(self, plan: Reserved) -> None:
        _require(plan.run not in self.runs, f"run {plan.run} has a reservation already")
        _require(len(plan.charges) > 0, "a reservation has at least one charge")
        _require(len(plan.layout) in (0, 32), "a layout is a digest of 32 bytes, or empty")
        pairs = {(charge.account, charge.release) for charge in plan.charges}
        _require(len(pairs) == len(plan.charges), "an account is charged once for a release")
        counts = {(charge.release, charge.count) for charge in plan.charges}
        releases = {charge.release for charge in plan.charges}
        _require(len(counts) == len(releases), "all accounts pay for the same number of attempts of a release")
        self.runs[plan.run] = Run(reserved=plan)

    def _burn(self, burn: Burnt) -> None:
        run = self._run(burn.run)
        burnt = run.burnt.setdefault(burn.release, set())
        _require(run.settled is None, f"run {burn.run} is settled: nothing more may be released")
        _require(burn.index >= 0, "attempts are numbered from 0")
        _require(burn.index not in burnt, f"attempt {burn.index} of {burn.release} is burnt already")
        _require(len(burnt) < run.planned(burn.release), f"run {burn.run} has no attempt of {burn.release} left")
        burnt.add(burn.index)

    def _settle(self, end: Settled) -> None:
        run = self._run(end.run)
        _require(run.settled is None, f"run {end.run} is settled already")
        if end.closing is not None:
            closing = end.closing.closing
            by = run.reserved.coordinator
            _require(end.closing.signed_by(by), f"the closing statement of run {end.run} is not its coordinator's")
            planned = {charge.release: charge.count for charge in run.reserved.charges}
            fits = closing.run == end.run and closing.attempts.keys() == planned.keys()
            fits = fits and all(0 <= closing.attempts[name] <= count for name, count in planned.items())
            _require(fits, f"the closing statement of run {end.run} does not fit what it reserved")
        run.settled = end

    def _run(self, name: str) -> Run:
        _require(name in self.runs, f"run {name} has no reservation")
        return self.runs[name]


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise LedgerError(rule)
