"""A step of training on the default model: fedsec's beside stock Opacus' and beside a plain loop, on the same batches.

One process, one thread, seconds of CPU, a few steps of each contender in turn, so that a busy machine slows all alike.
Stock Opacus is ``make_private`` with its own loader, hooks and noise. Plain loops have no privacy: index the batch's
rows, forward, backward, Adam. fedsec's step indexes, then clipped sum, rounding, discrete Gaussian noise, Adam.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dp.mechanism import sum_mechanism
from dp.training.clipped_sum import ClippedGradientSum
from dp.training.local import local_train
from fedsec.rounding import stochastic_round
from fl_engine.data.synthetic import SYNTHETIC_SCHEMA
from fl_engine.model import ModelSpec, initial_weights, record_loss

MODEL = ModelSpec(inputs=SYNTHETIC_SCHEMA.width)
SETTINGS = {256: 60_000, 1024: 60_000, 4096: 4096}  # rows of the data by expected batch; the last is a full batch
STEPS = 45
BLOCK = 5  # steps of one contender before the next one takes over; the first block warms up
SEED = 1
LOCAL_SLOTS, LOCAL_STEPS_A_PASS = 4800, 20
TARGETS = {"Opacus / fedsec": 5.0, "fedsec / plain": 2.0}

Step = Callable[[NDArray[np.int64]], object]


def run() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="opacus")
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    print(f"milliseconds of CPU a step, fastest of {STEPS}; the model has {MODEL.parameters:,} parameters\n")
    print(
        "| batch | Opacus | its ghost mode | plain, loader | plain | plain, float64 | fedsec | Opacus / fedsec | ",
        end="",
    )
    print("fedsec / plain | met |\n|" + " --- |" * 10)
    for batch, rows in SETTINGS.items():
        spent = measure(batch, rows)
        gain, cost = spent["opacus"] / spent["fedsec"], spent["fedsec"] / spent["plain"]
        met = "yes" if gain >= TARGETS["Opacus / fedsec"] and cost <= TARGETS["fedsec / plain"] else "no"
        cells = " | ".join(f"{milliseconds:.2f}" for milliseconds in spent.values())
        print(f"| {batch:,}{', all rows' if batch == rows else ''} | {cells} | {gain:.1f} | {cost:.2f} | {met} |")
    print(f"\nA step of local mode, {LOCAL_SLOTS:,} slots, one in {LOCAL_STEPS_A_PASS} drawn, all computed:", end=" ")
    print(f"{local_step():.2f} ms")
    print("\n| full batch, rows | peak memory beside the input, MB |\n| --- | --- |")
    for rows in (10_000, 100_000):
        print(f"| {rows:,} | {peak(rows):.1f} |")


def measure(batch: int, rows: int) -> dict[str, float]:
    """Milliseconds of a step by contender: the fastest, as what else the machine does only adds."""
    generator = np.random.default_rng(SEED)
    features = generator.standard_normal((rows, MODEL.inputs))
    labels = (generator.random(rows) < 0.02).astype(np.float64)
    batches = poisson_batches(batch, rows)
    contenders: dict[str, Step] = {
        "opacus": opacus_step(features, labels, batch, "hooks"),
        "ghost": opacus_step(features, labels, batch, "ghost"),
        "loader": loader_step(features, labels, batches),
        "plain": plain_step(features, labels, torch.float32),
        "plain64": plain_step(features, labels, torch.float64),
        "fedsec": fedsec_step(features, labels, batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for start in range(0, len(batches), BLOCK):
        for name, step in contenders.items():
            for indices in batches[start : start + BLOCK]:
                began = time.process_time()
                step(indices)
                seconds[name].append(time.process_time() - began)
    return {name: 1e3 * min(times[BLOCK:]) for name, times in seconds.items()}


def poisson_batches(batch: int, rows: int) -> list[NDArray[np.int64]]:
    """The batches that Opacus' loader will draw from a generator of seed ``SEED``, pass after pass."""
    generator = torch.Generator().manual_seed(SEED)
    sampler = UniformWithReplacementSampler(num_samples=rows, sample_rate=_rate(batch, rows), generator=generator)
    batches: list[NDArray[np.int64]] = []
    while len(batches) < STEPS + BLOCK:
        torch.empty((), dtype=torch.int64).random_(generator=generator)  # a loader draws its workers' seed first
        batches += [np.array(indices, np.int64) for indices in sampler]
    return batches[: STEPS + BLOCK]


