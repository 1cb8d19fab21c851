"""A full batch is computed in memory that does not grow with its rows."""

import subprocess
import sys

SCRIPT = """
import re
from pathlib import Path
import numpy as np
from dp.training.clipped_sum import ClippedGradientSum
from fl_engine.model import ModelSpec, initial_weights, record_loss

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

spec = ModelSpec(inputs=40)
features, labels, include = np.ones((100_000, 40)), np.zeros(100_000), np.ones(100_000, bool)
weights = initial_weights(spec, 1)
for rows, micro_batch in ((10_000, 1024), (100_000, 1024), (100_000, 100_000)):
    compute = ClippedGradientSum(spec.build(), record_loss, clip=1.0, micro_batch=micro_batch)
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    compute(weights, features[:rows], labels[:rows], include[:rows])
    print(kilobytes("VmHWM") - before)
"""


def test_a_full_batch_of_100000_rows_takes_no_more_memory_than_one_of_10000():
    """Peak beside the input, in kB; the control computes all rows at once, 100 times a micro-batch."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    small, large, control = map(int, done.stdout.split())
    assert large <= small + 16_000
    assert control > small + 100_000
