"""A BROKEN secure aggregation, as found in the wild: masks that cancel, and nothing that makes a server keep to it.

Pairwise masks, a mask of one's own, Shamir shares of both seeds: the core of Bonawitz et al. (2017) without what makes
it hold against a server that deviates. No key is signed, no list is agreed on, no round is bound into a key, any
threshold and any cohort is accepted, and every request is answered, twice if asked twice. With ``seed_bits`` below 256
the seed of a mask is folded, as where it was fed to a generator with a 32-bit seed. How shares are sealed on their way
between banks is left out: no attack here needs to break it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from fedsec.keystream import KeyStream
from secagg import masking, shamir
from secagg.packing import unpack

OWN, PAIR = b"own", b"pair"


@dataclass(kw_only=True)
class NaiveBank:
    """One bank. ``bound``: largest magnitude of an input; ``bits``: of the ring; ``seed_bits``: of a mask's seed."""

    index: int
    bound: int
    bits: int
    seed_bits: int = 256
    own_seed: bytes = field(default_factory=lambda: os.urandom(32))
    mask_seed: bytes = field(default_factory=lambda: os.urandom(32))
    shares: dict[tuple[int, bytes], int] = field(default_factory=dict)

    @property
    def public_key(self) -> bytes:
        """Advertised, unsigned."""
        return X25519PrivateKey.from_private_bytes(self.mask_seed).public_key().public_bytes_raw()

    def deal(self, receivers: Iterable[NaiveBank], *, threshold: int) -> None:
        """Shares of both seeds, to whomever the server names, under whatever threshold it names."""
        listed = list(receivers)
        for kind, seed in ((OWN, self.own_seed), (PAIR, self.mask_seed)):
            dealt = shamir.split(
                int.from_bytes(seed, "big"), threshold=threshold, indices=[bank.index for bank in listed]
            )
            for bank in listed:
                bank.shares[self.index, kind] = dealt[bank.index]

    def mask(self, values: NDArray[np.int64], roster: Mapping[int, bytes]) -> NDArray[np.unsignedinteger]:
        """The masked input, as ring words, for a cohort of ``roster`` (index to public key); again whenever asked."""
        keys = {peer: pair_key(self.mask_seed, public, self.seed_bits) for peer, public in roster.items()}
        masked = masking.mask(
            values,
            ring_bits=self.bits,
            bound=self.bound,
            add=[
                KeyStream(own_key(self.own_seed, self.seed_bits)),
                *(KeyStream(key) for peer, key in keys.items() if peer > self.index),
            ],
            subtract=[KeyStream(key) for peer, key in keys.items() if peer < self.index],
        )
        return unpack(memoryview(masked), len(values), self.bits)

    def reveal(self, dealer: int, kind: bytes) -> int:
        """This bank's share of a seed of ``dealer``, of whichever kind the server asks for."""
        return self.shares[dealer, kind]


def own_key(seed: bytes, seed_bits: int = 256) -> bytes:
    """Key of a bank's own stream: no round in it."""
    return _folded(seed, OWN, seed_bits)


def pair_key(private: bytes, public: bytes, seed_bits: int = 256) -> bytes:
    """Key of the stream of two banks: no round in it."""
    secret = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    return _folded(secret, PAIR, seed_bits)


def _folded(secret: bytes, info: bytes, seed_bits: int) -> bytes:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)
    return (int.from_bytes(derived, "big") % (1 << seed_bits)).to_bytes(32, "big")