def _rate(batch: int, rows: int) -> float:
    return 1 / -(-rows // batch)


def opacus_step(features: NDArray[np.float64], labels: NDArray[np.float64], batch: int, mode: str) -> Step:
    """Stock Opacus, float32: its loader, per-record gradients by ``mode``, its optimiser's clipping and noise."""
    model = MODEL.build()
    private = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
        criterion=nn.BCEWithLogitsLoss(),
        data_loader=DataLoader(
            TensorDataset(torch.from_numpy(features).float(), torch.from_numpy(labels).float()),
            batch_size=batch,
            generator=torch.Generator().manual_seed(SEED),
        ),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        grad_sample_mode=mode,
    )
    wrapped, optimiser, loader = private[0], private[1], private[-1]
    criterion = private[2] if mode == "ghost" else nn.BCEWithLogitsLoss()
    stream = chain.from_iterable(repeat(loader))
    expected = torch.from_numpy(features).float()

    def step(indices: NDArray[np.int64]) -> None:
        rows, targets = next(stream)
        if len(rows) != len(indices) or not torch.equal(rows[0], expected[indices[0]]):
            raise RuntimeError("Opacus drew another batch than the other contenders were given")
        optimiser.zero_grad()
        criterion(wrapped(rows).squeeze(1), targets).backward()
        optimiser.step()

    return step


def loader_step(features: NDArray[np.float64], labels: NDArray[np.float64], batches: list[NDArray[np.int64]]) -> Step:
    """The plain loop as most write it: torch's loader, which collates row by row; float32."""
    data = TensorDataset(torch.from_numpy(features).float(), torch.from_numpy(labels).float())
    stream: Iterator[list[Tensor]] = iter(DataLoader(data, batch_sampler=[indices.tolist() for indices in batches]))
    train = _plain(torch.float32)
    return lambda _: train(*next(stream))


def plain_step(features: NDArray[np.float64], labels: NDArray[np.float64], dtype: torch.dtype) -> Step:
    """The plain loop at its fastest: a batch by one indexing of a tensor that lies there."""
    rows, targets = torch.from_numpy(features).to(dtype), torch.from_numpy(labels).to(dtype)
    train = _plain(dtype)

    def step(indices: NDArray[np.int64]) -> None:
        chosen = torch.from_numpy(indices)
        train(rows[chosen], targets[chosen])

    return step


def _plain(dtype: torch.dtype) -> Callable[[Tensor, Tensor], None]:
    model = MODEL.build().to(dtype)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)

    def train(rows: Tensor, targets: Tensor) -> None:
        optimiser.zero_grad()
        record_loss(model(rows), targets).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return train


def fedsec_step(features: NDArray[np.float64], labels: NDArray[np.float64], batch: int) -> Step:
    """All that a step of ``dp.training`` does, on the rows of a batch."""
    mechanism = sum_mechanism(
        name="training",
        dimension=MODEL.parameters,
        clip=1.0,
        max_slots=len(features),
        clients=1,
        honest_inputs=1,
        noise_multiplier=1.0,
    )
    clipped_sum = ClippedGradientSum(MODEL.build(), record_loss, clip=1.0)
    current = torch.from_numpy(initial_weights(MODEL, 1).astype(np.float64))
    optimiser = torch.optim.Adam([current], lr=0.01)

    def step(indices: NDArray[np.int64]) -> None:
        include = np.ones(len(indices), np.bool_)
        total = clipped_sum(current.numpy(), features.take(indices, axis=0), labels.take(indices), include)
        rounded = stochastic_round(total * mechanism.grid_scale, saturation=mechanism.saturation)
        noised = mechanism.add_noise(rounded).astype(np.float64) / mechanism.grid_scale
        current.grad = torch.from_numpy(noised / batch)
        optimiser.step()

    return step


def local_step() -> float:
    """Milliseconds of a step of ``local_train`` as a bank runs it, every slot computed."""
    generator = np.random.default_rng(SEED)
    mechanism = sum_mechanism(
        name="training",
        dimension=MODEL.parameters,
        clip=1.0,
        max_slots=LOCAL_SLOTS,
        clients=1,
        honest_inputs=1,
        noise_multiplier=1.0,
        sampling_rate=1 / LOCAL_STEPS_A_PASS,
    )
    features = generator.standard_normal((LOCAL_SLOTS, MODEL.inputs))
    labels = (generator.random(LOCAL_SLOTS) < 0.02).astype(np.float64)
    began = time.process_time()
    local_train(
        ClippedGradientSum(MODEL.build(), record_loss, clip=mechanism.clip),
        initial_weights(MODEL, 1),
        features,
        labels,
        include=np.ones(LOCAL_SLOTS, np.bool_),
        mechanism=mechanism,
        steps=STEPS,
        learning_rate=0.01,
    )
    return 1e3 * (time.process_time() - began) / STEPS


PEAK = """
import re, sys
from pathlib import Path
import numpy as np
import torch
from dp.training.clipped_sum import ClippedGradientSum
from fl_engine.model import ModelSpec, initial_weights, record_loss

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
rows, inputs = int(sys.argv[1]), int(sys.argv[2])
spec = ModelSpec(inputs=inputs)
features = np.ones((rows, inputs))
labels, include = np.zeros(rows), np.ones(rows, bool)
weights = initial_weights(spec, 1)
compute = ClippedGradientSum(spec.build(), record_loss, clip=1.0)
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
before = kilobytes("VmRSS")
compute(weights, features, labels, include)
print(kilobytes("VmHWM") - before)
"""


def peak(rows: int) -> float:
    """By how many MB one clipped sum of ``rows`` rows raises a fresh process' memory at most (Linux)."""
    command = [sys.executable, "-c", PEAK, str(rows), str(MODEL.inputs)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024
