"""What the protocol costs beside the vectors: keys, shares, signatures, per client and step."""

from __future__ import annotations

import statistics

from benchmarks.secagg.federation import STEPS, Federation
from secagg.config import CLASSICAL, HYBRID

KEY_EXCHANGES = (CLASSICAL, HYBRID)
COHORTS = ((10, 0), (10, 3), (100, 0), (100, 30))
DIMENSION = 1_000
SMALL_STEPS = ("advertise", "share", "accept", "agree", "unmask")  # a client's without the vector


def run() -> None:
    """Print two tables."""
    print(f"\nrounds of {DIMENSION:,} values, ms of CPU: the median client, and the server for all of them\n")
    print("| key exchange | clients | dropped | who | " + " | ".join(STEPS) + " | all |")
    print("| --- " * (len(STEPS) + 5) + "|")
    totals = {}
    for name in KEY_EXCHANGES:
        for clients, dropped in COHORTS:
            federation = Federation(clients=clients, dimension=DIMENSION, key_exchange=name)
            federation.run(dropped=dropped)
            client = {step: statistics.median(federation.client_seconds[step]) for step in STEPS}
            totals[name, clients, dropped] = sum(client[step] for step in SMALL_STEPS)
            place = f"| {name} | {clients} | {dropped} "
            print(place + "| client | " + _row(client))
            print(place + "| server | " + _row(federation.server_seconds))
    print("\nkeys, shares and signatures of one of 100 clients\n\n| key exchange | ms |\n| --- | --- |")
    for name in KEY_EXCHANGES:
        print(f"| {name} | {1e3 * totals[name, 100, 0]:.1f} |")


def _row(seconds: dict[str, float]) -> str:
    return " | ".join(f"{1e3 * part:.2f}" for part in [*seconds.values(), sum(seconds.values())]) + " |"
