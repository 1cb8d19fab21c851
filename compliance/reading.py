"""A finished run's directory, read once: the records, the facts in them, and the sentences for the local report."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pydantic

from compliance.audit.results import FILE, AuditRecord, read_record
from compliance.facts import (
    FEWEST_BANKS,
    Accountant,
    Adversary,
    Attempt,
    Audit,
    Balance,
    Bound,
    CrossCheck,
    Data,
    Dropouts,
    Evaluation,
    Facts,
    Interval,
    Intervals,
    Mode,
    Neighbours,
    Opening,
    Originals,
    Part,
    Quality,
    ReleaseName,
    Step,
    Times,
    Unit,
)
from compliance.recompute import check_epsilons
from dp.statement import PrivacyStatement
from fedsec.errors import ConfigError
from fl_engine.records import AccountBalance, Metrics, RoundRecord, RunSummary

SIMULATED_KEYS = "SIMULATED KEYS"
Record = TypeVar("Record", PrivacyStatement, RunSummary, RoundRecord)


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """The typed records of one finished run.

    Attributes:
        summary, statement: of the run.
        attempts: one record per attempt, in order.
        audit: of the run's settings, where one was made.
    """

    summary: RunSummary
    statement: PrivacyStatement
    attempts: tuple[RoundRecord, ...]
    audit: AuditRecord | None


def read_run(run: Path) -> RunRecords:
    """The records in the directory ``run``.

    Raises:
        ConfigError: it is not the directory of a finished run, or a record in it cannot be read.
    """
    if not run.is_dir():
        raise ConfigError(f"{run} is not a run's directory", remedy="Give the directory that `fedsec run` named.")
    missing = [
        name for name in ("config.toml", "metrics.jsonl", "privacy.json", "summary.json") if not (run / name).is_file()
    ]
    if missing:
        raise ConfigError(
            f"{run} is not the directory of a finished run: {', '.join(missing)} missing",
            remedy="A run that died leaves a directory that ends in .partial: resume it with `fedsec run --resume`.",
        )
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    return RunRecords(
        summary=_decoded(RunSummary, (run / "summary.json").read_bytes(), run / "summary.json"),
        statement=_decoded(PrivacyStatement, (run / "privacy.json").read_bytes(), run / "privacy.json"),
        attempts=tuple(_decoded(RoundRecord, line, run / "metrics.jsonl") for line in lines if line.strip()),
        audit=read_record(run / FILE) if (run / FILE).is_file() else None,
    )


def facts_of(records: RunRecords) -> Facts:
    """What a report may state about ``records``, field by field.

    Raises:
        ConfigError: a record holds a value that no version of this format has, or an ε that its releases do not give;
            or the audit is of other settings.
    """
    check_epsilons(records.statement)
    try:
        return _facts(records.summary, records.statement, records.attempts, _audit(records))
    except (ValueError, pydantic.ValidationError) as error:
        where = ""
        if isinstance(error, pydantic.ValidationError):
            where = " (" + ".".join(str(part) for part in error.errors()[0]["loc"]) + ")"
        raise ConfigError(
            f"the run's records do not fit what this version of fedsec reports{where}",
            remedy="Use the version of fedsec that summary.json names.",
        ) from None


def part_of(account: str) -> Part:
    """The split part that a ledger account stands for; its holder and data set are left out."""
    known = {"train": Part.TRAINING, "training": Part.TRAINING, "holdout": Part.HOLDOUT}
    return known.get(account.rpartition("/")[2], Part.OTHER)


def _audit(records: RunRecords) -> Audit | None:
    """The audit's figures, which must be about this run's settings.

    Raises:
        ConfigError: they are not.
    """
    audit, statement = records.audit, records.statement
    if audit is None:
        return None
    stated = next((each for each in statement.parameters if each.name == ReleaseName.TRAINING.value), None)
    same = stated is not None and all(
        math.isclose(one, other, rel_tol=1e-6)
        for one, other in (
            (audit.noise_multiplier, stated.noise_multiplier),
            (audit.sampling_rate, stated.sampling_rate),
            (audit.clip, stated.clip),
            (audit.dimension, stated.dimension),
            (audit.delta, statement.delta),
        )
    )
    stated_of = (records.summary.run, True, statement.mode, statement.unit)
    if not same or (audit.run, audit.private, audit.mode, audit.unit) != stated_of:
        raise ConfigError(
            f"{FILE} is the audit of other settings, or of broken noise",
            remedy=f"Delete it, or make it again with `fedsec audit RUN --out RUN/{FILE}`.",
        )
    return Audit(
        lower_bound=audit.lower_bound,
        claimed_epsilon=audit.claimed_epsilon,
        confidence=audit.confidence,
        canaries=audit.canaries,
        guesses=audit.guesses,
        correct=audit.correct,
        noise_noticed=audit.noise_noticed,
        controls=len(audit.controls),
        controls_noticed=sum(control.noticed for control in audit.controls),
        controls_missed=len(audit.missed),
    )


def _facts(
    summary: RunSummary, statement: PrivacyStatement, attempts: tuple[RoundRecord, ...], audit: Audit | None
) -> Facts:
    cohort = statement.cohort
    evaluation = Evaluation(summary.evaluation)
    quality, intervals = _final(summary, attempts, evaluation)
    share = summary.fraud_share if quality is not None else None
    return Facts(
        private=statement.private,
        simulated_keys=SIMULATED_KEYS in statement.brands,
        data=Data(summary.dataset),
        mode=Mode(statement.mode),
        evaluation=evaluation,
        banks=summary.banks,
        corrupt=cohort.corrupt,
        threshold=cohort.threshold,
        honest_inputs=cohort.honest_inputs,
        least_survivors_enforced=cohort.min_survivors,
        slots=summary.slots,
        layers=summary.model,
        rounds_planned=summary.rounds_planned,
        rounds_opened=summary.rounds_opened,
        attempts_aborted=sum(attempt.status != "opened" for attempt in attempts),
        survivors_least=_banded(summary.survivors_min),
        epsilon=statement.epsilon,
        planned_epsilon=statement.planned_epsilon,
        delta=statement.delta,
        eta=statement.eta,
        unit=Unit(statement.unit),
        unit_rows=statement.unit_rows,
        neighbours=Neighbours(statement.neighbours),
        bounds=tuple(
            Bound(adversary=Adversary(a.name), shares=a.shares, epsilon=a.epsilon, target=a.target)
            for a in statement.adversaries
        ),
        openings=tuple(
            Opening(
                name=ReleaseName(r.name),
                accounts=tuple(part_of(part) for part in r.charged_to),
                planned=r.planned,
                opened=r.opened,
                charged=r.charged,
            )
            for r in statement.releases
        ),
        balances=tuple(
            Balance(
                part=part_of(b.account),
                spent_epsilon=b.spent_epsilon,
                budget_epsilon=b.budget_epsilon,
                delta=b.delta,
                course=_course(b),
            )
            for b in summary.ledger
        ),
        cross_checks=tuple(
            CrossCheck(accountant=_accountant(name), epsilon=value) for name, value in statement.cross_checks.items()
        ),
        originals=tuple(
            Originals(
                name=ReleaseName(p.name),
                noise_multiplier=p.noise_multiplier,
                sampling_rate=p.sampling_rate,
                clip=p.clip,
                grid_scale=p.grid_scale,
                sensitivity=p.sensitivity,
                share_variance=p.share_variance,
                dimension=p.dimension,
                saturation=p.saturation,
                noise_bound=p.noise_bound,
                ring_bits=p.ring_bits,
            )
            for p in statement.parameters
        ),
        quality=quality,
        intervals=intervals,
        fraud_share=share,
        histogram_bins=summary.histogram_bins,
        upload_bytes=summary.upload_bytes,
        plain_bytes=summary.plain_bytes,
        releases_outside=len(statement.outside_ledger),
        attempts=_attempts(attempts),
        dropouts=_dropouts(attempts),
        audit=audit,
        times=Times(
            total=summary.seconds.total,
            training=summary.seconds.training,
            secure_aggregation=summary.seconds.secure_aggregation,
            evaluation=summary.seconds.evaluation,
        ),
    )


def _course(balance: AccountBalance) -> tuple[float, ...]:
    known = tuple(value for value in balance.course if value is not None)
    return known if len(known) == len(balance.course) and balance.spent_epsilon is not None else ()


def _banded(banks: int) -> int | None:
    return banks if banks >= FEWEST_BANKS else None


def _final(
    summary: RunSummary, attempts: tuple[RoundRecord, ...], evaluation: Evaluation
) -> tuple[Quality | None, Intervals]:
    """Final quality, withheld where fewer than five banks are behind the figure.

    Measured by a sum over the banks, it stands on that sum's survivors; measured on a public holdout, on the banks in
    the model, at least as many as in the largest of its sums.
    """
    source = ReleaseName.EVALUATION if evaluation is Evaluation.FEDERATED else ReleaseName.TRAINING
    behind = max((a.survivors for a in attempts if a.release == source and a.status == "opened"), default=0)
    if behind < FEWEST_BANKS:
        return None, _intervals({})
    return _quality(summary.final), _intervals(summary.intervals)


def _quality(metrics: Metrics) -> Quality:
    return Quality(
        roc_auc=metrics.roc_auc,
        average_precision=metrics.average_precision,
        accuracy=metrics.accuracy,
        loss=metrics.loss,
        calibration_error=metrics.calibration_error,
        best_f1=metrics.best_f1,
        best_f1_threshold=metrics.best_f1_threshold,
    )


def _intervals(bounds: dict[str, tuple[float, float]]) -> Intervals:
    known = {
        name: Interval(low=low, high=high) for name, (low, high) in bounds.items() if name in Intervals.model_fields
    }
    return Intervals(
        roc_auc=known.get("roc_auc"),
        average_precision=known.get("average_precision"),
        accuracy=known.get("accuracy"),
        loss=known.get("loss"),
        calibration_error=known.get("calibration_error"),
        best_f1=known.get("best_f1"),
        best_f1_threshold=known.get("best_f1_threshold"),
    )


def _attempts(records: tuple[RoundRecord, ...]) -> tuple[Attempt, ...]:
    shown: list[Attempt] = []
    behind = 0
    for record in records:
        if record.release == ReleaseName.TRAINING and record.status == "opened":
            behind = max(behind, record.survivors)
        shown.append(
            Attempt(
                index=record.index,
                release=ReleaseName(record.release),
                round=record.round,
                opened=record.status == "opened",
                cohort=_banded(record.cohort),
                survivors=_banded(record.survivors),
                epsilon=record.epsilon,
                quality=_quality(record.metrics) if record.metrics and behind >= FEWEST_BANKS else None,
                seconds=record.seconds,
            )
        )
    return tuple(shown)


def _dropouts(records: tuple[RoundRecord, ...]) -> tuple[Dropouts, ...]:
    lost: Counter[str] = Counter()
    for record in records:
        lost.update(record.dropped_at)
    return tuple(Dropouts(step=step, banks=_banded(lost[step])) for step in Step if lost[step])


def _accountant(name: str) -> Accountant:
    lowered = name.lower()
    if "pld" in lowered:
        return Accountant.PLD
    return Accountant.PRV if "prv" in lowered else Accountant.OTHER


def _decoded(kind: type[Record], data: bytes, file: Path) -> Record:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(
            f"{file} is damaged or from another version of fedsec",
            remedy="Give the directory of a complete run, written by this version.",
        ) from None
