"""Step 16: metrics.jsonl and summary.json tell of the attempts that were made, and of no other result.

How good the model is rests on held-out records that no auditor has. With public evaluation the figures are the
coordinator's word. With federated evaluation they were read from an opened histogram that is in the evidence: the share
of fraud follows from it, accuracy and ROC AUC must be ones that it allows for.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec_verify.bundle import Attempt, Bundle, Options
from fedsec_verify.findings import require
from fedsec_verify.formats import PlannedSum
from fedsec_verify.noise import share_variance
from fedsec_verify.optimiser import dequantised
from fedsec_verify.results import METRICS, SUMMARY, Metrics, MetricsLine, Summary, metrics_of, summary_of
from fedsec_verify.steps import ATTESTED, Outcome

STEPS = ("advertise", "share", "mask", "agree", "unmask")
FRAUD_DEVIATIONS = 4.0  # of the noise that frauds must exceed for their share to be told
HALF = 10  # of 16 bins of log-odds, those below a score of 0.5
_DEVIATIONS = 4.0  # of the noise; the figure was read from this very sum, so it is not even independent of it
_MARGIN = 0.05  # what interpolation within bins and the correction of a bias move a figure by, at most
_CLOSE = 1e-9

Floats = NDArray[np.float64]


def check_metrics(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Lines, counts and final figures agree with the attempts; what the histogram says is recomputed."""
    lines, summary, plan = metrics_of(bundle), summary_of(bundle), bundle.plan
    rounds = 0
    for line, attempt in zip(lines, bundle.attempts, strict=True):
        opened = attempt.line.status == "opened"
        rounds += opened and line.release == "training"
        expected = rounds if opened and line.release == "training" else None
        where = f"attempt {line.index}'s"
        require(line.round == expected, METRICS, f"{where} round {expected}", str(line.round))
        require(
            line.reason == attempt.line.reason, METRICS, f"{where} reason {attempt.line.reason!r}", repr(line.reason)
        )
        measured = opened and (line.release == "training" if plan.bins == 0 else line.release == "evaluation")
        require(
            (line.metrics is not None) == measured, METRICS, f"{where} metrics {'' if measured else 'not '}measured"
        )
        if opened:
            dropped = dropped_at(attempt, plan.clients)
            require(line.dropped_at == dropped, METRICS, f"{where} losses {dropped}", str(line.dropped_at))
        known = all(count > 0 and step in STEPS for step, count in line.dropped_at.items())
        lost = sum(line.dropped_at.values())
        require(known and lost <= plan.clients, METRICS, f"{where} losses at steps of the protocol")
    _check_summary(bundle, summary, lines)
    _check_final(summary, lines)
    if plan.bins == 0:
        return Outcome(
            kind=ATTESTED, detail=f"{len(lines)} attempts; quality is the coordinator's word (public evaluation)"
        )
    _check_histogram(bundle, summary)
    return Outcome(
        kind=ATTESTED, detail=f"{len(lines)} attempts; quality fits the opened histogram (federated evaluation)"
    )


def dropped_at(attempt: Attempt, clients: int) -> dict[str, int]:
    """How many banks an opened attempt lost at each step, by what they signed; a convicted one is lost at the last."""
    record, line = attempt.record, attempt.line
    agreed = 0 if record is None else len(record.agreed)
    heard = len(set(line.responders) - set(line.convicted))
    reached = (clients, len(line.members), len(line.dealers), len(line.survivors), agreed, heard)
    losses = {step: before - after for step, before, after in zip(STEPS, reached, reached[1:], strict=False)}
    return {step: count for step, count in losses.items() if count}


def _check_summary(bundle: Bundle, summary: Summary, lines: tuple[MetricsLine, ...]) -> None:
    plan, statement = bundle.plan, bundle.statement
    made = statement.attempts
    opened = [attempt for attempt in made if attempt.status == "opened"]
    training = Counter(attempt.status == "opened" for attempt in made if attempt.release == "training")
    lengths = {planned.name: planned.dimension for planned in plan.sums}
    head = statement.ledger
    expected: dict[str, Any] = {
        "run": plan.task,
        "fedsec": statement.fedsec,
        "python": statement.software.python,
        "mode": plan.mode,
        "banks": plan.clients,
        "rounds_planned": plan.rounds,
        "rounds_opened": training[True],
        "rounds_aborted": training[False],
        "survivors_min": min((len(attempt.survivors) for attempt in opened), default=0),
        "slots": sum(plan.slots),
        "evaluation": "federated" if plan.bins else "public",
        "model": (plan.model.inputs, *plan.model.hidden, 1),
        "histogram_bins": plan.bins or None,
        "plain_bytes": 4 * sum(lengths[line.release] for line in lines),
        "roster": statement.roster,
    }
    for name, value in expected.items():
        found = getattr(summary, name)
        require(found == value, SUMMARY, f"{name}: {value!r}", repr(found))
    stated = (summary.ledger_head.public_key, summary.ledger_head.entry, summary.ledger_head.hash)
    require(stated == (head.public_key, head.entry, head.hash), SUMMARY, f"the ledger's head at entry {head.entry}")


