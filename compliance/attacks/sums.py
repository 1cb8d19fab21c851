"""What opened sums still give: the attacks that secure aggregation does not stop, measured beside their bound.

The server sees the sum with the noise of every honest bank in it. It is granted the worst that is claimed against:
it knows all records but the one in question, chooses the model's weights so that this record's contribution is as large
as clipping allows, and of the noise only the shares that the privacy statement counts are drawn. The control is the
same game without noise, sampling included. Coordinates of the noise are independent, so only those that an attack
reads are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.cohort import Cohort, cohort_size, on_grid
from compliance.attacks.gradients import divide
from compliance.attacks.observation import CONTROL_GAMES, Question, Vector, noised, observed, rounded
from compliance.attacks.records import counting_weights, invented_records, telling_weights, update
from compliance.attacks.results import Finding, Findings, Outcome, Recovery
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import advantage, best_advantage, correlation, gap_of_advantage

_LARGEST_BANK = 20_000
_DIFFERENCES = 25


def member_in_a_sum(setting: Setting) -> Findings:
    """Whether a record is in one opened sum of which everything else is known."""
    return _membership(setting, openings=1)


def member_in_a_run(setting: Setting) -> Findings:
    """The same from all training sums of the run together, the weights being the server's choice in every round."""
    return _membership(setting, openings=setting.openings)


def member_by_difference(setting: Setting) -> Findings:
    """Two sums under the same weights, in the second of which one bank is missing, subtracted.

    The difference is that bank's own contribution and the noise of both sums; of the other banks nothing needs to be
    known. The record is in one of the two sums, so the bound is that of one.
    """
    question = _fraud_or_empty(setting)
    games = question.games(setting, openings=2)
    whole, rest = _shares_of_a_pair(setting)

    def difference(of: Vector) -> Vector:
        missing = observed(setting, np.zeros_like(of), games=games, shares=rest)
        return np.subtract(observed(setting, of, games=games, shares=whole), missing)

    return _findings(setting, question, difference, shares=whole + rest)


def label_in_a_sum(setting: Setting) -> Findings:
    """Which label a record has, if all else that is in an opened sum is known.

    Two labels are both neighbours of the data without the record, so the bound is that of a record that moves the sum
    twice as far as one that is emptied.
    """
    weights = counting_weights(setting, bias=0.0)
    record = invented_records(setting).of(1, 1)
    fraud, genuine = (update(setting, weights, record, np.array([label]), clipped=True) for label in (1.0, 0.0))
    return _asked(setting, Question.between(fraud, genuine), moved=2.0)


def record_in_a_sum(setting: Setting) -> Findings:
    """Which of two candidates a record is; and what division makes of the sum that real banks and a server opened.

    The weights of the game set the two as far apart as clipping allows; the division is at the model's own.
    """
    victims = invented_records(setting).of(1, 2)
    telling = telling_weights(setting, *victims)
    one, two = (update(setting, telling, victim[None], np.ones(1), clipped=True) for victim in victims)
    found = _asked(setting, Question.between(one, two), moved=2.0)
    own = update(setting, setting.weights, victims[0][None], np.ones(1), clipped=True)
    recovered = [divide(setting.model, _opened(setting, own, noisy=noisy)) for noisy in (False, True)]
    fits = [correlation(victims[0], each) for each in recovered]
    return Findings(
        plain=_remarked(found.plain, fits[0]),
        fedsec=_remarked(found.fedsec, fits[1]),
        recovery=Recovery(real=victims[0], from_plain=recovered[0], from_fedsec=recovered[1]),
    )


