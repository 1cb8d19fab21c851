"""The privacy statement as a page: every line with the evidence that backs it.

A tuple of sections of rows, for any template to render. Each row says which file holds its figure, which step of the
verifier looks at it, and what that step's verdict is worth: recomputed from other evidence, attested by signatures over
the file, or assumed, because nothing in a run's directory can show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from compliance.facts import Adversary
from compliance.prompt import figure
from dp.statement import TARGET, AdversaryBound, Constant, MechanismParameters, PrivacyStatement, Proof, Release

Screen = Callable[[str], str]


class Kind(StrEnum):
    """What a line stands on."""

    RECOMPUTED = "recomputed"
    ATTESTED = "attested"
    ASSUMED = "assumed"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where a line can be checked.

    Attributes:
        file: of the run's directory, or the document that argues it.
        step: of the verifier (docs/compliance-guide.md); empty where none looks at it.
        kind: what its verdict is worth.
    """

    file: str
    step: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: what, its value, and what backs it."""

    term: str
    value: str
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under a heading."""

    heading: str
    rows: tuple[Row, ...]


OUTSIDE, VOIDS = "Releases outside the ledger", "What would void the claim"  # sections of the report of their own
SLOTS = "record slots over all banks, declared and public"
FILE = "privacy.json"
EPSILON = Evidence(file=FILE, step="epsilon", kind=Kind.RECOMPUTED)
STATED = Evidence(file=FILE, step="privacy-statement", kind=Kind.RECOMPUTED)
CHARGED = Evidence(file="evidence/ledger.json", step="charges", kind=Kind.RECOMPUTED)
POLICY = Evidence(file="evidence/plan.msgpack", step="policy", kind=Kind.RECOMPUTED)
WARNED = Evidence(file=FILE, step="privacy-statement", kind=Kind.ATTESTED)  # whose keys they were, the keys cannot show
SESSIONS = Evidence(file="evidence/rounds", step="transcripts", kind=Kind.RECOMPUTED)
SIGNED = Evidence(file="evidence/statement.dsse.json", step="files", kind=Kind.ATTESTED)
HONEST = Evidence(file=FILE, step="honest-banks", kind=Kind.ASSUMED)


def _argued(document: str) -> Evidence:
    """A claim about the program, argued in a document: no run can show it."""
    return Evidence(file=document, step="", kind=Kind.ASSUMED)


def privacy_page(statement: PrivacyStatement, *, screen: Screen) -> tuple[Section, ...]:
    """The page of ``statement``; ``screen`` is called with each of its free texts and returns what may be shown."""
    return (
        _guarantee(statement, screen),
        _adversaries(statement, screen),
        _releases(statement, screen),
        _accounting(statement, screen),
        _preparation(statement, screen),
        _implementation(statement, screen),
        _choices(statement, screen),
        _data(statement, screen),
        Section(
            heading=OUTSIDE,
            rows=tuple(
                Row(term=f"release {number}", value=screen(text), evidence=SIGNED)
                for number, text in enumerate(statement.outside_ledger, start=1)
            )
            or (Row(term="releases", value="None: the run states that there is no such release.", evidence=SIGNED),),
        ),
        Section(
            heading=VOIDS,
            rows=tuple(
                Row(term=f"condition {number}", value=screen(text), evidence=_argued("docs/privacy.md"))
                for number, text in enumerate(statement.voids, start=1)
            ),
        ),
    )


def _claim(statement: PrivacyStatement, epsilon: float | None) -> str:
    if epsilon is None:
        return "no guarantee"
    return f"ε = {figure(epsilon)} at δ = {figure(statement.delta)} for one {statement.unit}"


