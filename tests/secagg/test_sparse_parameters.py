"""Degree and threshold of a sparse graph are the published ones, and no bound behind them is less than the truth.

The truth is counted: every set of absent clients on a ring, every choice of neighbours. The controls are the
production bounds with one number off by one: the same counting must find each of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations
from math import comb
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fedsec.errors import ConfigError
from secagg import Identity, Roster, SessionConfig, sparse
from secagg import graph as graph_module
from secagg.config import SEMI_HONEST
from secagg.graph import Harary, neighbourhood
from tests.secagg.helpers import make_session

# Bell et al. (CCS 2020), semi-honest and semi-malicious, gamma = delta.
PUBLISHED = {
    (5, False): ((12, 6), (30, 17), (34, 20), (36, 21)),
    (5, True): ((16, 11), (52, 37), (62, 44), (68, 48)),
    (10, False): ((22, 11), (48, 27), (54, 31), (58, 33)),
    (10, True): ((32, 22), (96, 67), (122, 85), (134, 93)),
}
SIZES = (100, 1_000, 10_000, 100_000)
SEED = b"\x07" * 32


def published(bounds: Any) -> None:
    for (percent, semi_malicious), cells in PUBLISHED.items():
        for clients, cell in zip(SIZES, cells, strict=True):
            share = clients * percent // 100
            found = bounds.parameters(clients, corrupt=share, dropped=share, semi_malicious=semi_malicious)
            assert found == cell, (clients, percent, semi_malicious)


@cache
def separating(clients: int, degree: int, absent: int) -> int:
    """How many sets of ``absent`` places on the ring leave the others in more than one part."""
    reach = degree // 2
    steps = [step for step in range(-reach, reach + 1) if step]
    near = [{(place + step) % clients for step in steps} for place in range(clients)]
    return sum(not is_one_part(near, set(range(clients)) - set(away)) for away in combinations(range(clients), absent))


def is_one_part(near: list[set[int]], present: set[int]) -> bool:
    if not present:
        return True
    seen, queue = set(), [min(present)]
    while queue:
        place = queue.pop()
        if place not in seen:
            seen.add(place)
            queue.extend(near[place] & present)
    return seen == present


def connected(bounds: Any) -> None:
    """Where the bound says connected, it is; where only k are absent the bound is no larger than the truth either."""
    for clients in range(5, 12):
        for degree in range(2, clients, 2):
            for absent in range(clients):
                truth = Fraction(separating(clients, degree, absent), comb(clients, absent))
                for bits in range(12):
                    bounds.SECURITY_BITS = bits
                    allowed = Fraction(1, 2 ** (bits + 1))
                    said = bounds.is_connected(clients, degree=degree, absent=absent)
                    assert not said or truth < allowed, (clients, degree, absent, bits)
                    assert said or absent != degree or truth >= allowed, (clients, degree, absent, bits)
                    assert said or absent >= degree


def exceeding(clients: int, degree: int, marked: int, most: int) -> Fraction:
    """The share of all choices of neighbours with more than ``most`` of the first ``marked`` clients, one by one."""
    return Fraction(sum(hits > most for hits in _hits(clients, degree, marked)), comb(clients, degree))


@cache
def _hits(clients: int, degree: int, marked: int) -> tuple[int, ...]:
    return tuple(sum(who < marked for who in chosen) for chosen in combinations(range(clients), degree))


def exposed(bounds: Any) -> None:
    """t1 is the least number that is exceeded with less than the allowed probability."""
    for clients in range(5, 11):
        for degree in range(2, clients, 2):
            for corrupt in range(clients + 1):
                for bits in range(12):
                    bounds.SECURITY_BITS = bits
                    allowed = Fraction(1, clients * 2 ** (bits + 1))
                    least = next(
                        most for most in range(degree + 1) if exceeding(clients, degree, corrupt, most) < allowed
                    )
                    found = bounds.corrupt_neighbours(clients, degree=degree, corrupt=corrupt)
                    assert found == least, (clients, degree, corrupt, bits)


def opens(bounds: Any) -> None:
    """t neighbours survive but with at most the allowed probability."""
    for clients in range(5, 11):
        for degree in range(2, clients, 2):
            for dropped in range(clients + 1):
                for threshold in range(1, degree + 2):
                    fewer = 1 - exceeding(clients, degree, clients - dropped, threshold - 1)
                    for bits in range(8):
                        bounds.CORRECTNESS_BITS = bits
                        allowed = Fraction(1, clients * 2**bits)
                        found = bounds._opens(clients, degree=degree, threshold=threshold, dropped=dropped)
                        assert found == (fewer <= allowed), (clients, degree, dropped, threshold, bits)


def least(bounds: Any) -> None:
    """No smaller degree serves: the search is written out again here, over all degrees and thresholds."""
    for clients, corrupt, dropped in (
        (20, 1, 0),
        (20, 1, 1),
        (20, 2, 3),
        (60, 3, 3),
        (100, 5, 5),
        (40, 0, 4),
        (40, 4, 0),
        (60, 1, 5),
    ):
        serving = [
            (degree, threshold)
            for degree in range(2, clients, 2)
            for threshold in range(1, degree + 1)
            if sparse.is_connected(clients, degree=degree, absent=corrupt + dropped)
            and threshold > sparse.corrupt_neighbours(clients, degree=degree, corrupt=corrupt)
            and sparse._opens(clients, degree=degree, threshold=threshold, dropped=dropped)
        ]
        assert bounds.parameters(clients, corrupt=corrupt, dropped=dropped) == min(serving)


CHECKS: dict[str, Callable[[Any], None]] = {
    check.__name__: check for check in (published, connected, exposed, opens, least)
}
# What is off by one, and who must find it.
MUTANTS = {
    "connected-at-k-absent": ("connected", "if degree > absent:", "if degree >= absent:"),
    "one-pair-of-gaps-less": ("connected", "(clients - degree - 1)", "(clients - degree - 2)"),
    "half-the-security": ("connected", "< Fraction(1, 1 << (SECURITY_BITS + 1))", "< Fraction(1, 1 << SECURITY_BITS)"),
    "connected-at-equality": ("connected", "return split < ", "return split <= "),
    "one-absent-less": ("connected", "perm(absent, degree)", "perm(absent - 1, degree)"),
    "not-for-every-pair": ("connected", "Fraction(clients * ", "Fraction("),
    "t1-one-less": ("exposed", "return most\n", "return most - 1\n"),
    "t1-one-more": ("exposed", "return most\n", "return most + 1\n"),
    "t1-for-one-client": ("exposed", "clients << (SECURITY_BITS + 1)", "1 << (SECURITY_BITS + 1)"),
    "t1-at-half-the-security": ("exposed", "clients << (SECURITY_BITS + 1)", "clients << SECURITY_BITS"),
    "t1-at-equality": ("exposed", "if tail >= bound:", "if tail > bound:"),
    "opens-with-one-less": ("opens", "for hit in range(threshold))", "for hit in range(threshold - 1))"),
    "opens-with-one-more": ("opens", "for hit in range(threshold))", "for hit in range(threshold + 1))"),
    "opens-if-one-less-drops": ("opens", "= clients - dropped", "= min(clients, clients - dropped + 1)"),
    "opens-for-one-client": ("opens", "clients << CORRECTNESS_BITS", "1 << CORRECTNESS_BITS"),
    "opens-below-equality": ("opens", ") <= Fraction(1, clients", ") < Fraction(1, clients"),
    "threshold-one-less": ("published", "else exposed + 1", "else exposed"),
    "threshold-one-more": ("published", "else exposed + 1", "else exposed + 2"),
    "semi-malicious-one-less": ("published", "// 2 + 1 if", "// 2 if"),
    "degree-two-too-many": ("least", "range(2, clients, 2)", "range(4, clients, 2)"),
    "unopened": ("least", "if _opens(", "if not _opens("),
}  # fmt: skip


def variant(old: str = "", new: str = "") -> ModuleType:
    """The production bounds, ``old`` replaced."""
    source = inspect.getsource(sparse)
    assert not old or source.count(old) == 1, old
    module = ModuleType("variant")
    exec(compile(source.replace(old, new) if old else source, "variant", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", CHECKS)
def test_the_bounds_hold(name: str) -> None:
    CHECKS[name](variant())


@pytest.mark.parametrize("name", MUTANTS)
def test_control_an_off_by_one_is_found(name: str) -> None:
    check, old, new = MUTANTS[name]
    with pytest.raises((AssertionError, ConfigError)):
        CHECKS[check](variant(old, new))


@pytest.mark.parametrize(("degree", "absent"), [(2, 2), (2, 3), (4, 4), (4, 5)])
def test_over_every_order_the_same_two_places_are_as_rare(
    degree: int, absent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is what is random and who is absent is not: the count over all orders of the production graph."""
    clients, away = 7, set(range(absent))
    orders = list(permutations(range(clients)))
    split = 0
    for order in orders:
        monkeypatch.setattr(graph_module, "permutation", lambda *_, order=order: order)
        graph = Harary(degree=degree, seed=SEED)
        near = [set(neighbourhood(graph, clients, index)) for index in range(clients)]
        split += not is_one_part(near, set(range(clients)) - away)
    truth = Fraction(split, len(orders))
    assert truth == Fraction(separating(clients, degree, absent), comb(clients, absent)) > 0
    # Control: the same with one absent less than separates anybody.
    assert separating(clients, degree, degree - 1) == 0


