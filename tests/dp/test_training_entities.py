"""Entities as units: which rows count, the mean gradient and its clip, under hostile rows and weights."""

import itertools
import math

import numpy as np
import pytest
import torch

from dp.mechanism import ROW_CUT, SumMechanism, reduction_error, sum_mechanism
from dp.training import entity_sum
from dp.training.clipped_sum import ClippedGradientSum
from dp.training.entities import EMPTY, EntityRows
from dp.training.entity_sum import EntityGradientSum
from dp.training.local import local_train
from fedsec.errors import ConfigError
from fedsec.keystream import KeyStream
from tests.dp.training_helpers import (
    ARCHITECTURES,
    CLIP,
    INPUTS,
    SLACK,
    cross_entropy,
    dimension,
    hostile_rows,
    hostile_weights,
    perceptron,
    records,
    torch_parameters,
)

SLOTS = 24
D = dimension(perceptron())
ENTITIES = np.arange(SLOTS) % 7  # three or four rows each, spread over the micro-batches
LABELS = (np.arange(SLOTS) % 2).astype(np.float64)
ALL = np.ones(SLOTS, bool)


def entity_total(entities=ENTITIES, *, most=3, clip=CLIP, model=None):
    rows = EntityRows.choose(entities, most=most)
    return EntityGradientSum(model or perceptron(), cross_entropy, rows, clip=clip, micro_batch=8)


# Which rows count


def chosen(entities, most):
    """The counted slots of every entity, by its number."""
    rows = EntityRows.choose(entities, most=most)
    return {int(e): np.flatnonzero((entities == e) & rows.counted).tolist() for e in np.unique(entities)}


def test_of_each_entity_at_most_m_rows_count_and_mates_list_them():
    entities = np.random.default_rng(1).integers(-1, 30, 400)
    rows = EntityRows.choose(entities, most=5)
    found = chosen(entities, 5)
    assert found.pop(EMPTY) == []
    for entity, slots in found.items():
        assert len(slots) == min(5, (entities == entity).sum())
        for slot in slots:
            assert rows.mates[slot].tolist() == slots + [400] * (5 - len(slots))
            assert rows.first[slot] == slots[0]
            assert rows.size[slot] == len(slots)
    assert (rows.mates[~rows.counted] == 400).all()
    assert np.flatnonzero(rows.leads).tolist() == sorted(slots[0] for slots in found.values())
    assert chosen(entities, 400) != found  # control: without the bound other rows count


def test_the_choice_depends_on_no_other_entity():
    entities = np.random.default_rng(2).integers(0, 12, 200)
    whole = chosen(entities, 4)
    for gone in range(12):
        rest = chosen(np.where(entities == gone, EMPTY, entities), 4)
        assert all(rest[entity] == slots for entity, slots in whole.items() if entity != gone)


def test_control_coins_thrown_over_the_rows_that_are_there_would_depend_on_others():
    entities = np.random.default_rng(2).integers(0, 12, 200)

    def over_present(of):
        present = np.flatnonzero(of != EMPTY)
        packed = chosen(of[present], 4)
        return {entity: present[slots].tolist() for entity, slots in packed.items()}

    whole, rest = over_present(entities), over_present(np.where(entities == 0, EMPTY, entities))
    assert any(rest[entity] != whole[entity] for entity in range(1, 12))


def test_the_choice_is_no_matter_of_the_order_of_rows():
    """Chosen by coins, not the first ones: a file sorted by time or label must not decide which rows count."""
    entities = np.repeat(np.arange(400), 10)
    rows = EntityRows.choose(entities, most=2)
    place = np.arange(4000) % 10
    per_place = np.bincount(place[rows.counted], minlength=10)  # 800 rows, 80 a place in expectation
    assert np.abs(per_place - 80).max() < 6 * math.sqrt(400 * 0.2 * 0.8)
    first_two = place < 2  # control: the first two of each
    assert np.abs(np.bincount(place[first_two], minlength=10) - 80).max() > 6 * math.sqrt(400 * 0.2 * 0.8)


def test_a_bank_of_empty_slots_and_a_bound_of_no_row():
    rows = EntityRows.choose(np.full(5, EMPTY), most=3)
    assert not rows.counted.any()
    assert not entity_total(np.full(SLOTS, EMPTY))(np.ones(D), hostile_rows(), LABELS, ALL).any()
    assert entity_total()(np.ones(D), np.ones((SLOTS, INPUTS)), LABELS, ALL).any()  # control
    with pytest.raises(ConfigError, match="at least one row"):
        EntityRows.choose(ENTITIES, most=0)


