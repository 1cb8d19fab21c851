"""The default run, ``fedsec run --epsilon 3``, as a user gets it: a fresh process, wall-clock, peak memory, parts.

Beside it the same without clipping, noise, masks and ledger (:mod:`benchmarks.plain`): the ratio says what privacy
costs in time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGETS = {"total seconds": 60.0, "peak memory MB": 1500.0, "secure aggregation, share of total": 0.15}


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "FEDSEC_HOME": folder, "FEDSEC_LEDGER": str(Path(folder) / "ledger.sqlite")}
        command = [sys.executable, "-m", "cli.main", "run", "--epsilon", "3", "--offline", "--json", "--out", folder]
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        total = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        result = json.loads(done.stdout)
    began = time.perf_counter()
    peer = subprocess.run([sys.executable, "-m", "benchmarks.plain"], capture_output=True, text=True, check=True)
    plain, plain_precision = time.perf_counter() - began, float(peer.stdout)
    seconds = result["seconds"]
    measured = {
        "total seconds": total,
        "peak memory MB": peak,
        "secure aggregation, share of total": seconds["secure_aggregation"] / total,
    }
    print("\nfedsec run --epsilon 3 (10 banks, 60,000 rows, 30 rounds)\n")
    print("| figure | measured | target | met |\n| --- | --- | --- | --- |")
    for name, value in measured.items():
        met = "yes" if value <= TARGETS[name] else "no"
        print(f"| {name} | {value:.2f} | {TARGETS[name]:g} | {met} |")
    print("\n| part | seconds |\n| --- | --- |")
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} |")
    print(f"| plain federated training, no protection | {plain:.2f} |")
    precision = result["metrics"]["average_precision"]
    print(f"\nratio to the plain run: {total / plain:.2f}")
    print(f"average precision {precision:.4f}, of the plain run {plain_precision:.4f}")
