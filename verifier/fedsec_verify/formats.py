"""The documents of a run's evidence, as types: statement, plan, a round's file, the messages in it.

docs/evidence.md has the formats. Lists are bounded and byte strings have their lengths in the types, so a hostile file
is refused while it is read. No type here computes anything; steps do.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MOST_BANKS = 200  # of a complete graph, the only kind that the command line runs
MOST_ATTEMPTS = 100_000

# \A and \Z, since $ also matches before a newline at the end.
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Hex32OrNone = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
Hex64 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Signature = Annotated[bytes, msgspec.Meta(max_length=64)]  # empty where a step was not closed
Index = Annotated[int, msgspec.Meta(ge=0, lt=MOST_BANKS)]
Indices = Annotated[tuple[Index, ...], msgspec.Meta(max_length=MOST_BANKS)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]


class Exact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all documents have in common: every field is there, and no other."""


# Privacy events, of docs/noise.md: what one opening, or many, of a sum release.


class DiscreteGaussianSum(Exact, frozen=True, tag="discrete-gaussian-sum"):
    """One opening of an integer sum with ``shares`` discrete Gaussians of parameter ``share_variance`` in it."""

    sensitivity: float
    share_variance: float
    shares: Positive
    dimension: Positive


class PoissonSampled(Exact, frozen=True, tag="poisson-sampled"):
    """``event`` on a batch that each record enters with probability ``rate``."""

    rate: float
    event: DiscreteGaussianSum


class Repeated(Exact, frozen=True, tag="repeated"):
    """``event``, ``count`` times."""

    count: Count
    event: Event


class Composed(Exact, frozen=True, tag="composed"):
    """All of ``events``."""

    events: Annotated[tuple[Event, ...], msgspec.Meta(max_length=1000)]


class NonPrivate(Exact, frozen=True, tag="non-private"):
    """A release without noise."""


Event = DiscreteGaussianSum | PoissonSampled | Repeated | Composed | NonPrivate


# The envelope (DSSE) and what it holds (an in-toto statement).


class EnvelopeSignature(Exact, frozen=True):
    """One signature of a DSSE envelope: who, and base64 of 64 bytes."""

    keyid: Hex32
    sig: Annotated[str, msgspec.Meta(max_length=128)]


class Envelope(Exact, frozen=True):
    """A DSSE v1 envelope."""

    payload: str
    payloadType: str  # noqa: N815 (the field's name in DSSE)
    signatures: Annotated[tuple[EnvelopeSignature, ...], msgspec.Meta(min_length=1, max_length=MOST_BANKS + 1)]


class Digest(Exact, frozen=True):
    """The digest of a subject."""

    sha256: Hex32


class Subject(Exact, frozen=True):
    """A file that a statement is about: its path relative to the run's directory, and its digest."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    digest: Digest


Subjects = Annotated[tuple[Subject, ...], msgspec.Meta(max_length=4 * MOST_ATTEMPTS)]


class PlanReference(Exact, frozen=True):
    """The digest of evidence/plan.msgpack, and the coordinator's signature on the plan."""

    sha256: Hex32
    signature: Hex64


class AttemptLine(Exact, frozen=True):
    """What the statement says of one attempt."""

    attempt: Count
    release: Name
    status: Literal["opened", "aborted", "interrupted"]
    reason: Text | None
    kid: Hex32OrNone
    t1: Hex32OrNone
    sid: Hex32OrNone
    t2: Hex32OrNone
    members: Indices
    dealers: Indices
    survivors: Indices
    responders: Indices
    convicted: Indices
    before: Hex32
    after: Hex32
    total: Hex32OrNone


class EventLine(Exact, frozen=True):
    """One kind of sum: the event of one attempt, and how many attempts were planned, charged and opened."""

    release: Name
    part: Literal["train", "holdout"]
    event: Event
    planned: Count
    charged: Count
    opened: Count


class LedgerReference(Exact, frozen=True):
    """The ledger's head after settlement."""

    public_key: Hex32
    entry: Count
    hash: Hex32


class MaskedInputs(Exact, frozen=True):
    """Whether masked inputs and seeds were kept, and the day after which the key exchange is not relied upon."""

    kept: bool
    expires: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")] | None


class Software(Exact, frozen=True):
    """Which program ran."""

    python: Text
    source: Hex32


