"""The same deviations against the naive control: how a server takes one bank's input apart where nothing stops it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.cohort import cohort_size, without_streams
from compliance.attacks.controls.naive_masking import OWN, PAIR, NaiveBank, own_key, pair_key
from compliance.attacks.setting import Setting
from secagg import Quantiser, ring_bits_for, shamir

VICTIM = 0
Words = NDArray[np.unsignedinteger]


class NaiveCohort:
    """Naive banks on the setting's grid, whose shares are dealt among all, under the setting's threshold."""

    def __init__(self, setting: Setting, *, seed_bits: int = 256) -> None:
        n, grid = cohort_size(setting), setting.quantiser
        self.bits = ring_bits_for(n, grid.saturation, grid.noise_bound)
        self.quantiser = Quantiser(
            scale=grid.scale,
            saturation=grid.saturation,
            noise_bound=grid.noise_bound,
            clients=n,
            ring_bits=self.bits,
        )
        self.banks = [
            NaiveBank(index=index, bound=self.quantiser.input_bound, bits=self.bits, seed_bits=seed_bits)
            for index in range(n)
        ]
        self.threshold = n // 2 + 1
        for bank in self.banks:
            bank.deal(self.banks, threshold=self.threshold)

    def keys(self, members: Iterable[int]) -> dict[int, bytes]:
        """What ``members`` advertised."""
        return {index: self.banks[index].public_key for index in members}

    def seed(self, dealer: int, kind: bytes, *, asked: Iterable[int]) -> bytes:
        """The seed of ``dealer`` from the shares that the banks ``asked`` give away."""
        shares = {index: self.banks[index].reveal(dealer, kind) for index in asked}
        return shamir.combine(shares, shamir.weights(tuple(shares))).to_bytes(32, "big")

    def by_both_shares(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Enough banks are asked for both kinds of share of the victim."""
        others = [bank.index for bank in self.banks[1:]]
        words = self.banks[VICTIM].mask(values, self.keys(others))
        asked = range(1, self.threshold + 1)
        own, private = (self.seed(VICTIM, kind, asked=asked) for kind in (OWN, PAIR))
        keys = {peer: pair_key(private, public) for peer, public in self.keys(others).items()}
        return self._open(words, own, keys)

    def by_second_answer(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """After a sum with the victim was opened, the last step is asked again as if the victim had dropped out."""
        others = [bank.index for bank in self.banks[1:]]
        words = self.banks[VICTIM].mask(values, self.keys(others))
        asked = range(1, self.threshold + 1)
        own = self.seed(VICTIM, OWN, asked=asked)  # honest: the victim is among the survivors
        private = self.seed(VICTIM, PAIR, asked=asked)  # the second answer
        keys = {peer: pair_key(private, public) for peer, public in self.keys(others).items()}
        return self._open(words, own, keys)

    def by_small_cohort(self, values: NDArray[np.int64], helpers: Iterable[int] = ()) -> NDArray[np.int64]:
        """The victim alone, or with banks that work with the server, is told that this is everybody."""
        colluding = tuple(helpers)
        words = self.banks[VICTIM].mask(values, self.keys(colluding))
        own = self.seed(VICTIM, OWN, asked=range(1, self.threshold + 1))
        public = self.banks[VICTIM].public_key
        return self._open(words, own, {i: pair_key(self.banks[i].mask_seed, public) for i in colluding})

    def by_swapped_keys(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every peer's key is one of the server's own."""
        own_keys = {index: os.urandom(32) for index in range(1, len(self.banks))}
        swapped = {i: NaiveBank(index=i, bound=0, bits=self.bits, mask_seed=private) for i, private in own_keys.items()}
        words = self.banks[VICTIM].mask(values, {i: bank.public_key for i, bank in swapped.items()})
        own = self.seed(VICTIM, OWN, asked=range(1, self.threshold + 1))
        public = self.banks[VICTIM].public_key
        return self._open(words, own, {i: pair_key(private, public) for i, private in own_keys.items()})

    def _open(self, words: Words, own_seed: bytes, keys: dict[int, bytes]) -> NDArray[np.int64]:
        return self.quantiser.lift(without_streams(words, VICTIM, self_key=own_key(own_seed), pair_keys=keys))
