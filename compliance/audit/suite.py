"""The audit and its controls, one audit run after another.

1. The product is trained ``runs`` times with canaries; guesses about their coins give a lower bound of ε.
2. Noise off, and a saturation after the noise (in local mode: no sampling, as a saturation there is harmless, being
   done to what is private already), are audited in the same way, and must be found out.
3. So must noise cut to what the audit says it would notice.

Without 2 and 3 a low bound would say nothing: an audit that looks away never finds anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

import fedsec
from compliance.audit.canaries import coins
from compliance.audit.controls import EveryRecordEveryStep, SaturatedAfterNoise, WithoutNoise
from compliance.audit.guessing import Guesses, guess
from compliance.audit.power import perfect
from compliance.audit.results import AuditRecord, ControlRecord
from compliance.audit.setting import AuditSetting
from compliance.audit.training import Variant, limit_of, scores
from dp.mechanism import SumMechanism
from fedsec.errors import ConfigError

NO_NOISE, SATURATED, UNSAMPLED, CUT = "no-noise", "saturate-after-noise", "no-sampling", "noise-cut"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The product or a broken variant, and how it is audited.

    Attributes:
        variant: None: it cannot be played with this setting.
        runs: audit runs; guesses: coins guessed over all of them.
        expected: whether it surely shows.
    """

    name: str
    title: str
    variant: Variant | None
    runs: int
    guesses: int
    expected: bool


def control(setting: AuditSetting, name: str) -> Trial:
    """The control ``name`` for ``setting``; ``noise-cut=FACTOR`` cuts the noise to that part of itself.

    Raises:
        ConfigError: there is none of that name in this mode.
    """
    mechanism = setting.training.mechanism
    kind, _, factor = name.partition("=")
    if name == NO_NOISE:
        return _obvious(setting, name, "noise off", _broken(WithoutNoise, mechanism))
    if name == UNSAMPLED and setting.plan.local is not None:
        everything = _broken(EveryRecordEveryStep, msgspec.structs.replace(mechanism, sampling_rate=1.0))
        return _obvious(setting, name, "every record in every step", everything)
    if name == SATURATED and setting.plan.local is None:
        limit = limit_of(mechanism)
        left = setting.shares**-0.5  # all shares but that of the canary's own bank are swallowed
        return Trial(
            name=name,
            title="saturation after the noise",
            variant=Variant(mechanism=_broken(SaturatedAfterNoise, mechanism, limit=limit), limit=limit)
            if setting.ballast
            else None,
            runs=setting.runs,
            guesses=setting.design.guesses,
            expected=setting.ballast > 0 and left <= setting.design.noticed,
        )
    if kind == CUT and 0 < (part := _number(factor)) <= 1:
        return Trial(
            name=CUT,
            title=f"noise cut to {part:.0%}",
            variant=Variant(
                mechanism=msgspec.structs.replace(mechanism, noise_multiplier=mechanism.noise_multiplier * part)
            ),
            runs=setting.runs,
            guesses=setting.design.guesses,
            expected=part <= setting.design.noticed,
        )
    known = [NO_NOISE, UNSAMPLED if setting.plan.local is not None else SATURATED, f"{CUT}=0.5"]
    raise ConfigError(f"{setting.plan.mode} mode has no control {name!r}", remedy=f"There are {', '.join(known)}.")


def controls(setting: AuditSetting) -> tuple[Trial, ...]:
    """All that an audit of ``setting`` is tried on."""
    second = SATURATED if setting.plan.local is None else UNSAMPLED
    return tuple(control(setting, name) for name in (NO_NOISE, second, f"{CUT}={setting.design.noticed}"))


def carry_out(
    setting: AuditSetting, *, tried: tuple[Trial, ...], instead: Trial | None, progress: Progress
) -> AuditRecord:
    """Audit ``setting``, then the controls ``tried``.

    Args:
        setting: what is audited.
        tried: controls that are audited besides.
        instead: a broken variant that is audited in the product's place, for debugging; the record is branded.
        progress: told before each audit run: of what, its number from 1, and of how many.
    """
    began = time.perf_counter()
    mechanism = setting.training.mechanism
    product = Trial(
        name="product",
        title=f"{setting.plan.mode} training",
        variant=Variant(mechanism=mechanism),
        runs=setting.runs,
        guesses=setting.design.guesses,
        expected=False,
    )
    found = _audit(setting, instead or product, progress)
    if found is None:
        raise ConfigError("that control cannot be played with these settings", remedy="Choose another.")
    records = tuple(_record(setting, each, progress) for each in tried)
    return AuditRecord(
        fedsec=fedsec.__version__,
        run=setting.run,
        private=instead is None,
        mode=setting.plan.mode,
        clients=setting.plan.clients,
        honest_inputs=setting.shares,
        noise_multiplier=mechanism.noise_multiplier,
        sampling_rate=mechanism.sampling_rate,
        clip=mechanism.clip,
        dimension=mechanism.dimension,
        openings=setting.channel.openings,
        unit=setting.plan.unit,
        claimed_epsilon=setting.claimed,
        delta=setting.plan.delta,
        lower_bound=setting.lower_bound(found),
        confidence=setting.confidence,
        canaries=found.canaries,
        guesses=found.made,
        correct=found.correct,
        runs=found.canaries // setting.canaries,
        noise_noticed=setting.design.noticed,
        controls=records,
        seconds=time.perf_counter() - began,
    )


def _record(setting: AuditSetting, tried: Trial, progress: Progress) -> ControlRecord:
    found = _audit(setting, tried, progress)
    return ControlRecord(
        name=tried.name,
        title=tried.title,
        lower_bound=None if found is None else setting.lower_bound(found),
        canaries=0 if found is None else found.canaries,
        guesses=0 if found is None else found.made,
        correct=0 if found is None else found.correct,
        expected=tried.expected,
        noticed=found is not None and setting.exceeds(found),
    )


def _audit(setting: AuditSetting, tried: Trial, progress: Progress) -> Guesses | None:
    """All audit runs of ``tried``, and the guesses about all their canaries; None where it cannot be played."""
    if tried.variant is None:
        return None
    inside, evidence = [], []
    for run in range(tried.runs):
        progress(tried.title, run + 1, tried.runs)
        inside.append(coins(setting.canaries))
        evidence.append(scores(setting, tried.variant, inside[-1]))
    return guess(
        np.concatenate(evidence),
        np.concatenate(inside),
        guesses=tried.guesses,
        both_ends=setting.channel.both_ends,
    )


def _obvious(setting: AuditSetting, name: str, title: str, mechanism: SumMechanism) -> Trial:
    """A control that hides nothing: few audit runs are enough, with many guesses."""
    runs = setting.runs_of_perfect_guesses
    hopeful = perfect(setting.canaries * runs)
    return Trial(
        name=name,
        title=title,
        variant=Variant(mechanism=mechanism),
        runs=runs,
        guesses=hopeful.made,
        expected=setting.exceeds(hopeful),
    )


def _broken(kind: type[SumMechanism], mechanism: SumMechanism, **more: int) -> SumMechanism:
    fields: dict[str, Any] = {name: getattr(mechanism, name) for name in SumMechanism.__struct_fields__}
    return kind(**(fields | more))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
