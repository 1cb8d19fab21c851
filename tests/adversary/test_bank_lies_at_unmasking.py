"""A bad share convicts who revealed it, frames nobody, and spoils no sum; the round survives while t good ones do."""

from __future__ import annotations

import numpy as np
import pytest

from fedsec.errors import CohortError, RemoteProtocolError
from secagg.opening import Opening
from tests.adversary.dishonest_bank import share_changed
from tests.secagg.helpers import Federation


@pytest.mark.parametrize("kind", ["self_shares", "mask_shares"])
@pytest.mark.parametrize("liars", [(0,), (0, 4), (9,)])
def test_a_bad_share_names_its_responder_and_the_sum_survives(kind: str, liars: tuple[int, ...]) -> None:
    federation = Federation(n=10).run(until="unmask", drop={"mask": (5,)})
    for index in liars:
        federation.server.receive(index, share_changed(federation, index, kind=kind))
    federation.collect("unmask", without=liars)
    federation.close("unmask")
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {5}))
    # A liar is only looked at where its share is used: t = 7 of the lowest indices are.
    expected = tuple(liar for liar in liars if liar != 9)
    assert federation.server.convicted == expected == federation.opened().dropped_at["unmask"]


@pytest.mark.parametrize("dealer", range(10))
def test_a_bad_share_of_any_dealer_names_its_responder(dealer: int) -> None:
    federation = Federation(n=10).run(until="unmask", drop={"mask": (5,)})
    place, kind = (0, "mask_shares") if dealer == 5 else (dealer - (dealer > 5), "self_shares")
    federation.server.receive(2, share_changed(federation, 2, kind=kind, place=place))
    federation.collect("unmask", without=(2,))
    federation.close("unmask")
    assert federation.server.convicted == (2,)
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {5}))


@pytest.mark.parametrize(("check", "kind"), [("_is_self_seed", "self_shares"), ("_is_mask_seed", "mask_shares")])
def test_control_without_the_check_a_bad_share_spoils_the_sum(
    check: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Opening, check, lambda *a: True)
    monkeypatch.setattr(Opening, "_post_quantum_half", lambda *a: bytes(32))  # of a wrong seed there is none
    federation = Federation(n=10).run(until="unmask", drop={"mask": (5,)} if kind == "mask_shares" else {})
    federation.server.receive(0, share_changed(federation, 0, kind=kind))
    federation.collect("unmask", without=(0,))
    try:
        federation.close("unmask")
    except RemoteProtocolError as error:
        assert error.rule == "range"
    else:
        survivors = set(range(10)) - ({5} if kind == "mask_shares" else set())
        assert not np.array_equal(federation.opened().total, federation.plain_sum(survivors))
    assert federation.server.convicted == ()


@pytest.mark.parametrize("liars", [4, 3])
def test_too_many_bad_shares_open_nothing_and_all_are_named(liars: int) -> None:
    """Of ten banks three may lie, t = 7 being left; four may not."""
    federation = Federation(n=10).run(until="unmask")
    for index in range(liars):
        federation.server.receive(index, share_changed(federation, index))
    federation.collect("unmask", without=range(liars))
    if liars == 3:
        federation.close("unmask")
        assert np.array_equal(federation.opened().total, federation.plain_sum(range(10)))
    else:
        with pytest.raises(CohortError) as caught:
            federation.close("unmask")
        assert (caught.value.survivors, caught.value.needed, caught.value.step) == (6, 7, "unmask")
    assert federation.server.convicted == tuple(range(liars))
