"""What opened sums still give: the attacks that secure aggregation does not stop, measured beside their bound.

The server sees the sum with the noise of every honest bank in it. It is granted the worst that is claimed against:
it knows all records but the one in question, chooses the model's weights so that this record's contribution is as large
as clipping allows, and of the noise only the shares that the privacy statement counts are drawn. The control is the
same sum without noise. Coordinates of the noise are independent, so only those that an attack reads are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.cohort import Cohort, cohort_size, on_grid
from compliance.attacks.gradients import divide
from compliance.attacks.observation import FEWEST_GAMES, Question, Vector, noise, observed, rounded, unprotected
from compliance.attacks.records import counting_weights, invented_records, update
from compliance.attacks.results import Finding, Findings, Outcome, Recovery
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import advantage, advantage_bound, correlation

_LARGEST_BANK = 20_000
_DIFFERENCES = 25
_OTHERS = 50.0  # the other banks' contribution: of no matter, as it is in both sums


def member_in_a_sum(setting: Setting) -> Findings:
    """Whether a record is in one opened sum of which everything else is known."""
    return _membership(setting, openings=1)


def member_in_a_run(setting: Setting) -> Findings:
    """The same from all sums of the run together, the weights being the server's choice in every round."""
    return _membership(setting, openings=setting.openings)


def member_by_difference(setting: Setting) -> Findings:
    """Two sums under the same weights, in the second of which one bank is missing, subtracted.

    The difference is that bank's own contribution and the noise of both sums; of the other banks nothing needs to be
    known. Both sums are charged, so the bound is that of two.
    """
    question = _fraud_or_empty(setting)
    games = question.games(setting, openings=2)
    others = np.full(len(question.yes), _OTHERS)

    def difference(of: Vector) -> Vector:
        whole: Vector = observed(setting, of, games=games) + others
        without_bank: Vector = observed(setting, np.zeros_like(of), games=games) + others
        return np.subtract(whole, without_bank)

    return _findings(setting, question, difference, epsilon=setting.spent(openings=2))


def label_in_a_sum(setting: Setting) -> Findings:
    """Which label a record has, if all else that is in an opened sum is known.

    Two labels are both neighbours of the data without the record, so the bound is that of a record that moves the sum
    twice as far as one that is emptied.
    """
    weights = counting_weights(setting, bias=0.0)
    record = invented_records(setting).of(1, 1)
    fraud, genuine = (update(setting, weights, record, np.array([label]), clipped=True) for label in (1.0, 0.0))
    return _asked(setting, Question.between(fraud, genuine), openings=1, moved=2.0)


def record_in_a_sum(setting: Setting) -> Findings:
    """Which of two candidates a record is; and what division makes of the sum that real banks and a server opened."""
    victims = invented_records(setting).of(1, 2)
    own, other = (update(setting, setting.weights, victim[None], np.ones(1), clipped=True) for victim in victims)
    found = _asked(setting, Question.between(own, other), openings=1, moved=2.0)
    recovered = [divide(setting.model, _opened(setting, own, noisy=noisy)) for noisy in (False, True)]
    fits = [correlation(victims[0], each) for each in recovered]
    return Findings(
        plain=_remarked(found.plain, fits[0]),
        fedsec=_remarked(found.fedsec, fits[1]),
        recovery=Recovery(real=victims[0], from_plain=recovered[0], from_fedsec=recovered[1]),
    )


