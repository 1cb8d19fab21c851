"""Step 17: the report is signed by the run's report key over this very statement, and its figures are the run's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec

from fedsec_verify.bundle import REPORT, STATEMENT, Bundle, Options
from fedsec_verify.decoding import from_base64, from_json
from fedsec_verify.envelopes import IN_TOTO, signers
from fedsec_verify.figures import figures_of, numbers_in, rounded
from fedsec_verify.findings import Refused, require
from fedsec_verify.formats import Envelope, ReportStatement
from fedsec_verify.hashing import sha256
from fedsec_verify.report_facts import difference, expected_facts
from fedsec_verify.results import METRICS, PRIVACY, SUMMARY, metrics_of, privacy_of, reported, summary_of
from fedsec_verify.steps import RECOMPUTED, Outcome

HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
AUDIT, ATTACKS, OUTBOUND = "audit.json", "attack.json", "outbound"
PREDICATE = "urn:fedsec:evidence:report:1"
REPORT_STEP = 17
MARKED = ("delta",)  # what the page must mark; every adversary's bound and the headline besides
FRAUD_EDGES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
FIXED_NUMBERS = (0.95, 1.0, 5.0)  # of the narrative's own sentences: 95 %, "above 1", "fewer than 5 banks"
DIGESTS = ("config.toml", METRICS, PRIVACY, AUDIT, ATTACKS, "model.safetensors")
AUDITED = (
    "lower_bound", "claimed_epsilon", "confidence", "canaries", "guesses", "correct", "noise_noticed"
)  # fmt: skip


_CLAIM = re.compile(r"([εδ])\s?=\s?[\d.,]*\d(?:e-?\d+)?")
_CLAIMED = {
    "ε": ("epsilon", "planned_epsilon", "spent_epsilon", "budget_epsilon", "claimed_epsilon", "lower_bound", "course"),
    "δ": ("delta",),
}


class Narrative(msgspec.Struct, frozen=True):
    """Who wrote the report's four paragraphs, and these."""

    writer: str
    model: str | None
    reason: str | None
    requests: int
    sections: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """report.json, as far as it has figures of the run; a verdict in words and the attacks' results may stand beside.

    ``disclosed``: what of the facts a request may hold.
    """

    version: int
    facts: dict[str, Any]
    narrative: Narrative
    provenance: dict[str, Any]
    disclosed: dict[str, Any] | None = None
    attacks: dict[str, Any] | None = None


