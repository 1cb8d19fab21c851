"""Local mode releases nothing but noised integers, over batches whose coins look at no record."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from dp.events import DiscreteGaussianSum, PoissonSampled
from dp.mechanism import SumMechanism, sum_mechanism
from dp.training import clipped_sum, local
from dp.training.local import draw_slots, local_train
from fedsec.errors import ConfigError
from fedsec.keystream import KeyStream
from fl_engine.model import ModelSpec, record_loss
from tests.dp.training_helpers import cross_entropy, dimension, hostile_rows, perceptron, records

SLOTS = 24
D = dimension(perceptron())
PLACES = ModelSpec(inputs=29)  # an odd width: it splits evenly into no kernel's blocks


def mechanism(**changes):
    settings = {
        "name": "training",
        "dimension": D,
        "clip": 1.0,
        "max_slots": SLOTS,
        "clients": 5,
        "honest_inputs": 1,
        "noise_multiplier": 1.0,
        "sampling_rate": 0.5,
    }
    return sum_mechanism(**(settings | changes))


def train(features, labels, include, *, of=None, steps=3, weights=None, model=None):
    start = np.random.default_rng(0).standard_normal(D) * 0.5 if weights is None else weights
    return local_train(
        clipped_sum.ClippedGradientSum(model or perceptron(), cross_entropy, clip=(of or mechanism()).clip),
        start,
        features,
        labels,
        include=include,
        mechanism=of or mechanism(),
        steps=steps,
        learning_rate=0.05,
    )


@pytest.fixture
def fixed_coins(monkeypatch):
    """Every fresh OS stream becomes a numbered one; call the fixture to start again from the first."""
    counter = itertools.count()

    def restart():
        nonlocal counter
        counter = itertools.count()

    monkeypatch.setattr(KeyStream, "from_os", classmethod(lambda cls: cls(next(counter).to_bytes(32, "big"))))
    return restart


@pytest.fixture
def released(monkeypatch):
    """What is handed to the noise, in order; nothing is noised."""
    seen = []

    def keep(self, values, **_):
        seen.append(values)
        return values

    monkeypatch.setattr(SumMechanism, "add_noise", keep)
    return seen


def test_slots_are_drawn_by_independent_coins_of_the_stated_rate():
    drawn = np.array([draw_slots(50, 0.3) for _ in range(4000)])
    assert abs(drawn.mean() - 0.3) < 5 * math.sqrt(0.21 / drawn.size)
    correlations = np.corrcoef(drawn.T)[~np.eye(50, dtype=bool)]
    assert np.abs(correlations).max() < 6 / math.sqrt(4000)


def test_a_coin_never_lands_more_often_than_the_rate():
    rate = 0.1  # not a multiple of 2^-64 in binary, so the threshold is rounded down
    stream = KeyStream(bytes(32))
    words = KeyStream(bytes(32)).words(1000, np.uint64)
    expected = [word < math.floor(rate * 2**64) for word in words.tolist()]
    assert draw_slots(1000, rate, stream=stream).tolist() == expected


def test_rate_one_draws_every_slot_and_other_rates_are_refused():
    assert draw_slots(7, 1.0).tolist() == [True] * 7
    for rate in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="sampling rate"):
            draw_slots(7, rate)


def test_without_noise_the_steps_lower_the_loss(released):
    features, _, include = records(perceptron, SLOTS)
    labels = (features[:, 0] > 0).astype(np.float64)
    start = np.random.default_rng(0).standard_normal(D) * 0.5

    def mean_loss(weights):
        model = perceptron().double()
        torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), model.parameters())
        with torch.no_grad():
            return float(cross_entropy(model(torch.from_numpy(features)), torch.from_numpy(labels)).mean())

    update = train(features, labels, include, steps=40, weights=start)
    assert update.dtype == np.float64
    assert update.shape == (D,)
    assert mean_loss(start + update) < 0.7 * mean_loss(start)


def test_the_update_is_a_function_of_what_was_noised(monkeypatch):
    features, labels, include = records(perceptron, SLOTS)
    constant = np.arange(D, dtype=np.int64)
    monkeypatch.setattr(SumMechanism, "add_noise", lambda self, values, **_: constant)
    first = train(features, labels, include)
    second = train(hostile_rows(), 1.0 - labels, ~include)
    assert np.array_equal(first, second)
    assert first.any()


@pytest.mark.parametrize("row", [0, 3, 7, 10, 13, 20])
def test_the_noised_integers_of_a_step_move_by_at_most_the_sensitivity(released, fixed_coins, row):
    features, include = hostile_rows(), np.ones(SLOTS, bool)
    labels = (np.arange(SLOTS) % 2).astype(np.float64)
    assert integer_move(released, fixed_coins, features, labels, include, row) <= mechanism().sensitivity


def test_control_without_clipping_the_integers_move_further(released, fixed_coins, monkeypatch):
    genuine = clipped_sum.ClippedGradientSum
    monkeypatch.setattr(
        clipped_sum, "ClippedGradientSum", lambda *args, clip, **more: genuine(*args, clip=2.0**100, **more)
    )
    features, include = hostile_rows(), np.ones(SLOTS, bool)
    labels = (np.arange(SLOTS) % 2).astype(np.float64)
    moves = [integer_move(released, fixed_coins, features, labels, include, row) for row in range(SLOTS)]
    assert max(moves) > mechanism().sensitivity


def integer_move(released, fixed_coins, features, labels, include, row):
    """L2 distance between the first step's integers with and without ``row``, under the same coins."""
    start = np.random.default_rng(0).standard_normal(D) * 5.0
    emptied, without = features.copy(), include.copy()
    emptied[row], without[row] = 0.0, False
    released.clear()
    for rows, mask in ((features, include), (emptied, without)):
        fixed_coins()
        train(rows, labels, mask, of=mechanism(sampling_rate=1.0), steps=1, weights=start)
    return np.linalg.norm((released[0] - released[1]).astype(np.float64))


