"""What a statement says of a run besides its noise: preparation, sampling, randomness, side channels, choices, data.

Each sentence is about this version of the program and holds for every run of its kind; which of them hold for a run
follows from its plan and from how its records came (:class:`DataOrigin`). None names a bank, a column or a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dp.mechanism import NOISE_STANDARD_DEVIATIONS
from dp.statement import (
    TARGET,
    Constant,
    DataExposure,
    FloatingPoint,
    NoiseGeneration,
    Preparation,
    Proof,
    ReleaseName,
    Sampling,
    SideChannel,
)
from fl_engine import planning
from fl_engine.plan import PlannedSum, TaskPlan
from fl_engine.settings import UNIT_ROWS

QUERY_MODEL = (
    "data release: every sum that may be opened, how often and with which noise is fixed by the plan before a record "
    "is read; nothing is answered on request"
)
BIAS = (
    "Noise and clipping cost rare groups of records more accuracy than common ones, and clipping weakens what unusual "
    "records say. Neither is measured by group: the model's fairness has to be assessed elsewhere."
)
CHOSEN_ON: Final = (
    "this project's synthetic banks and published card-fraud rows (ULB), both in view (docs/benchmarks.md)"
)
CHOSEN_BY_OPERATOR: Final = (
    "the operator of this run; if these records were looked at for it, that is a release that no account paid for"
)


def release_name(planned: PlannedSum) -> ReleaseName:
    """The name of a planned sum as statements know it; they refuse to be made with any other."""
    return planned.name  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class DataOrigin:
    """How the records of a run came.

    Attributes:
        source: invented by this program, or the operator's own.
        schema: what says which columns are inputs: the generator, a declared file, or the records themselves.
        banks: what says whose a record is: the generator, a column of the file, or coins that deal it out.
    """

    source: Literal["synthetic", "own data"]
    schema: Literal["generated", "declared", "inferred"]
    banks: Literal["generated", "by column", "dealt"]


def preparation(plan: TaskPlan, origin: DataOrigin) -> tuple[Preparation, ...]:
    """Every step that a record goes through before a mechanism reads it."""
    unit: Literal["one record", "one entity"] = "one record" if plan.unit_rows is None else "one entity"
    schema = {
        "generated": Preparation(
            step="columns, bounds and categories are the generator's",
            reads="public constants",
            paid_by="nothing to pay",
        ),
        "declared": Preparation(
            step="columns, bounds and categories are declared in a schema file",
            reads="public constants",
            paid_by="nothing to pay",
        ),
        "inferred": Preparation(
            step="column types and which columns have missing values are inferred from the records",
            reads="many records",
            paid_by="outside the ledger",
        ),
    }[origin.schema]
    banks = {
        "generated": Preparation(
            step="the generator says whose a record is", reads="public constants", paid_by="nothing to pay"
        ),
        "by column": Preparation(
            step="a column of the record says whose it is; the banks' sizes are declared and public",
            reads="one record",
            paid_by="nothing to pay",
        ),
        "dealt": Preparation(
            step="records are dealt to simulated banks by a coin each; the sizes that come out are public",
            reads="many records",
            paid_by="outside the ledger",
        ),
    }[origin.banks]
    steps = [
        schema,
        banks,
        Preparation(
            step="cells are encoded by public constants: squashed numbers, listed or hashed categories, fixed values "
            "and an indicator where one is missing",
            reads="one record",
            paid_by="nothing to pay",
        ),
        Preparation(
            step="a keyed coin says whether it is held out; its key belongs to the ledger's account",
            reads=unit,
            paid_by="nothing to pay",
        ),
        Preparation(
            step="numeric inputs are standardised with means and variances from one noised sum over all banks, and cut",
            reads="many records",
            paid_by="train",
        ),
        Preparation(
            step="class weight, initial bias and denominators are public constants",
            reads="public constants",
            paid_by="nothing to pay",
        ),
        Preparation(
            step="a record whose gradient is not finite counts as an empty slot",
            reads="one record",
            paid_by="nothing to pay",
        ),
    ]
    if plan.unit_rows is not None:
        steps.append(
            Preparation(
                step=f"of an entity at most {plan.unit_rows} rows count, chosen by public coins of their slots",
                reads="public constants",
                paid_by="nothing to pay",
            )
        )
    return tuple(steps)


def proofs(plan: TaskPlan) -> tuple[Proof, ...]:
    """Where each step of each release's guarantee is proved."""
    found: list[Proof] = []
    for planned in plan.sums:
        name = release_name(planned)
        sampled = planned.mechanism.sampling_rate < 1
        found += [
            Proof(
                release=name,
                step="the noise that is drawn is within η of the stated law",
                document="docs/noise.md#1-the-sampler",
                theorem="rejection from an alias table: Walker 1977, Vose 1991; Bernoulli of exp(-x): Canonne, Kamath, "
                "Steinke 2020, Algorithm 1",
            ),
            Proof(
                release=name,
                step="cut tails enter η",
                document="docs/noise.md#2-the-cut-and-η",
                theorem="Chernoff bound, proved there",
            ),
            Proof(
                release=name,
                step="Δ bounds what emptying one unit moves on the grid, floating point and rounding included",
                document="docs/noise.md#3-sensitivity-on-the-grid",
                theorem="counts: exact" if name == "evaluation" else "error of summation: Higham 2002, section 3.1",
            ),
            Proof(
                release=name,
                step="Rényi divergence of a sum of discrete Gaussians",
                document="docs/noise.md#4-sums-of-discrete-gaussians",
                theorem="Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), Theorem 1; for one share Canonne, Kamath, "
                "Steinke 2020 (arXiv 2004.00010)",
            ),
        ]
        if sampled:
            found.append(
                Proof(
                    release=name,
                    step="amplification by Poisson sampling, for the discrete mechanism",
                    document="docs/noise.md#5-poisson-sampling",
                    theorem="Zhu, Wang 2019; Mironov, Talwar, Zhang 2019 (arXiv 1908.10530)",
                )
            )
        found.append(
            Proof(
                release=name,
                step="composition over all attempts, and conversion to (ε, δ)",
                document="docs/noise.md#6-composition-and-ε-δ",
                theorem="Mironov 2017 (arXiv 1702.07476), Proposition 1; Canonne, Kamath, Steinke 2020, Proposition 12",
            )
        )
    return tuple(found)