def _guarantee(statement: PrivacyStatement, screen: Screen) -> Section:
    target = next(bound for bound in statement.adversaries if bound.target)
    against = f"against: {Adversary(target.name).heading.lower()}"
    rows = [
        Row(term="framework", value=screen(statement.framework), evidence=SIGNED),
        Row(
            term="warnings",
            value=", ".join(screen(brand) for brand in statement.brands) or "No warning is stated.",
            evidence=WARNED,
        ),
        Row(
            term="spent",
            value=f"{_claim(statement, statement.epsilon)}, {against}"
            if statement.private
            else "No guarantee: NOT PRIVATE",
            evidence=EPSILON,
        ),
    ]
    if statement.private:
        line = "at most 1, which this project calls conservative" if statement.conservative else (
            "above 1; this project calls ε ≤ 1 conservative, whether more is acceptable is for the reader to decide"
        )  # fmt: skip
        rows += [
            Row(
                term="reserved beforehand",
                value=f"{_claim(statement, statement.planned_epsilon)}, {against}",
                evidence=EPSILON,
            ),
            Row(term="size of ε", value=line, evidence=EPSILON),
        ]
    unit: str = statement.unit
    if statement.unit_rows is not None:
        unit += f", at most {statement.unit_rows} of whose rows count"
    rows += [
        Row(term="unit of privacy", value=unit, evidence=STATED),
        Row(term="neighbouring data", value=statement.neighbours, evidence=STATED),
        Row(term="what that means", value=screen(statement.protects), evidence=SIGNED),
        Row(term="mode", value=f"{statement.mode} noise", evidence=STATED),
        Row(term="query model", value=screen(statement.query_model), evidence=SIGNED),
        Row(term="banks as units", value=screen(statement.noise_against_banks), evidence=SIGNED),
        Row(term="the few", value=screen(statement.bias), evidence=_argued("docs/privacy.md")),
    ]
    return Section(heading="What is promised", rows=tuple(rows))


def _adversaries(statement: PrivacyStatement, screen: Screen) -> Section:
    rows: list[Row] = []
    for bound in statement.adversaries:
        rows += _adversary(statement, bound, screen)
    cohort = statement.cohort
    rows.append(
        Row(
            term="cohort",
            value=f"n = {cohort.clients} banks, c = {cohort.corrupt} of which may be corrupt, threshold t = "
            f"{cohort.threshold}, at least {cohort.min_survivors} inputs and h = {cohort.honest_inputs} honest ones in "
            "a sum",
            evidence=POLICY,
        )
    )
    rows.append(
        Row(term="key exchange of the masks", value=statement.key_exchange, evidence=SESSIONS),
    )
    return Section(heading="Against whom, and who is trusted", rows=tuple(rows))


def _adversary(statement: PrivacyStatement, bound: AdversaryBound, screen: Screen) -> tuple[Row, Row, Row]:
    name = Adversary(bound.name).heading + (" (target)" if bound.target else "")
    shares = f"{bound.shares} noise share{'' if bound.shares == 1 else 's'} counted"
    return (
        Row(term=name, value=f"{_claim(statement, bound.epsilon)}, {shares}", evidence=EPSILON),
        Row(term=f"{name}: sees", value=screen(bound.sees), evidence=SIGNED),
        Row(
            term=f"{name}: trusted",
            value="; ".join(screen(each) for each in bound.trusts),
            evidence=HONEST,
        ),
    )


def _releases(statement: PrivacyStatement, screen: Screen) -> Section:
    rows: list[Row] = []
    for release in statement.releases:
        rows += _release(release, screen)
        rows += [_original(each) for each in statement.parameters if each.name == release.name]
        rows += [_proof(proof, screen) for proof in statement.proofs if proof.release == release.name]
    return Section(heading="Mechanisms, originals and proofs", rows=tuple(rows))


def _release(release: Release, screen: Screen) -> tuple[Row, Row]:
    return (
        Row(term=release.name, value=screen(release.mechanism), evidence=SIGNED),
        Row(
            term=f"{release.name}: openings",
            value=f"{release.planned} reserved, {release.charged} charged, {release.opened} gave a sum; paid by "
            + " and ".join(release.charged_to),
            evidence=CHARGED,
        ),
    )


def _original(each: MechanismParameters) -> Row:
    return Row(
        term=f"{each.name}: originals",
        value=f"z = {each.noise_multiplier}, q = {each.sampling_rate}, C = {each.clip}, s = {each.grid_scale}, Δ = "
        f"{each.sensitivity}, σ² = {each.share_variance} a share, d = {each.dimension}, M_x = {each.saturation}, T_e = "
        f"{each.noise_bound}, b = {each.ring_bits}",
        evidence=STATED,
    )


def _proof(proof: Proof, screen: Screen) -> Row:
    return Row(
        term=f"{proof.release}: {screen(proof.step)}",
        value=screen(proof.theorem),
        evidence=_argued(screen(proof.document)),
    )


