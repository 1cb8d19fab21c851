"""The banks' records as the engine takes them: from a file of the operator's own, or synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fedsec.errors import ConfigError
from fl_engine.data.features import encode
from fl_engine.data.inference import infer_schema
from fl_engine.data.partition import dirichlet_partition
from fl_engine.data.roles import MIN_BANKS, MIN_ROWS, check_roles, column_named, read_banks, read_labels, read_units
from fl_engine.data.schema import Schema
from fl_engine.data.split import entity_coins, holdout_coins, record_identities
from fl_engine.data.synthetic import SYNTHETIC_LABEL, SYNTHETIC_SCHEMA, synthetic_columns
from fl_engine.data.tabular import read_columns

DEALT: Final = "rows were dealt to simulated banks, whose declared sizes depend on the rows' labels"
DEALT_WHOLE: Final = f"{DEALT} and on how many rows an entity has"


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """Records of one or more banks: ``features`` float32[rows, inputs]; ``labels`` uint8[rows], 0 or 1."""

    features: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class BankData:
    """One bank's record slots.

    Attributes:
        features: float32[slots, inputs], squashed (every value finite, within 14 of 0) but not standardised.
        labels: uint8[slots], 1 = fraud.
        holdout: bool[slots], the records' or entities' own coins. How many are held out is private; slots are public.
        entities: int64[slots], equal where rows are one entity's, -1 for an empty slot; None: a record is the unit.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.uint8]
    holdout: NDArray[np.bool_]
    entities: NDArray[np.int64] | None = None

    @property
    def slots(self) -> int:
        """How many record slots the bank declares; public."""
        return len(self.labels)

    def training_records(self) -> Records:
        """The records that are not held out; their number is private, so pad to ``slots`` before it shows."""
        return Records(features=self.features[~self.holdout], labels=self.labels[~self.holdout])

    def held_out_records(self) -> Records:
        """The held-out records, for federated evaluation; their number is private."""
        return Records(features=self.features[self.holdout], labels=self.labels[self.holdout])


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """All banks of a local run.

    Attributes:
        banks: one entry a bank, by index.
        columns: names of all the file's columns, inputs or not: a record's coin follows from all its cells.
        unit_column: the column that an entity's coin follows from instead; None where a record is the unit.
        schema: the public meaning of the inputs.
        bank_names: by index; never leaves the operator's machine.
        source: "synthetic" or "own data".
        outside_ledger: sentences on what was released without a charge while preparing, none naming a
            column or bank.
    """

    banks: tuple[BankData, ...]
    columns: tuple[str, ...]
    schema: Schema
    bank_names: tuple[str, ...]
    source: Literal["synthetic", "own data"]
    outside_ledger: tuple[str, ...]
    unit_column: str | None = None


def load_dataset(
    path: Path,
    *,
    label: str,
    bank_column: str | None,
    drop: Sequence[str],
    schema: Schema | None,
    banks: int,
    seed: int,
    split_key: bytes,
    holdout: float,
    alpha: float = 1.0,
    unit_column: str | None = None,
) -> Dataset:
    """Read, check, encode, divide between banks and split the records of a CSV or Parquet file.

    Args:
        path: the file.
        label: name of the column that holds 0 or 1 (or booleans).
        bank_column: column that names each row's bank; None deals the rows to ``banks`` simulated banks.
        drop: columns that are no inputs; they still belong to a record's identity.
        schema: what the inputs are; None infers it and says so in ``outside_ledger``.
        banks: number of simulated banks; not used with a bank column.
        seed: of the dealing; public.
        split_key: secret, at least 16 bytes, from the ledger account.
        holdout: chance that a record is held out, ``0 <= holdout < 1``.
        alpha: Dirichlet concentration of the dealing, 0.01 to 1000.
        unit_column: column that says which entity each row is of; it is no input. None: each record is a unit.

    Raises:
        ConfigError: the file or an argument cannot be used; says which and what to do, never a cell's
            content.
        ValueError: ``split_key`` is too short.
    """
    _check_numbers(banks=banks, holdout=holdout, alpha=alpha)
    columns = read_columns(Path(path))
    check_roles(columns, label=label, bank_column=bank_column, unit_column=unit_column, drop=drop, schema=schema)
    labels = read_labels(column_named(columns, label))
    if schema is None:
        inputs = [column for column in columns if column.name not in {label, bank_column, unit_column, *drop}]
        schema, outside_ledger = infer_schema(inputs)
    else:
        outside_ledger = ()
    features = encode(columns, schema)
    entities = None
    if unit_column is None:
        coins = holdout_coins(record_identities(columns), key=split_key, fraction=holdout)
    else:
        entities, entity_names = read_units(column_named(columns, unit_column))
        coins = entity_coins(entity_names, key=split_key, fraction=holdout)[entities]
    if bank_column is None:
        if len(labels) < banks * MIN_ROWS:
            raise ConfigError(
                f"{len(labels)} rows are too few for {banks} banks of at least {MIN_ROWS} rows each",
                remedy=f"Use at least {banks * MIN_ROWS} rows"
                + (f", or fewer banks (at least {MIN_BANKS}) with --banks." if banks > MIN_BANKS else "."),
            )
        bank_of = dirichlet_partition(labels, banks=banks, seed=seed, alpha=alpha, min_rows=MIN_ROWS)
        if entities is not None:
            bank_of = _together(bank_of, entities, banks=banks)
        names = tuple(f"Bank {index + 1:02d}" for index in range(banks))
        outside_ledger += (DEALT if entities is None else DEALT_WHOLE,)
    else:
        bank_of, names = read_banks(column_named(columns, bank_column))
    whole = BankData(features=features, labels=labels, holdout=coins, entities=entities)
    return Dataset(
        banks=_divide(whole, bank_of, len(names)),
        columns=tuple(column.name for column in columns),
        schema=schema,
        bank_names=names,
        source="own data",
        outside_ledger=outside_ledger,
        unit_column=unit_column,
    )


