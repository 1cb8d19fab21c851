"""Whether enough clients are left for a step, in all and around each of them; with fewer nobody is asked anything."""

from __future__ import annotations

from collections.abc import Iterable

from fedsec.errors import CohortError
from secagg.config import SessionConfig
from secagg.states import Step


def need(answered: Iterable[int], needed: int, step: Step) -> tuple[int, ...]:
    """Who ``answered``, by rising index.

    Raises:
        CohortError: fewer than ``needed`` did.
    """
    found = tuple(sorted(answered))
    if len(found) < needed:
        raise CohortError(
            f"{len(found)} banks are left at step {step.value!r}, {needed} are needed",
            survivors=len(found),
            needed=needed,
            step=step.value,
            remedy="Run the round again with the banks that are reachable, or raise the number of banks.",
        )
    return found


def need_near(owners: Iterable[int], present: Iterable[int], session: SessionConfig, step: Step) -> None:
    """That t of those ``present`` are in the neighbourhood of each of ``owners``.

    With fewer its seeds can never be rebuilt, so the round is lost, and nobody need reveal anything for it.

    Raises:
        CohortError: around one of them there are fewer.
    """
    alive, needed = set(present), session.threshold
    for owner in owners:
        near = len(alive.intersection(session.neighbourhood(owner)))
        if near < needed:
            raise CohortError(
                f"{near} banks are left around bank {owner} at step {step.value!r}, {needed} are needed",
                survivors=near,
                needed=needed,
                step=step.value,
                remedy="Run the round again with the banks that are reachable, or raise the number of neighbours.",
            )
