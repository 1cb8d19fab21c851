"""``fedsec ledger``: show, set, settle, verify and export privacy budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import console, print_json
from fedsec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp.ledger import Balance, Form, Lost, RunHistory, Verification

_LEDGER_HELP = "Path or database URL of the ledger; default: FEDSEC_LEDGER, else a file in your private folder."


def _common(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)
    return click.option("--ledger", "location", metavar="FILE|URL", help=_LEDGER_HELP)(command)


@click.group()
def ledger() -> None:
    """Show, set, settle, verify and export privacy budgets.

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
        if dataset is not None:
            _check_known(dataset, every)
        balances = [line for line in every if dataset in (None, line.account.dataset)]
        runs = opened.history(dataset)
        label, public_key, losses = opened.location.label, opened.public_key.hex(), opened.losses
    if as_json:
        accounts = [_balance_json(line) for line in balances]
        run_lines = [_run_json(line) for line in runs]
        lost = [_loss_json(line) for line in losses]
        told = {"ledger": label, "public_key": public_key, "accounts": accounts, "runs": run_lines, "losses": lost}
        print_json(told)
        return
    _print_balances(balances)
    _print_losses(losses)
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


@ledger.command(short_help="Check the ledger from its file or an export.")
@click.option(
    "--ledger-key",
    metavar="FILE|HEX",
    help="Public key to check against; default: the key file beside the ledger, else the one that it names itself.",
)
@click.option(
    "--head",
    "head_files",
    metavar="FILE|RUN",
    multiple=True,
    help="Heads that others countersigned: a file of them, or a run's directory. May be given again. Those that this "
    "machine keeps are used anyway.",
)
@click.option(
    "--countersign",
    metavar="FILE",
    help="If every step holds, sign the head with this machine's key, keep it, and add it to FILE.",
)
@_common
@click.pass_context
def verify(
    context: click.Context,
    ledger_key: str | None,
    head_files: tuple[str, ...],
    countersign: str | None,
    location: str | None,
    *,
    as_json: bool,
) -> None:
    """Check the ledger from its file or an export; exit 0 only if every step holds.

    Each step says what it rests on: recomputed here, attested by somebody's signature, or assumed. Cut off, put
    back, rewritten or forked, a ledger still holds in itself: that shows in heads that somebody else keeps.

    \b
    Examples:
      fedsec ledger verify --ledger ledger.sqlite --ledger-key ledger.pub
      fedsec ledger verify --ledger audit.json --head bank-a.json --head runs/latest
      fedsec ledger verify --ledger audit.json --countersign our-heads.json
    """
    from dp.ledger import countersign_verified, read_heads, resolve, verify_ledger
    from dp.ledger.keys import read_public_key

    public_key = None if ledger_key is None else read_public_key(ledger_key)
    heads = [head for name in head_files for head in read_heads(Path(name))]
    place = resolve(location)
    result = verify_ledger(place, public_key, heads)
    signer = None
    if countersign is not None and result.ok:
        signer = countersign_verified(place, result, Path(countersign))
    if as_json:
        print_json({**_verification_json(result), "countersigned_by": signer})
    else:
        _print_verification(result)
        if signer is not None:
            print(f"The head is countersigned by {signer}, in {countersign}.")
    if not result.ok:
        context.exit(1)