class RunPredicate(Exact, frozen=True):
    """What the coordinator and the banks state of a run."""

    version: Literal[1]
    run: Name
    made: Text
    fedsec: Text
    brands: Annotated[tuple[Text, ...], msgspec.Meta(max_length=16)]
    private: bool
    roster: Hex32
    coordinator: Hex32
    report_key: Hex32
    plan: PlanReference
    attempts: Annotated[tuple[AttemptLine, ...], msgspec.Meta(max_length=MOST_ATTEMPTS)]
    events: Annotated[tuple[EventLine, ...], msgspec.Meta(max_length=16)]
    delta: float
    eta: float
    ledger: LedgerReference
    masked_inputs: MaskedInputs
    software: Software


class RunStatement(Exact, frozen=True, rename={"type_": "_type"}):
    """The in-toto statement of a run."""

    type_: str
    subject: Subjects
    predicateType: str  # noqa: N815 (the field's name in in-toto)
    predicate: RunPredicate


class ReportPredicate(Exact, frozen=True):
    """What the report's key states of a report."""

    version: Literal[1]
    run: Name
    statement: Hex32
    writer: Literal["openai", "offline"]
    made: Text


class ReportStatement(Exact, frozen=True, rename={"type_": "_type"}):
    """The in-toto statement of a report."""

    type_: str
    subject: Subjects
    predicateType: str  # noqa: N815 (the field's name in in-toto)
    predicate: ReportPredicate


class Roster(Exact, frozen=True):
    """evidence/roster.json: the coordinator's key and the banks' keys, by index."""

    version: Literal[1]
    server: Hex32
    members: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=MOST_BANKS)]


# The plan, canonical msgpack: field order as fedsec writes it.


class Mechanism(Exact, frozen=True):
    """Noise and sensitivity of one noised sum."""

    name: Name
    dimension: Annotated[int, msgspec.Meta(ge=1, le=2**28)]
    clip: float
    grid_scale: float
    integral: bool
    saturation: Annotated[int, msgspec.Meta(ge=1, le=2**52)]
    noise_multiplier: float
    honest_inputs: Annotated[int, msgspec.Meta(ge=1, le=MOST_BANKS)]
    clients: Annotated[int, msgspec.Meta(ge=1, le=MOST_BANKS)]
    float_error: float
    max_slots: Annotated[int, msgspec.Meta(ge=1, le=2**50)]
    sampling_rate: float


