"""Tiny runs in a folder of their own, and a record of what happened inside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dp.ledger import Ledger
from dp.mechanism import SumMechanism
from fl_engine.records import RunSummary
from fl_engine.run import Run
from fl_engine.settings import DataSettings, RunSettings
from secagg.client import Client
from secagg.server import Opened, Server

torch.set_num_threads(1)
ROWS = 1000


@contextmanager
def own_place(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """``FEDSEC_HOME`` and ``FEDSEC_LEDGER`` under ``folder`` while the body runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSEC_HOME", str(folder / "home"))
        patch.setenv("FEDSEC_LEDGER", str(folder / "ledger.sqlite"))
        yield patch


@dataclass
class Record:
    """What a run did, seen from inside.

    Attributes:
        received: (sender, bytes) of everything that the coordinator got.
        masked: by attempt and bank, the vector that went under the masks, int64.
        noise: by sum, (before, after) of every noise share, in order.
        opened: by attempt, what the server opened.
    """

    received: list[tuple[int, bytes]] = field(default_factory=list)
    masked: dict[int, dict[int, NDArray[np.int64]]] = field(default_factory=dict)
    noise: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = field(default_factory=dict)
    opened: dict[int, Opened] = field(default_factory=dict)

    def tap(self, sender: int, data: bytes) -> None:
        self.received.append((sender, data))

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Look on at masking, noise and opening; nothing is changed."""
        mask, add_noise, result = Client.mask, SumMechanism.add_noise, Server.result

        def masking(client: Client, values: NDArray[np.int64]) -> bytes:
            reply = mask(client, values)
            self.masked.setdefault(client.session.round, {})[client._index] = values.copy()
            return reply

        def noising(mechanism: SumMechanism, values: NDArray[np.int64], **given: Any) -> NDArray[np.int64]:
            noised = add_noise(mechanism, values, **given)
            self.noise.setdefault(mechanism.name, []).append((values.copy(), noised.copy()))
            return noised

        def opening(server: Server) -> Opened:
            opened = result(server)
            self.opened[server._session.round] = opened
            return opened

        patch.setattr(Client, "mask", masking)
        patch.setattr(SumMechanism, "add_noise", noising)
        patch.setattr(Server, "result", opening)


@dataclass(kw_only=True)
class Finished:
    """A complete run with its record, its parameters and the folder that has its ledger."""

    run: Run
    summary: RunSummary
    record: Record
    folder: Path

    @property
    def path(self) -> Path:
        return self.run.directory.path


def begin(folder: Path, ledger: Ledger, *, tap: Any = None, rows: int = ROWS, **settings: Any) -> Run:
    """A run of three rounds between five banks, unless ``settings`` say otherwise."""
    public = RunSettings(**{"rounds": 3, "banks": 5, **settings})
    return Run.start(public, DataSettings(rows=rows), out=folder / "runs", ledger=ledger, tap=tap)


def finish(run: Run) -> RunSummary:
    """Train to the end and publish."""
    for _ in run.attempts():
        pass
    summary = run.complete()
    run.publish()
    return summary


def finished(folder: Path, **settings: Any) -> Finished:
    """A complete run, watched."""
    record = Record()
    with own_place(folder) as patch:
        record.watch(patch)
        with Ledger.open() as ledger:
            run = begin(folder, ledger, tap=record.tap, **settings)
            summary = finish(run)
    return Finished(run=run, summary=summary, record=record, folder=folder)


def survivors_sum(record: Record, attempt: int) -> NDArray[np.int64]:
    """Plain integer addition of what the survivors of an opened attempt put under their masks."""
    total = np.zeros_like(record.opened[attempt].total)
    for index in record.opened[attempt].survivors:
        total += record.masked[attempt][index]
    return total
