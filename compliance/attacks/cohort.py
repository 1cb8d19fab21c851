"""Honest banks and their server as production objects, with a dishonest hand on the messages between them.

What depends on the messages' and the clients' inside is here and in :mod:`compliance.attacks.forgeries`, nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from compliance.attacks.setting import Setting
from fedsec.errors import LocalProtocolError, RemoteProtocolError
from fedsec.keystream import KeyStream
from secagg import (
    Client,
    ClientPolicy,
    Identity,
    Opened,
    PrivacyParameters,
    Quantiser,
    QuantiserParameters,
    Roster,
    RoundConfig,
    Server,
    SessionConfig,
    default_corrupt,
    keys,
    masking,
    messages,
    ring_bits_for,
    shamir,
    threshold,
)
from secagg.packing import unpack
from secagg.rounds import Place

STEPS = ("advertise", "share", "mask", "agree", "unmask")
LARGEST = 10  # banks of a cohort that is attacked once; a larger one is stood in for by this many
SMALLEST = 5  # of a cohort that only serves to mask updates by the hundred
TASK = "attack"
_ROUND_DOWN = 1 - 1e-9


class Cohort:
    """One session among honest banks, bank 0 being the victim, with the grid and noise of ``setting``.

    Args:
        setting: what is attacked.
        banks: how many; None: as many as the setting has, at most :data:`LARGEST`.
        inputs: int64 ``(banks, d)``, on the session's grid.
        round: number of the attempt.
        parties: long-lived keys of the server and of each bank; None: fresh ones.
        policy: what the banks ask of a session; a control passes another.
        changes: other fields of the session.
    """

    def __init__(
        self,
        setting: Setting,
        inputs: NDArray[np.int64],
        *,
        banks: int | None = None,
        round: int = 0,
        parties: tuple[Identity, list[Identity]] | None = None,
        policy: type[ClientPolicy] = ClientPolicy,
        **changes: Any,
    ) -> None:
        self.banks = cohort_size(setting) if banks is None else banks
        self.inputs = inputs
        self.server_identity, self.identities = parties or new_parties(self.banks)
        self.roster = Roster(
            server=self.server_identity.public_key,
            members=tuple((index, identity.public_key) for index, identity in enumerate(self.identities)),
        )
        self.session = session(setting, self.roster, round=round, **changes)
        self.policy = policy(
            tasks=frozenset({TASK}),
            purposes=frozenset({"training"}),
            modes=frozenset({setting.mode}),
            min_clients=self.banks,
            min_corrupt=self.session.corrupt,
            max_corrupt=self.session.corrupt,
            min_honest_inputs=self.session.threshold - self.session.corrupt,
            min_noise_multiplier=self.session.privacy.noise_multiplier,
        )
        self.server = Server(identity=self.server_identity, roster=self.roster, session=self.session)
        self.clients = [
            Client(index=index, identity=identity, roster=self.roster, policy=self.policy)
            for index, identity in enumerate(self.identities)
        ]
        self.round_config = RoundConfig(kid=self.session.kid, model_digest=bytes(32), optimiser=b"")
        self.sent: dict[tuple[str, int], bytes] = {}
        self.asked: dict[str, dict[int, bytes]] = {"advertise": self.server.open()}

    @property
    def corrupt(self) -> tuple[int, ...]:
        """The banks that work with the server: the last c."""
        return tuple(range(self.banks - self.session.corrupt, self.banks))

    def until(self, step: str) -> Cohort:
        """Play all steps before ``step`` honestly; ``step`` itself is asked and not yet answered."""
        return self._play(STEPS[: STEPS.index(step)])

    def to_the_end(self) -> Cohort:
        """Play all steps honestly, so that the sum is opened."""
        return self._play(STEPS)

    def _play(self, steps: Sequence[str]) -> Cohort:
        for name in steps:
            self.answer(name)
            self.close(name)
        return self

    def answer(self, step: str, *, without: Collection[int] = ()) -> None:
        """All that were asked answer the honest request, and the server takes it."""
        for index, request in self.asked[step].items():
            if index not in without:
                self.sent[step, index] = self.ask(step, index, request)
                self.server.receive(index, self.sent[step, index])

    def close(self, step: str) -> None:
        """The server closes ``step`` and makes the next requests."""
        following = (*STEPS, "")[STEPS.index(step) + 1]
        self.asked[following] = self.server.advance(self.round_config if step == "share" else None)

    def ask(self, step: str, index: int, request: bytes) -> bytes:
        """What the honest bank ``index`` answers to ``request``."""
        client = self.clients[index]
        if step == "mask":
            client.accept(request)
            return client.mask(self.inputs[index])
        call: Callable[[bytes], bytes] = getattr(client, step)
        return call(request)

    def refusal(self, step: str, index: int, request: bytes) -> str:
        """The rule by which bank ``index`` refuses ``request``; "" if it answered, "silence" if it is done talking."""
        try:
            self.ask(step, index, request)
        except RemoteProtocolError as error:
            return error.rule
        except LocalProtocolError:
            return "silence"
        return ""

    def masked(self, index: int) -> NDArray[np.unsignedinteger]:
        """The ring words of the masked input that bank ``index`` sent."""
        message = msgspec.msgpack.decode(self.sent["mask", index], type=messages.Mask)
        return unpack(message.payload, self.session.dimension, self.session.ring_bits)

    def lift(self, words: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Ring words as the integers that they stand for."""
        return self.session.make_quantiser().lift(words)

    def place(self, index: int) -> Place:
        """Round and transcript as bank ``index`` sees them once it has accepted: public to whoever works with it."""
        phase: Any = self.clients[index]._phase
        place: Place = phase.place
        return place

    def held_shares(self, index: int) -> tuple[Mapping[int, bytes], Mapping[int, bytes]]:
        """Shares (of b, of a) by dealer that a corrupt bank ``index`` holds after masking, and gives to the server."""
        phase: Any = self.clients[index]._phase
        return phase.self_shares, phase.mask_shares

    def mask_less_the_pairs_streams(self, index: int) -> NDArray[np.unsignedinteger]:
        """Bank ``index`` masks its input: the ring words, less the streams that it shares with others."""
        client = self.clients[index]
        client.accept(self.asked["mask"][index])
        phase: Any = client._phase
        pairs: Mapping[int, bytes] = phase.pair_keys
        self.sent["mask", index] = client.mask(self.inputs[index])
        return without_streams(self.masked(index), index, self_key=None, pair_keys=pairs)

    def curve_key(self, index: int) -> X25519PrivateKey:
        """The X25519 key for masks of bank ``index`` once it has advertised: what a broken curve would give."""
        phase: Any = self.clients[index]._phase
        return keys.mask_private_key(phase.mask_seed)

    def revealed_seed(self, index: int) -> bytes:
        """The seed of bank ``index``'s own mask, from the shares that opening a sum with it gave to the server."""
        place = self.opened().survivors.index(index)
        answers = (
            msgspec.msgpack.decode(data, type=messages.Unmask) for (s, _), data in self.sent.items() if s == "unmask"
        )
        return rebuilt({answer.index: answer.self_shares[place] for answer in answers})

    def opened(self) -> Opened:
        """The opened sum, once every step is closed."""
        return self.server.result()


