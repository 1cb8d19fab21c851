"""``fedsec attack [RUN]``: play the dishonest server, and say what it gets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import EXIT_INTERRUPTED, console, pipe_width, print_failure, print_json
from fedsec.errors import ConfigError

if TYPE_CHECKING:
    from compliance.attacks.results import Finding, Result
    from compliance.attacks.setting import Setting

_PAGE = "attack.html"
_STYLES = {"held": "green", "within the bound": "green", "not protected, as stated": "yellow"}
_HEADINGS = {
    "masked update": "One bank's update",
    "protocol": "The protocol",
    "opened sum": "Opened sums",
}


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The page. [RUN/attack.html, else here]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress goes to standard error.")
@click.pass_context
def attack(context: click.Context, /, *, run: Path | None, out: Path | None, as_json: bool) -> None:
    """Play the dishonest server: carry out known attacks, against an unprotected control and against fedsec.

    With RUN, the directory of a finished run, its parameters and its model are attacked; without it, an invented cohort
    with the default settings. All records are invented. Exit code 1 if an attack does not end as it should.

    \b
    Examples:
      fedsec attack
      fedsec attack runs/latest --out attack.html
    """
    page = out if out is not None else (run or Path()) / _PAGE
    if page.is_dir() or not page.absolute().parent.is_dir():
        what = "is a folder" if page.is_dir() else "is in no folder that exists"
        if run is None or out is not None:
            raise ConfigError(f"--out: {page} {what}", remedy=f"Name a file, such as {_PAGE}.")
    try:
        setting, results = _carry_out(run)
        from compliance.attacks.page import write_page

        write_page(page, setting, results)
    except KeyboardInterrupt:
        print_failure(kind="interrupted", message="interrupted; no page was written", remedy="", as_json=as_json)
        context.exit(EXIT_INTERRUPTED)
    ok = all(result.right for result in results)
    if as_json:
        print_json(
            {"ok": ok, "attacks": [_entry(each) for each in results], "subject": setting.subject, "page": str(page)}
        )
    else:
        _show(setting, results, page)
    context.exit(0 if ok else 1)


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


def _show(setting: Setting, results: list[Result], page: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(f"The dishonest server against {setting.subject}", style="bold"), soft_wrap=True)
    out.print(
        f"{setting.clients} banks, up to {setting.corrupt} of them corrupt; {setting.mode} noise; "
        f"ε = {setting.epsilon:.3f} at δ = {setting.delta:g} for one record".replace("e-0", "e-"),
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for name, ratio in (("attack", 20), ("unprotected", 25), ("fedsec", 36), ("verdict", 13)):
        table.add_column(name, ratio=ratio)
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
        out.print("Everything came out as claimed. It is no proof: better attacks may exist, the bound holds for all.")
    out.print(f"page: {page}", soft_wrap=True, markup=False)


def _cell(finding: Finding) -> str:
    return f"{finding.outcome.value}: {finding.evidence}"


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
