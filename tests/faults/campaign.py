"""Strike a scenario at each of its points, on a fresh ledger each time, and count."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import postgres
from tests.faults.scenarios import Scenario, child, violations
from tests.faults.tracer import Outcome, Strike, run

KILLS: tuple[Strike, ...] = ("kill before", "kill after")


@dataclass
class Row:
    """Counts for one scenario on one database.

    Attributes:
        points: system calls on files and sockets that the scenario makes, each of which was struck.
        strikes: how often each fault really struck.
        found: every violation, with the point and the fault.
    """

    database: str
    operation: str
    points: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(self.strikes[strike] for strike in KILLS)


@dataclass(frozen=True)
class Place:
    """A database, with a fresh ledger at each call; ``drop`` breaks every connection to it."""

    name: str
    fresh: Callable[[], str]
    drop: Callable[[], object] | None = None

    def strikes(self) -> tuple[Strike, ...]:
        return (*KILLS, "torn", "full disk", *(("meanwhile",) if self.drop is not None else ()))


@contextmanager
def _home() -> Iterator[Path]:
    """A private folder that is gone afterwards: every ledger leaves a head in it, which each later opening reads."""
    home, before = tempfile.mkdtemp(prefix="fedsec-faults-"), os.environ.get("FEDSEC_HOME")
    os.environ["FEDSEC_HOME"] = home
    try:
        yield Path(home)
    finally:
        shutil.rmtree(home)
        if before is None:
            del os.environ["FEDSEC_HOME"]
        else:
            os.environ["FEDSEC_HOME"] = before


def _forget_heads(home: Path) -> None:
    for head in (home / "heads").glob("*-*.json"):
        head.unlink()


@contextmanager
def sqlite() -> Iterator[Place]:
    """Ledgers in files, each in a folder of its own."""
    memory = Path("/dev/shm")  # a killed process loses nothing that the kernel has, be it on a disk or not
    root = Path(tempfile.mkdtemp(prefix="fedsec-faults-", dir=memory if os.access(memory, os.W_OK) else None))
    numbers = itertools.count()

    def fresh() -> str:
        _forget_heads(home)
        folder = root / str(next(numbers))
        if (old := root / str(int(folder.name) - 1)).exists():
            shutil.rmtree(old)
        folder.mkdir()
        return str(folder / "ledger.sqlite")

    try:
        with _home() as home:
            yield Place("SQLite", fresh)
    finally:
        shutil.rmtree(root)


@contextmanager
def postgresql(server: postgres.Server) -> Iterator[Place]:
    """Ledgers in schemas of one server; their keys lie in the private folder."""
    numbers = itertools.count()

    def fresh() -> str:
        number = next(numbers)
        if number:
            server.ask(f"DROP SCHEMA point_{number - 1} CASCADE")
        return server.fresh(f"point_{number}")

    def drop() -> None:
        server.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    with _home():
        yield Place("PostgreSQL", fresh, drop)


def strike(scenario: Scenario, place: Place, *, at: int, how: Strike) -> tuple[Outcome, list[str], str]:
    """One process on a fresh ledger, struck once: what became of it, what it said, and where the ledger is."""
    url = place.fresh()
    reading, writing = os.pipe()
    try:
        outcome = run(
            child(scenario, url, writing),
            at=at,
            strike=how,
            ignored=frozenset({writing}),
            meanwhile=place.drop or (lambda: None),
        )
        os.close(writing)
        with os.fdopen(reading, "r") as pipe:
            said = pipe.read().splitlines()
    except BaseException:
        os.close(reading)
        raise
    return outcome, said, url


def points_of(scenario: Scenario, place: Place) -> int:
    """How many points it has, unharmed; it must get through and leave a good ledger."""
    violations(place.fresh(), [])  # imports what it takes, so that the child forks after that
    outcome, said, url = strike(scenario, place, at=0, how="none")
    assert outcome.status == 0, (scenario.name, outcome, said)
    assert violations(url, said) == []
    return outcome.operations


def campaign(scenario: Scenario, place: Place, *, chosen: Sequence[int] | None = None) -> Row:
    """Strike at every point, or at those ``chosen``, with every fault that applies there."""
    points = range(points_of(scenario, place)) if chosen is None else chosen
    row = Row(place.name, scenario.name, points=len(points))
    for at in points:
        for how in place.strikes():
            outcome, said, url = strike(scenario, place, at=at, how=how)
            if outcome.struck is None:
                continue
            row.strikes[how] += 1
            where = f"{how} at {at} ({outcome.struck})"
            try:
                found = violations(url, said)
            except Exception as error:
                found = [f"the next run does not work: {type(error).__name__}: {error}"]
            if how in (*KILLS, "torn") and not outcome.killed:
                found.append("was not killed")
            row.found += [f"{where}: {what}" for what in found]
    return row
