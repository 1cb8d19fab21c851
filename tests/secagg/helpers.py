"""A federation in memory: honest clients and a server, and the knobs that the tests turn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from secagg import (
    Client,
    ClientPolicy,
    Identity,
    Opened,
    PrivacyParameters,
    QuantiserParameters,
    Roster,
    RoundConfig,
    Server,
    SessionConfig,
    default_corrupt,
    messages,
    threshold,
)
from secagg.config import SEMI_HONEST
from secagg.draw import Drawer, DrawServer
from secagg.graph import Harary
from secagg.sparse import parameters

STEPS = ("advertise", "share", "mask", "agree", "unmask")
REQUESTS = {
    "advertise": messages.AdvertiseRequest,
    "share": messages.ShareRequest,
    "mask": messages.MaskRequest,
    "agree": messages.AgreeRequest,
    "unmask": messages.UnmaskRequest,
}
REPLIES = {
    "advertise": messages.Advertise,
    "share": messages.Share,
    "mask": messages.Mask,
    "agree": messages.Agree,
    "unmask": messages.Unmask,
}
POLICY = ClientPolicy(
    tasks=frozenset({"task"}),
    purposes=frozenset({"training"}),
    modes=frozenset({"distributed", "local"}),
    max_corrupt=66,
    min_noise_multiplier=0.5,
)


def make_session(roster: Roster, **changes: Any) -> SessionConfig:
    """A valid session for ``roster``, with ``changes`` to its fields."""
    n = len(roster.members)
    c = changes.pop("corrupt", default_corrupt(n))
    t = changes.pop("threshold", threshold(n, c))
    values: dict[str, Any] = {
        "task": "task",
        "purpose": "training",
        "round": 0,
        "dimension": 7,
        "ring_bits": 24,
        "quantiser": QuantiserParameters(scale=100.0, saturation=1000, noise_bound=50),
        "privacy": PrivacyParameters(
            mode="distributed",
            clip=0.0625,
            noise_multiplier=1.0,
            sensitivity=10.0,
            share_variance=100.0,
            honest_inputs=1,
        ),
        "clients": n,
        "threshold": t,
        "corrupt": c,
        "min_survivors": t,
        "roster_digest": roster.digest,
        "step_timeout_seconds": 30,
    }
    return SessionConfig(**(values | changes))


@dataclass
class Federation:
    """n honest clients and a server under one session. ``rewrite`` may replace a request or a reply on its way."""

    n: int = 5
    changes: dict[str, Any] = field(default_factory=dict)
    policy: ClientPolicy = POLICY
    seed: int = 0

    def __post_init__(self) -> None:
        self.identities = [Identity.from_private_bytes(bytes([i + 1]) * 32) for i in range(self.n)]
        self.server_identity = Identity.from_private_bytes(b"\xff" * 32)
        self.roster = Roster(
            server=self.server_identity.public_key,
            members=tuple((i, identity.public_key) for i, identity in enumerate(self.identities)),
        )
        self.session = make_session(self.roster, **self.changes)
        self.server = Server(identity=self.server_identity, roster=self.roster, session=self.session)
        self.clients = [self.client(i) for i in range(self.n)]
        self.round = RoundConfig(kid=self.session.kid, model_digest=b"m" * 32, optimiser=b"")
        bound = self.session.quantiser.saturation + self.session.quantiser.noise_bound
        self.inputs = np.random.default_rng(self.seed).integers(
            -bound, bound, size=(self.n, self.session.dimension), endpoint=True
        )
        self.requests: dict[int, bytes] = {}
        self.sent: dict[tuple[str, int], bytes] = {}

    def client(self, index: int) -> Client:
        # Every bank accepts the key exchange that the test's session has, and no other.
        policy = replace(self.policy, key_exchanges=frozenset({self.session.key_exchange}))
        return Client(index=index, identity=self.identities[index], roster=self.roster, policy=policy)

    def start(self) -> Federation:
        self.requests = self.server.open()
        return self

    def reply(self, step: str, index: int, request: bytes) -> bytes:
        """What the honest client ``index`` answers to ``request``."""
        client = self.clients[index]
        if step == "mask":
            client.accept(request)
            return client.mask(self.inputs[index])
        answer: Callable[[bytes], bytes] = getattr(client, step)
        return answer(request)

    def collect(self, step: str, *, without: Collection[int] = ()) -> None:
        """All asked clients but ``without`` answer, honestly."""
        for index, request in self.requests.items():
            if index not in without:
                self.sent[step, index] = self.reply(step, index, request)
                self.server.receive(index, self.sent[step, index])

    def close(self, step: str) -> dict[int, bytes]:
        self.requests = self.server.advance(self.round if step == "share" else None)
        return self.requests

    def run(self, *, until: str | None = None, drop: Mapping[str, Collection[int]] | None = None) -> Federation:
        """Run all steps before ``until`` (all five by default), ``drop[step]`` staying silent from that step on."""
        self.start()
        for step in STEPS:
            if step == until:
                break
            self.collect(step, without=(drop or {}).get(step, ()))
            self.close(step)
        return self

    def plain_sum(self, members: Collection[int]) -> NDArray[np.int64]:
        """Integer addition, with nothing of the protocol in it."""
        return np.sum([self.inputs[i] for i in sorted(members)], axis=0, dtype=np.int64)

    def opened(self) -> Opened:
        return self.server.result()


def draw_seed(federation: Federation) -> tuple[bytes, dict[str, Any]]:
    """An honest draw over the federation's roster: the seed, and all messages of it."""
    server = DrawServer(identity=federation.server_identity, roster=federation.roster)
    members = [
        Drawer(index=i, identity=identity, roster=federation.roster) for i, identity in enumerate(federation.identities)
    ]
    commits = [member.commit() for member in members]
    for index, commit in enumerate(commits):
        server.receive_commit(index, commit)
    listed = server.list_commitments()
    reveals = [member.reveal(listed) for member in members]
    for index, reveal in enumerate(reveals):
        server.receive_reveal(index, reveal)
    seed, drawn = server.finish()
    assert {member.finish(drawn) for member in members} == {seed}
    return seed, {"commits": commits, "list": listed, "reveals": reveals, "drawn": drawn}