def bank_property(setting: Setting) -> Findings:
    """How many frauds a bank of usual size has, from differences of sums in which it is missing every other time.

    The server names the fewest survivors in either sum. Nothing is claimed against this: noise is sized for a record.
    What comes out is shown beside the noise, and beside what sampling adds where records are sampled.
    """
    records = invented_records(setting, min(setting.slots, _LARGEST_BANK))
    whole = update(setting, counting_weights(setting), records.features, records.labels, clipped=True)
    question = Question.between(whole, np.zeros_like(whole))
    true = int(records.labels.sum())
    one = float(np.linalg.norm(question.yes)) / true  # what one fraud adds along the line
    shares = sum(_shares_of_a_pair(setting))
    count = max(1, min(_DIFFERENCES, setting.openings // 2))
    present = np.random.default_rng().binomial(true, setting.sampling_rate, (count, 1)) / true
    seen = noised(setting, rounded(setting, (present * question.yes).ravel()), shares=shares)
    exact = question.scores(rounded(setting, question.yes)[None] / setting.grid_scale) / one
    noisy = question.scores((seen / setting.grid_scale).reshape(count, -1)) / (one * setting.sampling_rate)
    by_noise = (setting.share_variance * shares) ** 0.5 / setting.grid_scale / one / setting.sampling_rate
    by_sampling = true * (1 - setting.sampling_rate) / setting.sampling_rate
    deviation = (by_noise**2 + by_sampling) ** 0.5
    estimate, error = float(noisy.mean()), deviation / count**0.5
    return Findings(
        plain=Finding(
            outcome=Outcome.SUCCEEDED if round(float(exact.mean())) == true else Outcome.FAILED,
            evidence=f"{exact.mean():.0f} frauds counted of {true} among {len(records.labels):,} records",
            figures={"true": float(true), "counted": float(exact.mean())},
        ),
        fedsec=Finding(
            outcome=Outcome.NOT_PROTECTED,
            evidence=f"{estimate:.0f} ± {error:.0f} frauds counted ({true} true) from {count} "
            f"{'pairs' if count > 1 else 'pair'} of sums; from one pair ± {deviation:.0f}",
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
    return _asked(setting, _fraud_or_empty(setting), openings=openings)


def _shares_of_a_pair(setting: Setting) -> tuple[int, int]:
    """Noise shares that count in a sum with the bank and in one without it, of the fewest survivors there can be.

    In local mode the bank's own share is all that counts, and it is in the first sum alone.
    """
    return (1, 0) if setting.mode == "local" else (setting.shares + 1, setting.shares)


def _fraud_or_empty(setting: Setting) -> Question:
    """Whether one fraud is there, at weights under which it contributes as much as clipping lets through."""
    record = invented_records(setting).of(1, 1)
    there = update(setting, counting_weights(setting), record, np.ones(1), clipped=True)
    return Question.between(there, np.zeros_like(there))


def _asked(setting: Setting, question: Question, *, openings: int = 1, moved: float = 1.0) -> Findings:
    """The game of ``question`` on so many opened sums."""
    games = question.games(setting, openings=openings)
    return _findings(
        setting,
        question,
        lambda of: observed(setting, of, games=games, openings=openings),
        shares=setting.shares,
        openings=openings,
        moved=moved,
    )


def _findings(
    setting: Setting,
    question: Question,
    see: Callable[[Vector], Vector],
    *,
    shares: int,
    openings: int = 1,
    moved: float = 1.0,
) -> Findings:
    """The game without noise, and as ``see`` shows either case with ``shares`` noise shares for each opening."""
    bound, epsilon = (
        setting.advantage_bound(openings=openings, moved=moved),
        setting.spent(openings=openings, moved=moved),
    )
    either = (question.yes, question.no)
    clear = [observed(setting, of, games=CONTROL_GAMES, openings=openings, shares=0) for of in either]
    without = advantage(*(question.scores(seen) for seen in clear))
    found = advantage(*(question.scores(see(of)) for of in either))
    outcome = Outcome.BOUNDED if without.exceeds(bound) else Outcome.UNTESTED
    noise = (setting.share_variance * shares) ** 0.5 / setting.grid_scale
    best = _best(setting, question.apart / noise, openings)
    cut = _noticed(setting, question.apart, noise, openings, bound + found.advantage - found.low)
    return Findings(
        plain=Finding(
            outcome=Outcome.FAILED if without.by_chance else Outcome.SUCCEEDED,
            evidence=f"advantage {without.advantage:.2f}",
            figures={"advantage": without.advantage, "low": without.low, "high": without.high},
            measured=without,
        ),
        fedsec=Finding(
            outcome=Outcome.SUCCEEDED if found.exceeds(bound) else outcome,
            evidence=f"advantage {found.advantage:.3f} ({found.low:.3f} to {found.high:.3f}) in {found.trials:,} games"
            + ("" if best is None else f", best possible {best:.3f}")
            + f"; bound {bound:.3f}"
            + ("" if outcome is Outcome.BOUNDED else ", not even passed without noise")
            + f"; ε = {epsilon:.3g}"
            + (", two values: twice the distance" if moved == 2 else "")
            + (f"; noise × {cut:.2f} would show" if outcome is Outcome.BOUNDED and cut is not None else ""),
            figures={
                "advantage": found.advantage,
                "low": found.low,
                "high": found.high,
                "bound": bound,
                "epsilon": epsilon,
                "games": float(found.trials),
            }
            | ({} if best is None else {"best_possible": best})
            | ({} if cut is None else {"noise_cut_noticed": cut}),
            measured=found,
            bound=bound,
            best=best,
            epsilon=epsilon,
        ),
    )


def _best(setting: Setting, apart: float, openings: int) -> float | None:
    """Advantage of the best possible guess, the cases being so many standard deviations apart in a sum with the record.

    Of one sum in which the record is with chance q it is q times that of a sum in which it is. Of several sampled ones
    nothing closed is known.
    """
    if setting.sampling_rate == 1:
        return best_advantage(apart * openings**0.5)
    return setting.sampling_rate * best_advantage(apart) if openings == 1 else None


def _noticed(setting: Setting, apart: float, noise: float, openings: int, needed: float) -> float | None:
    """To what part of itself the noise has to fall for the game to reach an advantage of ``needed``; None: by no cut.

    Bound and half an interval are needed, so that every other suite would notice it. Sampling is taken as one more
    Gaussian noise.
    """
    if needed >= 1:
        return None
    q = setting.sampling_rate
    spread = (openings * q * apart / gap_of_advantage(needed)) ** 2 - openings * q * (1 - q) * apart**2
    return (spread / openings) ** 0.5 / noise if spread > 0 else None


def _opened(setting: Setting, own: Vector, *, noisy: bool) -> Vector:
    """A sum of which all but ``own`` and the counted noise shares was known and taken off, float64 ``(d,)``.

    In distributed mode really masked and opened; in local mode one step of one bank, whose noise is added earlier.
    """
    if setting.mode == "local":
        return noised(setting, rounded(setting, own), shares=int(noisy)) / setting.grid_scale
    inputs = np.zeros((cohort_size(setting), setting.dimension), dtype=np.int64)
    inputs[0] = on_grid(setting, own)
    for bank in range(setting.shares if noisy else 0):
        inputs[bank % len(inputs)] = noised(setting, inputs[bank % len(inputs)], shares=1)
    total: NDArray[np.int64] = Cohort(setting, inputs).to_the_end().opened().total
    return total / setting.quantiser.scale


def _remarked(finding: Finding, fit: float) -> Finding:
    return Finding(
        outcome=finding.outcome,
        evidence=f"{finding.evidence}; by division: correlation {fit:.2f}",
        figures=finding.figures | {"correlation_by_division": fit},
        measured=finding.measured,
        bound=finding.bound,
        best=finding.best,
        epsilon=finding.epsilon,
    )
