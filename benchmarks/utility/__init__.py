"""What a model is worth at an epsilon, in parts that can be run alone: ``python -m benchmarks utility.central``.

The sums are those of a run, from the banks' own objects, with rounding and noise; only masks are left out, which cancel
to the last bit. Splits, banks and initial weights follow from the seed, so that all pipelines see the same records.
"""

from __future__ import annotations

from importlib import import_module

PARTS = ("promise", "central", "curves")


def run() -> None:
    """Print the tables of all parts."""
    for part in PARTS:
        import_module(f"benchmarks.utility.{part}").run()
