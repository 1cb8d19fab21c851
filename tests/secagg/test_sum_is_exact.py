"""The opened sum is plain integer addition over the survivors, whoever drops out at whatever step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.errors import CohortError, LocalProtocolError, RemoteProtocolError
from secagg import PrivacyParameters, QuantiserParameters, ring_bits_for
from secagg import masking as production
from tests.secagg.helpers import STEPS, Federation


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Federation, dict[str, tuple[int, ...]]]:
    n = draw(st.integers(5, 12))
    saturation = draw(st.integers(1, 2**40))
    noise_bound = draw(st.integers(1, 2**20))
    bits = draw(st.integers(ring_bits_for(n, saturation, noise_bound), 64))
    federation = Federation(
        n=n,
        seed=draw(st.integers(0, 2**32 - 1)),
        changes={
            "dimension": draw(st.integers(1, 200)),
            "ring_bits": bits,
            "quantiser": QuantiserParameters(scale=1.0, saturation=saturation, noise_bound=noise_bound),
        },
    )
    spare = n - federation.session.threshold
    silent = draw(st.permutations(range(n)))[: draw(st.integers(0, spare))]
    drop: dict[str, tuple[int, ...]] = dict.fromkeys(STEPS, ())
    for index in silent:
        step = draw(st.sampled_from(STEPS))
        drop[step] += (index,)
    return federation, drop


@given(scenarios())
@settings(max_examples=60, deadline=None)
def test_sum_equals_integer_addition(scenario: tuple[Federation, dict[str, tuple[int, ...]]]) -> None:
    federation, drop = scenario
    opened = federation.run(drop=drop).opened()
    lost_before = {index for step in ("advertise", "share", "mask") for index in drop[step]}
    survivors = tuple(i for i in range(federation.n) if i not in lost_before)
    assert opened.survivors == survivors
    assert np.array_equal(opened.total, federation.plain_sum(survivors))
    assert opened.dropped_at == {step: tuple(sorted(drop[step])) for step in STEPS}


@pytest.mark.parametrize("mutant", ["sign", "self", "dropped"])
def test_control_a_wrong_mask_spoils_the_sum(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks that do not cancel, or are left on, cannot go unnoticed by the assertion above."""
    honest = production.combine

    def wrong(words, *, add, subtract):
        if mutant == "sign":
            honest(words, add=[*add, *subtract], subtract=[])
        elif mutant == "self":
            honest(words, add=add[1:], subtract=subtract)
        else:
            honest(words, add=add, subtract=subtract[:-1])

    monkeypatch.setattr(production, "combine", wrong)
    federation = Federation().run(until="unmask", drop={"mask": (2,)})
    federation.collect("unmask")
    try:
        federation.close("unmask")
    except RemoteProtocolError as error:
        assert error.rule == "range"
    else:
        assert not np.array_equal(federation.opened().total, federation.plain_sum({0, 1, 3, 4}))


@pytest.mark.parametrize("step", STEPS)
def test_one_dropout_too_many_opens_nothing(step: str) -> None:
    federation = Federation(n=10)
    with pytest.raises(CohortError) as caught:
        federation.run(drop={step: (0, 4, 7, 9)})
    assert (caught.value.survivors, caught.value.needed, caught.value.step) == (6, 7, step)
    assert federation.server.step.value == "failed"
    assert federation.server.dropped_at[step] == (0, 4, 7, 9)
    with pytest.raises(LocalProtocolError):
        federation.server.result()
    assert federation.server._sum.size == 0


@pytest.mark.parametrize("step", STEPS)
def test_control_as_many_as_agreed_opens(step: str) -> None:
    federation = Federation(n=10).run(drop={step: (0, 4, 7)})
    assert federation.opened().dropped_at[step] == (0, 4, 7)


def test_the_minimum_of_survivors_binds_above_the_threshold() -> None:
    with pytest.raises(CohortError) as caught:
        Federation(n=10, changes={"min_survivors": 9}).run(drop={"mask": (1, 2)})
    assert caught.value.needed == 9
    opened = Federation(n=10, changes={"min_survivors": 9}).run(drop={"mask": (1,), "agree": (2, 3)}).opened()
    assert len(opened.survivors) == 9


@pytest.mark.parametrize("step", ["advertise", "share", "mask"])
def test_every_list_that_a_sum_depends_on_has_the_minimum_of_survivors(step: str) -> None:
    """U1 and U2 too: what a list lacks can never come back. Control: the same dropouts are few enough one step on."""
    with pytest.raises(CohortError) as caught:
        Federation(n=10, changes={"min_survivors": 9}).run(drop={step: (1, 2)})
    assert (caught.value.step, caught.value.survivors, caught.value.needed) == (step, 8, 9)
    Federation(n=10, changes={"min_survivors": 9}).run(drop={"agree": (1, 2)}).opened()


def test_extreme_inputs_do_not_wrap_in_the_tightest_ring() -> None:
    """n inputs of the largest magnitude, in the fewest bits that the theorem allows; both signs."""
    saturation, noise_bound, n = 1000, 23, 5
    bits = ring_bits_for(n, saturation, noise_bound)
    for sign in (1, -1):
        federation = Federation(
            n=n,
            changes={
                "ring_bits": bits,
                "quantiser": QuantiserParameters(scale=1.0, saturation=saturation, noise_bound=noise_bound),
            },
        )
        federation.inputs[:] = sign * (saturation + noise_bound)
        assert (federation.run().opened().total == sign * n * (saturation + noise_bound)).all()


def test_the_sum_is_the_same_for_any_model_and_noise_parameters() -> None:
    """Configuration reaches keys only: the numbers are untouched by it."""
    privacy = PrivacyParameters(
        mode="local", clip=2.0, noise_multiplier=9.0, sensitivity=3.0, share_variance=0.0, honest_inputs=1
    )
    federation = Federation(changes={"privacy": privacy, "round": 3}).run()
    assert np.array_equal(federation.opened().total, federation.plain_sum(range(5)))
