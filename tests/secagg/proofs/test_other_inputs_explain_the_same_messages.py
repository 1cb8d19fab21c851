"""T3, explainability: every other choice of inputs with the same survivors' sum gives the same masked vectors.

Only streams that the coalition does not know are shifted: those between honest survivors along a spanning tree, and
the self-masks of honest dropouts. The messages are then the same byte for byte at R = 2^32. That is the secrecy of the
linear algebra; that a stream looks uniform to whoever lacks its key is an assumption on AES and the key exchange.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from secagg.packing import word_type
from tests.secagg.helpers import Federation
from tests.secagg.proofs.model import Round, Stream, Words
from tests.secagg.proofs.probing import mask_all, real_words

BITS = 32
DIMENSION = 6
Inputs = dict[int, NDArray[np.int64]]


def _explain(round_: Round, streams: dict[Stream, Words], x: Inputs, other: Inputs) -> tuple[dict[Stream, Words], int]:
    """Streams under which ``other`` is masked as ``x`` is under ``streams``, and how many clients that fails for.

    Known streams are kept. A depth-first tree over unknown pair streams hands each client's difference on to its
    parent; a root keeps what is left of its component, which has to be 0.
    """
    shifted = dict(streams)
    left = {u: (x[u] - other[u]).astype(word_type(BITS)) for u in round_.honest}  # what u's mask has to gain
    done: set[int] = set()

    def shift(u: int, stream: Stream) -> None:
        """Let u's mask gain what it lacks by ``stream``; the client at its other end loses as much."""
        sign_is_plus = stream in round_.added(u)
        shifted[stream] = shifted[stream] + left[u] if sign_is_plus else shifted[stream] - left[u]
        for v in {*stream} - {u}:
            left[v] = left[v] + left[u]
        left[u] = np.zeros_like(left[u])

    def visit(u: int) -> None:
        done.add(u)
        for stream in round_.unknown:
            for v in {*stream} - {u}:
                if u in stream and v not in done:
                    visit(v)
                    shift(v, stream)

    for u in round_.honest:
        if (u, u) in round_.unknown:
            done.add(u)
            shift(u, (u, u))
    for u in round_.honest:
        if u not in done:
            visit(u)
    return shifted, sum(bool(np.any(rest)) for rest in left.values())


def _messages(round_: Round, streams: dict[Stream, Words], inputs: Inputs) -> list[bytearray]:
    return [round_.masked(u, inputs[u], streams, ring_bits=BITS) for u in round_.honest]


def _moved(before: dict[Stream, Words], after: dict[Stream, Words]) -> set[Stream]:
    return {stream for stream in before if not np.array_equal(before[stream], after[stream])}


def _to_equal_sum(round_: Round, x: Inputs, other: Inputs) -> Inputs:
    """``other`` with its first honest survivor's input mended, mod R, so that the sums are equal."""
    first, *rest = round_.honest_survivors
    total = sum((x[u] for u in round_.honest_survivors), np.zeros(DIMENSION, dtype=np.int64))
    mended = sum((-other[u] for u in rest), total)
    return other | {first: (mended + 2**31) % 2**32 - 2**31}


@dataclass(frozen=True)
class _Case:
    round: Round
    streams: dict[Stream, Words]
    x: Inputs
    other: Inputs


@st.composite
def _cases(draw: st.DrawFn) -> _Case:
    """Up to nine dealers, any U3 with two honest survivors, any other clients corrupt; all words and inputs random."""
    members = tuple(range(draw(st.integers(2, 9))))
    survivors = draw(st.sets(st.sampled_from(members), min_size=2))
    safe = draw(st.permutations(sorted(survivors)))[:2]
    corrupt = draw(st.sets(st.sampled_from(members))) - {*safe}
    round_ = Round(members=members, survivors=frozenset(survivors), corrupt=frozenset(corrupt))
    random = np.random.default_rng(draw(st.integers(0, 2**64 - 1)))

    def inputs() -> Inputs:
        return {u: random.integers(-(2**31), 2**31, size=DIMENSION) for u in members}

    streams = {stream: random.integers(0, 2**32, size=DIMENSION, dtype="<u4") for stream in round_.streams}
    return _Case(round=round_, streams=streams, x=inputs(), other=inputs())


