"""What a client holds in each state, and how it reads each request.

The checks are those of docs/protocol.md, in its order. The secrets of a state are one frozen object, replaced
as a whole at each step, so that what a later state does not need is gone: after masking no key and no seed,
after agreeing one kind of share for each peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from fedsec.errors import RemoteProtocolError
from secagg import keys, messages, transcript, tree
from secagg.config import RoundConfig, SessionConfig
from secagg.dealing import check_delivery, open_delivery
from secagg.exchange import Exchange, Private
from secagg.graph import Complete
from secagg.identity import Roster, verify
from secagg.messages import Advertise, Dealing, Listing, decode, rising, small_limit


@dataclass(frozen=True, kw_only=True, repr=False)
class Advertised:
    """After step 0: the private keys and a_u, the seed of those for masks."""

    private: Private
    mask_seed: bytes
    own: Advertise


@dataclass(frozen=True, kw_only=True, repr=False)
class Shared:
    """After step 1: the secrets with each neighbour in U1 (``members``, this client among them), and b_u."""

    exchange: Exchange
    members: tuple[int, ...]
    self_seed: bytes
    own_share: bytes
    own: Dealing


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which round this is, its transcript, and who of the neighbourhood is in U2 (by rising index); nothing secret."""

    sid: bytes
    t2: bytes
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Accepted:
    """After the checks of step 2: stream keys, and the shares received, by dealer."""

    place: Place
    self_key: bytes
    pair_keys: dict[int, bytes]
    self_shares: dict[int, bytes]
    mask_shares: dict[int, bytes]


@dataclass(frozen=True, kw_only=True, repr=False)
class Masked:
    """After the masked input left: the shares received, by dealer."""

    place: Place
    self_shares: dict[int, bytes]
    mask_shares: dict[int, bytes]


@dataclass(frozen=True, kw_only=True, repr=False)
class Agreed:
    """After signing U3: shares of b_v for v in U3 and of a_v for the rest of U2, never both, in rising order of v."""

    place: Place
    survivors: tuple[int, ...]
    self_shares: tuple[bytes, ...]
    mask_shares: tuple[bytes, ...]


Phase: TypeAlias = Advertised | Shared | Accepted | Masked | Agreed


def read_session(data: bytes, *, roster: Roster) -> SessionConfig:
    """Step 0: the session, signed by the server, valid, for the pinned roster."""
    request = decode(data, messages.AdvertiseRequest, limit=small_limit(0), peer=None)
    if not verify(roster.server, request.signature, *transcript.session(request.session)):
        _refuse("the session is not signed by the server", "signature")
    session = decode(request.session, SessionConfig, limit=small_limit(0), peer=None)
    if session.roster_digest != roster.digest or session.clients != len(roster.members):
        _refuse("the session is for another roster", "roster")
    return session


def read_members(
    data: bytes, *, session: SessionConfig, roster: Roster, own: Advertise
) -> tuple[tuple[Advertise, ...], bytes]:
    """Step 1: what U1 advertised in this neighbourhood, and T1. All of it signed, with distinct indices and keys, the
    own entry unchanged, and in the tree that the server signed."""
    request = decode(data, messages.ShareRequest, limit=small_limit(session.clients), peer=None)
    entries, listing, kid = request.entries, request.listing, session.kid
    _check_members([entry.index for entry in entries], session=session, index=own.index)
    if own not in entries:
        _refuse("the server changed or left out this client's keys", "own-entry")
    public = [key for e in entries for key in (e.share_key, e.mask_key, e.share_kem, e.mask_kem) if key]
    if len(set(public)) != len(public):
        _refuse("a public key was advertised twice", "distinct")
    for e in entries:
        statement = transcript.advertise(kid, e.index, e.share_key, e.mask_key, e.share_kem, e.mask_kem)
        if not verify(roster.public_key(e.index), e.signature, *statement):
            _refuse(f"the keys of bank {e.index} are not signed by it", "signature")
    slots = {entry.index: transcript.member_slot(entry) for entry in entries}
    statement = transcript.members(kid, listing.root)
    _check_listing(listing, slots, statement=statement, session=session, roster=roster, index=own.index)
    return entries, transcript.t1(kid, listing.root)


