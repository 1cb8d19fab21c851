"""The report of a finished run: a page, its Markdown and its JSON, from the run's directory alone.

The three files say the same. Figures come from :class:`compliance.facts.Facts`; the few free sentences, which the run
itself wrote into ``privacy.json``, are for this machine only and are shown after a search for identifiers.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from markupsafe import Markup

from compliance.attacks.record import FILE as ATTACKS
from compliance.attacks.record import AttackRecord, read_attacks
from compliance.disclosed import disclosed
from compliance.facts import FEWEST_BANKS, Facts
from compliance.identifiers import Identifiers, identifiers_path
from compliance.narrative import Narrative, NarratorSettings, narrate
from compliance.privacy_page import Screen, privacy_page
from compliance.prompt import TEMPLATES
from compliance.reading import RunRecords, facts_of, read_run
from compliance.redaction import Scanner
from compliance.spending import Spending
from compliance.templating import environment
from compliance.verdict import Verdict, next_steps, risks_of, verdict_of
from fedsec.errors import ConfigError, RedactionError

WITHHELD = "(a sentence is withheld here: it held an identifier)"
# not summary.json: the run adds to it how long this report took
_HASHED = ("config.toml", "metrics.jsonl", "privacy.json", "audit.json", ATTACKS, "model.safetensors")


@dataclass(frozen=True, kw_only=True)
class ReportOutcome:
    """What :func:`write_report` wrote.

    Attributes:
        html, markdown, json: the three files.
        narrative: who wrote the narrative.
        reason: why it is the offline text; None where a model wrote it.
        sent: exact body of the first request that was made; None where none was.
        spending: what the narrative cost.
    """

    html: Path
    markdown: Path
    json: Path
    narrative: Literal["openai", "offline"]
    reason: str | None
    sent: Path | None
    spending: Spending


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Free texts of the run's own statement, each searched for identifiers; for the report on this machine only.

    Attributes:
        brands: warnings of the run.
        sees: what each adversary observes, by its short name.
        mechanisms: one per release, by its name.
        banks: noise beside bank sizes.
        outside, voids: lists of the statement.
        aborts: reason of each aborted attempt, by its index.
        accountant, theorem: of the headline.
    """

    brands: tuple[str, ...]
    sees: dict[str, str]
    mechanisms: dict[str, str]
    banks: str
    outside: tuple[str, ...]
    voids: tuple[str, ...]
    aborts: dict[int, str]
    accountant: str
    theorem: str


def load_identifiers(run: Path) -> Identifiers | None:
    """The identifiers of the run in the directory ``run``, or None where this machine does not have them.

    Raises:
        ConfigError: ``run`` is not a finished run, or the file is damaged.
    """
    try:
        return Identifiers.load(identifiers_path(read_run(run).summary.run))
    except FileNotFoundError:
        return None


def write_report(
    run: Path, *, narrator: NarratorSettings | None, identifiers: Identifiers | None, out: Path | None = None
) -> ReportOutcome:
    """Write ``report.html``, ``report.md`` and ``report.json`` of a finished run.

    Args:
        run: holds ``config.toml``, ``metrics.jsonl``, ``privacy.json`` and ``summary.json``.
        narrator: the language model that may be asked; None: the offline text.
        identifiers: what must not leave; None: not known on this machine, so no model is asked.
        out: folder for the files, made if absent; None: ``run`` itself.

    Raises:
        ConfigError: ``run`` is not the directory of a finished run, or states an ε that its releases do not give; or
            its ``audit.json`` or ``attack.json`` is of another run, or ``out`` cannot be made.
    """
    records = read_run(run)
    folder = _folder(run, out)
    attacks = _attacks(run, records)
    facts = facts_of(records)
    narrative = narrate(facts, settings=narrator, identifiers=identifiers, outbox=folder / "outbound")
    context = _context(run, records, facts, narrative, screen_of(identifiers), attacks=attacks)
    html, markdown, data = folder / "report.html", folder / "report.md", folder / "report.json"
    contents = {
        html: _page(context),
        markdown: environment(markup=False).get_template("report.md.j2").render(context),
        data: _json(facts, narrative, context["provenance"], context["verdict"], attacks),
    }
    for path, text in contents.items():
        replace_file(path, text)
    return ReportOutcome(
        html=html,
        markdown=markdown,
        json=data,
        narrative=narrative.writer,
        reason=narrative.reason,
        sent=narrative.sent,
        spending=narrative.spending,
    )