# The sum


@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_the_sum_is_that_of_clipped_mean_gradients_by_autograd(build):
    features, labels, _ = records(build, 50)
    entities = np.random.default_rng(3).integers(0, 12, 50)
    include = (np.arange(12) % 5 != 0)[entities]
    weights = np.random.default_rng(2).standard_normal(dimension(build())) * 0.5
    rows = EntityRows.choose(entities, most=4)
    clip = 0.3
    total = EntityGradientSum(build(), cross_entropy, rows, clip=clip, micro_batch=8)(
        weights, features, labels, include
    )

    def by_hand(groups):
        model, expected = torch_parameters(build(), weights), np.zeros(len(weights))
        for slots in groups:
            losses = cross_entropy(model(torch.from_numpy(features[slots])), torch.from_numpy(labels[slots]))
            gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
            mean = torch.cat([gradient.flatten() for gradient in gradients]).numpy()
            expected += mean * min(1.0, clip / np.linalg.norm(mean))
        return expected

    present = [e for e in range(12) if e % 5]
    counted = [np.flatnonzero((entities == e) & rows.counted) for e in present]
    assert np.abs(total - by_hand(counted)).max() < 1e-6
    every_row = [np.flatnonzero(entities == e) for e in present]
    assert np.abs(total - by_hand(every_row)).max() > 1e-3  # control: rows beyond m
    assert np.abs(total - by_hand([[slot] for slots in counted for slot in slots])).max() > 1e-3  # control: records


def largest_move(total, weights, features, entities=ENTITIES):
    """Largest L2 move of the sum when one entity is emptied, as the neighbouring relation says."""
    whole = total(weights, features, LABELS, ALL)
    moves = []
    for entity in np.unique(entities):
        gone = entities == entity
        rest = entity_total(np.where(gone, EMPTY, entities))(
            weights, np.where(gone[:, None], 0.0, features), np.where(gone, 0.0, LABELS), ~gone
        )
        moves.append(np.linalg.norm(whole - rest))
    return float(np.max(moves))


BOUND = CLIP * SLACK + 2 * math.sqrt(D) * reduction_error(SLOTS, ROW_CUT * CLIP)


@pytest.mark.parametrize("name", hostile_weights())
def test_one_entity_moves_the_sum_by_at_most_the_bound(name):
    with np.errstate(all="ignore"):
        assert largest_move(entity_total(), hostile_weights()[name], hostile_rows()) <= BOUND


def test_control_rows_clipped_one_by_one_move_it_further():
    features, labels, _ = records(perceptron, SLOTS)
    weights = hostile_weights()["ordinary"]
    single = ClippedGradientSum(perceptron(), cross_entropy, clip=0.1, micro_batch=8)
    gone = ENTITIES == 0
    together = EntityRows.choose(ENTITIES, most=4)
    entity = EntityGradientSum(perceptron(), cross_entropy, together, clip=0.1, micro_batch=8)
    per_record = np.linalg.norm(single(weights, features, labels, ALL) - single(weights, features, labels, ~gone))
    assert np.linalg.norm(entity(weights, features, labels, ALL) - entity(weights, features, labels, ~gone)) <= 0.1001
    assert per_record > 0.1001


def largest_move_of_cancelling_rows():
    """Entities of two rows whose gradients are huge and opposite, but for one input's last bit.

    The output is 0, so the slopes of the loss are exactly -1/2 and +1/2; its weights are 2^66, and so are the backprops
    of the layers below. The rows differ by 2^-29 in an input that no unit looks at, which is lost in the squared norm
    of their mean, computed by inner products: it comes out as 0, while the mean is above 2^36.
    """
    features = np.tile([1.0, 2.0**-6, 0.0, 0.0], (SLOTS, 1))
    features[::2, 1] += 2.0**-29
    opposite = np.tile([1.0, -1.0], 16)
    weights = np.concatenate([np.zeros(32), np.full(8, 0.5), opposite, np.zeros(4), np.full(4, 2.0**66), [0.0]])
    pairs = np.arange(SLOTS) // 2
    return largest_move(entity_total(pairs), weights, features, pairs)