def test_the_edges() -> None:
    assert sparse.parameters(20, corrupt=0, dropped=0) == (2, 1)
    assert sparse.corrupt_neighbours(1_000, degree=30, corrupt=0) == 0
    assert sparse.corrupt_neighbours(1_000, degree=30, corrupt=1) == 1
    assert sparse.is_connected(1_000, degree=30, absent=29)  # whoever they are, two gaps of 15 need 30
    assert not sparse.is_connected(31, degree=28, absent=28)
    assert sparse.is_connected(31, degree=30, absent=30)  # everybody is everybody's neighbour
    assert sparse.corrupt_neighbours(20, degree=4, corrupt=20) == 4


@pytest.mark.parametrize(
    ("clients", "corrupt", "dropped"),
    [
        (20, 10, 10),
        (10, 8, 8),
        (11, 12, 0),
        (11, 0, 12),
        (11, -1, 0),
        (11, 0, -1),
        (11, -5, 6),
        (2, 0, 0),
        (1, 0, 0),
        (0, 0, 0),
    ],
)
def test_where_no_graph_serves_that_is_said(clients: int, corrupt: int, dropped: int) -> None:
    with pytest.raises(ConfigError):
        sparse.parameters(clients, corrupt=corrupt, dropped=dropped)


def roster_of(n: int) -> Roster:
    members = tuple((i, Identity.from_private_bytes(i.to_bytes(32, "big")).public_key) for i in range(n))
    return Roster(server=Identity.from_private_bytes(b"\xff" * 32).public_key, members=members)


