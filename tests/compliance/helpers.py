"""A complete run directory, made from the typed records, with everything that a report has to cope with."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import msgspec

from compliance.identifiers import Identifiers
from dp.accounting import epsilon as epsilon_of
from dp.adversaries import adversary_bounds
from dp.events import Composed, DiscreteGaussianSum, DpEvent, Repeated
from dp.statement import (
    FORMAT,
    FRAMEWORK,
    CohortParameters,
    Constant,
    DataExposure,
    FloatingPoint,
    MechanismParameters,
    NoiseGeneration,
    Preparation,
    PrivacyStatement,
    Proof,
    Release,
    ReleaseName,
    Sampling,
    SideChannel,
)
from fl_engine.records import AccountBalance, LedgerHead, Metrics, RoundRecord, RunSummary, Seconds

RUN = "20260314-101500-5f3a9c"
DELTA = 1e-5
ETA = 2.0**-60
# Names that are ordinary words of a report, short names, names with accents, and one that is only unusual.
BANKS = (
    "Loss",
    "ING",
    "Training",
    "Nordhafen Privatbank",
    "Crédit Épargne",
    "User",
    "Server",
    "Kestrel & Sons",
    "AXB",
    "10",
)
IDENTIFIERS = Identifiers(
    banks=BANKS,
    paths=("/srv/fraud/nordhafen_2024.parquet",),
    files=("nordhafen_2024.parquet",),
    datasets=("cards-emea-q3",),
    columns=("V1", "Time", "Amount", "Class", "iban_sender", "merchantCategory"),
    hosts=("fraudlab-worker-07",),
    users=("mgarcia",),
    keys=(("5f" * 31) + "a1", ("c3" * 31) + "07"),
    figures=(48213.0, 7391.0, 0.0173402, 40.0),
)


def make_run(
    folder: Path,
    *,
    banks: int = 10,
    rounds: int = 12,
    aborted: tuple[int, ...] = (5, 9),
    survivors: int | None = None,
    evaluation: str = "public",
    dataset: str = "synthetic",
    private: bool = True,
    simulated: bool = True,
    epsilon: float = 2.9731,
    budget: float | None = 4.0,
    mode: str = "distributed",
) -> Path:
    """A finished run's directory in ``folder``; ``aborted`` are attempts that failed, ``survivors`` caps every sum."""
    folder.mkdir(parents=True, exist_ok=True)
    attempts = _attempts(banks, rounds, aborted, survivors, evaluation, epsilon)
    opened = [a for a in attempts if a.status == "opened"]
    final = next((a.metrics for a in reversed(attempts) if a.metrics), Metrics())
    intervals = {}
    if evaluation == "federated":
        final = Metrics(loss=0.0412, roc_auc=0.9642, average_precision=0.8127, accuracy=0.9961)
        intervals = {"roc_auc": (0.9511, 0.9756), "average_precision": (0.7719, 0.8498), "accuracy": (0.9952, 0.9969)}
    brands = (*(() if private else ("NOT PRIVATE",)), *(("SIMULATED KEYS",) if simulated else ()))
    statement = _statement(banks, brands, private, epsilon, attempts, evaluation, dataset, mode)
    summary = RunSummary(
        run=RUN,
        fedsec="0.1.0",
        python="3.11.9",
        torch="2.13.0",
        opacus="1.6.0",
        started="2026-03-14T10:15:00Z",
        mode=mode,
        engine="local",
        dataset=dataset,
        banks=banks,
        rounds_planned=rounds,
        rounds_opened=sum(a.release == "training" for a in opened),
        rounds_aborted=len(attempts) - len(opened),
        survivors_min=min((a.survivors for a in opened), default=0),
        slots=60_000,
        evaluation=evaluation,
        model=(29, 64, 32, 1),
        final=final,
        intervals=intervals,
        fraud_share=0.0383,
        histogram_bins=512 if evaluation == "federated" else None,
        upload_bytes=812_344,
        plain_bytes=785_664,
        seconds=Seconds(total=43.7, training=24.1, secure_aggregation=12.9, evaluation=3.2),
        ledger=(
            AccountBalance(
                account="cards-emea-q3/train",
                spent_epsilon=epsilon,
                budget_epsilon=budget,
                delta=DELTA,
                course=(0.2 * epsilon, *(0.2 * epsilon + 0.8 * attempt.epsilon for attempt in attempts)),
            ),
            AccountBalance(
                account="cards-emea-q3/holdout", spent_epsilon=0.7, budget_epsilon=None, delta=DELTA, course=(0.7, 0.7)
            ),
        ),
        ledger_head=LedgerHead(public_key="a7" * 32, entry=417, hash="0b" * 32),
        roster="d4" * 32,
    )
    (folder / "config.toml").write_text(f"epsilon = 3.0\nbanks = {banks}\nrounds = {rounds}\n", "utf-8")
    (folder / "metrics.jsonl").write_bytes(b"".join(msgspec.json.encode(a) + b"\n" for a in attempts))
    (folder / "privacy.json").write_bytes(msgspec.json.encode(statement))
    (folder / "summary.json").write_bytes(msgspec.json.encode(summary))
    return folder


