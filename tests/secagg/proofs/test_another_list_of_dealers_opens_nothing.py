"""A server that shows some banks another list of dealers: they mask under another T2, for which self-masks open too.

b_u is dealt under T1, before there is a T2. So the shares of b_u that a *different* list's agreement yields also give
the self-mask under the list that bank u saw, and what hides its input then are pair masks with honest banks of that
list whose a-seed stays hidden. Some are left exactly if 2t > n + c: docs/proof.md, lemma 5. With more corrupt banks
than c the attack works, unless a list has to have more members than the victims and the corrupt ones together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedsec.errors import RemoteProtocolError
from fedsec.keystream import KeyStream
from secagg import keys, masking, messages, shamir, transcript
from tests.secagg.helpers import Federation, change, decode

N, THRESHOLD = 10, 7


def _attack(corrupt: int, victims: tuple[int, ...], least: int) -> tuple[Federation, NDArray[np.int64]]:
    """What the last ``corrupt`` banks and the server compute of the inputs of ``victims``.

    Raises:
        RemoteProtocolError: an honest bank saw it.
    """
    federation = Federation(n=N, changes={"corrupt": 3, "threshold": THRESHOLD, "min_survivors": least})
    federation.run(until="mask")
    server, clients = federation.server, federation.clients
    traitors = range(N - corrupt, N)
    others = [index for index in range(N) if index not in victims]
    shown = {*victims, *traitors}
    dealings = {index: dealing for index, dealing in server._record.dealings.items() if index in shown}
    root, _ = transcript.dealers_root(dealings.values(), N)
    signature = federation.server_identity.sign(*transcript.dealers(federation.session.kid, server._t1, root))
    other_t2 = transcript.t2(federation.round.sid, server._t1, root)
    exchanges = {traitor: clients[traitor]._phase.exchange for traitor in traitors}  # a traitor's own
    masked = []
    for victim in victims:
        request = decode(federation.requests[victim], messages.MaskRequest)
        forged = change(
            request,
            dealings=tuple(dealings.values()),
            deliveries=tuple(delivery for delivery in request.deliveries if delivery.dealer in shown),
            listing=messages.Listing(root=root, signature=signature, paths=()),
        )
        clients[victim].accept(forged)
        masked.append(decode(clients[victim].mask(federation.inputs[victim]), messages.Mask))
    for index in others:
        federation.reply("mask", index, federation.requests[index])
    shares = {victim: {t: clients[t]._phase.self_shares[victim] for t in traitors} for victim in victims}
    everybody = tuple(range(N))
    request = messages.encode(messages.AgreeRequest(survivors=everybody))
    agreed = tuple(decode(clients[index].agree(request), messages.Agree) for index in others)
    proof = messages.encode(messages.UnmaskRequest(agreed=agreed))
    for index in sorted(set(others) - set(traitors)):
        revealed = decode(clients[index].unmask(proof), messages.Unmask)
        for victim in victims:
            shares[victim][index] = revealed.self_shares[victim]
    total = masking.zeros(federation.session.dimension, server._sum.dtype)
    for victim, message in zip(victims, masked, strict=True):
        masking.add_packed(total, message.payload, federation.session.ring_bits)
        seed = _rebuild(shares[victim])
        add, subtract = [], [keys.self_key(seed, other_t2)]
        for traitor in traitors:
            secret = exchanges[traitor].pair_from(victim, server._entries[victim][traitor])
            (subtract if traitor > victim else add).append(keys.pair_key(secret, other_t2, victim, traitor))
        masking.combine(total, add=[KeyStream(k) for k in add], subtract=[KeyStream(k) for k in subtract])
    return federation, federation.session.make_quantiser().lift(total)


def _rebuild(shares: dict[int, Any]) -> bytes:
    chosen = dict(list(shares.items())[:THRESHOLD])
    numbers = {index: int.from_bytes(share, "big") for index, share in chosen.items()}
    return shamir.combine(numbers, shamir.weights(tuple(chosen))).to_bytes(32, "big")


@pytest.mark.parametrize("least", [THRESHOLD, N])
@pytest.mark.parametrize("victims", [(0, 1, 2, 3), (0, 1, 2)])
def test_with_c_corrupt_banks_the_other_list_is_too_short_or_too_few_sign(victims: tuple[int, ...], least: int) -> None:
    with pytest.raises(RemoteProtocolError):
        _attack(3, victims, least)


@pytest.mark.parametrize(("corrupt", "victims"), [(4, (0, 1, 2)), (5, (0, 1)), (6, (0,))])
def test_where_everybody_has_to_survive_a_list_of_fewer_is_refused(corrupt: int, victims: tuple[int, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        _attack(corrupt, victims, N)
    assert (caught.value.rule, caught.value.peer) == ("members", None)


@pytest.mark.parametrize(("corrupt", "victims"), [(4, (0, 1, 2)), (5, (0, 1)), (6, (0,))])
def test_control_more_than_c_corrupt_banks_open_inputs_where_t_are_enough(
    corrupt: int, victims: tuple[int, ...]
) -> None:
    """docs/weaknesses.md, "More corrupt banks than c"; it also shows that the attack is a real one."""
    federation, opened = _attack(corrupt, victims, THRESHOLD)
    assert np.array_equal(opened, federation.plain_sum(victims))