N = 60
ROSTER = roster_of(N)


def session(n: int = N, roster: Any = ROSTER, **changes: Any) -> SessionConfig:
    """On the least graph for 3 corrupt and 3 dropped, but for ``changes``; ``degree`` is the graph's."""
    degree, least_threshold = sparse.parameters(N, corrupt=3, dropped=3)
    fields = {
        "graph": Harary(degree=changes.pop("degree", degree), seed=SEED),
        "adversary": SEMI_HONEST,
        "corrupt": 3,
        "threshold": least_threshold,
        "min_survivors": n - 3,
    }
    return make_session(roster, **(fields | changes))


PRIVACY = session().privacy
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too few neighbours": ({"degree": 6}, "do not keep the honest survivors connected"),
    "more dropped than they bear": ({"min_survivors": N - 25}, "do not keep the honest survivors connected"),
    "more corrupt than they bear": ({"corrupt": 25, "threshold": 8}, "do not keep the honest survivors connected"),
    "threshold t1": ({"threshold": 3}, "not secure: a client may have 3 corrupt neighbours"),
    "threshold one": ({"threshold": 1}, "not secure"),
    "threshold above the degree": ({"threshold": 9}, "a threshold among them"),
    "survivors below the threshold": ({"min_survivors": 3}, "minimum of survivors"),
    "more survivors than clients": ({"min_survivors": N + 1}, "minimum of survivors"),
    "noise for more than the honest": (
        {"privacy": msgspec.structs.replace(PRIVACY, honest_inputs=N - 5)},
        "more honest inputs than the 54",
    ),
    "an active server": ({"adversary": "active"}, "semi-honest server only"),
    "an active server and local noise": (
        {"adversary": "active", "privacy": msgspec.structs.replace(PRIVACY, mode="local")},
        "semi-honest server only",
    ),
    "as many neighbours as clients": ({"degree": N}, "fewer neighbours than clients"),
    "negative corrupt": ({"corrupt": -1}, "corrupt"),
    "more corrupt than clients": ({"corrupt": N + 1}, "corrupt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_session_outside_a_bound_is_refused(name: str) -> None:
    changes, reason = REFUSED[name]
    session()  # control
    with pytest.raises(ConfigError, match=reason):
        session(**changes)


def test_more_corrupt_than_clients_are_refused_where_all_are_neighbours() -> None:
    """There no gap separates anybody, so the first of the two bounds says nothing."""
    roster = roster_of(11)
    fields = {"n": 11, "roster": roster, "degree": 10, "min_survivors": 11}
    session(**fields, corrupt=3, threshold=4)  # control
    with pytest.raises(ConfigError, match="corrupt"):
        session(**fields, corrupt=12, threshold=10)


def test_a_sum_has_two_honest_inputs() -> None:
    roster = roster_of(5)
    fields = {"n": 5, "roster": roster, "degree": 4, "min_survivors": 4}
    assert session(**fields, corrupt=2, threshold=3).honest_inputs == 2  # control
    with pytest.raises(ConfigError, match="at least 2 honest inputs"):
        session(**fields, corrupt=3, threshold=4)


def test_control_the_edges_of_a_session_are_allowed() -> None:
    assert sparse.parameters(N, corrupt=3, dropped=3) == (8, 4)
    assert session().honest_inputs == N - 6
    session(privacy=msgspec.structs.replace(PRIVACY, honest_inputs=N - 6))
    session(threshold=8)
    session(degree=10)
    session(min_survivors=N)
    session(corrupt=0, threshold=1)
    session(corrupt=3, degree=N - 2)


@pytest.mark.parametrize("degree", [-2, 0, 1, 7, 511, 513, 514])
def test_degrees_that_no_ring_has_are_refused(degree: int) -> None:
    Harary(degree=512, seed=SEED)  # controls
    Harary(degree=2, seed=SEED)
    with pytest.raises(ConfigError):
        Harary(degree=degree, seed=SEED)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_seeds_of_another_length_are_refused(seed: bytes) -> None:
    with pytest.raises(ConfigError):
        Harary(degree=4, seed=seed)


def test_above_two_hundred_clients_only_a_sparse_graph_is_allowed() -> None:
    roster = roster_of(201)
    with pytest.raises(ConfigError, match="use a sparse one"):
        make_session(roster)
    with pytest.raises(ConfigError, match="use a sparse one"):
        make_session(roster, adversary=SEMI_HONEST)
    degree, least_threshold = sparse.parameters(201, corrupt=3, dropped=3)
    session(n=201, roster=roster, degree=degree, threshold=least_threshold)  # controls
    make_session(roster_of(200))
