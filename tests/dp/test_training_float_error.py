"""The float64 sum is within E of the exact rational sum, and no record moves the integers by more than the sensitivity.

Exact sums are of fractions over the very float64 numbers that the reduction reads, so no floating point judges another.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.mechanism import reduction_error, sum_mechanism
from dp.training import clipped_sum as module_under_test
from dp.training.book_keeping import Rows
from fedsec.keystream import KeyStream
from fedsec.rounding import stochastic_round
from tests.dp.test_training_hostile import cancelling, two_backward_sum
from tests.dp.training_helpers import (
    ARCHITECTURES,
    CLIP,
    INPUTS,
    SLACK,
    dimension,
    hostile_rows,
    hostile_weights,
    perceptron,
    records,
    small_sum,
)

SLOTS = 24
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


def alike():
    """Terms of one sign in every coordinate: nothing cancels, errors add up."""
    return np.ones((SLOTS, INPUTS)), np.zeros(SLOTS)


def opposed():
    """Every record and its opposite: large terms, small sums."""
    half = np.random.default_rng(4).standard_normal((SLOTS // 2, INPUTS)) * 1e3
    return np.concatenate([half, -half]), (np.arange(SLOTS) < SLOTS // 2).astype(np.float64)


ROWS = {
    "ordinary": lambda: records(perceptron, SLOTS)[:2],
    "alike": alike,
    "opposed": opposed,
    "hostile": lambda: (hostile_rows(), (np.arange(SLOTS) % 2).astype(np.float64)),
    "denormal": lambda: (np.full((SLOTS, INPUTS), 1e-45), np.ones(SLOTS)),
}


def exact_terms(book, coefficients):
    """By parameter: each counted record's contribution, as lists of fractions."""
    kept = (coefficients != 0).nonzero()[:, 0]
    factors = [Fraction(c) for c in coefficients[kept].tolist()]
    if isinstance(book, Rows):
        rows = [[Fraction(v) for v in row] for row in book.gradients[kept].tolist()]
        return {book.parameter: [[c * v for v in row] for c, row in zip(factors, rows, strict=True)]}
    scaled = (book.backprops * coefficients[:, None])[kept].tolist()
    us = [[Fraction(v) for v in row] for row in scaled]
    activations = [[Fraction(v) for v in row] for row in book.activations[kept].tolist()]
    outer = [[x * y for x in u for y in a] for u, a in zip(us, activations, strict=True)]
    return {book.layer.weight: outer, book.layer.bias: us}


def exact_sums(compute, weights, features, labels, *, reduce=module_under_test._reduce):
    """Errors of ``compute``'s coordinates against the exact sums, and the records' exact squared norms."""
    terms = {}

    def recording(sums, book, coefficients):
        for parameter, rows in exact_terms(book, coefficients).items():
            terms.setdefault(parameter, []).extend(rows)
        reduce(sums, book, coefficients)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_under_test, "_reduce", recording)
        result = compute(weights, features, labels, np.ones(len(features), bool))
    by_parameter = [terms[parameter] for parameter in compute._parameters]
    sums = [
        sum(column, Fraction())
        for rows, p in zip(by_parameter, compute._parameters, strict=True)
        for column in (zip(*rows, strict=True) if rows else [()] * p.numel())
    ]
    errors = [abs(Fraction(value) - exact) for value, exact in zip(result.tolist(), sums, strict=True)]
    norms = [sum(v * v for rows in by_parameter for v in rows[record]) for record in range(len(by_parameter[0]))]
    return errors, norms


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", ["ordinary", "1e12", "1e25", "1e35", "1e-30", "denormal in float32", "mixed scales"])
def test_the_reduction_stays_within_the_proved_error_of_exact_rational_sums(name, rows):
    features, labels = ROWS[rows]()
    compute = small_sum(ARCHITECTURES["saturating"](), micro_batch=16)
    errors, norms = exact_sums(compute, hostile_weights()[name], features, labels)
    assert max(errors) <= Fraction(reduction_error(SLOTS, CLIP))
    assert all(norm <= Fraction(CLIP * SLACK) ** 2 for norm in norms)
    if name in ("ordinary", "1e25") and rows != "hostile":
        assert len(norms) == SLOTS


@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("micro_batch", [1, 7, 24])
def test_the_error_holds_in_every_blocking_and_for_layers_that_are_written_out(build, micro_batch):
    features, labels, _ = records(build, SLOTS)
    weights = np.random.default_rng(6).standard_normal(dimension(build()))
    errors, norms = exact_sums(small_sum(build(), micro_batch=micro_batch), weights, features, labels)
    assert max(errors) <= Fraction(reduction_error(SLOTS, CLIP))
    assert max(norms) <= Fraction(CLIP * SLACK) ** 2
    assert len(norms) == SLOTS