def _accounting(statement: PrivacyStatement, screen: Screen) -> Section:
    others = "; ".join(
        f"{screen(name)}: {_claim(statement, epsilon)}, against the target adversary"
        for name, epsilon in statement.cross_checks.items()
    )
    return Section(
        heading="Accounting",
        rows=(
            Row(term="accountant", value=screen(statement.accountant), evidence=SIGNED),
            Row(term="theorem", value=screen(statement.theorem), evidence=_argued("docs/noise.md")),
            Row(
                term="distance from ideal noise",
                value=f"η ≤ {figure(statement.eta)}, entering as δ + (1 + e^ε)·η",
                evidence=EPSILON,
            ),
            Row(
                term="other accountants, continuous analogue, for information",
                value=others or "No other figure is stated.",
                evidence=SIGNED,
            ),
        ),
    )


def _preparation(statement: PrivacyStatement, screen: Screen) -> Section:
    return Section(
        heading="What happens to a record first, and who paid",
        rows=tuple(
            Row(
                term=screen(step.step),
                value=f"decided by: {step.reads}; {_payer(step.paid_by)}",
                evidence=CHARGED if step.paid_by == "train" else _argued("docs/data.md"),
            )
            for step in statement.preparation
        ),
    )


def _payer(paid_by: str) -> str:
    return f"paid by the account of the {paid_by} part" if paid_by == "train" else paid_by


def _implementation(statement: PrivacyStatement, screen: Screen) -> Section:
    sampling, noise, floats = statement.sampling, statement.noise, statement.floating_point
    paper = _argued("docs/noise.md")
    rows = [
        Row(term="sampling", value=f"{sampling.scheme}, q = {sampling.rate}", evidence=STATED),
        Row(term="coins of sampling", value=screen(sampling.coins), evidence=HONEST),
        Row(term="noise", value=screen(noise.distribution), evidence=HONEST),
        Row(
            term="generator of the noise",
            value=screen(noise.generator) + ("; anybody can repeat it" if noise.repeatable else ""),
            evidence=STATED if noise.repeatable else HONEST,
        ),
        Row(term="cut of the noise", value=f"at {figure(noise.cut)} standard deviations; in η", evidence=STATED),
        Row(term="assumed of the generator", value=screen(noise.computational), evidence=paper),
        Row(term="floating point before the grid", value=screen(floats.before_the_grid), evidence=paper),
        Row(term="floating point on the grid", value=screen(floats.on_the_grid), evidence=paper),
        Row(
            term="floating point after the opening",
            value=screen(floats.after_opening),
            evidence=Evidence(file="model.safetensors", step="models", kind=Kind.RECOMPUTED),
        ),
        Row(term="floating point in accounting", value=screen(floats.accounting), evidence=paper),
        Row(term="assumed of the hardware", value=screen(floats.assumes), evidence=paper),
    ]
    rows += [
        Row(
            term=f"side channel: {screen(each.channel)}",
            value=f"{'covered by design' if each.covered else 'NOT covered'}: {screen(each.says)}",
            evidence=_argued("SECURITY.md"),
        )
        for each in statement.side_channels
    ]
    return Section(heading="Sampling, randomness, floating point, side channels", rows=tuple(rows))


def _choices(statement: PrivacyStatement, screen: Screen) -> Section:
    return Section(
        heading="Choices, and on which data they were made",
        rows=tuple(
            Row(
                term=screen(each.name),
                value=_constant(statement, each, screen)
                + (" (default)" if each.default else "")
                + f"; chosen on or by: {screen(each.chosen_on)}",
                evidence=_argued("docs/benchmarks.md")
                if each.default
                else Evidence(file="config.toml", step="files", kind=Kind.ATTESTED),
            )
            for each in statement.constants
        ),
    )


def _constant(statement: PrivacyStatement, each: Constant, screen: Screen) -> str:
    if isinstance(each.value, str):
        return screen(each.value)
    if each.name != TARGET:
        return figure(each.value)
    asked = f"{_claim(statement, each.value)}, against the target adversary"
    return asked if statement.private else "whatever was asked for does not hold"


def _data(statement: PrivacyStatement, screen: Screen) -> Section:
    data = statement.data_exposure
    return Section(
        heading="Where the records lie, and who sees them",
        rows=tuple(
            Row(term=term, value=screen(text), evidence=STATED if term == SLOTS else SIGNED)
            for term, text in (
                ("records", data.records),
                ("seen without noise", data.before_noise),
                ("held-out records", data.held_out),
                ("access", data.access),
                ("kept by the run", data.retention),
                (SLOTS, f"{statement.slots:,}"),
            )
        ),
    )
