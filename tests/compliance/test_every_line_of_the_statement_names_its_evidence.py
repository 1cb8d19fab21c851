"""The statement's page: every field is on it, and every line says what backs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from compliance.privacy_page import Evidence, Kind, Row, privacy_page
from compliance.reading import read_run
from compliance.report import WITHHELD, write_report
from dp.statement import PrivacyStatement
from fedsec_verify.table import STEPS as VERIFIER
from tests.check_readme import ROOT, anchors
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.real_runs import KINDS

Runs = Callable[[str], Path]
WORTH = (Kind.ASSUMED, Kind.ATTESTED, Kind.RECOMPUTED)  # from the least to the most
# What the verifier's own table says that each step can show at most; "" where none looks.
STEPS = {"": Kind.ASSUMED} | {rule.name: Kind(rule.kind) for rule in VERIFIER}
# That a file is what was signed is recomputed. What a sentence in it says is then the signers' word.
STEPS["files"] = Kind.ATTESTED


def unchanged(text: str) -> str:
    return text


def rows_of(statement: PrivacyStatement) -> list[Row]:
    return [row for section in privacy_page(statement, screen=unchanged) for row in section.rows]


def backed(row: Row) -> bool:
    """Whether the verifier has the step, and its verdict is worth what the line says."""
    most = STEPS.get(row.evidence.step)
    return most is not None and WORTH.index(row.evidence.kind) <= WORTH.index(most)


def unbacked(rows: list[Row]) -> list[str]:
    """Lines whose evidence does not exist or claims more than its step can show."""
    wrong = []
    for row in rows:
        path, _, anchor = row.evidence.file.partition("#")
        document = ROOT / path
        exists = not path.endswith(".md") or (
            document.is_file() and (not anchor or anchor in anchors(document.read_text("utf-8")))
        )
        if not exists or not backed(row) or not row.value.strip():
            wrong.append(row.term)
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_has_evidence_of_a_kind_that_its_step_can_give(kind: str, run_of: Runs) -> None:
    rows = rows_of(read_run(run_of(kind)).statement)
    assert len(rows) > 50 and unbacked(rows) == []
    evidence = rows[0].evidence
    for field, value in (("kind", Kind.RECOMPUTED), ("step", "vibes"), ("file", "docs/nothing.md")):
        forged = Row(term="x", value="y", evidence=type(evidence)(**{**vars(evidence), field: value}))
        assert unbacked([forged]) == ["x"], field  # the control


def words(node: object) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(node, dict):
        return [word for each in node.values() for word in words(each)]
    if isinstance(node, list | tuple):
        return [word for each in node for word in words(each)]
    return [node] if isinstance(node, str) else []


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_of_the_statement_is_on_the_page(kind: str, run_of: Runs) -> None:
    statement = read_run(run_of(kind)).statement
    shown = " ".join(f"{row.term} {row.value} {row.evidence.file}" for row in rows_of(statement))
    plain = msgspec.to_builtins(statement)
    for bound in plain["adversaries"]:
        bound["name"] = ""  # shown in words
    for release in plain["releases"]:
        release["event"] = None  # in the file for programs
    missing = [text for text in words(plain) if text not in shown and text != "holdout"]
    assert missing == []
    statement = msgspec.structs.replace(statement, bias="What became of the few.")
    assert "What became of the few." not in shown  # the control: a text that is not on it is seen to be missing


@pytest.mark.parametrize("kind", KINDS)
def test_both_reports_hold_the_page(kind: str, run_of: Runs) -> None:
    run = run_of(kind)
    for name in ("report.md", "report.html"):
        text = (run / name).read_text("utf-8")
        for section in privacy_page(read_run(run).statement, screen=unchanged):
            assert section.heading in text, (name, section.heading)
        assert "Where nobody looked" not in text  # the control


def test_every_free_text_of_the_statement_is_screened(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    statement = read_run(run).statement
    seen: list[str] = []

    def watching(text: str) -> str:
        seen.append(text)
        return text

    privacy_page(statement, screen=watching)
    fixed = {statement.unit, statement.neighbours, statement.mode, statement.key_exchange}
    plain = msgspec.to_builtins(statement)
    for each in (*plain["adversaries"], *plain["releases"], *plain["parameters"], *plain["proofs"]):
        each["name"] = each["account"] = each["charged_to"] = each["release"] = each["event"] = None
    for each in plain["preparation"]:
        each["reads"] = each["paid_by"] = None
    plain["sampling"]["scheme"] = None
    assert [text for text in words(plain) if text not in seen and text not in fixed] == []
    named = msgspec.structs.replace(statement, bias="Nordhafen Privatbank is small.")
    (run / "privacy.json").write_bytes(msgspec.json.encode(named))
    outcome = write_report(run, narrator=None, identifiers=IDENTIFIERS)
    assert all(WITHHELD in file.read_text("utf-8").replace("\\", "") for file in (outcome.html, outcome.markdown))
    assert "Nordhafen" not in outcome.html.read_text("utf-8")
    assert "Nordhafen" in " ".join(row.value for row in rows_of(named))  # the control: without a screen it is shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_that_no_step_compares_is_not_called_recomputed(kind: str, run_of: Runs) -> None:
    statement = read_run(run_of(kind)).statement
    sentences = {
        statement.framework, statement.protects, statement.query_model, statement.accountant, statement.theorem,
        statement.bias, statement.floating_point.accounting, ", ".join(statement.brands),
        *(release.mechanism for release in statement.releases), *(bound.sees for bound in statement.adversaries),
        *statement.outside_ledger, *statement.voids,
    }  # fmt: skip

    def overrated(rows: list[Row]) -> list[str]:
        return [row.term for row in rows if row.value in sentences and row.evidence.kind is Kind.RECOMPUTED]

    rows = rows_of(statement)
    assert overrated(rows) == [] and len([row for row in rows if row.value in sentences]) > 10
    forged = Evidence(file="privacy.json", step="epsilon", kind=Kind.RECOMPUTED)
    assert overrated([Row(term="x", value=statement.accountant, evidence=forged)]) == ["x"]  # the control
