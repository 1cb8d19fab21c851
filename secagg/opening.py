"""Step 4 at the server: rebuild one seed for each dealer, and find out who is to blame if one is wrong.

Checking is lazy: a rebuilt b_v must give its commitment, a rebuilt a_v the advertised mask keys, and in the hybrid
every r_uv its commitment. Only where a seed does not are the shares held against their signed leaves. A share that
does not match convicts its responder, whose shares are then used nowhere. If all match, the dealer dealt badly and is
convicted. A bad share never gets into the sum: no mask is removed before every seed is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from fedsec.errors import CohortError, RemoteProtocolError
from secagg import dealing, kem, keys, shamir
from secagg.messages import Advertise, Entry, Unmask


class Opening:
    """The seeds of one round.

    Args:
        kid, t1: of the round.
        advertised: what U1 advertised, by index.
        entries: what U2 dealt: by dealer, by receiver.
        commitments: to b_v, by dealer.
        survivors: U3, by rising index.
        revealed: checked answers of step 4, by responder: one share for each member of U2 in its neighbourhood.
        threshold: t.
    """

    def __init__(
        self,
        *,
        kid: bytes,
        t1: bytes,
        advertised: Mapping[int, Advertise],
        entries: Mapping[int, Mapping[int, Entry]],
        commitments: Mapping[int, bytes],
        survivors: Sequence[int],
        revealed: Mapping[int, Unmask],
        threshold: int,
    ) -> None:
        self._kid = kid
        self._t1 = t1
        self._advertised = advertised
        self._entries = entries
        self._commitments = commitments
        self._survivors = tuple(survivors)
        alive = set(survivors)
        self._dropped = tuple(v for v in sorted(entries) if v not in alive)
        self._shares: dict[int, dict[int, bytes]] = {dealer: {} for dealer in entries}  # by dealer, by responder
        dealers = sorted(entries)
        for responder, answer in sorted(revealed.items()):
            near = [dealer for dealer in dealers if responder in entries[dealer]]
            kept = zip((v for v in near if v in alive), answer.self_shares, strict=True)
            lost = zip((v for v in near if v not in alive), answer.mask_shares, strict=True)
            for dealer, share in (*kept, *lost):
                self._shares[dealer][responder] = share
        self._threshold = threshold
        self._weights: dict[tuple[int, ...], dict[int, int]] = {}
        self._liars: set[int] = set()

    @property
    def convicted(self) -> tuple[int, ...]:
        """Responders whose share did not match its leaf, by rising index."""
        return tuple(sorted(self._liars))

    def self_seeds(self) -> dict[int, bytes]:
        """b_v of every survivor v, each checked against its commitment.

        Raises:
            CohortError: fewer than t responders are left.
            RemoteProtocolError: rule "dealing", ``peer`` is a dealer whose matching shares give a wrong seed.
        """
        return {
            dealer: self._rebuild(dealer, kind=dealing.SELF, is_right=partial(self._is_self_seed, dealer))
            for dealer in self._survivors
        }

    def mask_seeds(self) -> dict[int, bytes]:
        """a_v of every dealer v that sent no masked input, each checked against its advertised mask keys.

        Raises:
            CohortError, RemoteProtocolError: as :meth:`self_seeds`.
        """
        return {
            dealer: self._rebuild(dealer, kind=dealing.MASK, is_right=partial(self._is_mask_seed, dealer))
            for dealer in self._dropped
        }

    def pair_secrets(self, mask_seeds: Mapping[int, bytes]) -> Iterator[tuple[int, int, bytes]]:
        """``(survivor, dropped, secret)`` of every mask between the two that is left in the sum.

        Raises:
            RemoteProtocolError: rule "dealing", ``peer`` is the lower of the two: its r_uv is not what it committed to.
        """
        for dropped, seed in mask_seeds.items():
            private = keys.mask_private_key(seed)
            for survivor in self._survivors:
                if survivor not in self._entries[dropped]:
                    continue
                secret = keys.agree(private, self._advertised[survivor].mask_key)
                assert secret is not None  # checked when it was advertised
                yield survivor, dropped, secret + self._post_quantum_half(survivor, dropped, seed)

    def pairs(self) -> list[tuple[int, int]]:
        """``(lower, higher)`` of every survivor with every dealer that it shares a mask with and that dropped out."""
        found = ((survivor, dropped) for dropped in self._dropped for survivor in self._entries[dropped])
        alive = set(self._survivors)
        return sorted((min(pair), max(pair)) for pair in found if pair[0] in alive)

    def _post_quantum_half(self, survivor: int, dropped: int, seed: bytes) -> bytes:
        """r_uv from a_v of the one that dropped out; empty without the hybrid."""
        lower, higher = min(survivor, dropped), max(survivor, dropped)
        pair = self._entries[lower][higher].pair
        if pair is None:
            return b""
        secret: bytes | None
        if dropped == lower:
            secret = kem.pair_secret(seed, self._t1, lower, higher)
            if kem.commit(self._kid, lower, higher, secret) != pair.commitment:
                secret = None
        else:
            private = kem.mask_private_key(seed)
            secret = kem.receive(pair, kid=self._kid, t1=self._t1, lower=lower, higher=higher, private=private)
        if secret is None:
            raise _dealt_badly(lower, "a pair secret that is not the one it committed to")
        return secret

    def _is_self_seed(self, dealer: int, seed: bytes) -> bool:
        return keys.commitment(self._kid, dealer, seed) == self._commitments[dealer]

    def _is_mask_seed(self, dealer: int, seed: bytes) -> bool:
        own = self._advertised[dealer]
        return keys.public_bytes(keys.mask_private_key(seed)) == own.mask_key and (
            not own.mask_kem or kem.public_bytes(kem.mask_private_key(seed)) == own.mask_kem
        )

    def _rebuild(self, dealer: int, *, kind: bytes, is_right: Callable[[bytes], bool]) -> bytes:
        shares = self._shares[dealer]
        while True:
            good = [responder for responder in shares if responder not in self._liars]
            if len(good) < self._threshold:
                raise CohortError(
                    f"{len(good)} banks answered the unmasking rightly, {self._threshold} are needed",
                    survivors=len(good),
                    needed=self._threshold,
                    step="unmask",
                    remedy="Run the round again without the convicted banks; its privacy budget is spent.",
                )
            chosen = tuple(good[: self._threshold])
            numbers = {responder: int.from_bytes(shares[responder], "big") for responder in chosen}
            secret = shamir.combine(numbers, self._weights_of(chosen))
            if secret < 1 << (8 * keys.SEED_BYTES):
                seed = secret.to_bytes(keys.SEED_BYTES, "big")
                if is_right(seed):
                    return seed
            liars = [r for r in chosen if not self._matches_leaf(dealer, r, kind=kind, share=shares[r])]
            if not liars:
                raise _dealt_badly(dealer, "shares that do not give the seed it committed to")
            self._liars.update(liars)

    def _matches_leaf(self, dealer: int, responder: int, *, kind: bytes, share: bytes) -> bool:
        entry = self._entries[dealer][responder]
        found = dealing.leaf(
            self._kid,
            self._t1,
            dealer=dealer,
            receiver=responder,
            kind=kind,
            share=share,
            sealed=dealing.sealed_digest(entry.ciphertext, entry.kem),
        )
        return found == (entry.self_leaf if kind == dealing.SELF else entry.mask_leaf)

    def _weights_of(self, chosen: tuple[int, ...]) -> dict[int, int]:
        if chosen not in self._weights:
            self._weights[chosen] = shamir.weights(chosen)
        return self._weights[chosen]


def mask_keys(
    self_seeds: Mapping[int, bytes], pairs: Sequence[tuple[int, int, bytes]], t2: bytes
) -> tuple[list[bytes], list[bytes]]:
    """Keys of the streams to add to a sum, and to subtract, so that no mask is left in it.

    Off go every survivor's own mask, and what it shares with each dealer that sent no masked input.
    """
    add: list[bytes] = []
    subtract = [keys.self_key(seed, t2) for seed in self_seeds.values()]
    for survivor, dropped, secret in pairs:
        key = keys.pair_key(secret, t2, survivor, dropped)
        # The survivor added the stream if the other index is higher.
        (subtract if dropped > survivor else add).append(key)
    return add, subtract


def _dealt_badly(dealer: int, what: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"bank {dealer} dealt {what}",
        peer=dealer,
        rule="dealing",
        remedy="Run the next round without this bank; the privacy budget of this one is spent.",
    )
