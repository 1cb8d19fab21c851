"""T2, a linear certificate at the real R: of all the server can compute, the survivors' sum alone is free of masks.

The matrix of the masks is read off production clients: stream j has the word 1 at position j of the vectors and 0
elsewhere, so client u's masked zero is row u. A combination of masked inputs tells something exactly if it is in the
left kernel of the columns that the coalition does not know; the late masked inputs of U2 without U3 are rows as well.
Where the Smith form has units alone, the kernel is the same modulo every R.
"""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

import secagg.client
import secagg.unmasking
from secagg import masking
from tests.secagg.helpers import POLICY, Federation
from tests.secagg.proofs.linear import Integers, left_kernels
from tests.secagg.proofs.model import Injected, Round, Stream, Words, every_round
from tests.secagg.proofs.probing import deliver, mask_all, real_words


class _Units:
    """Streams that are unit vectors, one for each key, in the order in which keys appear."""

    def __init__(self, federation: Federation) -> None:
        self.columns: dict[bytes, int] = {}
        self._dimension = federation.session.dimension
        self._dtype = np.dtype("<u4") if federation.session.ring_bits <= 32 else np.dtype("<u8")

    def __call__(self, key: bytes) -> Words:
        words = np.zeros(self._dimension, dtype=self._dtype)
        words[self.columns.setdefault(key, len(self.columns))] = 1
        return words


