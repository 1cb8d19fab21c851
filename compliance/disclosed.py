"""What of the facts may be sent to somebody else: a model of its own, without a place for what may not.

The prompt is rendered from :class:`Disclosed` and from nothing else. It has numbers, truth values and members of fixed
lists, and no field of the class LOCAL, so what is for this machine only is not there to be rendered.

Two reports must not disclose what one would not: the same federation with one bank fewer gives, for any figure that
is added up over the banks, that bank's figure by subtraction, and the first report cannot be called back. So the rule
needs no history:

- sums, means and counts over banks that are not public parameters are not sent: slots, bytes, survivors, dropouts, and
  the bounds of epsilon from which the number of survivors can be solved (those that rest on what happened);
- a share measured over pooled rows is sent as a band of fixed edges: quality in hundredths, the share of fraud between
  two of 0, 0.001, 0.002, 0.005, 0.01, .. An interval is rounded outwards, so it stays one;
- what is sent exactly follows from public parameters, the number of banks among them, and from how many attempts
  there were.
"""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

from compliance.facts import (
    FEWEST_BANKS,
    Adversary,
    Bound,
    D,
    Data,
    Evaluation,
    Facts,
    Interval,
    Mode,
    Part,
    Share,
    Unit,
    fact,
)

HUNDREDTHS = tuple(step / 100 for step in range(101))
FRAUD_EDGES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Their noise shares follow from public parameters; the others' are the survivors of the smallest opened sum.
_FIXED_SHARES = (Adversary.SERVER_AND_BANKS, Adversary.EVERYONE_ELSE)


