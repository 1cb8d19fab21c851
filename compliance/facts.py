"""What a report may state as a number: the allow-list.

:class:`Facts` has numbers, truth values and members of fixed lists, and no field for a free text, so there is no place
into which a bank's name, a path or a column could be copied by mistake. It is built field by field from the run's
records by :mod:`compliance.reading`. No field describes fewer than :data:`FEWEST_BANKS` banks; where a count would, it
is None and every text says "fewer than 5".

Every field says what it means and under what title it may be known (:class:`Disclosure`). Fields marked LOCAL are for
the report on this machine; requests are rendered from :class:`compliance.disclosed.Disclosed`, which has none of them.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any

import pydantic

FEWEST_BANKS = 5


class Disclosure(StrEnum):
    """Why a figure may be known."""

    PARAMETER = "public parameter, fixed before any record was read"
    CHARGED = "differentially private, paid for by a ledger account"
    HOLDOUT = "measured without noise on rows that the coordinator may see"
    OPERATION = "how the run went: counts of attempts and banks, bytes; no record enters it"
    LOCAL = "for the report on this machine only; never sent"


def fact(description: str, disclosure: Disclosure, **bounds: Any) -> Any:
    """A field with its meaning and its disclosure class, both in the model's JSON schema."""
    return pydantic.Field(description=description, json_schema_extra={"disclosure": disclosure.value}, **bounds)


class Data(StrEnum):
    """What was trained on."""

    SYNTHETIC = "synthetic"
    OWN = "own data"


class Mode(StrEnum):
    """Where the noise comes from."""

    DISTRIBUTED = "distributed"
    LOCAL = "local"


class Evaluation(StrEnum):
    """How quality was measured."""

    PUBLIC = "public"
    FEDERATED = "federated"


class Unit(StrEnum):
    """Whose contribution the guarantee hides."""

    RECORD = "record"
    ENTITY = "entity at one bank"


class Neighbours(StrEnum):
    """Which two data sets the guarantee makes hard to tell apart."""

    ZERO_OUT = "zero-out"


class Adversary(StrEnum):
    """Against whom a bound holds."""

    RELEASED_MODEL = "released-model"
    COLLUDING_BANKS = "colluding-banks"
    SERVER_AND_BANKS = "server-and-banks"
    EVERYONE_ELSE = "everyone-else"

    @property
    def heading(self) -> str:
        """The adversary in words, as a heading."""
        return {
            Adversary.RELEASED_MODEL: "Whoever holds the released model",
            Adversary.COLLUDING_BANKS: "Colluding banks, without the server",
            Adversary.SERVER_AND_BANKS: "The server together with colluding banks",
            Adversary.EVERYONE_ELSE: "Everyone else together, masks broken",
        }[self]


class Part(StrEnum):
    """Which part of the records an account of the ledger stands for."""

    TRAINING = "training"
    HOLDOUT = "holdout"
    OTHER = "other"


class ReleaseName(StrEnum):
    """What a sum was opened for."""

    SCALING = "scaling"
    TRAINING = "training"
    EVALUATION = "evaluation"


class Step(StrEnum):
    """A step of the secure aggregation protocol."""

    ADVERTISE = "advertise"
    SHARE = "share"
    MASK = "mask"
    AGREE = "agree"
    UNMASK = "unmask"


class Accountant(StrEnum):
    """A second opinion on the headline."""

    PLD = "Google's PLD accountant"
    PRV = "Opacus' PRV accountant"
    OTHER = "another accountant"


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


D = Disclosure
Share = Annotated[float, pydantic.Field(ge=0.0, le=1.0)]


class Quality(_Frozen):
    """How good a model is on held-out rows."""

    roc_auc: Share | None = fact("ranks a random fraud above a random other row with this probability", D.HOLDOUT)
    average_precision: Share | None = fact(
        "mean precision over all recalls; the base rate of fraud is its floor", D.HOLDOUT
    )
    accuracy: Share | None = fact(
        "share of rows classified right at threshold 0.5; misleading where fraud is rare", D.HOLDOUT
    )
    loss: float | None = fact("mean cross-entropy in nats; smaller is better", D.HOLDOUT, ge=0.0)
    calibration_error: Share | None = fact(
        "share of rows by which predicted and true frauds differ, bin by bin of the score", D.HOLDOUT
    )
    best_f1: Share | None = fact("largest F1 of any threshold of the score", D.HOLDOUT)
    best_f1_threshold: Share | None = fact("the threshold that reaches it", D.HOLDOUT)


