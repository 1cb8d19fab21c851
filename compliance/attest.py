"""The statement of a report: which files it is, about which run's statement, signed by the run's report key alone.

Written anew with each report. Where the key is not on this machine nobody can sign, so no signed report is replaced.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Literal

from compliance.reading import read_run
from fl_engine.evidence import report_key
from fl_engine.evidence.archive import REPORT, STATEMENT, subjects_of_report
from fl_engine.evidence.envelope import seal, sign
from fl_engine.evidence.statement import ReportPredicate, report_statement, sha256
from secagg.identity import Identity


def key_for(run: Path) -> Identity | None:
    """What signs a report in the directory ``run``; None where the run has no statement that a report could be about.

    Raises:
        ConfigError: ``run`` is not a finished run, or its report key is not on this machine.
    """
    return report_key.load(read_run(run).summary.run) if (run / STATEMENT).is_file() else None


def attest_report(run: Path, *, key: Identity, writer: Literal["openai", "offline"]) -> None:
    """Sign the report that lies in the directory ``run``, with what was sent and tested for it."""
    predicate = ReportPredicate(
        run=read_run(run).summary.run,
        statement=sha256((run / STATEMENT).read_bytes()),
        writer=writer,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    payload = report_statement(predicate, subjects_of_report(run)).encode()
    path = run / REPORT
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(seal(payload, [(key.public_key, sign(payload, key))]))
    partial.replace(path)
