"""A sparse graph, a server that follows the protocol, and c banks, chosen without regard to the order, that do not.

They know the order: the seed is public. What they deal to chosen neighbours does not open, so these abort, and the
server sees dropouts, fewer than are allowed. The ring falls apart, and server and banks together open the sum of a few:
why "semi-honest" is asked of the corrupt banks as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedsec.errors import RemoteProtocolError
from fedsec.keystream import KeyStream
from secagg import keys, masking, messages
from secagg.exchange import Exchange
from secagg.graph import permutation
from secagg.opening import Opening
from tests.secagg.helpers import Federation, decode, sparse

N, CORRUPT, DROPPED = 200, 10, 30
TRAITORS = frozenset(range(CORRUPT))  # whatever the order


def _smallest_cut(federation: Federation) -> tuple[list[int], list[int]]:
    """Whom the traitors make abort, and which honest banks that cuts off; empty lists if nothing serves."""
    session = federation.session
    order, half = permutation(session.graph.seed, N), session.graph.degree // 2
    near = {v: set(session.neighbourhood(v)) for v in range(N)}
    for gap in range(2, 40):
        for first in range(N):
            ring = [order[(first + step) % N] for step in range(2 * half + gap)]
            run = [v for v in ring[:half] + ring[half + gap :] if v not in TRAITORS]
            inside = [v for v in ring[half : half + gap] if v not in TRAITORS]
            reached = len(run) <= DROPPED and all(near[v] & TRAITORS for v in run)
            if reached and all(
                len(near[v].difference(run)) >= session.threshold for v in set(range(N)).difference(run)
            ):
                return run, inside
    return [], []


@pytest.mark.parametrize("sabotage", [True, False])
def test_banks_that_spoil_chosen_ciphertexts_open_the_sum_of_a_few(
    sabotage: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the same computation where the banks deal as they should gives nothing."""
    federation = sparse(N, corrupt=CORRUPT, dropped=DROPPED, order=b"\x07" * 32)
    session, server = federation.session, federation.server
    victims, inside = _smallest_cut(federation)
    assert victims
    author = {victim: min(TRAITORS.intersection(session.neighbourhood(victim))) for victim in victims}
    honest = Exchange.key_to

    def key_to(self: Exchange, member: messages.Advertise) -> tuple[bytes, bytes]:
        key, carried = honest(self, member)
        return (bytes(32) if author.get(member.index) == self.index else key), carried

    if sabotage:
        monkeypatch.setattr(Exchange, "key_to", key_to)
    federation.run(until="mask")
    pair_keys: dict[int, Any] = {}
    for index, request in federation.requests.items():
        try:
            federation.clients[index].accept(request)
        except RemoteProtocolError as error:
            assert (error.rule, error.peer) == ("ciphertext", author[index])
            continue
        if index in TRAITORS:
            pair_keys[index] = federation.clients[index]._phase.pair_keys  # its own
        federation.sent["mask", index] = federation.clients[index].mask(federation.inputs[index])
        server.receive(index, federation.sent["mask", index])
    for step in ("mask", "agree"):
        federation.close(step)
        federation.collect("agree" if step == "mask" else "unmask")
    opening = Opening(
        kid=session.kid,
        t1=server._t1,
        advertised=server._record.advertised,
        entries=server._entries,
        commitments={index: dealing.commitment for index, dealing in server._record.dealings.items()},
        survivors=server._survivors,
        revealed=server._revealed,
        threshold=session.threshold,
    )
    self_seeds, pairs = opening.self_seeds(), list(opening.pair_secrets(opening.mask_seeds()))
    words = masking.zeros(session.dimension, server._sum.dtype)
    add, subtract = [], [keys.self_key(self_seeds[bank], server._t2) for bank in inside]
    for bank in inside:
        masking.add_packed(words, decode(federation.sent["mask", bank], messages.Mask).payload, session.ring_bits)
        for traitor, known in pair_keys.items():
            if bank in known:
                (subtract if traitor > bank else add).append(known[bank])
    for bank, dropped, secret in pairs:
        if bank in inside:
            (subtract if dropped > bank else add).append(keys.pair_key(secret, server._t2, bank, dropped))
    masking.combine(words, add=[KeyStream(k) for k in add], subtract=[KeyStream(k) for k in subtract])
    federation.close("unmask")
    assert len(server.result().survivors) >= session.min_survivors
    assert len(inside) < session.honest_inputs
    assert np.array_equal(session.make_quantiser().lift(words), federation.plain_sum(inside)) == sabotage
