"""Step 14: every epsilon that the run states, computed again by the second accountant.

A stated epsilon must not be below what the theorems prove, and not above it by more than the first accountant's grid
of orders loses: else it is some other number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedsec_verify.accountant import Account
from fedsec_verify.bundle import Bundle, Options
from fedsec_verify.events import with_shares
from fedsec_verify.findings import require
from fedsec_verify.formats import Plan
from fedsec_verify.ledger_entries import AccountName
from fedsec_verify.ledger_replay import Ledger
from fedsec_verify.ledger_steps import attempts_by_sum, ledger_of
from fedsec_verify.planned import ETA, attempt_event, single_sum
from fedsec_verify.results import METRICS, PRIVACY, SUMMARY, AdversaryBound, Privacy, metrics_of, privacy_of, summary_of
from fedsec_verify.steps import RECOMPUTED, Outcome

TRAINING = "train"
FLOATS = 1e-9  # what two programs' float64 may differ by
# The first accountant's grid of orders: relative, and for small epsilons, where that of sampled batches has its best
# orders above 64, and the grid misses the kinks that it has at whole ones.
GRID, GRID_LEAST = 1e-4, 5e-4
_CONTINUOUS = 1e-2  # Google's accountant rounds losses up to a grid
_LEAST_DELTA = 1e-14  # below, it may know no finite epsilon: it cuts off about 1e-15 of probability, perhaps repeatedly


def check_epsilon(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """The headline, what was reserved, each adversary's bound, each attempt's total, and the accounts' balances."""
    plan, privacy = bundle.plan, privacy_of(bundle)
    counts = attempts_by_sum(bundle)
    reserved = {planned.name: planned.attempts for planned in plan.sums}
    spent = worst(plan, counts)
    told = [
        check_stated(privacy.epsilon, _claimed(plan, spent), PRIVACY, "epsilon"),
        check_stated(privacy.planned_epsilon, _claimed(plan, worst(plan, reserved)), PRIVACY, "planned_epsilon"),
        *_check_adversaries(bundle, privacy, counts),
        *_check_course(bundle),
        *_check_balances(bundle),
    ]
    within = worst(plan, reserved) <= plan.epsilon * (1 + FLOATS)
    require(within, PRIVACY, f"a plan within its own epsilon {plan.epsilon}", str(worst(plan, reserved)))
    _check_cross_checks(plan, privacy, counts)
    return Outcome(kind=RECOMPUTED, detail=f"{len(told)} figures; this run spent {spent:.6g} at delta {plan.delta:g}")


def worst(plan: Plan, counts: Mapping[str, int], shares: int | None = None) -> float:
    """The larger of what both parts' accounts spend for ``counts`` attempts, by sum, with ``shares`` counted."""
    return max(_account(plan, part, counts, shares).epsilon(plan.delta, ETA) for part in _parts(plan))


def check_stated(stated: float | None, recomputed: float, file: str, what: str) -> float:
    """Check one stated epsilon, None for no bound; returns what was recomputed.

    Raises:
        Refused: it is below what is proved, or another number.
    """
    if math.isinf(recomputed):
        require(stated is None, file, f"{what}: no bound", str(stated))
    else:
        holds = stated is not None and recomputed <= stated * (1 + FLOATS) + 1e-12
        holds = holds and stated is not None and stated <= recomputed * (1 + GRID) + GRID_LEAST
        require(holds, file, f"{what}: {recomputed!r}, at most {GRID:g} of it and {GRID_LEAST:g} above", str(stated))
    return recomputed


def shares_by_adversary(bundle: Bundle) -> dict[str, int]:
    """How many noise shares count against each adversary: docs/privacy.md, "Adversaries"."""
    plan = bundle.plan
    if plan.mode == "local":
        return dict.fromkeys(("released-model", "colluding-banks", "server-and-banks", "everyone-else"), 1)
    attempts = bundle.statement.attempts
    opened = [len(attempt.survivors) for attempt in attempts if attempt.status == "opened"]
    known = all(attempt.status != "interrupted" for attempt in attempts)
    least = min(opened, default=plan.min_survivors) if known else plan.min_survivors
    return {
        "released-model": least,
        "colluding-banks": least - plan.corrupt,
        "server-and-banks": plan.threshold - plan.corrupt,
        "everyone-else": 1,
    }


def _check_adversaries(bundle: Bundle, privacy: Privacy, counts: Mapping[str, int]) -> list[float]:
    plan, expected = bundle.plan, shares_by_adversary(bundle)
    found = {bound.name: bound for bound in privacy.adversaries}
    same = tuple(found) == tuple(expected) and len(found) == len(privacy.adversaries)
    require(same, PRIVACY, f"bounds against {', '.join(expected)}", ", ".join(b.name for b in privacy.adversaries))
    told = []
    for name, shares in expected.items():
        bound: AdversaryBound = found[name]
        require(bound.shares == shares, PRIVACY, f"{shares} shares against {name}", str(bound.shares))
        value = _claimed(plan, worst(plan, counts, shares))
        told.append(check_stated(bound.epsilon, value, PRIVACY, f"the epsilon against {name}"))
        target = name == ("everyone-else" if plan.mode == "local" else "server-and-banks")
        require(bound.target == target, PRIVACY, f"target {target} for {name}", str(bound.target))
    return told


