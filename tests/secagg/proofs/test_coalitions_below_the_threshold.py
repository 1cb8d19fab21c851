"""T4, coalitions: t - 1 shares say nothing, t give the secret, and both secrets of a victim are had iff 2t <= n + c.

An honest client reveals one kind of share for a victim, whom it is told to unmask either as a survivor or as a
dropout. A server that works with c corrupt clients shows different lists to different honest ones; its friends give
both kinds. So it needs two groups of t - c honest clients each, of which there are n - c: possible exactly if
2 (t - c) <= n - c.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fedsec.errors import ConfigError, RemoteProtocolError
from secagg import messages, shamir, transcript
from tests.secagg.helpers import POLICY, Federation, change, decode, make_session

FIELDS = [(5, 4, 1), (5, 4, 2), (5, 3, 3), (5, 4, 4), (7, 4, 3), (7, 6, 2)]  # prime, n, t
VICTIM = 0


def _dealings(
    secret: int, *, prime: int, n: int, t: int, elements: Iterable[int] | None = None
) -> Iterator[dict[int, int]]:
    """The shares that the production code deals, for every sequence of random ``elements`` that it may draw."""
    for drawn in itertools.product(range(prime) if elements is None else elements, repeat=t - 1):
        left = iter(drawn)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shamir, "random_element", lambda _, left=left: next(left))
            yield shamir.split(secret, threshold=t, indices=range(n), prime=prime)
        assert next(left, None) is None


def _says_nothing(prime: int, n: int, t: int, *, held: int, **broken: Any) -> bool:
    """Whether every ``held`` shares are each tuple of field elements equally often, whatever the secret is."""
    for secret in range(prime):
        seen = {group: Counter[tuple[int, ...]]() for group in itertools.combinations(range(n), held)}
        for shares in _dealings(secret, prime=prime, n=n, t=t, **broken):
            for group, counts in seen.items():
                counts[tuple(shares[index] for index in group)] += 1
        for counts in seen.values():
            if len(counts) != prime**held or len(set(counts.values())) != 1:
                return False
    return True


@pytest.mark.parametrize(("prime", "n", "t"), FIELDS)
def test_fewer_than_t_shares_are_consistent_with_every_secret(prime: int, n: int, t: int) -> None:
    """Over all polynomials the shares of any group below t are uniform, for every secret."""
    assert all(_says_nothing(prime, n, t, held=held) for held in range(t))


@pytest.mark.parametrize(("prime", "n", "t"), FIELDS)
def test_any_t_shares_give_the_secret(prime: int, n: int, t: int) -> None:
    for secret in range(prime):
        for shares in _dealings(secret, prime=prime, n=n, t=t):
            for group in itertools.combinations(range(n), t):
                assert shamir.combine(shares, shamir.weights(group, prime=prime), prime=prime) == secret


@pytest.mark.parametrize(("prime", "n", "t"), FIELDS)
def test_control_more_shares_or_a_lesser_sampler_say_something(prime: int, n: int, t: int) -> None:
    """t shares are not uniform; nor are t - 1 of a polynomial one coefficient short, or that never draws p - 1."""
    assert not _says_nothing(prime, n, t, held=t)
    if t > 1:
        assert not _says_nothing(prime, n, t - 1, held=t - 1)
        assert not _says_nothing(prime, n, t, held=t - 1, elements=range(prime - 1))


def _has_both(n: int, t: int, c: int) -> bool:
    """Whether some way to divide the honest clients lets a coalition with c of n rebuild two secrets of the victim.

    Everybody holds a share of both. Who is asked for which kind is the server's choice; the victim signs no list
    without itself, so from it there is a share of the one kind only.
    """
    secrets = {"self": 2**255 + 1, "mask": 2**254 + 2}
    dealt = {kind: shamir.split(secret, threshold=t, indices=range(n)) for kind, secret in secrets.items()}
    corrupt, honest = range(n - c, n), range(1, n - c)
    for size in range(len(honest) + 1):
        for told_dropped in itertools.combinations(honest, size):
            asked = {"mask": told_dropped, "self": (VICTIM, *(u for u in honest if u not in told_dropped))}
            if all(
                _combine({u: dealt[kind][u] for u in (*asked[kind], *corrupt)}) == secret
                for kind, secret in secrets.items()
            ):
                return True
    return False


def _combine(shares: dict[int, int]) -> int:
    return shamir.combine(shares, shamir.weights(sorted(shares)))


@pytest.mark.parametrize("n", range(1, 9))
def test_both_secrets_of_a_victim_need_two_groups_of_t(n: int) -> None:
    """For every threshold and every number of corrupt clients beside an honest victim, by rebuilding both secrets."""
    for t, c in itertools.product(range(1, n + 1), range(n)):
        assert _has_both(n, t, c) == (2 * t <= n + c), (n, t, c)


@pytest.mark.parametrize("n", range(5, 9))
def test_a_session_admits_exactly_the_thresholds_that_are_secure(n: int) -> None:
    """Of those that leave two honest inputs in every sum."""
    roster = Federation(n=n).roster
    admitted = set()
    for t, c in itertools.product(range(1, n + 1), range(n)):
        try:
            make_session(roster, threshold=t, corrupt=c)
        except ConfigError:
            continue
        admitted.add((t, c))
    pairs = itertools.product(range(1, n + 1), range(n))
    assert admitted == {(t, c) for t, c in pairs if t - c >= 2 and not _has_both(n, t, c)}


def _overheard(split: Callable[..., dict[int, int]], secrets: list[int]) -> Callable[..., dict[int, int]]:
    def overheard(secret: int, **rest: Any) -> dict[int, int]:
        secrets.append(secret)
        return split(secret, **rest)

    return overheard


class _Coalition:
    """A server and corrupt clients in a session of production clients, after step 2, everybody having masked.

    The session states few corrupt clients or none. How many there are is for the attack to say.
    """

    def __init__(self, *, n: int, t: int, corrupt: Collection[int]) -> None:
        split: list[int] = []
        self.federation = Federation(n=n, changes={"corrupt": 0, "threshold": t}, policy=replace(POLICY, min_corrupt=0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shamir, "split", _overheard(shamir.split, split))
            self.federation.run(until="agree")
        self.secrets = set(split[:2])  # the victim, which is the first client, deals its two secrets first
        self.everybody = tuple(range(n))
        self.corrupt = tuple(corrupt)
        self.honest = tuple(u for u in self.everybody if u not in self.corrupt)
        self.phases = {u: self.federation.clients[u]._phase for u in self.corrupt}
        self._proof = decode(Federation(n=5).run(until="unmask").requests[0], messages.UnmaskRequest)

    def _agree(self, u: int, survivors: tuple[int, ...]) -> messages.Agree:
        """What ``u`` signs: an honest client one list, a corrupt one whatever it is asked to."""
        request = decode(self.federation.requests[u], messages.AgreeRequest)
        if u in self.honest:
            reply = self.federation.clients[u].agree(change(request, survivors=survivors))
            return decode(reply, messages.Agree)
        place = self.phases[u].place
        signature = self.federation.identities[u].sign(*transcript.agree(place.sid, place.t2, u, survivors))
        return msgspec.structs.replace(self._proof.agreed[0], index=u, signature=signature)

    def ask(self, asked: Collection[int], survivors: tuple[int, ...]) -> dict[int, int]:
        """The shares for the victim that honest clients ``asked`` reveal once they saw signatures on ``survivors``."""
        signed = tuple(self._agree(u, survivors) for u in sorted({*asked, *self.corrupt} & {*survivors}))
        revealed = {}
        for u in asked:
            try:
                reply = self.federation.clients[u].unmask(change(self._proof, agreed=signed))
            except RemoteProtocolError as refusal:
                assert refusal.rule == "agreement"  # fewer than t have signed this list
                continue
            answer = decode(reply, messages.Unmask)
            if VICTIM in survivors:
                share = answer.self_shares[survivors.index(VICTIM)]
            else:
                (share,) = answer.mask_shares
            revealed[u] = int.from_bytes(share, "big")
        return revealed

    def both_secrets(self, told_survived: Collection[int], told_dropped: Collection[int]) -> bool:
        """Show honest clients a list with the victim, or the one without it; combine with what corrupt ones hold."""
        held = {kind: dict[int, int]() for kind in ("self", "mask")}
        for u, phase in self.phases.items():
            held["self"][u] = int.from_bytes(phase.self_shares[VICTIM], "big")
            held["mask"][u] = int.from_bytes(phase.mask_shares[VICTIM], "big")
        held["self"] |= self.ask(told_survived, self.everybody)
        held["mask"] |= self.ask(told_dropped, tuple(u for u in self.everybody if u != VICTIM))
        return {_combine(shares) for shares in held.values()} == self.secrets


@pytest.mark.parametrize(("n", "t"), [(5, 3), (5, 4), (6, 4), (8, 5)])
def test_real_clients_give_both_secrets_iff_2t_is_at_most_n_plus_c(n: int, t: int) -> None:
    """Production clients, any number of them corrupt, whatever the session states; every size of the two groups."""
    for c in range(n):
        outcomes = []
        for size in range(n - c):
            coalition = _Coalition(n=n, t=t, corrupt=range(n - c, n))
            victim, *others = coalition.honest
            outcomes.append(coalition.both_secrets([victim, *others[size:]], others[:size]))
        assert any(outcomes) == (2 * t <= n + c), (c, outcomes)


def test_control_clients_that_can_be_rolled_back_give_both() -> None:
    """Counting assumes that clients answer once. Restored from a snapshot all answer twice: 2t > n + c is void."""
    coalition = _Coalition(n=5, t=4, corrupt=())
    clients = coalition.federation.clients
    snapshots = [vars(client) | {"_answered": dict(client._answered)} for client in clients]
    one = coalition.ask(range(5), (0, 1, 2, 3, 4))
    with pytest.raises(RemoteProtocolError, match="second, different request"):
        coalition.ask([1], (1, 2, 3, 4))
    for client, snapshot in zip(clients, snapshots, strict=True):
        vars(client).update(snapshot)
    two = coalition.ask([1, 2, 3, 4], (1, 2, 3, 4))
    assert {_combine(one), _combine(two)} == coalition.secrets
