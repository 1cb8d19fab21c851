"""The clipped sum is Opacus' own to float precision: of ``make_private``, by hooks and by ghost clipping, by layer."""

import numpy as np
import pytest
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.dp.training_helpers import ARCHITECTURES, dimension, records, small_sum

SLOTS = 27
CLIPS = (0.05, 1.0, 100.0)  # every record is clipped, some are, none is
pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:Secure RNG turned off"),
]


def example(build):
    features, labels, _ = records(build, SLOTS)
    weights = np.random.default_rng(3).standard_normal(dimension(build())).astype(np.float32) * np.float32(0.7)
    return weights, features.astype(np.float32) if features.dtype.kind == "f" else features, labels.astype(np.float32)


def opacus_sum(build, clip, mode):
    """``summed_grad`` of Opacus' optimiser after one batch of all rows, by parameter, in float32."""
    weights, features, labels = example(build)
    model = build()
    nn.utils.vector_to_parameters(torch.from_numpy(weights), model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    loader = DataLoader(TensorDataset(torch.from_numpy(features), torch.from_numpy(labels)), batch_size=SLOTS)
    criterion = nn.BCEWithLogitsLoss(reduction="sum")
    private = PrivacyEngine().make_private(
        module=model,
        optimizer=optimiser,
        criterion=criterion,
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=clip,
        poisson_sampling=False,
        loss_reduction="sum",
        grad_sample_mode=mode,
    )
    model, optimiser, loader = private[0], private[1], private[-1]
    criterion = private[2] if mode == "ghost" else criterion
    for rows, targets in loader:
        criterion(model(rows)[:, 0], targets).backward()
    optimiser.accumulate() if mode == "ghost" else optimiser.clip_and_accumulate()
    return [parameter.summed_grad.numpy().ravel() for parameter in model.parameters()]


def our_sum(build, clip):
    compute = small_sum(build(), clip=clip)
    total = compute(*example(build), np.ones(SLOTS, bool))
    ends = np.cumsum([parameter.numel() for parameter in build().parameters()])
    return np.split(total, ends[:-1])


def worst(ours, theirs, clip):
    """Largest distance of a parameter's sums, in units of what float32 and the 1e-6 in Opacus' C / (norm + 1e-6) allow.

    A few roundings of 2^-24 for each record on the way, of terms of at most C in norm or, unclipped, as they are.
    """
    allowed = 6e-6 + 2e-6 / clip
    scale = max(np.linalg.norm(np.concatenate(theirs)), 1e-3)
    return max(np.linalg.norm(a - b) / (allowed * scale) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
@pytest.mark.parametrize("build", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("clip", CLIPS)
def test_the_sum_equals_opacus_own_for_linear_embedding_and_layer_norm(build, clip, mode):
    theirs = opacus_sum(build, clip, mode)
    assert worst(our_sum(build, clip), theirs, clip) < 1
    # Control: a bound that is 0.1 % off is told apart wherever records are clipped.
    if clip < max(CLIPS):
        assert worst(our_sum(build, clip * 1.001), theirs, clip) > 1


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_control_clipping_each_layer_by_itself_is_told_apart(mode):
    build = ARCHITECTURES["normalised"]
    unclipped, theirs = our_sum(build, max(CLIPS)), opacus_sum(build, 1.0, mode)
    by_layer = [part * min(1.0, 1.0 / np.linalg.norm(part)) for part in unclipped]
    assert worst(by_layer, theirs, 1.0) > 1


def test_all_three_kinds_of_layer_are_compared():
    kinds = {type(layer) for build in ARCHITECTURES.values() for layer in build()}
    assert kinds >= {nn.Linear, nn.Embedding, nn.LayerNorm}
