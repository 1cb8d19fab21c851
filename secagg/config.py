"""What a round is: SessionConfig (all but the model, ``kid``) and RoundConfig (with the model, ``sid``).

Both are encoded canonically (msgpack arrays, fields in the order below), signed by the server, and hashed
into every key. A configuration that validates is safe on its own terms; whether a client wants it is
:mod:`secagg.policy`'s.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from fedsec.errors import ConfigError
from secagg import labels, sparse
from secagg.encoding import digest
from secagg.graph import COMPLETE_LIMIT, Complete, Graph, Harary, neighbourhood
from secagg.identity import MAX_CLIENTS
from secagg.quantiser import Quantiser

VERSION = 1
MIN_CLIENTS = 5
MIN_HONEST_INPUTS = 2
MAX_DIMENSION = 1 << 28
MAX_OPTIMISER_BYTES = 4096
DISTRIBUTED = "distributed"  # the mode in which inputs carry shares of the noise
CLASSICAL = "x25519"
HYBRID = "x25519+ml-kem-768"
ACTIVE = "active"  # a server that deviates as it likes
SEMI_HONEST = "semi-honest"  # server and corrupt clients follow the protocol, and remember and pool everything

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


def default_corrupt(clients: int) -> int:
    """c where nobody chose one: floor((n - 1) / 3)."""
    return (clients - 1) // 3


def threshold(clients: int, corrupt: int) -> int:
    """The least secure Shamir threshold, t = floor((n + c) / 2) + 1, so that 2t > n + c."""
    return (clients + corrupt) // 2 + 1


class QuantiserParameters(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The grid: ``scale`` s in grid units per unit, ``saturation`` M_x and ``noise_bound`` T_e in grid units."""

    scale: float
    saturation: int
    noise_bound: int


