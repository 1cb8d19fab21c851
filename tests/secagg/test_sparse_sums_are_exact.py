"""On a sparse graph the opened sum is plain integer addition, and a client's work is its neighbourhood's.

Whoever drops out at whatever step, in the hybrid and without it; what one bank does wrong is named and stays within
its neighbourhood.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.errors import CohortError, RemoteProtocolError
from secagg import Step, messages
from secagg import rounds as production
from secagg.config import CLASSICAL, HYBRID
from secagg.opening import Opening
from tests.adversary.dishonest_bank import BANK, crooked_shares, share_changed
from tests.secagg.helpers import STEPS, Federation, decode, sparse

ORDER = b"\x05" * 32
KINDS = {"share": messages.ShareRequest, "mask": messages.MaskRequest, "unmask": messages.UnmaskRequest}


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Federation, dict[str, tuple[int, ...]]]:
    n, corrupt, dropped = draw(st.integers(20, 60)), draw(st.integers(1, 3)), draw(st.integers(0, 4))
    federation = sparse(
        n,
        corrupt=corrupt,
        dropped=dropped,
        order=draw(st.binary(min_size=32, max_size=32)),
        key_exchange=draw(st.sampled_from((CLASSICAL, HYBRID))),
        dimension=draw(st.integers(1, 50)),
    )
    silent = draw(st.permutations(range(n)))[: draw(st.integers(0, dropped))]
    drop: dict[str, tuple[int, ...]] = dict.fromkeys(STEPS, ())
    for index in silent:
        drop[draw(st.sampled_from(STEPS))] += (index,)
    return federation, drop


@given(scenarios())
@settings(max_examples=25, deadline=None)
def test_sum_equals_integer_addition(scenario: tuple[Federation, dict[str, tuple[int, ...]]]) -> None:
    federation, drop = scenario
    opened = federation.run(drop=drop).opened()
    lost_before = {index for step in ("advertise", "share", "mask") for index in drop[step]}
    survivors = tuple(i for i in range(federation.n) if i not in lost_before)
    assert opened.survivors == survivors
    assert np.array_equal(opened.total, federation.plain_sum(survivors))
    assert opened.dropped_at == {step: tuple(sorted(drop[step])) for step in STEPS}


def small(**changes: Any) -> Federation:
    """30 banks with 6 neighbours each, threshold 3, for 2 corrupt and 3 dropped ones."""
    federation = sparse(30, corrupt=2, dropped=3, order=ORDER, **changes)
    assert (federation.session.graph.degree, federation.session.threshold) == (6, changes.get("threshold", 3))
    return federation


@pytest.mark.parametrize("key_exchange", [CLASSICAL, HYBRID])
@pytest.mark.parametrize("step", STEPS)
def test_as_many_as_agreed_may_drop_out_of_one_neighbourhood(step: str, key_exchange: str) -> None:
    federation = small(key_exchange=key_exchange)
    away = federation.session.neighbourhood(8)[:3]
    opened = federation.run(drop={step: away}).opened()
    assert np.array_equal(opened.total, federation.plain_sum(opened.survivors))
    assert opened.dropped_at[step] == away


def both_ways() -> tuple[Federation, int]:
    """Somebody drops out who has neighbours of lower and of higher index."""
    federation = small()
    dropped = next(v for v in range(30) if 2 < sum(u < v for u in federation.session.neighbourhood(v)) < 5)
    return federation, dropped


def test_pair_secrets_are_rebuilt_whichever_of_the_two_dropped_out(monkeypatch: pytest.MonkeyPatch) -> None:
    federation, dropped = both_ways()
    found: list[tuple[int, int]] = []
    honest = Opening._post_quantum_half

    def seen(self: Opening, survivor: int, gone: int, seed: bytes) -> bytes:
        found.append((survivor, gone))
        return honest(self, survivor, gone, seed)

    monkeypatch.setattr(Opening, "_post_quantum_half", seen)
    opened = federation.run(drop={"mask": (dropped,)}).opened()
    assert np.array_equal(opened.total, federation.plain_sum(set(range(30)) - {dropped}))
    assert found == [(u, dropped) for u in federation.session.neighbourhood(dropped) if u != dropped]
    assert {survivor < gone for survivor, gone in found} == {True, False}


@pytest.mark.parametrize("lower_dropped", [True, False])
def test_control_without_the_post_quantum_half_of_either_order_the_sum_is_wrong(
    lower_dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Opening._post_quantum_half
    monkeypatch.setattr(
        Opening,
        "_post_quantum_half",
        lambda self, survivor, gone, seed: (
            bytes(32) if (gone < survivor) == lower_dropped else honest(self, survivor, gone, seed)
        ),
    )
    federation, dropped = both_ways()
    federation.run(until="unmask", drop={"mask": (dropped,)})
    federation.collect("unmask")
    assert_spoilt(federation, set(range(30)) - {dropped})


@pytest.mark.parametrize("left_on", ["self_seeds", "pair_secrets"])
def test_control_one_mask_that_stays_on_spoils_the_sum(left_on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = getattr(Opening, left_on)

    def one_less(self: Opening, *arguments: Any) -> Any:
        found = honest(self, *arguments)
        return dict(list(found.items())[1:]) if isinstance(found, dict) else iter(list(found)[1:])

    monkeypatch.setattr(Opening, left_on, one_less)
    federation = small().run(until="unmask", drop={"mask": (4,)})
    federation.collect("unmask")
    assert_spoilt(federation, set(range(30)) - {4})


def assert_spoilt(federation: Federation, survivors: set[int]) -> None:
    try:
        federation.close("unmask")
    except RemoteProtocolError as error:
        assert error.rule == "range"
    else:
        assert not np.array_equal(federation.opened().total, federation.plain_sum(survivors))


def assert_within_the_neighbourhood(federation: Federation, step: str, degree: int) -> None:
    """What the requests of ``step`` hold, and how many signatures a client verifies to answer one."""
    lists = {
        "share": lambda r: [[e.index for e in r.entries]],
        "mask": lambda r: [[d.index for d in r.dealings], [d.dealer for d in r.deliveries]],
        "unmask": lambda r: [[a.index for a in r.agreed]],
    }
    for index, request in federation.requests.items():
        near = federation.session.neighbourhood(index)
        assert len(near) == degree + 1
        if step in KINDS:
            for members in lists[step](decode(request, KINDS[step])):
                assert 0 < len(members) <= degree + 1
                assert set(members) <= set(near)


def work(federation: Federation, step: str, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many signatures each client verifies at ``step``."""
    counts: Counter[int] = Counter()
    for index, request in federation.requests.items():
        with monkeypatch.context() as patch:
            honest = production.verify

            def counted(*arguments: Any, index: int = index, honest: Any = honest) -> bool:
                counts[index] += 1
                return honest(*arguments)

            patch.setattr(production, "verify", counted)
            federation.server.receive(index, federation.reply(step, index, request))
    return counts


