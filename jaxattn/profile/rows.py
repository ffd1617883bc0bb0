"""What was measured as rows of a table, and the crossovers in it."""

import csv
import dataclasses
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxattn.profile.bench import Key, Measured
from jaxattn.profile.variants import (
    FORWARD,
    FORWARD_BACKWARD,
    STEP,
    Shape,
    variant_name,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclasses.dataclass(frozen=True)
class Row:
    """One attention at one length; None where a value is not known.

    Attributes:
      attention, implementation: which; the latter of exact attention only.
      what: FORWARD, FORWARD_BACKWARD or STEP.
      rows, length, dtype: of the batch.
      repeats, seconds, seconds_q1, seconds_q3, cpu_seconds: how often it was timed, median and
        quartiles of the wall time, median of the CPU time.
      tokens_per_second: from the median.
      compile_seconds: of tracing and compiling.
      temporary_bytes, argument_bytes, output_bytes: what the compiler says.
      peak_device_bytes: what a run really took.
      attention_flops, attention_bytes: the cost model's for the forward pass: of one layer, in the
        row of a step of all its layers (training takes about 3 times as many, 3.5 where the
        backward pass computes the forward pass again).
      attention_share: time of a step's attentions by themselves as a share of the step's; on a CPU
        it is CPU time, as a step may use more cores than an attention.
      note: why something is missing.
    """

    attention: str
    implementation: str
    what: str
    rows: int
    length: int
    dtype: str = ""
    repeats: int = 0
    seconds: float | None = None
    seconds_q1: float | None = None
    seconds_q3: float | None = None
    cpu_seconds: float | None = None
    tokens_per_second: float | None = None
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    argument_bytes: int | None = None
    output_bytes: int | None = None
    peak_device_bytes: int | None = None
    attention_flops: int | None = None
    attention_bytes: int | None = None
    attention_share: float | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The variant, as it is shown."""
        return variant_name(self.attention, self.implementation)


def rows(
    measured: Sequence[Measured],
    shapes: dict[int, Shape],
    *,
    layers: int,
    remat: bool,
    cpu: bool,
) -> list[Row]:
    """One row for each attention, length and thing measured.

    Args:
      measured: in any order; it is kept.
      shapes: length -> sizes of the attention measured at this length.
      layers: of the model.
      remat: whether the step computes the forward pass twice.
      cpu: whether the device is a CPU.
    """
    busy = {
        found.task.key: found.time.cpu_seconds if cpu else found.time.seconds
        for found in measured
        if found.time is not None
    }
    return [_row(found, shapes[found.task.length], busy, layers, remat) for found in measured]


def _row(found: Measured, shape: Shape, busy: Mapping[Key, float], layers: int, remat: bool) -> Row:
    task, time, memory = found.task, found.time, found.memory
    flops, transferred = task.variant.cost(shape)
    share, times = None, 1
    if task.what == STEP:
        times = layers
        alone = busy.get((task.variant.name, FORWARD_BACKWARD, task.length))
        again = busy.get((task.variant.name, FORWARD, task.length)) if remat else 0.0
        if task.key in busy and alone is not None and again is not None:
            share = layers * (alone + again) / busy[task.key]
    return Row(
        attention=task.variant.attention,
        implementation=task.variant.implementation,
        what=task.what,
        rows=task.rows,
        length=task.length,
        dtype=shape.dtype,
        **({} if time is None else dataclasses.asdict(time)),
        tokens_per_second=None if time is None else task.rows * task.length / time.seconds,
        compile_seconds=found.compile_seconds,
        temporary_bytes=None if memory is None else memory.temporary,
        argument_bytes=None if memory is None else memory.argument,
        output_bytes=None if memory is None else memory.output,
        peak_device_bytes=found.peak_device,
        attention_flops=times * flops,
        attention_bytes=times * transferred,
        attention_share=share,
        note=found.note,
    )


def points(table: Sequence[Row], variant: str, what: str, column: str) -> dict[int, float]:
    """Length -> value of a column, where it is known."""
    return {
        row.length: getattr(row, column)
        for row in table
        if row.name == variant and row.what == what and getattr(row, column) is not None
    }


def as_csv(table: "Sequence[DataclassInstance]") -> str:
    """The rows as CSV: numbers as `repr` gives them, empty where they are not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if table:
        writer.writerow(field.name for field in dataclasses.fields(table[0]))
    for row in table:
        values = dataclasses.asdict(row).values()
        writer.writerow("" if v is None else v if isinstance(v, str) else repr(v) for v in values)
    return text.getvalue()


CROSSES, ALREADY, NOT_REACHED, UNKNOWN = "crosses", "already", "not reached", "not measured"


@dataclasses.dataclass(frozen=True)
class Crossover:
    """Where an attention begins to beat a baseline.

    Attributes:
      verdict: CROSSES, ALREADY (faster at every length measured), NOT_REACHED (not faster at the
        longest) or UNKNOWN (no length at which both were measured).
      length: in tokens, interpolated; None unless CROSSES.
      shortest, longest: the range in which both were measured; None if UNKNOWN.
      speed_at_longest: of the attention relative to the baseline, above 1 = faster.
    """

    verdict: str
    length: float | None = None
    shortest: int | None = None
    longest: int | None = None
    speed_at_longest: float | None = None

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
    ends = Crossover(NOT_REACHED, None, first, last, speed_at_longest=math.exp(-lag[last]))
    if lag[last] >= 0:
        return ends
    slower = [pair for pair in itertools.pairwise(lengths) if lag[pair[0]] >= 0]
    if not slower:
        return dataclasses.replace(ends, verdict=ALREADY)
    left, right = slower[-1]
    share = lag[left] / (lag[left] - lag[right])
    return dataclasses.replace(ends, verdict=CROSSES, length=left * (right / left) ** share)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The crossover of one attention and one baseline, doing `what`."""

    attention: str
    baseline: str
    what: str
    crossover: Crossover

    def as_json(self) -> dict[str, str | float | None]:
        """As it is written."""
        pair = {"attention": self.attention, "baseline": self.baseline, "what": self.what}
        return pair | vars(self.crossover) | {"sentence": self.crossover.sentence}


def crossovers(table: Sequence[Row], exact: str) -> list[Comparison]:
    """For every attention, baseline and thing measured, where the attention begins to be faster.

    The baselines are the implementations of `exact`.
    """
    baselines = dict.fromkeys(row.name for row in table if row.attention == exact)
    others = dict.fromkeys(row.name for row in table if row.attention != exact)
    done = {row.what for row in table}

    def times(variant: str, what: str) -> dict[int, float]:
        return points(table, variant, what, "seconds")

    return [
        Comparison(variant, baseline, what, crossover(times(variant, what), times(baseline, what)))
        for what in (FORWARD, FORWARD_BACKWARD, STEP)
        if what in done
        for variant in others
        for baseline in baselines
    ]
