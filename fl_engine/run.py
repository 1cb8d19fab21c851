"""A run on one machine, from data to a complete directory: reserve, train, settle, write.

Order, so that a crash anywhere leaves the ledger at or above what was released and no directory that looks complete:
directory ``.partial`` -> reservation -> attempts (each burnt before its inputs leave, progress kept after it) ->
settlement -> records -> (the caller's report) -> the directory gets its final name.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from safetensors.numpy import save

from dp.ledger import Balance, Ledger, countersign, encode_heads, read_heads
from dp.ledger.heads import HEADS_NAME
from dp.ledger.log import now
from dp.statement import PrivacyStatement
from fl_engine import charging
from fl_engine.bank import Bank
from fl_engine.coordinator import Coordinator, Evaluate, Progress
from fl_engine.data.dataset import Dataset, public_holdout
from fl_engine.disclosures import DataOrigin
from fl_engine.evaluation import exact_metrics
from fl_engine.evidence import report_key
from fl_engine.evidence.archive import Archive
from fl_engine.evidence.attestation import attest_run
from fl_engine.evidence.statement import AttemptLine
from fl_engine.messages import inputs_digest
from fl_engine.model import ModelSpec, predict, unflatten
from fl_engine.plan import TRAINING
from fl_engine.planning import build_plan
from fl_engine.preparation import brands_of, check_unchanged, is_federated, read_dataset, simulated_policy
from fl_engine.privacy import INTERRUPTED, privacy_statement
from fl_engine.records import Metrics, RoundRecord, RunSummary
from fl_engine.resume import Checkpoint, PrivateRun, RunLock
from fl_engine.run_directory import RunDirectory
from fl_engine.runtime.local import LocalFederation, Tap
from fl_engine.scaling import Standardiser
from fl_engine.settings import DataSettings, RunSettings, with_expiry, with_unit
from fl_engine.stopwatch import Stopwatch
from fl_engine.summary import run_summary
from fl_engine.unmasking import SeveralCores, unmasker_for
from secagg.identity import Identity, Roster
from secagg.packing import word_type

CHECKPOINT = "checkpoint.msgpack"
PUBLIC_SYNTHETIC = "exact metrics on the held-out records after every round; the records are invented"
PUBLIC_OWN = (
    "exact metrics on the held-out records after every round: the coordinator sees these records in clear, "
    "and their account has no bound from then on"
)
EARLIER_UNIT = (
    "earlier runs on these data protected another unit of privacy: what the accounts have spent over all runs is a "
    "bound for neither"
)


class Run:
    """One run. Make it with :meth:`start` or :meth:`resume`, exhaust :meth:`attempts`, then :meth:`complete`.

    Attributes:
        directory: where the files go.
        plan: what the banks agreed to.
        dataset: the banks' records and names; private to this machine.
        data: where the records lie; private to this machine.
        account: the data-set id in the ledger.
        report_key: signs the run's reports.
    """

    def __init__(
        self,
        *,
        directory: RunDirectory,
        private: PrivateRun,
        lock: RunLock,
        checkpoint: Checkpoint,
        dataset: Dataset,
        ledger: Ledger,
        stopwatch: Stopwatch,
        tap: Tap | None,
    ) -> None:
        self._lock = lock
        self.directory = directory
        self.plan = checkpoint.plan
        self.settings = checkpoint.settings()
        self.dataset = dataset
        self.data = private.data()
        self.account = self.data.account(self.settings.seed)
        self.report_key = report_key.load(directory.name)
        self.watch = stopwatch
        self._checkpoint = checkpoint
        self._private = private
        self._ledger = ledger
        self._burnt = charging.burnt(ledger, directory.name)
        identities = [Identity.from_private_bytes(key) for key in private.bank_keys]
        server = Identity.from_private_bytes(private.coordinator_key)
        self._witnesses = [Ed25519PrivateKey.from_private_bytes(each.private_bytes()) for each in (server, *identities)]
        self.roster = Roster(
            server=server.public_key,
            members=tuple((index, identity.public_key) for index, identity in enumerate(identities)),
        )
        stream = max(planned.dimension * word_type(planned.ring_bits).itemsize for planned in self.plan.sums)
        self._unmasker = unmasker_for(self.plan.clients * stream)
        self._archive = Archive(directory)
        self._archive.prune(line.attempt for line in checkpoint.progress.attempts if line.status != "interrupted")
        self._coordinator = Coordinator(
            plan=self.plan,
            identity=server,
            roster=self.roster,
            progress=self._resumed(checkpoint.progress),
            evaluate=self._evaluator() if self.plan.bins == 0 else None,
            stopwatch=stopwatch,
            unmasker=self._unmasker,
            end=self._archive.end,
            keep_input=self._archive.keep_input if self.settings.keep_masked_inputs else None,
        )
        policy = simulated_policy(self.plan)
        burnt = frozenset((name, ordinal) for name, used in self._burnt.items() for ordinal in used)
        self._federation = LocalFederation(
            banks={
                index: Bank(
                    index=index,
                    identity=identities[index],
                    roster=self.roster,
                    policy=policy,
                    data=data,
                    admit=partial(charging.check_reserved, ledger),
                    burn=self._burn,
                    burnt=burnt,
                    stopwatch=stopwatch,
                )
                for index, data in enumerate(dataset.banks)
            },
            coordinator=self._coordinator,
            drop_rate=self.settings.drop_rate,
            seed=self.settings.seed,
            keep=self._keep,
            tap=tap,
        )

    @classmethod
    def start(
        cls,
        settings: RunSettings,
        data: DataSettings,
        *,
        out: Path,
        ledger: Ledger,
        tap: Tap | None = None,
    ) -> Run:
        """Read the data, plan, and reserve the whole plan in ``ledger``.

        Raises:
            ConfigError: settings or data do not hold, or ``out`` cannot be written to.
            BudgetError: the ledger refuses; nothing was trained and no directory is left.
        """
        watch = Stopwatch()
        settings = with_expiry(with_unit(settings, data), today=datetime.datetime.now(datetime.UTC).date())
        dataset = read_dataset(settings, data, ledger)
        # As many as the data have, so that --config with the run's config.toml asks for the same again.
        settings = settings.model_copy(update={"banks": len(dataset.banks)})
        federated = is_federated(settings, dataset)
        directory = RunDirectory.create(out)
        reserved = False
        try:
            plan = build_plan(
                settings,
                task=directory.name,
                slots=tuple(bank.slots for bank in dataset.banks),
                model=ModelSpec(inputs=dataset.schema.width),
                numeric_width=dataset.schema.numeric_width,
                federated_evaluation=federated,
            )
            private = PrivateRun.new(data, banks=len(dataset.banks), ledger=ledger.location.reference)
            checkpoint = Checkpoint.new(plan, settings, Progress.start(plan), schema=dataset.schema)
            private.save(directory.name)
            report_key.make(directory.name)
            lock = RunLock(directory.name)
            directory.write("config.toml", settings.to_toml())
            directory.write(CHECKPOINT, checkpoint.encode())
            # Last, so that whatever is reserved has on disk what it takes to resume or settle it.
            charging.reserve(
                ledger,
                plan,
                dataset,
                account=data.account(settings.seed),
                coordinator=Identity.from_private_bytes(private.coordinator_key).public_key,
                brands=brands_of(plan),
            )
            reserved = True
        finally:
            if not reserved:
                directory.delete()
                PrivateRun.forget(directory.name)
                report_key.forget(directory.name)
        return cls(
            directory=directory,
            private=private,
            lock=lock,
            checkpoint=checkpoint,
            dataset=dataset,
            ledger=ledger,
            stopwatch=watch,
            tap=tap,
        )

    @classmethod
    def resume(cls, path: Path, *, ledger: Ledger, tap: Tap | None = None) -> Run:
        """Go on with an unfinished run from its last kept attempt; one that was interrupted stays charged.

        Raises:
            ConfigError: there is no such run, it is complete, it cannot be read, the data have changed their size,
                or another process works on it.
        """
        watch = Stopwatch()
        directory = RunDirectory.reopen(path)
        private = PrivateRun.load(directory.name)
        lock = RunLock(directory.name)
        try:
            checkpoint = Checkpoint.load(directory.path / CHECKPOINT)
            dataset = read_dataset(checkpoint.settings(), private.data(), ledger)
            check_unchanged(dataset, checkpoint.plan, schema_toml=checkpoint.schema_toml)
            return cls(
                directory=directory,
                private=private,
                lock=lock,
                checkpoint=checkpoint,
                dataset=dataset,
                ledger=ledger,
                stopwatch=watch,
                tap=tap,
            )
        except BaseException:
            lock.release()
            raise

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._coordinator.progress

    def attempts(self) -> Iterator[RoundRecord]:
        """Train; yields a record after every attempt, opened or aborted, once it is on disk.

        Raises:
            CohortError: the reserved attempts are used up, or a bank declined.
        """
        self._federation.agree()
        self._countersign_head()
        yield from self._federation.attempts()

    def complete(self) -> RunSummary:
        """Settle with the ledger, write every record and sign the statement of the run.

        The directory stays ``.partial`` until it is published.

        Raises:
            RemoteProtocolError: a bank does not vouch for the statement.
        """
        self.settle()
        self._countersign_head()
        progress, plan = self.progress, self.plan
        write = self.directory.write
        weights = unflatten(plan.model, progress.adam.weights.astype(np.float32))
        write("model.safetensors", save(weights, metadata=self._model_card()))
        write("metrics.jsonl", b"".join(msgspec.json.encode(record) + b"\n" for record in progress.records))
        write("privacy.json", msgspec.json.format(msgspec.json.encode(self.statement()), indent=2))
        summary = run_summary(
            plan=plan,
            progress=progress,
            ledger=self._ledger,
            watch=self.watch,
            started=self._checkpoint.started,
            engine=self.settings.engine,
            dataset=self.dataset.source,
            fraud_share=self._fraud_share(),
            uploaded=sum(self._federation.uploaded.values()),
            roster=self.roster.digest.hex(),
        )
        write("summary.json", msgspec.json.format(msgspec.json.encode(summary), indent=2))
        attest_run(
            self.directory,
            coordinator=self._coordinator,
            federation=self._federation,
            archive=self._archive,
            roster=self.roster,
            ledger=self._ledger,
            brands=brands_of(plan),
            report_key=self.report_key.public_key,
            head=summary.ledger_head,
            masked_until=self.settings.keep_masked_inputs_until,
        )
        return summary

    def settle(self) -> None:
        """Charge what was attempted and give the rest of the reservation back, on the coordinator's signature."""
        charging.settle(self._ledger, self.directory.name, self.progress.begun, key=self._private.coordinator_key)

    def publish(self) -> None:
        """Give the directory, now with its report, its final name; the keys of the run are forgotten."""
        self.directory.publish()  # before the checkpoint goes: a kill in between leaves a complete run
        self.directory.remove(CHECKPOINT)
        PrivateRun.forget(self.directory.name)
        self.close()

    def close(self) -> None:
        """Work on the run no more, so that it can be resumed; published or not."""
        if isinstance(self._unmasker, SeveralCores):
            self._unmasker.close()
        self._lock.release()

    def balances(self) -> tuple[Balance, ...]:
        """Where the accounts that this run charged stand."""
        return charging.balances(self._ledger, self.directory.name)

    def _countersign_head(self) -> None:
        """Have every bank and the coordinator sign the ledger's head, after the reservation and after settlement.

        All these keys lie on this one machine (SIMULATED KEYS) and are forgotten at the run's end, so the file shows a
        later change of the ledger to whoever holds the run's directory, and no agreement of independent parties.
        """
        file = self.directory.path / HEADS_NAME
        known = read_heads(file) if file.exists() else ()
        signed = countersign(self._ledger.head, self._witnesses, at=now())
        self.directory.write(HEADS_NAME, encode_heads([*known, signed]))

    def _burn(self, release: str, ordinal: int) -> None:
        with self.watch.measure("ledger"):
            self._ledger.burn(self.directory.name, release, ordinal)

    def _keep(self, progress: Progress) -> None:
        self._checkpoint = msgspec.structs.replace(self._checkpoint, progress=progress)
        self.directory.write(CHECKPOINT, self._checkpoint.encode())

    def _resumed(self, progress: Progress) -> Progress:
        """``progress``, with attempts counted as begun that the ledger says were burnt, and recorded as interrupted."""
        begun = charging.attempted(progress, self._burnt)
        lost = tuple(
            RoundRecord(
                release=name,
                index=self.plan.first_attempt(name) + ordinal,
                round=None,
                status="aborted",
                cohort=self.plan.clients,
                survivors=0,
                dropped_at={},
                reason=INTERRUPTED,
                epsilon=self.plan.spent_epsilon(TRAINING, begun),
                metrics=None,
                seconds=0.0,
            )
            for name, count in progress.begun.items()
            for ordinal in range(count, begun[name])
        )
        model = inputs_digest(progress.inputs().encode()).hex()
        lines = tuple(
            AttemptLine(
                attempt=record.index,
                release=record.release,
                status="interrupted",
                reason=INTERRUPTED,
                before=model,
                after=model,
            )
            for record in lost
        )
        return msgspec.structs.replace(
            progress, begun=begun, records=progress.records + lost, attempts=progress.attempts + lines
        )

    def _evaluator(self) -> Evaluate:
        holdout = public_holdout(self.dataset)

        def evaluate(weights: NDArray[np.float32], standardiser: Standardiser) -> Metrics:
            scores = predict(self.plan.model, weights, standardiser.apply(holdout.features))
            return exact_metrics(scores, holdout.labels)

        return evaluate

    def _model_card(self) -> dict[str, str]:
        """What a user of the weights needs beside them: the inputs in order and how they are standardised."""
        standardiser = self.progress.standardiser
        return {
            "schema": self.dataset.schema.to_toml(),
            "standardiser": "" if standardiser is None else msgspec.json.encode(standardiser).decode(),
            "model": msgspec.json.encode(self.plan.model).decode(),
            "brands": ", ".join(brands_of(self.plan)),
        }

    def statement(self) -> PrivacyStatement:
        """What may be claimed of the run as it stands."""
        outside = list(self.dataset.outside_ledger)
        if self.plan.bins == 0:
            outside.append(PUBLIC_SYNTHETIC if self.dataset.source == "synthetic" else PUBLIC_OWN)
        outside += charging.unbounded_before(self._ledger, self.directory.name)
        if charging.other_unit_before(self._ledger, self.dataset, account=self.account):
            outside.append(EARLIER_UNIT)
        return privacy_statement(
            self.plan,
            begun=self.progress.begun,
            records=self.progress.records,
            charged_to=charging.charged_parts(self._ledger, self.directory.name),
            brands=brands_of(self.plan),
            outside_ledger=tuple(outside),
            origin=self._origin(),
            key_exchange=self.plan.session(self.plan.sums[0], 0, self.roster.digest).key_exchange,
        )

    def _origin(self) -> DataOrigin:
        """How the records came, as far as the statement has to tell."""
        if self.dataset.source == "synthetic":
            return DataOrigin(source="synthetic", schema="generated", banks="generated")
        return DataOrigin(
            source="own data",
            schema="declared" if self.data.schema_file else "inferred",
            banks="by column" if self.data.bank_column else "dealt",
        )

    def _fraud_share(self) -> float | None:
        if self.plan.bins:
            return self.progress.fraud_share
        labels = public_holdout(self.dataset).labels
        return float(labels.mean()) if len(labels) else None


def ledger_of(path: Path) -> str:
    """Which ledger an unfinished run charged, by the directory of the run.

    Raises:
        ConfigError: there is no such run, or nothing is known of it here.
    """
    return PrivateRun.load(RunDirectory.reopen(path).name).ledger


def settle_unfinished(path: Path, ledger: Ledger) -> tuple[Balance, ...]:
    """End a run that will not be resumed: charge what was attempted, give the rest back, delete its directory.

    Returns where its accounts stand then.

    Raises:
        ConfigError: there is no such run, it cannot be read, or a process works on it.
    """
    directory = RunDirectory.reopen(path)
    private = PrivateRun.load(directory.name)
    lock = RunLock(directory.name)
    try:
        checkpoint = Checkpoint.load(directory.path / CHECKPOINT)
        attempts = charging.attempted(checkpoint.progress, charging.burnt(ledger, directory.name))
        charging.settle(ledger, directory.name, attempts, key=private.coordinator_key)
        directory.delete()
        PrivateRun.forget(directory.name)
        report_key.forget(directory.name)
    finally:
        lock.release()
    return charging.balances(ledger, directory.name)
