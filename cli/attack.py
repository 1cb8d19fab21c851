"""``fedsec attack [RUN]``: play the dishonest server, and say what it gets."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import EXIT_INTERRUPTED, EXIT_USAGE, console, pipe_width, print_failure, print_json
from fedsec.errors import ConfigError

if TYPE_CHECKING:
    from compliance.attacks.record import AttackRecord
    from compliance.attacks.results import Finding, Result
    from compliance.attacks.setting import Setting

_PAGE = "attack.html"
_MARK = b'<meta name="generator" content="fedsec attack'  # by which a page may be replaced, and no other file
_STYLES = {"held": "green", "within the bound": "green", "not protected, as stated": "yellow", "cannot tell": "yellow"}
_VERDICT = 12  # columns: no word of a verdict is longer
_HEADINGS = {
    "masked update": "One bank's update",
    "protocol": "The protocol",
    "opened sum": "Opened sums",
}


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page. [RUN/attack.html; without RUN ./attack.html]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress goes to standard error.")
@click.pass_context
def attack(context: click.Context, /, *, run: Path | None, out: Path | None, as_json: bool) -> None:
    """Play the dishonest server: carry out known attacks, against an unprotected control and against fedsec.

    With RUN, the directory of a finished run, its parameters and its model are attacked, and `fedsec report RUN` then
    shows the verdicts, from RUN/attack.json; without it, an invented cohort with the default settings. All records are
    invented. Exit code 1 if an attack does not end as it should. Keys, noise and games are fresh every time, so figures
    differ a little; a page of before is replaced.

    \b
    Examples:
      fedsec attack
      fedsec attack runs/latest --out attack.html
    """
    if run is not None and not run.is_dir():
        raise ConfigError(f"{run} is not a run's directory", remedy="Give the directory that `fedsec run` named.")
    page = out if out is not None else (run or Path()) / _PAGE
    _check_page(page)
    try:
        setting, results = _carry_out(run)
    except KeyboardInterrupt:
        print_failure(kind="interrupted", message="interrupted; no page was written", remedy="", as_json=as_json)
        context.exit(EXIT_INTERRUPTED)
    failed, made = "", datetime.now(UTC)
    try:
        from compliance.attacks.page import write_page
        from compliance.attacks.record import FILE, write_attacks

        write_page(page, setting, results, made=made)
        if run is not None:
            write_attacks(run / FILE, _record(setting, results, made))
    except OSError as error:
        failed = f"{error.filename or page} could not be written: {error.strerror}"
    ok = all(result.right for result in results)
    if as_json:
        print_json(
            {
                "ok": ok,
                "attacks": [_entry(each) for each in results],
                "subject": setting.subject,
                "brands": setting.brands,
                "record": None if setting.record is None else asdict(setting.record),
                "page": None if failed else str(page),
            }
        )
    else:
        _show(setting, results)
        if not failed:
            console().print(f"page: {page}", soft_wrap=True, markup=False)
            if setting.record is not None and run is not None:
                signs = f"`fedsec report {run}` shows it and signs it; until then `fedsec verify` names attack.json"
                console().print(signs, soft_wrap=True, markup=False)
    if failed:
        click.echo(f"Error: {failed}", err=True)
    context.exit(EXIT_USAGE if failed else 0 if ok else 1)


def _check_page(page: Path) -> None:
    """Refuse a page that could not be written, or that would replace a file of another kind, before anything is played.

    Raises:
        ConfigError: names the page.
    """
    remedy = f"Name a file with --out, such as {_PAGE}."
    if page.is_dir() or not page.absolute().parent.is_dir():
        raise ConfigError(f"{page} {'is a folder' if page.is_dir() else 'is in no folder that exists'}", remedy=remedy)
    probe = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        if page.exists():
            with page.open("rb") as existing:
                if _MARK not in existing.read(2_000):
                    raise ConfigError(f"{page} exists and is no page of fedsec attack", remedy=remedy)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{page} cannot be written: {error.strerror}", remedy=remedy) from None


def _carry_out(run: Path | None) -> tuple[Setting, list[Result]]:
    """Carry out the suite, telling on standard error how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    told = Console(file=sys.stderr, highlight=False, width=pipe_width(sys.stderr))
    told.print("… getting ready; all records are invented", style="dim", soft_wrap=True)
    import torch

    from compliance.attacks.setting import default_setting, run_setting
    from compliance.attacks.suite import ATTACKS, carry_out

    torch.set_num_threads(1)  # the models are too small to share
    setting = default_setting() if run is None else run_setting(run)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Result] = []
    with Progress(*columns, console=told, transient=True, disable=not told.is_terminal) as bar:
        task = bar.add_task("attacks", total=len(ATTACKS))
        for number, next_attack in enumerate(ATTACKS, start=1):
            bar.update(task, description=next_attack.title)
            if not told.is_terminal:
                told.print(f"… {number}/{len(ATTACKS)} {next_attack.title}", style="dim", soft_wrap=True)
            results += carry_out(setting, (next_attack,))
            bar.update(task, completed=number)
    return setting, results


