"""The runs of a ledger as a reader wants them: open, settled and refused ones."""

from __future__ import annotations

import msgspec

from dp.ledger.accounts import Account
from dp.ledger.payloads import Refused
from dp.ledger.state import Run, State


class ReleaseCount(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of one release on one account: planned, burnt so far, and what the account pays for."""

    account: str
    release: str
    reserved: int
    burnt: int
    charged: int


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One run, or one refusal of a run.

    Attributes:
        run: identifier.
        status: "open", "settled" or "refused".
        at: time stamp of the reservation or refusal, information only.
        private: False for a run without its noise; brands: its warnings.
        attested: whether it was settled on the coordinator's signed statement.
        releases: what it reserved; empty for a refusal.
        refusal: why it was refused, else ``None``.
    """

    run: str
    status: str
    at: str
    private: bool
    brands: tuple[str, ...]
    attested: bool
    releases: tuple[ReleaseCount, ...]
    refusal: Refused | None


def history(state: State, *, dataset: str | None = None) -> tuple[RunHistory, ...]:
    """Every run and refusal, or those that concern ``dataset``, by time stamp."""

    def concerns(accounts: list[Account]) -> bool:
        return dataset is None or any(account.dataset == dataset for account in accounts)

    reserved = [
        _of_run(run) for run in state.runs.values() if concerns([charge.account for charge in run.reservation.charges])
    ]
    refused = [_of_refusal(refusal) for refusal in state.refusals if concerns([refusal.account])]
    return tuple(sorted(reserved + refused, key=lambda line: line.at))


def _of_run(run: Run) -> RunHistory:
    plan = run.reservation
    releases = tuple(
        ReleaseCount(
            account=charge.account.name,
            release=charge.release,
            reserved=charge.count,
            burnt=len(run.burnt.get(charge.release, ())),
            charged=run.charged(charge.release),
        )
        for charge in plan.charges
    )
    return RunHistory(
        run=plan.run,
        status=run.status,
        at=plan.at,
        private=plan.private,
        brands=plan.brands,
        attested=run.settlement is not None and run.settlement.closing is not None,
        releases=releases,
        refusal=None,
    )


def _of_refusal(refusal: Refused) -> RunHistory:
    return RunHistory(
        run=refusal.run,
        status="refused",
        at=refusal.at,
        private=refusal.private,
        brands=(),
        attested=False,
        releases=(),
        refusal=refusal,
    )
