"""The records: the ULB sample where it is at hand, and invented ones."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fl_engine.data.dataset import Dataset, load_dataset, synthetic_dataset

BANKS = 10
HOLDOUT = 0.2
SYNTHETIC_ROWS = 20_000
PLACE = "FEDSEC_ULB"
DEFAULT_PLACE = Path("../shared/data/ulb_creditcard.parquet")


def ulb_path() -> Path | None:
    """Where the ULB rows are: what ``FEDSEC_ULB`` says; None where there is no such file."""
    path = Path(os.environ.get(PLACE, DEFAULT_PLACE))
    return path if path.is_file() else None


def dataset(name: str, seed: int) -> Dataset:
    """The data set ``name`` ("ULB" or "synthetic"), split and dealt to ten banks by ``seed``."""
    split_key = hashlib.sha256(f"utility {seed}".encode()).digest()
    if name == "synthetic":
        return synthetic_dataset(banks=BANKS, rows=SYNTHETIC_ROWS, seed=seed, split_key=split_key, holdout=HOLDOUT)
    path = ulb_path()
    if path is None:
        raise SystemExit(f"the ULB rows are not at hand: set {PLACE} to a Parquet file of them")
    return load_dataset(
        path,
        label="Class",
        bank_column=None,
        drop=("Time", "time_uniform_draw"),
        schema=None,
        banks=BANKS,
        seed=seed,
        split_key=split_key,
        holdout=HOLDOUT,
    )
