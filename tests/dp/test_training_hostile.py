"""A dishonest server's weights and hostile records never move the sum by more than the sensitivity counts."""

import math

import numpy as np
import pytest
import torch
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import nn

from dp.mechanism import reduction_error
from dp.training import clipped_sum as module_under_test
from dp.training.book_keeping import Factors
from tests.dp.training_helpers import (
    ARCHITECTURES,
    CLIP,
    SLACK,
    cross_entropy,
    dimension,
    hostile_rows,
    hostile_weights,
    largest_move,
    records,
    small_sum,
    torch_parameters,
)

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


def bound(slots, d):
    return CLIP * SLACK + 2.0 * math.sqrt(d) * reduction_error(slots, CLIP)


@pytest.mark.parametrize("name", hostile_weights())
def test_emptying_one_record_moves_the_sum_by_at_most_the_sensitivity(name):
    compute, features = small_sum(), hostile_rows()
    labels = (np.arange(len(features)) % 2).astype(np.float64)
    moved = largest_move(compute, hostile_weights()[name], features, labels)
    assert moved <= bound(len(features), compute.dimension)


@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("scale", [0.5, 1e12, 1e25, 1e100])
def test_the_bound_holds_for_layers_that_are_written_out(build, scale):
    features, labels, _ = records(build, slots=12)
    weights = np.random.default_rng(8).standard_normal(dimension(build())) * scale
    moved = largest_move(small_sum(build()), weights, features, labels, empty=0)
    assert moved <= bound(12, len(weights))


@pytest.mark.parametrize("name", ["ordinary", "1e12"])
def test_control_without_clipping_the_bound_breaks(name):
    compute, features = small_sum(clip=2.0**100), hostile_rows()
    labels = (np.arange(len(features)) % 2).astype(np.float64)
    moved = largest_move(compute, hostile_weights()[name], features, labels)
    assert not moved <= bound(len(features), compute.dimension)


@pytest.mark.parametrize("name", ["1e70", "1e308", "nan", "inf"])
def test_control_zeroing_by_the_coefficient_alone_breaks_the_bound(monkeypatch, name):
    monkeypatch.setattr(module_under_test, "_finite", lambda rows: rows)
    compute, features = small_sum(), hostile_rows()
    labels = (np.arange(len(features)) % 2).astype(np.float64)
    moved = largest_move(compute, hostile_weights()[name], features, labels)
    assert not moved <= bound(len(features), compute.dimension)


def vanishing_square():
    """The released norm over C where g is about 2^-101, so that g^2 is 0 in float32, and a is 2^120."""
    clip = 2.0**-100
    compute = small_sum(nn.Sequential(nn.Linear(1, 1, bias=False)), clip=clip, micro_batch=1)
    weights, features = np.array([-70.0 * 2.0**-120]), np.array([[2.0**120]])
    return float(abs(compute(weights, features, np.zeros(1), np.ones(1, bool))[0])) / clip


def test_a_vanishing_square_does_not_hide_a_gradient_from_its_norm():
    assert 0.5 < vanishing_square() <= SLACK


def test_control_norms_in_single_precision_let_a_vanishing_square_hide_a_gradient(monkeypatch):
    def in_single_precision(book):
        squares = book.backprops.float().square().sum(1)
        return [(squares.sqrt() * torch.linalg.vector_norm(book.activations, dim=1)).double()]

    monkeypatch.setattr(Factors, "norms", in_single_precision)
    assert vanishing_square() > 2.0**50


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_zeroed_record_leaves_the_others_sum_untouched_bit_for_bit(value):
    compute = small_sum()
    features, labels, _ = records(lambda: nn.Sequential(nn.Linear(4, 1)), slots=20)
    weights = hostile_weights()["ordinary"]
    include = np.arange(20) != 5
    expected = compute(weights, features, labels, include)
    features[5, 1] = value
    assert np.array_equal(compute(weights, features, labels, np.ones(20, bool)), expected)


def test_a_label_that_is_not_finite_zeroes_its_record():
    compute = small_sum()
    features, labels, _ = records(lambda: nn.Sequential(nn.Linear(4, 1)), slots=20)
    weights = hostile_weights()["ordinary"]
    expected = compute(weights, features, labels, np.arange(20) != 5)
    labels[5] = np.nan
    assert np.array_equal(compute(weights, features, labels, np.ones(20, bool)), expected)


