"""The summary of a run, from its plan, its progress and the ledger that it charged."""

from __future__ import annotations

import platform
from importlib.metadata import version

from dp.ledger import Ledger
from fl_engine import charging
from fl_engine.coordinator import Progress
from fl_engine.plan import TaskPlan
from fl_engine.records import AccountBalance, LedgerHead, RunSummary, Seconds
from fl_engine.stopwatch import Stopwatch


def run_summary(
    *,
    plan: TaskPlan,
    progress: Progress,
    ledger: Ledger,
    watch: Stopwatch,
    started: str,
    engine: str,
    dataset: str,
    fraud_share: float | None,
    uploaded: int,
    roster: str,
) -> RunSummary:
    """The record of a run that is settled.

    Args:
        plan, progress, ledger, watch: of the run.
        started: time; engine: who moved the messages; dataset: "synthetic" or "own data".
        fraud_share: of the held-out records, as far as it is known.
        uploaded: bytes that all banks sent together.
        roster: digest, in hex.
    """
    head = ledger.head
    training = [record for record in progress.records if record.release == "training"]
    opened = [record for record in progress.records if record.status == "opened"]
    sums = sum(plan.sum(record.release).dimension for record in progress.records)
    return RunSummary(
        run=plan.task,
        fedsec=version("fedsec"),
        python=platform.python_version(),
        torch=version("torch"),
        opacus=version("opacus"),
        started=started,
        mode=plan.mode,
        engine=engine,
        dataset=dataset,
        banks=plan.clients,
        rounds_planned=plan.rounds,
        rounds_opened=progress.rounds,
        rounds_aborted=sum(record.status == "aborted" for record in training),
        survivors_min=min((record.survivors for record in opened), default=0),
        slots=sum(plan.slots),
        evaluation="federated" if plan.bins else "public",
        model=(*plan.model.widths,),
        final=progress.final,
        intervals=progress.intervals,
        fraud_share=fraud_share,
        histogram_bins=plan.bins or None,
        upload_bytes=uploaded // plan.clients,
        plain_bytes=4 * sums,
        seconds=Seconds(
            total=watch.total,
            training=watch.seconds("training"),
            secure_aggregation=watch.seconds("secure_aggregation"),
            evaluation=watch.seconds("evaluation"),
        ),
        ledger=tuple(
            AccountBalance(
                account=balance.account.part,
                spent_epsilon=balance.spent_epsilon,
                budget_epsilon=balance.budget_epsilon,
                delta=balance.delta,
                course=ledger.course(plan.task, balance.account, [record.release for record in progress.records]),
            )
            for balance in charging.balances(ledger, plan.task)
        ),
        ledger_head=LedgerHead(public_key=head.ledger, entry=head.entry, hash=head.hash),
        roster=roster,
    )
