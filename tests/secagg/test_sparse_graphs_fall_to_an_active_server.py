"""Why a sparse graph is for a semi-honest server only: two ways in which a dishonest one gets more than the sum.

docs/weaknesses.md quotes both. The control of each is the case that the claim covers.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from fedsec.errors import RemoteProtocolError
from fedsec.keystream import KeyStream
from secagg import kem, keys, masking, messages, shamir
from secagg.config import SessionConfig
from secagg.graph import Harary, neighbourhood, permutation
from secagg.packing import unpack
from secagg.sparse import parameters
from tests.secagg.helpers import Federation, decode, sparse


def reveal_for_two_lists(
    federation: Federation, victim: int, told_alive: Collection[int]
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Shares of the victim's b and a that honest banks reveal, if ``told_alive`` hear that it survived, others not."""
    n = federation.n
    lists = {True: tuple(range(n)), False: tuple(i for i in range(n) if i != victim)}
    signed = {
        i: decode(
            federation.clients[i].agree(messages.encode(messages.AgreeRequest(survivors=lists[i in told_alive]))),
            messages.Agree,
        )
        for i in range(n)
    }
    self_shares: dict[int, bytes] = {}
    mask_shares: dict[int, bytes] = {}
    for i in range(n):
        near = federation.session.neighbourhood(i)
        alike = [signed[j] for j in near if (j in told_alive) == (i in told_alive)]
        request = messages.encode(messages.UnmaskRequest(agreed=tuple(alike[: federation.session.threshold])))
        try:
            answer = decode(federation.clients[i].unmask(request), messages.Unmask)
        except RemoteProtocolError as error:
            assert error.rule == "agreement"
            continue
        if victim in near and i in told_alive:
            self_shares[i] = answer.self_shares[near.index(victim)]
        elif victim in near:
            mask_shares[i] = answer.mask_shares[0]
    return self_shares, mask_shares


def rebuild(shares: Mapping[int, bytes], threshold: int) -> bytes:
    chosen = tuple(sorted(shares)[:threshold])
    numbers = {i: int.from_bytes(shares[i], "big") for i in chosen}
    return shamir.combine(numbers, shamir.weights(chosen)).to_bytes(keys.SEED_BYTES, "big")


def open_input(federation: Federation, victim: int, self_seed: bytes, mask_seed: bytes) -> NDArray[np.int64]:
    """The victim's vector, from its masked input and both of its seeds; what a dishonest server would compute."""
    server, session = federation.server, federation.session
    add, subtract = [], [KeyStream(keys.self_key(self_seed, server._t2))]
    for peer in session.neighbourhood(victim):
        if peer == victim:
            continue
        secret = keys.agree(keys.mask_private_key(mask_seed), server._record.advertised[peer].mask_key)
        assert secret is not None
        if victim < peer:
            secret += kem.pair_secret(mask_seed, server._t1, victim, peer)
        else:
            pair = server._entries[peer][victim].pair
            assert pair is not None
            half = kem.receive(
                pair,
                kid=session.kid,
                t1=server._t1,
                lower=peer,
                higher=victim,
                private=kem.mask_private_key(mask_seed),
            )
            assert half is not None
            secret += half
        stream = KeyStream(keys.pair_key(secret, server._t2, victim, peer))
        (subtract if peer > victim else add).append(stream)
    payload = decode(federation.sent["mask", victim], messages.Mask).payload
    words = unpack(payload, session.dimension, session.ring_bits).copy()
    masking.combine(words, add=add, subtract=subtract)
    return session.make_quantiser().lift(words)


def arc(session: SessionConfig, victim: int) -> set[int]:
    """The victim and the half of the ring to its left, or half of the banks where there is no ring."""
    n = session.clients
    order = permutation(session.graph.seed, n) if isinstance(session.graph, Harary) else tuple(range(n))
    place = order.index(victim)
    return {order[(place - step) % n] for step in range(n // 2)}


def test_two_lists_of_survivors_open_an_input_on_a_sparse_graph() -> None:
    federation = sparse(20).run(until="agree")
    victim, threshold = 7, federation.session.threshold
    self_shares, mask_shares = reveal_for_two_lists(federation, victim, arc(federation.session, victim))
    assert min(len(self_shares), len(mask_shares)) >= threshold
    opened = open_input(federation, victim, rebuild(self_shares, threshold), rebuild(mask_shares, threshold))
    assert opened.tolist() == federation.inputs[victim].tolist()


def test_control_on_the_complete_graph_the_same_server_gets_one_kind_at_most() -> None:
    federation = Federation(n=20, changes={"corrupt": 1, "threshold": 11, "min_survivors": 11}).run(until="agree")
    kinds = reveal_for_two_lists(federation, 7, arc(federation.session, 7))
    assert min(len(kind) for kind in kinds) < federation.session.threshold


def parts(graph: Harary, clients: int, absent: Collection[int]) -> list[int]:
    """Sizes of the parts into which the others fall once ``absent`` are gone, the largest last."""
    left = set(range(clients)) - set(absent)
    sizes = []
    while left:
        reached, size = [left.pop()], 0
        while reached:
            near = left.intersection(neighbourhood(graph, clients, reached.pop()))
            left -= near
            size += 1
            reached.extend(near)
        sizes.append(size)
    return sorted(sizes)


CLIENTS, CORRUPT, DROPPED = 1000, 50, 50  # 5 % each: k = 30, t = 17


def test_dropouts_that_are_chosen_by_the_order_split_the_sum() -> None:
    degree, threshold = parameters(CLIENTS, corrupt=CORRUPT, dropped=DROPPED)
    graph = Harary(degree=degree, seed=os.urandom(32))
    order, half = permutation(graph.seed, CLIENTS), degree // 2
    corrupt = set(random.Random(1).sample(range(CLIENTS), CORRUPT))
    # Two runs of k/2 places, each with a traitor, and t or more honest banks between them.
    runs = [set(order[place : place + half]) for place in range(CLIENTS - half)]
    helped = [place for place, run in enumerate(runs) if run & corrupt]
    first, second = min(
        (
            (place, other)
            for place in helped
            for other in helped
            if len(set(order[place + half : other]) - corrupt) >= threshold
        ),
        key=lambda pair: pair[1] - pair[0],
    )
    dropped = (runs[first] | runs[second]) - corrupt
    assert len(dropped) <= degree - 2 <= DROPPED
    sizes = parts(graph, CLIENTS, dropped | corrupt)
    assert len(sizes) == 2
    assert threshold <= sizes[0] <= 2 * threshold
    # Every honest bank left sees t of its neighbourhood alive, so none refuses and every seed can be rebuilt.
    for bank in set(range(CLIENTS)) - dropped - corrupt:
        assert len(set(neighbourhood(graph, CLIENTS, bank)) - dropped) >= threshold


def test_control_dropouts_that_are_not_leave_it_whole() -> None:
    degree, _ = parameters(CLIENTS, corrupt=CORRUPT, dropped=DROPPED)
    graph = Harary(degree=degree, seed=os.urandom(32))
    for seed in range(20):
        assert len(parts(graph, CLIENTS, random.Random(seed).sample(range(CLIENTS), CORRUPT + DROPPED))) == 1
