"""Times: whose turn it is, when to stop, and what is made of the samples."""

import jax.numpy as jnp
import pytest

from jaxattn.profile.timing import Program, Sample, calls_for, interleaved, summary


class Clock:
    """Wall and CPU seconds that only the programs move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def read(self) -> tuple[float, float]:
        return self.now, 2 * self.now

    def program(self, name: str, seconds: float) -> Program:
        def run() -> object:
            self.order.append(name)
            self.now += seconds
            return jnp.zeros(())

        return Program(None, run, 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_repeats_go_round_and_every_round_begins_with_another(clock: Clock) -> None:
    programs = [clock.program(name, 1.0) for name in "abc"]
    interleaved(programs, [1, 1, 1], repeats=4, seconds=1e9, read=clock.read)
    assert "".join(clock.order) == "abcbcacababc"


def test_a_sample_is_the_mean_of_its_calls(clock: Clock) -> None:
    programs = [clock.program("a", 0.5), clock.program("b", 3.0)]
    samples = interleaved(programs, [4, 1], repeats=2, seconds=1e9, read=clock.read)
    assert "".join(clock.order) == "aaaabbaaaa"
    assert samples == [[Sample(0.5, 1.0)] * 2, [Sample(3.0, 6.0)] * 2]


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 1), (19.9, 1), (20.0, 2), (35.0, 3)])
def test_no_round_is_begun_that_would_end_too_late(
    clock: Clock, seconds: float, rounds: int
) -> None:
    programs = [clock.program("a", 4.0), clock.program("b", 6.0)]
    samples = interleaved(programs, [1, 1], repeats=3, seconds=seconds, read=clock.read)
    assert [len(found) for found in samples] == [rounds, rounds]


def test_median_and_quartiles() -> None:
    found = summary([Sample(x, 10 * x) for x in (5.0, 1.0, 2.0, 4.0, 3.0)])
    assert (found.repeats, found.seconds_q1, found.seconds, found.seconds_q3) == (5, 2.0, 3.0, 4.0)
    assert found.cpu_seconds == 30.0


@pytest.mark.parametrize(("seconds", "calls"), [(1.0, 1), (0.01, 1), (0.004, 3), (1e-7, 100)])
def test_fast_programs_are_called_more_than_once(seconds: float, calls: int) -> None:
    assert calls_for(seconds) == calls
