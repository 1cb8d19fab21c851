"""Clients and servers that leave checks out, for the controls: what such a one refuses all the same proves nothing."""

from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from secagg import ClientPolicy, Roster, SessionConfig, config, exchange, kem, keys, messages, server, shamir
from secagg import rounds as production
from tests.secagg.helpers import REPLIES

Patch = Callable[[pytest.MonkeyPatch], None]


def _ignore_rule(rule: str) -> Patch:
    """A client that goes on where production refuses by ``rule``."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        refuse = production._refuse

        def only_others(message: str, broken: str) -> None:
            if broken != rule:
                refuse(message, broken)

        monkeypatch.setattr(production, "_refuse", only_others)

    return patch


def _any_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices outside the roster, and lists of different lengths, do not crash the client that lets them in."""
    monkeypatch.setattr(Roster, "public_key", lambda self, index: self.members[index % len(self.members)][1])
    monkeypatch.setattr(production, "zip", lambda *lists, strict: builtins.zip(*lists, strict=False), raising=False)


def _no_delivery_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "check_delivery", lambda *a, **k: None)
    _any_index(monkeypatch)


def _a_share_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is not on the list does not crash for want of its own shares."""
    split, agreed = shamir.split, production.agreed
    monkeypatch.setattr(shamir, "split", lambda *a, **k: defaultdict(int, split(*a, **k)))
    monkeypatch.setattr(
        production,
        "agreed",
        lambda phase, alive: agreed(replace(phase, mask_shares=defaultdict(bytes, phase.mask_shares)), alive),
    )


def _any_point(monkeypatch: pytest.MonkeyPatch) -> None:
    agree, encapsulate = keys.agree, kem.encapsulate
    monkeypatch.setattr(keys, "agree", lambda private, public: agree(private, public) or bytes(32))
    monkeypatch.setattr(exchange, "_has_sound_kems", lambda *a: True)
    monkeypatch.setattr(
        kem, "encapsulate", lambda key: encapsulate(key) if kem.is_sound(key) else (bytes(32), bytes(1088))
    )


def _lenient_decode_client(data: bytes, *, limit: int, peer: int) -> Any:
    tags = {kind: kind.__struct_config__.tag.encode() for kind in REPLIES.values()}
    kind = next(kind for kind, tag in tags.items() if bytes([0xA0 | len(tag)]) + tag in data[:16])
    return _lenient_decode(data, kind)


def _lenient_decode(data: bytes, kind: Any, *, limit: int = 0, peer: int | None = None) -> Any:
    """A decoder that takes any length, spelling, trailing bytes and further fields."""
    for end in range(len(data.rstrip(b"\x00")), len(data) + 1):
        try:
            parts = msgspec.msgpack.decode(data[:end])
            known = len(kind.__struct_fields__) + (kind.__struct_config__.tag is not None)
            return msgspec.convert(parts[:known], kind)
        except msgspec.MsgspecError:
            continue
    raise AssertionError("this is no message, however leniently it is read")


CHECKS: dict[str, tuple[Patch, ...]] = {
    **{rule: (_ignore_rule(rule),) for rule in ("signature", "roster", "distinct", "listing", "round")},
    "own-entry": (_ignore_rule("own-entry"), _a_share_of_its_own),
    "survivors": (_ignore_rule("survivors"), _a_share_of_its_own),
    "agreement": (_ignore_rule("agreement"), _any_index),
    "members": (_ignore_rule("members"), _any_index),
    "delivery": (_ignore_rule("delivery"), _no_delivery_check),
    "point": (_any_point,),
    "decoding": (lambda m: m.setattr(production, "decode", _lenient_decode),),
    "policy": (lambda m: m.setattr(ClientPolicy, "check", lambda *a: None),),
    "cohort": (lambda m: m.setattr(SessionConfig, "_check_cohort", lambda *a: None),),
    "overflow": (lambda m: m.setattr(SessionConfig, "make_quantiser", lambda *a: None),),
    "version": (lambda m: m.setattr(config, "VERSION", 2),),
    "exchange-name": (lambda m: m.setattr(config, "CLASSICAL", "none"),),
    "shares": (lambda m: m.setattr(production, "open_delivery", lambda *a: (bytes(33), bytes(33))),),
    "pair": (lambda m: m.setattr(exchange.Exchange, "pair_from", lambda self, dealer, _: self.pairs.get(dealer, b"")),),
}


def leave_out(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take ``check`` out of every client."""
    for patch in CHECKS[check]:
        patch(monkeypatch)


def leave_out_at_server(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes on where production refuses by ``rule``; "decoding" stands for all rules about bytes."""
    if rule == "decoding":
        monkeypatch.setattr(messages, "decode_client", _lenient_decode_client)
        return
    refuse = server._refuse

    def only_others(sender: int, broken: str, message: str) -> None:
        if broken != rule:
            refuse(sender, broken, message)

    monkeypatch.setattr(server, "_refuse", only_others)
    monkeypatch.setattr(server, "zip", lambda *lists, strict: builtins.zip(*lists, strict=False), raising=False)
    monkeypatch.setattr(Roster, "public_key", lambda self, index: self.members[index % len(self.members)][1])
