"""The length from which on one attention is faster than another."""

import dataclasses
import itertools
import math
from collections.abc import Mapping

CROSSES, ALREADY, NOT_REACHED, UNKNOWN = "crosses", "already", "not reached", "not measured"


@dataclasses.dataclass(frozen=True)
class Crossover:
    """Where an attention begins to beat a baseline.

    Attributes:
      verdict: CROSSES, ALREADY (faster at every length measured), NOT_REACHED (not faster at the
        longest) or UNKNOWN (no length at which both were measured).
      length: in tokens, interpolated; None unless CROSSES.
      shortest, longest: the range in which both were measured; None if UNKNOWN.
      speed: of the attention relative to the baseline at the longest length, above 1 = faster.
    """

    verdict: str
    length: float | None = None
    shortest: int | None = None
    longest: int | None = None
    speed: float | None = None

    @property
    def sentence(self) -> str:
        """For the reader."""
        if self.verdict == CROSSES:
            return f"from {self.length:,.0f} tokens"
        if self.verdict == ALREADY:
            return f"faster already at {self.shortest:,}"
        if self.verdict == NOT_REACHED:
            return f"not up to {self.longest:,}"
        return UNKNOWN


def crossover(times: Mapping[int, float], baseline: Mapping[int, float]) -> Crossover:
    """From which length on `times` are below `baseline` at every longer length measured.

    Both are length -> seconds. Between two lengths the logarithm of their ratio is taken to be
    linear in the logarithm of the length; nothing is told beyond the lengths measured.
    """
    lengths = sorted(times.keys() & baseline.keys())
    if not lengths:
        return Crossover(UNKNOWN)
    lag = {length: math.log(times[length] / baseline[length]) for length in lengths}
    first, last = lengths[0], lengths[-1]
    ends = Crossover(NOT_REACHED, None, first, last, speed=math.exp(-lag[last]))
    if lag[last] >= 0:
        return ends
    slower = [pair for pair in itertools.pairwise(lengths) if lag[pair[0]] >= 0]
    if not slower:
        return dataclasses.replace(ends, verdict=ALREADY)
    left, right = slower[-1]
    share = lag[left] / (lag[left] - lag[right])
    return dataclasses.replace(ends, verdict=CROSSES, length=left * (right / left) ** share)