def in_single_precision(sums, book, coefficients):
    part = {parameter: torch.zeros(parameter.shape) for parameter in sums}
    if isinstance(book, Rows):
        part[book.parameter].view(-1).addmv_(book.gradients.float().T, coefficients.float())
    else:
        scaled = (book.backprops * coefficients[:, None]).float()
        part[book.layer.weight].addmm_(scaled.T, book.activations.float())
        part[book.layer.bias].add_(scaled.sum(0))
    for parameter, value in part.items():
        sums[parameter].add_(value.double())


@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_control_a_reduction_in_single_precision_breaks_the_proved_error(build):
    features, labels, _ = records(build, SLOTS)
    weights = np.random.default_rng(6).standard_normal(dimension(build()))
    errors, _ = exact_sums(small_sum(build(), micro_batch=16), weights, features, labels, reduce=in_single_precision)
    assert max(errors) > Fraction(reduction_error(SLOTS, CLIP))


def mechanism(dimension, slots):
    return sum_mechanism(
        name="training",
        dimension=dimension,
        clip=CLIP,
        max_slots=slots,
        clients=5,
        honest_inputs=1,
        noise_multiplier=1.0,
    )


def integers(total, of):
    """What gets noise and mask, under coins that neighbouring data share."""
    return stochastic_round(total, saturation=of.saturation, scale=of.grid_scale, stream=KeyStream(bytes(range(32))))


def grid_move(compute, weights, features, labels, row):
    """L2 distance of the integers with and without ``row``, over the sensitivity."""
    of = mechanism(compute.dimension, len(features))
    include = np.ones(len(features), bool)
    whole = integers(compute(weights, features, labels, include), of)
    features, labels = features.copy(), labels.copy()
    features[row], labels[row], include[row] = 0.0, 0.0, False
    moved = whole - integers(compute(weights, features, labels, include), of)
    return np.linalg.norm(moved.astype(np.float64)) / of.sensitivity


COMPUTE = {name: small_sum(ARCHITECTURES[name](), micro_batch=4) for name in ("perceptron", "saturating", "normalised")}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e25, -1e25, 1e300, -1e300, 5e-324, 1e-310, 1e-45, -1e-40, 3.4e38, np.nan, np.inf]
VALUES = st.sampled_from(SPECIAL) | st.floats(-10, 10) | st.floats()
HOSTILE = st.lists(VALUES, min_size=INPUTS, max_size=INPUTS)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(COMPUTE)),
    distinct=st.lists(HOSTILE, min_size=1, max_size=4),
    order=st.lists(st.integers(0, 3), min_size=2, max_size=10),
    labels=st.lists(st.sampled_from([0.0, 1.0]) | VALUES, min_size=10, max_size=10),
    scale=st.sampled_from([0.5, 30.0, 1e12, 1e25, 1e35, 1e-30, 1e-45, 1e300, np.nan, np.inf]),
    planted=st.lists(st.tuples(st.integers(0, 10**6), VALUES), max_size=5),
    seed=st.integers(0, 2**32 - 1),
    emptied=st.integers(0, 10**6),
)
def test_no_record_moves_the_integers_by_more_than_the_sensitivity(
    name, distinct, order, labels, scale, planted, seed, emptied
):
    """Rows repeat those of ``distinct``, so duplicates are common; weights have hostile values planted."""
    compute = COMPUTE[name]
    features = np.array([distinct[index % len(distinct)] for index in order])
    with np.errstate(over="ignore", invalid="ignore"):
        weights = np.random.default_rng(seed).standard_normal(compute.dimension) * scale
    for place, value in planted:
        weights[place % len(weights)] = value
    targets = np.array(labels[: len(order)])
    assert grid_move(compute, weights, features, targets, emptied % len(order)) <= 1.0


def test_the_sensitivity_is_nearly_reached_so_that_it_can_be_exceeded():
    features, labels = alike()
    moved = grid_move(COMPUTE["perceptron"], hostile_weights()["ordinary"] * 4, features, labels, 3)
    assert 0.95 < moved <= 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_control_norms_from_one_pass_and_gradients_from_a_second_exceed_it(dtype):
    """Opacus' ghost clipping under weights of 1e25: the emptied record is the only one, so what it adds is the move."""
    worst = 0.0
    for w1 in (3001.0, 3029.0, 3043.0, 3057.0):
        model, weights = cancelling(w1)
        features, labels = np.array([[1.0]]), np.array([1.0])
        of = mechanism(len(weights), 1)
        naive = integers(two_backward_sum(model, weights, features, labels, dtype), of)
        nothing = integers(np.zeros(len(weights)), of)
        worst = max(worst, np.linalg.norm((naive - nothing).astype(np.float64)) / of.sensitivity)
        assert grid_move(small_sum(cancelling(w1)[0], micro_batch=1), weights, features, labels, 0) <= 1.0
    assert worst > 1.2
