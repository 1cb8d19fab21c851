"""``python -m benchmarks [secagg|sparse|dp|run …]``: measure and print tables; timings decide no test."""

from __future__ import annotations

import sys
from importlib import import_module

SCENARIOS = ("secagg", "sparse", "dp", "run")


def main() -> None:
    """Run the scenarios named on the command line, or all."""
    names = sys.argv[1:] or list(SCENARIOS)
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    for name in names:
        import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
