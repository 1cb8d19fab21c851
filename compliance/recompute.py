"""ε once more, from the releases that ``privacy.json`` lists: a report states none that they do not give.

For each part of the split, the events of the releases that read it are repeated as often as they were charged and
composed; ε is the largest over the parts, since a record is in one of them. Against an adversary, the statement's
number of noise shares takes the place of the events' own. The records are not signed, so this finds a contradiction,
not a forgery that is consistent with itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from dp.accounting import epsilon
from dp.events import Composed, DiscreteGaussianSum, DpEvent, PoissonSampled, Repeated
from dp.statement import PrivacyStatement, Release
from fedsec.errors import ConfigError

TOLERANCE = 1e-6  # relative; the accountant itself rounds up by less


def check_epsilons(statement: PrivacyStatement) -> None:
    """Compare every ε of ``statement`` with what its releases give.

    Raises:
        ConfigError: one differs by more than :data:`TOLERANCE`; names both numbers.
    """
    counted = next((bound.shares for bound in statement.adversaries if bound.target), None)
    stated: list[tuple[str, float | None, float]] = [
        ("", statement.epsilon, _holding(statement, _charged)),
        ("", statement.epsilon, _holding(statement, _charged, counted)),
        (" (reserved)", statement.planned_epsilon, _holding(statement, _planned)),
    ]
    stated += [
        (f" against {bound.name}", bound.epsilon, _holding(statement, _charged, bound.shares))
        for bound in statement.adversaries
    ]
    for which, said, found in stated:
        claimed = math.inf if said is None else said
        if not (claimed == found or math.isclose(claimed, found, rel_tol=TOLERANCE)):
            raise ConfigError(
                f"privacy.json states ε = {claimed:.9g}{which}, its releases give ε = {found:.9g}",
                remedy="The file was changed, or is from another version of fedsec; no report is written from it.",
            )


def _holding(statement: PrivacyStatement, count: Callable[[Release], int], shares: int | None = None) -> float:
    """What may be stated: nothing holds against anybody where noise can be repeated."""
    return _epsilon(statement, count, shares) if statement.private else math.inf


def _epsilon(statement: PrivacyStatement, count: Callable[[Release], int], shares: int | None = None) -> float:
    """The largest over the split's parts; with ``shares`` noise shares in every sum, or as many as the events say."""
    parts = {release.account for release in statement.releases}
    return max(
        (
            epsilon(
                Composed(
                    events=tuple(
                        Repeated(count=count(release), event=_counting(release.event, shares))
                        for release in statement.releases
                        if release.account == part
                    )
                ),
                statement.delta,
                statement.eta,
            )
            for part in parts
        ),
        default=0.0,
    )


def _charged(release: Release) -> int:
    return release.charged


def _planned(release: Release) -> int:
    return release.planned


def _counting(event: DpEvent, shares: int | None) -> DpEvent:
    """``event`` with ``shares`` noise shares in every sum."""
    if shares is None:
        return event
    if isinstance(event, DiscreteGaussianSum):
        return msgspec.structs.replace(event, shares=shares)
    if isinstance(event, PoissonSampled):
        return PoissonSampled(rate=event.rate, event=msgspec.structs.replace(event.event, shares=shares))
    if isinstance(event, Repeated):
        return Repeated(count=event.count, event=_counting(event.event, shares))
    if isinstance(event, Composed):
        return Composed(events=tuple(_counting(each, shares) for each in event.events))
    return event
