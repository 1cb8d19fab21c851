"""What a finished run says of itself: metrics.jsonl, privacy.json, summary.json. Each file is read by one step first.

That step reports a file that cannot be read; a later one that needs it is not checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from fedsec_verify.bundle import Broken, Bundle, Fault
from fedsec_verify.decoding import from_json
from fedsec_verify.findings import Refused, require
from fedsec_verify.formats import Event, Exact

METRICS = "metrics.jsonl"
PRIVACY = "privacy.json"
SUMMARY = "summary.json"
EPSILON_STEP, STATEMENT_STEP, METRICS_STEP = 14, 15, 16

Sentence = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Value = TypeVar("Value")


class Metrics(Exact, frozen=True):
    """Quality of a model on held-out rows; None: not measured."""

    loss: Annotated[float, msgspec.Meta(ge=0)] | None
    roc_auc: Share | None
    average_precision: Share | None
    accuracy: Share | None
    calibration_error: Share | None
    best_f1: Share | None
    best_f1_threshold: Share | None


class MetricsLine(Exact, frozen=True):
    """One attempt in metrics.jsonl."""

    release: str
    index: int
    round: int | None
    status: str
    cohort: int
    survivors: int
    dropped_at: dict[str, int]
    reason: str | None
    epsilon: float
    metrics: Metrics | None
    seconds: Annotated[float, msgspec.Meta(ge=0)]


class AdversaryBound(Exact, frozen=True):
    """The bound against one adversary."""

    name: str
    sees: Sentence
    trusts: Annotated[tuple[Sentence, ...], msgspec.Meta(min_length=1)]
    shares: int
    epsilon: float | None
    target: bool


class Release(Exact, frozen=True):
    """What was released of one kind, and who paid."""

    name: str
    account: str
    charged_to: tuple[str, ...]
    mechanism: str
    event: Event
    planned: int
    opened: int
    charged: int


class Parameters(Exact, frozen=True):
    """Originals of one release's mechanism."""

    name: str
    noise_multiplier: float
    sampling_rate: float
    clip: float
    grid_scale: float
    sensitivity: float
    share_variance: float
    dimension: int
    saturation: int
    noise_bound: int
    ring_bits: int


class Cohort(Exact, frozen=True):
    """n, c, t, h and the enforced minimum."""

    clients: int
    corrupt: int
    threshold: int
    honest_inputs: int
    min_survivors: int


class Sampling(Exact, frozen=True):
    """Which records a training step reads."""

    scheme: str
    rate: float
    amplification: bool
    coins: Sentence


class NoiseGeneration(Exact, frozen=True):
    """How the noise is made."""

    distribution: Sentence
    generator: Sentence
    repeatable: bool
    cut: float
    computational: Sentence


class Constant(Exact, frozen=True):
    """A hyper-parameter."""

    name: str
    value: float | str
    default: bool
    chosen_on: Sentence


class Proof(Exact, frozen=True):
    """Where a step of a release's guarantee is proved."""

    release: str
    step: Sentence
    document: Sentence
    theorem: Sentence


class Preparation(Exact, frozen=True):
    """A step before a mechanism reads a record."""

    step: Sentence
    reads: str
    paid_by: str


class Privacy(Exact, frozen=True):
    """privacy.json; its sentences are the run's word."""

    version: Literal[2]
    framework: Sentence
    private: bool
    brands: tuple[str, ...]
    epsilon: float | None
    planned_epsilon: float | None
    delta: float
    eta: float
    unit: str
    unit_rows: int | None
    protects: Sentence
    neighbours: str
    mode: str
    query_model: Sentence
    adversaries: tuple[AdversaryBound, ...]
    accountant: Sentence
    theorem: Sentence
    proofs: tuple[Proof, ...]
    cross_checks: dict[str, float]
    cohort: Cohort
    parameters: tuple[Parameters, ...]
    slots: int
    releases: tuple[Release, ...]
    preparation: Annotated[tuple[Preparation, ...], msgspec.Meta(min_length=1)]
    sampling: Sampling
    noise: NoiseGeneration
    floating_point: dict[str, Sentence]
    side_channels: tuple[dict[str, bool | Sentence], ...]
    key_exchange: str
    constants: tuple[Constant, ...]
    data_exposure: dict[str, Sentence]
    bias: Sentence
    noise_against_banks: Sentence
    outside_ledger: tuple[Sentence, ...]
    voids: Annotated[tuple[Sentence, ...], msgspec.Meta(min_length=1)]
    conservative: bool


class Balance(Exact, frozen=True):
    """An account after the run."""

    account: str
    spent_epsilon: float | None
    budget_epsilon: float | None
    delta: float
    course: tuple[float | None, ...]


class SummaryHead(Exact, frozen=True):
    """The ledger's key and last entry."""

    public_key: str
    entry: int
    hash: str


class Summary(Exact, frozen=True):
    """summary.json."""

    run: str
    fedsec: str
    python: str
    torch: str
    opacus: str
    started: str
    mode: str
    engine: str
    dataset: str
    banks: int
    rounds_planned: int
    rounds_opened: int
    rounds_aborted: int
    survivors_min: int
    slots: int
    evaluation: str
    model: tuple[int, ...]
    final: Metrics
    intervals: dict[str, tuple[float, float]]
    fraud_share: float | None
    histogram_bins: int | None
    upload_bytes: int
    plain_bytes: int
    seconds: dict[str, float]
    ledger: tuple[Balance, ...]
    ledger_head: SummaryHead
    roster: str


def metrics_of(bundle: Bundle) -> tuple[MetricsLine, ...]:
    """The lines of metrics.jsonl.

    Raises:
        Broken: they cannot be read (step 14).
    """

    def read() -> tuple[MetricsLine, ...]:
        lines = bundle.read(METRICS).split(b"\n")
        require(lines[-1] == b"", METRICS, "a line feed at the end of each line")
        return tuple(from_json(line, MetricsLine, METRICS) for line in lines[:-1])

    return reported(EPSILON_STEP, read)


def privacy_of(bundle: Bundle) -> Privacy:
    """privacy.json.

    Raises:
        Broken: it cannot be read (step 14).
    """
    return reported(EPSILON_STEP, lambda: from_json(bundle.read(PRIVACY), Privacy, PRIVACY))


def summary_of(bundle: Bundle) -> Summary:
    """summary.json.

    Raises:
        Broken: it cannot be read (step 13).
    """
    return reported(EPSILON_STEP - 1, lambda: from_json(bundle.read(SUMMARY), Summary, SUMMARY))


def reported(step: int, read: Callable[[], Value]) -> Value:
    """What ``read`` returns; where it refuses, step ``step`` reports that.

    Raises:
        Broken: it refused.
    """
    try:
        return read()
    except Refused as refused:
        raise Broken(Fault(step=step, refused=refused)) from None