class Interval(_Frozen):
    """A 95 % interval that includes the noise of the evaluation."""

    low: float = fact("lower end", D.CHARGED)
    high: float = fact("upper end", D.CHARGED)


class Intervals(_Frozen):
    """95 % intervals of the final quality, where the measurement carries noise."""

    roc_auc: Interval | None = fact("of ROC AUC", D.CHARGED)
    average_precision: Interval | None = fact("of average precision", D.CHARGED)
    accuracy: Interval | None = fact("of accuracy", D.CHARGED)
    loss: Interval | None = fact("of the loss", D.CHARGED)
    calibration_error: Interval | None = fact("of the calibration error", D.CHARGED)
    best_f1: Interval | None = fact("of the largest F1", D.CHARGED)
    best_f1_threshold: Interval | None = fact("of the threshold that reaches it", D.CHARGED)


class Bound(_Frozen):
    """The guarantee against one adversary."""

    adversary: Adversary = fact("against whom", D.PARAMETER)
    shares: int = fact("noise shares that count against it", D.PARAMETER, ge=0)
    epsilon: float | None = fact("bound at the run's delta; None: no guarantee", D.PARAMETER, ge=0.0)
    target: bool = fact("whether the run's target was set against this adversary", D.PARAMETER)


class Balance(_Frozen):
    """One account of the ledger after the run."""

    part: Part = fact("which part of the records", D.PARAMETER)
    spent_epsilon: float | None = fact(
        "spent over all runs so far; None: no bound, something was released without noise or entries were lost",
        D.PARAMETER,
        ge=0.0,
    )
    budget_epsilon: float | None = fact("may be spent over all runs; None: no budget was set", D.PARAMETER, ge=0.0)
    delta: float = fact("of both", D.PARAMETER, ge=0.0, lt=1.0)
    course: tuple[float, ...] = fact(
        "spent over all runs without this one, then after each of its attempts; empty where nothing bounds it", D.LOCAL
    )


class Opening(_Frozen):
    """One purpose for which sums were opened, and who paid."""

    name: ReleaseName = fact("purpose", D.PARAMETER)
    accounts: tuple[Part, ...] = fact("the accounts that paid", D.PARAMETER)
    planned: int = fact("openings reserved before the run", D.PARAMETER, ge=0)
    opened: int = fact("openings that gave a sum", D.OPERATION, ge=0)
    charged: int = fact("openings paid for, aborted ones included", D.OPERATION, ge=0)


class Originals(_Frozen):
    """Parameters from which a third party repeats the accounting of one release; figures are exact, not rounded."""

    name: ReleaseName = fact("of which release", D.PARAMETER)
    noise_multiplier: float = fact(
        "z: counted noise over sensitivity, both as standard deviation and L2 norm", D.PARAMETER
    )
    sampling_rate: float = fact("q: chance of a unit to be in a batch; 1 is a full batch", D.PARAMETER)
    clip: float = fact("C: L2 bound of one unit's contribution", D.PARAMETER)
    grid_scale: float = fact("s: grid units per unit", D.PARAMETER)
    sensitivity: float = fact("Delta: L2 sensitivity on the grid, after rounding", D.PARAMETER)
    share_variance: float = fact("variance of one bank's noise share, grid units squared", D.PARAMETER)
    dimension: int = fact("d: length of the vector", D.PARAMETER)
    saturation: int = fact("M_x: largest input on the grid", D.PARAMETER)
    noise_bound: int = fact("T_e: largest noise on the grid", D.PARAMETER)
    ring_bits: int = fact("b: the masked sum is computed modulo 2^b", D.PARAMETER)


class CrossCheck(_Frozen):
    """What another accountant says about the continuous analogue; information only."""

    accountant: Accountant = fact("whose", D.PARAMETER)
    epsilon: float = fact("its bound at the run's delta", D.PARAMETER, ge=0.0)


class Attempt(_Frozen):
    """One attempt at opening one sum. None for a count of banks means fewer than five."""

    index: int = fact("counts attempts from 0", D.LOCAL)
    release: ReleaseName = fact("purpose", D.LOCAL)
    round: int | None = fact("training round that it completed", D.LOCAL)
    opened: bool = fact("whether a sum was opened", D.LOCAL)
    cohort: int | None = fact("banks asked", D.LOCAL, ge=FEWEST_BANKS)
    survivors: int | None = fact(
        "banks whose input is in the sum; None too where nothing was opened", D.LOCAL, ge=FEWEST_BANKS
    )
    epsilon: float = fact("spent so far by the training account at the run's delta", D.LOCAL, ge=0.0)
    quality: Quality | None = fact(
        "of the model after it; only once a sum over five banks or more is in the model", D.LOCAL
    )
    seconds: float = fact("wall-clock", D.LOCAL, ge=0.0)


