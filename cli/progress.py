"""What ``fedsec run`` shows while it works and when it is done: a line a round, a bar, the statement."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli.output import pipe_width

if TYPE_CHECKING:
    from compliance.report import ReportOutcome
    from dp.statement import PrivacyStatement
    from fl_engine.records import Metrics, RoundRecord, RunSummary
    from fl_engine.run import Run

_WHY_NOT_PRIVATE = (
    "--insecure-deterministic-noise makes noise that anybody can repeat and take off again; "
    "it is for debugging, and no ε of this run holds"
)
_ADVERSARIES = {
    "released-model": "whoever holds the released model",
    "colluding-banks": "up to c banks, without the server",
    "server-and-banks": "the server with up to c banks",
    "everyone-else": "everyone else together, masks broken",
}


class Display:
    """Progress and result of one run. With ``as_json`` all of it goes to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        stream = sys.stderr if as_json else sys.stdout
        self._console = Console(file=stream, highlight=False, width=pipe_width(stream))
        self._bar: Progress | None = None

    def note(self, what: str) -> None:
        """One line about what happens now."""
        self._console.print(f"… {what}", style="dim", soft_wrap=True, markup=False)

    def begin(self, run: Run) -> None:
        """What is going to happen, and what it may cost."""
        plan = run.plan
        if plan.insecure_deterministic_noise:
            self._console.print(f"NOT PRIVATE: {_WHY_NOT_PRIVATE}", style="bold red", soft_wrap=True)
        would = "with noise from the operating system it would be " if plan.insecure_deterministic_noise else ""
        local = plan.mode == "local"
        against = "everyone else together" if local else f"the server with up to {_banks(plan.corrupt)}"
        self._console.print(
            f"{plan.clients} banks, {sum(plan.slots):,} records, {plan.rounds} rounds, {plan.mode} noise: "
            f"{would}ε ≤ {plan.epsilon:g} at δ = {_short(plan.delta)} for each {plan.unit}, against {against}",
            soft_wrap=True,
        )
        self.note(f"working in {run.directory.path}; all keys are simulated in this one process")
        self._console.print(_header("ε (void)" if plan.insecure_deterministic_noise else "ε so far"), style="bold")

    @contextmanager
    def live(self, run: Run) -> Iterator[None]:
        """Show a bar while the body runs, on a terminal only."""
        if not self._console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            self._bar = bar
            self._task = bar.add_task("rounds", total=run.plan.rounds, completed=run.progress.rounds)
            yield
        self._bar = None

    def attempt(self, record: RoundRecord) -> None:
        """A line about one attempt."""
        self._console.print(_line(record), style="" if record.status == "opened" else "yellow", soft_wrap=True)
        if self._bar is not None and record.round is not None:
            self._bar.update(self._task, completed=record.round)

    def result(self, run: Run, summary: RunSummary, outcome: ReportOutcome) -> None:
        """The result, the privacy statement, the accounts, and where the report is."""
        print_ = self._console.print
        print_()
        print_(Text("Result", style="bold"), _final(summary), soft_wrap=True)
        if summary.rounds_aborted:
            print_(f"aborted rounds, charged and made up for by spare ones: {summary.rounds_aborted}")
        _print_statement(self._console, run.statement(), corrupt=run.plan.corrupt)
        for balance in run.balances():
            budget = (
                "no budget set: unlimited" if balance.budget_epsilon is None else f"of {balance.budget_epsilon:.2f}"
            )
            spent = "unbounded" if balance.spent_epsilon is None else f"{balance.spent_epsilon:.2f}"
            terms = f"({budget}, δ = {_short(balance.delta)})"
            print_(f"account {balance.account.name}: ε spent {spent} {terms}, all runs in this ledger", soft_wrap=True)
        wrote = "a language model, its figures checked" if outcome.narrative == "openai" else "the offline writer"
        if outcome.reason:
            wrote += f" ({outcome.reason})"
        print_(f"narrative by {wrote}", soft_wrap=True, markup=False)
        print_(f"report: {run.directory.path / 'report.html'}", soft_wrap=True, markup=False)


