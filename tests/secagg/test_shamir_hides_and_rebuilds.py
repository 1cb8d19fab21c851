"""Shamir's scheme: t shares rebuild, t - 1 say nothing, and the arithmetic agrees with a rational reference."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import shamir, threshold


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


@pytest.mark.parametrize(("prime", "n", "t"), [(5, 4, 2), (5, 3, 3), (7, 4, 3)])
def test_every_t_minus_one_shares_are_consistent_with_every_secret(prime: int, n: int, t: int) -> None:
    """Exhaustively: over all polynomials, the distribution of any t - 1 shares is the same for all secrets."""
    for held in itertools.combinations(range(n), t - 1):
        views = [_views(secret, held, prime=prime, t=t) for secret in range(prime)]
        assert all(view == views[0] for view in views)


def test_control_t_shares_or_a_short_polynomial_give_the_secret_away() -> None:
    views = [_views(secret, (0, 1), prime=5, t=2) for secret in range(5)]
    assert any(view != views[0] for view in views)
    short = [_views(secret, (0, 1), prime=5, t=3, top=1) for secret in range(5)]
    assert any(view != short[0] for view in short)


def _views(
    secret: int, held: tuple[int, ...], *, prime: int, t: int, top: int | None = None
) -> Counter[tuple[int, ...]]:
    ranges = [range(prime)] * (t - 1)
    if top is not None:
        ranges[-1] = range(top)  # a sampler that never yields a large leading coefficient
    return Counter(
        tuple(shamir.evaluate([secret, *rest], index + 1, prime=prime) for index in held)
        for rest in itertools.product(*ranges)
    )


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


def test_both_seeds_of_a_victim_need_twice_t_shares() -> None:
    """For all small cohorts: a server with c traitors gets both kinds of t shares exactly if 2t <= n + c.

    Honest banks give one kind each, traitors both: so t - c of one kind and t - c of the other from n - c banks.
    """
    for n in range(1, 9):
        for c in range(n + 1):
            for t in range(1, n + 1):
                possible = any(
                    min(one + c, n - one) >= t for one in range(n - c + 1)
                )  # `one` honest banks give a-shares, the others b-shares; traitors give both
                assert possible == (2 * t <= n + c), (n, c, t)


def test_the_production_threshold_is_the_least_that_keeps_both_seeds_apart() -> None:
    """The count above at the threshold that a session has by default; control: one less, and both are obtainable."""
    for n in range(1, 9):
        for c in range(n):
            for t, expected in ((threshold(n, c), False), (threshold(n, c) - 1, True)):
                assert any(min(one + c, n - one) >= t for one in range(n - c + 1)) == expected, (n, c, t)