def test_rows_of_one_entity_that_cancel_are_cut_first():
    """The norm of a mean of huge, opposite gradients is rounding noise; cut before averaging, the noise is bounded."""
    assert largest_move_of_cancelling_rows() <= BOUND


def test_control_without_the_cut_rows_that_cancel_exceed_the_bound(monkeypatch):
    monkeypatch.setattr(entity_sum, "ROW_CUT", 2.0**200)
    monkeypatch.setattr(entity_sum, "UNIT_ROUNDOFF", 0.0)  # and so without tau, which the cut keeps small
    assert largest_move_of_cancelling_rows() > 2 * BOUND


def test_the_others_are_computed_alike_to_the_last_bit(monkeypatch):
    """Emptying an entity leaves every other row's book and coefficient as they were."""
    seen = []
    genuine = entity_sum._Kept.reduce

    def spying(self, sums, rows, coefficients):
        seen.append(((self.left[rows] * coefficients[:, None]).numpy().copy(), rows))
        return genuine(self, sums, rows, coefficients)

    monkeypatch.setattr(entity_sum._Kept, "reduce", spying)

    def added(entities, features, labels, include):
        seen.clear()
        with np.errstate(all="ignore"):
            entity_total(entities)(1e6 * hostile_weights()["ordinary"], features, labels, include)
        blocks = [np.concatenate([part for part, _ in seen[layer::3]]) for layer in range(3)]
        return np.concatenate(blocks, axis=1)

    gone = ENTITIES == 2
    whole = added(ENTITIES, hostile_rows(), LABELS, ALL)
    rest = added(np.where(gone, EMPTY, ENTITIES), np.where(gone[:, None], 0.0, hostile_rows()), LABELS * ~gone, ~gone)
    assert np.array_equal(whole[~gone], rest[~gone])
    assert whole[gone].any()  # control: the entity's own rows do change
    assert not rest[gone].any()


def test_shapes_follow_from_slots_and_m_and_not_from_how_many_entities_there_are(monkeypatch):
    work = []
    genuine = entity_sum._Kept.products

    def spying(self, rows, mates):
        work.append((self.left.shape, self.right.shape, rows, mates.shape))
        return genuine(self, rows, mates)

    monkeypatch.setattr(entity_sum._Kept, "products", spying)

    def done(entities, *, most=3, include=ALL):
        work.clear()
        entity_total(entities, most=most)(hostile_weights()["ordinary"], np.ones((SLOTS, INPUTS)), LABELS, include)
        return list(work)

    one = done(np.zeros(SLOTS, np.int64))
    assert one == done(np.arange(SLOTS)) == done(np.full(SLOTS, EMPTY)) == done(ENTITIES, include=~ALL)
    assert one != done(ENTITIES, most=4)  # control: m shows, being public


def test_shapes_that_do_not_fit_and_bounds_out_of_range_are_refused():
    total = entity_total()
    good = (np.zeros(D), np.zeros((SLOTS, INPUTS)), LABELS, ALL)
    assert total(*good).shape == (total.dimension,)
    for place, bad in enumerate((np.zeros(D + 1), np.zeros((SLOTS - 1, INPUTS)), LABELS[1:], ALL[1:])):
        with pytest.raises(ConfigError, match="shape"):
            total(*good[:place], bad, *good[place + 1 :])
    rows = EntityRows.choose(ENTITIES, most=3)
    for clip, micro_batch in ((0.0, 8), (2.0**101, 8), (1.0, 0)):
        with pytest.raises(ConfigError, match="reasonable size"):
            EntityGradientSum(perceptron(), cross_entropy, rows, clip=clip, micro_batch=micro_batch)
    with pytest.raises(ConfigError, match="at most 64 rows"):
        EntityGradientSum(perceptron(), cross_entropy, EntityRows.choose(ENTITIES, most=65), clip=1.0)


def test_the_reductions_error_counts_the_cut_and_not_the_clip():
    settings = {
        "name": "training",
        "dimension": D,
        "clip": CLIP,
        "max_slots": SLOTS,
        "clients": 5,
        "honest_inputs": 2,
        "noise_multiplier": 1.0,
    }
    entity, record = sum_mechanism(**settings, row_cut=ROW_CUT), sum_mechanism(**settings)
    assert entity.float_error >= reduction_error(SLOTS, ROW_CUT * CLIP) > 60 * record.float_error
    assert record.sensitivity < entity.sensitivity < record.sensitivity * (1 + 1e-9)


