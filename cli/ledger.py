"""``fedsec ledger``: show, set, settle and verify privacy budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import console, print_json
from fedsec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp.ledger import Balance, RunHistory, Verification

_LEDGER_HELP = "Path or database URL of the ledger; default: FEDSEC_LEDGER, else a file in your private folder."


def _common(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)
    return click.option("--ledger", "location", metavar="FILE|URL", help=_LEDGER_HELP)(command)


@click.group()
def ledger() -> None:
    """Show, set, settle and verify privacy budgets.

    Every release of a run is charged here before it happens. Each part of a data set's split, train and
    holdout, has an account of its own.
    """


@ledger.command(short_help="Show what each account has spent, and every run.")
@click.argument("dataset", required=False)
@_common
def show(dataset: str | None, location: str | None, *, as_json: bool) -> None:
    """What each account has spent, and every run: open, settled or refused, and why.

    \b
    Example:
      fedsec ledger show fraud-2024
    """
    from dp.ledger import Ledger

    with Ledger.open(location, create=False) as opened:
        every = opened.balances()
        known = sorted({line.account.dataset for line in every})
        if dataset is not None and dataset not in known:
            there_are = f"It knows {', '.join(known)}." if known else "It knows none yet."
            raise ConfigError(f"the ledger knows no data set {dataset}", remedy=there_are)
        balances = [line for line in every if dataset in (None, line.account.dataset)]
        runs = opened.history(dataset)
        label, public_key = opened.location.label, opened.public_key.hex()
    if as_json:
        accounts = [_balance_json(line) for line in balances]
        run_lines = [_run_json(line) for line in runs]
        print_json({"ledger": label, "public_key": public_key, "accounts": accounts, "runs": run_lines})
        return
    _print_balances(balances)
    _print_runs(runs)
    console().print(f"ledger {label}", style="dim", soft_wrap=True, markup=False)


@ledger.command()
@click.argument("dataset")
@click.option("--epsilon", type=float, required=True, help="What each part may spend in all, past runs included.")
@click.option("--delta", type=float, default=1e-5, show_default=True, help="The budget's δ, below 1 / records.")
@_common
def budget(dataset: str, epsilon: float, delta: float, location: str | None, *, as_json: bool) -> None:
    """Set the budget of DATASET's two accounts, train and holdout.

    DATASET is what `fedsec run --dataset-id` declares. A budget below what is spent stops every later run.

    \b
    Example:
      fedsec ledger budget fraud-2024 --epsilon 4 --delta 1e-5
    """
    from dp.ledger import Account, Ledger

    with Ledger.open(location) as opened:
        opened.set_budget(dataset, epsilon, delta)
        balances = opened.balances([Account(dataset=dataset, part=part) for part in ("train", "holdout")])
    if as_json:
        print_json({"accounts": [_balance_json(line) for line in balances]})
        return
    _print_balances(balances)


@ledger.command(short_help="End an unfinished run and give back what it did not attempt.")
@click.argument("run", metavar="RUN")
@_common
def settle(run: str, location: str | None, *, as_json: bool) -> None:
    """End RUN, the directory of an unfinished run: it stays charged for what it attempted, the rest is given back.

    Its directory is deleted: it cannot be resumed afterwards.

    \b
    Example:
      fedsec ledger settle runs/20260102-030405-ab12.partial
    """
    from dp.ledger import Ledger
    from fl_engine.run import ledger_of, settle_unfinished

    path = Path(run)
    with Ledger.open(location or ledger_of(path), create=False) as opened:
        balances = settle_unfinished(path, opened)
    if as_json:
        print_json({"accounts": [_balance_json(line) for line in balances]})
        return
    _print_balances(balances)
    console().print(f"settled; {path} is deleted", soft_wrap=True, markup=False)


@ledger.command(short_help="Check the ledger from its file alone.")
@click.option(
    "--ledger-key",
    metavar="FILE|HEX",
    help="Public key to check against; default: the key file beside the ledger, else the one that it names itself.",
)
@_common
@click.pass_context
def verify(context: click.Context, ledger_key: str | None, location: str | None, *, as_json: bool) -> None:
    """Check the ledger from its file alone; exit 0 only if every step holds.

    Each step says what it rests on: recomputed here, attested by somebody's signature, or assumed. Note the
    head: a later check must find it again, or entries were cut off.

    \b
    Example:
      fedsec ledger verify --ledger ledger.sqlite --ledger-key ledger.pub
    """
    from dp.ledger import resolve, verify_ledger
    from dp.ledger.keys import read_public_key

    public_key = None if ledger_key is None else read_public_key(ledger_key)
    result = verify_ledger(resolve(location), public_key)
    if as_json:
        print_json(_verification_json(result))
    else:
        _print_verification(result)
    if not result.ok:
        context.exit(1)


def _print_balances(balances: list[Balance] | tuple[Balance, ...]) -> None:
    from rich.table import Table

    if not balances:
        console().print("No account has a budget or was charged.")
        return
    table = Table("account", "spent ε", "budget ε", "δ", "runs", "open")
    for line in balances:
        table.add_row(
            line.account.name,
            "unbounded" if line.spent_epsilon is None else f"{line.spent_epsilon:.2f}",
            "none: unlimited" if line.budget_epsilon is None else f"{line.budget_epsilon:.2f}",
            _short(line.delta),
            str(len(line.runs)),
            str(len(line.open_runs)),
        )
    console().print(table)
    console().print("An open run counts with all that it reserved.")


def _print_runs(runs: tuple[RunHistory, ...]) -> None:
    from rich.table import Table

    if not runs:
        return
    table = Table("run", "at", "status", "what")
    for line in runs:
        table.add_row(line.run, line.at, line.status, "\n".join(_told(line)))
    console().print(table)


def _told(line: RunHistory) -> list[str]:
    if line.refusal is not None:
        refused = line.refusal
        asked = "an ε without bound" if refused.asked_epsilon is None else f"ε = {refused.asked_epsilon:.2f}"
        if not refused.private:
            asked = "a run without noise"
        return [
            f"{refused.account.name}: {asked} would exceed the budget of {refused.budget_epsilon:.2f} "
            f"(δ = {_short(refused.delta)})"
        ]
    told = list(line.brands)
    if not line.private and "NOT PRIVATE" not in told:
        told.insert(0, "NOT PRIVATE")
    told += [
        f"{item.account} {item.release}: {item.charged} charged of {item.reserved} reserved, {item.burnt} burnt"
        for item in line.releases
    ]
    return told


def _print_verification(result: Verification) -> None:
    for step in result.steps:
        held = "FAILED" if not step.ok else "—" if step.kind == "assumed" else "holds"
        print(f"{step.number}  {step.kind:<10}  {held:<6}  {step.name}")
        print(f"   {step.detail}")
    if result.head is not None:
        print(f"head: entry {result.head[0]}, {result.head[1]}")
    assumed = sum(step.kind == "assumed" for step in result.steps)
    if result.ok:
        print(f"Every step that can be checked holds; {assumed} are assumed.")
    elif result.first_bad is not None:
        print(f"The ledger does not hold from entry {result.first_bad} on.")
    else:
        print("The entries hold, the file does not.")


def _balance_json(line: Balance) -> dict[str, Any]:
    return {
        "account": line.account.name,
        "holder": line.account.holder,
        "dataset": line.account.dataset,
        "part": line.account.part,
        "spent_epsilon": line.spent_epsilon,
        "unbounded": line.spent_epsilon is None,
        "budget_epsilon": line.budget_epsilon,
        "delta": line.delta,
        "open_runs": list(line.open_runs),
        "runs": list(line.runs),
    }


def _run_json(line: RunHistory) -> dict[str, Any]:
    refused = None
    if line.refusal is not None:
        refused = {
            "account": line.refusal.account.name,
            "asked_epsilon": line.refusal.asked_epsilon,
            "spent_epsilon": line.refusal.spent_epsilon,
            "budget_epsilon": line.refusal.budget_epsilon,
            "delta": line.refusal.delta,
        }
    return {
        "run": line.run,
        "status": line.status,
        "at": line.at,
        "private": line.private,
        "brands": list(line.brands),
        "attested": line.attested,
        "releases": [
            {
                "account": item.account,
                "release": item.release,
                "reserved": item.reserved,
                "burnt": item.burnt,
                "charged": item.charged,
            }
            for item in line.releases
        ],
        "refused": refused,
    }


def _verification_json(result: Verification) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "steps": [
            {"number": step.number, "name": step.name, "kind": step.kind, "ok": step.ok, "detail": step.detail}
            for step in result.steps
        ],
        "entries": result.entries,
        "first_bad": result.first_bad,
        "head": None if result.head is None else {"entry": result.head[0], "hash": result.head[1]},
        "public_key": result.public_key,
        "key_source": result.key_source,
    }


def _short(delta: float) -> str:
    return f"{delta:g}".replace("e-0", "e-")
