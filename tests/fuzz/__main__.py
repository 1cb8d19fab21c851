"""``python -m tests.fuzz --inputs 1000000``: all targets, several processes, one table."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.fuzz import campaign, guided
from tests.fuzz.campaign import Result
from tests.fuzz.registry import TARGETS
from tests.fuzz.schedule import Unit, units, work


def _row(unit: Unit, result: Result, branches: int) -> str:
    outcomes: Counter[str] = Counter()
    for outcome, count in result.outcomes.items():
        outcomes[outcome] += count
    if unit.guided:
        told = f"by coverage: {branches} branches reached"
    else:
        told = ", ".join(f"{outcome} {100 * count / result.inputs:.1f} %" for outcome, count in outcomes.most_common(6))
    speed = result.inputs / max(result.seconds, 1e-9)
    return (
        f"{unit.target:22} {result.inputs:>9,} inputs  {speed:>7,.0f}/s  peak {result.peak >> 20:>4} MiB"
        f"  grown {result.grown / 2**20:4.1f} MiB  {told}"
    )


def main() -> int:
    """Fuzz; 0 if nothing came out that should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31, help="random unless given, and printed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
    options = parser.parse_args()
    with_atheris = guided.is_available()
    print(f"seed {options.seed}" + ("" if with_atheris else "; atheris is not installed: no inputs by coverage"))
    began = time.monotonic()
    tried, peak, bad = 0, 0, 0
    plan = units(options.inputs, names=options.targets, seed=options.seed, with_atheris=with_atheris)
    # A process a unit: what one target leaves in memory is not another one's.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context, max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(work, unit) for unit in plan]):
            unit, result, branches = done.result()
            print(_row(unit, result, branches), flush=True)
            tried += result.inputs
            peak = max(peak, result.peak)
            for data, told in result.findings:
                bad += 1
                print(f"FOUND by {campaign.save(unit.target, data)}\n{told}", flush=True)
            if result.leaks:
                bad += 1
                print(f"FOUND: {unit.target} grew by {result.grown >> 20} MiB", flush=True)
    seconds = time.monotonic() - began
    verdict = f"{bad} FINDINGS" if bad else "nothing but typed errors came out, memory stayed flat"
    print(f"{tried:,} inputs in {seconds:.0f} s, {tried / seconds:,.0f}/s, peak {peak >> 20} MiB a process: {verdict}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
