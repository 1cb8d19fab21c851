"""Figures in a model's text: read in every notation, and believed only where they are facts."""

from __future__ import annotations

import math

import pytest

from compliance.numbers import numbers_in, unsupported, values_in

# Ten banks of which three may collude: small numbers that are facts, so that a ratio of two of them has to be seen.
SMALL = (10.0, 3.0, 4.0, 7.0, 12.0, 2.0, 5.0, 40.0, 100.0, 1.0, 0.96, 0.97, 2.973, 1e-5, 6.0, 0.0, 9.0)
FACTS = (2.9731, 1e-5, 0.9948, 60_000.0, 12.0, 10.0, 0.95)


@pytest.mark.parametrize(
    "text",
    [
        "epsilon 2.973", "ε = 2.97", "ε is about 3.0 or 2.9731", "δ = 1e-5", "δ of 10⁻⁵", "δ = 10^-5",
        "δ = 1 × 10^-5",
        "0.00001", "99.48 %", "99.5 percent", "accuracy 0.995", "60,000 slots", "60\u202f000 slots",
        "twelve rounds", "ten banks", "a 95% interval", "no figure at all", "the first round, one bank",
    ],
)  # fmt: skip
def test_a_fact_is_recognised_in_other_notations(text: str) -> None:
    assert not unsupported(text, FACTS)


@pytest.mark.parametrize(
    "text",
    [
        "epsilon 2.9", "epsilon 3", "ε = 0.3", "δ = 1e-6", "δ of 10⁻⁶", "98 %", "accuracy 0.98", "accuracy 0,9948",
        "6,0000", "61,000 slots", "eleven rounds", "half of the banks", "twice as good", "a dozen and seven",
        "1.2.3", "epsilon0.1", "１７",
    ],
)  # fmt: skip
def test_anything_else_is_unsupported(text: str) -> None:
    assert unsupported(text, FACTS)


def test_absurd_numbers_are_read_as_unreadable() -> None:
    assert all(math.isnan(number.value) for number in numbers_in("1e999 1.2.3 1,23"))
    assert unsupported("1e999", FACTS)
    assert 48213.0 in values_in("48 213 rows")


DISGUISED = [
    "two-thirds of the banks", "two thirds", "three quarters", "three-fourths", "a third of them", "one third",
    "one tenth",
    "a quarter", "nine tenths", "ninety-nine hundredths", "4 fifths", "half of the banks", "a half", "three halves",
    "½", "⅔", "¾", "3/4", "3 / 4", "3⁄4", "9 ½", "2½", "1 in 40", "one in forty", "one in every ten",
    "1 in every 10", "3 in 10",
    "one out of ten", "1:40", "1 : 40", "XII banks... XIV", "XIV", "Ⅻ I XLII", "Ⅷ", "٣٤", "９８", "𝟗𝟖", "⑧", "八",
    "97", "97 percentage points", "0.97 %", "0.97 percent", "97 ‰", "97 per mille", "97 bp", "97 basis points", "9.7",
    "≈0.9", "~0.9", ">0.9", "about 0.9", "-0.97", "−0.97", "minus 0.97", "negative 0.97", "(-0.97)", "of -2.973",
    "zero point nine", "zero point nine eight", "point nine", "nought point nine five", "nine point seven",
    "ninety-eight percent",
    "twenty-three", "forty-two", "one hundred and five", "a hundred and seven", "three hundred", "dozens of banks",
    "a dozen and seven",
    "thousands of records", "hundreds", "tens of banks", "3 million", "4k records", "7M", "2bn", "10K",
    "3 thousand", "2 dozen", "12 hundred",
    "10 000", "10\u202f000", "10'000", "10,000", "1_0", "1,0", "4.7.12", "10^-6", "10⁻⁶", "10**-6", "10^{-4}",
    "10^(-4)",
    "10 to the power of -6", "10 to the -4", "1E-6", "3 × 10^4", "9e9", "tenfold", "fivefold improvement",
    "twentyfold",
    "quadrupled... quadruple 40fold 41", "trebled 11", "0.9\u200b8", "9\u20e38", "０.９８", "0٫98", "0.98", ".98",
    "the eighth bank", "in the eleventh round", "0.96-0.99", "0.95 to 0.97", "0.96±0.01", "+0.98", "11x", "×8",
    "8 times",
]  # fmt: skip


# Each is made of facts: read piece by piece, every one would be believed.
OF_FACTS = [
    "0·5", "0⋅5", "0٫5", "0。5", "0 . 5", "0 point 5", "zero point 5", "nought point 5", "every fifth record",
    "each tenth record", "3 of every 5", "3 in each 10", "3 out of 4... 3 of each 7", "5 pct", "5 ppm", "5‱", "5 ٪",
    "5 per-cent", "5 percentage points", "5 p.p.", "5 p.c.", "five-fold", "10 squared", "3 divided by 10",
    "an order of magnitude", "less than a percent", "quintuple",
]  # fmt: skip


@pytest.mark.parametrize("text", OF_FACTS)
def test_a_false_figure_made_of_facts_is_no_fact(text: str) -> None:
    assert unsupported(text, SMALL)
    assert not unsupported("0, 5 and 3 of 10 banks. 5 rounds, at most 7 of 12", SMALL), "control: the pieces are facts"


@pytest.mark.parametrize("text", DISGUISED)
def test_a_figure_in_disguise_is_no_fact(text: str) -> None:
    assert unsupported(text, SMALL)


@pytest.mark.parametrize(
    "text",
    [
        "three of ten banks", "7 of 10 banks", "12/12 rounds", "12 out of 12 rounds", "3 to 4", "3–4 banks",
        "0.96 – 0.97",
        "0.96-0.97", "97 %", "ninety-seven percent", "zero point nine six", "one hundred", "a hundred",
        "a dozen rounds",
        "one bank", "the first round", "a third party", "third parties", "zero-out", "seven-bank", "epsilon-2.973",
        "ε≈2.973",
        "10^-5", "10⁻⁵", "10 to the -5", "0.00001", "F1 and the L2 norm",
        "a CI of 97 % by ML",
        "epsilon 2.973 in 12 rounds", "twelve rounds", "2.97", "0.970", "96%", "9600 bp", ".97",
    ],
)  # fmt: skip
def test_control_the_same_figures_as_facts_are_believed(text: str) -> None:
    assert not unsupported(text, SMALL)


def test_nothing_below_one_is_rounded_up_to_it() -> None:
    assert unsupported("accuracy 1.0", (0.97,))
    assert not unsupported("accuracy 0.97", (0.9712,))
    assert not unsupported("1.0", (1.0,))
