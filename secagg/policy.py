"""A client's own terms. A session can be valid and still not be one that this bank takes part in."""

from __future__ import annotations

from dataclasses import dataclass

from fedsec.errors import RemoteProtocolError
from secagg.config import ACTIVE, HYBRID, MAX_DIMENSION, MIN_CLIENTS, MIN_HONEST_INPUTS, SessionConfig
from secagg.graph import Harary


@dataclass(frozen=True, kw_only=True)
class ClientPolicy:
    """The least that a client asks of a session; checked before it sends anything.

    Attributes:
        tasks: ids that it takes part in.
        purposes: what a sum may be for.
        modes: how the inputs are noised. In "distributed" a session must promise shares of noise; of any other name
            it promises nothing.
        min_clients: smallest n.
        min_corrupt: smallest c that the threshold must withstand. A server that claims c = 0 gets a smaller
            threshold, which is insecure if there are traitors after all.
        max_corrupt: largest c.
        min_honest_inputs: smallest h.
        min_noise_multiplier: least z.
        max_dimension: longest vector that this machine can hold.
        key_exchanges: which it takes part in; the hybrid only, so that nobody can talk it down to X25519.
        adversaries: which servers a session must withstand; by default "active", which no sparse graph does.
        graph_seed: of the draw that this client took part in (:mod:`secagg.draw`); a sparse graph over another order,
            or without a draw, is declined.
    """

    tasks: frozenset[str]
    purposes: frozenset[str]
    modes: frozenset[str]
    min_clients: int = MIN_CLIENTS
    min_corrupt: int = 1
    max_corrupt: int
    min_honest_inputs: int = MIN_HONEST_INPUTS
    min_noise_multiplier: float
    max_dimension: int = MAX_DIMENSION
    key_exchanges: frozenset[str] = frozenset({HYBRID})
    adversaries: frozenset[str] = frozenset({ACTIVE})
    graph_seed: bytes | None = None

    def check(self, session: SessionConfig) -> None:
        """Accept ``session`` or decline it.

        Raises:
            RemoteProtocolError: rule "policy", one sentence for this client's operator. On the wire there is
                silence, so a server learns one bit at most.
        """
        honest = session.honest_inputs
        drawn = not isinstance(session.graph, Harary) or session.graph.seed == self.graph_seed
        multiplier = session.privacy.noise_multiplier
        for declines, reason in (
            (session.task not in self.tasks, f"task {session.task!r} is not one of this client's"),
            (session.purpose not in self.purposes, f"purpose {session.purpose!r} is not accepted"),
            (session.privacy.mode not in self.modes, f"noise mode {session.privacy.mode!r} is not accepted"),
            (session.clients < self.min_clients, f"{session.clients} clients are too few"),
            (session.corrupt < self.min_corrupt, f"a threshold against {session.corrupt} traitors is too weak"),
            (session.corrupt > self.max_corrupt, f"{session.corrupt} corrupt clients are too many"),
            (honest < self.min_honest_inputs, f"{honest} honest inputs are too few"),
            (multiplier < self.min_noise_multiplier, f"noise multiplier {multiplier} is too small"),
            (session.dimension > self.max_dimension, f"{session.dimension} values are too many"),
            (session.key_exchange not in self.key_exchanges, f"key exchange {session.key_exchange} is not accepted"),
            (session.adversary not in self.adversaries, f"a {session.adversary} server is not what it guards against"),
            (not drawn, "the graph's order is not the one that was drawn"),
        ):
            if declines:
                raise RemoteProtocolError(
                    f"declined by this client's policy: {reason}",
                    peer=None,
                    rule="policy",
                    remedy="Change the policy or leave the task; the server is not told the reason.",
                )
