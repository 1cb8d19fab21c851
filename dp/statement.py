"""The privacy statement of a run: never a bare epsilon, always whose, against whom, of what unit, by which theorem.

It has a field for each question that NIST SP 800-226 (March 2025) asks of a deployment, and every field must be known:
a statement with an empty or unknown one cannot be made, and a file that lacks one cannot be read. The format is
described for others by ``compliance/schemas/privacy-statement.schema.json``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from dp.events import DpEvent
from fedsec.errors import LocalProtocolError

FORMAT: Final = 2
FRAMEWORK = "NIST SP 800-226, Guidelines for Evaluating Differential Privacy Guarantees, March 2025"
NOT_AN_ANSWER = frozenset(
    {"", "-", "–", "—", "?", "???", "...", "…", "n/a", "na", "nil", "none", "null", "tba", "tbd", "todo", "undefined",
     "unknown", "not known", "to be done", "to be determined"}
)  # fmt: skip

Text = Annotated[str, msgspec.Meta(min_length=1, pattern=r"\S")]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Chance = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Number = Annotated[int, msgspec.Meta(ge=1)]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
AdversaryName = Literal["released-model", "colluding-banks", "server-and-banks", "everyone-else"]
ReleaseName = Literal["scaling", "training", "evaluation"]
Part = Literal["train", "holdout"]


class IncompleteStatementError(LocalProtocolError, ValueError):
    """A privacy statement was to be made that leaves a field unknown or contradicts itself: a bug of its maker.

    Being a ``ValueError`` too, it turns into msgspec's decoding error where the statement is read from a file.

    Attributes:
        field: name of the field at fault, with the path inside it.
    """

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"the privacy statement is incomplete: {field} {fault}")
        self.field = field


class AdversaryBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the guarantee is against one adversary.

    Attributes:
        name: stable short name.
        sees: one sentence, what this adversary observes.
        trusts: the trust model: what must hold, and who is trusted with it, so that the bound holds.
        shares: how many noise shares count against it.
        epsilon: the bound at the statement's delta; ``inf`` never appears, ``None`` means no guarantee.
        target: whether this is the adversary that ``--epsilon`` was calibrated for.
    """

    name: AdversaryName
    sees: Text
    trusts: Texts
    shares: Count
    epsilon: Amount | None
    target: bool


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of what left the banks and which account paid.

    Attributes:
        name: of the sum.
        account: the split part whose records it reads.
        charged_to: the parts whose accounts paid: both, where the data were split otherwise before.
        mechanism: one sentence.
        event: a single opening; ``planned`` of them were reserved, ``opened`` gave a sum, ``charged`` were paid for.
    """

    name: ReleaseName
    account: Part
    charged_to: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1)]
    mechanism: Text
    event: DpEvent
    planned: Count
    opened: Count
    charged: Count


class MechanismParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Originals from which a third party repeats the conversion, for one release.

    Attributes:
        name: of the release that they belong to.
        noise_multiplier: z, ratio of the counted noise's standard deviation to the sensitivity.
        sampling_rate: q; 1.0 for full batches.
        clip: C, L2 bound of one unit's contribution before scaling.
        grid_scale: s, grid units per unit.
        sensitivity: Delta on the grid, after rounding.
        share_variance: sigma^2 of a bank's noise share, grid units squared.
        dimension: length of the vector.
        saturation: M_x; noise_bound: T_e; ring_bits: b.
    """

    name: ReleaseName
    noise_multiplier: Positive
    sampling_rate: Rate
    clip: Positive
    grid_scale: Positive
    sensitivity: Positive
    share_variance: Positive
    dimension: Number
    saturation: Number
    noise_bound: Number
    ring_bits: Number


class CohortParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who took part: n, c, t, h of docs/protocol.md, and the enforced minimum of survivors."""

    clients: Number
    corrupt: Count
    threshold: Number
    honest_inputs: Number
    min_survivors: Number


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one step of a release's guarantee is proved.

    Attributes:
        release: whose; step: what is proved; document: path and heading, e.g. "docs/noise.md#2-the-cut-and-η";
            theorem: the published result that it rests on, with its paper.
    """

    release: ReleaseName
    step: Text
    document: Text
    theorem: Text


