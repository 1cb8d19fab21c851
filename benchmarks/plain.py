"""The same ten banks without any protection: plain gradients of the same model on the same rows, as many rounds.

A process of its own, timed from outside, so that it pays for its imports as ``fedsec run`` does; prints its average
precision.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch.nn.utils import vector_to_parameters

from fl_engine.data.dataset import public_holdout, synthetic_dataset
from fl_engine.evaluation import exact_metrics
from fl_engine.model import ModelSpec, initial_weights, record_loss
from fl_engine.planning import LEARNING_RATE, ROUNDS
from fl_engine.scaling import Standardiser, moment_sum

ROWS = 60_000
MICRO_BATCH = 1024


def main() -> None:
    """Train, measure after every round as the private run does, print the average precision."""
    torch.set_num_threads(1)
    data = synthetic_dataset(banks=10, rows=ROWS, seed=1, split_key=os.urandom(32), holdout=0.2)
    width = data.schema.numeric_width
    parts = [moment_sum(bank.features[:, :width], ~bank.holdout, clip=8.0) for bank in data.banks]
    scale = Standardiser.from_moments(np.sum(parts, axis=0))
    spec = ModelSpec(inputs=data.schema.width)
    model = spec.build().double()
    vector_to_parameters(torch.from_numpy(initial_weights(spec, 1)).double(), model.parameters())
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE["distributed"], betas=(0.9, 0.99))
    rows = [(scale.apply(bank.features), bank.labels.astype(np.float64)) for bank in data.banks]
    batches = [
        (torch.from_numpy(features[start : start + MICRO_BATCH]), torch.from_numpy(labels[start : start + MICRO_BATCH]))
        for features, labels in rows
        for start in range(0, len(labels), MICRO_BATCH)
    ]
    held_out = public_holdout(data)
    held_out_features = torch.from_numpy(scale.apply(held_out.features))
    for _ in range(ROUNDS["distributed"]):
        optimiser.zero_grad()
        for features, labels in batches:
            record_loss(model(features), labels).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            scores = torch.sigmoid(model(held_out_features).squeeze(-1)).numpy()
        metrics = exact_metrics(scores, held_out.labels)
    print(metrics.average_precision)


if __name__ == "__main__":
    main()
