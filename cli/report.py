"""``fedsec report RUN``: write the compliance report of a finished run again, or show what a request would send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import print_json
from fedsec.errors import ConfigError, RedactionError

if TYPE_CHECKING:
    from compliance.narrative import NarratorSettings

_PARTIAL = ".partial"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--model", metavar="M", help="Model that writes the narrative (default: OPENAI_MODEL, or gpt-5-mini).")
@click.option(
    "--base-url", metavar="URL", help="OpenAI-compatible service, up to /v1 (default: OPENAI_BASE_URL, or OpenAI)."
)
@click.option("--offline", is_flag=True, help="Ask no language model, whatever the environment says.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write an unsigned report there, RUN stays as it is."
)
@click.option("--dry-run", is_flag=True, help="Print exactly what a request would send, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def report(
    *,
    run: Path,
    model: str | None,
    base_url: str | None,
    offline: bool,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write report.html, report.md and report.json of the finished run in the directory RUN.

    A language model writes the narrative where OPENAI_API_KEY, OPENAI_BASE_URL or --base-url says which one; it is sent
    public figures only, and nothing that names a bank, a file or this machine. Otherwise, and whenever anything goes
    wrong, fixed sentences stand in and the report says why. The report is signed with the key that the run left in the
    operator's private folder.
    """
    from compliance.attest import attest_report, key_for
    from compliance.narrative import DEFAULT_MODEL, NarratorSettings
    from compliance.report import load_identifiers, write_report

    if run.resolve().name.endswith(_PARTIAL):
        raise ConfigError(
            f"{run} is the directory of a run that did not finish",
            remedy="Resume it with `fedsec run --resume RUN`, then write its report.",
        )
    if offline and (model or base_url or dry_run):
        raise ConfigError("--offline goes with none of --model, --base-url and --dry-run")
    settings = NarratorSettings.from_environment(model=model, base_url=base_url)
    if dry_run:
        _show(run, settings or NarratorSettings(model=model or DEFAULT_MODEL), as_json=as_json)
        return
    key = key_for(run) if out is None else None  # before anything is asked or written
    narrator = None if offline else settings
    outcome = write_report(run, narrator=narrator, identifiers=load_identifiers(run), out=out)
    if key is not None:
        attest_report(run, key=key, writer=outcome.narrative)
    reason = None if offline else outcome.reason
    if as_json:
        print_json(
            {
                "report": str(outcome.html),
                "markdown": str(outcome.markdown),
                "json": str(outcome.json),
                "narrative": outcome.narrative,
                "reason": reason,
                "sent": str(outcome.sent) if outcome.sent else None,
            }
        )
        return
    click.echo(f"Report: {outcome.html}")
    click.echo("Narrative: by the language model" if outcome.narrative == "openai" else "Narrative: offline text")
    if reason:
        click.echo(f"  because {reason}")
    if outcome.sent:
        click.echo(f"Sent: {outcome.sent}")


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
            remedy="Write the report on the machine that ran the training, or with --offline.",
        )
    request = preview(facts_of(read_run(run)), settings=settings, identifiers=identifiers)
    if as_json:
        print_json({"headers": request.head, "body": request.body.decode()})
        return
    click.echo(request.head)
    click.echo(request.body.decode())