def read_round(
    data: bytes, *, session: SessionConfig, roster: Roster, index: int, phase: Shared
) -> tuple[RoundConfig, Accepted]:
    """Step 2: the round, U2's dealings and this client's deliveries; then the keys of the masks."""
    request = decode(data, messages.MaskRequest, limit=small_limit(session.clients), peer=None)
    kid, t1 = session.kid, phase.exchange.t1
    if not verify(roster.server, request.signature, *transcript.round_config(kid, request.round_config)):
        _refuse("the round is not signed by the server", "signature")
    config = decode(request.round_config, RoundConfig, limit=small_limit(0), peer=None)
    if config.kid != kid:
        _refuse("the round belongs to another session", "round")
    members = tuple(dealing.index for dealing in request.dealings)
    _check_members(members, session=session, index=index)
    if not set(members) <= set(phase.members):
        _refuse("a bank dealt shares that had not advertised keys", "members")
    if phase.own not in request.dealings:
        _refuse("the server changed or left out this client's shares", "own-entry")
    for dealing in request.dealings:
        statement = transcript.share(kid, t1, dealing.index, dealing.root, dealing.commitment)
        if not verify(roster.public_key(dealing.index), dealing.signature, *statement):
            _refuse(f"the shares of bank {dealing.index} are not signed by it", "signature")
    listing = request.listing
    slots = {dealing.index: transcript.dealer_slot(dealing) for dealing in request.dealings}
    statement = transcript.dealers(kid, t1, listing.root)
    _check_listing(listing, slots, statement=statement, session=session, roster=roster, index=index)
    peers = [dealing for dealing in request.dealings if dealing.index != index]
    if [delivery.dealer for delivery in request.deliveries] != [dealing.index for dealing in peers]:
        _refuse("the deliveries are not one from each dealer, in order", "delivery")
    t2 = transcript.t2(config.sid, t1, listing.root)
    self_shares, mask_shares, pair_keys = {index: phase.own_share}, {}, {}
    for dealing, delivery in zip(peers, request.deliveries, strict=True):
        dealer = dealing.index
        check_delivery(delivery, root=dealing.root, slots=session.neighbourhood(dealer), receiver=index)
        self_shares[dealer], mask_shares[dealer] = open_delivery(delivery, phase.exchange)
        pair_keys[dealer] = keys.pair_key(phase.exchange.pair_from(dealer, delivery.entry), t2, index, dealer)
    return config, Accepted(
        place=Place(sid=config.sid, t2=t2, members=members),
        self_key=keys.self_key(phase.self_seed, t2),
        pair_keys=pair_keys,
        self_shares=self_shares,
        mask_shares=mask_shares,
    )


def read_survivors(data: bytes, *, session: SessionConfig, index: int, phase: Masked) -> tuple[int, ...]:
    """Step 3: U3, with u in U3, U3 within U2 as far as this client sees it, no fewer than the minimum of survivors,
    and at least t in its neighbourhood."""
    request = decode(data, messages.AgreeRequest, limit=small_limit(session.clients), peer=None)
    survivors = request.survivors
    near = set(session.neighbourhood(index)).intersection(survivors)
    if not rising(survivors) or index not in survivors or survivors[-1] >= session.clients:
        _refuse("the survivors are not a rising list of the roster's indices with this client in it", "survivors")
    if not near <= set(phase.place.members):
        _refuse("a survivor never dealt shares", "survivors")
    if len(survivors) < session.min_survivors or len(near) < session.threshold:
        _refuse(f"{len(survivors)} survivors, {len(near)} of them around this client, are too few", "survivors")
    return survivors


def agreed(phase: Masked, survivors: tuple[int, ...]) -> Agreed:
    """The shares that this U3 entitles the server to, one kind for each member of U2; the others are let go."""
    alive = set(survivors)
    return Agreed(
        place=phase.place,
        survivors=survivors,
        self_shares=tuple(phase.self_shares[v] for v in phase.place.members if v in alive),
        mask_shares=tuple(phase.mask_shares[v] for v in phase.place.members if v not in alive),
    )


def check_agreement(data: bytes, *, session: SessionConfig, roster: Roster, phase: Agreed) -> None:
    """Step 4: at least t survivors in the neighbourhood signed the same U3 under the same transcript, every signature
    valid."""
    request = decode(data, messages.UnmaskRequest, limit=small_limit(session.clients), peer=None)
    signers = [agree.index for agree in request.agreed]
    near = set(phase.survivors).intersection(phase.place.members)
    if not rising(signers) or not near.issuperset(signers) or len(signers) < session.threshold:
        _refuse("the agreement is not by a rising list of at least t survivors that this client knows", "agreement")
    for agree in request.agreed:
        statement = transcript.agree(phase.place.sid, phase.place.t2, agree.index, phase.survivors)
        if not verify(roster.public_key(agree.index), agree.signature, *statement):
            _refuse(f"bank {agree.index} did not sign these survivors", "signature")


def _check_members(indices: Sequence[int], *, session: SessionConfig, index: int) -> None:
    if not rising(indices) or not set(indices) <= set(session.neighbourhood(index)):
        _refuse("members are not listed by rising index of the roster, all in this client's neighbourhood", "members")
    # On the complete graph a client sees the whole list, of which m have to survive; else its neighbourhood, t of it.
    least = session.min_survivors if isinstance(session.graph, Complete) else session.threshold
    if len(indices) < least:
        _refuse(f"{len(indices)} members are fewer than the {least} that a sum needs", "members")


def _check_listing(
    listing: Listing,
    slots: Mapping[int, bytes],
    *,
    statement: transcript.Statement,
    session: SessionConfig,
    roster: Roster,
    index: int,
) -> None:
    """That the server signed one tree for everybody, and that ``slots`` (hashes by index) are all that client ``index``
    has of neighbours in it.

    With the complete graph they are the whole tree, so the root is computed; with a sparse one each slot of the
    neighbourhood has a path, also those of whom the server says that they are absent.
    """
    if not verify(roster.server, listing.signature, *statement):
        _refuse("the list of members is not signed by the server", "signature")
    size = session.clients
    if isinstance(session.graph, Complete):
        root, _ = tree.over_slots(slots, range(size))
        holds = root == listing.root and not listing.paths
    else:
        near = session.neighbourhood(index)
        holds = len(listing.paths) == len(near) and all(
            tree.root_from_path(tree.slot(slots, client), position=client, size=size, path=path) == listing.root
            for client, path in zip(near, listing.paths, strict=True)
        )
    if not holds:
        _refuse("the members are not those of the list that the server signed", "listing")


def _refuse(message: str, rule: str) -> NoReturn:
    raise RemoteProtocolError(message, peer=None, rule=rule)