def bank_property(setting: Setting) -> Findings:
    """How many frauds a bank of usual size has, from differences of sums in which it is missing every other time.

    Nothing is claimed against this: noise is sized for a record. What comes out is shown beside the noise.
    """
    records = invented_records(setting, min(setting.slots, _LARGEST_BANK))
    whole = update(setting, counting_weights(setting), records.features, records.labels, clipped=True)
    question = Question.between(whole, np.zeros_like(whole))
    true = int(records.labels.sum())
    one = float(np.linalg.norm(question.yes)) / true  # what one fraud adds along the line
    shares = (setting.clients, setting.clients - 1)
    if setting.mode == "local":
        shares = (1, 0)  # at best for the server, the bank's own update: its own noise is all there is
    count = max(1, min(_DIFFERENCES, setting.openings // 2))
    size = count * len(question.yes)
    present = np.random.default_rng().binomial(true, setting.sampling_rate, (count, 1)) / true
    seen = rounded(setting, (present * question.yes).ravel())
    for _ in range(sum(shares)):
        seen += noise(setting, size)
    exact = question.scores(unprotected(setting, question.yes, games=1)) / one
    noisy = question.scores((seen / setting.grid_scale).reshape(count, -1)) / (one * setting.sampling_rate)
    deviation = float(np.sqrt(setting.share_variance * sum(shares))) / setting.grid_scale / one / setting.sampling_rate
    estimate, error = float(noisy.mean()), deviation / count**0.5
    return Findings(
        plain=Finding(
            outcome=Outcome.SUCCEEDED if round(float(exact.mean())) == true else Outcome.FAILED,
            evidence=f"{exact.mean():.0f} frauds counted of {true} among {len(records.labels):,} records",
            figures={"true": float(true), "counted": float(exact.mean())},
        ),
        fedsec=Finding(
            outcome=Outcome.NOT_PROTECTED,
            evidence=f"{count} difference{'s' if count > 1 else ''}: {estimate:.0f} ± {error:.0f} frauds "
            f"({true} true); one: ± {deviation:.0f}. Signal to noise {true / error:.1f}",
            figures={
                "true": float(true),
                "estimate": estimate,
                "deviation": error,
                "deviation_of_one": deviation,
                "signal_to_noise": true / error,
                "differences": float(count),
            },
        ),
    )


def _membership(setting: Setting, *, openings: int) -> Findings:
    return _asked(setting, _fraud_or_empty(setting), openings=openings, moved=1.0)


def _fraud_or_empty(setting: Setting) -> Question:
    """Whether one fraud is there, at weights under which it contributes as much as clipping lets through."""
    record = invented_records(setting).of(1, 1)
    there = update(setting, counting_weights(setting), record, np.ones(1), clipped=True)
    return Question.between(there, np.zeros_like(there))


def _asked(setting: Setting, question: Question, *, openings: int, moved: float) -> Findings:
    """The game of ``question`` on so many opened sums."""
    games = question.games(setting, openings=openings)
    return _findings(
        setting,
        question,
        lambda of: observed(setting, of, games=games, openings=openings),
        epsilon=setting.spent(openings=openings, moved=moved),
    )


def _findings(setting: Setting, question: Question, see: Callable[[Vector], Vector], *, epsilon: float) -> Findings:
    """The game without noise, and as ``see`` shows either case."""
    bound = advantage_bound(epsilon, setting.delta)
    clear = [question.scores(unprotected(setting, of, games=FEWEST_GAMES)) for of in (question.yes, question.no)]
    noisy = [question.scores(see(of)) for of in (question.yes, question.no)]
    without, found = advantage(*clear), advantage(*noisy)
    return Findings(
        plain=Finding(
            outcome=Outcome.FAILED if without.by_chance else Outcome.SUCCEEDED,
            evidence=f"advantage {without.advantage:.2f}",
            figures={"advantage": without.advantage, "low": without.low, "high": without.high},
            measured=without,
        ),
        fedsec=Finding(
            outcome=Outcome.BOUNDED if found.low <= bound else Outcome.SUCCEEDED,
            evidence=f"advantage {found.advantage:.3f} ({found.low:.3f} to {found.high:.3f}), "
            f"bound {bound:.3f} at ε = {epsilon:.3g}",
            figures={
                "advantage": found.advantage,
                "low": found.low,
                "high": found.high,
                "bound": bound,
                "epsilon": epsilon,
                "games": float(found.trials),
            },
            measured=found,
            bound=bound,
            epsilon=epsilon,
        ),
    )


def _opened(setting: Setting, own: Vector, *, noisy: bool) -> Vector:
    """A sum of which all but ``own`` and the counted noise shares was known and taken off, float64 ``(d,)``.

    In distributed mode really masked and opened; in local mode one step of one bank, whose noise is added earlier.
    """
    if setting.mode == "local":
        return (rounded(setting, own) + noisy * noise(setting, len(own))) / setting.grid_scale
    inputs = np.zeros((cohort_size(setting), setting.dimension), dtype=np.int64)
    inputs[0] = on_grid(setting, own)
    for bank in range(setting.shares if noisy else 0):
        inputs[bank % len(inputs)] += noise(setting, setting.dimension)
    total: NDArray[np.int64] = Cohort(setting, inputs).until("").opened().total
    return total / setting.quantiser.scale


def _remarked(finding: Finding, fit: float) -> Finding:
    return Finding(
        outcome=finding.outcome,
        evidence=f"{finding.evidence}; by division: correlation {fit:.2f}",
        figures=finding.figures | {"correlation_by_division": fit},
        measured=finding.measured,
        bound=finding.bound,
        epsilon=finding.epsilon,
    )