def sampling(plan: TaskPlan) -> Sampling:
    """Which records a training step reads."""
    rate = plan.sum("training").mechanism.sampling_rate
    if rate == 1:
        return Sampling(
            scheme="full batches",
            rate=rate,
            amplification=False,
            coins="none: every training record is read in every round, so nobody is trusted with a sampler",
        )
    of_whom = "record" if plan.unit_rows is None else "entity"
    source = "follow from a public seed" if plan.insecure_deterministic_noise else "come from the operating system"
    return Sampling(
        scheme="Poisson batches",
        rate=rate,
        amplification=True,
        coins=f"each {of_whom} is in a step's batch by its own coin; the coins {source} at its own bank, which is "
        "trusted to keep them secret",
    )


def noise(plan: TaskPlan) -> NoiseGeneration:
    """How the noise is made."""
    public = plan.insecure_deterministic_noise
    return NoiseGeneration(
        distribution="discrete Gaussian on the integers, independent for each coordinate, bank and attempt",
        generator="AES-256-CTR under keys that follow from a public seed: for debugging only"
        if public
        else "AES-256-CTR under a fresh key from the operating system for every vector",
        repeatable=public,
        cut=float(NOISE_STANDARD_DEVIATIONS),
        computational="nothing: anybody can take this noise off"
        if public
        else "AES-256-CTR cannot be told from random words: the guarantee is computational in that sense, and what an "
        "ideal cipher costs is stated in docs/noise.md, section 1, not in η",
    )


def floating_point(plan: TaskPlan) -> FloatingPoint:
    """Where floating point is used; in local mode also between a step's noise and the masks."""
    if plan.mode == "distributed":
        on_the_grid = "none: from stochastic rounding over noise, masks and sums to the opening there are integers only"
        after = "float64, the same at every bank and for an auditor (docs/optimiser.md); it reads opened sums alone"
    else:
        on_the_grid = (
            "none from stochastic rounding to noise: integers only; a bank's optimiser then reads its own noised steps "
            "in float64, which is post-processing, and its update is rounded to a grid again, where masks and sums are "
            "integers only"
        )
        after = "float64, the same at every bank and for an auditor; it reads opened sums alone"
    return FloatingPoint(
        before_the_grid="gradients in float32, clipping and sums in float64: the error of a bank's sum is bounded by "
        "E, which is in Δ (docs/noise.md, section 3); counts of the evaluation are exact",
        on_the_grid=on_the_grid,
        after_opening=after,
        accounting="float64; every ε is rounded up by a relative 1e-9 and by 1e-12",
        assumes="hardware that follows IEEE 754, classical matrix products, and that a row of one reads no other row",
    )