def sparse(
    n: int = 20, *, corrupt: int = 1, dropped: int = 1, order: bytes | None = None, **changes: Any
) -> Federation:
    """A federation on a sparse graph, its order drawn or given, for ``corrupt`` and at most ``dropped`` banks."""
    seed = draw_seed(Federation(n=n))[0] if order is None else order
    degree, least = parameters(n, corrupt=corrupt, dropped=dropped)
    graph = {
        "graph": Harary(degree=degree, seed=seed),
        "adversary": SEMI_HONEST,
        "corrupt": corrupt,
        "threshold": least,
        "min_survivors": n - dropped,
    }
    policy = replace(POLICY, min_corrupt=corrupt, adversaries=frozenset({SEMI_HONEST}), graph_seed=seed)
    return Federation(n=n, changes=graph | changes, policy=policy)


def send(client: Client, step: str, request: bytes) -> Any:
    """Hand ``request`` to ``client`` at ``step``; for "mask" the half that reads it."""
    return client.accept(request) if step == "mask" else getattr(client, step)(request)


def decode(data: bytes, kind: type[Any]) -> Any:
    """Decode without the production code's checks."""
    return msgspec.msgpack.decode(data, type=kind)


def change(message: Any, **fields: Any) -> bytes:
    """``message`` with other ``fields``, encoded."""
    return msgspec.msgpack.encode(msgspec.structs.replace(message, **fields))


def flip(data: bytes, position: int = 0) -> bytes:
    """``data`` with one bit changed."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