def test_coins_noise_and_work_do_not_depend_on_how_many_records_are_present(released, fixed_coins, monkeypatch):
    work = []
    genuine = clipped_sum.ClippedGradientSum.__call__

    def spying(self, weights, features, labels, include):
        work.append((features.shape, labels.shape, include.shape))
        return genuine(self, weights, features, labels, include)

    monkeypatch.setattr(clipped_sum.ClippedGradientSum, "__call__", spying)
    features, labels, _ = records(perceptron, SLOTS)
    for present in (0, 1, SLOTS):
        released.clear()
        work.clear()
        fixed_coins()
        train(features, labels, np.arange(SLOTS) < present, steps=4)
        assert len(released) == 4
        assert work == [((SLOTS, 4), (SLOTS,), (SLOTS,))] * 4


def test_an_empty_bank_still_sends_noise():
    update = train(np.zeros((SLOTS, 4)), np.zeros(SLOTS), np.zeros(SLOTS, bool))
    assert np.count_nonzero(update) == D


def test_no_seedable_generator_takes_part():
    features, labels, include = records(perceptron, SLOTS)
    model, updates = perceptron(), []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)
        before = torch.get_rng_state()
        updates.append(train(features, labels, include, steps=1, model=model))
        assert torch.equal(torch.get_rng_state(), before)
    assert not np.array_equal(*updates)


def test_the_event_is_one_banks_own_noise_at_the_sampling_rate():
    event = mechanism().event()
    assert isinstance(event, PoissonSampled)
    assert event.rate == 0.5
    assert isinstance(event.event, DiscreteGaussianSum)
    assert event.event.shares == 1


def test_noise_that_is_not_enough_alone_is_refused():
    features, labels, include = records(perceptron, SLOTS)
    with pytest.raises(ConfigError, match="on its own"):
        train(features, labels, include, of=mechanism(honest_inputs=3))


def test_more_slots_than_planned_or_weights_that_are_not_finite_are_refused():
    features, labels, include = records(perceptron, SLOTS)
    with pytest.raises(ConfigError, match="slots"):
        train(features, labels, include, of=mechanism(max_slots=SLOTS - 1))
    with pytest.raises(ConfigError, match="not finite"):
        train(features, labels, include, weights=np.full(D, np.nan))


