"""All banks and the coordinator in one process, joined by encoded bytes alone, with dropouts thrown in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fedsec.errors import CohortError, RemoteProtocolError
from fl_engine.bank import Bank
from fl_engine.coordinator import STEPS, Coordinator, Progress
from fl_engine.records import RoundRecord

Tap = Callable[[int, bytes], None]


class LocalFederation:
    """Drives a task to its end.

    Args:
        banks: by index.
        coordinator: the other role.
        drop_rate: chance in [0, 1) that a bank falls silent in an attempt, from a random step on.
        seed: of the dropouts.
        keep: called with the progress after every attempt, before the next one begins.
        tap: sees every byte string that the coordinator receives, with its sender's index.
    """

    def __init__(
        self,
        *,
        banks: Mapping[int, Bank],
        coordinator: Coordinator,
        drop_rate: float,
        seed: int,
        keep: Callable[[Progress], None],
        tap: Tap | None = None,
    ) -> None:
        self._banks = banks
        self._coordinator = coordinator
        self._drop_rate = drop_rate
        self._seed = seed
        self._keep = keep
        self._tap = tap
        self.uploaded = dict.fromkeys(banks, 0)

    def agree(self) -> None:
        """Offer the task to every bank.

        Raises:
            CohortError: a bank declined.
        """
        offer = self._coordinator.offer()
        answers = {index: self._received(index, bank.consider(offer)) for index, bank in self._banks.items()}
        self._coordinator.count(answers)

    def attempts(self) -> Iterator[RoundRecord]:
        """Open sum after sum until the task is finished; yields the record of each attempt once it is kept.

        Raises:
            CohortError: the reserved attempts are used up.
        """
        while self._coordinator.due() is not None:
            self._attempt()
            self._keep(self._coordinator.progress)
            yield self._coordinator.progress.records[-1]

    def countersign(self, request: bytes) -> dict[int, bytes]:
        """The answers of all banks to a statement of the run, by index; both sides encoded.

        Raises:
            RemoteProtocolError: a bank does not vouch for it.
        """
        return {index: self._received(index, bank.countersign(request)) for index, bank in self._banks.items()}

    def _attempt(self) -> None:
        coordinator = self._coordinator
        requests = coordinator.begin()
        silent_from = self._dropouts(len(coordinator.progress.records))
        for number in range(len(STEPS)):
            for index, request in requests.items():
                if number < silent_from[index]:
                    self._exchange(index, request)
            try:
                requests = coordinator.advance()
            except CohortError as error:
                # not how many were left: a count below five may be in no report
                coordinator.abort(f"too few banks were left at the step {error.step}: {error.needed} are needed")
                return
            except RemoteProtocolError as error:
                coordinator.abort(f"a bank deviated from the protocol ({error.rule})")
                return

    def _exchange(self, index: int, request: bytes) -> None:
        """One request and its reply; a bank that deviates, or that another bank drove out, counts as dropped."""
        try:
            reply = self._received(index, self._banks[index].handle(request))
            self._coordinator.receive(index, reply)
        except RemoteProtocolError as error:
            if error.peer is None:
                raise  # the coordinator is at fault, and it is ours

    def _received(self, index: int, reply: bytes) -> bytes:
        self.uploaded[index] += len(reply)
        if self._tap is not None:
            self._tap(index, reply)
        return reply

    def _dropouts(self, attempt: int) -> dict[int, int]:
        """For every bank the number of the step from which on it is silent; beyond the last if it stays."""
        generator = np.random.default_rng([self._seed, attempt])
        drops = generator.random(len(self._banks)) < self._drop_rate
        steps = generator.integers(0, len(STEPS), len(self._banks))
        return {
            index: int(step) if drop else len(STEPS)
            for index, drop, step in zip(self._banks, drops, steps, strict=True)
        }