def _attempts(
    banks: int, rounds: int, aborted: tuple[int, ...], survivors: int | None, evaluation: str, epsilon: float
) -> list[RoundRecord]:
    plan = ["scaling"] + ["training"] * (rounds + sum(0 < a <= rounds + len(aborted) for a in aborted))
    plan += ["evaluation"] if evaluation == "federated" else []
    done, records = 0, []
    for index, release in enumerate(plan):
        failed = index in aborted
        lost = (index * 7 % 5 == 0) + (index % 11 == 3)
        done += release == "training" and not failed
        progress = 1 - math.exp(-done / 3.5)
        measured = release == "training" and not failed and evaluation == "public"
        records.append(
            RoundRecord(
                release=release,
                index=index,
                round=done if release == "training" and not failed else None,
                status="aborted" if failed else "opened",
                cohort=banks,
                survivors=0 if failed else min(banks - lost, survivors or banks),
                dropped_at={"mask": 4} if failed else ({"mask": lost} if lost else {}),
                reason="too few banks were left at the step mask: 7 are needed" if failed else None,
                epsilon=epsilon * math.sqrt((index + 1) / len(plan)),
                metrics=Metrics(
                    loss=0.62 * (1 - progress) + 0.051 + 0.006 * math.sin(5 * done),
                    roc_auc=0.52 + 0.44 * progress,
                    average_precision=0.03 + 0.8 * progress + 0.015 * math.sin(3 * done),
                    accuracy=0.958 + 0.038 * progress,
                )
                if measured
                else None,
                seconds=0.8 + 0.07 * (index % 4),
            )
        )
    return records


