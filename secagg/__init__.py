"""Secure aggregation: a server learns the sum of its clients' integer vectors and nothing else about them.

Bonawitz et al. (CCS 2017, ePrint 2017/281), active-adversary variant, on the complete graph, with X25519 and
ML-KEM-768, fresh keys every round, everything bound to a transcript; for large cohorts and a semi-honest server on
the sparse graphs of SecAgg+ (Bell et al., CCS 2020). What it claims and does not claim is in
docs/protocol.md. Sans-IO: :class:`Client` and :class:`Server` take and return bytes: any transport drives
them.
"""

from secagg.client import Client
from secagg.config import (
    PrivacyParameters,
    QuantiserParameters,
    RoundConfig,
    SessionConfig,
    default_corrupt,
    threshold,
)
from secagg.identity import Identity, Roster
from secagg.messages import Agreement
from secagg.policy import ClientPolicy
from secagg.quantiser import Quantiser, ring_bits_for
from secagg.server import Opened, Server
from secagg.states import State, Step

__all__ = [
    "Agreement",
    "Client",
    "ClientPolicy",
    "Identity",
    "Opened",
    "PrivacyParameters",
    "Quantiser",
    "QuantiserParameters",
    "Roster",
    "RoundConfig",
    "Server",
    "SessionConfig",
    "State",
    "Step",
    "default_corrupt",
    "ring_bits_for",
    "threshold",
]
