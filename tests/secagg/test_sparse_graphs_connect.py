"""A sparse graph joins each client to k others, takes k absent ones to fall apart, and its order is uniform."""

from __future__ import annotations

import hmac
from collections import Counter
from itertools import combinations
from math import factorial
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg import graph as production
from secagg.graph import Complete, Graph, Harary, neighbourhood, permutation
from tests.secagg.test_sparse_parameters import is_one_part

SEEDS = [bytes([number]) * 32 for number in range(3)]
# Chi-square with 119 degrees of freedom exceeds this with probability 10^-6 (scipy.stats.chi2.isf); the seeds are
# fixed, so the test gives the same every time.
LIMIT = 208.0


def seed(number: int) -> bytes:
    return number.to_bytes(32, "big")


def assert_regular(graph: Graph, clients: int, degree: int) -> None:
    assert_regular_lists([neighbourhood(graph, clients, index) for index in range(clients)], degree)


def assert_regular_lists(near: list[tuple[int, ...]], degree: int) -> None:
    clients = len(near)
    for index, members in enumerate(near):
        assert len(set(members)) == len(members) == degree + 1
        assert list(members) == sorted(members)
        assert index in members
        assert all(0 <= other < clients and index in near[other] for other in members)


@pytest.mark.parametrize(("clients", "degree"), [(5, 2), (5, 4), (6, 4), (20, 4), (33, 32), (200, 12), (1_000, 30)])
@pytest.mark.parametrize("order", SEEDS)
def test_everybody_has_k_neighbours_and_is_theirs(clients: int, degree: int, order: bytes) -> None:
    assert_regular(Harary(degree=degree, seed=order), clients, degree)


@pytest.mark.parametrize("first", [0, -1, -3])
def test_control_a_ring_that_reaches_further_on_one_side_is_found(first: int) -> None:
    def ring(first: int) -> list[tuple[int, ...]]:
        return [tuple(sorted((place + step) % 20 for step in range(first, first + 5))) for place in range(20)]

    assert_regular_lists(ring(-2), 4)
    with pytest.raises(AssertionError):
        assert_regular_lists(ring(first), 4)


def test_the_complete_graph_is_everybody() -> None:
    assert_regular(Complete(), 20, 19)
    assert neighbourhood(Complete(), 5, 3) == (0, 1, 2, 3, 4)


def survives(graph: Graph, clients: int, absent: int) -> bool:
    """Whether the others stay in one part, whichever ``absent`` clients are gone."""
    near = [set(neighbourhood(graph, clients, index)) for index in range(clients)]
    return all(is_one_part(near, set(range(clients)) - set(away)) for away in combinations(range(clients), absent))


@pytest.mark.parametrize(("clients", "degree"), [(6, 2), (6, 4), (7, 4), (9, 4), (9, 6), (10, 8), (11, 2), (12, 6)])
def test_it_takes_k_absent_to_fall_apart(clients: int, degree: int) -> None:
    graph = Harary(degree=degree, seed=SEEDS[1])
    assert survives(graph, clients, degree - 1)
    assert not survives(graph, clients, degree)  # control
    if degree > 2:
        assert not survives(Harary(degree=degree - 2, seed=SEEDS[1]), clients, degree - 1)  # control


def statistic(orders: int = 12_000, clients: int = 5) -> float:
    counts = Counter(permutation(seed(number), clients) for number in range(orders))
    expected = orders / factorial(clients)
    assert sum(counts.values()) == orders
    missing = factorial(clients) - len(counts)
    return sum((count - expected) ** 2 / expected for count in counts.values()) + missing * expected


def test_all_orders_of_five_are_as_frequent() -> None:
    assert statistic() < LIMIT


@pytest.mark.parametrize(
    "shuffle",
    [
        lambda honest: lambda stream, bound: honest(stream, bound - 1),  # never stays where it is: Sattolo's cycles
        lambda honest: lambda stream, bound: honest(stream, 5),  # a swap with anybody
        lambda honest: lambda stream, bound: honest(stream, 16) % bound,  # words that favour the small numbers
    ],
)
def test_control_shuffles_that_are_not_uniform_are_found(shuffle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "_below", shuffle(production._below))
    permutation.cache_clear()
    try:
        assert statistic() > LIMIT
    finally:
        permutation.cache_clear()


class Words:
    """A stream of given 64-bit words, which counts those that were read."""

    def __init__(self, *words: int) -> None:
        self._words = list(words)

    def read_into(self, buffer: memoryview) -> None:
        buffer[:] = self._words.pop(0).to_bytes(8, "little")

    @property
    def left(self) -> int:
        return len(self._words)


@pytest.mark.parametrize("bound", [2, 3, 5, 6, 7, 10, 255, 256, 1_000, 9_999, 10_000])
def test_words_beyond_the_last_whole_multiple_are_drawn_again(bound: int) -> None:
    whole = 2**64 // bound * bound
    rejected = sorted({word for word in (whole, whole + 1, 2**64 - 1) if whole <= word < 2**64})
    stream = Words(*rejected, whole - 1, 17)
    assert production._below(stream, bound) == bound - 1
    assert stream.left == 1
    assert bool(rejected) == (2**64 % bound != 0)  # control: without them nothing was drawn again
    assert production._below(Words(0), bound) == 0
    assert production._below(Words(bound), bound) == 0


def test_the_order_depends_on_seed_and_number_alone() -> None:
    first = permutation(seed(1), 50)
    permutation.cache_clear()
    assert permutation(seed(1), 50) == first
    assert sorted(first) == list(range(50))
    assert permutation(seed(2), 50) != first
    other = permutation(seed(1), 51)
    assert other[:50] != first
    assert tuple(index for index in other if index != 50) != first  # not one order with somebody added


def written_out(order_seed: bytes, clients: int, label: bytes = b"fedsec/v1/key/permutation") -> tuple[int, ...]:
    """The order from its definition, of nothing but HMAC and AES."""

    def field(part: bytes) -> bytes:
        return len(part).to_bytes(8, "big") + part

    extracted = hmac.digest(bytes(32), order_seed, "sha256")
    key = hmac.digest(extracted, field(label) + field(clients.to_bytes(8, "big")) + b"\x01", "sha256")
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    order = list(range(clients))
    for last in reversed(range(1, clients)):
        word = 2**64
        while word >= 2**64 - 2**64 % (last + 1):
            word = int.from_bytes(stream.update(bytes(8)), "little")
        other = word % (last + 1)
        order[last], order[other] = order[other], order[last]
    return tuple(order)


@pytest.mark.parametrize("clients", [1, 2, 5, 20, 1_000])
def test_the_order_is_the_one_written_out(clients: int) -> None:
    for number in range(5):
        assert permutation(seed(number), clients) == written_out(seed(number), clients)
    if clients >= 20:
        assert permutation(seed(1), clients) != written_out(seed(1), clients, label=b"fedsec/v1/key/self")  # control


def test_degrees_share_one_order() -> None:
    """The k nearest: more neighbours are the same and some more."""
    for index in range(30):
        near = set(neighbourhood(Harary(degree=4, seed=SEEDS[2]), 30, index))
        assert near < set(neighbourhood(Harary(degree=6, seed=SEEDS[2]), 30, index))
    # Control: of another order they are not.
    other = Harary(degree=6, seed=SEEDS[1])
    assert any(
        not set(neighbourhood(Harary(degree=4, seed=SEEDS[2]), 30, index)) < set(neighbourhood(other, 30, index))
        for index in range(30)
    )
