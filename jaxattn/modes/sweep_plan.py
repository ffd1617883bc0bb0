"""--mode=sweep --dry_run: the cells, where they stand, and what they will need.

Time and memory are those of --mode=plan. Cells whose steps are alike (another seed, another
learning rate) are planned once, and all of them together take about `plan.seconds`.
"""

import time
from collections.abc import Hashable
from typing import Any

from jaxattn.config import Config, replace
from jaxattn.errors import InputError
from jaxattn.modes.plan import binding_options, make_plan
from jaxattn.modes.plan_workload import Subject, Workload, workload_of
from jaxattn.modes.pretrain import SCRATCH
from jaxattn.modes.starting_point import source_of
from jaxattn.modes.sweep_cells import Cells
from jaxattn.modes.sweep_grid import Cell
from jaxattn.modes.sweep_run import FINISHED
from jaxattn.modes.sweep_view import duration
from jaxattn.modes.tables import print_table
from jaxattn.modes.training import say
from jaxattn.profile.memory import GIB

FREE = (
    "train.seed", "train.learning_rate", "train.schedule", "train.warmup_ratio",
    "train.min_lr_ratio", "train.weight_decay", "train.beta1", "train.beta2", "train.epsilon",
    "train.clip_norm", "head.dropout", "head.pooling", "data.split_seed",
)  # fmt: skip
"""Options on which neither time nor memory of a step depends; those of `finetune` are others."""


def print_cells(cells: Cells) -> None:
    """Prints all cells with their state and, but for baselines, predicted memory and time."""
    plans = plan_all(cells)
    total = 0.0
    rows = []
    for cell in cells.all:
        plan = plans.get(plan_key(cells, cell))
        seconds = _seconds(plan)
        finished = cells.folder(cell).state == FINISHED
        total += 0.0 if finished or seconds is None else seconds
        rows.append(
            (
                cell.id,
                cells.folder(cell).state or "new",
                cells.start(cell) or "-",
                ", ".join(f"{name}={value}" for name, value in cells.own(cell).items())
                + (f" + the best of {cell.best.of}" if cell.best else ""),
                "-" if plan is None else f"{plan['memory']['total'] / GIB:.2f}",
                "-" if seconds is None else duration(seconds),
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
        if name not in FREE and not name.startswith("finetune.")
    )
    return cell.kind, _start(cells, cell), tuple(kept)


def plan_all(cells: Cells) -> dict[Hashable, dict[str, Any]]:
    """The plans there was time for."""
    distinct: dict[Hashable, Cell] = {}
    for cell in cells.all:
        if cell.kind != "baseline":
            distinct.setdefault(plan_key(cells, cell), cell)
    found: dict[Hashable, dict[str, Any]] = {}
    workloads: dict[Hashable, Workload] = {}
    budget = cells.request.resolved().plan.seconds
    began, reading = time.monotonic(), 0.0
    for number, (key, cell) in enumerate(distinct.items()):
        left = budget + reading - (time.monotonic() - began)
        if left <= 0:
            say(f"{len(distinct) - number} kinds of runs are not planned: plan.seconds are over")
            break
        config = replace(cells.config(cell), {"plan.seconds": left / (len(distinct) - number)})
        subject = Subject(cells.folder(cell), config, _start(cells, cell))
        before = time.monotonic()
        try:
            data = cell.kind, subject.pretrain, *_of_the_data(config)
            if data not in workloads:
                workloads[data] = workload_of(subject)
            reading += time.monotonic() - before
            found[key] = make_plan(subject, workloads[data])
        except InputError as error:
            say(f"{cell.id}: not planned: {error}")
    return found


def _of_the_data(config: Config) -> tuple[Hashable, ...]:
    """What the batches of an epoch depend on."""
    return config.data, config.tokenizer, config.train.batch_size


def _start(cells: Cells, cell: Cell) -> str:
    """The run whose vocabulary counts, if it is there: a later stage is planned without it too."""
    start = cells.start(cell)
    try:
        there = start in ("", SCRATCH) or source_of(cells.request.runs, start)[0].state == FINISHED
    except InputError:
        there = False
    return start if there else SCRATCH


def _seconds(plan: dict[str, Any] | None) -> float | None:
    if plan is None or plan["train_seconds"] is None:
        return None
    return plan["train_seconds"] + (plan["compile_seconds"] or 0.0)