class Quantiser(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The integer grid of a sum: scale s, saturation M_x, noise bound T_e."""

    scale: float
    saturation: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    noise_bound: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class PlannedSum(Exact, frozen=True):
    """One kind of sum that the task may open."""

    name: Name
    part: Literal["train", "holdout"]
    mechanism: Mechanism
    openings_per_attempt: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    attempts: Annotated[int, msgspec.Meta(ge=1, le=MOST_ATTEMPTS)]
    quantiser: Quantiser
    dimension: Annotated[int, msgspec.Meta(ge=1, le=2**28)]
    ring_bits: Annotated[int, msgspec.Meta(ge=1, le=64)]
    noised: bool


class Model(Exact, frozen=True):
    """The network: inputs and hidden layers."""

    inputs: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    hidden: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=10**6)], ...], msgspec.Meta(max_length=64)]


class Adam(Exact, frozen=True):
    """The server optimiser's constants."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float


class Local(Exact, frozen=True):
    """A bank's part of a round in local mode."""

    steps: Positive
    learning_rate: float


class Plan(Exact, frozen=True):
    """evidence/plan.msgpack: all that the banks agreed to."""

    version: Literal[1]
    task: Name
    mode: Literal["distributed", "local"]
    epsilon: float
    delta: float
    clients: Annotated[int, msgspec.Meta(ge=1, le=MOST_BANKS)]
    corrupt: Annotated[int, msgspec.Meta(ge=0, le=MOST_BANKS)]
    threshold: Annotated[int, msgspec.Meta(ge=1, le=MOST_BANKS)]
    min_survivors: Annotated[int, msgspec.Meta(ge=1, le=MOST_BANKS)]
    slots: Annotated[tuple[Positive, ...], msgspec.Meta(max_length=MOST_BANKS)]
    numeric_width: Count
    holdout: float
    model: Model
    initial_seed: int
    rounds: Count
    optimiser: Adam
    denominator: float
    bins: Count
    local: Local | None
    unit_rows: Positive | None
    sums: Annotated[tuple[PlannedSum, ...], msgspec.Meta(min_length=1, max_length=16)]
    insecure_deterministic_noise: bool


# A round's file, canonical msgpack, and the messages in it (tagged arrays, docs/protocol.md).


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What all messages have in common."""


class Advertise(Message, frozen=True, tag="advertise"):
    """The public keys of one bank for one session."""

    index: Index
    share_key: Bytes32
    mask_key: Bytes32
    share_kem: Annotated[bytes, msgspec.Meta(max_length=1184)]
    mask_kem: Annotated[bytes, msgspec.Meta(max_length=1184)]
    signature: Bytes64


class Dealing(Message, frozen=True, tag="dealing"):
    """The root over what one bank dealt, and its commitment to b_u."""

    index: Index
    root: Bytes32
    commitment: Bytes32
    signature: Bytes64


class Masked(Message, frozen=True, tag="masked"):
    """The digest of one bank's masked input, signed."""

    index: Index
    digest: Bytes32
    signature: Bytes64


class Agree(Message, frozen=True, tag="agree"):
    """One bank's signature on the list of survivors."""

    index: Index
    signature: Bytes64


class Revealed(Message, frozen=True, tag="revealed"):
    """The digest of the shares that one bank revealed, signed."""

    index: Index
    digest: Bytes32
    signature: Bytes64


class Pair(Message, frozen=True, tag="pair"):
    """How r_uv gets from u to v > u."""

    kem: Annotated[bytes, msgspec.Meta(min_length=1088, max_length=1088)]
    sealed: Annotated[bytes, msgspec.Meta(min_length=48, max_length=48)]
    commitment: Bytes32


class Entry(Message, frozen=True, tag="entry"):
    """What a dealer dealt to one receiver."""

    ciphertext: Annotated[bytes, msgspec.Meta(max_length=82)]
    kem: Annotated[bytes, msgspec.Meta(max_length=1088)]
    self_leaf: Bytes32
    mask_leaf: Bytes32
    pair: Pair | None


class PairSecret(Exact, frozen=True):
    """The entry of ``lower`` for ``higher`` in which r_uv was committed to, and its path to the dealer's root."""

    lower: Index
    higher: Index
    entry: Entry
    path: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=14)]


Seed = tuple[Index, Bytes32]


class Seeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"self_": "self"}):
    """Revealed seeds: b_u of the survivors, a_v of the dropped dealers, and what r_uv of each pair follows from."""

    self_: Annotated[tuple[Seed, ...], msgspec.Meta(max_length=MOST_BANKS)]
    mask: Annotated[tuple[Seed, ...], msgspec.Meta(max_length=MOST_BANKS)]
    pairs: Annotated[tuple[PairSecret, ...], msgspec.Meta(max_length=MOST_BANKS * MOST_BANKS)]


class Round(Exact, frozen=True):
    """evidence/rounds/NUMBER.msgpack: what was signed in one attempt, and the opened sum."""

    version: Literal[1]
    session: Annotated[bytes, msgspec.Meta(max_length=8192)]
    session_signature: Bytes64
    advertised: Annotated[tuple[Advertise, ...], msgspec.Meta(max_length=MOST_BANKS)]
    members_signature: Signature
    round_config: Annotated[bytes, msgspec.Meta(max_length=8192)]
    round_config_signature: Signature
    dealings: Annotated[tuple[Dealing, ...], msgspec.Meta(max_length=MOST_BANKS)]
    dealers_signature: Signature
    masked: Annotated[tuple[Masked, ...], msgspec.Meta(max_length=MOST_BANKS)]
    agreed: Annotated[tuple[Agree, ...], msgspec.Meta(max_length=MOST_BANKS)]
    agreement_signature: Signature
    revealed: Annotated[tuple[Revealed, ...], msgspec.Meta(max_length=MOST_BANKS)]
    convicted: Indices
    total: bytes
    seeds: Seeds | None


class RoundConfig(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The part of a round that names its model."""

    kid: Bytes32
    model_digest: Bytes32
    optimiser: Annotated[bytes, msgspec.Meta(max_length=4096)]


class Standardiser(Exact, frozen=True):
    """Means and deviations of the numeric features, float64 little-endian."""

    means: bytes
    deviations: bytes


class RoundInputs(Exact, frozen=True):
    """What an attempt is computed from: float32 weights, and the scaling once it is known."""

    weights: bytes
    standardiser: Standardiser | None