# Signatures beside the neighbourhood's: of session, of list, of round and list; t of those who agreed.
VERIFIED = {"advertise": 1, "share": 7 + 1, "mask": 7 + 2, "agree": 0, "unmask": 3}


def test_a_client_sees_and_verifies_its_neighbourhood_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = small().start()
    for step in STEPS:
        assert_within_the_neighbourhood(federation, step, 6)
        counts = work(federation, step, monkeypatch)
        assert {counts[index] for index in range(30)} == {VERIFIED[step]}
        federation.close(step)
    assert np.array_equal(federation.opened().total, federation.plain_sum(range(30)))


def test_control_on_the_complete_graph_a_client_sees_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(n=30).start()
    for step in STEPS:
        with pytest.raises(AssertionError):
            assert_within_the_neighbourhood(federation, step, 6)
        counts = work(federation, step, monkeypatch)
        if step in KINDS:
            assert min(counts.values()) > VERIFIED[step]
        federation.close(step)


def test_a_message_does_not_grow_with_the_cohort() -> None:
    """The same degree in a cohort twice as large: one more hash in each path."""
    sizes = []
    for n in (32, 64):
        federation = sparse(n, corrupt=2, dropped=3, order=ORDER).run(until="share")
        sizes.append(max(map(len, federation.requests.values())))
    assert 0 < sizes[1] - sizes[0] <= 7 * (32 + 2) + 7 * 2
    complete = [max(map(len, Federation(n=n).run(until="share").requests.values())) for n in (10, 20)]
    assert complete[1] > 1.9 * complete[0]  # control


def silent_near(federation: Federation, count: int) -> tuple[int, ...]:
    """Neighbours of bank 8."""
    return tuple(v for v in federation.session.neighbourhood(8) if v != 8)[:count]


