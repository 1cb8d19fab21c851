"""What report.json may state, computed from the run's own records: every field, and no other.

Counts of fewer than five banks are not told; quality is withheld until five banks are behind it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec

from fedsec_verify.results import Balance, Metrics, MetricsLine, Privacy, Summary

FEWEST_BANKS = 5
SIMULATED_KEYS = "SIMULATED KEYS"
STEPS = ("advertise", "share", "mask", "agree", "unmask")
PARTS = {"train": "training", "holdout": "holdout"}
ACCOUNTANTS = {"PLD": "Google's PLD accountant"}
QUALITY = ("roc_auc", "average_precision", "accuracy", "loss", "calibration_error", "best_f1", "best_f1_threshold")


def expected_facts(summary: Summary, privacy: Privacy, lines: tuple[MetricsLine, ...]) -> dict[str, Any]:
    """The object ``facts`` of report.json, but for ``audit``, which is another file's."""
    cohort = privacy.cohort
    quality = _final(summary, lines)
    return {
        "private": privacy.private,
        "simulated_keys": SIMULATED_KEYS in privacy.brands,
        "data": summary.dataset,
        "mode": privacy.mode,
        "evaluation": summary.evaluation,
        "banks": summary.banks,
        "corrupt": cohort.corrupt,
        "threshold": cohort.threshold,
        "honest_inputs": cohort.honest_inputs,
        "least_survivors_enforced": cohort.min_survivors,
        "slots": summary.slots,
        "layers": list(summary.model),
        "rounds_planned": summary.rounds_planned,
        "rounds_opened": summary.rounds_opened,
        "attempts_aborted": sum(line.status != "opened" for line in lines),
        "survivors_least": _banded(summary.survivors_min),
        "epsilon": privacy.epsilon,
        "planned_epsilon": privacy.planned_epsilon,
        "delta": privacy.delta,
        "eta": privacy.eta,
        "unit": privacy.unit,
        "unit_rows": privacy.unit_rows,
        "neighbours": privacy.neighbours,
        "bounds": [
            {"adversary": bound.name, "shares": bound.shares, "epsilon": bound.epsilon, "target": bound.target}
            for bound in privacy.adversaries
        ],
        "openings": [
            {
                "name": line.name,
                "accounts": [PARTS[part] for part in line.charged_to],
                "planned": line.planned,
                "opened": line.opened,
                "charged": line.charged,
            }
            for line in privacy.releases
        ],
        "balances": [
            {
                "part": PARTS[balance.account],
                "spent_epsilon": balance.spent_epsilon,
                "budget_epsilon": balance.budget_epsilon,
                "delta": balance.delta,
                "course": _course(balance),
            }
            for balance in summary.ledger
        ],
        "cross_checks": [
            {"accountant": ACCOUNTANTS[name], "epsilon": value} for name, value in privacy.cross_checks.items()
        ],
        "originals": [msgspec.to_builtins(line) for line in privacy.parameters],
        "quality": quality,
        "intervals": {name: _interval(summary, name, told=quality is not None) for name in QUALITY},
        "fraud_share": summary.fraud_share if quality is not None else None,
        "histogram_bins": summary.histogram_bins,
        "upload_bytes": summary.upload_bytes,
        "plain_bytes": summary.plain_bytes,
        "releases_outside": len(privacy.outside_ledger),
        "attempts": _attempts(lines),
        "dropouts": _dropouts(lines),
        "times": summary.seconds,
    }


def difference(found: Any, expected: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Where ``found`` first departs from ``expected``: path, what is expected there, what is found; None: nowhere."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(expected.keys() | found.keys()):
            inside = f"{path}.{name}".lstrip(".")
            if name not in expected or name not in found:
                return inside, expected.get(name, "nothing"), found.get(name, "nothing")
            if (first := difference(found[name], expected[name], inside)) is not None:
                return first
        return None
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = (difference(a, b, f"{path}.{at}") for at, (a, b) in enumerate(zip(found, expected, strict=True)))
        return next((first for first in pairs if first is not None), None)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (found, expected))
    same = math.isclose(found, expected, rel_tol=1e-12) if numbers else found == expected
    return None if (same and type(found) is type(expected)) or (same and numbers) else (path, expected, found)


def _final(summary: Summary, lines: tuple[MetricsLine, ...]) -> dict[str, float | None] | None:
    source = "evaluation" if summary.evaluation == "federated" else "training"
    behind = max((line.survivors for line in lines if line.release == source and line.status == "opened"), default=0)
    return _quality(summary.final) if behind >= FEWEST_BANKS else None


def _quality(metrics: Metrics) -> dict[str, float | None]:
    return {name: getattr(metrics, name) for name in QUALITY}


def _interval(summary: Summary, name: str, *, told: bool) -> dict[str, float] | None:
    if not told or name not in summary.intervals:
        return None
    low, high = summary.intervals[name]
    return {"low": low, "high": high}


def _attempts(lines: tuple[MetricsLine, ...]) -> list[dict[str, Any]]:
    shown, behind = [], 0
    for line in lines:
        opened = line.status == "opened"
        if line.release == "training" and opened:
            behind = max(behind, line.survivors)
        shown.append(
            {
                "index": line.index,
                "release": line.release,
                "round": line.round,
                "opened": opened,
                "cohort": _banded(line.cohort),
                "survivors": _banded(line.survivors),
                "epsilon": line.epsilon,
                "quality": _quality(line.metrics) if line.metrics is not None and behind >= FEWEST_BANKS else None,
                "seconds": line.seconds,
            }
        )
    return shown


def _dropouts(lines: tuple[MetricsLine, ...]) -> list[dict[str, Any]]:
    lost: Counter[str] = Counter()
    for line in lines:
        lost.update(line.dropped_at)
    return [{"step": step, "banks": _banded(lost[step])} for step in STEPS if lost[step]]


def _course(balance: Balance) -> list[float]:
    known = [value for value in balance.course if value is not None]
    return known if len(known) == len(balance.course) and balance.spent_epsilon is not None else []


def _banded(banks: int) -> int | None:
    return banks if banks >= FEWEST_BANKS else None