def _check_course(bundle: Bundle) -> list[float]:
    """What metrics.jsonl says that the training account had spent in this run after each attempt."""
    plan, lines, attempts = bundle.plan, metrics_of(bundle), bundle.statement.attempts
    require(len(lines) == len(attempts), METRICS, f"{len(attempts)} lines, one for each attempt", str(len(lines)))
    counts: dict[str, int] = {planned.name: 0 for planned in plan.sums}
    told = []
    for number, (line, attempt) in enumerate(zip(lines, attempts, strict=True)):
        counts[attempt.release] = counts.get(attempt.release, 0) + 1
        made = dict(counts)
        if attempt.status == "interrupted":  # those that one interruption cost were recorded together, once resumed
            for later in attempts[number + 1 :]:
                if later.status != "interrupted":
                    break
                made[later.release] = made.get(later.release, 0) + 1
        value = _account(plan, TRAINING, made, None).epsilon(plan.delta, ETA)
        told.append(check_stated(line.epsilon, value, METRICS, f"epsilon of attempt {attempt.attempt}"))
    return told


def _check_balances(bundle: Bundle) -> list[float]:
    """What summary.json says of the accounts: all their runs together, with this one and before it."""
    ledger, summary, plan = ledger_of(bundle), summary_of(bundle), bundle.plan
    accounts = list(dict.fromkeys(charge.account for charge in ledger.runs[plan.task].reserved.charges))
    parts = [account.part for account in accounts]
    stated = [balance.account for balance in summary.ledger]
    require(stated == parts, SUMMARY, f"balances of {', '.join(parts)}", ", ".join(stated))
    made = [attempt.release for attempt in bundle.statement.attempts]
    told = []
    for account, balance in zip(accounts, summary.ledger, strict=True):
        budget, delta = ledger.budget(account)
        where = f"the {account.part} account's"
        same = (balance.budget_epsilon, balance.delta) == (budget, delta)
        require(
            same, SUMMARY, f"{where} budget {budget} and delta {delta}", f"{balance.budget_epsilon}, {balance.delta}"
        )
        told.append(
            check_stated(balance.spent_epsilon, ledger.load(account).epsilon(delta), SUMMARY, f"{where} balance")
        )
        course = _course(ledger, bundle, made, account, delta)
        require(len(balance.course) == len(course), SUMMARY, f"{where} course of {len(course)} figures")
        for place, (one, other) in enumerate(zip(balance.course, course, strict=True)):
            told.append(check_stated(one, other, SUMMARY, f"{where} course, figure {place}"))
    return told


def _course(ledger: Ledger, bundle: Bundle, made: list[str], account: AccountName, delta: float) -> list[float]:
    counts: dict[str, int] = {}
    task = bundle.plan.task
    values = [ledger.load(account, without=task).epsilon(delta)]
    for release in made:
        counts[release] = counts.get(release, 0) + 1
        values.append(ledger.load(account, without=task, only=counts).epsilon(delta))
    return values


def _check_cross_checks(plan: Plan, privacy: Privacy, counts: Mapping[str, int]) -> None:
    """Google's accountant on real Gaussian noise: between the exact value for that and the bound that is claimed."""
    expected = () if plan.insecure_deterministic_noise else ("PLD",)
    names = tuple(privacy.cross_checks)
    unknown = plan.delta < _LEAST_DELTA and not names
    require(names == expected or unknown, PRIVACY, f"cross checks {expected}", str(names))
    for value in privacy.cross_checks.values():
        claimed = worst(plan, counts)
        low = 0.0 if plan.mode == "local" else max(_gaussian(plan, part, counts) for part in _parts(plan))
        high = claimed if plan.mode == "local" else min(claimed, low)
        fits = low * (1 - _CONTINUOUS) - GRID_LEAST <= value <= high * (1 + _CONTINUOUS) + _CONTINUOUS
        require(fits, PRIVACY, f"a PLD epsilon between {low:.4f} and {high:.4f}, or nearly", str(value))


def _gaussian(plan: Plan, part: str, counts: Mapping[str, int]) -> float:
    """Exact epsilon of real Gaussian noise of the same ratio, full batches: Balle, Wang 2018, Theorem 8."""
    rho = 0.0
    for planned in plan.sums:
        if planned.part == part:
            one = single_sum(planned)
            rho += counts[planned.name] * one.sensitivity**2 / (2 * one.shares * one.share_variance)
    if rho == 0.0:
        return 0.0
    mu = math.sqrt(2 * rho)

    def delta(epsilon: float) -> float:
        upper = math.erfc(-(mu / 2 - epsilon / mu) / math.sqrt(2)) / 2
        return upper - math.exp(epsilon) * math.erfc((mu / 2 + epsilon / mu) / math.sqrt(2)) / 2

    low, high = 0.0, 700.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if delta(middle) <= plan.delta else (middle, high)
    return high


def _claimed(plan: Plan, value: float) -> float:
    """No bound is claimed where anybody can take the noise off."""
    return math.inf if plan.insecure_deterministic_noise else value


def _account(plan: Plan, part: str, counts: Mapping[str, int], shares: int | None) -> Account:
    account = Account()
    for planned in plan.sums:
        if planned.part == part:
            event = attempt_event(planned)
            account.plus(event if shares is None else with_shares(event, shares), counts.get(planned.name, 0))
    return account


def _parts(plan: Plan) -> list[str]:
    return sorted({planned.part for planned in plan.sums})
