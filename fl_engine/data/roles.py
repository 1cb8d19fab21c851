"""What the operator's columns are for: label, bank, unit, dropped or input; and whether each can fill its role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedsec.errors import ConfigError
from fl_engine.data.schema import Schema
from fl_engine.data.tabular import Column
from fl_engine.data.wording import did_you_mean

MIN_BANKS: Final = 5  # with fewer, the protocol has no threshold that leaves two honest banks
MIN_ROWS: Final = 20  # per bank


def column_named(columns: Sequence[Column], name: str) -> Column:
    """The column of that name, which must be there."""
    return next(column for column in columns if column.name == name)


def check_roles(
    columns: Sequence[Column],
    *,
    label: str,
    bank_column: str | None,
    unit_column: str | None,
    drop: Sequence[str],
    schema: Schema | None,
) -> None:
    """Refuse roles that the file cannot fill or that contradict each other.

    Raises:
        ConfigError: a named column does not exist, or has two roles.
    """
    names = [column.name for column in columns]
    for name, role in (
        (label, "label"),
        (bank_column, "bank column"),
        (unit_column, "unit column"),
        *((name, "dropped column") for name in drop),
    ):
        if name is not None and name not in names:
            raise ConfigError(f"the file has no column {name!r} (the {role})", remedy=did_you_mean(name, names))
    if label == bank_column:
        raise ConfigError(f"column {label!r} cannot be both the label and the bank column")
    for name, role in ((label, "label"), (bank_column, "bank column")):
        if unit_column is not None and unit_column == name:
            raise ConfigError(
                f"column {name!r} cannot be both the {role} and the unit column",
                remedy="--unit-column names the column of customers, accounts or cards.",
            )
    inputs = () if schema is None else schema.column_names
    for name, role in ((label, "label"), (bank_column, "bank column"), (unit_column, "unit column")):
        if name in drop:
            raise ConfigError(f"column {name!r} is the {role}, and dropped", remedy="Drop it, or use it: not both.")
        if name in inputs:
            raise ConfigError(f"column {name!r} is the {role}, and an input in the schema", remedy="Take it out there.")
    for name in drop:
        if name in inputs:
            raise ConfigError(f"column {name!r} is an input in the schema, and dropped", remedy="Take it out of one.")


def read_labels(column: Column) -> NDArray[np.uint8]:
    """The labels, uint8[rows], 1 = fraud.

    Raises:
        ConfigError: a cell is missing or is neither 0 nor 1 (nor a boolean), or only one class occurs.
    """
    what = f"the label column {column.name!r}"
    remedy = "It must hold 1 for fraud and 0 for genuine in every row."
    if column.kind != "number":
        raise ConfigError(f"{what} is not numeric", remedy=remedy)
    missing = int(np.isnan(column.numbers).sum())
    if missing:
        raise ConfigError(f"{what} has no value in {missing} of {len(column.numbers)} rows", remedy=remedy)
    if not np.isin(column.numbers, (0.0, 1.0)).all():
        raise ConfigError(f"{what} has values other than 0 and 1", remedy=remedy)
    labels = column.numbers.astype(np.uint8)
    if labels.min() == labels.max():
        raise ConfigError(f"{what} is {labels[0]} in every row", remedy="Both classes must occur to be told apart.")
    return labels


def read_banks(column: Column) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each row's bank, int64[rows], and the banks' names, sorted.

    Raises:
        ConfigError: a cell is empty, there are fewer than 5 banks, or one has fewer than 20 rows.
    """
    if column.kind in ("date", "other") and not column.holds_text:
        raise ConfigError(f"the bank column {column.name!r} holds neither text nor numbers")
    encoded = pc.dictionary_encode(column.text())
    empty = int(encoded.indices.null_count)
    if empty:
        raise ConfigError(
            f"the bank column {column.name!r} is empty in {empty} of {len(column.numbers)} rows",
            remedy="Every row must say whose it is.",
        )
    found: list[str] = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(found))
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    bank_of = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    smallest = int(np.bincount(bank_of).min())
    if len(found) < MIN_BANKS:
        raise ConfigError(
            f"the bank column {column.name!r} names {len(found)} banks",
            remedy=f"At least {MIN_BANKS} are needed.",
        )
    if smallest < MIN_ROWS:
        raise ConfigError(
            f"the smallest of the {len(found)} banks in column {column.name!r} has {smallest} rows",
            remedy=f"Each bank needs at least {MIN_ROWS}; is this the column of the banks?",
        )
    return bank_of, tuple(found[index] for index in order)


def read_units(column: Column) -> tuple[NDArray[np.int64], list[str]]:
    """Each row's entity, int64[rows], numbered from 0, and the entities' names.

    Names are compared as text, as the file writes them: two people must never become one entity, as 64-bit floats
    would make of long numbers, or an entity's rows could move a sum by more than one entity may.

    Raises:
        ConfigError: a cell is missing, or the column holds neither text nor numbers.
    """
    what = f"the unit column {column.name!r}"
    if column.kind in ("date", "other") and not column.holds_text:
        raise ConfigError(f"{what} holds neither text nor numbers", remedy="Name a column of customers or accounts.")
    encoded = pc.dictionary_encode(column.text())
    missing = encoded.indices.is_null().to_numpy(zero_copy_only=False) | (column.is_number & np.isnan(column.numbers))
    if missing.any():
        raise ConfigError(
            f"{what} has no value in {int(missing.sum())} of {len(missing)} rows",
            remedy="Every row must say whose it is: rows of nobody would count as one entity.",
        )
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()