class PrivacyParameters(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The noise that the inputs carry, as every client is told; ``secagg`` adds none itself.

    Attributes:
        mode: "distributed" (each input carries a share of the noise) or any other name, of which nothing is checked
            but ranges: a client says in its policy which modes it takes part in.
        clip: C, L2 bound of one record's contribution, > 0.
        noise_multiplier: z, ratio of the counted noise's standard deviation to the sensitivity, >= 0.
        sensitivity: on the grid, after rounding, > 0.
        share_variance: sigma^2 of one input's noise, grid units squared, >= 0, in mode "distributed" > 0.
        honest_inputs: h, the shares that the noise was sized for, >= 1.
    """

    mode: Name
    clip: float
    noise_multiplier: float
    sensitivity: float
    share_variance: float
    honest_inputs: int

    def __post_init__(self) -> None:
        sizes = (self.clip, self.sensitivity)
        if not all(math.isfinite(size) and size > 0 for size in sizes):
            raise ConfigError("clip and sensitivity are finite and above 0")
        if not all(math.isfinite(size) and size >= 0 for size in (self.noise_multiplier, self.share_variance)):
            raise ConfigError("noise multiplier and share variance are finite and not below 0")
        if self.honest_inputs < 1:
            raise ConfigError("the noise is sized for at least one honest input")
        if self.mode == DISTRIBUTED:
            self._check_shares()

    def _check_shares(self) -> None:
        deviation = self.noise_multiplier * self.sensitivity
        promised = deviation * deviation  # "**" would raise an OverflowError where this gives inf
        if not (self.share_variance > 0 and math.isfinite(promised)):
            raise ConfigError("every share has noise, and what the noise multiplier says is a finite number")
        # One part in 10^9 for the float arithmetic of whoever sized it.
        if self.share_variance * self.honest_inputs < promised * (1 - 1e-9):
            raise ConfigError("the noise shares of the honest inputs add up to less than the noise multiplier says")


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """Everything about a round that is known before its model. Validates itself.

    Attributes:
        version: of the protocol, 1.
        task: id of the task, 1 to 64 characters; purpose: what the sum is for, e.g. "training".
        round: attempt within the task, >= 0; a (task, round) is used once.
        dimension: d, length of the vectors, 1 to 2^28.
        ring_bits: b in [1, 64].
        quantiser, privacy: see there.
        clients, threshold, corrupt: n, t, c with n >= 5, t - c >= 2, 2t > n + c, t <= n.
            With a sparse graph t is the threshold among a client's neighbours, m - c >= 2, and degree and threshold
            satisfy the bounds of :mod:`secagg.sparse` for c corrupt and n - m dropped clients.
        min_survivors: m, fewest inputs of a sum that is opened, t <= m <= n.
        graph: complete, up to 200 clients, or sparse.
        adversary: what it is meant to withstand, "active" (server and corrupt clients do what they like) or
            "semi-honest" (they follow the protocol); a sparse graph withstands the latter only.
        key_exchange: "x25519+ml-kem-768", the hybrid, or "x25519".
        roster_digest: of the roster that all clients have pinned.
        step_timeout_seconds: how long the server waits at each step, >= 1; stated here, the clock is the runtime's.

    Raises:
        ConfigError: a rule above is broken, a sum could wrap, or in mode "distributed" the sensitivity is below
            clip x scale or the noise bound is 0.
    """

    version: int = VERSION
    task: Name
    purpose: Name
    round: int
    dimension: int
    ring_bits: int
    quantiser: QuantiserParameters
    privacy: PrivacyParameters
    clients: int
    threshold: int
    corrupt: int
    min_survivors: int
    graph: Graph = Complete()
    adversary: str = ACTIVE
    key_exchange: str = HYBRID
    roster_digest: Digest
    step_timeout_seconds: int

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ConfigError(f"protocol version {self.version} is not known here")
        if self.key_exchange not in (CLASSICAL, HYBRID) or self.adversary not in (ACTIVE, SEMI_HONEST):
            raise ConfigError("a key exchange or an adversary that this version does not know")
        if not isinstance(self.graph, Complete | Harary):
            raise ConfigError("a graph that this version does not know")
        if not (self.round >= 0 and 1 <= self.dimension <= MAX_DIMENSION and self.step_timeout_seconds >= 1):
            raise ConfigError("round, dimension or timeout out of range")
        if not all(1 <= len(name) <= 64 for name in (self.task, self.purpose)):
            raise ConfigError("task and purpose have 1 to 64 characters")
        if len(self.roster_digest) != 32:
            raise ConfigError("a roster's digest has 32 bytes")
        self._check_cohort()
        self._check_noise()
        self.make_quantiser()

    def _check_cohort(self) -> None:
        n, t, c = self.clients, self.threshold, self.corrupt
        if not (MIN_CLIENTS <= n <= MAX_CLIENTS and 0 <= c <= n):
            raise ConfigError(
                f"a cohort has {MIN_CLIENTS} to {MAX_CLIENTS} clients, not {n}, and 0 or more of them are corrupt"
            )
        if not t <= self.min_survivors <= n:
            raise ConfigError("the minimum of survivors lies between the threshold and the number of clients")
        if isinstance(self.graph, Harary):
            self._check_sparse(self.graph)
        elif n > COMPLETE_LIMIT:
            raise ConfigError(f"the complete graph has at most {COMPLETE_LIMIT} clients, not {n}: use a sparse one")
        elif 2 * t <= n + c:
            raise ConfigError(f"threshold {t} is not secure for {n} clients of which {c} are corrupt: 2t > n + c")
        honest = self.honest_inputs
        if honest < MIN_HONEST_INPUTS:
            raise ConfigError(f"a sum needs at least {MIN_HONEST_INPUTS} honest inputs, not {honest}")
        if self.privacy.honest_inputs > honest:
            raise ConfigError(f"the noise is sized for more honest inputs than the {honest} of any opened sum")

    def _check_sparse(self, graph: Harary) -> None:
        """The bounds that keep a sum secret; that it opens is the concern of whoever chose the parameters."""
        n, t, c = self.clients, self.threshold, self.corrupt
        if self.adversary != SEMI_HONEST:
            raise ConfigError(
                "a sparse graph keeps inputs and shares of noise from a semi-honest server only",
                remedy='Use the complete graph, or declare the adversary "semi-honest".',
            )
        if graph.degree >= n or t > graph.degree:
            raise ConfigError("a sparse graph has fewer neighbours than clients, and a threshold among them")
        if not sparse.is_connected(n, degree=graph.degree, absent=c + n - self.min_survivors):
            raise ConfigError(f"{graph.degree} neighbours do not keep the honest survivors connected")
        exposed = sparse.corrupt_neighbours(n, degree=graph.degree, corrupt=c)
        if t <= exposed:
            raise ConfigError(f"threshold {t} is not secure: a client may have {exposed} corrupt neighbours")

    def _check_noise(self) -> None:
        """The grid against the privacy parameters: what one clipped record can move, and room for a share of noise."""
        if self.privacy.mode != DISTRIBUTED:
            return
        if not self.privacy.sensitivity >= self.privacy.clip * self.quantiser.scale:
            raise ConfigError("the sensitivity on the grid is less than the clip times the scale")
        if self.quantiser.noise_bound < 1:
            raise ConfigError("inputs carry shares of noise, but the noise bound leaves no room for any")

    @property
    def honest_inputs(self) -> int:
        """h, the least number of honest inputs in an opened sum: t - c, with a sparse graph m - c.

        On the complete graph a minimum of survivors above t raises what is opened; the noise does not count on it.
        """
        least = self.min_survivors if isinstance(self.graph, Harary) else self.threshold
        return least - self.corrupt

    @property
    def hybrid(self) -> bool:
        """Whether ML-KEM-768 stands beside X25519."""
        return self.key_exchange == HYBRID

    def neighbourhood(self, index: int) -> tuple[int, ...]:
        """Client ``index`` and those it shares masks and secrets with, by rising index."""
        return neighbourhood(self.graph, self.clients, index)

    def make_quantiser(self) -> Quantiser:
        """The grid of this session; making it checks the overflow theorem."""
        return Quantiser(
            scale=self.quantiser.scale,
            saturation=self.quantiser.saturation,
            noise_bound=self.quantiser.noise_bound,
            clients=self.clients,
            ring_bits=self.ring_bits,
        )

    def encode(self) -> bytes:
        """The canonical bytes that are signed and hashed."""
        return msgspec.msgpack.encode(self)

    @property
    def kid(self) -> bytes:
        """32 bytes that name the session; in every signature and key of steps 0 and 1."""
        return digest(labels.KID, self.encode())


class RoundConfig(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The rest of a round: the session it belongs to and the model that it starts from.

    Attributes:
        kid: of the session.
        model_digest: 32 bytes; the model's own bytes travel outside, and the caller compares.
        optimiser: at most 4096 opaque bytes, the server optimiser's constants.
    """

    kid: Digest
    model_digest: Digest
    optimiser: bytes

    def __post_init__(self) -> None:
        if len(self.kid) != 32 or len(self.model_digest) != 32 or len(self.optimiser) > MAX_OPTIMISER_BYTES:
            raise ConfigError("kid and model digest have 32 bytes, the optimiser's constants at most 4096")

    def encode(self) -> bytes:
        """The canonical bytes that are signed and hashed."""
        return msgspec.msgpack.encode(self)

    @property
    def sid(self) -> bytes:
        """32 bytes that name the round with its model; in every signature and key from step 2 on."""
        return digest(labels.SID, self.kid, self.encode())
