"""What a run on one machine starts from: the records of all banks, as the settings say where they are, and a policy."""

from __future__ import annotations

from dp.ledger import Ledger
from fedsec.errors import ConfigError
from fl_engine.data.dataset import Dataset, load_dataset, synthetic_dataset
from fl_engine.data.schema import Schema
from fl_engine.insecure import NOT_PRIVATE
from fl_engine.plan import TaskPlan
from fl_engine.policy import BankPolicy
from fl_engine.settings import DataSettings, RunSettings
from secagg.policy import ClientPolicy

SIMULATED_KEYS = "SIMULATED KEYS"


def read_dataset(settings: RunSettings, data: DataSettings, ledger: Ledger) -> Dataset:
    """The records, split by the ledger's key.

    Raises:
        ConfigError: they cannot be read.
    """
    account = data.account(settings.seed)
    split_key = ledger.split_key(account, settings.holdout)
    if data.data is None:
        return synthetic_dataset(
            banks=settings.banks,
            rows=data.rows,
            seed=settings.seed,
            split_key=split_key,
            holdout=settings.holdout,
        )
    return load_dataset(
        data.data,
        label=data.label or "",
        bank_column=data.bank_column,
        unit_column=data.unit_column,
        drop=data.drop,
        schema=Schema.load(data.schema_file) if data.schema_file else None,
        banks=settings.banks,
        seed=settings.seed,
        split_key=split_key,
        holdout=settings.holdout,
    )


def check_unchanged(dataset: Dataset, plan: TaskPlan, *, schema_toml: str) -> None:
    """That the data still are what ``plan`` and the schema were made for.

    Raises:
        ConfigError: they are not.
    """
    slots = tuple(bank.slots for bank in dataset.banks)
    if slots != plan.slots or dataset.schema.to_toml() != schema_toml:
        raise ConfigError(
            "the data have other rows or columns than when the run began",
            remedy="Put the file back as it was, or start a new run.",
        )


def is_federated(settings: RunSettings, dataset: Dataset) -> bool:
    """Whether evaluation is federated: what was asked for, else for own data only."""
    if settings.evaluation is None:
        return dataset.source == "own data"
    return settings.evaluation == "federated"


def brands_of(plan: TaskPlan) -> tuple[str, ...]:
    """Upper-case warnings that a run of ``plan`` carries everywhere."""
    return (NOT_PRIVATE, SIMULATED_KEYS) if plan.insecure_deterministic_noise else (SIMULATED_KEYS,)


def simulated_policy(plan: TaskPlan) -> BankPolicy:
    """The policy of a simulated bank: the operator of all ten asked for this very plan."""
    sessions = ClientPolicy(
        tasks=frozenset({plan.task}),
        purposes=frozenset(planned.name for planned in plan.sums),
        modes=frozenset({plan.mode}),
        min_clients=plan.clients,
        min_corrupt=plan.corrupt,
        max_corrupt=plan.corrupt,
        min_honest_inputs=plan.honest_inputs,
        min_noise_multiplier=min(planned.mechanism.noise_multiplier for planned in plan.sums),
    )
    return BankPolicy(
        sessions=sessions,
        max_epsilon=plan.epsilon,
        max_delta=plan.delta,
        architectures=frozenset({plan.model.hidden}),
        insecure_deterministic_noise=plan.insecure_deterministic_noise,
    )