# Local mode


def step_mechanism(**changes):
    settings = {
        "name": "training",
        "dimension": D,
        "clip": CLIP,
        "max_slots": SLOTS,
        "clients": 5,
        "honest_inputs": 1,
        "noise_multiplier": 1.0,
        "sampling_rate": 0.5,
        "row_cut": ROW_CUT,
    }
    return sum_mechanism(**(settings | changes))


def drawn_in(monkeypatch, *, steps, coins):
    """What every step of local training computes with: bool ``(steps, slots)``."""
    seen = []
    genuine = EntityGradientSum.__call__

    def spying(self, weights, features, labels, include):
        seen.append(include.copy())
        return genuine(self, weights, features, labels, include)

    with monkeypatch.context() as patch:
        patch.setattr(EntityGradientSum, "__call__", spying)
        if not coins:  # the broken variant: each row by a coin of its own
            patch.setattr(EntityRows, "first", np.arange(SLOTS), raising=False)
        rows = EntityRows.choose(ENTITIES, most=4)
        if not coins:
            rows = EntityRows(mates=rows.mates, first=np.arange(SLOTS), size=rows.size)
        local_train(
            EntityGradientSum(perceptron(), cross_entropy, rows, clip=step_mechanism().clip),
            np.zeros(D),
            np.zeros((SLOTS, INPUTS)),
            LABELS,
            include=ALL,
            mechanism=step_mechanism(),
            steps=steps,
            learning_rate=0.01,
            entities=rows,
        )
    return np.array(seen)


def test_in_local_mode_all_rows_of_an_entity_are_drawn_by_one_coin(monkeypatch):
    drawn = drawn_in(monkeypatch, steps=400, coins=True)
    by_entity = np.stack([drawn[:, entity == ENTITIES] for entity in range(3)])
    assert (by_entity.all(axis=2) == by_entity.any(axis=2)).all()
    coins = np.stack([drawn[:, entity] for entity in range(7)])
    assert abs(coins.mean() - 0.5) < 6 * 0.5 / math.sqrt(coins.size)
    assert np.abs(np.corrcoef(coins)[~np.eye(7, dtype=bool)]).max() < 6 / math.sqrt(400)
    single = drawn_in(monkeypatch, steps=20, coins=False)  # control
    by_entity = np.stack([single[:, entity == ENTITIES] for entity in range(3)])
    assert (by_entity.all(axis=2) != by_entity.any(axis=2)).any()


@pytest.mark.parametrize("name", ["ordinary", "1e25", "signs 1e25", "1e70", "denormal"])
def test_the_integers_of_a_step_move_by_at_most_the_sensitivity(monkeypatch, name):
    of = step_mechanism(sampling_rate=1.0)
    moves = [step_move(monkeypatch, of, entity, hostile_weights()[name]) for entity in range(7)]
    assert max(moves) <= of.sensitivity
    if name == "ordinary":
        wide = [step_move(monkeypatch, of, entity, 10 * hostile_weights()[name], clip=2.0**60) for entity in range(7)]
        assert max(wide) > of.sensitivity  # control: no clip


def step_move(monkeypatch, of, entity, weights, clip=None):
    released = []
    gone = entity == ENTITIES
    with monkeypatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(SumMechanism, "add_noise", lambda self, values, **_: released.append(values) or values)
        for entities, features, labels in (
            (ENTITIES, hostile_rows(), LABELS),
            (np.where(gone, EMPTY, ENTITIES), np.where(gone[:, None], 0.0, hostile_rows()), LABELS * ~gone),
        ):
            counter = itertools.count()
            patch.setattr(KeyStream, "from_os", classmethod(lambda cls, c=counter: cls(next(c).to_bytes(32, "big"))))
            rows = EntityRows.choose(entities, most=3)
            local_train(
                EntityGradientSum(perceptron(), cross_entropy, rows, clip=clip or of.clip),
                weights,
                features,
                labels,
                include=entities != EMPTY,
                mechanism=of,
                steps=1,
                learning_rate=0.01,
                entities=rows,
            )
    return np.linalg.norm((released[0] - released[1]).astype(np.float64))
