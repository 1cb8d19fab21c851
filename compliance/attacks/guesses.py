"""Two guesses about a record from one bank's update: what its label is, and whether it was there at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.cohort import seen_by_server
from compliance.attacks.records import SEED, Records, counting_weights, invented_records, update
from compliance.attacks.results import Finding, Findings, Outcome
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import Measured, advantage, area_under_curve, of_guesses

GAMES = 400  # masked updates, half of them with what is guessed at
PLAIN_GAMES = 2_000
BATCH = 32
_POOL = 400
_BATCHES = 100

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def label(setting: Setting) -> Findings:
    """The sign of the last bias' gradient p - y tells y; its size counts the frauds in a batch (Zhao et al. 2020)."""
    records = invented_records(setting)
    frauds, genuine = records.of(1, GAMES // 2), records.of(0, GAMES // 2)
    count = min(len(frauds), len(genuine))
    features = np.concatenate([frauds[:count], genuine[:count]])
    labels = np.repeat([1.0, 0.0], count)
    clipped = _one_by_one(setting, features, labels, clipped=True)
    plain = _by_sign(_one_by_one(setting, features, labels, clipped=False), count)
    seen = _by_sign(np.array(list(seen_by_server(setting, list(clipped)))), count)
    exact = _counts_that_are_exact(setting, records)
    return Findings(
        plain=_finding(plain, f"frauds of a batch counted, {exact} of {_BATCHES} times right"),
        fedsec=_finding(seen, "a coin has 0"),
    )


def member(setting: Setting) -> Findings:
    """Whether a record is in a batch, by the product of update and its own gradient (after Nasr et al. 2019)."""
    records = invented_records(setting)
    pool = np.concatenate([records.of(1, 1), records.features[:_POOL]])
    labels = np.append(1.0, records.labels[:_POOL])
    return Findings(
        plain=_present(_one_by_one(setting, pool, labels, clipped=False), games=PLAIN_GAMES, setting=None),
        fedsec=_present(_one_by_one(setting, pool, labels, clipped=True), games=GAMES, setting=setting),
    )


def _present(gradients: Matrix, *, games: int, setting: Setting | None) -> Finding:
    """The game on updates of ``BATCH`` records, with the first of ``gradients`` in every other one; masked by real
    banks of ``setting``, or plain without one."""
    generator = np.random.default_rng(SEED)
    canary, others = gradients[0], gradients[1:]
    updates = []
    for game in range(games):
        chosen = generator.choice(len(others), BATCH - (game % 2), replace=False)
        updates.append(others[chosen].sum(axis=0) + (game % 2) * canary)
    seen = updates if setting is None else seen_by_server(setting, updates)
    scores = np.array([update @ canary for update in seen])
    inside, outside = scores[1::2], scores[::2]
    return _finding(advantage(inside, outside), f"AUC {area_under_curve(inside, outside):.2f}")


def _by_sign(updates: Matrix, frauds: int) -> Measured:
    """Guesses "fraud" where the output's bias gradient is below 0; the first ``frauds`` updates are of frauds."""
    fraud = updates[:, -1] < 0
    return of_guesses(fraud[:frauds], fraud[frauds:])


def _counts_that_are_exact(setting: Setting, records: Records) -> int:
    """In how many batches the size of that gradient is the number of frauds, at weights under which every p is 0."""
    weights = counting_weights(setting)
    generator = np.random.default_rng(SEED)
    exact = 0
    for _ in range(_BATCHES):
        batch = generator.choice(len(records.labels), 8 * BATCH, replace=False)
        gradient = update(setting, weights, records.features[batch], records.labels[batch], clipped=False)
        exact += round(-gradient[-1]) == int(records.labels[batch].sum())
    return exact


def _one_by_one(setting: Setting, features: Matrix, labels: Vector, *, clipped: bool) -> Matrix:
    """Each record's own update, float64 ``(N, d)``."""
    return np.array(
        [
            update(setting, setting.weights, record[None], label[None], clipped=clipped)
            for record, label in zip(features, labels, strict=True)
        ]
    )


def _finding(measured: Measured, remark: str) -> Finding:
    return Finding(
        outcome=Outcome.FAILED if measured.by_chance else Outcome.SUCCEEDED,
        evidence=f"advantage {measured.advantage:.2f} ({measured.low:.2f} to {measured.high:.2f}) in "
        f"{measured.trials:,} games; {remark}"
        + (f"; below {max(measured.high, -measured.low):.2f} is not excluded" if measured.by_chance else ""),
        figures={
            "advantage": measured.advantage,
            "low": measured.low,
            "high": measured.high,
            "games": float(measured.trials),
        },
        measured=measured,
    )
