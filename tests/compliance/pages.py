"""Reports in every state that a page has to cope with, and what is measured in a browser that shows one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from compliance.attacks.record import FILE as ATTACKS
from compliance.attacks.record import AttackRecord, Verdict, write_attacks
from compliance.audit.results import FILE as AUDIT
from compliance.audit.results import AuditRecord, ControlRecord, write_record
from compliance.report import write_report
from dp.statement import PrivacyStatement
from fl_engine.records import RunSummary
from tests.compliance.helpers import IDENTIFIERS, RUN, make_run


def with_audit(run: Path, *, measured: float = 1.6215) -> Path:
    """``run`` with an ``audit.json`` of its own settings."""
    statement = msgspec.json.decode((run / "privacy.json").read_bytes(), type=PrivacyStatement)
    training = next(each for each in statement.parameters if each.name == "training")
    control = ControlRecord(
        name="no-noise", title="no noise", lower_bound=9.1, canaries=9_000, guesses=800, correct=799, expected=True,
        noticed=True,
    )  # fmt: skip
    record = AuditRecord(
        fedsec="0.1.0",
        run=RUN,
        private=True,
        mode=statement.mode,
        clients=statement.cohort.clients,
        honest_inputs=statement.cohort.honest_inputs,
        noise_multiplier=training.noise_multiplier,
        sampling_rate=training.sampling_rate,
        clip=training.clip,
        dimension=training.dimension,
        openings=12,
        unit=statement.unit,
        claimed_epsilon=2.9987,
        delta=statement.delta,
        lower_bound=measured,
        confidence=0.95,
        canaries=104_214,
        guesses=3_126,
        correct=2_652,
        runs=4,
        noise_noticed=0.52,
        controls=(control,),
        seconds=31.0,
    )
    write_record(run / AUDIT, record)
    return run


def with_attacks(run: Path, *, right: bool = True) -> Path:
    """``run`` with an ``attack.json`` of its own."""
    titles = ("Read the record off the first layer", "Swap a bank's key", "Tell from a sum whether a record is in it")
    record = AttackRecord(
        fedsec="0.1.0",
        made="2026-03-14 11:02 UTC",
        run=RUN,
        privacy=hashlib.sha256((run / "privacy.json").read_bytes()).hexdigest(),
        verdicts=tuple(
            Verdict(
                name=f"attack-{number}",
                title=title,
                target=("masked update", "protocol", "opened sum")[number],
                plain="succeeded",
                fedsec="failed" if number < 2 else "bounded",
                evidence="0 of 40 values found" if number < 2 else "advantage 0.31 (0.28 to 0.34), bound 0.86",
                verdict=("held" if number < 2 else "within the bound") if right else "WRONG: fedsec did not hold",
                right=right,
            )
            for number, title in enumerate(titles)
        ),
    )
    write_attacks(run / ATTACKS, record)
    return run


def without_bound(run: Path) -> Path:
    """``run`` whose accounts no ε bounds."""
    summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=RunSummary)
    open_end = tuple(
        msgspec.structs.replace(line, spent_epsilon=None, course=(*line.course[:-1], None)) for line in summary.ledger
    )
    (run / "summary.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(summary, ledger=open_end)))
    return run


def after(run: Path, *others: Path) -> Path:
    """``run`` as a later one of the same ledger and accounts as ``others``: its courses begin where they ended."""
    summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=RunSummary)
    previous = [msgspec.json.decode((other / "summary.json").read_bytes(), type=RunSummary) for other in others]
    accounts = []
    for number, line in enumerate(summary.ledger):
        left = previous[-1].ledger[number].spent_epsilon if previous else 0.0
        own = line.spent_epsilon or 0.0
        spent = math.hypot(left or 0.0, own)
        course = (left, *(math.hypot(left or 0.0, own * step / 9) for step in range(1, 10)))
        accounts.append(msgspec.structs.replace(line, spent_epsilon=spent, course=course))
    later = msgspec.structs.replace(
        summary,
        run=f"20260315-101500-00000{len(others)}",
        ledger=tuple(accounts),
        ledger_head=msgspec.structs.replace(summary.ledger_head, entry=417 + 9 * len(others)),
    )
    (run / "summary.json").write_bytes(msgspec.json.encode(later))
    return run


RUNS: dict[str, Callable[[Path], Path]] = {
    "normal": lambda folder: with_attacks(with_audit(make_run(folder))),
    "not private": lambda folder: make_run(folder, private=False),
    "own data, federated": lambda folder: make_run(
        folder, dataset="own data", evaluation="federated", epsilon=0.93, simulated=False, aborted=(3, 4)
    ),
    "local mode": lambda folder: make_run(folder, mode="local", budget=None),
    "unbounded account": lambda folder: without_bound(make_run(folder, dataset="own data")),
}


def make_pages(folder: Path) -> dict[str, Path]:
    """The page of each of :data:`RUNS`."""
    return {
        name: write_report(make(folder / name.replace(" ", "-")), narrator=None, identifiers=IDENTIFIERS).html
        for name, make in RUNS.items()
    }


def broken(page: Path, change: Callable[[str], str]) -> Path:
    """A copy of ``page`` that ``change`` has broken, for a control."""
    text = page.read_text("utf-8")
    assert change(text) != text
    copy = page.with_name("broken.html")
    copy.write_text(change(text), "utf-8")
    return copy


def styled(rules: str) -> Callable[[str], str]:
    """A change that adds ``rules`` to the page's style."""
    return lambda text: text.replace("</style>", rules + "</style>", 1)


def modes() -> Iterator[tuple[str, dict[str, object]]]:
    """The ways to look at a page, by name, as arguments of :func:`tests.browser.opened`."""
    from tests.browser import DESKTOP, PAPER, PHONE

    yield "light", {"size": DESKTOP}
    yield "dark", {"size": DESKTOP, "dark": True}
    yield "phone", {"size": PHONE}
    yield "print", {"size": PAPER, "paper": True}