def _header(epsilon: str) -> str:
    figures = f"{'loss':>9}{'AUC':>8}{'AP':>8}{'accuracy':>10}"
    return f"{'attempt':<12}{'round':>6}{'banks':>7}{figures}{epsilon:>10}{'s':>7}"


def _line(record: RoundRecord) -> str:
    head = f"{record.release:<12}{record.round or '':>6}"
    if record.status != "opened":
        return f"{head}  aborted and charged: {record.reason}; ε so far {record.epsilon:.3f}"
    metrics = record.metrics
    figures = "".join(
        f"{'' if value is None else f'{value:.4f}':>{width}}"
        for value, width in (
            (metrics and metrics.loss, 9),
            (metrics and metrics.roc_auc, 8),
            (metrics and metrics.average_precision, 8),
            (metrics and metrics.accuracy, 10),
        )
    )
    banks = f"{record.survivors}/{record.cohort}"
    return f"{head}{banks:>7}{figures}{record.epsilon:>10.3f}{record.seconds:>7.2f}"


def _final(summary: RunSummary) -> str:
    metrics: Metrics = summary.final
    parts = []
    for name, label in (("average_precision", "average precision"), ("roc_auc", "ROC AUC"), ("accuracy", "accuracy")):
        value = getattr(metrics, name)
        interval = summary.intervals.get(name)
        if interval is not None:
            low, high = (f"{bound:.3f}" for bound in interval)
            told = f"between {low} and {high} (95 %)" if value is None else f"{value:.4f} (95 %: {low} to {high})"
            parts.append(f"{label} {told}")
        elif value is not None:
            parts.append(f"{label} {value:.4f}")
    after = f"after {summary.rounds_opened} rounds, on held-out records ({summary.evaluation} evaluation)"
    if summary.intervals and metrics.average_precision is None:
        after += "; the holdout is too small for this ε to say more"
    return " ".join([", ".join(parts) if parts else "nothing could be measured", after])


def _print_statement(console: Console, statement: PrivacyStatement, *, corrupt: int) -> None:
    console.print(Text("Privacy statement", style="bold"), f"{', '.join(statement.brands)}")
    if not statement.private:
        console.print(f"NOT PRIVATE: {_WHY_NOT_PRIVATE}", style="bold red", soft_wrap=True)
    claim = ""
    if statement.epsilon is not None and statement.planned_epsilon is not None:
        claim = (
            f"ε = {statement.epsilon:.3f} (reserved {statement.planned_epsilon:.3f}) at δ = {_short(statement.delta)}; "
        )
    console.print(
        f"{claim}unit: one {statement.unit}; neighbours: {statement.neighbours}; "
        f"{'a record' if statement.unit_rows is None else 'an entity'} is in the training or the held-out part, never "
        "in both",
        soft_wrap=True,
    )
    if statement.private:
        console.print(statement.protects, soft_wrap=True, markup=False)
    table = Table("against", "noise shares that count", "ε")
    for bound in statement.adversaries:
        name = _ADVERSARIES[bound.name].replace("c banks", _banks(corrupt)) + (" ← target" if bound.target else "")
        table.add_row(name, str(bound.shares), "none" if bound.epsilon is None else f"{bound.epsilon:.3f}")
    console.print(table)
    if statement.private and not statement.conservative:
        console.print("ε is above 1; this project takes ε ≤ 1 as the conservative setting.", soft_wrap=True)
    console.print(statement.noise_against_banks, soft_wrap=True, markup=False)
    for sentence in statement.outside_ledger:
        console.print(f"outside the ledger: {sentence}", soft_wrap=True, markup=False)


def _banks(count: int) -> str:
    return f"{count} bank" if count == 1 else f"{count} banks"


def _short(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")