def rebuilt(shares: Mapping[int, bytes]) -> bytes:
    """The seed of 32 bytes behind encoded ``shares``, by holder."""
    numbers = {index: int.from_bytes(share, "big") for index, share in shares.items()}
    return shamir.combine(numbers, shamir.weights(tuple(numbers))).to_bytes(shamir.SHARE_BYTES, "big")[1:]


def new_parties(banks: int) -> tuple[Identity, list[Identity]]:
    """Fresh long-lived keys of a server and its banks."""
    return Identity.generate(), [Identity.generate() for _ in range(banks)]


def cohort_size(setting: Setting) -> int:
    """Banks of a cohort that is attacked."""
    return min(setting.clients, LARGEST)


def session(setting: Setting, roster: Roster, *, round: int, **changes: Any) -> SessionConfig:
    """A session with the setting's grid and noise; with c and t of the setting where the cohort is its whole cohort."""
    n = len(roster.members)
    whole = n == setting.clients
    c = setting.corrupt if whole else default_corrupt(n)
    t = setting.threshold if whole else threshold(n, c)
    h = min(setting.shares, t - c)
    grid = setting.quantiser
    deviation = math.sqrt(setting.share_variance * h)
    values: dict[str, Any] = {
        "task": TASK,
        "purpose": "training",
        "round": round,
        "dimension": setting.dimension,
        "ring_bits": ring_bits_for(n, grid.saturation, grid.noise_bound),
        "quantiser": QuantiserParameters(scale=grid.scale, saturation=grid.saturation, noise_bound=grid.noise_bound),
        "privacy": PrivacyParameters(
            mode=setting.mode,
            clip=setting.clip,
            noise_multiplier=deviation / setting.sensitivity * _ROUND_DOWN,
            sensitivity=setting.sensitivity,
            share_variance=float(setting.share_variance),
            honest_inputs=h,
        ),
        "clients": n,
        "threshold": t,
        "corrupt": c,
        "min_survivors": t,
        "roster_digest": roster.digest,
        "step_timeout_seconds": 60,
    }
    return SessionConfig(**(values | changes))


def on_grid(setting: Setting, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """``values`` ``(d,)`` on the grid of what is masked, by the production rounding; no noise is added."""
    n = cohort_size(setting)
    grid = setting.quantiser
    quantiser = Quantiser(
        scale=grid.scale,
        saturation=grid.saturation,
        noise_bound=grid.noise_bound,
        clients=n,
        ring_bits=ring_bits_for(n, grid.saturation, grid.noise_bound),
    )
    return quantiser.quantise(values)


def seen_by_server(setting: Setting, updates: Sequence[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """For each update ``(d,)`` what a server sees of it when real banks mask it: float64 ``(d,)``, in its units.

    The noise share is left out, so that nothing but the mask protects. Fresh keys for every five.
    """
    for start in range(0, len(updates), SMALLEST):
        part = [on_grid(setting, values) for values in updates[start : start + SMALLEST]]
        inputs = np.zeros((SMALLEST, setting.dimension), dtype=np.int64)
        inputs[: len(part)] = part
        cohort = Cohort(setting, inputs, banks=SMALLEST).until("mask")
        cohort.answer("mask")
        for index in range(len(part)):
            yield cohort.lift(cohort.masked(index)) / setting.quantiser.scale


def without_streams(
    words: NDArray[np.unsignedinteger], index: int, *, self_key: bytes | None, pair_keys: Mapping[int, bytes]
) -> NDArray[np.unsignedinteger]:
    """``words`` of bank ``index`` less the mask streams whose keys are known."""
    left = words.copy()
    masking.combine(
        left,
        add=[KeyStream(key) for peer, key in pair_keys.items() if peer < index],
        subtract=[
            *([] if self_key is None else [KeyStream(self_key)]),
            *(KeyStream(key) for peer, key in pair_keys.items() if peer > index),
        ],
    )
    return left
