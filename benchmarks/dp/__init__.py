"""What differential privacy costs, in parts that can be run alone: ``python -m benchmarks dp.sampler``."""

from __future__ import annotations

from importlib import import_module

PARTS = ("sampler", "accounting", "training", "evaluation", "audit")


def run() -> None:
    """Print the tables of all parts."""
    for part in PARTS:
        import_module(f"benchmarks.dp.{part}").run()
