"""``fedsec report RUN``: write the compliance report of a finished run again, as a PDF too, or compare several runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import print_json
from fedsec.errors import ConfigError, RedactionError

if TYPE_CHECKING:
    from compliance.narrative import NarratorSettings

_PARTIAL = ".partial"


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", metavar="M", help="Model that writes the narrative (default: OPENAI_MODEL, or gpt-5-mini).")
@click.option(
    "--base-url", metavar="URL", help="OpenAI-compatible service, up to /v1 (default: OPENAI_BASE_URL, or OpenAI)."
)
@click.option(
    "--api",
    type=click.Choice(["responses", "chat"]),
    help="How the service is asked: Responses API or chat completions (default: OPENAI_API, or responses).",
)
@click.option(
    "--price-input", type=float, metavar="X", help="Your price of a million input tokens (default: OPENAI_PRICE_INPUT)."
)
@click.option(
    "--price-output", type=float, metavar="X", help="The same of output tokens (default: OPENAI_PRICE_OUTPUT)."
)
@click.option("--offline", is_flag=True, help="Ask no language model, whatever the environment says.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Put the files there: of a report, then unsigned, or of --compare [here].",
)
@click.option("--dry-run", is_flag=True, help="Print exactly what a request would send, and send nothing.")
@click.option("--documents", is_flag=True, help="Write drafts of a DPIA and of model documentation, and no report.")
@click.option("--pdf", is_flag=True, help="Write report.pdf too, through a Chromium or Chrome of this machine.")
@click.option("--compare", "compared", is_flag=True, help="Set several runs side by side: privacy against quality.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def report(
    *,
    runs: tuple[Path, ...],
    offline: bool,
    out: Path | None,
    dry_run: bool,
    documents: bool,
    pdf: bool,
    compared: bool,
    as_json: bool,
    **asking: Any,
) -> None:
    """Write report.html, report.md and report.json of the finished run in the directory RUN.

    A language model writes the narrative where OPENAI_API_KEY, OPENAI_BASE_URL or --base-url says which one; it is sent
    public figures only, and nothing that names a bank, a file or this machine. Otherwise, and whenever anything goes
    wrong, fixed sentences stand in and the report says why. The report is signed with the key that the run left in the
    operator's private folder.

    With --compare, two or more runs are set side by side in compare.html, compare.md and compare.json, and nothing is
    written into their directories.

    \b
    Examples:
      fedsec report runs/latest --dry-run
      fedsec report runs/latest --base-url https://llm.bank.example/v1 --model our-model
      fedsec report runs/latest --base-url http://127.0.0.1:8080/v1 --model local --api chat
      fedsec report runs/latest --price-input 0.25 --price-output 2
      fedsec report --compare runs/20260102-030405-ab12 runs/latest
    """
    _check_runs(runs, compared=compared)
    asked = any(value is not None for value in asking.values())
    if compared:
        if asked or offline or dry_run or pdf or documents:
            raise ConfigError("--compare asks no model and prints no PDF: of the other options, it goes with --out")
        _compare(runs, out or Path(), as_json=as_json)
        return
    if offline and (dry_run or asked):
        raise ConfigError("--offline goes with none of --model, --base-url, --api, --price-… and --dry-run")
    if pdf and dry_run:
        raise ConfigError("--pdf goes without --dry-run, which writes nothing")
    run = runs[0]
    if documents:
        if offline or dry_run or asked or pdf or out:
            raise ConfigError("--documents asks no language model and goes with none of the other options but --json")
        _draft(run, as_json=as_json)
        return
    from compliance.attest import attest_report, key_for
    from compliance.narrative import NarratorSettings
    from compliance.report import load_identifiers, write_report

    settings = None if offline else NarratorSettings.from_environment(**asking)
    if dry_run and settings is not None:
        _show(run, settings, as_json=as_json)
        return
    key = key_for(run) if out is None else None  # before anything is asked or written
    outcome = write_report(run, narrator=settings, identifiers=load_identifiers(run), out=out)
    if key is not None:
        attest_report(run, key=key, writer=outcome.narrative)
    reason = None if offline else outcome.reason
    printed = _print(outcome.html, wanted=pdf)
    if as_json:
        print_json(
            {
                "report": str(outcome.html),
                "markdown": str(outcome.markdown),
                "json": str(outcome.json),
                "pdf": str(printed) if printed else None,
                "narrative": outcome.narrative,
                "reason": reason,
                "sent": str(outcome.sent) if outcome.sent else None,
                **outcome.spending.as_json(),
            }
        )
        return
    click.echo(f"Report: {outcome.html}")
    if printed:
        click.echo(f"PDF: {printed}")
    click.echo("Narrative: by the language model" if outcome.narrative == "openai" else "Narrative: offline text")
    if reason:
        click.echo(f"  because {reason}")
    if outcome.sent:
        click.echo(f"Sent: {outcome.sent}")
        click.echo(f"It took: {outcome.spending.sentence}")


def _draft(run: Path, *, as_json: bool) -> None:
    from compliance.documents import write_documents
    from compliance.report import load_identifiers

    drafts = write_documents(run, identifiers=load_identifiers(run))
    if as_json:
        print_json({"documents": [{"file": str(draft.path), "left_to_people": draft.open} for draft in drafts]})
        return
    for draft in drafts:
        click.echo(f"{draft.path}: {draft.open} fields are left to people")


def _check_runs(runs: tuple[Path, ...], *, compared: bool) -> None:
    """Refuse runs that did not finish, and several where one is meant.

    Raises:
        ConfigError: names the run.
    """
    for each in runs:
        if each.resolve().name.endswith(_PARTIAL):
            raise ConfigError(
                f"{each} is the directory of a run that did not finish",
                remedy="Resume it with `fedsec run --resume RUN`, then write its report.",
            )
    if len(runs) > 1 and not compared:
        raise ConfigError("one report is about one run", remedy="Several runs: fedsec report --compare RUN RUN")


def _print(page: Path, *, wanted: bool) -> Path | None:
    """The page as a PDF beside it; one of an earlier report goes, since it would contradict the page."""
    pdf = page.with_suffix(".pdf")
    pdf.unlink(missing_ok=True)
    if not wanted:
        return None
    from compliance.browser import write_pdf

    write_pdf(page, pdf)
    return pdf


def _compare(runs: tuple[Path, ...], folder: Path, *, as_json: bool) -> None:
    from compliance.compare import compare, write_comparison

    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder that exists", remedy="Name one with --out.")
    comparison = compare(runs)
    files = write_comparison(folder, comparison)
    if as_json:
        print_json({"groups": len(comparison.groups), **{path.suffix[1:]: str(path) for path in files}})
        return
    for path in files:
        click.echo(f"Comparison: {path}")
    if len(comparison.groups) > 1:
        click.echo(f"Not all can be compared: {len(comparison.groups)} groups, each for itself; the page says why.")


def _show(run: Path, settings: NarratorSettings, *, as_json: bool) -> None:
    from compliance.openai_writer import preview
    from compliance.reading import facts_of, read_run
    from compliance.report import load_identifiers
    from compliance.transport import CHANNEL

    identifiers = load_identifiers(run)
    if identifiers is None:
        raise RedactionError(
            "the run's identifiers are not on this machine, so nothing would be sent",
            channel=CHANNEL,
            remedy="Write the report on the machine that ran the training, or here with --offline --out DIR.",
        )
    request = preview(facts_of(read_run(run)), settings=settings, identifiers=identifiers)
    if as_json:
        print_json({"headers": request.head, "body": request.body.decode()})
        return
    click.echo(request.head)
    click.echo(request.body.decode())
