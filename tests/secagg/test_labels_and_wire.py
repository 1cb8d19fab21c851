"""Labels are distinct and each used for one purpose; messages have one spelling and a bounded size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from fedsec.errors import RemoteProtocolError
from secagg import RoundConfig, State, labels, messages
from tests.secagg.helpers import REQUESTS, STEPS, Federation

PACKAGE = Path(secagg.__file__).parent
LABELS = {name: value for name, value in vars(labels).items() if name.isupper()}


def test_labels_are_distinct_versioned_and_used_once() -> None:
    assert len(set(LABELS.values())) == len(LABELS) > 20
    assert all(value.startswith(b"fedsec/v1/") for value in LABELS.values())
    code = "\n".join(path.read_text() for path in PACKAGE.glob("*.py") if path.name != "labels.py")
    uses = {name: len(re.findall(rf"labels\.{name}\b", code)) for name in LABELS}
    # Twice: a message is hashed by client and server to find repetitions; a pair's seal has two ends; the two
    # signatures of a draw have a maker and a checker each.
    twice = {"MESSAGE", "KEY_PAIR_SEAL", "SIGN_DRAW_COMMIT", "SIGN_DRAW_REVEAL"}
    assert {name for name, count in uses.items() if count != 1} == twice
    assert b"fedsec/v1" not in code.encode()


def test_the_largest_honest_messages_fit_the_limits() -> None:
    """200 banks, 4096 bytes of optimiser constants, the highest indices, paths of full length."""
    n, digest, signature = 200, bytes(32), bytes(64)
    sizes = (messages.KEM_PUBLIC_BYTES, messages.KEM_CIPHERTEXT_BYTES)
    pair = messages.Pair(kem=bytes(sizes[1]), sealed=bytes(messages.SEALED_BYTES), commitment=digest)
    entry = messages.Entry(
        ciphertext=bytes(messages.CIPHERTEXT_BYTES), kem=bytes(sizes[1]), self_leaf=digest, mask_leaf=digest, pair=pair
    )
    advertised = messages.Advertise(
        index=9999,
        share_key=digest,
        mask_key=digest,
        share_kem=bytes(sizes[0]),
        mask_kem=bytes(sizes[0]),
        signature=signature,
    )
    path = (digest,) * 14
    listing = messages.Listing(root=digest, signature=signature, paths=(path,) * n)
    longest = [
        messages.ShareRequest(entries=(advertised,) * n, listing=listing),
        messages.Share(index=199, entries=(entry,) * n, commitment=digest, signature=signature),
        messages.MaskRequest(
            round_config=RoundConfig(kid=digest, model_digest=digest, optimiser=bytes(4096)).encode(),
            signature=signature,
            dealings=(messages.Dealing(index=9999, root=digest, commitment=digest, signature=signature),) * n,
            listing=listing,
            deliveries=(messages.Delivery(dealer=9999, entry=entry, path=path),) * n,
        ),
        messages.AgreeRequest(survivors=(199,) * n),
        messages.UnmaskRequest(agreed=(messages.Agree(index=199, signature=signature),) * n),
        messages.Unmask(index=199, self_shares=(bytes(33),) * n, mask_shares=(bytes(33),) * n, signature=signature),
    ]
    for message in longest:
        data = messages.encode(message)
        assert messages.decode(data, type(message), limit=messages.small_limit(n), peer=None) == message


def test_a_forged_length_allocates_nothing() -> None:
    """An array of 2^32 - 1 entries claimed in five bytes."""
    _is_no_message(b"\x92\xadagree-request\xdd\xff\xff\xff\xff")


@pytest.mark.parametrize("opening", [b"", b"\x92\xadagree-request", b"\x93\xadagree-request\x90", b"\x92"])
def test_nesting_does_not_exhaust_the_stack(opening: bytes) -> None:
    _is_no_message(opening + b"\x91" * 9_000)


def _is_no_message(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        messages.decode(data, messages.AgreeRequest, limit=10_000, peer=None)
    assert caught.value.rule == "format"
    with pytest.raises(RemoteProtocolError) as caught:
        messages.decode_client(data, limit=10_000, peer=3)
    assert (caught.value.rule, caught.value.peer) == ("format", 3)


HONEST = {step: Federation().run(until=step).requests[0] for step in STEPS}


@given(st.sampled_from(STEPS), st.data())
@settings(max_examples=150, deadline=None)
def test_any_change_of_any_byte_is_refused_or_says_the_same(step: str, data: st.DataObject) -> None:
    """Decoding a mutated message either raises, or gives a message whose one spelling these bytes are."""
    honest = HONEST[step]
    place = data.draw(st.integers(0, len(honest) - 1))
    value = data.draw(st.integers(0, 255))
    mutated = honest[:place] + bytes([value]) + honest[place + 1 :]
    try:
        message = messages.decode(mutated, REQUESTS[step], limit=100_000, peer=None)
    except RemoteProtocolError as error:
        assert error.rule in {"format", "canonical"}
    else:
        assert messages.encode(message) == mutated


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_abort_a_client_and_bounce_off_a_server(noise: bytes) -> None:
    federation = Federation()
    with pytest.raises(RemoteProtocolError):
        federation.clients[0].advertise(noise)
    assert federation.clients[0].state is State.ABORTED
    federation.start()
    with pytest.raises(RemoteProtocolError):
        federation.server.receive(1, noise)
    assert federation.server.awaited == (0, 1, 2, 3, 4)


@given(st.sampled_from(STEPS), st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_anywhere_in_a_request_is_never_answered(step: str, data: st.DataObject) -> None:
    """Exhaustive in kind: whatever bit the server's message loses, the client raises and says nothing."""
    federation = Federation().run(until=step)
    request = federation.requests[0]
    place, bit = data.draw(st.integers(0, len(request) - 1)), data.draw(st.integers(0, 7))
    mutated = request[:place] + bytes([request[place] ^ 1 << bit]) + request[place + 1 :]
    client = federation.clients[0]
    with pytest.raises(RemoteProtocolError):
        client.accept(mutated) if step == "mask" else getattr(client, step)(mutated)
    assert client.state is State.ABORTED


def test_every_secret_byte_comes_from_the_operating_system() -> None:
    """No generator that a seed, a fork or a library could repeat; the three draws are where they should be."""
    code = {path.name: path.read_text() for path in PACKAGE.glob("*.py")}
    for name, text in code.items():
        assert not re.search(r"import random|np\.random|import secrets|uuid|\.generate\(|default_rng", text), name
    draws = {name: text.count("os.urandom(") for name, text in code.items() if "os.urandom(" in text}
    # a_u, b_u and two keys for shares; a draw's nonce; a new identity; a key that only tests a point; coefficients.
    assert draws == {"client.py": 4, "draw.py": 1, "identity.py": 1, "keys.py": 1, "shamir.py": 1}
