"""``python -m tests.faults``: every point of every scenario, on both databases, and one table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests import postgres
from tests.faults import tracer
from tests.faults.campaign import Place, Row, campaign, postgresql, sqlite
from tests.faults.scenarios import CONTROL, SCENARIOS

_HEAD = "database     operation               points  kills   torn  full disk  dropped  violations"


def _line(row: Row) -> str:
    strikes = row.strikes
    return (
        f"{row.database:11}  {row.operation:22}  {row.points:6}  {row.kills:5}  {strikes['torn']:5}"
        f"  {strikes['full disk']:9}  {strikes['meanwhile']:7}  {len(row.found):10}"
    )


@contextmanager
def _place(name: str) -> Iterator[Place]:
    if name == "sqlite":
        with sqlite() as place:
            yield place
    else:
        with postgres.server() as server, postgresql(server) as place:
            yield place


def main() -> int:
    """Strike everywhere; 0 if nothing was violated and the control was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("operations", nargs="*", default=[line.name for line in SCENARIOS])
    options = parser.parse_args()
    if why := tracer.missing():
        print(f"nothing was tried: {why}", file=sys.stderr)
        return 2
    failed = False
    print(_HEAD)
    for name in options.databases:
        if name == "postgresql" and (why := postgres.missing()):
            print(f"PostgreSQL was not tried: {why}")
            failed = True
            continue
        began = time.monotonic()
        with _place(name) as place:
            rows = []
            for scenario in SCENARIOS:
                if scenario.name in options.operations:
                    rows.append(campaign(scenario, place))
                    print(_line(rows[-1]), flush=True)
            total = Row(place.name, "in all", points=sum(row.points for row in rows))
            for row in rows:
                total.strikes += row.strikes
                total.found += row.found
            control = campaign(CONTROL, place)
            print(f"{_line(total)}\n{_line(control)}   <- the control: must be more than 0")
            for line in total.found:
                print(f"  VIOLATION {line}")
            print(f"{place.name}: {time.monotonic() - began:.0f} s", flush=True)
            failed = failed or bool(total.found) or not control.found
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