def _show(setting: Setting, results: list[Result]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(f"The dishonest server, with {setting.subject}", style="bold"), soft_wrap=True)
    out.print(Text("; ".join(setting.brands), style="bold yellow"), soft_wrap=True)
    if setting.record is not None:
        out.print(
            f"run of {setting.record.started}; its records are not signed: checked for contradictions, not "
            f"authenticated; privacy.json {setting.record.digest[:16]}…",
            soft_wrap=True,
        )
    out.print(
        f"{setting.clients} banks, up to {setting.corrupt} of them corrupt; {setting.mode} noise; "
        f"ε = {setting.epsilon:.3f} at δ = {setting.delta:g} for one record".replace("e-0", "e-"),
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for name, ratio in (("attack", 20), ("unprotected", 25), ("fedsec", 36)):
        table.add_column(name, ratio=ratio)
    table.add_column("verdict", width=_VERDICT)
    last = ""
    for result in results:
        if result.attack.target != last:
            last = result.attack.target
            table.add_row(Text(_HEADINGS[last], style="bold"), "", "", "")
        table.add_row(
            result.attack.title,
            _cell(result.findings.plain),
            _cell(result.findings.fedsec),
            Text(result.verdict, style=_STYLES.get(result.verdict, "bold red")),
        )
    out.print(table)
    wrong = [result for result in results if not result.right]
    if wrong:
        names = ", ".join(result.attack.name for result in wrong)
        out.print(Text(f"NOT as claimed: {names}", style="bold red"), soft_wrap=True)
    else:
        out.print("Everything came out as claimed. It is no proof: better attacks may exist.", soft_wrap=True)
    open_rows = [result for result in results if result.verdict == "not protected, as stated"]
    if open_rows:
        names = ", ".join(result.attack.title.lower() for result in open_rows)
        out.print(Text(f"Not protected, as stated: {names}", style="yellow"), soft_wrap=True)
    untold = [result for result in results if result.verdict == "cannot tell"]
    if untold:
        names = ", ".join(result.attack.title.lower() for result in untold)
        out.print(Text(f"Cannot tell, as no noise at all would be within the bound too: {names}", style="yellow"))
    if any(result.findings.fedsec.bound is not None for result in results):
        against = "everyone else together" if setting.mode == "local" else f"the server with {setting.corrupt} banks"
        out.print(
            f"The bounds hold for every attack on one record by {against}, "
            f"if {setting.shares} honest {'bank adds its' if setting.shares == 1 else 'banks add their'} noise.",
            soft_wrap=True,
        )


def _cell(finding: Finding) -> str:
    return f"{finding.outcome.value}: {finding.evidence}"


def _record(setting: Setting, results: list[Result], made: datetime) -> AttackRecord:
    """What the run's report shows of ``results``."""
    import fedsec
    from compliance.attacks.record import AttackRecord, Verdict

    assert setting.record is not None, "a run was attacked"
    return AttackRecord(
        fedsec=fedsec.__version__,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        run=setting.record.run,
        privacy=setting.record.digest,
        verdicts=tuple(
            Verdict(
                name=result.attack.name,
                title=result.attack.title,
                target=result.attack.target,
                plain=result.findings.plain.outcome.value,
                fedsec=result.findings.fedsec.outcome.value,
                evidence=result.findings.fedsec.evidence,
                verdict=result.verdict,
                right=result.right,
            )
            for result in results
        ),
    )


def _entry(result: Result) -> dict[str, Any]:
    attack, plain, found = result.attack, result.findings.plain, result.findings.fedsec
    return {
        "name": attack.name,
        "title": attack.title,
        "target": attack.target,
        "control": attack.control,
        "against_plain": plain.outcome.value,
        "against_fedsec": found.outcome.value,
        "evidence": {"plain": plain.evidence, "fedsec": found.evidence},
        "figures": {"plain": plain.figures, "fedsec": found.figures},
        "verdict": result.verdict,
        "ok": result.right,
        "test": attack.test,
        "source": attack.source,
        "seconds": round(result.seconds, 3),
    }
