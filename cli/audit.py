"""``fedsec audit [RUN]``: train on invented records with canaries, and say what ε is at least."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cli.output import EXIT_INTERRUPTED, EXIT_USAGE, console, pipe_width, print_failure, print_json
from fedsec.errors import ConfigError

if TYPE_CHECKING:
    from compliance.audit.results import AuditRecord, ControlRecord
    from compliance.audit.setting import AuditSetting
    from compliance.audit.suite import Progress

_FILE = "audit.json"
_NO_PROOF = (
    "A lower bound above the claim would disprove it; one below proves nothing: a better audit may find more. "
    "The proof is in docs/noise.md."
)


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--epsilon", type=float, help="Target ε, as in `fedsec run`. [3]")
@click.option("--delta", type=float, help="δ of ε. [1e-5]")
@click.option("--dp-mode", type=click.Choice(["distributed", "local"]), help="Who adds enough noise. [distributed]")
@click.option("--banks", type=int, help="Simulated banks, 5 to 200. [10]")
@click.option("--max-corrupt", type=int, help="c, banks that may be dishonest. [(banks - 1) // 3]")
@click.option("--rounds", type=int, help="Training rounds. [50; local mode: 10]")
@click.option("--local-epochs", type=int, help="Passes over a bank's rows a round, local mode. [1]")
@click.option("--clip", type=float, help="L2 bound of one record's gradient. [1]")
@click.option("--canaries", type=click.IntRange(min=1), default=100_000, show_default=True, help="At least so many.")
@click.option(
    "--confidence",
    type=click.FloatRange(min=0.5, max=1.0, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the lower bound.",
)
@click.option(
    "--insecure-control",
    metavar="NAME",
    help="Audit broken noise in the product's place: no-noise, noise-cut=FACTOR, saturate-after-noise; "
    "in local mode no-sampling. For debugging: branded NOT PRIVATE.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The result. [RUN/audit.json; else none]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress goes to standard error.")
@click.pass_context
def audit(
    context: click.Context,
    /,
    *,
    run: Path | None,
    canaries: int,
    confidence: float,
    insecure_control: str | None,
    out: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure a lower bound of ε: train on invented records with canaries, and guess which of them were in.

    With RUN, the directory of a finished run, its settings are audited, and `fedsec report RUN` then shows the bound
    beside the claim; without RUN, the default settings or those given. It trains anew: neither the run's records nor
    its model are touched, and no account is charged. Noise that is broken on purpose is audited too and must be found
    out. About half a minute. Exit code 1 if the bound is above the claim, or a control was not found out.

    \b
    Examples:
      fedsec audit
      fedsec audit runs/latest
      fedsec audit --epsilon 1 --dp-mode local
    """
    given = {name: value for name, value in given.items() if value is not None}
    if run is not None and given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"RUN goes with no {names}: the settings are the run's", remedy="Leave them out.")
    if run is not None and not run.is_dir():
        raise ConfigError(f"{run} is not a run's directory", remedy="Give the directory that `fedsec run` named.")
    out = _place(run, out, broken=insecure_control is not None)
    try:
        setting, record = _carry_out(run, given, canaries, confidence, insecure_control)
    except KeyboardInterrupt:
        print_failure(kind="interrupted", message="interrupted; nothing was written", remedy="", as_json=as_json)
        context.exit(EXIT_INTERRUPTED)
    from compliance.audit.results import NOT_PRIVATE

    failed = "" if out is None else _written(out, record)
    if as_json:
        brands = [] if record.private else [NOT_PRIVATE]
        print_json({"ok": record.ok, "subject": setting.subject, "brands": brands, **msgspec.to_builtins(record)})
    else:
        _show(setting, record)
        if out is not None and not failed:
            console().print(f"result: {out}", soft_wrap=True, markup=False)
            if run is not None and record.private:
                console().print(f"`fedsec report {run}` shows it beside the claim", soft_wrap=True, markup=False)
    if failed:
        click.echo(f"Error: {failed}", err=True)
    context.exit(EXIT_USAGE if failed else 0 if record.ok else 1)


def _place(run: Path | None, out: Path | None, *, broken: bool) -> Path | None:
    """Where the result goes; one of ``broken`` noise never into a run's directory, where a report would find it.

    Raises:
        ConfigError: it cannot be written there.
    """
    if out is None and run is not None and not broken:
        out = run / _FILE
    if out is None:
        return None
    if broken and (out.absolute().parent / "privacy.json").exists():
        raise ConfigError(
            "the result of --insecure-control does not belong in a run's directory", remedy="Name another with --out."
        )
    _check_file(out)
    return out