def _check_final(summary: Summary, lines: tuple[MetricsLine, ...]) -> None:
    measured = [line.metrics for line in lines if line.metrics is not None]
    nothing = Metrics(**dict.fromkeys(Metrics.__struct_fields__))
    final = measured[-1] if measured else nothing
    require(
        summary.final == final, SUMMARY, "the final metrics of the last attempt that measured any", str(summary.final)
    )
    if summary.evaluation == "public":
        require(summary.intervals == {}, SUMMARY, "no intervals, since nothing was noised")
    for name, (low, high) in summary.intervals.items():
        known = name in Metrics.__struct_fields__ and 0 <= low <= high <= 1
        require(known, SUMMARY, f"an interval in [0, 1] of {name}", f"{low}, {high}")
        value = getattr(summary.final, name)
        inside = value is None or low <= value <= high
        require(inside, SUMMARY, f"{name} inside its interval [{low}, {high}]", str(value))


def _check_histogram(bundle: Bundle, summary: Summary) -> None:
    found = [a for a in bundle.attempts if a.line.release == "evaluation" and a.line.status == "opened"]
    if not found or found[-1].record is None:
        require(summary.fraud_share is None, SUMMARY, "no share of fraud, since no histogram was opened")
        return
    planned = next(planned for planned in bundle.plan.sums if planned.name == "evaluation")
    counts = dequantised(np.frombuffer(found[-1].record.total, "<i8"), planned.quantiser.scale).reshape(2, -1)
    deviation = _deviation(planned, len(found[-1].line.survivors))
    share = _fraud_share(counts, deviation)
    same = (share is None) == (summary.fraud_share is None)
    same = same and (share is None or math.isclose(share, summary.fraud_share or 0.0, rel_tol=_CLOSE))
    require(same, SUMMARY, f"the share of fraud of the opened histogram, {share}", str(summary.fraud_share))
    total, frauds, genuine = float(counts.sum()), float(counts[1].sum()), float(counts[0].sum())
    noise = _DEVIATIONS * deviation * math.sqrt(counts.shape[1])
    if summary.final.accuracy is not None and total > 2 * noise:
        right = float(counts[1, HALF:].sum() + counts[0, :HALF].sum()) / total
        _check_near("accuracy", summary.final.accuracy, right, 2 * noise / total)
    if summary.final.roc_auc is not None and min(frauds, genuine) > noise:
        below = np.cumsum(counts[0]) - counts[0]
        ranked = float((counts[1] * (below + counts[0] / 2)).sum()) / (frauds * genuine)
        # What a bin holds of both classes may be ranked either way; noise counts against the smaller class.
        ties = float((np.abs(counts[1]) * np.abs(counts[0])).sum()) / (2 * frauds * genuine)
        _check_near("roc_auc", summary.final.roc_auc, ranked, ties + noise / min(frauds, genuine))


def _check_near(name: str, stated: float, recomputed: float, margin: float) -> None:
    near = abs(stated - recomputed) <= margin + _MARGIN
    require(
        near, SUMMARY, f"{name} within {margin + _MARGIN:.3f} of the opened histogram's {recomputed:.4f}", str(stated)
    )


def _deviation(planned: PlannedSum, survivors: int) -> float:
    """Standard deviation of the noise in a cell of the opened histogram, records."""
    return math.sqrt(share_variance(planned.mechanism) * survivors) / planned.mechanism.grid_scale


def _fraud_share(counts: Floats, deviation: float) -> float | None:
    genuine, fraud = counts.sum(axis=1)
    least = max(1.0, FRAUD_DEVIATIONS * deviation * math.sqrt(counts.shape[1]))
    return float(fraud / (genuine + fraud)) if min(genuine, fraud) >= least else None
