"""What a run costs, and whom: its reservation, its settlement, and where its accounts stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.events import NonPrivate
from dp.ledger import Account, Balance, Charge, Closing, Ledger, sign_closing
from dp.mechanism import eta
from fedsec.errors import ConfigError, LocalProtocolError
from fl_engine.coordinator import Progress
from fl_engine.data.dataset import Dataset
from fl_engine.plan import HOLDOUT, TRAINING, Part, TaskPlan

PARTS: tuple[Part, ...] = (TRAINING, HOLDOUT)
PUBLIC_EVALUATION = "public-evaluation"
LOST = "entries of the ledger are lost: what they charged is not known, so no ε bounds all runs on these data together"
EARLIER_INSECURE = "an earlier run on these data was not private: anybody can take its noise off"
EARLIER_PUBLIC = "an earlier run on these data released records of an account charged here in clear"
_LAYOUT = b"fedsec/v1/column-names"
_ENTITY_LAYOUT = b"fedsec/v1/unit-column-name"


def reserve(
    ledger: Ledger, plan: TaskPlan, dataset: Dataset, *, account: str, coordinator: bytes, brands: tuple[str, ...]
) -> None:
    """Charge the whole plan to the data set ``account``.

    Where its records were split otherwise before, every sum is charged to both parts: by another share held out, as
    asked here, or by other columns or another unit of privacy, as the ledger sees while it reserves. A public
    evaluation of real records is charged as what it is, a release without noise: no budget covers it.

    Raises:
        BudgetError: an account cannot pay; nothing is charged.
    """
    both = ledger.split_changed(account, plan.holdout)
    charges = [
        Charge(
            account=Account(dataset=account, part=part),
            release=planned.name,
            event=planned.event(),
            count=planned.attempts,
            eta=eta(planned.mechanism, openings=planned.openings_per_attempt, banks=plan.clients),
        )
        for planned in plan.sums
        for part in (PARTS if both else (planned.part,))
    ]
    if plan.bins == 0 and dataset.source == "own data":
        charges += [
            Charge(
                account=Account(dataset=account, part=part),
                release=PUBLIC_EVALUATION,
                event=NonPrivate(),
                count=1,
                eta=0.0,
            )
            for part in (PARTS if both else (HOLDOUT,))
        ]
    ledger.reserve(
        run=plan.task,
        charges=charges,
        coordinator=coordinator,
        private=not plan.insecure_deterministic_noise,
        brands=brands,
        layout=_layout(dataset),
    )


def check_reserved(ledger: Ledger, plan: TaskPlan) -> None:
    """Check that ``ledger`` has all that ``plan`` may ever open reserved: what a bank asks before it takes part.

    Raises:
        LocalProtocolError: it has not; the plan would open something, or more often, that nobody paid for.
    """
    charges = ledger.charges(plan.task)
    for planned in plan.sums:
        paid = any(
            (charge.release, charge.account.part, charge.event) == (planned.name, planned.part, planned.event())
            and charge.count >= planned.attempts
            for charge in charges
        )
        if not paid:
            raise LocalProtocolError(f"the plan of {plan.task} has {planned.name} sums that its ledger did not reserve")


def burnt(ledger: Ledger, run: str) -> dict[str, frozenset[int]]:
    """The attempts of ``run`` that the ledger saw burnt, by release.

    Raises:
        ConfigError: the ledger does not know the run.
    """
    try:
        return ledger.burnt(run)
    except LocalProtocolError:
        raise ConfigError(
            f"the ledger {ledger.location.label} knows nothing of the run {run}",
            remedy="Name the ledger that it charged with --ledger; if it died before it charged any, delete it.",
        ) from None


def attempted(progress: Progress, found: Mapping[str, frozenset[int]]) -> dict[str, int]:
    """Attempts by sum that were begun, as far as the last kept progress and the burns in the ledger tell.

    An attempt may be aborted before anything is burnt, so it is the highest number burnt that counts.
    """
    return {name: max(count, 1 + max(found[name], default=-1)) for name, count in progress.begun.items()}


def settle(ledger: Ledger, run: str, attempts: Mapping[str, int], *, key: bytes) -> None:
    """Charge ``attempts`` and give the rest of the reservation back, on the signature of the coordinator's ``key``."""
    counts = dict(attempts)
    if any(charge.release == PUBLIC_EVALUATION for charge in ledger.charges(run)):
        counts[PUBLIC_EVALUATION] = min(1, counts["training"])
    signed = sign_closing(Ed25519PrivateKey.from_private_bytes(key), Closing(run=run, attempts=counts))
    ledger.settle(run, signed)


def balances(ledger: Ledger, run: str) -> tuple[Balance, ...]:
    """Where the accounts that ``run`` charged stand, at their budgets' delta."""
    return ledger.balances(tuple(dict.fromkeys(charge.account for charge in ledger.charges(run))))


def charged_parts(ledger: Ledger, run: str) -> dict[str, tuple[Part, ...]]:
    """The split parts whose accounts pay for each release of ``run``."""
    parts: dict[str, tuple[Part, ...]] = {}
    for charge in ledger.charges(run):
        part: Part = TRAINING if charge.account.part == TRAINING else HOLDOUT
        parts[charge.release] = (*parts.get(charge.release, ()), part)
    return parts


def unbounded_before(ledger: Ledger, run: str) -> tuple[str, ...]:
    """Why something besides ``run`` leaves the accounts that it charged without a bound, one sentence a reason."""
    accounts = {charge.account.name for charge in ledger.charges(run)}
    others = [
        (other, release)
        for other in ledger.history()
        for release in other.releases
        if other.run != run and release.account in accounts and release.charged
    ]
    reasons = {
        LOST: bool(ledger.losses),
        EARLIER_INSECURE: any(not other.private for other, _ in others),
        EARLIER_PUBLIC: any(release.release == PUBLIC_EVALUATION for _, release in others),
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


def other_unit_before(ledger: Ledger, dataset: Dataset, *, account: str) -> bool:
    """Whether a run on ``account`` protected another unit than one on ``dataset`` does."""
    known = ledger.layouts(account) - {b""}
    if dataset.unit_column is not None:
        return bool(
            known - {_layout(dataset)}
        )  # an entity's coin follows from its column alone: others are other units
    return any(_names_digest(_ENTITY_LAYOUT, (name,)) in known for name in dataset.columns)


def _layout(dataset: Dataset) -> bytes:
    """Digest of the columns that the side of the split of a record, or of an entity, follows from."""
    if dataset.unit_column is not None:
        return _names_digest(_ENTITY_LAYOUT, (dataset.unit_column,))
    return _names_digest(_LAYOUT, sorted(dataset.columns))


def _names_digest(label: bytes, names: Iterable[str]) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(label)
    for name in names:
        encoded = name.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.finalize()
