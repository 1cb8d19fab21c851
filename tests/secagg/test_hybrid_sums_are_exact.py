"""In the hybrid both ends of every pair have one secret, sums are exact whoever drops out, and no secret is left."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from fedsec.errors import CohortError, LocalProtocolError, RemoteProtocolError
from secagg import Client, State, kem, keys, messages
from secagg.opening import Opening
from secagg.packing import packed_size
from tests.secagg.helpers import STEPS, Federation, decode, send
from tests.secagg.memory import round_secrets, still_known


@pytest.mark.parametrize("n", range(5, 9))
def test_both_ends_of_every_pair_have_the_same_stream_key(n: int) -> None:
    """And it is the one that either seed gives the server: r_uv derived from a_u, or opened with the key of a_v."""
    federation = Federation(n=n).run(until="mask")
    assert federation.session.hybrid
    held = [client._phase.exchange for client in federation.clients]
    for index, client in enumerate(federation.clients):
        client.accept(federation.requests[index])
    stream = [client._phase.pair_keys for client in federation.clients]
    t2 = federation.clients[0]._phase.place.t2
    for u, v in combinations(range(n), 2):
        pair = decode(federation.sent["share", u], messages.Share).entries[v].pair
        where = {"kid": held[u].kid, "t1": held[u].t1, "lower": u, "higher": v}
        opened = kem.receive(pair, **where, private=held[v].mask_kem)
        assert opened == held[u].pair_secrets[v]
        assert stream[u][v] == stream[v][u] == keys.pair_key(held[v].pairs[u] + opened, t2, u, v)
        # Controls: the X25519 half alone is another key, and another's ML-KEM key opens nothing.
        assert stream[u][v] != keys.pair_key(held[v].pairs[u], t2, u, v)
        assert kem.receive(pair, **where, private=held[u].mask_kem) is None
    assert len({key for known in stream for key in known.values()}) == n * (n - 1) // 2


@pytest.mark.parametrize(("n", "patterns"), [(5, 6), (6, 22), (7, 29), (8, 37)])
def test_every_pattern_of_dropouts_at_masking_opens_the_exact_sum(n: int, patterns: int) -> None:
    """All sets that leave t banks: dropouts below, above and between survivors, so r_uv is found in both ways."""
    spare = n - Federation(n=n).session.threshold
    tried = [silent for count in range(spare + 1) for silent in combinations(range(n), count)]
    assert len(tried) == patterns
    for silent in tried:
        federation = Federation(n=n).run(drop={"mask": silent})
        survivors = tuple(i for i in range(n) if i not in silent)
        assert federation.opened().survivors == survivors
        assert np.array_equal(federation.opened().total, federation.plain_sum(survivors)), silent


@pytest.mark.parametrize("silent", [(0,), (4,), (2,)])
def test_control_without_the_post_quantum_half_no_dropout_pattern_opens(
    silent: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Opening, "_post_quantum_half", lambda *a: bytes(32))
    federation = Federation()
    try:
        opened = federation.run(drop={"mask": silent}).opened()
    except RemoteProtocolError as error:
        assert error.rule == "range"
    else:
        assert not np.array_equal(opened.total, federation.plain_sum(opened.survivors))


def _kem_secrets(client: Client) -> set[bytes]:
    """Private ML-KEM keys and r_uv of the client's state, which must be among what the walk over memory finds."""
    exchange = client._phase.exchange
    return {
        exchange.share_kem.private_bytes_raw(),
        exchange.mask_kem.private_bytes_raw(),
        *exchange.pair_secrets.values(),
        *exchange.channels.values(),
        *exchange.pairs.values(),
    }


def test_no_kem_secret_outlives_the_masked_input() -> None:
    federation = Federation().run(until="mask")
    for index, client in enumerate(federation.clients):
        secrets = _kem_secrets(client)
        assert len(secrets) == 2 + (4 - index) + 8
        assert secrets <= round_secrets(client)  # control: before, all of them are in reach
        assert still_known(secrets, client) == secrets
        client.accept(federation.requests[index])
        assert not still_known(secrets, client)
        stream = set(client._phase.pair_keys.values())
        client.mask(federation.inputs[index])
        assert not still_known(secrets | stream, client)


@pytest.mark.parametrize("step", STEPS[1:])
def test_no_kem_secret_survives_an_abort(step: str) -> None:
    federation = Federation().run(until=step)
    client = federation.clients[0]
    secrets = round_secrets(client)
    assert still_known(secrets, client)  # control
    client.abort()
    assert client.state is State.ABORTED
    assert not still_known(secrets, client)
    with pytest.raises(LocalProtocolError):
        send(client, step, federation.requests[0])


@pytest.mark.parametrize("drop", [(), (0,)])
def test_no_secret_of_a_client_is_at_the_server_but_what_it_rebuilds(drop: tuple[int, ...]) -> None:
    """The seeds that step 4 gives it are let go of when the sum is open, or when it never will be."""
    federation = Federation(n=6).run(until="mask")
    secrets = set[bytes]().union(*(_kem_secrets(client) for client in federation.clients))
    seeds = {client._phase.self_seed for client in federation.clients}
    federation.collect("mask", without=drop)
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask", without=(1, 2, 3) if drop else ())
    if drop:
        with pytest.raises(CohortError):
            federation.close("unmask")
    else:
        federation.close("unmask")
    assert not still_known(secrets | seeds, federation.server)
    federation.server.kept = seeds  # control: the walk would find them
    assert still_known(seeds, federation.server) == seeds


DIMENSION, BITS = 1_000_000, 24


def _bytes(key_exchange: str) -> tuple[list[int], list[int]]:
    """What each of ten banks sends, and what it is sent, in a whole round of seven values."""
    federation = Federation(n=10, changes={"key_exchange": key_exchange}).start()
    sent, received = [0] * 10, [0] * 10
    for step in STEPS:
        for index, request in federation.requests.items():
            received[index] += len(request)
        federation.collect(step)
        for index in range(10):
            sent[index] += len(federation.sent[step, index])
        federation.close(step)
    return sent, received


def test_the_hybrid_costs_less_than_two_percent_of_an_upload() -> None:
    """Ten banks, a million values of 24 bits: all that a bank sends and is sent more than in the classical exchange."""
    (sent, received), (sent_before, received_before) = _bytes("x25519+ml-kem-768"), _bytes("x25519")
    more_sent = [after - before for after, before in zip(sent, sent_before, strict=True)]
    more_received = [after - before for after, before in zip(received, received_before, strict=True)]
    both = [up + down for up, down in zip(more_sent, more_received, strict=True)]
    upload = packed_size(DIMENSION, BITS)
    assert 0 < max(both) < 0.02 * upload
    # From the parts of bank 0: two keys, nine ciphertexts for shares, nine for masks with their seals and commitments.
    parts = 2 * 1184 + 9 * 1088 + 9 * (1088 + 48 + 32)
    assert parts < more_sent[0] < parts + 20 * 12  # the rest are msgpack's headers
    # Control: against a shorter vector it costs more, so the comparison can fail.
    assert max(both) > 0.02 * packed_size(DIMENSION // 10, BITS)
    # The figures that documents may quote: 0.76 %, 1.47 % and 1.88 % of the upload.
    assert (max(more_sent), max(more_received), max(both)) == (22_791, 44_132, 56_303)