class Preparation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step that a record goes through before a mechanism reads it.

    Attributes:
        step: what is done.
        reads: what decides its outcome: no record, one record or entity at a time, or many records together.
        paid_by: "nothing to pay" where no record can move another; the account that was charged; or "outside the
            ledger", where nobody paid and ``outside_ledger`` says so.
    """

    step: Text
    reads: Literal["public constants", "one record", "one entity", "many records"]
    paid_by: Literal["nothing to pay", "train", "outside the ledger"]


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records a training step reads.

    Attributes:
        scheme: every record in every step, or each by its own coin.
        rate: q; 1 for full batches.
        amplification: whether the bound counts on the coins' staying secret.
        coins: where they come from, and who is trusted with them.
    """

    scheme: Literal["full batches", "Poisson batches"]
    rate: Rate
    amplification: bool
    coins: Text


class NoiseGeneration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the noise is made.

    Attributes:
        distribution: its law.
        generator: source of its coins.
        repeatable: whether anybody can draw it again, and so take it off.
        cut: standard deviations at which it is cut; the distance that this costs is in ``eta``.
        computational: what the guarantee assumes of the generator.
    """

    distribution: Text
    generator: Text
    repeatable: bool
    cut: Positive
    computational: Text


class FloatingPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where floating point is used and why it does not break the guarantee, by stage."""

    before_the_grid: Text
    on_the_grid: Text
    after_opening: Text
    accounting: Text
    assumes: Text


class SideChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way besides the releases by which records could show.

    Attributes:
        channel: which.
        covered: True where what it shows does not depend on records by design; False where that is not claimed.
        says: what is done about it, and what stays open.
    """

    channel: Text
    covered: bool
    says: Text


class Constant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hyper-parameter.

    Attributes:
        name, value: as in ``fedsec run``.
        default: whether it is this project's default for the mode.
        chosen_on: on which data it was chosen, or who answers for the choice.
    """

    name: Text
    value: float | Text
    default: bool
    chosen_on: Text


class DataExposure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds or sees records before any mechanism hides them, and what is kept.

    Attributes:
        records: where they lie; before_noise: who sees them or what follows from them without noise.
        held_out: who sees the held-out records; access: what guards them; retention: what a run keeps of them.
    """

    records: Text
    before_noise: Text
    held_out: Text
    access: Text
    retention: Text


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that ``privacy.json`` holds and that every shown epsilon is accompanied by.

    Attributes:
        version: of the format.
        framework: the publication whose questions the fields answer.
        private: False where the run is branded NOT PRIVATE; then every epsilon is None and ``cross_checks`` empty.
        brands: upper-case warnings, e.g. "SIMULATED KEYS".
        epsilon: what this run spent (the larger of its accounts), against the target adversary, at ``delta``.
        planned_epsilon: what was reserved for it before anything was released; never exceeded.
        delta: of every epsilon here.
        eta: at least the summed statistical distance of the sampler and cut tails; enters every epsilon here as
            delta + (1 + e^epsilon) * eta.
        unit: whose contribution is hidden.
        unit_rows: m, the most rows of an entity that count in a sum; None where the unit is a record.
        protects: one or more sentences, what neighbouring data differ in and what follows for a person.
        neighbours: the neighbouring relation.
        mode: where the noise comes from.
        query_model: whether releases are fixed beforehand or answered as they are asked for.
        adversaries: one bound each, with its trust model; exactly one is the target.
        accountant: name and version; theorem: source of the headline bound.
        proofs: for each release, where each step of its guarantee is proved.
        cross_checks: other accountants' epsilon for the continuous analogue, by name; information only.
        parameters: originals for each release; slots: declared record slots over all banks.
        releases: what was opened and who paid.
        preparation: every step before a mechanism reads a record, and who paid for it.
        sampling, noise, floating_point, side_channels: of training and of the implementation.
        key_exchange: how the masks' secrets are agreed on.
        constants: hyper-parameters and on which data they were chosen; no account paid for any choice.
        data_exposure: who sees records before they are protected.
        bias: what noise and clipping do to the few.
        noise_against_banks: sentence with the noise's standard deviation beside bank sizes: banks are not protected.
        outside_ledger: releases that no account paid for, each one sentence; empty says that there is none.
        voids: what would void the claim, each one sentence.
        conservative: whether epsilon <= 1, which this project calls conservative; False where nothing holds.

    Raises:
        IncompleteStatementError: a field is empty, unknown, of a wrong type, or contradicts another.
    """

    version: Literal[2]
    framework: Text
    private: bool
    brands: tuple[Text, ...]
    epsilon: Amount | None
    planned_epsilon: Amount | None
    delta: Chance
    eta: Amount
    unit: Literal["record", "entity at one bank"]
    unit_rows: Number | None
    protects: Text
    neighbours: Literal["zero-out"]
    mode: Literal["distributed", "local"]
    query_model: Text
    adversaries: Annotated[tuple[AdversaryBound, ...], msgspec.Meta(min_length=1)]
    accountant: Text
    theorem: Text
    proofs: Annotated[tuple[Proof, ...], msgspec.Meta(min_length=1)]
    cross_checks: dict[str, Amount]
    cohort: CohortParameters
    parameters: Annotated[tuple[MechanismParameters, ...], msgspec.Meta(min_length=1)]
    slots: Number
    releases: Annotated[tuple[Release, ...], msgspec.Meta(min_length=1)]
    preparation: Annotated[tuple[Preparation, ...], msgspec.Meta(min_length=1)]
    sampling: Sampling
    noise: NoiseGeneration
    floating_point: FloatingPoint
    side_channels: Annotated[tuple[SideChannel, ...], msgspec.Meta(min_length=1)]
    key_exchange: Literal["x25519+ml-kem-768", "x25519"]
    constants: Annotated[tuple[Constant, ...], msgspec.Meta(min_length=1)]
    data_exposure: DataExposure
    bias: Text
    noise_against_banks: Text
    outside_ledger: tuple[Text, ...]
    voids: Texts
    conservative: bool

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            _check_field(field.name, getattr(self, field.name), field.type)
        _check_epsilons(self)
        _check_names(self)


