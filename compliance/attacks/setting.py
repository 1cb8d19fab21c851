"""What is attacked: the cohort, the grid, the noise and the model, of a finished run or of the default settings."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from compliance.attacks.consistency import check_records, noise_shares
from compliance.attacks.statistics import advantage_bound
from compliance.reading import SIMULATED_KEYS, read_run
from dp.accounting import epsilon
from dp.events import Composed, DiscreteGaussianSum, DpEvent, PoissonSampled, Repeated
from dp.statement import MechanismParameters, PrivacyStatement
from fedsec.errors import ConfigError
from fl_engine.data.synthetic import SYNTHETIC_SCHEMA
from fl_engine.model import ModelSpec, flatten, initial_weights
from fl_engine.plan import ETA, TRAINING
from fl_engine.planning import build_plan
from fl_engine.run_directory import PARTIAL
from fl_engine.settings import RunSettings
from fl_engine.sums import DELTA_GRID_SCALE, DELTA_SATURATION
from secagg.config import QuantiserParameters

_DELTAS = tuple(10 ** (-each / 8) for each in range(1, 65))
SLOTS = 6_000  # records of a bank where no run says how many; the default run has 60,000 at ten banks


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record that parameters were read from, so that a page can be matched with it. Nobody signed it.

    Attributes:
        run: its identifier; started: UTC; digest: SHA-256 of its privacy.json, 64 hex digits.
        ledger_entry: number of the ledger's last entry once the run was settled; ledger_hash: 64 hex digits.
    """

    run: str
    started: str
    digest: str
    ledger_entry: int
    ledger_hash: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Parameters of the attacked configuration, all public.

    Attributes:
        subject: what was attacked, for a title; brands: its warnings, in capitals.
        record: where the parameters were read; None: the defaults, of no run.
        mode: "distributed" or "local".
        clients, corrupt, threshold: n, c, t.
        slots: records of a bank, on average.
        clip, sensitivity, share_variance, saturation, noise_bound, dimension, sampling_rate, noise_multiplier: of the
            training sum's mechanism, as the privacy statement has them; ``grid_scale``: its grid.
        quantiser: the grid of what is masked.
        shares: noise shares that count against the statement's target adversary.
        openings: how often the training mechanism was charged.
        epsilon, delta, eta: as stated.
        model, weights: float32 ``(d,)``; numeric_width: how many inputs are numbers.
    """

    subject: str
    brands: tuple[str, ...]
    record: RunRecord | None
    mode: str
    clients: int
    corrupt: int
    threshold: int
    slots: int
    clip: float
    grid_scale: float
    sensitivity: float
    share_variance: int
    saturation: int
    noise_bound: int
    dimension: int
    sampling_rate: float
    noise_multiplier: float
    quantiser: QuantiserParameters
    shares: int
    openings: int
    epsilon: float
    delta: float
    eta: float
    model: ModelSpec
    weights: NDArray[np.float32]
    numeric_width: int

    def spent(self, *, openings: int = 1, moved: float = 1.0, delta: float | None = None) -> float:
        """Epsilon of ``openings`` training sums, for data that differ by ``moved`` sensitivities, at ``delta``.

        None: the stated delta.
        """
        single = DiscreteGaussianSum(
            sensitivity=self.sensitivity * moved,
            share_variance=float(self.share_variance),
            shares=self.shares,
            dimension=self.dimension,
        )
        event: DpEvent = single
        if self.sampling_rate < 1:
            event = PoissonSampled(rate=self.sampling_rate, event=single)
        return epsilon(Repeated(count=openings, event=event), self.delta if delta is None else delta, self.eta)

    def advantage_bound(self, *, openings: int = 1, moved: float = 1.0) -> float:
        """Most that any guess between such data gains from so many training sums.

        (epsilon, delta) holds at every delta with an epsilon of its own, so the least bound over a grid of them counts.
        Where records are sampled, no guess is better than one that knows whether the record was ever in.
        """
        bounds = (
            advantage_bound(self.spent(openings=openings, moved=moved, delta=delta), delta)
            for delta in (self.delta, *_DELTAS)
        )
        return min(1 - (1 - self.sampling_rate) ** openings, *bounds)


def default_setting() -> Setting:
    """An invented cohort of ten banks with the default settings of ``fedsec run``, at its first round."""
    settings = RunSettings()
    model = ModelSpec(inputs=SYNTHETIC_SCHEMA.width)
    plan = build_plan(
        settings,
        task="attack",
        slots=(SLOTS,) * settings.banks,
        model=model,
        numeric_width=SYNTHETIC_SCHEMA.numeric_width,
        federated_evaluation=False,
    )
    training = plan.sum("training")
    mechanism = training.mechanism
    return Setting(
        subject="an invented cohort with the default settings",
        brands=(SIMULATED_KEYS,),
        record=None,
        mode=plan.mode,
        clients=plan.clients,
        corrupt=plan.corrupt,
        threshold=plan.threshold,
        slots=SLOTS,
        clip=mechanism.clip,
        grid_scale=mechanism.grid_scale,
        sensitivity=mechanism.sensitivity,
        share_variance=mechanism.share_variance,
        saturation=mechanism.saturation,
        noise_bound=mechanism.noise_bound,
        dimension=mechanism.dimension,
        sampling_rate=mechanism.sampling_rate,
        noise_multiplier=mechanism.noise_multiplier,
        quantiser=training.quantiser,
        shares=mechanism.honest_inputs,
        openings=plan.rounds,
        epsilon=plan.spent_epsilon(TRAINING, {"scaling": 1, "training": plan.rounds}),
        delta=plan.delta,
        eta=ETA,
        model=model,
        weights=initial_weights(model, settings.seed),
        numeric_width=SYNTHETIC_SCHEMA.numeric_width,
    )


def run_setting(run: Path) -> Setting:
    """The parameters and the model of the finished run in the directory ``run``. No name in it is read.

    Raises:
        ConfigError: it is not the directory of a finished run, its records do not fit each other, or its model cannot
            be read.
    """
    if run.resolve().name.endswith(PARTIAL):
        raise ConfigError(
            f"{run} is the directory of a run that did not finish",
            remedy="Resume it with `fedsec run --resume RUN`, or attack the default settings: leave RUN out.",
        )
    records = read_run(run)
    statement, summary = records.statement, records.summary
    check_records(run, records)
    stated = statement.epsilon
    assert stated is not None  # it is of a private run: that was checked
    if statement.unit_rows is not None:
        raise ConfigError(
            f"{run} protects entities with all their rows, and the attacks are on single records",
            remedy="Attack a run without --unit-column, or the default settings: leave RUN out.",
        )
    training, scaling = _parameters(statement, "training"), _parameters(statement, "scaling")
    release = next(release for release in statement.releases if release.name == "training")
    if len(summary.model) < 3:
        raise ConfigError(f"{run}: summary.json describes no model")
    model = ModelSpec(inputs=summary.model[0], hidden=tuple(summary.model[1:-1]))
    if model.parameters != training.dimension:
        raise ConfigError(f"{run}: summary.json and privacy.json are about models of different sizes")
    local = statement.mode == "local"
    grid = QuantiserParameters(
        scale=training.grid_scale, saturation=training.saturation, noise_bound=training.noise_bound
    )
    setting = Setting(
        subject=f"the parameters of run {summary.run}",
        brands=statement.brands,
        record=RunRecord(
            run=summary.run,
            started=summary.started,
            digest=hashlib.sha256((run / "privacy.json").read_bytes()).hexdigest(),
            ledger_entry=summary.ledger_head.entry,
            ledger_hash=summary.ledger_head.hash,
        ),
        mode=statement.mode,
        clients=statement.cohort.clients,
        corrupt=statement.cohort.corrupt,
        threshold=statement.cohort.threshold,
        slots=statement.slots // statement.cohort.clients,
        clip=training.clip,
        grid_scale=training.grid_scale,
        sensitivity=training.sensitivity,
        share_variance=math.floor(training.share_variance),
        saturation=training.saturation,
        noise_bound=training.noise_bound,
        dimension=training.dimension,
        sampling_rate=training.sampling_rate,
        noise_multiplier=training.noise_multiplier,
        quantiser=QuantiserParameters(scale=DELTA_GRID_SCALE, saturation=DELTA_SATURATION, noise_bound=0)
        if local
        else grid,
        shares=noise_shares(statement),
        openings=max(1, release.charged * _count(release.event)),
        epsilon=stated,
        delta=statement.delta,
        eta=statement.eta,
        model=model,
        weights=_weights(run / "model.safetensors", model),
        numeric_width=(scaling.dimension - 1) // 2,
    )
    if setting.spent(openings=setting.openings) > stated * (1 + 1e-6):
        raise ConfigError(f"{run}: the training sums alone spend more than the stated ε")
    return setting


def _parameters(statement: PrivacyStatement, name: str) -> MechanismParameters:
    found = next((parameters for parameters in statement.parameters if parameters.name == name), None)
    if found is None or not any(release.name == name for release in statement.releases):
        raise ConfigError(f"privacy.json lists no release {name!r}", remedy="Give the directory of a complete run.")
    return found


def _count(event: DpEvent) -> int:
    """How often the mechanism runs in one attempt."""
    if isinstance(event, Repeated):
        return event.count * _count(event.event)
    return sum(_count(part) for part in event.events) if isinstance(event, Composed) else 1


def _weights(path: Path, model: ModelSpec) -> NDArray[np.float32]:
    try:
        return flatten(model, load(path.read_bytes()))
    except (OSError, SafetensorError, msgspec.MsgspecError, ValueError):
        raise ConfigError(
            f"{path} is missing, damaged, or not the model that summary.json describes",
            remedy="Give the directory of a complete run.",
        ) from None
