"""Small models, hostile rows and hostile weights for the tests of ``dp.training``."""

import functools

import numpy as np
import torch
from torch import nn

from dp.training.clipped_sum import ClippedGradientSum

CLIP = 1.0
SLACK = 1.0 + 2.0**-20
INPUTS = 4


def cross_entropy(outputs, labels):
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels, reduction="none")


def perceptron():
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.ReLU(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))


def normalised():
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 1))


def saturating():
    """As the default model: tanh keeps activations small, so that weights of 1e25 still leave finite gradients."""
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))


def sequences():
    return nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 5), nn.Tanh(), nn.Flatten(), nn.Linear(5 * INPUTS, 1))


def embedded():
    return nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.LayerNorm(3 * INPUTS), nn.Linear(3 * INPUTS, 1))


ARCHITECTURES = {build.__name__: build for build in (perceptron, saturating, normalised, sequences, embedded)}


def records(build, slots, seed=0):
    """Features, 0/1 labels and an include mask with holes."""
    generator = np.random.default_rng(seed)
    if isinstance(build()[0], nn.Embedding):
        features = generator.integers(0, 7, (slots, INPUTS))
    else:
        features = generator.standard_normal((slots, INPUTS))
    labels = (generator.random(slots) < 0.5).astype(np.float64)
    return features, labels, generator.random(slots) < 0.8


def dimension(model):
    return sum(parameter.numel() for parameter in model.parameters())


def hostile_rows():
    """Ordinary rows among duplicates and everything that floating point has to offer, ``(24, INPUTS)``."""
    features = np.random.default_rng(1).standard_normal((24, INPUTS))
    features[1] = features[0]
    features[2] = features[0]
    features[3] = 1e300
    features[4] = [1e300, -1e300, 1e300, 0.0]
    features[5] = 5e-324
    features[6] = [5e-324, 1e-310, -1e-200, 1e160]
    features[7, 2] = np.nan
    features[8, 1] = np.inf
    features[9, 3] = -np.inf
    features[10] = np.finfo(np.float32).max
    features[11] = 2.0**128
    features[12] = 1e30
    features[16] = 1e-45
    features[17] = [1e38, -1e38, 1e-45, 1.0]
    features[13] = [1e8, -1e8, 1e8, -1e8]
    features[14] = 0.0
    features[15] = np.finfo(np.float64).max
    return features


@functools.cache
def hostile_weights():
    """What a dishonest server may send, by name, float64 ``(d,)`` each."""
    d = dimension(perceptron())
    generator = np.random.default_rng(2)
    noise = generator.standard_normal(d)
    scales = 10.0 ** generator.uniform(-300, 300, d)
    some = np.where(generator.random(d) < 0.05, np.nan, noise)
    return {
        "ordinary": noise * 0.5,
        "1e12": noise * 1e12,
        "1e25": noise * 1e25,
        "constant 1e25": np.full(d, 1e25),
        "signs 1e25": np.sign(noise) * 1e25,
        "1e-300": noise * 1e-300,
        "denormal": np.full(d, 5e-324),
        "denormal in float32": np.sign(noise) * 1e-45,
        "1e-30": noise * 1e-30,
        "1e35": noise * 1e35,
        "1e70": noise * 1e70,
        "1e308": np.sign(noise) * 1e308,
        "mixed scales": noise * scales,
        "some nan": some,
        "nan": np.full(d, np.nan),
        "inf": np.full(d, np.inf),
        "zero": np.zeros(d),
    }


def largest_move(clipped_sum, weights, features, labels, *, empty=0.0):
    """Largest L2 move of the sum when one record is emptied; NaN if any move is."""
    include = np.ones(len(features), bool)
    whole = clipped_sum(weights, features, labels, include)
    moves = []
    for row in range(len(features)):
        emptied, without = features.copy(), include.copy()
        emptied[row], without[row] = empty, False
        rest = clipped_sum(weights, emptied, labels, without)
        moves.append(np.linalg.norm(whole - rest))
    return float(np.max(moves))


def small_sum(model=None, *, clip=CLIP, micro_batch=8):
    return ClippedGradientSum(model or perceptron(), cross_entropy, clip=clip, micro_batch=micro_batch)


def torch_parameters(model, weights, dtype=torch.float64):
    """``model`` in ``dtype`` with ``weights`` loaded."""
    model = model.to(dtype)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights).to(dtype), model.parameters())
    return model
