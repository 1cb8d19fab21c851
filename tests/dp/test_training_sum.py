"""The clipped sum keeps records apart, whatever the others hold, and refuses models that would mix them."""

import numpy as np
import pytest
import torch
from torch import nn

from dp.training import clipped_sum as module_under_test
from dp.training.clipped_sum import ClippedGradientSum
from fedsec.errors import ConfigError
from tests.dp.training_helpers import (
    ARCHITECTURES,
    CLIP,
    INPUTS,
    SLACK,
    cross_entropy,
    largest_move,
    perceptron,
    records,
    small_sum,
)

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_micro_batch_size_changes_nothing_but_rounding(build):
    features, labels, include = records(build, slots=30)
    weights = np.random.default_rng(4).standard_normal(small_sum(build()).dimension)
    whole = small_sum(build(), micro_batch=64)(weights, features, labels, include)
    for size in (1, 7, 30):
        parts = small_sum(build(), micro_batch=size)(weights, features, labels, include)
        assert np.linalg.norm(parts - whole) < 1e-5 * np.linalg.norm(whole)
    # Control: leaving out one row, as a wrong last micro-batch would, is far outside rounding.
    short = small_sum(build(), micro_batch=7)(weights, features[:-1], labels[:-1], include[:-1] | True)
    assert np.linalg.norm(short - whole) > 1e-3 * np.linalg.norm(whole)


@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_a_record_weighs_the_same_bit_for_bit_whatever_the_other_rows_hold(build):
    features, labels, _ = records(build, slots=8)
    weights = np.random.default_rng(5).standard_normal(small_sum(build()).dimension)
    alone = np.arange(8) == 3
    compute = small_sum(build())
    expected = compute(weights, features, labels, alone)
    others, other_labels, _ = records(build, slots=8, seed=9)
    others[3], other_labels[3] = features[3], labels[3]
    if others.dtype == np.float64:
        others[4], others[5] = np.nan, 1e300
        other_labels[7] = np.nan
    for rows, targets in ((others, other_labels), (np.where(alone[:, None], features, 0), labels)):
        assert np.array_equal(compute(weights, rows, targets, alone), expected)


@pytest.mark.parametrize("layer", [nn.ReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.Softplus])
@pytest.mark.parametrize("extreme", [1e70, -1e70, 1e-310, 700.0, -745.0])
def test_extreme_neighbours_in_one_vector_register_change_no_bit_of_a_record(layer, extreme):
    features, labels, _ = records(perceptron, slots=64)
    compute = small_sum(nn.Sequential(nn.Linear(INPUTS, 9), layer(), nn.Linear(9, 1)), micro_batch=64)
    weights = np.random.default_rng(5).standard_normal(compute.dimension)
    others = features.copy()
    others[np.arange(64) % 4 != 1] = extreme
    for row in (1, 5, 33, 61):
        alone = np.arange(64) == row
        # the others take part in the forward pass, and leave the sum only after it
        with pytest.MonkeyPatch.context() as patch:
            genuine = module_under_test._reduce

            def without_others(sums, book, coefficients, alone=alone, genuine=genuine):
                genuine(sums, book, coefficients.masked_fill(torch.from_numpy(~alone), 0.0))

            patch.setattr(module_under_test, "_reduce", without_others)
            everybody = np.ones(64, bool)
            expected = compute(weights, features, labels, everybody)
            assert np.array_equal(compute(weights, others, labels, everybody), expected)


def test_micro_batches_have_the_same_shapes_however_many_records_are_present():
    shapes = []

    def spying(outputs, labels):
        shapes.append((tuple(outputs.shape), tuple(labels.shape)))
        return cross_entropy(outputs, labels)

    features, labels, _ = records(perceptron, slots=20)
    compute = ClippedGradientSum(perceptron(), spying, clip=CLIP, micro_batch=8)
    for present in (0, 1, 11, 20):
        shapes.clear()
        result = compute(np.ones(compute.dimension), features, labels, np.arange(20) < present)
        assert shapes == [((8, 1), (8,)), ((8, 1), (8,)), ((4, 1), (4,))]
    assert result.any()
    assert not compute(np.ones(compute.dimension), features, labels, np.zeros(20, bool)).any()


class Centred(nn.Module):
    def forward(self, rows):
        return rows - rows.mean(0)


def run_twice():
    layer = nn.Linear(INPUTS, INPUTS)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(INPUTS, 1))


def tied():
    first, second = nn.Linear(INPUTS, INPUTS), nn.Linear(INPUTS, INPUTS)
    second.weight = first.weight
    return nn.Sequential(first, second, nn.Linear(INPUTS, 1))


def frozen():
    model = perceptron()
    model[0].weight.requires_grad_(False)
    return model


def with_layer(layer):
    return nn.Sequential(nn.Linear(INPUTS, 8), layer, nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (with_layer(nn.BatchNorm1d(8)), "BatchNorm1d"),
        (with_layer(nn.BatchNorm1d(8, affine=False)), "BatchNorm1d"),
        (with_layer(nn.SyncBatchNorm(8)), "SyncBatchNorm"),
        (with_layer(nn.InstanceNorm1d(8)), "InstanceNorm1d"),
        (with_layer(nn.Dropout(0.1)), "Dropout"),
        (with_layer(nn.Softmax(dim=0)), "Softmax"),
        (with_layer(Centred()), "Centred"),
        (with_layer(nn.ReLU(inplace=True)), "overwrites"),
        (with_layer(nn.Flatten(start_dim=0)), "flattens"),
        (nn.Sequential(nn.Embedding(7, 3, scale_grad_by_freq=True), nn.Flatten()), "rescales"),
        (nn.Sequential(nn.Embedding(7, 3, max_norm=1.0), nn.Flatten()), "rescales"),
        (tied(), "shared"),
        (run_twice(), "shared"),
        (frozen(), "frozen"),
    ],
)
def test_layers_that_mix_records_are_refused_by_name(model, named):
    with pytest.raises(ConfigError, match=named):
        small_sum(model)


def test_control_batch_norm_would_let_one_record_move_the_others(monkeypatch):
    features, labels, _ = records(perceptron, slots=40)
    features[0] = 1e6
    moves = []
    for model in (with_layer(nn.Tanh()), with_layer(nn.BatchNorm1d(8, affine=False))):
        monkeypatch.setattr(module_under_test, "check_architecture", lambda model: None)
        compute = small_sum(model, micro_batch=40)
        weights = np.random.default_rng(7).standard_normal(compute.dimension)
        moves.append(largest_move(compute, weights, features, labels))
    assert moves[0] <= CLIP * SLACK + 1e-9
    assert moves[1] > 2.0 * CLIP


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf"), 2.0**-101])
def test_a_clip_that_bounds_nothing_is_refused(clip):
    with pytest.raises(ConfigError, match="clipping bound"):
        small_sum(clip=clip)


def test_shapes_that_do_not_fit_are_refused():
    features, labels, include = records(perceptron, slots=8)
    compute = small_sum()
    right = np.ones(compute.dimension)
    for arguments in (
        (right[1:], features, labels, include),
        (right, features, labels[1:], include),
        (right, features, labels, include[1:]),
    ):
        with pytest.raises(ConfigError, match="shape"):
            compute(*arguments)
    with pytest.raises(ConfigError, match="micro-batch"):
        small_sum(micro_batch=0)
    mixing = ClippedGradientSum(perceptron(), lambda outputs, labels: outputs.sum(), clip=CLIP, micro_batch=8)
    with pytest.raises(ConfigError, match="one value a record"):
        mixing(right, features, labels, include)
