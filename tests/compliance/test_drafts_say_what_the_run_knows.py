"""Drafts of a DPIA and of model documentation: every figure is the run's, the rest is visibly left to people."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest

from cli.main import invoke
from compliance.claims import absolute_claim
from compliance.documents import OPEN, TEMPLATE_OF, draft_context, write_documents
from compliance.numbers import numbers_in, unsupported
from compliance.prompt import TEMPLATES
from compliance.reading import facts_of, read_run
from compliance.report import WITHHELD
from compliance.templating import environment
from fedsec.errors import ConfigError
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.real_runs import KINDS
from tests.compliance.test_facts_hold_nothing_but_figures import AUDIT

Runs = Callable[[str], Path]
CODE = re.compile(r"`[^`\n]*`")
CLAIM = re.compile(r"ε (?:=|≤|to be at least) ?\d[\d.e-]*")
LINE = "calls ε ≤ 1 conservative"  # a line that the project draws, no claim of a run
ADVERSARY = re.compile(r"against|adversary|Whoever|Everyone|Colluding|The server")


def unchanged(text: str) -> str:
    return text


def drafts(run: Path, folder: Path) -> dict[str, str]:
    """The drafts of a copy of ``run``, by name."""
    copied = folder / "run"
    shutil.copytree(run, copied)
    return {draft.path.name: draft.path.read_text("utf-8") for draft in write_documents(copied, identifiers=None)}


def figures(node: Any) -> Iterator[float]:
    """Every number in a JSON value, those in its texts included."""
    if isinstance(node, dict):
        for each in node.values():
            yield from figures(each)
    elif isinstance(node, list | tuple):
        for each in node:
            yield from figures(each)
    elif isinstance(node, str):
        yield from (number.value for number in numbers_in(node))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield float(node)


def known(run: Path) -> list[float]:
    """Figures of the facts and of privacy.json."""
    facts = facts_of(read_run(run))
    statement = json.loads((run / "privacy.json").read_bytes())
    found = [*figures(facts.model_dump(mode="json")), *figures(statement)]
    if facts.audit is not None:
        found.append(100 * facts.audit.confidence)
    return [value for value in found if math.isfinite(value)]


def fixed(name: str) -> list[float]:
    """Figures that stand in a template itself: articles, sections, dates."""
    found: list[str] = []
    for template in (TEMPLATE_OF[name], "documents.j2"):
        source = (TEMPLATES / template).read_text("utf-8")
        found += [text for _, kind, text in environment(markup=False).lex(source) if kind in ("data", "string")]
    page = (TEMPLATES.parent / "privacy_page.py").read_text("utf-8")
    return list(figures([*found, *re.findall(r'"([^"\n]*)"', page)]))


def invented(text: str, allowed: Iterable[float]) -> list[str]:
    """Lines of a draft with a figure that nobody knows; names of runs, versions and digests stand in code."""
    allowed = list(allowed)
    return [line for line in CODE.sub("", text).splitlines() if unsupported(line, allowed)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_of_a_draft_is_in_the_facts_or_the_statement(kind: str, run_of: Runs, tmp_path: Path) -> None:
    run = run_of(kind)
    for name, text in drafts(run, tmp_path).items():
        allowed = [*known(run), *fixed(name)]
        assert invented(text, allowed) == []
        # The control: a figure that is nowhere in the run is found.
        assert invented(text + "\nε = 2.7182 at δ = 3.3e-7", allowed) == ["ε = 2.7182 at δ = 3.3e-7"]


@pytest.mark.parametrize("disproved", [False, True])
def test_an_audit_of_the_settings_is_told_with_its_figures(disproved: bool, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation="federated")
    found = AUDIT.model_copy(update={"lower_bound": 3.77 if disproved else 0.61, "claimed_epsilon": 2.99})
    facts = facts_of(read_run(run)).model_copy(update={"audit": found})
    templates, records = environment(markup=False), read_run(run)
    for name, template in TEMPLATE_OF.items():
        text = templates.get_template(template).render(draft_context(records, facts, unchanged))
        assert f"at least {found.lower_bound} at" in text and "No empirical audit" not in text
        assert ("does not hold" in text or "disproved.**" in text) == disproved
        assert "No empirical audit" in drafts(run, tmp_path / name)[name]  # the control: none was made


def bare(text: str) -> list[str]:
    """Claims of an ε that delta or unit does not follow, or in whose line no adversary is named."""
    found = []
    for line in text.replace(LINE, "").splitlines():
        for claim in CLAIM.finditer(line):
            after = line[claim.end() : claim.end() + 80]
            whose = "for one " in after or "for the same unit" in after
            if "δ" not in after or not whose or not ADVERSARY.search(line):
                found.append(line)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_epsilon_stands_without_delta_unit_and_adversary(kind: str, run_of: Runs, tmp_path: Path) -> None:
    for text in drafts(run_of(kind), tmp_path).values():
        claims = CLAIM.findall(text.replace(LINE, ""))
        assert bool(claims) == (kind != "NOT PRIVATE")
        assert bare(text) == []
        for wrong in ("It spent ε = 2.3.", "ε = 2.3 at δ = 1e-5 for one record", "ε = 2.3 at δ = 1e-5, against banks"):
            assert bare(f"{text}\n{wrong}") == [wrong]  # the control


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_promises_nothing_without_a_limit(kind: str, run_of: Runs, tmp_path: Path) -> None:
    for text in drafts(run_of(kind), tmp_path).values():
        assert not absolute_claim(text)
        assert absolute_claim(text + " The model is anonymous.")  # the control


def asked(name: str) -> int:
    """How often a template leaves a field to a person, loops counted once."""
    return len(re.findall(r"\btodo\(\"", (TEMPLATES / TEMPLATE_OF[name]).read_text("utf-8")))


def test_what_the_run_cannot_know_is_left_to_people_and_can_be_counted(run_of: Runs, tmp_path: Path) -> None:
    texts = drafts(run_of("distributed, federated"), tmp_path)
    adversaries = 4
    assert len(OPEN.findall(texts["dpia.md"])) == asked("dpia.md") + adversaries - 1
    assert len(OPEN.findall(texts["model-risk.md"])) == asked("model-risk.md")
    for text in texts.values():
        assert text.count("TO BE COMPLETED BY") == len(OPEN.findall(text)) > 20
        assert OPEN.sub("done", text).count("TO BE COMPLETED BY") == 0  # the control: a filled field is none
    for paragraph in ("35(1)", "35(2)", "35(7)(a)", "35(7)(b)", "35(7)(c)", "35(7)(d)", "35(8)", "(9)", "(11)", "36"):
        assert paragraph in texts["dpia.md"]
    for section in (
        "III. Overview of Model Risk and Model Risk Management",
        "IV. Model Development and Model Use",
        "V. Model Validation and Monitoring",
        "VI. Governance and Controls",
        "VII. Vendor and Other Third-Party Products",
    ):
        assert f"## {section}\n" in texts["model-risk.md"]
        assert f"| {section}" in texts["model-risk.md"].partition("## Crosswalk")[2]


def test_the_templates_are_filled_by_nothing_but_the_run() -> None:
    """No narrative and no environment reaches a draft: the names in the templates are these."""
    names = {"facts", "statement", "privacy", "screen", "guarantee", "reserved", "summary"}
    parsed = {
        template: jinja2.meta.find_undeclared_variables(
            environment(markup=False).parse((TEMPLATES / template).read_text("utf-8"))
        )
        for template in TEMPLATE_OF.values()
    }
    assert all(found <= names for found in parsed.values())
    report = environment(markup=False).parse((TEMPLATES / "report.md.j2").read_text("utf-8"))
    assert not jinja2.meta.find_undeclared_variables(report) <= names  # the control: the report has a narrative


def test_a_draft_that_somebody_has_worked_on_is_never_written_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first = write_documents(run, identifiers=None)
    assert write_documents(run, identifiers=None) == first  # the control: an untouched draft may be written again
    filled = first[0].path.read_text("utf-8").replace("who the controller is", "the controller is known", 1)
    first[0].path.write_text(filled, "utf-8")
    first[1].path.unlink()
    with pytest.raises(ConfigError, match=r"dpia\.md is there and differs"):
        write_documents(run, identifiers=None)
    assert first[0].path.read_text("utf-8") == filled and not first[1].path.exists()


def test_a_sentence_of_the_run_that_names_a_bank_is_withheld_from_a_draft(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    file = run / "privacy.json"
    statement = json.loads(file.read_bytes())
    file.write_text(json.dumps(statement | {"voids": ["Nordhafen Privatbank sent nothing."]}), "utf-8")
    told = {
        whose is None: (write_documents(run, identifiers=whose)[0].path).read_text("utf-8").replace("\\", "")
        for whose in (IDENTIFIERS,)
    }
    assert "Nordhafen" not in told[False] and WITHHELD in told[False]
    shutil.rmtree(run / "documents")
    assert "Nordhafen" in write_documents(run, identifiers=None)[0].path.read_text("utf-8")  # the control


def fedsec(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        return invoke(list(arguments)), out.getvalue()


def test_the_command_writes_drafts_and_says_how_much_is_left_to_people(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    code, said = fedsec("report", str(run), "--documents")
    assert code == 0 and said.count("fields are left to people") == 2
    assert not (run / "report.html").exists()
    code, said = fedsec("report", str(run), "--documents", "--json")
    assert code == 0 and {each["left_to_people"] > 20 for each in json.loads(said)["documents"]} == {True}
    assert fedsec("report", str(run), "--documents", "--offline")[0] == 2
    assert fedsec("report", str(run), "--offline")[0] == 0 and (run / "report.html").exists()  # the control
