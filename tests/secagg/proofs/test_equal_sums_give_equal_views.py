"""T1, perfect secrecy: inputs with one survivors' sum give the coalition one multiset of views; other sums, others.

Exhaustive at R = 2 and R = 4 for three and four dealers. The streams take all values at once: assignment number i is
position i of the vectors, so one call of the production mask masks under every assignment. A view is all that the
coalition of server and corrupt clients holds: y_u of every honest dealer, the late one of a declared dropout included,
and every stream that it learns. Corrupt clients' inputs are their own choice and stay fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from secagg.packing import unpack, word_type
from tests.secagg.proofs.model import Round, Stream, Words, every_round

Inputs = tuple[int, ...]


def _assignments(streams: Sequence[Stream], ring_bits: int, letters: int) -> dict[Stream, Words]:
    """Every assignment of ``letters`` values to ``streams``: stream s has value ``result[s][i]`` in assignment i."""
    number = np.arange(letters ** len(streams), dtype=np.int64)
    dtype = word_type(ring_bits)
    return {stream: (number // letters**place % letters).astype(dtype) for place, stream in enumerate(streams)}


def _views(round_: Round, ring_bits: int, letters: int) -> Iterator[tuple[Inputs, int, NDArray[np.int64]]]:
    """For all inputs of honest dealers: the inputs, their survivors' sum mod R, and how often each view occurs."""
    ring = 1 << ring_bits
    streams = _assignments(round_.streams, ring_bits, letters)
    size = letters ** len(round_.streams)
    learnt = np.zeros(size, dtype=np.int64)
    for stream in round_.known:
        learnt = learnt * ring + streams[stream]
    masked = {
        (u, x): round_.masked(u, np.full(size, x, dtype=np.int64), streams, ring_bits=ring_bits)
        for u in round_.members
        for x in range(ring if u in round_.honest else 1)
    }
    words = {place: unpack(memoryview(y), size, ring_bits).astype(np.int64) for place, y in masked.items()}
    for inputs in product(range(ring), repeat=len(round_.honest)):
        chosen = dict(zip(round_.honest, inputs, strict=True))
        total = sum(chosen[u] for u in round_.honest_survivors) % ring
        code = learnt
        for u, x in chosen.items():
            code = code * ring + words[u, x]
        yield inputs, total, np.bincount(code, minlength=ring ** (len(round_.known) + len(chosen)))


@dataclass
class _Verdict:
    """Pairs of inputs: ``leaks`` have one sum and two multisets of views, ``hidden`` two sums and one multiset."""

    leaks: list[tuple[Inputs, Inputs]]
    hidden: list[tuple[Inputs, Inputs]]


def _compare(round_: Round, ring_bits: int, *, letters: int | None = None) -> _Verdict:
    first: dict[int, tuple[Inputs, NDArray[np.int64]]] = {}
    verdict = _Verdict(leaks=[], hidden=[])
    for inputs, total, views in _views(round_, ring_bits, letters or 1 << ring_bits):
        if total not in first:
            verdict.hidden += [(inputs, other) for other, seen in first.values() if np.array_equal(seen, views)]
            first[total] = inputs, views
        elif not np.array_equal(first[total][1], views):
            verdict.leaks.append((first[total][0], inputs))
    return verdict


def _round(n: int, *, dropped: Sequence[int] = (), corrupt: Sequence[int] = ()) -> Round:
    return Round(
        members=tuple(range(n)), survivors=frozenset(range(n)) - frozenset(dropped), corrupt=frozenset(corrupt)
    )


@pytest.mark.parametrize(("n", "ring_bits"), [(3, 1), (3, 2), (4, 1)])
def test_for_every_dropout_and_every_corrupt_set(n: int, ring_bits: int) -> None:
    """All 4^n choices of U3 and of corrupt clients."""
    rounds = every_round(tuple(range(n)))
    assert len(rounds) == 4**n
    for round_ in rounds:
        assert _compare(round_, ring_bits) == _Verdict([], []), round_


