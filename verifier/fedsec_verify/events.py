"""Privacy events read from files: which are in range, and the same with fewer or more noise shares counted."""

from __future__ import annotations

import math

import msgspec

from fedsec_verify.formats import Composed, DiscreteGaussianSum, Event, NonPrivate, PoissonSampled, Repeated

_MOST_SHARES = 2**16
_LARGEST = 1e100  # of a sum's rho; beyond, no bound is worth stating


class OutOfRangeError(ValueError):
    """An event has a number that no mechanism has."""


def check_in_range(event: Event) -> None:
    """Check every number in ``event``.

    Raises:
        OutOfRangeError: one is not what docs/noise.md allows.
    """
    match event:
        case DiscreteGaussianSum():
            sensitivity, variance = event.sensitivity, event.share_variance
            fits = 0 < sensitivity < math.inf and 0 < variance < math.inf and 1 <= event.shares <= _MOST_SHARES
            if not fits or not 0 < sensitivity / variance * sensitivity / (2 * event.shares) < _LARGEST:
                raise OutOfRangeError("an event's sensitivity, variance or shares are out of range")
        case PoissonSampled():
            if not 0 < event.rate <= 1:
                raise OutOfRangeError("a sampling rate lies in (0, 1]")
            check_in_range(event.event)
        case Repeated():
            check_in_range(event.event)
        case Composed():
            for part in event.events:
                check_in_range(part)
        case NonPrivate():
            pass


def with_shares(event: Event, shares: int) -> Event:
    """``event``, with ``shares`` noise shares counted in every sum of it."""
    match event:
        case DiscreteGaussianSum():
            return msgspec.structs.replace(event, shares=shares)
        case PoissonSampled():
            return msgspec.structs.replace(event, event=msgspec.structs.replace(event.event, shares=shares))
        case Repeated():
            return msgspec.structs.replace(event, event=with_shares(event.event, shares))
        case Composed():
            return Composed(events=tuple(with_shares(part, shares) for part in event.events))
    return event