class Dropouts(_Frozen):
    """Banks lost at one step of the protocol, summed over the run; None means fewer than five."""

    step: Step = fact("protocol step", D.LOCAL)
    banks: int | None = fact("losses, a bank counted once an attempt", D.LOCAL, ge=FEWEST_BANKS)


class Times(_Frozen):
    """Wall-clock seconds."""

    total: float = fact("whole run", D.LOCAL, ge=0.0)
    training: float = fact("gradients at the banks", D.LOCAL, ge=0.0)
    secure_aggregation: float = fact("keys, masks, sums", D.LOCAL, ge=0.0)
    evaluation: float = fact("measuring quality", D.LOCAL, ge=0.0)


class Audit(_Frozen):
    """An empirical audit of the run's settings, made on invented records."""

    lower_bound: float = fact("epsilon is at least this, with the confidence, at the run's delta", D.LOCAL, ge=0.0)
    claimed_epsilon: float = fact(
        "what was reserved for a training record, or an entity's at one bank", D.LOCAL, ge=0.0
    )
    confidence: Share = fact("of the lower bound", D.LOCAL)
    canaries: int = fact("m: coins that could be guessed", D.LOCAL, ge=1)
    guesses: int = fact("r: coins that were guessed", D.LOCAL, ge=0)
    correct: int = fact("v: right guesses", D.LOCAL, ge=0)
    noise_noticed: Share = fact("noise cut to this part of itself would have been noticed", D.LOCAL)
    controls: int = fact("kinds of broken noise that were audited too", D.LOCAL, ge=0)
    controls_noticed: int = fact("of them, found out", D.LOCAL, ge=0)
    controls_missed: int = fact("of them, not found out though they should have been", D.LOCAL, ge=0)

    @property
    def disproved(self) -> bool:
        """Whether the lower bound is above the claim."""
        return self.lower_bound > self.claimed_epsilon