def cancelling(w1=3029.0):
    """A model, and weights whose first backward pass cancels exactly while a re-weighted one does not.

    The second layer's backprop is (w1, w2) / 2 times the clipping coefficient, and the first layer's is its
    product with (w2, -w1) * 2^72, about 1e25 each: zero where the coefficient is 1, rounding noise times 1e25
    where it is not. w1 and w2 have 12 bits, so w1 w2 is exact and a fused multiply-add changes nothing.
    """
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 2), nn.Linear(2, 1))
    w2, scale = 2305.0, 2.0**72  # times 12 bits: about 1e25
    first, second, third = [0.0, 0.0], [w2 * scale, -w1 * scale, 0.0, 0.0], [w1, w2, 0.0]
    return model, np.array(first + second + third)


def two_backward_sum(model, weights, features, labels, dtype):
    """What Opacus' ghost clipping (its own two passes) releases for these records, float64 ``(d,)``."""
    model = torch_parameters(model, weights, dtype)
    module = GradSampleModuleFastGradientClipping(
        model, loss_reduction="sum", max_grad_norm=CLIP, use_ghost_clipping=True
    )
    losses = cross_entropy(module(torch.from_numpy(features).to(dtype)), torch.from_numpy(labels).to(dtype))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.0)
    DPTensorFastGradientClipping(module, optimiser, losses, "sum").backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).double().numpy()


def test_cancelling_weights_do_not_lift_one_record_above_the_clip():
    model, weights = cancelling()
    features, labels = np.array([[1.0]]), np.array([1.0])
    compute = small_sum(model, micro_batch=1)
    released = compute(weights, features, labels, np.ones(1, bool))
    assert 0.5 * CLIP < np.linalg.norm(released) <= CLIP * SLACK


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_control_opacus_second_backward_pass_releases_far_more_than_the_clip(dtype):
    attacks = (cancelling(w1) for w1 in (3001.0, 3029.0, 3043.0, 3057.0))
    released = [two_backward_sum(*attack, np.array([[1.0]]), np.array([1.0]), dtype) for attack in attacks]
    assert max(map(np.linalg.norm, released)) > 1e6 * CLIP


def test_the_two_backward_control_agrees_with_ours_on_ordinary_weights():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    features, labels, _ = records(lambda: model, slots=1)
    weights = np.random.default_rng(1).standard_normal(dimension(model))
    ours = small_sum(model, micro_batch=1)(weights, features, labels, np.ones(1, bool))
    theirs = two_backward_sum(model, weights, features, labels, torch.float32)
    assert np.linalg.norm(theirs - ours) < 1e-5 * np.linalg.norm(ours)


def opposed_steps(n):
    """Two tokens, n and n + 1, with backprops 4n and -4(n - 1): products of 2^48 whose sum, 4, is the gradient."""
    model = nn.Sequential(nn.Embedding(2, 1), nn.Linear(1, 1, bias=False), nn.Flatten(), nn.Linear(2, 1))
    weights = np.array([n, n + 1.0, 0.0, -8.0 * n, 8.0 * (n - 1.0), 0.0])
    return model, weights, np.array([[0, 1]]), np.array([1.0])


NEARLY_EQUAL = [2.0**23 - 1, 2.0**23 - 3, 2.0**23 - 5, 2.0**23 - 17]


@pytest.mark.parametrize("n", NEARLY_EQUAL)
def test_a_cancelling_ghost_norm_over_sequences_is_not_relied_on(n):
    model, weights, features, labels = opposed_steps(n)
    released = small_sum(model, micro_batch=1)(weights, features, labels, np.ones(1, bool))
    assert 0.5 * CLIP < np.linalg.norm(released) <= CLIP * SLACK


def test_control_opacus_ghost_norm_over_sequences_misses_a_gradient_above_the_clip():
    norm_of = GradSampleModuleFastGradientClipping.NORM_SAMPLERS[nn.Linear]
    missed = []
    for n in NEARLY_EQUAL:
        layer = nn.Linear(1, 1, bias=False).double()
        backprops = torch.tensor([[[4.0 * n], [-4.0 * (n - 1.0)]]], dtype=torch.float64)
        activations = torch.tensor([[[n], [n + 1.0]]], dtype=torch.float64)
        true_norm = float((backprops * activations).sum().abs())
        assert true_norm == 4.0 * CLIP
        missed.append(float(norm_of(layer, [activations], backprops)[layer.weight]) < CLIP)
    assert any(missed)