def _folder(run: Path, out: Path | None) -> Path:
    if out is None:
        return run
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be written to: {error.strerror}") from None
    return out


def _attacks(run: Path, records: RunRecords) -> AttackRecord | None:
    if not (run / ATTACKS).is_file():
        return None
    privacy = hashlib.sha256((run / "privacy.json").read_bytes()).hexdigest()
    return read_attacks(run / ATTACKS, run=records.summary.run, privacy=privacy)


def _context(
    run: Path,
    records: RunRecords,
    facts: Facts,
    narrative: Narrative,
    screen: Screen,
    *,
    attacks: AttackRecord | None,
) -> dict[str, Any]:
    return {
        "facts": facts,
        "verdict": verdict_of(facts, attacks),
        "attacks": attacks,
        "risks": risks_of(facts),
        "steps": next_steps(facts, attacks),
        "narrative": narrative,
        "sentences": _sentences(records, screen),
        "privacy": privacy_page(records.statement, screen=screen),
        "fewest": FEWEST_BANKS,
        "sent": f"outbound/{narrative.sent.name}" if narrative.sent else None,
        "provenance": {
            "run": records.summary.run,
            "started": records.summary.started,
            "fedsec": records.summary.fedsec,
            "python": records.summary.python,
            "torch": records.summary.torch,
            "opacus": records.summary.opacus,
            "engine": records.summary.engine,
            "ledger": msgspec.structs.asdict(records.summary.ledger_head),
            "roster": records.summary.roster,
            "sha256": {
                name: hashlib.sha256((run / name).read_bytes()).hexdigest()
                for name in _HASHED
                if (run / name).is_file()
            },
        },
    }


def _page(context: dict[str, Any]) -> str:
    from compliance.figures import pictures

    drawn = [(picture, Markup(picture.svg)) for picture in pictures(context["facts"])]  # noqa: S704 - our own SVG of numbers
    css = Markup((TEMPLATES / "report.css").read_text("utf-8"))  # noqa: S704 - our own file
    return environment(markup=True).get_template("report.html.j2").render(context, pictures=drawn, css=css)


def _json(
    facts: Facts, narrative: Narrative, provenance: dict[str, Any], verdict: Verdict, attacks: AttackRecord | None
) -> str:
    document = {
        "version": 1,
        "facts": facts.model_dump(mode="json"),
        "disclosed": disclosed(facts).model_dump(mode="json"),  # what a request can state, whether or not one was made
        "narrative": {
            "writer": narrative.writer,
            "model": narrative.model,
            "reason": narrative.reason,
            "api": narrative.api,
            **narrative.spending.as_json(),
            "sections": narrative.sections.model_dump(),
        },
        "verdict": {"tone": verdict.tone, "headline": verdict.headline, "mind": verdict.mind},
        "attacks": None if attacks is None else msgspec.to_builtins(attacks),
        "provenance": provenance,
    }
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def screen_of(identifiers: Identifiers | None) -> Screen:
    """What replaces a free text of the run that holds an identifier; without known identifiers nothing is."""

    @cache
    def scanner() -> Scanner | None:
        return Scanner(identifiers, fixed=_vocabulary()) if identifiers is not None else None

    def screened(text: str) -> str:
        try:
            if (known := scanner()) is not None:
                known.check_answer(text, "report", figures=True)
        except RedactionError:
            return WITHHELD
        return text

    return screened


def _sentences(records: RunRecords, screened: Screen) -> Sentences:
    statement = records.statement
    return Sentences(
        brands=tuple(screened(brand) for brand in statement.brands),
        sees={adversary.name: screened(adversary.sees) for adversary in statement.adversaries},
        mechanisms={release.name: screened(release.mechanism) for release in statement.releases},
        banks=screened(statement.noise_against_banks),
        outside=tuple(screened(text) for text in statement.outside_ledger),
        voids=tuple(screened(text) for text in statement.voids),
        aborts={record.index: screened(record.reason) for record in records.attempts if record.reason is not None},
        accountant=screened(statement.accountant),
        theorem=screened(statement.theorem),
    )


@cache
def _vocabulary() -> tuple[str, ...]:
    """Words of our own, in which a bank's name that is an ordinary word is no evidence of anything."""
    texts = [(TEMPLATES / name).read_text("utf-8") for name in ("prompt.md.j2", "report.md.j2")]
    return tuple(line for text in texts for line in text.splitlines())


def replace_file(path: Path, text: str) -> None:
    """Put ``text`` in the place of whatever is at ``path``, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, "utf-8")
    partial.replace(path)
