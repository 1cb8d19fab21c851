"""A finished run's records held against each other before anything is attacked with them.

Nobody signed them. What contradicts itself is refused; a forgery that is consistent is not found by reading.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from pathlib import Path

from compliance.reading import SIMULATED_KEYS, RunRecords
from compliance.recompute import check_epsilons
from dp.events import Composed, DiscreteGaussianSum, DpEvent, PoissonSampled, Repeated
from dp.mechanism import NOISE_STANDARD_DEVIATIONS
from dp.statement import MechanismParameters, PrivacyStatement, Release
from fedsec.errors import ConfigError

_TARGETS = {"distributed": "server-and-banks", "local": "everyone-else"}
_TOLERANCE = 1e-6  # relative: variances are rounded up to integers


def check_records(run: Path, records: RunRecords) -> None:
    """Refuse the records of ``run`` where they contradict each other, or claim nothing that could be attacked.

    Raises:
        ConfigError: names the first contradiction.
    """
    statement, summary = records.statement, records.summary
    if not statement.private or "NOT PRIVATE" in statement.brands:
        raise ConfigError(
            f"{run} is NOT PRIVATE: nothing is claimed of it, so there is no claim to attack",
            remedy="Give a private run, or leave RUN out.",
        )
    _require(run, SIMULATED_KEYS in statement.brands and bool(statement.voids), "brands or voids are missing")
    _check_cohort(run, statement)
    check_epsilons(statement)
    _require(run, summary.mode == statement.mode, "summary.json and privacy.json name different modes")
    _require(
        run,
        (summary.banks, summary.slots) == (statement.cohort.clients, statement.slots),
        "summary.json and privacy.json count other banks or records",
    )
    for parameters in statement.parameters:
        for release in statement.releases:
            if release.name == parameters.name:
                _check_mechanism(run, statement, parameters, release)
    _check_attempts(run, records)
    _check_config(run, statement)


def _check_cohort(run: Path, statement: PrivacyStatement) -> None:
    cohort = statement.cohort
    n, c, t, m = cohort.clients, cohort.corrupt, cohort.threshold, cohort.min_survivors
    _require(run, 0 <= c < t <= m <= n and 2 * t > n + c, f"no session has n = {n}, c = {c}, t = {t}, m = {m}")
    _require(run, cohort.honest_inputs == t - c, f"h is {cohort.honest_inputs} and t - c is {t - c}")
    target = next((bound for bound in statement.adversaries if bound.target), None)
    _require(run, target is not None, "the privacy statement names no target adversary")
    assert target is not None
    wanted, shares = _TARGETS.get(statement.mode), noise_shares(statement)
    _require(
        run,
        (target.name, target.shares) == (wanted, shares),
        f"{statement.mode} mode is claimed against {wanted} with {shares} shares of noise, "
        f"not against {target.name} with {target.shares}",
    )


def _check_mechanism(run: Path, statement: PrivacyStatement, parameters: MechanismParameters, release: Release) -> None:
    """The parameters of a release against the event that its epsilon was computed from."""
    h, what = noise_shares(statement), f"parameters and event of {parameters.name!r} differ"
    wanted = DiscreteGaussianSum(
        sensitivity=parameters.sensitivity,
        share_variance=parameters.share_variance,
        shares=h,
        dimension=parameters.dimension,
    )
    singles = _singles(release.event)
    _require(run, bool(singles), f"the event of {parameters.name!r} has no opening")
    for rate, single in singles:
        _require(run, rate == parameters.sampling_rate and single == wanted, what)
    counted, promised = parameters.share_variance * h, (parameters.noise_multiplier * parameters.sensitivity) ** 2
    _require(
        run,
        promised * (1 - _TOLERANCE) <= counted <= promised * (1 + _TOLERANCE) + h,
        f"the noise of {parameters.name!r} is not the noise multiplier times the sensitivity",
    )
    _require(
        run,
        parameters.sensitivity >= parameters.clip * parameters.grid_scale > 0,
        f"the sensitivity of {parameters.name!r} is less than a clip on the grid",
    )
    _require(
        run,
        parameters.noise_bound**2 >= NOISE_STANDARD_DEVIATIONS**2 * parameters.share_variance * (1 - _TOLERANCE),
        f"the noise of {parameters.name!r} is cut below {NOISE_STANDARD_DEVIATIONS} standard deviations",
    )


def _check_attempts(run: Path, records: RunRecords) -> None:
    tried, opened = (
        Counter(each.release for each in records.attempts if each.status in which)
        for which in (("opened", "aborted"), ("opened",))
    )
    for release in records.statement.releases:
        _require(
            run,
            release.opened == opened[release.name] and tried[release.name] <= release.charged <= release.planned,
            f"metrics.jsonl and privacy.json count other openings of {release.name!r}",
        )
    _require(run, records.summary.rounds_opened == opened["training"], "summary.json counts other rounds")


def _check_config(run: Path, statement: PrivacyStatement) -> None:
    try:
        config = tomllib.loads((run / "config.toml").read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"{run / 'config.toml'} is damaged", remedy="Give the directory of a complete run.") from None
    training = next((each for each in statement.parameters if each.name == "training"), None)
    stated = {
        "banks": statement.cohort.clients,
        "dp_mode": statement.mode,
        "max_corrupt": statement.cohort.corrupt,
        "clip": training.clip if training else None,
        "delta": statement.delta,
    }
    for name, value in stated.items():
        _require(run, config.get(name, value) == value, f"config.toml and privacy.json differ in {name}")
    budget = config.get("epsilon", math.inf)
    _require(
        run,
        isinstance(budget, int | float) and (statement.planned_epsilon or 0.0) <= budget * (1 + _TOLERANCE),
        "privacy.json reserves more than the ε that config.toml asks for",
    )


def noise_shares(statement: PrivacyStatement) -> int:
    """Noise shares that count against the adversary that a mode is claimed against."""
    return 1 if statement.mode == "local" else statement.cohort.threshold - statement.cohort.corrupt


def _singles(event: DpEvent, rate: float = 1.0) -> list[tuple[float, DpEvent]]:
    """The mechanisms in ``event``, each with its sampling rate."""
    if isinstance(event, Repeated):
        return _singles(event.event, rate)
    if isinstance(event, PoissonSampled):
        return _singles(event.event, event.rate)
    if isinstance(event, Composed):
        return [single for part in event.events for single in _singles(part, rate)]
    return [(rate, event)]


def _require(run: Path, holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError(
            f"the records in {run} contradict each other: {what}",
            remedy="They were changed, or are from another version of fedsec; nothing is attacked.",
        )