class _Sent(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Band(_Sent):
    """Two neighbouring edges of a fixed list, between which a figure lies."""

    low: Share = fact("not less than this", D.HOLDOUT)
    high: Share = fact("not more than this", D.HOLDOUT)


class Measured(_Sent):
    """One figure of quality: the band that it lies in, and the band of its 95 % interval."""

    value: Band | None = fact("of the figure; None: too noisy to state", D.HOLDOUT)
    interval: Band | None = fact("of its interval, both ends rounded outwards; None: none computed", D.CHARGED)


class SentQuality(_Sent):
    """Quality of the released model on held-out rows, in hundredths."""

    roc_auc: Measured = fact("chance that a fraud is ranked above another row", D.HOLDOUT)
    average_precision: Measured = fact("mean precision over all recalls", D.HOLDOUT)
    accuracy: Measured = fact("share of rows classified right", D.HOLDOUT)
    fraud_share: Band | None = fact("share of fraud among the held-out records; None: not measured", D.HOLDOUT)


class SentBound(_Sent):
    """The guarantee against one adversary whose noise shares are a public parameter."""

    adversary: Adversary = fact("against whom", D.PARAMETER)
    epsilon: float | None = fact("bound at the run's delta; None: no guarantee", D.PARAMETER, ge=0.0)
    target: bool = fact("whether the run's target was set against this adversary", D.PARAMETER)


class SentBalance(_Sent):
    """One account of the ledger after the run."""

    part: Part = fact("which part of the records", D.PARAMETER)
    spent_epsilon: float | None = fact("spent over all runs so far; None: no bound", D.PARAMETER, ge=0.0)
    budget_epsilon: float | None = fact("may be spent over all runs; None: no budget was set", D.PARAMETER, ge=0.0)


class Disclosed(_Sent):
    """Everything of a run that a request can hold."""

    private: bool = fact("False: deterministic noise, no privacy at all", D.PARAMETER)
    simulated_keys: bool = fact("True: one process held every bank's key", D.PARAMETER)
    data: Data = fact("what was trained on", D.PARAMETER)
    mode: Mode = fact("where the noise comes from", D.PARAMETER)
    evaluation: Evaluation = fact("how quality was measured", D.PARAMETER)
    banks: int = fact("n: banks in the federation", D.PARAMETER, ge=FEWEST_BANKS)
    corrupt: int = fact("c: banks that may collude with the server", D.PARAMETER, ge=0)
    honest_inputs: int = fact("h: honest banks in every sum that can be opened", D.PARAMETER, ge=1)
    least_survivors_enforced: int = fact("fewest survivors with which a round opens", D.PARAMETER, ge=1)
    rounds_planned: int = fact("training rounds planned", D.PARAMETER, ge=0)
    rounds_opened: int = fact("training rounds that gave a sum", D.OPERATION, ge=0)
    attempts_aborted: int = fact("attempts that failed and were paid for", D.OPERATION, ge=0)
    epsilon: float | None = fact(
        "spent against the target adversary, the larger of the two parts; None: not private", D.PARAMETER, ge=0.0
    )
    odds: float | None = fact("e to the power epsilon; None: more than a million, or not private", D.PARAMETER, ge=1.0)
    planned_epsilon: float | None = fact(
        "reserved for it before anything was released; None: not private", D.PARAMETER, ge=0.0
    )
    delta: float = fact("of every epsilon here", D.PARAMETER, ge=0.0, lt=1.0)
    unit: Unit = fact("whose contribution the guarantee hides", D.PARAMETER)
    unit_rows: int | None = fact("m: most rows of an entity that count; None: the unit is a record", D.PARAMETER, ge=1)
    bounds: tuple[SentBound, ...] = fact("those that rest on public parameters alone", D.PARAMETER)
    balances: tuple[SentBalance, ...] = fact("accounts after the run", D.PARAMETER)
    quality: SentQuality | None = fact("of the released model; None: withheld", D.HOLDOUT)
    holdout_exposed: bool = fact("whether the coordinator sees real held-out records", D.PARAMETER)
    releases_outside: int = fact("releases that no account paid for", D.OPERATION, ge=0)


def disclosed(facts: Facts) -> Disclosed:
    """What of ``facts`` may be sent."""
    return Disclosed(
        private=facts.private,
        simulated_keys=facts.simulated_keys,
        data=facts.data,
        mode=facts.mode,
        evaluation=facts.evaluation,
        banks=facts.banks,
        corrupt=facts.corrupt,
        honest_inputs=facts.honest_inputs,
        least_survivors_enforced=facts.least_survivors_enforced,
        rounds_planned=facts.rounds_planned,
        rounds_opened=facts.rounds_opened,
        attempts_aborted=facts.attempts_aborted,
        epsilon=facts.epsilon,
        odds=facts.odds if facts.odds < 1e6 else None,
        planned_epsilon=facts.planned_epsilon,
        delta=facts.delta,
        unit=facts.unit,
        unit_rows=facts.unit_rows,
        bounds=tuple(_bound(bound) for bound in facts.bounds if bound.adversary in _FIXED_SHARES),
        balances=tuple(
            SentBalance(part=b.part, spent_epsilon=b.spent_epsilon, budget_epsilon=b.budget_epsilon)
            for b in facts.balances
        ),
        quality=_quality(facts),
        holdout_exposed=facts.holdout_exposed,
        releases_outside=facts.releases_outside,
    )


def band(low: float, high: float, edges: Sequence[float]) -> Band:
    """The narrowest of ``edges`` around ``low`` to ``high``; what lies outside them counts as at the end."""
    first, last = edges[0], edges[-1]
    low, high = (min(max(value, first), last) for value in (low, high))
    below = max(edge for edge in edges[:-1] if edge <= low)
    return Band(low=below, high=min(edge for edge in edges[1:] if edge >= high and edge > below))


def _bound(bound: Bound) -> SentBound:
    return SentBound(adversary=bound.adversary, epsilon=bound.epsilon, target=bound.target)


def _quality(facts: Facts) -> SentQuality | None:
    if facts.quality is None or not facts.quality_may_leave:
        return None
    between = facts.intervals
    return SentQuality(
        roc_auc=_measured(facts.quality.roc_auc, between.roc_auc),
        average_precision=_measured(facts.quality.average_precision, between.average_precision),
        accuracy=_measured(facts.quality.accuracy, between.accuracy),
        fraud_share=None if facts.fraud_share is None else band(facts.fraud_share, facts.fraud_share, FRAUD_EDGES),
    )


def _measured(value: float | None, interval: Interval | None) -> Measured:
    return Measured(
        value=None if value is None else band(value, value, HUNDREDTHS),
        interval=None if interval is None else band(interval.low, interval.high, HUNDREDTHS),
    )
