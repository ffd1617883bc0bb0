"""Where two costs cross: exact for powers of the length, and never beyond what was measured."""

from collections.abc import Sequence

import pytest

from jaxattn.profile.rows import ALREADY, CROSSES, NOT_REACHED, UNKNOWN, crossover

LENGTHS = (512, 1024, 2048, 4096)


def power(factor: float, exponent: float, lengths: Sequence[int] = LENGTHS) -> dict[int, float]:
    return {n: factor * n**exponent for n in lengths}


@pytest.mark.parametrize("crossing", [600.0, 1500.0, 4000.0])
@pytest.mark.parametrize("exponent", [1.0, 1.1])
def test_powers_cross_where_they_are_equal(crossing: float, exponent: float) -> None:
    quadratic = power(1e-9, 2.0)
    found = crossover(power(1e-9 * crossing ** (2 - exponent), exponent), quadratic)
    assert found.verdict == CROSSES
    assert found.length == pytest.approx(crossing, rel=1e-9)
    assert (found.shortest, found.longest) == (512, 4096)
    assert found.speed_at_longest == pytest.approx((4096 / crossing) ** (2 - exponent))
    assert found.sentence == f"from {crossing:,.0f} tokens"


@pytest.mark.parametrize(
    ("factor", "verdict", "sentence"),
    [(0.5, ALREADY, "faster already at 512"), (2.0, NOT_REACHED, "not up to 4,096")],
)
def test_nothing_is_told_beyond_the_lengths(factor: float, verdict: str, sentence: str) -> None:
    found = crossover(power(factor, 1.0), power(1.0, 1.0))
    assert (found.verdict, found.length, found.sentence) == (verdict, None, sentence)
    assert found.speed_at_longest == pytest.approx(1 / factor)


def test_equal_is_not_faster() -> None:
    assert crossover(power(1.0, 1.0), power(1.0, 1.0)).verdict == NOT_REACHED


def test_of_several_crossings_the_last_counts() -> None:
    """A disturbed measurement at a short length makes no attention faster."""
    times = {512: 0.5, 1024: 4.0, 2048: 1.0, 4096: 1.0}
    found = crossover(times, dict.fromkeys(LENGTHS, 2.0))
    assert found.length == pytest.approx((1024 * 2048) ** 0.5)
    assert crossover({**times, 4096: 3.0}, dict.fromkeys(LENGTHS, 2.0)).verdict == NOT_REACHED


def test_only_lengths_measured_in_both_count() -> None:
    found = crossover({512: 1.0, 4096: 0.1}, {512: 0.5, 1024: 2.0})
    assert (found.verdict, found.shortest, found.longest) == (NOT_REACHED, 512, 512)
    found = crossover({512: 1.0}, {1024: 2.0})
    assert (found.verdict, found.speed_at_longest, found.sentence) == (
        UNKNOWN,
        None,
        "not measured",
    )
