"""Masked inputs that come late, twice or out of range get into no sum that is opened."""

from __future__ import annotations

import numpy as np
import pytest

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg import Step, messages
from secagg.masking import add_packed
from tests.adversary.dishonest_bank import BANK, assert_refused, honest, remasked
from tests.secagg.helpers import REPLIES, STEPS, Federation, change, decode


@pytest.mark.parametrize("step", STEPS)
def test_a_duplicate_counts_once_and_a_change_is_refused(step: str) -> None:
    federation = Federation().run(until=step)
    federation.collect(step)
    data = federation.sent[step, BANK]
    before = federation.server._sum.tobytes()
    federation.server.receive(BANK, data)
    assert federation.server._sum.tobytes() == before
    assert_refused(federation, change(decode(data, REPLIES[step]), signature=bytes(64)), "once")


def test_control_a_server_without_memory_adds_a_duplicate_again() -> None:
    federation = Federation().run(until="mask")
    federation.collect("mask")
    before = federation.server._sum.tobytes()
    federation.server._seen = {}
    federation.server.receive(BANK, federation.sent["mask", BANK])
    assert federation.server._sum.tobytes() != before


def test_messages_out_of_turn_are_refused_or_discarded() -> None:
    federation = Federation(n=10).run()
    replay = Federation(n=10)
    with pytest.raises(LocalProtocolError):
        replay.server.receive(BANK, federation.sent["advertise", BANK])
    replay.start()
    assert_refused(replay, federation.sent["share", BANK], "order")
    federation.server.receive(BANK, federation.sent["mask", BANK])  # after the end: discarded
    assert federation.server.step is Step.DONE
    assert np.array_equal(federation.opened().total, federation.plain_sum(range(10)))


def test_a_late_masked_input_is_never_added() -> None:
    federation = Federation(n=10).run(until="mask")
    late = federation.reply("mask", BANK, federation.requests[BANK])
    federation.collect("mask", without=(BANK,))
    federation.close("mask")
    before = federation.server._sum.tobytes()
    federation.server.receive(BANK, late)
    assert federation.server._sum.tobytes() == before
    # Control: adding it would change the accumulator, so the comparison sees it.
    payload = decode(late, messages.Mask).payload
    add_packed(federation.server._sum, payload, federation.session.ring_bits)
    assert federation.server._sum.tobytes() != before
    federation.server._sum[:] = np.frombuffer(before, dtype=federation.server._sum.dtype)
    for step in ("agree", "unmask"):
        federation.collect(step)
        federation.close(step)
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {BANK}))
    assert federation.opened().dropped_at["mask"] == (BANK,)


@pytest.mark.parametrize("more", [0, 0x40, 0xC0])
def test_values_out_of_range_cannot_pass_as_a_sum(more: int) -> None:
    """Masks hide who sent a huge value; that the sum is impossible is seen, and nothing is opened. Control: 0 more."""
    federation = Federation().run(until="mask")
    federation.collect("mask", without=(BANK,))
    message = honest(federation, "mask")
    shifted = bytearray(message.payload)
    shifted[2] = (shifted[2] + more) % 256  # 2^22 more or less in the first of the 24-bit values
    federation.server.receive(BANK, remasked(federation, message, bytes(shifted)))
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")
    if not more:
        federation.close("unmask")
        assert np.array_equal(federation.opened().total, federation.plain_sum(range(5)))
        return
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("range", None)
    with pytest.raises(LocalProtocolError):
        federation.server.result()


@pytest.mark.parametrize(("more", "is_seen"), [(1, False), (2, True)])
def test_the_bound_on_a_sum_counts_its_inputs_and_not_the_cohort(more: int, is_seen: bool) -> None:
    """Four of five banks at the largest input, one of them beyond it: seen from the first unit over four bounds on.

    Control: an honest input of bank 3 that is one unit smaller leaves room for one unit more.
    """
    federation = Federation().run(until="mask")
    bound = federation.session.make_quantiser().input_bound
    federation.inputs[:] = bound
    federation.inputs[BANK, 0] = bound - 1
    federation.collect("mask", without=(0, BANK))
    message = honest(federation, "mask")
    spoilt = bytearray(message.payload)
    first = (int.from_bytes(spoilt[:3], "little") + more) % 2**24  # the first of the 24-bit values
    spoilt[:3] = first.to_bytes(3, "little")
    federation.server.receive(BANK, remasked(federation, message, bytes(spoilt)))
    for step in ("mask", "agree"):
        federation.close(step)
        federation.collect("agree" if step == "mask" else "unmask")
    if not is_seen:
        federation.close("unmask")
        assert federation.opened().total[0] == 4 * bound
        return
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert caught.value.rule == "range"
