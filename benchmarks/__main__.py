"""``python -m benchmarks [secagg|sparse|dp|run|utility …]``: measure and print tables; timings decide no test.

``secagg.rates`` names a part of ``secagg``, ``dp.sampler`` one of ``dp``.
"""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks import dp, secagg, utility

SCENARIOS = ("secagg", "sparse", "dp", "run", "utility")


def main() -> None:
    """Run the scenarios named on the command line, or all."""
    names = sys.argv[1:] or list(SCENARIOS)
    if {"-h", "--help"} & set(names):
        print(__doc__)
        return
    known = [
        *SCENARIOS,
        *(f"secagg.{part}" for part in secagg.PARTS),
        *(f"dp.{part}" for part in dp.PARTS),
        *(f"utility.{part}" for part in utility.PARTS),
    ]
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        sys.exit(2)
    for name in names:
        import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