def _statement(
    banks: int,
    brands: tuple[str, ...],
    private: bool,
    epsilon: float,
    attempts: list[RoundRecord],
    evaluation: str,
    dataset: str,
    mode: str,
) -> PrivacyStatement:
    corrupt = (banks - 1) // 3
    threshold = (banks + corrupt) // 2 + 1
    honest = threshold - corrupt

    counted = 1 if mode == "local" else honest
    charged = {name: sum(a.release == name for a in attempts) for name in ("scaling", "training", "evaluation")}

    def parameters(name: ReleaseName, dimension: int, z: float) -> MechanismParameters:
        return MechanismParameters(
            name=name,
            noise_multiplier=z,
            sampling_rate=1.0,
            clip=1.0,
            grid_scale=4096.0,
            sensitivity=4161.337,
            share_variance=(z * 4161.337) ** 2 / counted,
            dimension=dimension,
            saturation=2**22,
            noise_bound=2**19,
            ring_bits=27,
        )

    z = _multiplier(epsilon, charged["scaling"], charged["training"], counted)
    originals = [parameters("scaling", 58, z), parameters("training", 4033, z)]
    sentences = {
        "scaling": "One sum of squashed values and their squares, with discrete Gaussian noise shares.",
        "training": "Sums of per-record gradients, each clipped to L2 norm C, with discrete Gaussian noise shares.",
        "evaluation": "One sum of score histograms by class, with discrete Gaussian noise shares.",
    }
    if evaluation == "federated":
        originals.append(parameters("evaluation", 1024, z))
    releases = tuple(
        Release(
            name=p.name,
            account="holdout" if p.name == "evaluation" else "train",
            charged_to=("holdout",) if p.name == "evaluation" else ("train",),
            mechanism=sentences[p.name],
            event=Repeated(count=1, event=_event(p.share_variance, counted, p.dimension)),
            planned=charged["training"] + 1 if p.name == "training" else 3,
            opened=sum(a.release == p.name and a.status == "opened" for a in attempts),
            charged=charged[p.name],
        )
        for p in originals
    )

    def spent(part: str, shares: int, *, planned: bool = False) -> DpEvent:
        return Composed(
            events=tuple(
                Repeated(count=r.planned if planned else r.charged, event=_event(p.share_variance, shares, p.dimension))
                for r, p in zip(releases, originals, strict=True)
                if r.account == part
            )
        )

    parts = {release.account for release in releases}
    outside = (
        "Learning rate and number of rounds are defaults; whether they were chosen on these records is not known.",
    )
    if dataset == "own data":
        outside += ("Column types were inferred from the file.",)
        if evaluation == "public":
            outside += ("Metrics on the public holdout after every round, without noise.",)
    bounds = adversary_bounds(
        lambda shares: [spent(part, shares) for part in parts],
        mode="local" if mode == "local" else "distributed",
        corrupt=corrupt,
        honest_inputs=honest,
        min_survivors=max(threshold, banks - 2),
        delta=DELTA,
        eta=ETA,
    )
    reserved = max(epsilon_of(spent(part, counted, planned=True), DELTA, ETA) for part in parts)
    return PrivacyStatement(
        version=FORMAT,
        framework=FRAMEWORK,
        private=private,
        brands=brands,
        epsilon=epsilon if private else None,
        planned_epsilon=reserved if private else None,
        delta=DELTA,
        eta=ETA,
        unit="record",
        unit_rows=None,
        protects="Neighbouring data differ in one record, replaced by an empty slot.",
        neighbours="zero-out",
        mode=mode,
        adversaries=tuple(bound if private else msgspec.structs.replace(bound, epsilon=None) for bound in bounds),
        accountant="fedsec zCDP accountant 1",
        theorem="Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), Theorem 1; conversion: Canonne, Kamath, Steinke 2020",
        cross_checks={"pld": epsilon * 0.948, "prv": epsilon * 0.949} if private else {},
        query_model="All sums are fixed by the plan.",
        proofs=tuple(
            Proof(
                release=p.name, step="the whole", document="docs/noise.md#4-sums-of-discrete-gaussians", theorem="KLS 1"
            )
            for p in originals
        ),
        preparation=(
            Preparation(step="cells are encoded by constants", reads="one record", paid_by="nothing to pay"),
            Preparation(step="inputs are standardised", reads="many records", paid_by="train"),
        ),
        sampling=Sampling(scheme="full batches", rate=1.0, amplification=False, coins="nobody is trusted with any"),
        noise=NoiseGeneration(
            distribution="discrete Gaussian",
            generator="the operating system",
            repeatable=not private,
            cut=12.0,
            computational="AES is not told from random",
        ),
        floating_point=FloatingPoint(
            before_the_grid="bounded by E",
            on_the_grid="integers only",
            after_opening="float64",
            accounting="rounded up",
            assumes="IEEE 754",
        ),
        side_channels=(SideChannel(channel="timing", covered=False, says="constant time is not claimed"),),
        key_exchange="x25519+ml-kem-768",
        constants=(
            Constant(name="rounds", value=20.0, default=True, chosen_on="the project's own rows"),
            Constant(name="network", value="29 – 64 – 32 – 1", default=True, chosen_on="the project's own rows"),
        ),
        data_exposure=DataExposure(
            records="in one process",
            before_noise="its operator",
            held_out="their bank",
            access="file permissions",
            retention="no record is kept",
        ),
        bias="Rare groups lose more accuracy.",
        cohort=CohortParameters(
            clients=banks, corrupt=corrupt, threshold=threshold, honest_inputs=honest, min_survivors=threshold
        ),
        parameters=tuple(originals),
        slots=60_000,
        releases=releases,
        noise_against_banks="Banks are not protected as units: the noise of a round has a standard deviation of 61.7"
        " clips a coordinate, while a bank's records, 6,000 on average, can add up to one clip each.",
        outside_ledger=outside,
        voids=(
            "Fewer honest banks than h in a sum, because more than c collude.",
            "A bank that does not clip or does not add its noise, while it is counted as honest.",
            "Records that were copied into several slots or banks.",
        ),
        conservative=private and epsilon <= 1,
    )


def _event(share_variance: float, shares: int, dimension: int) -> DiscreteGaussianSum:
    return DiscreteGaussianSum(sensitivity=4161.337, share_variance=share_variance, shares=shares, dimension=dimension)


@cache
def _multiplier(epsilon: float, scaling: int, training: int, shares: int) -> float:
    """z with which the training account spends ``epsilon``, to about 1e-12."""
    low, high = 0.1, 1000.0
    for _ in range(60):
        z = math.sqrt(low * high)
        variance = (z * 4161.337) ** 2 / shares
        event = Composed(
            events=tuple(
                Repeated(count=count, event=_event(variance, shares, dimension))
                for count, dimension in ((scaling, 58), (training, 4033))
            )
        )
        low, high = (z, high) if epsilon_of(event, DELTA, ETA) > epsilon else (low, z)
    return high
