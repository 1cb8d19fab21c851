"""Sensitivity, noise share, grid and ring of a noised sum; each bound with a variant that breaks it."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.events import DiscreteGaussianSum, PoissonSampled
from dp.mechanism import SumMechanism, eta, log2_cut, reduction_error, sum_mechanism
from fedsec.errors import ConfigError, LocalProtocolError
from fedsec.keystream import KeyStream
from fedsec.rounding import stochastic_round


def example(**changes: object) -> SumMechanism:
    values: dict[str, object] = {
        "name": "training",
        "dimension": 400,
        "clip": 1.0,
        "max_slots": 1000,
        "clients": 10,
        "honest_inputs": 4,
        "noise_multiplier": 5.0,
    }
    return sum_mechanism(**(values | changes))


def rounded(values: np.ndarray, mechanism: SumMechanism) -> np.ndarray:
    """The production rounding under one fixed set of coins."""
    stream = KeyStream(b"coins shared by both neighbours.")
    return stochastic_round(values * mechanism.grid_scale, saturation=mechanism.saturation, stream=stream)


def worst_neighbours(mechanism: SumMechanism) -> float:
    """L2 distance after rounding for neighbours built to cross every rounding boundary under known coins."""
    coins = KeyStream(b"coins shared by both neighbours.").words(mechanism.dimension, np.uint32) / 2.0**32
    step = mechanism.clip / math.sqrt(mechanism.dimension) * mechanism.grid_scale
    low = np.floor(coins - 0.5) + coins  # the fractional part equals the coin: not rounded up
    return float(np.linalg.norm(rounded((low + step + 1e-6) / mechanism.grid_scale, mechanism).astype(float)
                                - rounded(low / mechanism.grid_scale, mechanism)))  # fmt: skip


def test_hostile_neighbours_reach_the_sensitivity_and_never_exceed_it() -> None:
    mechanism = example(dimension=256)  # C s / sqrt(d) is an integer: a hair more crosses one more boundary
    worst = worst_neighbours(mechanism)
    assert worst <= mechanism.sensitivity
    assert worst > 0.999 * mechanism.sensitivity
    # Control: without what rounding adds, the bound is false.
    assert worst > mechanism.clip * mechanism.grid_scale * (1 + 2.0**-20)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    dimension=st.integers(1, 300),
    clip=st.floats(2.0**-10, 2.0**10),
    scale=st.floats(0, 1e6),
)
def test_emptying_a_record_never_moves_the_rounded_sum_by_more(
    seed: int, dimension: int, clip: float, scale: float
) -> None:
    mechanism = example(dimension=dimension, clip=clip)
    rng = np.random.default_rng(seed)
    others = rng.normal(size=dimension) * clip * scale
    record = rng.normal(size=dimension) * rng.exponential(size=dimension)
    record *= clip / max(np.linalg.norm(record), 1e-300)
    moved = rounded(others + record, mechanism) - rounded(others, mechanism)
    assert np.linalg.norm(moved.astype(float)) <= mechanism.sensitivity


@pytest.mark.parametrize("order", ["forwards", "backwards", "pairwise", "blocked", "sorted"])
def test_the_reduction_error_covers_any_order_of_summation(order: str) -> None:
    slots, clip = 3000, 2.0
    rng = np.random.default_rng(3)
    terms = rng.uniform(0.9, 1.0, slots) * clip
    total = {
        "forwards": lambda: np.cumsum(terms)[-1],
        "backwards": lambda: np.cumsum(terms[::-1])[-1],
        "pairwise": terms.sum,
        "blocked": lambda: np.cumsum([np.cumsum(block)[-1] for block in terms.reshape(30, 100)])[-1],
        "sorted": lambda: np.cumsum(np.sort(terms))[-1],
    }[order]()
    exact = sum(map(Fraction, terms.tolist()))
    assert abs(Fraction(float(total)) - exact) <= Fraction(reduction_error(slots, clip))
    # Control: a float32 accumulator, which training must not use, breaks the bound.
    single = np.cumsum(terms.astype(np.float32), dtype=np.float32)[-1]
    assert abs(Fraction(float(single)) - exact) > Fraction(reduction_error(slots, clip))


def test_the_float_error_enters_the_sensitivity_in_both_neighbours() -> None:
    without = msgspec.structs.replace(example(), float_error=0.0)
    with_error = msgspec.structs.replace(without, float_error=1e-4)
    grown = with_error.sensitivity - without.sensitivity
    assert grown == pytest.approx(math.sqrt(400) * 2 * 1e-4 * without.grid_scale)


def test_the_grid_is_a_power_of_two_on_which_rounding_adds_at_most_one_part_in_128() -> None:
    for dimension in (1, 2, 400, 4000, 10**6):
        for clip in (1e-3, 1.0, 8.0, 1e4):
            mechanism = example(dimension=dimension, clip=clip)
            assert math.frexp(mechanism.grid_scale)[0] == 0.5
            share = math.sqrt(dimension) / (clip * mechanism.grid_scale)
            assert 1 / 256 < share <= 1 / 128
            assert mechanism.sensitivity <= clip * mechanism.grid_scale * (1 + 2.0**-20 + 1 / 128) * (1 + 1e-4)


def test_counts_are_never_rounded_and_their_sensitivity_is_exact() -> None:
    mechanism = example(integral=True, dimension=128, max_slots=5000)
    assert mechanism.sensitivity == mechanism.grid_scale == 4096
    counts = np.random.default_rng(1).integers(0, 5000, 128).astype(np.float64)
    assert (rounded(counts, mechanism) == counts * 4096).all()
    assert mechanism.saturation == 5000 * 4096


def test_the_shares_of_h_banks_carry_at_least_the_noise_that_was_asked_for() -> None:
    for honest in (1, 2, 4, 7):
        mechanism = example(honest_inputs=honest)
        event = mechanism.event()
        assert isinstance(event, DiscreteGaussianSum)
        counted = math.sqrt(event.shares * event.share_variance)
        assert counted >= mechanism.noise_multiplier * mechanism.sensitivity
        assert counted < mechanism.noise_multiplier * mechanism.sensitivity * (1 + 1e-6)
        # Control: h - 1 shares, which a sum without h honest banks would carry, fall short.
        assert math.sqrt((honest - 1) * event.share_variance) < mechanism.noise_multiplier * mechanism.sensitivity


def test_the_noise_that_is_added_is_the_noise_that_is_accounted() -> None:
    mechanism = example(dimension=100_000)
    zeros = np.zeros(100_000, dtype=np.int64)
    noise = mechanism.add_noise(zeros)
    # The mean square of 1e5 draws stays within 2.3 % with probability above 1 - 1e-6.
    assert np.mean(noise.astype(float) ** 2) == pytest.approx(mechanism.event().share_variance, rel=0.023)
    assert np.abs(noise).max() <= mechanism.noise_bound
    assert (mechanism.add_noise(zeros) != noise).any()


def test_noise_goes_on_after_saturation_only() -> None:
    mechanism = example(dimension=3)
    full = np.full(3, mechanism.saturation, dtype=np.int64)
    assert mechanism.add_noise(full).shape == (3,)
    for wrong in (full + 1, -full - 1, full[:2], full.astype(np.int32), np.full(3, -(2**63), dtype=np.int64)):
        with pytest.raises(LocalProtocolError):
            mechanism.add_noise(wrong)


def keeps_its_noise(noised: np.ndarray, mechanism: SumMechanism) -> bool:
    """Whether a vector that stood at +saturation before its noise got noise of both signs and of the full variance."""
    noise = (noised - mechanism.saturation).astype(float)
    return bool(noise.min() < 0 < noise.max() and np.mean(noise**2) >= 0.977 * mechanism.event().share_variance)


def test_a_saturated_bank_keeps_its_noise() -> None:
    """Nothing saturates after the noise: half of the noise of a bank at the edge would be lost."""
    mechanism = example(dimension=100_000)
    full = np.full(100_000, mechanism.saturation, dtype=np.int64)
    noised = mechanism.add_noise(full)
    # The mean square of 1e5 draws stays within 2.3 % with probability above 1 - 1e-6.
    assert keeps_its_noise(noised, mechanism)
    # Control: saturated once more, it has lost what would have lifted it.
    assert not keeps_its_noise(np.clip(noised, -mechanism.saturation, mechanism.saturation), mechanism)


def test_the_noise_bound_is_twelve_standard_deviations_and_the_ring_holds_every_sum() -> None:
    for multiplier in (0.001, 0.7, 5.0, 300.0):
        mechanism = example(noise_multiplier=multiplier)
        bound, variance = mechanism.noise_bound, mechanism.share_variance
        assert (bound - 1) ** 2 < 144 * variance <= bound**2
        assert log2_cut(mechanism) < -102
        largest = mechanism.clients * (mechanism.saturation + bound)
        assert largest <= (2**mechanism.ring_bits - 1) // 2
        assert largest > (2 ** (mechanism.ring_bits - 1) - 1) // 2


def test_honest_sums_do_not_saturate_and_the_cap_keeps_rounding_exact() -> None:
    mechanism = example()
    assert mechanism.saturation >= mechanism.max_slots * mechanism.clip * mechanism.grid_scale
    assert example(max_slots=2**50, integral=True).saturation == 2**52


def test_eta_adds_up_over_openings_banks_and_coordinates() -> None:
    mechanism = example(dimension=4000)
    one = eta(mechanism, openings=1, banks=1)
    assert 4000 * 2.0**-104 < one < 4000 * 2.0**-102
    assert eta(mechanism, openings=60, banks=10) == pytest.approx(600 * one)
    assert eta(mechanism, openings=100_000, banks=1000) < 2.0**-60


def test_the_event_says_how_many_shares_count_and_whether_records_were_sampled() -> None:
    mechanism = example()
    assert mechanism.event(1) == msgspec.structs.replace(mechanism.event(), shares=1)
    sampled = example(sampling_rate=0.25).event()
    assert sampled == PoissonSampled(rate=0.25, event=mechanism.event())


def test_a_mechanism_survives_the_wire_and_is_checked_again_there() -> None:
    mechanism = example()
    encoded = msgspec.json.encode(mechanism)
    assert msgspec.json.decode(encoded, type=SumMechanism) == mechanism
    tampered = encoded.replace(b'"honest_inputs":4', b'"honest_inputs":0')
    assert tampered != encoded
    with pytest.raises((msgspec.ValidationError, ConfigError)):
        msgspec.json.decode(tampered, type=SumMechanism)


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": 0}, {"max_slots": 0}, {"clip": 0.0}, {"clip": math.inf}, {"clip": math.nan},
        {"noise_multiplier": 0.0}, {"noise_multiplier": math.nan}, {"noise_multiplier": 1e9},
        {"honest_inputs": 0}, {"honest_inputs": 11}, {"sampling_rate": 0.0}, {"sampling_rate": 1.1},
        {"clients": 2**20, "max_slots": 2**45}, {"max_slots": 2**51},
    ],
    ids=str,
)  # fmt: skip
def test_a_sum_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        example(**changes)


@pytest.mark.parametrize(
    "changes", [{"grid_scale": 3.0}, {"saturation": 0}, {"saturation": 2**53}, {"float_error": -1.0}], ids=str
)
def test_a_grid_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        msgspec.structs.replace(example(), **changes).__post_init__()


def test_integers_with_a_float_error_are_refused() -> None:
    with pytest.raises(ConfigError):
        msgspec.structs.replace(example(integral=True), float_error=1e-9).__post_init__()