def _written(out: Path, record: AuditRecord) -> str:
    """Write ``record`` to ``out``; what went wrong, or nothing."""
    from compliance.audit.results import write_record

    try:
        write_record(out, record)
    except OSError as error:
        return f"{out} could not be written: {error.strerror}"
    return ""


def _check_file(path: Path) -> None:
    """Refuse a result that could not be written, or would replace a file of another kind, before anything is trained.

    Raises:
        ConfigError: names the file.
    """
    from compliance.audit.results import read_record

    remedy = f"Name a file with --out, such as {_FILE}."
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} {'is a folder' if path.is_dir() else 'is in no folder that exists'}", remedy=remedy)
    probe = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            try:
                read_record(path)
            except ConfigError:
                raise ConfigError(f"{path} exists and is no result of fedsec audit", remedy=remedy) from None
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", remedy=remedy) from None


def _carry_out(
    run: Path | None, given: dict[str, Any], canaries: int, confidence: float, insecure: str | None
) -> tuple[AuditSetting, AuditRecord]:
    """Carry out the audit, telling on standard error how far it is."""
    from fl_engine.settings import RunSettings, validated

    settings = validated(RunSettings, given)
    import torch

    from compliance.audit.setting import default_setting, run_setting
    from compliance.audit.suite import carry_out, control, controls

    torch.set_num_threads(1)  # the models are too small to share
    if run is None:
        setting = default_setting(settings, canaries=canaries, confidence=confidence)
    else:
        setting = run_setting(run, canaries=canaries, confidence=confidence)
    instead = None if insecure is None else control(setting, insecure)
    tried = controls(setting) if instead is None else ()
    with _progress() as progress:
        return setting, carry_out(setting, tried=tried, instead=instead, progress=progress)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, a line for each thing audited on a pipe; on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    told = Console(file=sys.stderr, highlight=False, width=pipe_width(sys.stderr))
    told.print("… training audit runs; all records are invented", style="dim", soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=told, transient=True, disable=not told.is_terminal) as bar:
        task = bar.add_task("audit")

        def tell(title: str, number: int, total: int) -> None:
            bar.update(task, description=title, completed=number - 1, total=total)
            if number == 1 and not told.is_terminal:
                runs = f"{total} audit run{'' if total == 1 else 's'}"
                told.print(f"… {title}, {runs}", style="dim", soft_wrap=True, markup=False)

        yield tell


def _show(setting: AuditSetting, record: AuditRecord) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from compliance.audit.results import NOT_PRIVATE

    out = console()
    out.print(Text(f"Empirical audit of {setting.subject}", style="bold"), soft_wrap=True)
    if not record.private:
        out.print(Text(f"{NOT_PRIVATE}: the noise was broken on purpose", style="bold yellow"), soft_wrap=True)
    sure = f"{100 * record.confidence:g} %"
    delta = f"{record.delta:g}".replace("e-0", "e-")
    saw = f"every noised step of one bank, {record.openings} of them"
    if record.mode == "distributed":
        saw = f"{record.openings} opened sums, with the noise of {record.honest_inputs} of {record.clients} banks"
    out.print(
        f"{record.canaries:,} canaries in {record.runs} audit run{'' if record.runs == 1 else 's'} of invented "
        f"records; seen: {saw}; {record.correct:,} of {record.guesses:,} guesses were right",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("audited")
    table.add_column("ε at least", justify="right")
    table.add_column("claimed", justify="right")
    table.add_column("verdict")
    what = f"{record.mode} training" if record.private else "the broken variant"
    verdict = Text("NOT as claimed", style="bold red") if record.disproved else Text("not disproved", style="green")
    table.add_row(what, f"{record.lower_bound:.2f}", f"{record.claimed_epsilon:.2f}", verdict)
    for each in record.controls:
        bound = "–" if each.lower_bound is None else f"{each.lower_bound:.2f}"
        table.add_row(f"control: {each.title}", bound, f"{record.claimed_epsilon:.2f}", _noticed(each))
    out.print(table)
    out.print(f"Bounds at δ = {delta}, each with {sure} confidence, for one {record.unit}.", soft_wrap=True)
    out.print(
        f"An audit of this size notices noise cut to {record.noise_noticed:.0%} of itself or less, not a smaller cut.",
        soft_wrap=True,
    )
    if record.missed:
        names = ", ".join(each.title for each in record.missed)
        out.print(Text(f"The audit did not work: it missed {names}", style="bold red"), soft_wrap=True)
    out.print(_NO_PROOF, soft_wrap=True)


def _noticed(control: ControlRecord) -> str:
    if control.noticed:
        return "found out, as it must be"
    if control.expected:
        return "MISSED"
    return "cannot be played here" if control.lower_bound is None else "below what an audit of this size notices"
