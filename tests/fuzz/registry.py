"""All targets by name: how to make one, its part of the inputs of ``make fuzz``, and whether atheris drives it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import decoders, draws, machines, primitives
from tests.fuzz.target import Target


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``share``: parts in a thousand of all inputs; ``guided``: half of them by coverage, where atheris is there."""

    make: Callable[[], Target]
    share: int
    guided: bool = False


TARGETS: dict[str, Plan] = {
    "messages": Plan(make=decoders.decoder_target, share=340, guided=True),
    "engine-messages": Plan(make=decoders.engine_target, share=160, guided=True),
    "primitives": Plan(make=primitives.primitive_target, share=149, guided=True),
    "client": Plan(make=machines.client_target, share=70),
    "client-alone": Plan(make=machines.colluding_client_target, share=50),
    "client-sparse": Plan(make=machines.sparse_client_target, share=25),
    "server": Plan(make=machines.server_target, share=70),
    "server-dishonest-bank": Plan(make=machines.colluding_server_target, share=50),
    "server-sparse": Plan(make=machines.sparse_server_target, share=25),
    "draw": Plan(make=draws.draw_target, share=40),
    "draw-alone": Plan(make=draws.colluding_draw_target, share=20),
    "spoilt-rounds": Plan(make=machines.round_target, share=1),
}
