"""What is written into ``evidence/`` once a run is settled, and what the run's statement says of it."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version

import msgspec

from dp.ledger import Ledger, read_heads
from dp.ledger.heads import HEADS_NAME
from fl_engine.coordinator import Progress
from fl_engine.evidence.archive import LEDGER, PLAN, ROSTER, SBOM
from fl_engine.evidence.software import bill_of_materials, source_digest
from fl_engine.evidence.statement import (
    EventLine,
    LedgerPlace,
    MaskedInputs,
    RunPredicate,
    SignedPlan,
    Software,
    sha256,
)
from fl_engine.messages import Offer
from fl_engine.plan import ETA, TaskPlan
from fl_engine.records import LedgerHead
from fl_engine.run_directory import RunDirectory
from secagg.identity import Roster


class _RosterFile(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    server: str
    members: tuple[str, ...]


def write_parts(directory: RunDirectory, *, roster: Roster, offer: Offer, ledger: Ledger) -> None:
    """Write the roster, the plan as it was signed, the ledger in its public form, and the bill of materials."""
    listed = _RosterFile(server=roster.server.hex(), members=tuple(key.hex() for _, key in roster.members))
    directory.write(ROSTER, msgspec.json.format(msgspec.json.encode(listed), indent=1) + b"\n")
    directory.write(PLAN, offer.plan)
    heads = read_heads(directory.path / HEADS_NAME)  # those of the run: a machine's own key is nobody's business
    directory.write(LEDGER, ledger.export(form="public", heads=heads).encode())
    directory.write(SBOM, bill_of_materials())


def run_predicate(
    *,
    plan: TaskPlan,
    progress: Progress,
    roster: Roster,
    offer: Offer,
    brands: tuple[str, ...],
    report_key: bytes,
    head: LedgerHead,
    masked_until: datetime.date | None,
) -> RunPredicate:
    """What the coordinator says of a run of ``plan``.

    Args:
        plan: as the banks agreed to it; offer: as it was signed.
        progress: its end.
        roster: who took part; brands: warnings.
        report_key: public half, 32 bytes.
        head: of the ledger after settlement.
        masked_until: where masked inputs were kept: the day after which they are to be deleted.
    """
    return RunPredicate(
        run=plan.task,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        fedsec=version("fedsec"),
        brands=brands,
        private=not plan.insecure_deterministic_noise,
        roster=roster.digest.hex(),
        coordinator=roster.server.hex(),
        report_key=report_key.hex(),
        plan=SignedPlan(sha256=sha256(offer.plan), signature=offer.signature.hex()),
        attempts=progress.attempts,
        events=tuple(
            EventLine(
                release=planned.name,
                part=planned.part,
                event=planned.event(),
                planned=planned.attempts,
                charged=progress.begun[planned.name],
                opened=sum(line.release == planned.name and line.status == "opened" for line in progress.attempts),
            )
            for planned in plan.sums
        ),
        delta=plan.delta,
        eta=ETA,
        ledger=LedgerPlace(public_key=head.public_key, entry=head.entry, hash=head.hash),
        masked_inputs=MaskedInputs(
            kept=masked_until is not None, expires=None if masked_until is None else masked_until.isoformat()
        ),
        software=Software(python=platform.python_version(), source=source_digest()),
    )