@pytest.mark.parametrize(
    "round_",
    [
        _round(4),
        _round(4, dropped=[1]),
        _round(4, corrupt=[3]),
        _round(4, dropped=[2], corrupt=[0]),
        _round(4, dropped=[1], corrupt=[1]),
    ],
    ids=["all", "dropout", "corrupt", "dropout-and-corrupt", "corrupt-dropout"],
)
def test_four_dealers_in_a_ring_of_four(round_: Round) -> None:
    """4^10 assignments of the streams for each of up to 4^4 inputs."""
    assert _compare(round_, 2) == _Verdict([], [])


@pytest.mark.parametrize("ring_bits", [1, 2])
def test_control_without_self_masks_a_late_input_is_open(ring_bits: int) -> None:
    """The server declares 1 a dropout, rebuilds its pair streams, and y_1 comes after all."""
    broken = replace(_round(3, dropped=[1]), bare=frozenset(range(3)))
    leaks = _compare(broken, ring_bits).leaks
    assert ((0, 0, 0), (0, 1, 0)) in leaks


@pytest.mark.parametrize("n", [3, 4])
def test_control_both_share_kinds_of_one_victim_open_its_input(n: int) -> None:
    broken = replace(_round(n), both_kinds=frozenset({1}))
    assert ((0,) * n, (1, 1) + (0,) * (n - 2)) in _compare(broken, 1).leaks
    assert _compare(replace(_round(3, dropped=[0]), both_kinds=frozenset({0})), 2).leaks


def test_control_a_sampler_that_never_yields_the_largest_word() -> None:
    """Streams with the values 0, 1 and 2 of four: the masks are not uniform, and the views tell inputs apart."""
    assert _compare(_round(3), 2, letters=3).leaks
    assert _compare(_round(3, dropped=[1]), 2, letters=3).leaks


@pytest.mark.parametrize("ring_bits", [1])
def test_control_a_disconnected_graph_gives_two_sums(ring_bits: int) -> None:
    """Pairs {0, 1} and {2, 3} only: inputs with one sum but another sum of the first two are told apart."""
    apart = replace(_round(4), cut=frozenset({(0, 2), (0, 3), (1, 2), (1, 3)}))
    leaks = _compare(apart, ring_bits).leaks
    assert ((0, 0, 0, 0), (0, 1, 0, 1)) in leaks
    assert ((0, 0, 0, 0), (1, 1, 0, 0)) not in leaks
    path = replace(_round(4), cut=frozenset({(0, 2), (0, 3), (1, 3)}))
    assert _compare(path, ring_bits) == _Verdict([], [])  # connected, though sparse


def test_control_a_server_that_learns_no_stream_sees_no_sum() -> None:
    """The other direction can fail too: where nobody answers step 4, no two inputs are told apart."""
    unopened = _compare(_Unopened(members=(0, 1, 2), survivors=frozenset({0, 1, 2})), 1)
    assert unopened.hidden and not unopened.leaks


class _Unopened(Round):
    """Nobody answers step 4."""

    def is_known(self, stream: Stream) -> bool:
        return False


def test_the_view_opens_to_the_survivors_sum() -> None:
    """Under every assignment, and with the streams of the view alone. Control: not with one of them wrong."""
    for round_ in every_round((0, 1, 2, 3)):
        streams = _assignments(round_.streams, 1, 2)
        inputs = np.array([1, 0, 1, 1])
        size = 2 ** len(round_.streams)
        masked = {u: round_.masked(u, np.full(size, inputs[u]), streams, ring_bits=1) for u in round_.survivors}
        view = {stream: streams[stream] for stream in round_.known}
        total = sum(int(inputs[u]) for u in round_.survivors) % 2
        assert np.all(round_.opened(masked, view, size, ring_bits=1) == total)
        if round_.survivors:
            own = (min(round_.survivors),) * 2
            wrong = view | {own: np.roll(view[own], 1)}
            assert not np.all(round_.opened(masked, wrong, size, ring_bits=1) == total)