def check_report(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Signature, digests, and every figure of report.json and those that report.html marks."""
    subjects = _signed_subjects(bundle)
    report = report_of(bundle)
    _check_facts(bundle, report)
    _check_provenance(bundle, report)
    _check_narrative(bundle, report, told_of_attacks=_check_attacks(bundle, report))
    marks = _check_page(bundle, report)
    return Outcome(
        kind=RECOMPUTED,
        detail=f"{len(subjects)} files by the report key; report.json's {len(list(figures_of(report.facts)))} figures, "
        f"and {marks} that report.html marks",
    )


def report_of(bundle: Bundle) -> Report:
    """report.json.

    Raises:
        Broken: it cannot be read (step 17).
    """
    return reported(REPORT_STEP, lambda: from_json(bundle.read(JSON), Report, JSON))


def _signed_subjects(bundle: Bundle) -> dict[str, str]:
    envelope = from_json(bundle.read(REPORT), Envelope, REPORT)
    payload = from_base64(envelope.payload, REPORT, "a payload")
    key = bundle.statement.report_key
    by = signers(envelope, payload, REPORT)
    require(by == (key,), REPORT, f"one signature, by the report key {key} of the run's statement", ", ".join(by))
    statement = from_json(payload, ReportStatement, REPORT, canonical=True)
    kinds = (statement.type_, statement.predicateType)
    require(kinds == (IN_TOTO, PREDICATE), REPORT, f"an in-toto statement of the kind {PREDICATE}", str(kinds))
    run, digest = statement.predicate.run, statement.predicate.statement
    require(run == bundle.plan.task, REPORT, f"a report of the run {bundle.plan.task}", run)
    require(
        digest == bundle.statement_sha256,
        REPORT,
        f"a report over {STATEMENT} of SHA-256 {bundle.statement_sha256}",
        digest,
    )
    subjects = {subject.name: subject.digest.sha256 for subject in statement.subject}
    listed = [subject.name for subject in statement.subject]
    require(listed == sorted(subjects), REPORT, "subjects by name, each once")
    _check_complete(bundle, subjects)
    for name, expected in subjects.items():
        found = sha256(bundle.read(name))
        require(found == expected, name, f"a file of SHA-256 {expected}, as the report's statement has it", found)
    writer = report_of(bundle).narrative.writer
    require(writer == statement.predicate.writer, JSON, f"the writer {statement.predicate.writer}", writer)
    return subjects


def _check_complete(bundle: Bundle, subjects: dict[str, str]) -> None:
    """The report's own files, and everything that left for a language model; nothing else."""
    needed = {HTML, MARKDOWN, JSON} | outbound_files(bundle)
    needed |= {name for name in (AUDIT, ATTACKS) if (bundle.path / name).exists()}
    missing, extra = sorted(needed - subjects.keys()), sorted(subjects.keys() - needed)
    require(not missing, missing[0] if missing else REPORT, f"only files that {REPORT} names")
    require(not extra, extra[0] if extra else REPORT, f"each file that {REPORT} names")


def outbound_files(bundle: Bundle) -> set[str]:
    """The files in outbound/, by their names in the run's directory."""
    folder = bundle.path / OUTBOUND
    if not folder.is_dir():
        return set()
    found = {path.relative_to(bundle.path).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return found | {path.relative_to(bundle.path).as_posix() for path in folder.rglob("*") if path.is_symlink()}


def _check_facts(bundle: Bundle, report: Report) -> None:
    expected = expected_facts(summary_of(bundle), privacy_of(bundle), metrics_of(bundle))
    found = dict(report.facts)
    _check_audit(bundle, found.pop("audit", None))
    if (first := difference(found, expected)) is not None:
        path, should, is_ = first
        raise Refused(JSON, f"facts.{path}: {should!r}, as {METRICS}, {PRIVACY} and {SUMMARY} give it", repr(is_))


def _check_audit(bundle: Bundle, found: Any) -> None:
    if not (bundle.path / AUDIT).exists():
        require(found is None, JSON, f"no audit, since there is no {AUDIT}")
        return
    audit = from_json(bundle.read(AUDIT), dict[str, Any], AUDIT)
    require(
        audit.get("run") == bundle.plan.task, AUDIT, f"an audit of the run {bundle.plan.task}", str(audit.get("run"))
    )
    controls = audit.get("controls", [])
    expected = {
        **{name: audit.get(name) for name in AUDITED},
        "controls": len(controls),
        "controls_noticed": sum(control["noticed"] for control in controls),
        "controls_missed": sum(control["expected"] and not control["noticed"] for control in controls),
    }
    if (first := difference(found, expected)) is not None:
        raise Refused(JSON, f"facts.audit.{first[0]}: {first[1]!r}, as {AUDIT} has it", repr(first[2]))


def _check_attacks(bundle: Bundle, report: Report) -> list[str]:
    """What attack.json measured, in its words: figures of the attacks' own settings, and none of the run's claim."""
    found = report.attacks
    if not (bundle.path / ATTACKS).exists():
        require(found is None, JSON, f"no attacks, since there is no {ATTACKS}")
        return []
    attacks = from_json(bundle.read(ATTACKS), dict[str, Any], ATTACKS)
    run, privacy = bundle.plan.task, sha256(bundle.read(PRIVACY))
    require(attacks.get("run") == run, ATTACKS, f"attacks on the run {run}", str(attacks.get("run")))
    require(attacks.get("privacy") == privacy, ATTACKS, f"attacks on the {PRIVACY} of SHA-256 {privacy}")
    if (first := difference(found, attacks)) is not None:
        raise Refused(JSON, f"attacks.{first[0]}: {first[1]!r}, as {ATTACKS} has it", repr(first[2]))
    verdicts = attacks.get("verdicts")
    usable = isinstance(verdicts, list) and all(isinstance(each, dict) for each in verdicts)
    require(usable, ATTACKS, "a list of verdicts")
    return [str(each.get("evidence", "")) for each in attacks["verdicts"]]


def _check_provenance(bundle: Bundle, report: Report) -> None:
    summary = summary_of(bundle)
    expected = {
        **{
            name: getattr(summary, name) for name in ("run", "started", "fedsec", "python", "torch", "opacus", "engine")
        },
        "ledger": msgspec.to_builtins(summary.ledger_head),
        "roster": summary.roster,
        "sha256": {name: sha256(bundle.read(name)) for name in DIGESTS if (bundle.path / name).exists()},
    }
    if (first := difference(report.provenance, expected)) is not None:
        raise Refused(JSON, f"provenance.{first[0]}: {first[1]!r}", repr(first[2]))


def _check_narrative(bundle: Bundle, report: Report, *, told_of_attacks: list[str]) -> None:
    """Each number in the narrative is a figure of the report, and page and Markdown say the same text.

    No other epsilon stands anywhere, but where the attacks' sentences are quoted word for word, once each.
    """
    figures = told_figures(report)
    for value in figures_of(report.disclosed):
        known = any(math.isclose(value, figure, rel_tol=1e-9) for figure in figures)
        require(known, JSON, "under disclosed figures of the report only, or their bands", str(value))
    page = _folded(_Page.read(bundle.read(HTML)).text)
    markdown = _folded(re.sub(r"\\([\\`*_\[\]<>#|~!])", r"\1", bundle.read(MARKDOWN).decode()))
    for name, text in report.narrative.sections.items():
        for number in numbers_in(text):
            known = number.is_one_of(figures)
            require(known, JSON, f"narrative.sections.{name} with figures of the report only", number.text)
        require(_folded(text) in page, HTML, f"the narrative's {name} of {JSON}")
        require(_folded(text) in markdown, MARKDOWN, f"the narrative's {name} of {JSON}")
    headline = report.facts.get("epsilon")
    for file, text in ((HTML, page), (MARKDOWN, markdown)):
        if isinstance(headline, float):
            require(f"ε = {rounded(headline)}" in text, file, f"the headline ε = {rounded(headline)}")
        own = text
        for quoted in told_of_attacks:
            own = own.replace(_folded(quoted), "", 1)
        for told in _CLAIM.finditer(own):
            claimed = list(_named(report.facts, _CLAIMED[told[1]]))
            known = all(number.is_one_of(claimed) for number in numbers_in(told[0]))
            require(known, file, f"after {told[1]} = only what {JSON} has of that kind", told[0])


def told_figures(report: Report) -> list[float]:
    """Figures that a text about the run may have: those of the report, e^epsilon, and bands of what was measured.

    A share measured over pooled rows is sent as the band that it lies in: hundredths, or FRAUD_EDGES.
    """
    facts = report.facts
    epsilon = facts.get("epsilon")
    odds = [math.exp(epsilon)] if isinstance(epsilon, float) and epsilon < 700 else []
    measured = list(figures_of([facts.get("quality"), facts.get("intervals")]))
    hundredths = [
        edge(value * 100 + nudge) / 100
        for value in measured
        for edge in (math.floor, math.ceil)
        for nudge in (-1e-9, 1e-9)
    ]
    share = facts.get("fraud_share")
    below = [edge for edge in FRAUD_EDGES if share is not None and edge <= share]
    above = [edge for edge in FRAUD_EDGES if share is not None and edge >= share]
    return [*figures_of(facts), *odds, *hundredths, *below[-1:], *above[:2], *FIXED_NUMBERS]


def _check_page(bundle: Bundle, report: Report) -> int:
    """Figures that the page marks: the attribute is the fact, the text its rounding; the headline's must be marked."""
    marks = _Page.read(bundle.read(HTML)).marks
    for path, value, text in marks:
        fact = _at(report.facts, path)
        number = isinstance(fact, int | float) and not isinstance(fact, bool)
        require(number, HTML, f"marks of figures; facts.{path} is none", str(fact))
        require(value == json.dumps(fact), HTML, f"at the mark {path} the value {json.dumps(fact)}", value)
        require(text == rounded(fact), HTML, f"at the mark {path} the text {rounded(fact)}", text)
    bounds = [f"bounds.{at}.epsilon" for at in range(len(report.facts["bounds"]))]
    needed = [path for path in ("epsilon", *MARKED, *bounds) if isinstance(_at(report.facts, path), float)]
    there = {path for path, _, _ in marks}
    missing = [path for path in needed if path not in there]
    require(not missing, HTML, "a mark of the headline, of delta and of each adversary's epsilon", ", ".join(missing))
    return len(marks)


def _named(facts: Any, names: tuple[str, ...]) -> Iterator[float]:
    """Every number under one of ``names``, wherever it is in the facts."""
    if isinstance(facts, dict):
        for name, value in facts.items():
            yield from figures_of(value) if name in names else _named(value, names)
    elif isinstance(facts, list):
        for value in facts:
            yield from _named(value, names)


def _at(facts: Any, path: str) -> Any:
    for part in path.split("."):
        try:
            facts = facts[int(part)] if isinstance(facts, list) else facts[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return facts


def _folded(text: str) -> str:
    return " ".join(text.split())


class _Page(HTMLParser):
    """The visible text of a page, and its marks: (path, value, text)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.marks: list[tuple[str, str, str]] = []
        self._pieces: list[str] = []
        self._hidden = 0
        self._mark: tuple[str, str] | None = None
        self._inside: list[str] = []

    @classmethod
    def read(cls, data: bytes) -> _Page:
        page = cls()
        try:
            page.feed(data.decode())
        except UnicodeDecodeError:
            raise Refused(HTML, "a page in UTF-8") from None
        page.close()
        return page

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "script")
        named = dict(attrs)
        if "data-fact" in named:
            self._mark, self._inside = (named["data-fact"] or "", named.get("value") or ""), []
        if tag in ("p", "li", "td", "th", "div", "br", "h1", "h2", "h3"):
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")
        if tag == "data" and self._mark is not None:
            self.marks.append((*self._mark, "".join(self._inside)))
            self._mark = None

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._pieces.append(data)
        if self._mark is not None:
            self._inside.append(data)