def test_a_neighbourhood_with_too_few_answers_opens_nothing() -> None:
    """27 of 30 answer, but of the 7 around bank 8 only 2."""
    federation = small()
    with pytest.raises(CohortError) as caught:
        federation.run(drop={"unmask": silent_near(federation, 5)})
    assert (caught.value.survivors, caught.value.needed, caught.value.step) == (2, 3, "unmask")
    assert federation.server.step is Step.FAILED
    control = small()
    opened = control.run(drop={"unmask": silent_near(control, 4)}).opened()
    assert np.array_equal(opened.total, control.plain_sum(range(30)))


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_neighbourhood_that_is_too_small_ends_the_round_before_anybody_is_asked(step: str) -> None:
    """With 6 neighbours and threshold 6 one of a neighbourhood may be lost. The server says so itself: no honest client
    gets a request that it must refuse, and would take for an attack, or reveals shares for nothing."""
    federation = small(threshold=6)
    with pytest.raises(CohortError) as caught:
        federation.run(drop={step: silent_near(federation, 2)})
    assert (caught.value.survivors, caught.value.needed, caught.value.step) == (5, 6, step)
    assert federation.server.step is Step.FAILED
    control = small(threshold=6)
    opened = control.run(drop={step: silent_near(control, 1)}).opened()
    assert np.array_equal(opened.total, control.plain_sum(opened.survivors))


def test_those_lost_at_different_steps_count_together() -> None:
    """Nobody is missing from the other's list, but of bank 8's neighbourhood too few are left for its secrets."""
    federation = small(threshold=6)
    first, second = silent_near(federation, 2)
    with pytest.raises(CohortError) as caught:
        federation.run(drop={"mask": (first,), "agree": (second,)})
    assert (caught.value.survivors, caught.value.step) == (5, "agree")


def lied_to(federation: Federation, dealer: int, liars: tuple[int, ...], kind: str) -> None:
    """``liars`` change their share of ``dealer``, everybody else answers honestly."""
    for liar in liars:
        alive = set(federation.server._survivors)
        near = [v for v in federation.session.neighbourhood(liar) if (v in alive) == (kind == "self_shares")]
        federation.server.receive(liar, share_changed(federation, liar, kind=kind, place=near.index(dealer)))
    federation.collect("unmask", without=liars)


@pytest.mark.parametrize(("kind", "drop"), [("self_shares", ()), ("mask_shares", (8,))])
@pytest.mark.parametrize("count", [1, 2])
def test_a_bad_share_names_its_responder_and_the_sum_survives(kind: str, drop: tuple[int, ...], count: int) -> None:
    federation = small().run(until="unmask", drop={"mask": drop})
    liars = tuple(u for u in federation.session.neighbourhood(8) if u != 8)[:count]
    lied_to(federation, 8, liars, kind)
    federation.close("unmask")
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(30)) - set(drop)))
    assert federation.server.convicted == liars == federation.opened().dropped_at["unmask"]


def test_bad_shares_leave_a_sum_as_long_as_t_good_ones_remain() -> None:
    around = [u for u in small().session.neighbourhood(8) if u != 8]
    federation = small().run(until="unmask")
    lied_to(federation, 8, tuple(around[:4]), "self_shares")
    federation.close("unmask")
    assert np.array_equal(federation.opened().total, federation.plain_sum(range(30)))
    assert set(federation.server.convicted) <= set(around[:4])
    federation = small().run(until="unmask")
    lied_to(federation, 8, tuple(around[:5]), "self_shares")
    with pytest.raises(CohortError) as caught:
        federation.close("unmask")
    assert (caught.value.survivors, caught.value.needed) == (2, 3)
    assert federation.server.convicted == tuple(around[:5])


def test_control_without_the_check_a_bad_share_spoils_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Opening, "_is_self_seed", lambda *_: True)
    federation = small().run(until="unmask")
    lied_to(federation, 8, tuple(u for u in federation.session.neighbourhood(8) if u != 8)[:1], "self_shares")
    assert_spoilt(federation, set(range(30)))


@pytest.mark.parametrize("secret", ["self", "mask"])
def test_a_dealer_of_wrong_shares_is_named_and_nobody_else(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = small().run(until="share")
    crooked_shares(secret, monkeypatch, federation)
    federation.collect("share", without=(BANK,))
    federation.close("share")
    federation.collect("mask", without=(BANK,) if secret == "mask" else ())
    for step in ("mask", "agree"):
        federation.close(step)
        federation.collect("agree" if step == "mask" else "unmask")
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("dealing", BANK)
    assert federation.server.convicted == ()


def test_a_dealing_to_a_stranger_or_to_one_neighbour_less_is_refused() -> None:
    federation = small().run(until="share")
    share = decode(federation.reply("share", BANK, federation.requests[BANK]), messages.Share)
    for entries in (share.entries[:-1], (*share.entries, share.entries[-1]), ()):
        forged = messages.encode(
            messages.Share(index=BANK, entries=entries, commitment=share.commitment, signature=share.signature)
        )
        with pytest.raises(RemoteProtocolError) as caught:
            federation.server.receive(BANK, forged)
        assert (caught.value.rule, caught.value.peer) == ("entries", BANK)
    federation.server.receive(BANK, messages.encode(share))  # control
