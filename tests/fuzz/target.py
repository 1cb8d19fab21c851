"""What is fuzzed: a function of bytes that says how it took them, and raises only if something is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.mutations import mutate


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to fuzz.

    Attributes:
        name: for the command line, the table and the corpus.
        check: takes an input and returns how it was taken, as "accepted" or "refused: size". Whatever it raises is a
            finding: an error that should not come out, or an ``AssertionError`` about what was left behind.
        seeds: honest inputs.
        selectors: how many leading bytes of an input choose what the rest is given to; they are mutated apart.
    """

    name: str
    check: Callable[[bytes], str]
    seeds: tuple[bytes, ...]
    selectors: int = 0

    def draw(self, rng: random.Random) -> bytes:
        """One input: a seed with its structure changed, now and then for another place than its own."""
        seed = rng.choice(self.seeds)
        chosen, body = seed[: self.selectors], seed[self.selectors :]
        if chosen and rng.random() < 0.1:
            chosen = rng.randbytes(self.selectors)
        donors = [other[self.selectors :] for other in rng.sample(self.seeds, min(2, len(self.seeds)))]
        return chosen + mutate(body, rng, donors)