@given(_cases())
@settings(max_examples=150, deadline=None)
def test_every_other_input_with_the_same_sum_is_explained(case: _Case) -> None:
    other = _to_equal_sum(case.round, case.x, case.other)
    shifted, unexplained = _explain(case.round, case.streams, case.x, other)
    assert unexplained == 0
    assert not _moved(case.streams, shifted) & {*case.round.known}
    sent = _messages(case.round, case.streams, case.x)
    assert _messages(case.round, shifted, other) == sent
    assert _messages(case.round, case.streams, other) != sent  # control: without the shift


@given(_cases())
@settings(max_examples=50, deadline=None)
def test_control_inputs_with_another_sum_are_not(case: _Case) -> None:
    """The known streams then open the messages to one sum, and the other inputs have another."""
    other = _to_equal_sum(case.round, case.x, case.other)
    other[case.round.honest_survivors[0]] = other[case.round.honest_survivors[0]] ^ 1
    shifted, unexplained = _explain(case.round, case.streams, case.x, other)
    assert unexplained == 1
    assert _messages(case.round, case.streams, case.x) != _messages(case.round, shifted, other)
    known = {stream: case.streams[stream] for stream in case.round.known}

    def opened(inputs: Inputs, streams: dict[Stream, Words]) -> Words:
        masked = {u: case.round.masked(u, inputs[u], streams, ring_bits=BITS) for u in case.round.members}
        return case.round.opened(masked, known, DIMENSION, ring_bits=BITS)

    theirs = {u: case.x[u] for u in case.round.corrupt}  # what corrupt clients sent stays as it was
    assert not np.array_equal(opened(case.x, case.streams), opened(other | theirs, shifted))


@given(_cases())
@settings(max_examples=50, deadline=None)
def test_control_both_share_kinds_of_a_survivor_leave_one_explanation(case: _Case) -> None:
    """All streams of one honest survivor are known then: another input of it explains nothing."""
    victim = case.round.honest_survivors[-1]
    exposed = replace(case.round, both_kinds=frozenset({victim}))
    other = _to_equal_sum(case.round, case.x, case.other)
    shifted, unexplained = _explain(exposed, case.streams, case.x, other)
    assert unexplained
    assert _messages(exposed, case.streams, case.x) != _messages(exposed, shifted, other)


@functools.cache
def _real_round(dropped: frozenset[int]) -> tuple[dict[Stream, Words], Inputs, dict[int, bytes]]:
    """A session of seven up to step 2: its key streams, inputs and masked inputs, those of ``dropped`` being late."""
    federation = Federation(n=7, changes={"ring_bits": BITS, "dimension": DIMENSION}).run(until="mask")
    words = real_words(federation)
    masked = mask_all(federation, words)
    streams = {stream: words(key) for stream, key in masked.keys.items()}
    return streams, dict(enumerate(federation.inputs)), masked.payloads


@pytest.mark.parametrize("dropped", [frozenset(), frozenset({0}), frozenset({2, 5})])
@given(seed=st.integers(0, 2**64 - 1), corrupt=st.sets(st.integers(0, 6), max_size=2))
@settings(max_examples=25, deadline=None)
def test_the_messages_of_a_real_session_are_explained(dropped: frozenset[int], seed: int, corrupt: set[int]) -> None:
    """Real clients, keys and key streams: other inputs give the very bytes that were sent."""
    streams, x, payloads = _real_round(dropped)
    round_ = Round(members=(*range(7),), survivors=frozenset(range(7)) - dropped, corrupt=frozenset(corrupt))
    random = np.random.default_rng(seed)
    other = _to_equal_sum(round_, x, {u: random.integers(-1000, 1000, size=DIMENSION) for u in range(7)})
    shifted, unexplained = _explain(round_, streams, x, other)
    assert unexplained == 0
    assert not _moved(streams, shifted) & {*round_.known}
    for u in round_.honest:
        assert round_.masked(u, other[u], shifted, ring_bits=BITS) == payloads[u]
        assert round_.masked(u, other[u] ^ 1, shifted, ring_bits=BITS) != payloads[u]  # control
