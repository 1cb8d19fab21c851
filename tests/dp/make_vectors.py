"""Known streams and the noise that follows, and a ledger in both its forms: ``python -m tests.dp.make_vectors`` writes
the vectors, tests compare.

Each row of the noise has the 32-byte key of the stream, the parameters, the first samples, and SHA-256 of all samples
as int64, little-endian. So a change of what the sampler takes from the stream, or of the order, does not go unnoticed;
it is no fault by itself, since the law is what is promised, but it has to be meant.
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from dp.noise import discrete_gaussian
from fedsec.keystream import KeyStream
from tests.dp import ledger_vectors

PATH = Path(__file__).parent / "vectors" / "sampler.json"
LEDGER_PATH = PATH.with_name("ledger.json")
SHOWN = 24
SIZES = (100, 40_000)  # within one tile, and over three
VARIANCES = [
    Fraction(1, 1000), Fraction(1, 4), Fraction(49, 100), Fraction(1), Fraction(49, 4), Fraction(4095),
    Fraction(4096), Fraction(10**6 + 7, 3), Fraction(10**10), Fraction(10**14), Fraction(2**60),
]  # fmt: skip


def sampled() -> list[dict[str, Any]]:
    """All rows; a setting has a key of its own, and the last a bound of one standard deviation."""
    rows = []
    settings = [(variance, int(12 * variance**0.5) + 1) for variance in VARIANCES] + [(Fraction(10**10), 10**5)]
    for index, (variance, bound) in enumerate(settings):
        for size in SIZES:
            key = bytes([index] * 32)
            samples = discrete_gaussian(size, variance=variance, bound=bound, stream=KeyStream(key))
            rows.append(
                {
                    "key": key.hex(),
                    "variance": str(variance),
                    "bound": bound,
                    "size": size,
                    "first": samples[:SHOWN].tolist(),
                    "sha256": hashlib.sha256(samples.astype("<i8").tobytes()).hexdigest(),
                }
            )
    return rows


def main() -> None:
    """Write the vectors."""
    PATH.parent.mkdir(exist_ok=True)
    for path, rows in ((PATH, sampled()), (LEDGER_PATH, ledger_vectors.rows())):
        path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