class Facts(_Frozen):
    """Everything that a report states in figures."""

    private: bool = fact("False: deterministic noise, no privacy at all", D.PARAMETER)
    simulated_keys: bool = fact("True: one process held every bank's key", D.PARAMETER)
    data: Data = fact("what was trained on", D.PARAMETER)
    mode: Mode = fact("where the noise comes from", D.PARAMETER)
    evaluation: Evaluation = fact("how quality was measured", D.PARAMETER)
    banks: int = fact("n: banks in the federation", D.PARAMETER, ge=FEWEST_BANKS)
    corrupt: int = fact("c: banks that may collude with the server", D.PARAMETER, ge=0)
    threshold: int = fact("t: shares that open a round", D.PARAMETER, ge=1)
    honest_inputs: int = fact("h: honest banks in every sum that can be opened", D.PARAMETER, ge=1)
    least_survivors_enforced: int = fact("fewest survivors with which a round opens", D.PARAMETER, ge=1)
    slots: int = fact("declared record slots over all banks", D.LOCAL, ge=1)
    layers: tuple[int, ...] = fact("layer widths of the model, inputs first", D.LOCAL)
    rounds_planned: int = fact("training rounds planned", D.PARAMETER, ge=0)
    rounds_opened: int = fact("training rounds that gave a sum", D.OPERATION, ge=0)
    attempts_aborted: int = fact("attempts that failed and were paid for", D.OPERATION, ge=0)
    survivors_least: int | None = fact("fewest banks in any opened sum; None: fewer than 5", D.LOCAL, ge=FEWEST_BANKS)
    epsilon: float | None = fact(
        "spent against the target adversary, the larger of the two parts; None: not private, nothing holds",
        D.PARAMETER,
        ge=0.0,
    )
    planned_epsilon: float | None = fact(
        "reserved for it before anything was released; None: not private, nothing holds", D.PARAMETER, ge=0.0
    )
    delta: float = fact("of every epsilon here", D.PARAMETER, ge=0.0, lt=1.0)
    eta: float = fact("distance of the sampler from the exact distribution, summed", D.PARAMETER, ge=0.0)
    unit: Unit = fact("whose contribution the guarantee hides", D.PARAMETER)
    unit_rows: int | None = fact("m: most rows of an entity that count; None: the unit is a record", D.PARAMETER, ge=1)
    neighbours: Neighbours = fact("which data sets are hard to tell apart", D.PARAMETER)
    bounds: tuple[Bound, ...] = fact("one for each adversary", D.PARAMETER)
    openings: tuple[Opening, ...] = fact("what was released and who paid", D.OPERATION)
    balances: tuple[Balance, ...] = fact("accounts after the run", D.PARAMETER)
    cross_checks: tuple[CrossCheck, ...] = fact("second opinions", D.PARAMETER)
    originals: tuple[Originals, ...] = fact("for recomputation", D.PARAMETER)
    quality: Quality | None = fact("of the released model; None: withheld, fewer than five banks behind it", D.HOLDOUT)
    intervals: Intervals = fact("of the final quality", D.CHARGED)
    fraud_share: Share | None = fact(
        "share of fraud among the held-out records, with the evaluation's noise if it has any; guessing scores it in"
        " average precision; None: withheld or not measured",
        D.HOLDOUT,
    )
    histogram_bins: int | None = fact("bins of the private score histograms", D.PARAMETER)
    upload_bytes: int = fact("mean bytes that one bank sent, masked", D.LOCAL, ge=0)
    plain_bytes: int = fact("the same unmasked, as 32-bit floats", D.LOCAL, ge=0)
    releases_outside: int = fact("releases that no account paid for", D.OPERATION, ge=0)
    attempts: tuple[Attempt, ...] = fact("every attempt", D.LOCAL)
    dropouts: tuple[Dropouts, ...] = fact("losses by step", D.LOCAL)
    audit: Audit | None = fact("what an audit of the settings measured; None: none was made", D.LOCAL)
    times: Times = fact("where the time went", D.LOCAL)

    @property
    def conservative(self) -> bool:
        """Whether epsilon is at most 1 (this project's conservative setting); False where none holds."""
        return self.epsilon is not None and self.epsilon <= 1.0

    @property
    def quality_may_leave(self) -> bool:
        """False where quality was measured without noise on real rows: no account paid for telling a third party."""
        return self.evaluation is Evaluation.FEDERATED or self.data is Data.SYNTHETIC

    @property
    def holdout_too_small(self) -> bool:
        """Whether the noise leaves too wide an interval for average precision to be stated."""
        stated = self.quality is not None and self.quality.average_precision is not None
        return self.quality is not None and self.intervals.average_precision is not None and not stated

    @property
    def holdout_exposed(self) -> bool:
        """Whether the coordinator sees real held-out records in clear, so that no epsilon is about them."""
        return self.evaluation is Evaluation.PUBLIC and self.data is Data.OWN

    @property
    def odds(self) -> float:
        """e^epsilon; infinite where a float cannot hold it, or where no epsilon holds."""
        return math.inf if self.epsilon is None or self.epsilon >= 700 else math.exp(self.epsilon)

    @property
    def budgeted(self) -> tuple[Balance, ...]:
        """The accounts that have a budget."""
        return tuple(balance for balance in self.balances if balance.budget_epsilon is not None)

    @property
    def overspent(self) -> tuple[Balance, ...]:
        """Those that have spent more than their budget: it was lowered, or nothing bounds what was spent."""
        return tuple(
            balance
            for balance in self.budgeted
            if (math.inf if balance.spent_epsilon is None else balance.spent_epsilon) > (balance.budget_epsilon or 0.0)
        )

    @property
    def target(self) -> Bound | None:
        """The bound that the run was calibrated for."""
        return next((bound for bound in self.bounds if bound.target), None)

    @property
    def against(self) -> str:
        """The target adversary in words, to stand beside an epsilon."""
        banks = "1 bank" if self.corrupt == 1 else f"{self.corrupt} banks"
        return {
            Adversary.RELEASED_MODEL: "whoever holds the released model",
            Adversary.COLLUDING_BANKS: f"up to {banks}, without the server",
            Adversary.SERVER_AND_BANKS: f"the server together with up to {banks}" if self.corrupt else "the server",
            Adversary.EVERYONE_ELSE: "the server together with all other banks",
        }[self.target.adversary if self.target else Adversary.SERVER_AND_BANKS]

    @property
    def assumed(self) -> str:
        """Who is trusted to clip and to add noise, so that the target's bound holds."""
        if self.target is not None and self.target.adversary is Adversary.EVERYONE_ELSE:
            return "the bank that holds the record clipped its contribution and added its noise"
        return f"at least {self.honest_inputs} honest banks in every sum clipped and added their noise"
