"""What a client shares with each of its neighbours once their public keys are known: the secrets of keys.py's table.

Two X25519 secrets with each neighbour, one for shares and one for masks. In the hybrid each is followed by a
post-quantum half (:mod:`secagg.kem`): for shares what the dealer encapsulates to the receiver, for masks r_uv, which
the lower index draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedsec.errors import RemoteProtocolError
from secagg import kem, keys
from secagg.messages import Advertise, Entry, Pair


@dataclass(frozen=True, kw_only=True, repr=False)
class Private:
    """One client's private keys of a round: for shares and for masks, the latter made from a_u.

    ``share_kem`` and ``mask_kem`` are ``None`` without the hybrid.
    """

    share: X25519PrivateKey
    mask: X25519PrivateKey
    share_kem: kem.MlKemPrivateKey | None
    mask_kem: kem.MlKemPrivateKey | None

    def public(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The public keys, in the order of :class:`secagg.messages.Advertise`; empty where there is none."""
        return (
            keys.public_bytes(self.share),
            keys.public_bytes(self.mask),
            b"" if self.share_kem is None else kem.public_bytes(self.share_kem),
            b"" if self.mask_kem is None else kem.public_bytes(self.mask_kem),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Exchange:
    """One client's secrets with its neighbours, under T1.

    Attributes:
        index: of this client; kid, t1: of the round.
        channels, pairs: the X25519 secrets for shares and for masks, by neighbour.
        share_kem, mask_kem: the private keys that open what lower and other neighbours send, ``None`` without the
            hybrid.
        pair_secrets: r_uv for every neighbour of a higher index; empty without the hybrid.
    """

    index: int
    kid: bytes
    t1: bytes
    channels: dict[int, bytes]
    pairs: dict[int, bytes]
    share_kem: kem.MlKemPrivateKey | None
    mask_kem: kem.MlKemPrivateKey | None
    pair_secrets: dict[int, bytes]

    def key_to(self, member: Advertise) -> tuple[bytes, bytes]:
        """The key of the ciphertext for ``member``, and the KEM ciphertext that it needs (empty without the hybrid)."""
        secret, carried = b"", b""
        if self.share_kem is not None:
            secret, carried = kem.encapsulate(member.share_kem)
        channel = self.channels[member.index]
        return keys.ciphertext_key(channel + secret, self.t1, self.index, member.index, carried), carried

    def key_from(self, dealer: int, entry: Entry) -> bytes | None:
        """The key of the ciphertext in ``entry``, or ``None`` if its KEM ciphertext cannot be one or has no place."""
        secret = None if entry.kem else b""
        if self.share_kem is not None:
            secret = kem.decapsulate(self.share_kem, entry.kem)
        if secret is None:
            return None
        return keys.ciphertext_key(self.channels[dealer] + secret, self.t1, dealer, self.index, entry.kem)

    def pair_to(self, member: Advertise) -> Pair | None:
        """r_uv on its way to ``member``; ``None`` without the hybrid, and to a lower index, whose part it is."""
        if member.index not in self.pair_secrets:
            return None
        return kem.send(
            self.pair_secrets[member.index],
            kid=self.kid,
            t1=self.t1,
            lower=self.index,
            higher=member.index,
            public=member.mask_kem,
        )

    def pair_from(self, dealer: int, entry: Entry) -> bytes:
        """The whole secret for masks with the neighbour that dealt ``entry``.

        Raises:
            RemoteProtocolError: rule "pair", ``peer`` is the dealer: its r_uv does not open, is not what it
                committed to, or is there or missing against the rules.
        """
        expected = self.mask_kem is not None and dealer < self.index
        if (entry.pair is not None) != expected:
            raise RemoteProtocolError(f"the pair part of bank {dealer} is out of place", peer=dealer, rule="pair")
        if self.mask_kem is None:
            return self.pairs[dealer]
        if entry.pair is None:
            return self.pairs[dealer] + self.pair_secrets[dealer]
        secret = kem.receive(
            entry.pair, kid=self.kid, t1=self.t1, lower=dealer, higher=self.index, private=self.mask_kem
        )
        if secret is None:
            raise RemoteProtocolError(f"the pair secret of bank {dealer} does not open", peer=dealer, rule="pair")
        return self.pairs[dealer] + secret


def are_sound(entry: Advertise, *, hybrid: bool) -> bool:
    """Whether all public keys of ``entry`` are such that a secret can be agreed with them."""
    return keys.is_sound(entry.share_key) and keys.is_sound(entry.mask_key) and _has_sound_kems(entry, hybrid)


def agree_all(
    entries: Sequence[Advertise], private: Private, *, index: int, kid: bytes, t1: bytes, mask_seed: bytes
) -> Exchange:
    """The exchange of client ``index`` with everybody else in ``entries``. ``mask_seed`` is a_u.

    Raises:
        RemoteProtocolError: rule "point": a key that is not sound, which the server should have refused.
    """
    channels: dict[int, bytes] = {}
    pairs: dict[int, bytes] = {}
    hybrid = private.mask_kem is not None
    others = [entry for entry in entries if entry.index != index]
    for entry in others:
        channel = keys.agree(private.share, entry.share_key)
        pair = keys.agree(private.mask, entry.mask_key)
        if channel is None or pair is None or not _has_sound_kems(entry, hybrid):
            raise RemoteProtocolError(
                f"the server let pass a key of bank {entry.index} that is not sound", peer=None, rule="point"
            )
        channels[entry.index] = channel
        pairs[entry.index] = pair
    return Exchange(
        index=index,
        kid=kid,
        t1=t1,
        channels=channels,
        pairs=pairs,
        share_kem=private.share_kem,
        mask_kem=private.mask_kem,
        pair_secrets={
            entry.index: kem.pair_secret(mask_seed, t1, index, entry.index)
            for entry in others
            if hybrid and entry.index > index
        },
    )


def _has_sound_kems(entry: Advertise, hybrid: bool) -> bool:
    kems = (entry.share_kem, entry.mask_kem)
    return all(kem.is_sound(public) for public in kems) if hybrid else not any(kems)
