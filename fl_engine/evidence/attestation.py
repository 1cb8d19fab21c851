"""Writing and signing the evidence of a run that is settled: its parts, its statement, and all who sign that."""

from __future__ import annotations

import datetime

from dp.ledger import Ledger
from fedsec.errors import RemoteProtocolError
from fl_engine.coordinator import Coordinator
from fl_engine.evidence.archive import STATEMENT, Archive, subjects_of_run
from fl_engine.evidence.bundle import run_predicate, write_parts
from fl_engine.evidence.envelope import is_signed, seal
from fl_engine.evidence.statement import run_statement
from fl_engine.messages import (
    COUNTERSIGNED_BYTES,
    OFFER_BYTES,
    Countersign,
    Countersigned,
    Offer,
    decode,
    encode,
)
from fl_engine.records import LedgerHead
from fl_engine.run_directory import RunDirectory
from fl_engine.runtime.local import LocalFederation
from secagg.identity import Roster


def attest_run(
    directory: RunDirectory,
    *,
    coordinator: Coordinator,
    federation: LocalFederation,
    archive: Archive,
    roster: Roster,
    ledger: Ledger,
    brands: tuple[str, ...],
    report_key: bytes,
    head: LedgerHead,
    masked_until: datetime.date | None,
) -> None:
    """Write ``evidence/``, about all files that are in ``directory`` by now, and have the banks countersign it.

    Args:
        directory: of the run, with all its records but the report.
        coordinator, federation: of the run; archive: what they left of each attempt.
        roster: who took part; ledger: that was charged, settled; brands: warnings.
        report_key: public half, 32 bytes.
        head: of the ledger after settlement.
        masked_until: where masked inputs were kept: the day after which they are to be deleted.

    Raises:
        RemoteProtocolError: a bank does not vouch for the statement (rule "evidence"), or signs something else (rule
            "signature").
    """
    offer = decode(coordinator.offer(), Offer, limit=OFFER_BYTES, peer=None)
    write_parts(directory, roster=roster, offer=offer, ledger=ledger)
    predicate = run_predicate(
        plan=coordinator.plan,
        progress=coordinator.progress,
        roster=roster,
        offer=offer,
        brands=brands,
        report_key=report_key,
        head=head,
        masked_until=masked_until,
    )
    payload = run_statement(predicate, subjects_of_run(directory.path)).encode()
    ended = [line.attempt for line in predicate.attempts if line.status != "interrupted"]
    request = encode(Countersign(payload=payload, rounds=tuple(archive.read(attempt) for attempt in ended)))
    signatures = [(roster.server, coordinator.sign(payload))]
    for index, answer in federation.countersign(request).items():
        signature = decode(answer, Countersigned, limit=COUNTERSIGNED_BYTES, peer=index).signature
        if not is_signed(payload, roster.public_key(index), signature):
            raise RemoteProtocolError(
                f"bank {index} signed something else than the statement", peer=index, rule="signature"
            )
        signatures.append((roster.public_key(index), signature))
    directory.write(STATEMENT, seal(payload, signatures))