@ledger.command(short_help="Write the ledger for an auditor (JSON) or as a table (CSV).")
@click.argument("dataset", required=False)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    help="Ending in .json: every entry, to be verified. Ending in .csv: a table to be read. No file yet.",
)
@click.option("--public", is_flag=True, help="JSON that names no data set and no holder, and verifies all the same.")
@_common
def export(dataset: str | None, out: str, location: str | None, *, public: bool, as_json: bool) -> None:
    """Write the ledger into FILE: as JSON for `fedsec ledger verify`, or as a CSV table of what was charged when.

    Neither holds a key, a path or a record. The JSON holds every entry, since the chain holds only with all of them,
    and the head, countersigned by this machine; DATASET limits the table. --public puts a pseudonym
    in the place of each data set's name.

    \b
    Examples:
      fedsec ledger export --out audit.json
      fedsec ledger export --public --out extract.json
      fedsec ledger export fraud-2024 --out fraud-2024.csv
    """
    from dp.ledger import Ledger

    path = Path(out)
    if path.suffix not in (".json", ".csv"):
        raise ConfigError(f"--out {out} ends in neither .json nor .csv", remedy="name audit.json or table.csv, say")
    if dataset is not None and path.suffix == ".json":
        raise ConfigError(
            f"a JSON export holds every entry, not those of {dataset} alone: the chain holds only whole",
            remedy="leave the data set out, or write a table: --out table.csv",
        )
    if public and path.suffix == ".csv":
        raise ConfigError("a table names data sets", remedy="leave --public out, or write JSON: --out extract.json")
    with Ledger.open(location, create=False) as opened:
        if dataset is not None:
            _check_known(dataset, opened.balances())
        form: Form = "public" if public else "full"
        content = opened.export(form).encode() if path.suffix == ".json" else opened.table(dataset)
        head, public_key = opened.head, opened.public_key.hex()
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}", remedy="name a new file") from error
    if as_json:
        print_json({"out": out, "public_key": public_key, "head": {"entry": head.entry, "hash": head.hash}})
        return
    counted = "1 entry" if head.entry == 0 else f"{head.entry + 1} entries"
    console().print(f"{counted} of the ledger {public_key} -> {out}", soft_wrap=True, markup=False)


@ledger.command("accept-loss", short_help="Record that entries are lost for good: no budget holds after that.")
@_common
def accept_loss(location: str | None, *, as_json: bool) -> None:
    """Put on record that entries which this machine saw are lost for good, so that the ledger can be used again.

    Try everything else first: look for the newer file, its -wal file, a backup, another copy. What the lost entries
    charged is not known, so from then on every account is unbounded and no budget admits a run. Runs on data sets
    without a budget go on, and say that no ε bounds them. The record stays; heads that others keep still show the loss.

    \b
    Example:
      fedsec ledger accept-loss --ledger ledger.sqlite
    """
    from dp.ledger import Ledger

    with Ledger.accept_loss(location) as opened:
        balances, losses = opened.balances(), opened.losses
    if as_json:
        print_json({"accounts": [_balance_json(line) for line in balances], "losses": [_loss_json(x) for x in losses]})
        return
    _print_balances(balances)
    _print_losses(losses)


def _check_known(dataset: str, balances: tuple[Balance, ...]) -> None:
    known = sorted({line.account.dataset for line in balances})
    if dataset not in known:
        there_are = f"It knows {', '.join(known)}." if known else "It knows none yet."
        raise ConfigError(f"the ledger knows no data set {dataset}", remedy=there_are)


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


def _print_losses(losses: tuple[Lost, ...]) -> None:
    for line in losses:
        console().print(
            f"Entries up to {line.entry} were given up as lost at {line.at}: every account is unbounded since.",
            soft_wrap=True,
            markup=False,
        )


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
        print(f"head: entry {result.head.entry}, {result.head.hash}")
    assumed = sum(step.kind == "assumed" for step in result.steps)
    if result.ok:
        print(f"Every step that can be checked holds; {assumed} {'is' if assumed == 1 else 'are'} assumed.")
    elif result.first_bad is not None:
        print(f"The ledger does not hold from entry {result.first_bad} on.")
    elif result.disagreements:
        print("The entries hold in themselves, but this is not the ledger that was countersigned.")
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
        "head": None if result.head is None else {"entry": result.head.entry, "hash": result.head.hash},
        "public_key": result.public_key,
        "key_source": result.key_source,
        "heads": result.heads,
        "covered": result.covered,
        "disagreements": [
            {"kind": line.kind, "entry": line.countersigned.head.entry, "message": line.message}
            for line in result.disagreements
        ],
    }


def _loss_json(line: Lost) -> dict[str, Any]:
    return {"ledger": line.ledger.hex(), "entry": line.entry, "hash": line.hash.hex(), "at": line.at}


def _short(delta: float) -> str:
    return f"{delta:g}".replace("e-0", "e-")
