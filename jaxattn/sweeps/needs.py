"""--mode=sweep --dry_run: the cells, where they stand, and what they will need.

Time and memory are those of --mode=plan. Cells whose steps are alike (another seed, another
learning rate) are planned once, and all of them together take about `plan.seconds`.
"""

import dataclasses
import time
from collections.abc import Hashable

from jaxattn.config import Config, Scope, binding_options, replace, scope_of
from jaxattn.console import GIB, duration, print_table, say, shown
from jaxattn.errors import InputError
from jaxattn.plan.programs import PlannedSteps
from jaxattn.plan.times import times
from jaxattn.plan.workload import Subject, Workload, workload_of
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.precision import settled
from jaxattn.sweeps.cells import Cells
from jaxattn.sweeps.grid import Cell
from jaxattn.sweeps.recipe import start_is_finished
from jaxattn.sweeps.schedule import FINISHED


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes of a training step, and seconds of all steps; None where they could not be timed."""

    memory: int
    seconds: float | None


def print_cells(cells: Cells) -> None:
    """Prints all cells with their state and, but for baselines, predicted memory and time."""
    needs = plan_all(cells)
    total = 0.0
    rows = []
    for cell in cells.all:
        need = needs.get(plan_key(cells, cell))
        seconds = None if need is None else need.seconds
        finished = cells.folder(cell).state == FINISHED
        total += 0.0 if finished or seconds is None else seconds
        rows.append(
            (
                cell.id,
                cells.folder(cell).state or "new",
                cells.start(cell) or "-",
                ", ".join(f"{name}={value}" for name, value in cells.own(cell).items())
                + (f" + the best of {cell.best.of}" if cell.best else ""),
                shown(None if need is None else need.memory, ".2f", times=1 / GIB),
                duration(seconds),
            )
        )
    print_table(
        f"{len(cells.all)} runs of {cells.name}",
        ("run", "state", "from", "options", "GiB", "training"),
        rows,
    )
    print(
        "GiB: of a training step. Training: on this device, with nothing beside it, without "
        "reading, validating and saving.\nWhere a run starts from one that is not there yet, the "
        "vocabulary is estimated; of what will be chosen, the first is\nplanned. '-': not planned "
        "(a baseline, data that cannot be read, or plan.seconds were over)."
    )
    if total:
        print(f"All that is missing and planned, one after the other: {duration(total)}")


def plan_key(cells: Cells, cell: Cell) -> Hashable:
    """Equal for cells that need the same."""
    options = binding_options(cells.config(cell))
    kept = (
        (name, str(value))
        for name, value in options.items()
        if Scope.COST_FREE not in scope_of(name)
    )
    return cell.kind, _start(cells, cell), tuple(kept)


def plan_all(cells: Cells) -> dict[Hashable, Need]:
    """The plans there was time for."""
    distinct: dict[Hashable, Cell] = {}
    for cell in cells.all:
        if cell.kind != "baseline":
            distinct.setdefault(plan_key(cells, cell), cell)
    found: dict[Hashable, Need] = {}
    workloads: dict[Hashable, Workload] = {}
    budget = cells.request.resolved().plan.seconds
    began, reading = time.monotonic(), 0.0
    for number, (key, cell) in enumerate(distinct.items()):
        left = budget + reading - (time.monotonic() - began)
        if left <= 0:
            say(f"{len(distinct) - number} kinds of runs are not planned: plan.seconds are over")
            break
        config = settled(cells.config(cell), tell=False)
        config = replace(config, {"plan.seconds": left / (len(distinct) - number)})
        subject = Subject(cells.folder(cell), config, _start(cells, cell))
        before = time.monotonic()
        try:
            data = cell.kind, subject.pretrain, *_of_the_data(config)
            if data not in workloads:
                workloads[data] = workload_of(subject)
            reading += time.monotonic() - before
            found[key] = _need(subject, workloads[data])
        except InputError as error:
            say(f"{cell.id}: not planned: {error}")
    return found


def _need(subject: Subject, workload: Workload) -> Need:
    """As a plan has it, without looking for the largest batch."""
    planned = PlannedSteps(subject.config, subject.task, workload)
    largest = planned.step(planned.lengths[-1], subject.config.train.batch_size)
    return Need(largest.memory.total, times(planned, share=1.0).train_seconds)


def _of_the_data(config: Config) -> tuple[Hashable, ...]:
    """What the batches of an epoch depend on."""
    return config.data, config.tokenizer, config.train.batch_size


def _start(cells: Cells, cell: Cell) -> str:
    """The run whose vocabulary counts, if it is there: a later stage is planned without it too."""
    start = cells.start(cell)
    return start if not start or start_is_finished(cells.request.runs, start) else SCRATCH
