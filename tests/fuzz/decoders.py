"""Every decoder of ``secagg`` and ``fl_engine``: it refuses, or gives what encodes to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from fedsec.errors import RemoteProtocolError
from secagg import Roster, RoundConfig, SessionConfig, draw, messages
from secagg.graph import Complete, Harary
from tests.fuzz.target import Target
from tests.secagg.helpers import REQUESTS, STEPS, Federation, decode, draw_seed, sparse

PEER = 3
LIMIT = 30_000
KINDS: tuple[type[Any], ...] = (
    messages.AdvertiseRequest,
    messages.ShareRequest,
    messages.MaskRequest,
    messages.AgreeRequest,
    messages.UnmaskRequest,
    messages.Agreement,
    messages.Advertise,
    messages.Share,
    messages.Mask,
    messages.Agree,
    messages.Unmask,
    SessionConfig,
    RoundConfig,
    Roster,
    messages.Listing,
    messages.Entry,
    messages.Pair,
    Harary,
    Complete,
    draw.Commit,
    draw.RevealRequest,
    draw.Reveal,
    draw.Drawn,
)
ANY_CLIENT_MESSAGE = len(KINDS)  # the selector of decode_client
RULES = {"size", "format", "canonical"}


@cache
def honest() -> dict[type[Any], bytes]:
    """One honest message of each kind, of a round of five with a dropout after step 1."""
    federation = Federation().start()
    found: dict[type[Any], bytes] = {}
    for step, kind, reply in zip(STEPS, KINDS, KINDS[6:11], strict=False):
        found[kind] = federation.requests[0]
        federation.collect(step, without=(4,) if step == "mask" else ())
        found[reply] = federation.sent[step, 0]
        federation.close(step)
    found[messages.Agreement] = messages.encode(federation.server.agreement)
    found[SessionConfig] = federation.session.encode()
    found[RoundConfig] = federation.round.encode()
    found[Roster] = messages.encode(federation.roster)
    entry = decode(found[messages.Share], messages.Share).entries[1]
    seed, drawn = draw_seed(federation)
    found[messages.Listing] = messages.encode(decode(found[messages.ShareRequest], messages.ShareRequest).listing)
    found[messages.Entry], found[messages.Pair] = messages.encode(entry), messages.encode(entry.pair)
    found[Harary], found[Complete] = messages.encode(Harary(degree=4, seed=seed)), messages.encode(Complete())
    found[draw.Commit], found[draw.RevealRequest] = drawn["commits"][0], drawn["list"]
    found[draw.Reveal], found[draw.Drawn] = drawn["reveals"][0], drawn["drawn"]
    return found


@cache
def sparse_seeds() -> tuple[bytes, ...]:
    """A session on a sparse graph, and its requests, with paths."""
    federation = sparse(20, order=b"\x05" * 32).start()
    found = [bytes([KINDS.index(SessionConfig)]) + federation.session.encode()]
    for step in ("advertise", "share", "mask"):
        found.append(bytes([KINDS.index(REQUESTS[step])]) + federation.requests[0])
        federation.collect(step)
        federation.close(step)
    return tuple(found)


def honest_messages() -> list[bytes]:
    """The messages alone."""
    return list(honest().values())


def check_message(data: bytes) -> str:
    """Decode ``data`` without its first byte, which chooses the kind."""
    selector, body = data[:1], data[1:]
    chosen = (selector[0] if selector else 0) % (len(KINDS) + 1)

    def decode() -> Any:
        if chosen == ANY_CLIENT_MESSAGE:
            return messages.decode_client(body, limit=LIMIT, peer=PEER)
        return messages.decode(body, KINDS[chosen], limit=LIMIT, peer=PEER)

    return judge(decode, body, encode=messages.encode, rules=RULES, limit=LIMIT)


def judge(
    decode: Callable[[], Any], body: bytes, *, encode: Callable[[Any], bytes], rules: set[str], limit: int
) -> str:
    """What every decoder must do with ``body``."""
    try:
        message = decode()
    except RemoteProtocolError as error:
        assert error.peer == PEER, error.peer
        assert error.rule in rules, error.rule
        assert (error.rule == "size") == (len(body) > limit), "the size rule is about the size"
        return f"refused: {error.rule}"
    assert len(body) <= limit, "a message over the limit was decoded"
    assert encode(message) == body, "a second spelling was accepted"
    return "accepted"


@cache
def decoder_target() -> Target:
    """Every message of ``secagg``, its configurations and the roster."""
    seeds = [bytes([KINDS.index(kind)]) + data for kind, data in honest().items()]
    seeds += [bytes([ANY_CLIENT_MESSAGE]) + data for kind, data in honest().items() if kind in KINDS[6:11]]
    return Target(name="messages", check=check_message, seeds=(*seeds, *sparse_seeds()), selectors=1)


@cache
def engine_target() -> Target:
    """Every message of ``fl_engine``, and the plan."""
    import fl_engine.messages as engine  # loads torch
    from fl_engine.plan import TaskPlan
    from fl_engine.scaling import Standardiser
    from tests.adversary.test_bank_refuses_a_dishonest_coordinator import INPUTS, PLAN

    plan = engine.encode(PLAN)
    honest: dict[type[Any], bytes] = {
        engine.Offer: engine.encode(engine.Offer(plan=plan, signature=bytes(64))),
        engine.Answer: engine.encode(engine.Answer(accepted=True)),
        engine.RoundInputs: INPUTS.encode(),
        engine.Request: engine.encode(engine.Request(attempt=1, step="mask", payload=bytes(90), inputs=bytes(50))),
        engine.Reply: engine.encode(engine.Reply(attempt=1, step="agree", payload=bytes(90))),
        TaskPlan: plan,
        Standardiser: engine.encode(Standardiser(means=bytes(16), deviations=bytes(16))),
    }
    kinds = tuple(honest)

    def check(data: bytes) -> str:
        body = data[1:]
        kind = kinds[(data[0] if data else 0) % len(kinds)]
        return judge(
            lambda: engine.decode(body, kind, limit=LIMIT, peer=PEER),
            body,
            encode=engine.encode,
            rules={"size", "encoding"},
            limit=LIMIT,
        )

    seeds = tuple(bytes([kinds.index(kind)]) + data for kind, data in honest.items())
    return Target(name="engine-messages", check=check, seeds=seeds, selectors=1)
