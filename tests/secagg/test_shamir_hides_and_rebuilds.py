"""Shamir's scheme: t shares rebuild, in agreement with a rational reference, and polynomials are fresh and uniform.

That t - 1 shares say nothing is proved in ``proofs/test_coalitions_below_the_threshold.py``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import shamir


def _rational(points: dict[int, int]) -> Fraction:
    """The polynomial through ``points`` at 0, in the rationals."""
    total = Fraction(0)
    for x, y in points.items():
        term = Fraction(y)
        for other in points:
            if other != x:
                term *= Fraction(-other, x - other)
        total += term
    return total


@given(st.data(), st.integers(0, 2**256 - 1), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_any_t_shares_rebuild_and_agree_with_the_rationals(data: st.DataObject, secret: int, t: int) -> None:
    indices = data.draw(st.lists(st.integers(0, 199), min_size=t, max_size=t + 5, unique=True))
    shares = shamir.split(secret, threshold=t, indices=indices)
    chosen = data.draw(st.permutations(indices))[:t]
    assert shamir.combine(shares, shamir.weights(chosen)) == secret
    rational = _rational({index + 1: shares[index] for index in chosen})
    assert rational.numerator * pow(rational.denominator, -1, shamir.PRIME) % shamir.PRIME == secret


def test_the_polynomial_is_fresh_and_of_full_degree() -> None:
    first = shamir.split(7, threshold=3, indices=range(5))
    assert first != shamir.split(7, threshold=3, indices=range(5))
    assert shamir.combine(first, shamir.weights([0, 1])) != 7


@pytest.mark.parametrize("prime", [11, 257])
def test_a_smaller_field_is_used_throughout(prime: int) -> None:
    """What proofs over a small field rely on; control: the same shares in the large field give another secret."""
    shares = shamir.split(7, threshold=3, indices=range(5), prime=prime)
    assert all(0 <= share < prime for share in shares.values())
    for held in itertools.combinations(shares, 3):
        assert shamir.combine(shares, shamir.weights(held, prime=prime), prime=prime) == 7
    far = {index: share + prime for index, share in shares.items()}
    assert shamir.combine(far, shamir.weights([0, 2, 4])) != 7


def test_random_elements_cover_the_field_and_are_uniform() -> None:
    """Each value of a field of 5 within six standard deviations, the largest one included."""
    counts = Counter(shamir.random_element(5) for _ in range(5000))
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert all(abs(count - 1000) < 6 * 28.3 for count in counts.values())
    assert all(0 <= shamir.random_element() < shamir.PRIME for _ in range(100))


def test_the_field() -> None:
    assert shamir.PRIME == 2**256 + 297
    assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in (2, 3, 5, 7, 11, 13, 17))
    assert all(shamir.PRIME % small for small in range(2, 10_000))


def test_share_bytes_are_canonical() -> None:
    assert shamir.from_bytes(shamir.to_bytes(shamir.PRIME - 1)) == shamir.PRIME - 1
    assert shamir.from_bytes(shamir.PRIME.to_bytes(33, "big")) is None
    assert shamir.from_bytes(b"\xff" * 33) is None