SIDE_CHANNELS: Final = (
    SideChannel(
        channel="number and length of messages",
        covered=True,
        says="they follow from the cohort, the length of the vectors and who dropped out; arrays have the shape of the "
        "declared slots",
    ),
    SideChannel(
        channel="whether a bank answers",
        covered=True,
        says="by design a bank falls silent on a protocol fault, a refused charge or a crash, never because of a "
        "record",
    ),
    SideChannel(
        channel="how long a bank takes",
        covered=False,
        says="constant time is not claimed: matrix products, the noise sampler, Shamir shares and filing held-out "
        "records take time that may depend on data (docs/noise.md, section 1; docs/weaknesses.md)",
    ),
    SideChannel(
        channel="error messages and exit codes",
        covered=False,
        says="they name columns, rows and counts to the operator of the machine that holds the data, never a cell; "
        "they reach nobody else",
    ),
    SideChannel(
        channel="memory, core dumps, swap, shared caches and power of a bank's machine",
        covered=False,
        says="secrets and records are freed, not wiped, and a neighbour on the same machine is not kept out "
        "(SECURITY.md)",
    ),
    SideChannel(
        channel="traffic analysis",
        covered=False,
        says="who sends when, and who fell silent at which step, is visible to the network and the server",
    ),
)


def constants(plan: TaskPlan) -> tuple[Constant, ...]:
    """The hyper-parameters of a run, and on which data each was chosen."""
    rate = plan.optimiser.learning_rate if plan.local is None else plan.local.learning_rate
    found = [
        _constant("rounds", plan.rounds, planning.ROUNDS[plan.mode]),
        _constant("learning rate", rate, planning.LEARNING_RATE[plan.mode]),
        _constant("clip", plan.sum("training").mechanism.clip, 1.0),
        _constant("scaling's share of the budget", planning.SCALING_SHARE, planning.SCALING_SHARE),
        Constant(
            name="layers of the network and their initial bias",
            value=" – ".join(str(width) for width in plan.model.widths),
            default=True,
            chosen_on=CHOSEN_ON,
        ),
    ]
    if plan.local is not None:
        found.append(_constant("noised steps a round", plan.local.steps, planning.STEPS_PER_EPOCH))
    if plan.unit_rows is not None:
        found.append(_constant("rows of an entity that count", plan.unit_rows, UNIT_ROWS))
    found += [
        Constant(
            name="every other constant",
            value='as in docs/privacy.md, "Preparing data"',
            default=True,
            chosen_on=CHOSEN_ON,
        ),
        Constant(name=TARGET, value=plan.epsilon, default=False, chosen_on=CHOSEN_BY_OPERATOR),
        Constant(name="share of the records that is held out", value=plan.holdout, default=False,
                 chosen_on=CHOSEN_BY_OPERATOR),
    ]  # fmt: skip
    return tuple(found)


def _constant(name: str, value: float, default: float) -> Constant:
    usual = value == default
    return Constant(name=name, value=float(value), default=usual, chosen_on=CHOSEN_ON if usual else CHOSEN_BY_OPERATOR)


def data_exposure(plan: TaskPlan, origin: DataOrigin) -> DataExposure:
    """Who holds or sees records before a mechanism hides them, in the local engine."""
    invented = origin.source == "synthetic"
    held_out = "nobody but their bank: they are counted in a noised histogram, once"
    if plan.bins == 0:
        held_out = (
            "the coordinator, in clear, after every round; they are invented"
            if invented
            else "the coordinator, in clear, after every round: no account can pay for that"
        )
    return DataExposure(
        records="invented in the memory of the one process that ran all banks; nobody's"
        if invented
        else "in the operator's own file, and in the memory of the one process that ran all banks",
        before_noise="the operator of that process, who holds every bank's records and keys; between machines it "
        "would be each bank its own",
        held_out=held_out,
        access="the file permissions and the operating system of that machine: fedsec adds no encryption at rest",
        retention="the run's directory keeps no record and no bank's vector in clear; what else it keeps is listed in "
        "docs/releases.md",
    )
