"""A run that was attacked verifies: the attacks' own figures stand on the page and are no claims of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from compliance.attacks.record import FILE, AttackRecord, Verdict, write_attacks
from compliance.report import write_report
from fedsec_verify.hashing import sha256
from tests.verifier.cases import Case, verified
from tests.verifier.runs import Runs

MEASURED = "ε = 0.451; noise × 0.55 would show"


def attacked(runs: Runs, folder: Path) -> Case:
    """A copy of a run with attacks on record and a report that tells of them, signed by the report's key."""
    shutil.copytree(runs.plain.path, folder)
    case = Case(path=folder, other=runs.plain.other, keys=runs.plain.keys)
    verdict = Verdict(
        name="membership",
        title="tell whether a record was there",
        target="opened sum",
        plain="succeeded",
        fedsec="bounded",
        evidence=MEASURED,
        verdict="as claimed",
        right=True,
    )
    run = json.loads(case.read("summary.json"))["run"]
    record = AttackRecord(
        fedsec="0.1.0",
        made="2026-03-14 10:15 UTC",
        run=run,
        privacy=sha256(case.read("privacy.json")),
        verdicts=(verdict,),
    )
    write_attacks(folder / FILE, record)
    write_report(folder, narrator=None, identifiers=None)
    name = "evidence/report.dsse.json"
    case.edit_statement(
        lambda statement: statement.update(
            subject=sorted(
                [*statement["subject"], {"digest": {"sha256": "0" * 64}, "name": FILE}], key=lambda each: each["name"]
            )
        ),
        name,
    )
    case.reseal_report()
    return case


def failed(case: Case) -> list[int]:
    return [step.number for step in verified(case.path) if not step.ok]


def test_a_run_that_was_attacked_verifies(runs: Runs, tmp_path: Path) -> None:
    case = attacked(runs, tmp_path / "run")
    assert MEASURED.split(";", maxsplit=1)[0] in case.read("report.html").decode()
    assert failed(case) == []


def test_control_the_same_figure_elsewhere_is_found(runs: Runs, tmp_path: Path) -> None:
    """Quoted once more than the attacks have it, as if the run claimed it."""
    case = attacked(runs, tmp_path / "run")
    page = case.read("report.html").replace(b"</body>", f"<p>{MEASURED}</p></body>".encode())
    case.write("report.html", page)
    case.reseal_report()
    assert failed(case) == [17]


def test_the_report_tells_of_the_attacks_what_their_record_says(runs: Runs, tmp_path: Path) -> None:
    case = attacked(runs, tmp_path / "run")
    case.edit_json("report.json", lambda report: report["attacks"]["verdicts"][0].update(verdict="not as claimed"))
    case.reseal_report()
    assert failed(case) == [17]


def test_attacks_on_another_run_are_none_on_this_one(runs: Runs, tmp_path: Path) -> None:
    case = attacked(runs, tmp_path / "run")
    case.edit_json(FILE, lambda record: record.update(run="20260102-030405-ab12"))
    case.reseal_report()
    assert failed(case) == [17]
