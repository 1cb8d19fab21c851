"""What secure aggregation costs, in parts that can be run alone: ``python -m benchmarks secagg.rates``.

The measure is the cipher: what a core can do of raw AES-256-CTR, timed next to the work that consumes as many bytes.
"""

from __future__ import annotations

from importlib import import_module

PARTS = ("rates", "steps", "rounds")


def run() -> None:
    """Print the tables of all parts."""
    for part in PARTS:
        import_module(f"benchmarks.secagg.{part}").run()