def synthetic_dataset(*, banks: int, rows: int, seed: int, split_key: bytes, holdout: float) -> Dataset:
    """Records of invented banks (:mod:`fl_engine.data.synthetic`), through the same encoding and split as
    own data.

    Raises:
        ConfigError: fewer than 5 banks, fewer than 20 rows a bank, or ``holdout`` outside [0, 1).
        ValueError: ``split_key`` is too short.
    """
    _check_numbers(banks=banks, holdout=holdout, alpha=1.0)
    if rows < banks * MIN_ROWS:
        raise ConfigError(f"{rows} synthetic rows are too few for {banks} banks", remedy="Use fewer banks.")
    columns, bank_of = synthetic_columns(banks=banks, rows=rows, seed=seed, min_rows=MIN_ROWS)
    coins = holdout_coins(record_identities(columns), key=split_key, fraction=holdout)
    labels = read_labels(column_named(columns, SYNTHETIC_LABEL))
    whole = BankData(features=encode(columns, SYNTHETIC_SCHEMA), labels=labels, holdout=coins)
    return Dataset(
        banks=_divide(whole, bank_of, banks),
        columns=tuple(column.name for column in columns),
        schema=SYNTHETIC_SCHEMA,
        bank_names=tuple(f"Bank {index + 1:02d}" for index in range(banks)),
        source="synthetic",
        outside_ledger=(),
    )


def public_holdout(dataset: Dataset) -> Records:
    """The held-out records of all banks together, for an evaluation that the coordinator may see."""
    parts = [bank.held_out_records() for bank in dataset.banks]
    return Records(
        features=np.concatenate([part.features for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )


def _check_numbers(*, banks: int, holdout: float, alpha: float) -> None:
    if banks < MIN_BANKS:
        raise ConfigError(f"{banks} banks are too few", remedy=f"Use at least {MIN_BANKS} banks.")
    if not 0.0 <= holdout < 1.0:
        raise ConfigError(f"a holdout of {holdout} is not a share", remedy="Give 0 or more and less than 1, e.g. 0.2.")
    if not 0.01 <= alpha <= 1000.0:
        raise ConfigError(f"an alpha of {alpha} cannot be dealt by", remedy="Give 0.01 (unequal) to 1000 (equal).")


def _together(bank_of: NDArray[np.int64], entities: NDArray[np.int64], *, banks: int) -> NDArray[np.int64]:
    """The bank of every row where all rows of an entity go to the bank that its first row was dealt to."""
    first_row = np.unique(entities, return_index=True)[1]
    together: NDArray[np.int64] = bank_of[first_row][entities]
    smallest = int(np.bincount(together, minlength=banks).min())
    if smallest < MIN_ROWS:
        raise ConfigError(
            f"dealt by whole entities, the smallest of {banks} simulated banks has {smallest} rows",
            remedy=f"Each needs at least {MIN_ROWS}: use fewer banks with --banks, or a --bank-column.",
        )
    return together


def _divide(whole: BankData, bank_of: NDArray[np.int64], banks: int) -> tuple[BankData, ...]:
    order = np.argsort(bank_of, kind="stable")
    ends = np.cumsum(np.bincount(bank_of, minlength=banks))[:-1]
    return tuple(
        BankData(
            features=whole.features[rows],
            labels=whole.labels[rows],
            holdout=whole.holdout[rows],
            entities=None if whole.entities is None else whole.entities[rows],
        )
        for rows in np.split(order, ends)
    )
