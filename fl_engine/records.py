"""What a run's directory holds, as typed records. ``compliance`` reads these, never live objects.

| file | record |
| --- | --- |
| ``config.toml`` | the settings that ``fedsec run --config`` takes again |
| ``metrics.jsonl`` | one :class:`RoundRecord` a line, opened and aborted rounds alike |
| ``privacy.json`` | :class:`dp.statement.PrivacyStatement` |
| ``summary.json`` | :class:`RunSummary` |
| ``model.safetensors`` | the released model and its input schema |
| ``ledger-heads.json`` | the ledger's head, countersigned by the run's keys (:mod:`dp.ledger.heads`) |

Nothing here names a bank, and no figure belongs to a single one.
"""

from __future__ import annotations

import msgspec


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of the joint model on held-out rows, in [0, 1] but ``loss`` (>= 0, nats); None: not measured.

    Attributes:
        accuracy: at a score of 0.5.
        calibration_error: share of records by which predicted and true frauds differ, bin by bin.
        best_f1: the largest F1 of any threshold; best_f1_threshold: which.
    """

    loss: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    accuracy: float | None = None
    calibration_error: float | None = None
    best_f1: float | None = None
    best_f1_threshold: float | None = None


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at opening one sum.

    Attributes:
        release: "scaling", "training" or "evaluation".
        index: counts attempts over the whole run from 0; each index is used once.
        round: training round that it completed, from 1; None for other releases and aborted attempts.
        status: "opened" or "aborted"; an aborted attempt is charged like an opened one.
        cohort: banks asked; survivors: banks whose input is in the sum (0 where aborted).
        dropped_at: how many banks were lost at each step, e.g. {"mask": 1}.
        reason: of an abort, one sentence without any bank's index; None where opened.
        epsilon: spent so far on the training account, at the run's delta.
        metrics: None where nothing was measured after this attempt.
        seconds: wall-clock of the attempt.
    """

    release: str
    index: int
    round: int | None
    status: str
    cohort: int
    survivors: int
    dropped_at: dict[str, int]
    reason: str | None
    epsilon: float
    metrics: Metrics | None
    seconds: float


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """Where the wall-clock went, seconds.

    Attributes:
        total: all of the run but its evidence and report; reading data and what is in no other part count here alone.
        training: of the banks: clipped sums, rounding and noise.
        secure_aggregation: both roles' protocol steps: keys, shares, signatures, masks, opening.
        evaluation: of the model, at the coordinator.
    """

    total: float
    training: float
    secure_aggregation: float
    evaluation: float


class AccountBalance(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger account after the run.

    Attributes:
        account: its split part; spent_epsilon: over all runs, None where something was released without noise, so
            that no epsilon bounds it; budget_epsilon: None where no budget was set (unlimited); delta: of both.
        course: what all runs together had spent without this run, and then after each of its attempts, aborted ones
            included; other runs count as they stand after this one. None as above.
    """

    account: str
    spent_epsilon: float | None
    budget_epsilon: float | None
    delta: float
    course: tuple[float | None, ...] = ()


class LedgerHead(msgspec.Struct, frozen=True, kw_only=True):
    """Where the ledger stood once the run was settled, so that a run can be matched with its ledger.

    Attributes:
        public_key: Ed25519, 64 hex digits, that signs every entry.
        entry: number of the last entry, from 0; hash: its SHA-256, 64 hex digits.
    """

    public_key: str
    entry: int
    hash: str


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The run in one record, written once, before the evidence.

    Attributes:
        run: identifier of the run (a time and random hex, no path).
        fedsec: version; python, torch, opacus: versions.
        dataset: "synthetic" or "own data": never a path, a file's name or the data-set id.
        banks, rounds_planned, rounds_opened, rounds_aborted, survivors_min: counts.
        slots: declared record slots over all banks.
        evaluation: "public" or "federated".
        model: layer widths, inputs first.
        final: metrics of the released model; intervals: 95 % bounds by metric name where noise is in them;
            bounds without a figure: the holdout is too small for the noise.
        fraud_share: of the held-out records, in [0, 1]: what guessing scores in average precision. Exact where
            evaluation is public, from the opened noisy histogram where it is federated; None: not measured,
            or too few frauds to be told from the noise.
        histogram_bins: of a federated evaluation, else None.
        upload_bytes: secure aggregation, mean bytes that one bank sent over the run; plain_bytes: the same as float32.
        ledger: the accounts that the run charged; ledger_head: the ledger's key and last entry after settlement.
        roster: digest (64 hex digits) of the list of keys that every session was bound to.
    """

    run: str
    fedsec: str
    python: str
    torch: str
    opacus: str
    started: str
    mode: str
    engine: str
    dataset: str
    banks: int
    rounds_planned: int
    rounds_opened: int
    rounds_aborted: int
    survivors_min: int
    slots: int
    evaluation: str
    model: tuple[int, ...]
    final: Metrics
    intervals: dict[str, tuple[float, float]]
    fraud_share: float | None
    histogram_bins: int | None
    upload_bytes: int
    plain_bytes: int
    seconds: Seconds
    ledger: tuple[AccountBalance, ...]
    ledger_head: LedgerHead
    roster: str
