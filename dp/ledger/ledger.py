"""The ledger that a run uses: reserve the whole plan, burn before each release, settle to what happened.

Each public method is one transaction. A process may be killed between any two lines: what is committed never
reports less than was released, because a reservation counts in full until it is settled and a burn is durable
before its masked input exists outside the bank.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from types import TracebackType

from msgspec.structs import replace

from dp.ledger.accounts import LOCAL_HOLDER, Account, Balance, Charge
from dp.ledger.admission import budget_error, course, finite_or_none, refusal, spent, total
from dp.ledger.closing import SignedClosing
from dp.ledger.export import Export
from dp.ledger.heads import CountersignedHead, Head
from dp.ledger.history import RunHistory, history
from dp.ledger.kept import KeptHeads
from dp.ledger.location import Location, resolve
from dp.ledger.log import Log, now
from dp.ledger.payloads import BudgetSet, Burnt, Lost, Reserved, Settled, SplitFixed
from dp.ledger.public_form import Form
from dp.ledger.splits import commitment, create_split_key, load_split_key
from dp.ledger.table import table
from dp.ledger.verification import Verification, verify_ledger

DEFAULT_DELTA = 1e-5


class Ledger:
    """An open ledger; safe to share between threads, not between processes (each opens its own).

    Get one by :meth:`open`; a context manager that closes itself.

    Attributes:
        location: where it is.
    """

    def __init__(self, location: Location, log: Log) -> None:
        self.location = location
        self._log = log
        self._burns: set[tuple[str, str, int]] = set()

    @classmethod
    def open(cls, location: str | os.PathLike[str] | None = None, *, create: bool = True) -> Ledger:
        """Open the ledger at ``location``, else at ``FEDSEC_LEDGER``, else the user's own; ``create`` makes it.

        Raises:
            ConfigError: the place cannot be used, or another process has locked it.
            LedgerError: the chain or the head's signature is broken, a key is there without its ledger, or the ledger
                lacks an entry that this machine saw.
        """
        place = resolve(location)
        return cls(place, Log(place, create=create))

    @classmethod
    def accept_loss(cls, location: str | os.PathLike[str] | None = None) -> Ledger:
        """Open a ledger that lost entries which this machine saw, and record that they are given up.

        What they charged is not known, so every account is unbounded from then on: no budget admits another run.

        Raises:
            ConfigError: nothing is lost.
            LedgerError: as :meth:`open`, but for the loss.
        """
        place = resolve(location)
        return cls(place, Log(place, create=bool(KeptHeads(place).here()), give_up=True))

    @property
    def public_key(self) -> bytes:
        """The 32-byte Ed25519 key that signs every entry; give it to auditors."""
        return self._log.public_key

    @property
    def head(self) -> Head:
        """The last entry: whoever keeps it can tell later if entries were cut off or rewritten.

        Raises:
            LedgerError: the entries do not continue those read before.
        """
        with self._log.reading():
            return self._log.head

    def export(self, form: Form = "full", heads: Sequence[CountersignedHead] | None = None) -> Export:
        """Everything that an auditor needs, and no secret: see :mod:`dp.ledger.export`.

        Args:
            form: "public" for an extract that names no data set and no holder, and verifies like the ledger.
            heads: countersigned, to go with it; default: the last, countersigned with this machine's own key.
        """
        with self._log.reading():
            if heads is None:
                heads = [KeptHeads.sign(self._log.head, at=now())]
            return Export.of(self._log.entries(), self._log.public_key, heads, form=form)

    def table(self, dataset: str | None = None) -> bytes:
        """Every entry, or what concerns ``dataset``, as CSV for people: see :mod:`dp.ledger.table`."""
        with self._log.reading():
            return table(self._log.entries(), dataset=dataset, default_delta=DEFAULT_DELTA)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; the main file then holds every entry, unless another process still reads."""
        self._log.close()

    def set_budget(self, dataset: str, epsilon: float, delta: float, *, holder: str = LOCAL_HOLDER) -> None:
        """Let each part of ``dataset`` spend ``epsilon`` (> 0) at ``delta`` in (0, 1) in all, past runs
        included.

        A budget below what is spent is allowed: it stops every later run.

        Raises:
            ConfigError: a value is out of its range.
        """
        with self._log.writing() as pending:
            salt = self._log.salt
            pending.append(BudgetSet(holder=holder, dataset=dataset, epsilon=epsilon, delta=delta, salt=salt, at=now()))

    def reserve(
        self,
        *,
        run: str,
        charges: Sequence[Charge],
        coordinator: bytes,
        private: bool,
        brands: Sequence[str] = (),
        layout: bytes = b"",
    ) -> None:
        """Charge the whole plan of ``run`` before anything is released, in one transaction, or nothing of it.

        Args:
            run: identifier, used once: 1 to 64 letters, digits, dots, underscores, hyphens.
            charges: at most one per account and release; all accounts of a release reserve the same count.
            coordinator: 32-byte Ed25519 public key of who may sign the closing statement.
            private: False where the noise is left out: the accounts become unbounded.
            brands: warnings that the run carries, e.g. "SIMULATED KEYS".
            layout: 32-byte digest of the file's columns, which a record's side of the split depends on; or empty. Where
                earlier runs on a data set were reserved under another, every release is charged to both of its parts:
                decided in the same transaction, so that of two runs that start at once the later sees the earlier.

        Raises:
            BudgetError: an account cannot pay; the refusal is recorded, nothing is charged.
            LocalProtocolError: the plan breaks a rule, e.g. the run has a reservation.
        """
        plan = Reserved(
            run=run,
            charges=tuple(charges),
            coordinator=coordinator,
            private=private,
            brands=tuple(brands),
            layout=layout,
            salt=self._log.salt,
            at=now(),
        )
        with self._log.writing() as pending:
            self._log.state.check(plan)
            plan = self._log.state.charged_for_its_split(plan)
            refused = refusal(self._log.state, plan)
            pending.append(refused or plan)
        if refused is not None:
            raise budget_error(refused)

    def burn(self, run: str, release: str, index: int) -> None:
        """Record durably that attempt ``index`` (>= 0) of ``release`` happens; call it *before* the masked
        input leaves.

        A second call of this object for the same attempt does nothing, so banks that share an account share its
        burns. A resumed run takes indices that :meth:`burnt` does not have.

        Raises:
            LocalProtocolError: the run is unknown or settled, or the attempt was burnt through another object: two
                processes drive the same run, and one charge must not pay for two releases.
            LedgerError: it could not be written; the masked input must not leave.
        """
        with self._log.locked():
            if (run, release, index) in self._burns and self._log.state.run(run).settlement is None:
                return
            with self._log.writing() as pending:
                mark = secrets.token_hex(16)
                pending.append(Burnt(run=run, release=release, index=index, at=now(), mark=mark))
            self._burns.add((run, release, index))

    def burnt(self, run: str) -> dict[str, frozenset[int]]:
        """The attempts burnt so far, by release; every release of the plan is named.

        Raises:
            LocalProtocolError: nothing was reserved for ``run``.
        """
        with self._log.reading():
            found = self._log.state.run(run)
            return {
                charge.release: frozenset(found.burnt.get(charge.release, ())) for charge in found.reservation.charges
            }

    def charges(self, run: str) -> tuple[Charge, ...]:
        """What was reserved for ``run``.

        Raises:
            LocalProtocolError: nothing was.
        """
        with self._log.reading():
            return self._log.state.run(run).reservation.charges

    def settle(self, run: str, closing: SignedClosing | None) -> None:
        """End ``run``: per release charge what the coordinator signed, but never less than was burnt.

        ``None`` keeps the full reservation charged for good: a missing burn proves nothing. Settling twice
        with the same statement does nothing.

        Raises:
            RemoteProtocolError: the statement is not the coordinator's, or does not fit the reservation.
            LocalProtocolError: the run is unknown, or settled otherwise.
        """
        with self._log.writing() as pending:
            settlement = self._log.state.run(run).settlement
            if settlement is None or settlement.closing != closing:
                pending.append(Settled(run=run, closing=closing, at=now()))

    def split_key(self, dataset: str, fraction: float, *, holder: str = LOCAL_HOLDER) -> bytes:
        """The 32 secret bytes that split ``dataset``, the same for every run; the first ``fraction`` is fixed
        for good.

        ``fraction`` in [0, 1) is the holdout's. Another one than the fixed one changes nothing here: ask
        :meth:`split_changed`, and charge such a run to both parts.

        Raises:
            LedgerError: the key's file is missing or not the one that the ledger committed to.
        """
        secrets_path = self.location.secrets_path
        with self._log.writing() as pending:
            fixed = self._log.state.splits.get((holder, dataset))
            if fixed is not None:
                return load_split_key(secrets_path, holder=holder, dataset=dataset, committed=fixed.commitment)
            draft = SplitFixed(
                holder=holder, dataset=dataset, fraction=fraction, commitment=b"", salt=self._log.salt, at=now()
            )
            self._log.state.check(draft)
            key = create_split_key(secrets_path, holder=holder, dataset=dataset)
            pending.append(replace(draft, commitment=commitment(key)))
        return key

    def split_changed(self, dataset: str, fraction: float, *, holder: str = LOCAL_HOLDER) -> bool:
        """Whether the first run held out another ``fraction`` of ``dataset``: some records are in the other part now.

        Such a run is to be charged to both parts; for another set of columns :meth:`reserve` does so by itself.
        """
        with self._log.reading():
            fixed = self._log.state.splits.get((holder, dataset))
            return fixed is not None and fixed.fraction != fraction

    def layouts(self, dataset: str, *, holder: str = LOCAL_HOLDER) -> frozenset[bytes]:
        """The layouts that runs on ``dataset`` were reserved under, one under way included."""
        with self._log.reading():
            return frozenset(self._log.state.layouts(holder, dataset))

    def balances(self, accounts: Sequence[Account] | None = None, *, delta: float | None = None) -> tuple[Balance, ...]:
        """Where ``accounts`` (default: all) stand, at ``delta``, the budget's, or ``DEFAULT_DELTA``."""
        with self._log.reading():
            chosen = self._log.state.accounts() if accounts is None else accounts
            return tuple(self._balance(account, delta) for account in chosen)

    def course(self, run: str, account: Account, attempts: Sequence[str]) -> tuple[float | None, ...]:
        """What ``account`` had spent without ``run``, and after each of its ``attempts``, given by their releases.

        At the budget's delta or ``DEFAULT_DELTA``; ``None`` where nothing bounds it.
        """
        with self._log.reading():
            budget = self._log.state.budget(account)
            delta = DEFAULT_DELTA if budget is None else budget.delta
            found = course(self._log.state, account, run=run, attempts=attempts, delta=delta)
            return tuple(finite_or_none(value) for value in found)

    def history(self, dataset: str | None = None) -> tuple[RunHistory, ...]:
        """Every run and refusal, or those on ``dataset``, by time stamp."""
        with self._log.reading():
            return history(self._log.state, dataset=dataset)

    @property
    def losses(self) -> tuple[Lost, ...]:
        """The entries that record a loss: from the first on, every account is unbounded."""
        with self._log.reading():
            return tuple(self._log.state.lost)

    def verify(self, public_key: bytes | None = None) -> Verification:
        """Check the whole ledger anew from its file: see :func:`dp.ledger.verification.verify_ledger`."""
        return verify_ledger(self.location, public_key)

    def _balance(self, account: Account, delta: float | None) -> Balance:
        budget = self._log.state.budget(account)
        if delta is None:
            delta = DEFAULT_DELTA if budget is None else budget.delta
        runs = dict.fromkeys(run.reservation.run for run, _ in self._log.state.charges_on(account))
        return Balance(
            account=account,
            spent_epsilon=finite_or_none(spent(total(self._log.state, account), delta)),
            budget_epsilon=None if budget is None else budget.epsilon,
            delta=delta,
            open_runs=tuple(name for name in runs if self._log.state.run(name).status == "open"),
            runs=tuple(runs),
        )