def _check_field(name: str, value: Any, kind: Any) -> None:
    plain = msgspec.to_builtins(value)
    try:
        msgspec.convert(plain, kind, strict=True)
    except msgspec.ValidationError as error:
        fault, _, path = str(error).partition(" - at ")
        where = name + path.strip("`").removeprefix("$")
        raise IncompleteStatementError(where, f"is not what it must be: {fault}") from None
    for path, leaf in _leaves(plain, name):
        if isinstance(leaf, str) and leaf.strip().rstrip(".").lower() in NOT_AN_ANSWER:
            raise IncompleteStatementError(path, f"is left open: {leaf!r}")
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise IncompleteStatementError(path, "is not a finite number")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from _leaves(each, f"{path}[{place}]")
    else:
        yield path, value


def _check_epsilons(statement: PrivacyStatement) -> None:
    """No epsilon where nothing holds, and none missing where something does."""
    for name in ("epsilon", "planned_epsilon"):
        if (getattr(statement, name) is not None) != statement.private:
            stated = "is stated, but the run is not private" if not statement.private else "is not stated"
            raise IncompleteStatementError(name, stated)
    if not statement.private:
        if statement.conservative:
            raise IncompleteStatementError("conservative", "is true, but the run is not private")
        if statement.cross_checks or any(bound.epsilon is not None for bound in statement.adversaries):
            raise IncompleteStatementError("adversaries", "state an epsilon, but the run is not private")
    if (statement.unit_rows is None) != (statement.unit == "record"):
        raise IncompleteStatementError("unit_rows", f"does not fit the unit {statement.unit!r}")


def _check_names(statement: PrivacyStatement) -> None:
    """Each adversary once, one of them the target; each release with its originals and its proofs."""
    names = [bound.name for bound in statement.adversaries]
    if sorted(names) != sorted(get_args(AdversaryName)):
        raise IncompleteStatementError("adversaries", "are not the four, once each")
    if sum(bound.target for bound in statement.adversaries) != 1:
        raise IncompleteStatementError("adversaries", "name no target, or several")
    releases = [release.name for release in statement.releases]
    for field, rows in (("releases", releases), ("parameters", [each.name for each in statement.parameters])):
        if len(set(rows)) != len(rows) or set(rows) != set(releases):
            raise IncompleteStatementError(field, "do not list each release once")
    if {proof.release for proof in statement.proofs} != set(releases):
        raise IncompleteStatementError("proofs", "do not cover each release")
