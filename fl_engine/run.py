"""A run on one machine, from data to a complete directory: reserve, train, settle, write.

Order, so that a crash anywhere leaves the ledger at or above what was released and no directory that looks complete:
directory ``.partial`` -> reservation -> attempts (each burnt before its inputs leave, progress kept after it) ->
settlement -> records -> (the caller's report) -> the directory gets its final name.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
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
from fedsec.errors import ConfigError
from fl_engine import charging
from fl_engine.bank import Bank
from fl_engine.coordinator import Coordinator, Evaluate, Progress
from fl_engine.data.dataset import Dataset, load_dataset, public_holdout, synthetic_dataset
from fl_engine.data.schema import Schema
from fl_engine.disclosures import DataOrigin
from fl_engine.evaluation import exact_metrics
from fl_engine.insecure import NOT_PRIVATE
from fl_engine.model import ModelSpec, predict, unflatten
from fl_engine.plan import TRAINING, TaskPlan
from fl_engine.planning import build_plan
from fl_engine.policy import BankPolicy
from fl_engine.privacy import INTERRUPTED, privacy_statement
from fl_engine.records import AccountBalance, LedgerHead, Metrics, RoundRecord, RunSummary, Seconds
from fl_engine.resume import Checkpoint, PrivateRun, RunLock
from fl_engine.run_directory import RunDirectory
from fl_engine.runtime.local import LocalFederation, Tap
from fl_engine.scaling import Standardiser
from fl_engine.settings import DataSettings, RunSettings, with_unit
from fl_engine.stopwatch import Stopwatch
from fl_engine.unmasking import SeveralCores, unmasker_for
from secagg.identity import Identity, Roster
from secagg.packing import word_type
from secagg.policy import ClientPolicy

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
SIMULATED_KEYS = "SIMULATED KEYS"


class Run:
    """One run. Make it with :meth:`start` or :meth:`resume`, exhaust :meth:`attempts`, then :meth:`complete`.

    Attributes:
        directory: where the files go.
        plan: what the banks agreed to.
        dataset: the banks' records and names; private to this machine.
        data: where the records lie; private to this machine.
        account: the data-set id in the ledger.
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
        self.watch = stopwatch
        self._checkpoint = checkpoint
        self._private = private
        self._ledger = ledger
        self._burnt = charging.burnt(ledger, directory.name)
        identities = [Identity.generate() for _ in dataset.banks]
        server = Identity.from_private_bytes(private.coordinator_key)
        self._witnesses = [Ed25519PrivateKey.from_private_bytes(each.private_bytes()) for each in (server, *identities)]
        self.roster = Roster(
            server=server.public_key,
            members=tuple((index, identity.public_key) for index, identity in enumerate(identities)),
        )
        stream = max(planned.dimension * word_type(planned.ring_bits).itemsize for planned in self.plan.sums)
        self._unmasker = unmasker_for(self.plan.clients * stream)
        self._coordinator = Coordinator(
            plan=self.plan,
            identity=server,
            roster=self.roster,
            progress=self._resumed(checkpoint.progress),
            evaluate=self._evaluator() if self.plan.bins == 0 else None,
            stopwatch=stopwatch,
            unmasker=self._unmasker,
        )
        policy = _policy(self.plan)
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
        settings = with_unit(settings, data)
        dataset = _read(settings, data, ledger)
        # As many as the data have, so that --config with the run's config.toml asks for the same again.
        settings = settings.model_copy(update={"banks": len(dataset.banks)})
        federated = _federated(settings, dataset)
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
            private = PrivateRun.new(data, ledger=ledger.location.reference)
            checkpoint = Checkpoint.new(plan, settings, Progress.start(plan), schema=dataset.schema)
            private.save(directory.name)
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
                brands=_brands(plan),
            )
            reserved = True
        finally:
            if not reserved:
                directory.delete()
                PrivateRun.forget(directory.name)
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
            dataset = _read(checkpoint.settings(), private.data(), ledger)
            _check_unchanged(dataset, checkpoint)
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
        self._countersign()
        yield from self._federation.attempts()

    def complete(self) -> RunSummary:
        """Settle with the ledger and write every record; the directory stays ``.partial`` until it is published."""
        self.settle()
        self._countersign()
        progress, plan = self.progress, self.plan
        write = self.directory.write
        weights = unflatten(plan.model, progress.adam.weights.astype(np.float32))
        write("model.safetensors", save(weights, metadata=self._model_card()))
        write("metrics.jsonl", b"".join(msgspec.json.encode(record) + b"\n" for record in progress.records))
        write("privacy.json", msgspec.json.format(msgspec.json.encode(self.statement()), indent=2))
        summary = self._summary()
        self._write_summary(summary)
        return summary

    def settle(self) -> None:
        """Charge what was attempted and give the rest of the reservation back, on the coordinator's signature."""
        charging.settle(self._ledger, self.directory.name, self.progress.begun, key=self._private.coordinator_key)

    def publish(self, summary: RunSummary, *, report_seconds: float) -> RunSummary:
        """Give the directory, now with its report, its final name; returns the summary as it was finally written."""
        seconds = msgspec.structs.replace(summary.seconds, report=report_seconds, total=self.watch.total)
        final = msgspec.structs.replace(summary, seconds=seconds)
        self._write_summary(final)
        self.directory.publish()  # before the checkpoint goes: a kill in between leaves a complete run
        self.directory.remove(CHECKPOINT)
        PrivateRun.forget(self.directory.name)
        self.close()
        return final

    def close(self) -> None:
        """Work on the run no more, so that it can be resumed; published or not."""
        if isinstance(self._unmasker, SeveralCores):
            self._unmasker.close()
        self._lock.release()

    def balances(self) -> tuple[Balance, ...]:
        """Where the accounts that this run charged stand."""
        return charging.balances(self._ledger, self.directory.name)

    def _write_summary(self, summary: RunSummary) -> None:
        self.directory.write("summary.json", msgspec.json.format(msgspec.json.encode(summary), indent=2))

    def _countersign(self) -> None:
        """Have every bank and the coordinator sign the ledger's head, after the reservation and after settlement.

        All these keys lie in this one process (SIMULATED KEYS) and are forgotten with it, so the file shows a later
        change of the ledger to whoever holds the run's directory, and no agreement of independent parties.
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
        return msgspec.structs.replace(progress, begun=begun, records=progress.records + lost)

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
            "brands": ", ".join(_brands(self.plan)),
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
            brands=_brands(self.plan),
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

    def _summary(self) -> RunSummary:
        progress, plan, watch = self.progress, self.plan, self.watch
        head = self._ledger.head
        training = [record for record in progress.records if record.release == "training"]
        opened = [record for record in progress.records if record.status == "opened"]
        sums = sum(plan.sum(record.release).dimension for record in progress.records)
        return RunSummary(
            run=self.directory.name,
            fedsec=version("fedsec"),
            python=platform.python_version(),
            torch=version("torch"),
            opacus=version("opacus"),
            started=self._checkpoint.started,
            mode=plan.mode,
            engine=self.settings.engine,
            dataset=self.dataset.source,
            banks=plan.clients,
            rounds_planned=plan.rounds,
            rounds_opened=progress.rounds,
            rounds_aborted=sum(record.status == "aborted" for record in training),
            survivors_min=min((record.survivors for record in opened), default=0),
            slots=sum(plan.slots),
            evaluation="federated" if plan.bins else "public",
            model=(*plan.model.widths,),
            final=progress.final,
            intervals=progress.intervals,
            fraud_share=self._fraud_share(),
            histogram_bins=plan.bins or None,
            upload_bytes=sum(self._federation.uploaded.values()) // plan.clients,
            plain_bytes=4 * sums,
            seconds=Seconds(
                total=watch.total,
                training=watch.seconds("training"),
                secure_aggregation=watch.seconds("secure_aggregation"),
                evaluation=watch.seconds("evaluation"),
                report=0.0,
            ),
            ledger=tuple(
                AccountBalance(
                    account=balance.account.part,
                    spent_epsilon=balance.spent_epsilon,
                    budget_epsilon=balance.budget_epsilon,
                    delta=balance.delta,
                    course=self._ledger.course(
                        self.directory.name, balance.account, [record.release for record in progress.records]
                    ),
                )
                for balance in self.balances()
            ),
            ledger_head=LedgerHead(public_key=head.ledger, entry=head.entry, hash=head.hash),
            roster=self.roster.digest.hex(),
        )


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
    finally:
        lock.release()
    return charging.balances(ledger, directory.name)


def _check_unchanged(dataset: Dataset, checkpoint: Checkpoint) -> None:
    slots = tuple(bank.slots for bank in dataset.banks)
    if slots != checkpoint.plan.slots or dataset.schema.to_toml() != checkpoint.schema_toml:
        raise ConfigError(
            "the data have other rows or columns than when the run began",
            remedy="Put the file back as it was, or start a new run.",
        )


def _federated(settings: RunSettings, dataset: Dataset) -> bool:
    """Whether evaluation is federated: what was asked for, else for own data only."""
    if settings.evaluation is None:
        return dataset.source == "own data"
    return settings.evaluation == "federated"


def _read(settings: RunSettings, data: DataSettings, ledger: Ledger) -> Dataset:
    account = data.account(settings.seed)
    split_key = ledger.split_key(account, settings.holdout)
    if data.data is None:
        return synthetic_dataset(
            banks=settings.banks,
            rows=data.rows,
            seed=settings.seed,
            split_key=split_key,
            holdout=settings.holdout,
        )
    return load_dataset(
        data.data,
        label=data.label or "",
        bank_column=data.bank_column,
        unit_column=data.unit_column,
        drop=data.drop,
        schema=Schema.load(data.schema_file) if data.schema_file else None,
        banks=settings.banks,
        seed=settings.seed,
        split_key=split_key,
        holdout=settings.holdout,
    )


def _brands(plan: TaskPlan) -> tuple[str, ...]:
    return (NOT_PRIVATE, SIMULATED_KEYS) if plan.insecure_deterministic_noise else (SIMULATED_KEYS,)


def _policy(plan: TaskPlan) -> BankPolicy:
    """The policy of a simulated bank: the operator of all ten asked for this very plan."""
    sessions = ClientPolicy(
        tasks=frozenset({plan.task}),
        purposes=frozenset(planned.name for planned in plan.sums),
        modes=frozenset({plan.mode}),
        min_clients=plan.clients,
        min_corrupt=plan.corrupt,
        max_corrupt=plan.corrupt,
        min_honest_inputs=plan.honest_inputs,
        min_noise_multiplier=min(planned.mechanism.noise_multiplier for planned in plan.sums),
    )
    return BankPolicy(
        sessions=sessions,
        max_epsilon=plan.epsilon,
        max_delta=plan.delta,
        architectures=frozenset({plan.model.hidden}),
        insecure_deterministic_noise=plan.insecure_deterministic_noise,
    )