def _federation(n: int, dealers: tuple[int, ...], *, ring_bits: int = 32, **changes: int) -> Federation:
    """At step 2, with U2 = ``dealers``."""
    changes = {"dimension": n * (n + 1) // 2, "ring_bits": ring_bits} | changes
    federation = Federation(n=n, changes=changes, policy=replace(POLICY, min_corrupt=0))
    return federation.run(until="mask", drop={"share": set(range(n)) - set(dealers)})


def _read_matrix(federation: Federation) -> dict[int, dict[Stream, int]]:
    """For each member of U2 the coefficient of each stream in its masked input, where it is not 0."""
    federation.inputs = np.zeros_like(federation.inputs)
    units = _Units(federation)
    masked = mask_all(federation, units)
    quantiser = federation.session.make_quantiser()
    rows = {u: quantiser.lift(words) for u, words in masked.words.items()}
    columns = {name: units.columns[key] for name, key in masked.keys.items()}
    assert all(np.count_nonzero(row) == np.count_nonzero(row[[*columns.values()]]) for row in rows.values())
    return {
        u: {name: int(row[column]) for name, column in columns.items() if row[column] != 0} for u, row in rows.items()
    }


def _incidence(rows: dict[int, dict[Stream, int]]) -> tuple[tuple[Stream, ...], Integers]:
    streams = tuple(sorted({stream for row in rows.values() for stream in row}))
    matrix = [[rows[u].get(stream, 0) for stream in streams] for u in sorted(rows)]
    return streams, np.array(matrix, dtype=np.int16)


def _expected(round_: Round) -> dict[int, dict[Stream, int]]:
    """Own streams and those with higher indices added, those with lower indices subtracted."""
    return {u: {**dict.fromkeys(round_.added(u), 1), **dict.fromkeys(round_.subtracted(u), -1)} for u in round_.members}


def _whole(members: tuple[int, ...]) -> Round:
    return Round(members=members, survivors=frozenset(members))


def _certify(rounds: list[Round], streams: tuple[Stream, ...], matrix: Integers) -> NDArray[np.bool_]:
    """For rounds over one U2: whether the survivors' sum (of honest ones) is all that the coalition can compute.

    Where no honest client survives, nothing at all is to be computed.
    """
    members = rounds[0].members
    unknown = np.array([[not round_.is_known(stream) for stream in streams] for round_ in rounds])
    honest = np.array([[u not in round_.corrupt for u in members] for round_ in rounds])
    surviving = np.array([[u in round_.honest_survivors for u in members] for round_ in rounds])
    zero, transformations = left_kernels(matrix[None] * unknown[:, None, :] * honest[:, :, None])
    free = zero & honest  # masked inputs of corrupt clients are the coalition's own
    alone = free.sum(axis=1) == surviving.any(axis=1)
    row = transformations[np.arange(len(rounds)), np.argmax(free, axis=1)]
    is_sum = np.all(row == row.max(axis=1, keepdims=True) * surviving, axis=1) & (np.abs(row).max(axis=1) == 1)
    return alone & (is_sum | ~surviving.any(axis=1))


@pytest.mark.parametrize(("n", "ring_bits"), [(5, 32), (8, 32), (6, 64), (7, 27)])
def test_the_matrix_is_the_same_in_every_session(n: int, ring_bits: int) -> None:
    """For every U2 that step 2 admits at n = 5 and 8 (3 to 8 members), and the whole cohort elsewhere.

    It is that of the model, which depends on the order of indices alone: the members 0 .. m - 1 stand for every U2 of
    m members.
    """
    threshold = n // 2 + 1
    sizes = range(threshold, n + 1) if ring_bits == 32 else [n]
    for dealers in (chosen for size in sizes for chosen in combinations(range(n), size)):
        federation = _federation(n, dealers, ring_bits=ring_bits, corrupt=0, threshold=threshold)
        assert _read_matrix(federation) == _expected(_whole(dealers)), dealers


@pytest.mark.parametrize("ring_bits", [32, 64, 27])
def test_a_masked_input_is_affine_in_the_streams(ring_bits: int) -> None:
    """y_u = x_u + row u times the streams, mod R, for real streams and inputs."""
    federation = _federation(6, (0, 1, 2, 4, 5), ring_bits=ring_bits)
    words = real_words(federation)
    masked = mask_all(federation, words)
    for u, row in _expected(_whole((0, 1, 2, 4, 5))).items():
        terms = [sign * words(masked.keys[name]).astype(object) for name, sign in row.items()]
        wanted = (federation.inputs[u].astype(object) + sum(terms)) % 2**ring_bits
        assert np.array_equal(masked.words[u].astype(object), wanted)
        doubled = (federation.inputs[u].astype(object) + sum(terms) + terms[0]) % 2**ring_bits
        assert not np.array_equal(masked.words[u].astype(object), doubled)  # control


@pytest.mark.parametrize("size", range(1, 9))
def test_every_dropout_and_every_corrupt_set_up_to_eight_dealers(size: int) -> None:
    """All 4^|U2| choices, 87,380 matrices in all. Members outside U2 have no row and no stream."""
    members = tuple(range(size))
    streams, matrix = _incidence(_expected(_whole(members)))
    rounds = every_round(members)
    assert len(rounds) == 4**size
    assert np.all(_certify(rounds, streams, matrix))


def test_samples_of_twenty_banks() -> None:
    """Matrices read from sessions of 20 with dropouts, 400 choices of U3 and of corrupt clients for each."""
    draw = random.Random(20)
    for lost in ((), (3,), (0, 7, 8, 15, 19)):
        dealers = tuple(u for u in range(20) if u not in lost)
        federation = _federation(20, dealers)
        threshold, corrupt = federation.session.threshold, federation.session.corrupt
        assert (threshold, corrupt) == (14, 6)
        streams, matrix = _incidence(_read_matrix(federation))
        assert len(streams) == len(dealers) * (len(dealers) + 1) // 2
        rounds = [
            Round(
                members=dealers,
                survivors=frozenset(draw.sample(dealers, draw.randint(threshold, len(dealers)))),
                corrupt=frozenset(draw.sample(dealers, draw.randint(0, corrupt))),
            )
            for _ in range(400)
        ]
        assert np.all(_certify(rounds, streams, matrix))


@pytest.mark.parametrize("dropped", [(), (2,), (0, 4)])
def test_the_server_removes_what_the_model_says_that_it_knows(
    dropped: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole round under unit streams: the sum is exact, and each stream that the server opens is one known to it."""
    federation = _federation(6, (0, 1, 2, 3, 4, 5), corrupt=0, threshold=4)
    units = _Units(federation)
    masked = mask_all(federation, units)
    survivors = sorted({0, 1, 2, 3, 4, 5} - {*dropped})
    deliver(federation, survivors)
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")
    opened: list[bytes] = []

    def open_stream(key: bytes) -> Injected:
        opened.append(key)
        return Injected(units(key))

    monkeypatch.setattr(secagg.unmasking, "KeyStream", open_stream)
    federation.close("unmask")
    assert np.array_equal(federation.opened().total, federation.plain_sum(survivors))
    round_ = Round(members=(0, 1, 2, 3, 4, 5), survivors=frozenset(survivors))
    names = {key: name for name, key in masked.keys.items()}
    assert len(opened) == len(set(opened))
    # The streams between two dropouts are known as well, and in nothing that was added.
    between = {name for name in round_.known if not {*name} & round_.survivors}
    assert {names[key] for key in opened} == set(round_.known) - between


def test_control_a_split_graph_leaves_two_sums() -> None:
    """Without the streams between {0, 1, 2} and {3, 4, 5} both halves' sums are determined."""
    cut = frozenset((u, v) for u in (0, 1, 2) for v in (3, 4, 5))
    split = replace(_whole((0, 1, 2, 3, 4, 5)), cut=cut)
    streams, matrix = _incidence(_expected(split))
    assert not np.any(_certify([split], streams, matrix))
    zero, rows = left_kernels(matrix[None] * np.array([not split.is_known(stream) for stream in streams]))
    assert {tuple(row) for row in rows[zero]} == {(1, 1, 1, 0, 0, 0), (0, 0, 0, 1, 1, 1)}
    joined = replace(split, cut=cut - {(2, 3)})
    assert np.all(_certify([joined], *_incidence(_expected(joined))))


def test_control_both_share_kinds_or_no_self_mask_leave_more() -> None:
    """For each client of five: both seeds of it rebuilt, or its late input without a self-mask."""
    members = (0, 1, 2, 3, 4)
    streams, matrix = _incidence(_expected(_whole(members)))
    opened = [replace(_whole(members), both_kinds=frozenset({u})) for u in members]
    assert not np.any(_certify(opened, streams, matrix))
    for u in members:
        bare = Round(members=members, survivors=frozenset(members) - {u}, bare=frozenset(members))
        assert not np.any(_certify([bare], *_incidence(_expected(bare))))


def test_control_a_client_that_adds_every_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing cancels then: the matrix is another one, and not even the sum is determined."""
    honest = masking.mask

    def adds_all(values: NDArray[np.int64], **streams: list[Injected]) -> bytearray:
        return honest(values, **streams | {"add": [*streams["add"], *streams["subtract"]], "subtract": []})

    monkeypatch.setattr(masking, "mask", adds_all)
    federation = _federation(5, (0, 1, 2, 3, 4))
    rows = _read_matrix(federation)
    assert rows != _expected(_whole((0, 1, 2, 3, 4)))
    with pytest.raises(ValueError, match="not a unit"):
        _certify([_whole((0, 1, 2, 3, 4))], *_incidence(rows))


def test_control_a_pivot_that_is_no_unit_is_noticed() -> None:
    """2 y_0 would be in the clear modulo an even R."""
    with pytest.raises(ValueError, match="not a unit"):
        left_kernels(np.array([[[2, 0], [0, 1]]], dtype=np.int16))
