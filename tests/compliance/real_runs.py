"""Small runs of every kind that a statement can be about, made by the command line as a user makes them."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path

import numpy as np

from cli.main import invoke
from tests.fl_engine.run_helpers import own_place

SMALL = ("--rounds", "2", "--banks", "5", "--offline")
CARDS = ("--data", "cards.csv", "--label", "fraud")
KINDS: dict[str, tuple[str, ...]] = {
    "distributed, public": ("--rows", "1000"),
    "distributed, federated": ("--rows", "1000", "--evaluation", "federated"),
    "local": ("--rows", "1000", "--dp-mode", "local", "--epsilon", "0.9"),
    "entity": (*CARDS, "--unit-column", "customer", "--unit-rows", "2"),
    "own data, public": (*CARDS, "--evaluation", "public"),
    "NOT PRIVATE": ("--rows", "1000", "--insecure-deterministic-noise"),
}


def real_run(folder: Path, kind: str) -> Path:
    """The directory of a finished run of that kind, its ledger and its private files in ``folder`` too."""
    folder.mkdir(parents=True, exist_ok=True)
    given = list(KINDS[kind])
    if "cards.csv" in given:
        given[given.index("cards.csv")] = str(_cards(folder / "cards.csv"))
    with own_place(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert invoke(["run", *SMALL, *given, "--out", str(folder / "runs")]) == 0
    return (folder / "runs" / "latest").resolve()


def _cards(path: Path) -> Path:
    """1,000 invented payments of 400 customers."""
    rng = np.random.default_rng(5)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["amount", "hour", "customer", "fraud"])
        for _ in range(1000):
            fraud = int(rng.random() < 0.2)
            amount = rng.lognormal(3 + fraud, 1)
            rows.writerow([f"{amount:.2f}", rng.integers(24), f"c{rng.integers(400)}", fraud])
    return path
