"""A configuration that validates satisfies the theorems; one step outside is refused."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import msgspec
import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from fedsec.errors import ConfigError
from secagg import (
    Identity,
    PrivacyParameters,
    QuantiserParameters,
    Roster,
    RoundConfig,
    Server,
    State,
    default_corrupt,
    kem,
    threshold,
)
from secagg.identity import MAX_CLIENTS, verify
from tests.secagg.helpers import Federation, make_session

# Thresholds written out: a wrong default one is a test's to find, and must not stop the import.
ROSTER = Federation(n=10, changes={"threshold": 7}).roster
SESSION = Federation(changes={"threshold": 4}).session
PRIVACY, GRID = SESSION.privacy, SESSION.quantiser


@pytest.mark.parametrize(("n", "c", "t"), [(5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7), (100, 33, 67), (200, 66, 134)])
def test_defaults(n: int, c: int, t: int) -> None:
    assert (default_corrupt(n), threshold(n, c)) == (c, t)


@pytest.mark.parametrize("n", range(5, 201))
def test_the_default_threshold_is_the_least_secure_one(n: int) -> None:
    for c in range(n // 2):
        t = threshold(n, c)
        assert 2 * t > n + c >= 2 * (t - 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 6},
        {"threshold": 6, "corrupt": 2, "min_survivors": 6},
        {"threshold": 11, "min_survivors": 10},
        {"corrupt": 9, "threshold": 10, "min_survivors": 10},
        {"corrupt": -1},
        {"min_survivors": 6},
        {"min_survivors": 11},
        {"clients": 4, "threshold": 4, "corrupt": 1, "min_survivors": 4},
        {"clients": 201, "threshold": 135, "corrupt": 67, "min_survivors": 135},
        {"version": 2},
        {"graph": "harary"},
        {"adversary": "honest"},
        {"key_exchange": "hybrid"},
        {"round": -1},
        {"dimension": 0},
        {"dimension": 2**28 + 1},
        {"step_timeout_seconds": 0},
        {"ring_bits": 0},
        {"ring_bits": 65},
        {"ring_bits": 14},
        {"task": ""},
        {"purpose": "x" * 65},
        {"roster_digest": b""},
        {"privacy": msgspec.structs.replace(PRIVACY, honest_inputs=5)},
        # The server chooses U3, down to t members, whatever minimum it promises.
        {"privacy": msgspec.structs.replace(PRIVACY, honest_inputs=5), "min_survivors": 10},
        {"quantiser": msgspec.structs.replace(GRID, scale=math.nan)},
        {"quantiser": msgspec.structs.replace(GRID, scale=0.0)},
        {"quantiser": msgspec.structs.replace(GRID, saturation=0)},
        {"quantiser": msgspec.structs.replace(GRID, saturation=2**53)},
        {"quantiser": msgspec.structs.replace(GRID, noise_bound=-1)},
        # A share of noise that nobody may add, or less sensitivity than one clipped record has on the grid.
        {"quantiser": msgspec.structs.replace(GRID, noise_bound=0)},
        {"privacy": msgspec.structs.replace(PRIVACY, sensitivity=6.0)},
        {"privacy": msgspec.structs.replace(PRIVACY, clip=0.2)},
        {"quantiser": msgspec.structs.replace(GRID, scale=200.0)},
        {"privacy": msgspec.structs.replace(PRIVACY, sensitivity=1e-3, share_variance=1e-6)},
    ],
)
def test_unsafe_sessions_are_refused(changes: dict[str, Any]) -> None:
    make_session(ROSTER)  # control
    with pytest.raises(ConfigError):
        make_session(ROSTER, **changes)


def test_control_the_edges_are_allowed() -> None:
    make_session(ROSTER, ring_bits=15, min_survivors=10)
    make_session(ROSTER, dimension=2**28, task="t" * 64, purpose="p" * 64, round=0, step_timeout_seconds=1)
    make_session(ROSTER, threshold=7, corrupt=2, min_survivors=7)
    make_session(ROSTER, clients=5, threshold=4, corrupt=1, min_survivors=4)
    make_session(ROSTER, clients=200, threshold=134, corrupt=66, min_survivors=134)
    make_session(ROSTER, threshold=10, min_survivors=10, corrupt=8)
    make_session(ROSTER, privacy=msgspec.structs.replace(PRIVACY, honest_inputs=4))
    make_session(ROSTER, quantiser=msgspec.structs.replace(GRID, noise_bound=1))
    make_session(ROSTER, quantiser=msgspec.structs.replace(GRID, scale=160.0))  # clip * scale is the sensitivity


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 0.0},
        {"clip": math.inf},
        {"sensitivity": -1.0},
        {"noise_multiplier": math.nan},
        {"noise_multiplier": -1.0},
        {"share_variance": -1.0},
        {"honest_inputs": 0, "mode": "local"},
        {"share_variance": 99.0},
        {"noise_multiplier": 1e200, "sensitivity": 1e200},
        {"noise_multiplier": 1e300, "share_variance": 1.7e308, "honest_inputs": 2},
        {"noise_multiplier": 0.0, "share_variance": 0.0},
        {"sensitivity": 1e-200, "share_variance": 0.0},
    ],
)
def test_noise_that_is_less_than_claimed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        msgspec.structs.replace(PRIVACY, **changes)


def test_local_noise_is_not_summed_over_banks() -> None:
    own = msgspec.structs.replace(PRIVACY, mode="local", share_variance=0.0)
    make_session(ROSTER, privacy=own, quantiser=msgspec.structs.replace(GRID, scale=2000.0, noise_bound=0))
    assert PrivacyParameters(**msgspec.structs.asdict(PRIVACY)) == PRIVACY


def test_every_field_is_in_kid_and_sid() -> None:
    session = make_session(ROSTER)
    others = [
        make_session(ROSTER, **changes)
        for changes in (
            {"task": "t2"},
            {"purpose": "scaling"},
            {"round": 1},
            {"dimension": 8},
            {"ring_bits": 25},
            {"quantiser": QuantiserParameters(scale=101.0, saturation=1000, noise_bound=50)},
            {"privacy": msgspec.structs.replace(PRIVACY, clip=0.05)},
            {"threshold": 8, "min_survivors": 8},
            {"corrupt": 2, "threshold": 7},
            {"min_survivors": 8},
            {"step_timeout_seconds": 31},
            {"roster_digest": bytes(32)},
        )
    ]
    assert len({config.kid for config in (session, *others)}) == len(others) + 1
    config = RoundConfig(kid=session.kid, model_digest=bytes(32), optimiser=b"")
    rounds = [
        config,
        msgspec.structs.replace(config, kid=bytes(32)),
        msgspec.structs.replace(config, model_digest=b"m" * 32),
        msgspec.structs.replace(config, optimiser=b"adam"),
    ]
    assert len({config.sid for config in rounds}) == len(rounds)


@pytest.mark.parametrize("changes", [{"kid": b""}, {"model_digest": bytes(31)}, {"optimiser": bytes(4097)}])
def test_rounds_of_the_wrong_shape_are_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError):
        RoundConfig(**({"kid": bytes(32), "model_digest": bytes(32), "optimiser": b""} | changes))


def test_a_roster_counts_every_party_once() -> None:
    members = ROSTER.members
    crowd = tuple((i, i.to_bytes(4, "big") + b"k" * 28) for i in range(MAX_CLIENTS + 1))
    for bad in (
        members[1:],
        members[::-1],
        (*members[:9], (9, members[0][1])),
        (*members[:9], (9, ROSTER.server)),
        (*members[:9], (9, b"short")),
        crowd[: MAX_CLIENTS + 1],
    ):
        with pytest.raises(ConfigError):
            Roster(server=ROSTER.server, members=bad)
    assert Roster(server=ROSTER.server, members=members).digest == ROSTER.digest
    Roster(server=ROSTER.server, members=crowd[:MAX_CLIENTS])
    swapped = (members[0], (1, members[2][1]), (2, members[1][1]), *members[3:])
    assert Roster(server=ROSTER.server, members=swapped).digest != ROSTER.digest


# The points of small order, by their y; the first two are the neutral element in its two spellings.
SMALL_ORDER = [
    y.to_bytes(32, "little")
    for y in (
        1,
        2**255 - 18,
        0,
        2**255 - 19,
        2**255 - 20,
        int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16),
        2**255 - 19 - int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16),
    )
]
FORGED = SMALL_ORDER[0] + bytes(32)  # R is the neutral element, S is 0


@pytest.mark.parametrize("point", SMALL_ORDER, ids=range(len(SMALL_ORDER)))
@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_key_under_which_anybody_can_sign_is_in_no_roster(point: bytes, sign: int) -> None:
    """Under it a signature made with no private key passes for one message in eight at least; control: no other."""
    weak = point[:31] + bytes([point[31] | sign])
    assert any(verify(weak, FORGED, b"context", bytes([message])) for message in range(64))
    assert not any(verify(ROSTER.public_key(9), FORGED, b"context", bytes([message])) for message in range(64))
    with pytest.raises(ConfigError):
        Roster(server=ROSTER.server, members=(*ROSTER.members[:9], (9, weak)))
    with pytest.raises(ConfigError):
        Roster(server=weak, members=ROSTER.members)


def test_signatures_bind_context_and_every_field_boundary() -> None:
    identity = Identity.generate()
    signature = identity.sign(b"context", b"ab", b"c")
    assert verify(identity.public_key, signature, b"context", b"ab", b"c")
    for context, parts in (
        (b"context2", (b"ab", b"c")),
        (b"context", (b"a", b"bc")),
        (b"context", (b"abc",)),
        (b"context", (b"ab", b"c", b"")),
        (b"contextab", (b"c",)),
    ):
        assert not verify(identity.public_key, signature, context, *parts)
    assert not verify(identity.public_key, signature[:-1], b"context", b"ab", b"c")
    assert not verify(b"no key", signature, b"context", b"ab", b"c")
    assert Identity.from_private_bytes(identity.private_bytes()).public_key == identity.public_key


@pytest.mark.parametrize("hybrid", [True, False])
def test_a_build_without_ml_kem_is_told_before_anything_runs(hybrid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of ``cryptography`` stand on an OpenSSL that has no ML-KEM; a classical session does not need it."""

    class Missing:
        @staticmethod
        def from_seed_bytes(seed: bytes) -> NoReturn:
            raise UnsupportedAlgorithm("ML-KEM-768 is not supported by this backend")

    federation = Federation(changes={} if hybrid else {"key_exchange": "x25519"}).start()
    monkeypatch.setattr(kem, "MLKEM768PrivateKey", Missing)
    if not hybrid:
        federation.clients[0].advertise(federation.requests[0])
        return
    with pytest.raises(ConfigError, match="ML-KEM"):
        Server(identity=federation.server_identity, roster=federation.roster, session=federation.session)
    with pytest.raises(ConfigError, match="ML-KEM"):
        federation.clients[0].advertise(federation.requests[0])
    assert federation.clients[0].state is State.ABORTED
