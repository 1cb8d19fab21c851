"""How many neighbours, and which threshold among them: the bounds of SecAgg+, computed exactly.

Bell et al. (CCS 2020, ePrint 2020/704), section 4. Over a random order, the corrupt and the dropped among one
client's k neighbours are hypergeometric. With n clients, c corrupt, at most n - m dropped and B = c + n - m:

* *connected*: the probability that the honest survivors fall into two parts, between which no mask is left, is
  below n (n - k - 1) / 2 * C(n - k, B - k) / C(n, B), which must be below 2^-(sigma + 1); zero where k > B;
* *secret*: t1 is the least number such that some client has more corrupt neighbours than that with probability below
  2^-(sigma + 1), by a union over the n clients; against a semi-honest server t > t1, against one that would lie about
  who dropped 2t > k + t1;
* *correct*: t is at most the 2^-20 / n quantile of the surviving neighbours, so that sums open.

Together the first two fail in a round with probability below 2^-sigma. The order is drawn once and who drops out
changes, so over T rounds it is (T + 1) * 2^-(sigma + 1). Both hold for corrupt and dropped clients that do not depend
on the order: whoever makes clients drop out knowing it can cut the graph. All in integers and fractions: nothing
rounds.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, perm

from fedsec.errors import ConfigError

SECURITY_BITS = 40
CORRECTNESS_BITS = 20


def parameters(clients: int, *, corrupt: int, dropped: int, semi_malicious: bool = False) -> tuple[int, int]:
    """The least even degree k, and its threshold t, for c ``corrupt`` and at most ``dropped`` of n ``clients``.

    ``semi_malicious`` gives the published constants for a server that lies about who dropped; this package accepts
    no sparse graph against any but a semi-honest server.

    Raises:
        ConfigError: no degree below n serves, or c and n - m are not numbers of clients.
    """
    if min(corrupt, dropped) < 0 or max(corrupt, dropped) > clients:
        raise ConfigError(f"{corrupt} corrupt and {dropped} dropped are not out of {clients} clients")
    for degree in range(2, clients, 2):
        if not is_connected(clients, degree=degree, absent=corrupt + dropped):
            continue
        exposed = corrupt_neighbours(clients, degree=degree, corrupt=corrupt)
        threshold = (degree + exposed) // 2 + 1 if semi_malicious else exposed + 1
        if _opens(clients, degree=degree, threshold=threshold, dropped=dropped):
            return degree, threshold
    raise ConfigError(
        f"no sparse graph over {clients} clients withstands {corrupt} corrupt and {dropped} dropped ones",
        remedy="Use the complete graph, or allow fewer of either.",
    )


def is_connected(clients: int, *, degree: int, absent: int) -> bool:
    """Whether the honest survivors stay connected but with probability below 2^-41, ``absent`` = B."""
    if degree > absent:
        return True
    split = Fraction(clients * (clients - degree - 1), 2) * Fraction(perm(absent, degree), perm(clients, degree))
    return split < Fraction(1, 1 << (SECURITY_BITS + 1))


def corrupt_neighbours(clients: int, *, degree: int, corrupt: int) -> int:
    """t1: no client has more corrupt neighbours than this, but with probability below 2^-41."""
    bound = Fraction(comb(clients, degree), clients << (SECURITY_BITS + 1))
    tail, most = 0, min(degree, corrupt)
    while True:  # at 0 the tail is everything
        tail += _ways(clients, degree=degree, marked=corrupt, hit=most)
        if tail >= bound:
            return most
        most -= 1


def _opens(clients: int, *, degree: int, threshold: int, dropped: int) -> bool:
    """Whether fewer than ``threshold`` neighbours survive with probability at most 2^-20 / n."""
    survivors = clients - dropped
    fewer = sum(_ways(clients, degree=degree, marked=survivors, hit=hit) for hit in range(threshold))
    return Fraction(fewer, comb(clients, degree)) <= Fraction(1, clients << CORRECTNESS_BITS)


def _ways(clients: int, *, degree: int, marked: int, hit: int) -> int:
    """In how many ways ``degree`` out of ``clients`` hit exactly ``hit`` of the ``marked``."""
    return comb(marked, hit) * comb(clients - marked, degree - hit)