def linear_by_place(self, rows):
    """A matrix product in which odd rows add their terms in the opposite order, as kernels may and some do."""
    backwards = nn.functional.linear(rows.flip(1), self.weight.flip(1), self.bias)
    odd = (torch.arange(len(rows)) % 2 == 1)[:, None]
    return torch.where(odd, backwards, nn.functional.linear(rows, self.weight, self.bias))


def test_hostile_weights_cannot_make_one_record_move_the_others(released, fixed_coins, monkeypatch):
    """A row's last bits may depend on its place in a matrix, and hostile weights blow them up: places are fixed.

    The control lays a batch out by what was drawn, so that emptying its first record moves every other one up a place.
    """
    monkeypatch.setattr(nn.Linear, "forward", linear_by_place)
    weights, features, drawn = place_attack()
    of = mechanism(dimension=len(weights), max_slots=len(features), sampling_rate=0.5)
    include = np.ones(len(features), bool)
    emptied = include.copy()
    emptied[np.flatnonzero(drawn)[0]] = False
    monkeypatch.setattr(local, "draw_slots", lambda *_args, **_given: drawn)

    def move(compute):
        released.clear()
        monkeypatch.setattr(clipped_sum.ClippedGradientSum, "__call__", compute)
        for mask in (include, emptied):
            fixed_coins()
            local_train(
                clipped_sum.ClippedGradientSum(PLACES.build(), record_loss, clip=of.clip),
                weights,
                features,
                np.zeros(len(features)),
                include=mask,
                mechanism=of,
                steps=1,
                learning_rate=0.05,
            )
        return np.linalg.norm((released[0] - released[1]).astype(np.float64))

    genuine = clipped_sum.ClippedGradientSum.__call__

    def laid_out_by_what_was_drawn(self, weights, features, labels, include):
        taken = np.flatnonzero(include)
        padded = np.concatenate([taken, np.zeros(len(include) - len(taken), np.int64)])
        return genuine(self, weights, features[padded], labels[padded], np.arange(len(include)) < len(taken))

    assert move(genuine) <= of.sensitivity
    assert move(laid_out_by_what_was_drawn) > 5 * of.sensitivity


def place_attack():
    """Weights, features and drawn slots such that rows, all alike, are loud or silent by their place."""
    generator = np.random.default_rng(3)
    slots, width = 600, PLACES.inputs
    row = np.full(width, 8.0)
    drawn = generator.random(slots) < 0.5
    count = int(drawn.sum())
    rows = torch.from_numpy(np.tile(row, (slots, 1))).float()
    layer = nn.Linear(width, 64)
    while True:
        first = generator.normal(size=(64, width)) * 10.0 ** generator.uniform(0, 30, size=(64, width))
        for unit in first:
            order = generator.permutation(width)
            for index in range(0, 2 * int(generator.integers(1, width // 2)), 2):
                unit[order[index + 1]] = -unit[order[index]]
            unit[np.abs(unit) < 1e20] = generator.normal() * 1e3
        first = first.astype(np.float32)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(first))
            layer.bias.zero_()
            hidden = torch.tanh(layer(rows)).numpy()
        jumps = (np.abs(np.diff(hidden[:count], axis=0)) > 0.5).sum(axis=0)
        unit = int(np.argmax(jumps))
        if jumps[unit] > count // 2:
            break
    middle = (hidden[:count, unit].min() + hidden[:count, unit].max()) / 2
    second, third = np.zeros((32, 64)), np.full((1, 32), 1e3)
    second[:, unit] = 640.0
    weights = np.concatenate(
        [first.ravel(), np.zeros(64), second.ravel(), np.full(32, -640.0 * middle), third.ravel(), [0.0]]
    ).astype(np.float32)
    features = np.zeros((slots, width))
    features[np.flatnonzero(drawn)[hidden[:count, unit] > middle]] = row
    return weights, features, drawn
