"""What is audited: the plan of the default settings, of given ones, or of a finished run, on invented records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from compliance.attacks.consistency import check_records, noise_shares
from compliance.audit.guessing import Guesses
from compliance.audit.power import Channel, Design, design, perfect
from compliance.reading import RunRecords, read_run
from dp.mechanism import SumMechanism
from fedsec.errors import ConfigError
from fl_engine.data.synthetic import SYNTHETIC_SCHEMA
from fl_engine.model import ModelSpec
from fl_engine.plan import TRAINING, PlannedSum, TaskPlan
from fl_engine.planning import build_plan
from fl_engine.run_directory import PARTIAL
from fl_engine.settings import RunSettings, read_config, validated

CANARIES = 100_000
CONFIDENCE = 0.95
RECORDS = 64  # real ones of each bank; the auditor knows them, so their number changes nothing
LIMIT, BEYOND = (
    4.0,
    5.0,
)  # of the saturation that is a control, in deviations of a share; how far the ballast is past it
_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class AuditSetting:
    """What is audited and how.

    Attributes:
        subject: for a title.
        run: identifier of the finished run whose settings these are; None: of no run.
        plan: as `fedsec run` would make it, for the slots of the audit.
        claimed: ε that the plan reserves for a training record (or an entity), against its target adversary.
        canaries: of one audit run; runs: how many audit runs; their canaries count together.
        confidence: of the lower bound; channel: what is seen of one canary; design: how many coins are guessed.
        ballast: slots of each honest bank whose records drive its sums into saturation, for that control; 0: none fit.
    """

    subject: str
    run: str | None
    plan: TaskPlan
    claimed: float
    canaries: int
    runs: int
    confidence: float
    channel: Channel
    design: Design
    ballast: int

    @property
    def training(self) -> PlannedSum:
        """The training sum that the plan prescribes."""
        return self.plan.sum("training")

    @property
    def shares(self) -> int:
        """Banks whose noise counts: h, or in local mode the one bank alone."""
        return self.training.mechanism.honest_inputs

    @property
    def all_canaries(self) -> int:
        """m, over all audit runs."""
        return self.canaries * self.runs

    @property
    def runs_of_perfect_guesses(self) -> int:
        """Fewest audit runs after which right guesses alone exceed the claim: for variants that hide nothing."""
        fits = (runs for runs in range(1, self.runs) if self.exceeds(perfect(self.canaries * runs)))
        return next(fits, self.runs)

    def lower_bound(self, guesses: Guesses) -> float:
        """Of ``guesses``, at the plan's δ and the audit's confidence."""
        return guesses.lower_bound(delta=self.plan.delta, confidence=self.confidence)

    def exceeds(self, guesses: Guesses) -> bool:
        """Whether ``guesses`` disprove the claim."""
        return guesses.p_value(self.claimed, self.plan.delta) < 1 - self.confidence


def default_setting(settings: RunSettings, *, canaries: int = CANARIES, confidence: float = CONFIDENCE) -> AuditSetting:
    """The plan of ``settings``, with the model of synthetic data.

    Raises:
        ConfigError: the settings do not hold, or no audit of that size could disprove their ε.
    """
    return _setting(
        settings,
        subject="the given settings" if settings != RunSettings() else "the default settings",
        run=None,
        model=ModelSpec(inputs=SYNTHETIC_SCHEMA.width),
        numeric_width=SYNTHETIC_SCHEMA.numeric_width,
        canaries=canaries,
        confidence=confidence,
    )


def run_setting(run: Path, *, canaries: int = CANARIES, confidence: float = CONFIDENCE) -> AuditSetting:
    """The plan of the finished run in the directory ``run``, whose records and model are not touched.

    Raises:
        ConfigError: it is not the directory of a finished run, its records do not fit each other, its settings give
            another plan today, or no audit of that size could disprove its ε.
    """
    if run.resolve().name.endswith(PARTIAL):
        raise ConfigError(
            f"{run} is the directory of a run that did not finish",
            remedy="Resume it with `fedsec run --resume RUN`, or audit the default settings: leave RUN out.",
        )
    records = read_run(run)
    check_records(run, records)
    layers = records.summary.model
    scaling = next((each for each in records.statement.parameters if each.name == "scaling"), None)
    if len(layers) < 3 or scaling is None:
        raise ConfigError(f"{run} describes no model or no scaling", remedy="Give the directory of a complete run.")
    given = validated(RunSettings, read_config(run / "config.toml"), where=f"{run / 'config.toml'}: ")
    setting = _setting(
        given.model_copy(update={"delta": records.statement.delta, "banks": records.statement.cohort.clients}),
        subject=f"the settings of run {records.summary.run}",
        run=records.summary.run,
        model=ModelSpec(inputs=layers[0], hidden=tuple(layers[1:-1])),
        numeric_width=(scaling.dimension - 1) // 2,
        canaries=canaries,
        confidence=confidence,
    )
    _check_same(run, records, setting)
    return setting


def _setting(
    settings: RunSettings,
    *,
    subject: str,
    run: str | None,
    model: ModelSpec,
    numeric_width: int,
    canaries: int,
    confidence: float,
) -> AuditSetting:
    def planned(slots: tuple[int, ...]) -> TaskPlan:
        return build_plan(
            settings,
            task="audit",
            slots=slots,
            model=model,
            numeric_width=numeric_width,
            federated_evaluation=False,
        )

    first = planned((1,) * settings.banks)
    mechanism = first.sum("training").mechanism
    honest, local = mechanism.honest_inputs, first.local is not None
    # Fewer slots than 1 / delta, so that the plan's delta is allowed for the audit too.
    room = min(math.ceil(1 / first.delta) - 1 - settings.banks, 10**6) // honest - RECORDS
    each = min(math.ceil(min(canaries, model.parameters) / honest), room)
    if each < 1:
        raise ConfigError(
            f"δ = {first.delta:g} leaves no room for an audit's canaries: it has to be below one over their number",
            remedy="Audit with a smaller --delta.",
        )
    of_one_run = min(each * honest, model.parameters, canaries)
    ballast = 0 if local else _ballast(mechanism)
    ballast = ballast if ballast <= room - each else 0
    slots = (RECORDS + each + ballast,) * honest + (1,) * (settings.banks - honest)
    plan = planned(slots)
    training = plan.sum("training")
    mechanism = training.mechanism
    runs = math.ceil(canaries / of_one_run)
    channel = Channel(
        openings=training.attempts * training.openings_per_attempt,
        rate=mechanism.sampling_rate,
        deviation=math.sqrt(mechanism.share_variance * honest) / (mechanism.clip * mechanism.grid_scale),
    )
    claimed = plan.planned_epsilon(TRAINING)
    chosen = design(channel, canaries=of_one_run * runs, epsilon=claimed, delta=plan.delta, confidence=confidence)
    if chosen is None or confidence >= 1:
        raise ConfigError(
            f"{of_one_run * runs:,} canaries cannot disprove ε = {claimed:.3g} at δ = {plan.delta:g} with "
            f"{100 * confidence:g} % confidence, whatever is seen of them",
            remedy="Use more --canaries or a lower --confidence, or audit a smaller ε: with ever so many canaries, "
            f"this δ and confidence let no audit get far beyond {math.log((1 - confidence) / (4 * plan.delta)):.1f}.",
        )
    return AuditSetting(
        subject=subject,
        run=run,
        plan=plan,
        claimed=claimed,
        canaries=of_one_run,
        runs=runs,
        confidence=confidence,
        channel=channel,
        design=chosen,
        ballast=ballast,
    )


def _ballast(mechanism: SumMechanism) -> int:
    """Records that drive a bank's sum past the saturation at all coordinates but those of its own canaries.

    Their clipped gradients all point the same way, along (h - 1) / h of the coordinates.
    """
    h = mechanism.honest_inputs
    deviation = math.sqrt(mechanism.share_variance) / (mechanism.clip * mechanism.grid_scale)
    return math.ceil((LIMIT + BEYOND) * deviation * math.sqrt(mechanism.dimension * (h - 1) / h))


def _check_same(run: Path, records: RunRecords, setting: AuditSetting) -> None:
    """Refuse to audit other noise, or another number of releases, than the run states."""
    statement, mechanism = records.statement, setting.training.mechanism
    stated = next(each for each in statement.parameters if each.name == "training")
    release = next(each for each in statement.releases if each.name == "training")
    pairs = (
        (stated.noise_multiplier, mechanism.noise_multiplier),
        (stated.sampling_rate, mechanism.sampling_rate),
        (stated.clip, mechanism.clip),
        (stated.dimension, mechanism.dimension),
        (noise_shares(statement), mechanism.honest_inputs),
        (release.planned, setting.training.attempts),
    )
    if not all(math.isclose(one, other, rel_tol=_TOLERANCE) for one, other in pairs):
        raise ConfigError(
            f"the settings in {run} give other noise today than its privacy.json states",
            remedy="Use the version of fedsec that summary.json names.",
        )
