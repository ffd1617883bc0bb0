"""A sweep to look at: a live table on a terminal, elsewhere a line for every change."""

import contextlib
import csv
import dataclasses
import io
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jaxattn.console import duration, say, shown, visible
from jaxattn.errors import InputError
from jaxattn.files import LARGEST_TABLE, read_text
from jaxattn.runs.events import events
from jaxattn.sweeps.cells import Cells
from jaxattn.sweeps.grid import Cell
from jaxattn.sweeps.schedule import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    LEFT_OUT,
    RUNNING,
    WAITING,
    Progress,
    tail,
)

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

LINE = re.compile(r": step (\d+)/(\d+)  loss (\S+)  ([\d,]+) tokens/s(?:  ([\d,]+) s left)?$")
"""What a run says of itself every now and then where there is no terminal."""

LINE_SECONDS = 60.0
"""Between two lines on the same running cell."""

COLOURS = {RUNNING: "cyan", FINISHED: "green", FAILED: "red", INTERRUPTED: "yellow"}


@dataclasses.dataclass(frozen=True)
class Figures:
    """How far a run is; None where that is not known. `seconds_left` as of its last line."""

    step: int | None = None
    total: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None

    def __str__(self) -> str:
        """Step, loss, speed and time left, as far as they are known."""
        parts = []
        if self.step is not None:
            parts.append(f"step {self.step}" + (f"/{self.total}" if self.total else ""))
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join(parts)


def figures(cells: Cells, cell: Cell) -> Figures:
    """How far a cell is, from its run folder and from what its process has said."""
    folder = cells.folder(cell).path
    known = Figures(total=_total_steps(folder))
    if row := _last_row(folder / "metrics.csv"):
        known = dataclasses.replace(known, step=int(row["step"]), loss=float(row["loss"]))
    # Where it has not begun, what an earlier process of this name has said does not count.
    lines = () if known.total is None else tail(cells, cell)
    for line in reversed(lines):
        if match := LINE.search(line):
            step, _, loss, speed, left = (part and part.replace(",", "") for part in match.groups())
            if known.step is None or int(step) >= known.step:
                known = dataclasses.replace(known, step=int(step), loss=float(loss))
            return dataclasses.replace(
                known, tokens_per_second=float(speed), seconds_left=float(left) if left else None
            )
    return known


def _total_steps(folder: Path) -> int | None:
    """Steps of the run, as its last start has noted them."""
    total = None
    with contextlib.suppress(InputError):
        for event in events(folder):
            found = event.get("total_steps")
            total = found if isinstance(found, int) else total
    return total


def _last_row(path: Path) -> dict[str, str] | None:
    """The last whole row on the training split."""
    try:
        table = csv.DictReader(io.StringIO(read_text(path, LARGEST_TABLE)))
        rows = [row for row in table if row["split"] == "train" and row["loss"]]
    except (InputError, KeyError, csv.Error):
        return None
    return rows[-1] if rows and rows[-1]["step"].isdigit() else None


def summary(states: Mapping[str, Progress]) -> str:
    """How many cells are in which state."""
    count = Counter(progress.state for progress in states.values())
    order = (FINISHED, RUNNING, WAITING, FAILED, INTERRUPTED, LEFT_OUT)
    return ", ".join(f"{count[state]} {state}" for state in order if count[state])


class View:
    """What is shown while a sweep runs."""

    def __init__(self, cells: Cells, states: Mapping[str, Progress]) -> None:
        """`states`: those at the beginning; nothing is said of them."""
        self._cells = cells
        self._told = {name: progress.state for name, progress in states.items()}
        self._said: dict[str, tuple[float, Figures]] = {}
        self._live: Live | None = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        """Shows the table, on a terminal."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves the last table."""
        if self._live is not None:
            self._live.stop()

    def update(self, states: Mapping[str, Progress]) -> None:
        """Shows what has changed."""
        if self._live is None:
            self._print(states)
        elif time.monotonic() - self._drawn >= 1.0 or self._changed(states):
            self._drawn = time.monotonic()
            self._told = {name: progress.state for name, progress in states.items()}
            self._live.update(table(self._cells, states), refresh=True)

    def _changed(self, states: Mapping[str, Progress]) -> bool:
        return any(self._told[name] != progress.state for name, progress in states.items())

    def _print(self, states: Mapping[str, Progress]) -> None:
        for number, cell in enumerate(self._cells.all, 1):
            progress = states[cell.id]
            if progress.state == self._told[cell.id] == RUNNING:
                self._print_figures(number, cell)
            elif progress.state != self._told[cell.id]:
                self._told[cell.id] = progress.state
                self._line(number, f"{cell.id}: {progress.state}{_because(progress)}")

    def _print_figures(self, number: int, cell: Cell) -> None:
        now = time.monotonic()
        said_at, said = self._said.setdefault(cell.id, (now, Figures()))
        if now - said_at < LINE_SECONDS:
            return
        known = figures(self._cells, cell)
        self._said[cell.id] = now, known
        if known != said and str(known):
            self._line(number, f"{cell.id}: {known}")

    def _line(self, number: int, text: str) -> None:
        say(f"[{number}/{len(self._cells.all)}] {text}")


def _because(progress: Progress) -> str:
    return f": {progress.reason}" if progress.reason else ""


def table(cells: Cells, states: Mapping[str, Progress]) -> "Table":
    """A rich table of what runs, what came to nothing, what waits, and what is done."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    # Above the table: what is too long for the screen is cut below.
    result = Table(
        title=escape(f"{cells.name}: {summary(states)}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    names = {cell.id: cell.id.replace(f"/{cells.name}_", "/", 1) for cell in cells.all}
    widest = min(18, max(map(len, names.values())))
    result.add_column("run", overflow="fold", min_width=widest)
    result.add_column("state", overflow="fold", min_width=11)
    for name, width in (("step", 9), ("loss", 6), ("tokens/s", 8), ("left", 6)):
        result.add_column(name, justify="right", no_wrap=True, min_width=width)
    order = (RUNNING, FAILED, INTERRUPTED, LEFT_OUT, WAITING, FINISHED)
    # A long sweep does not fit on a screen: what runs and what failed comes first.
    for cell in sorted(cells.all, key=lambda cell: order.index(states[cell.id].state)):
        progress = states[cell.id]
        known = figures(cells, cell) if progress.state == RUNNING else Figures()
        colour = COLOURS.get(progress.state, "dim")
        result.add_row(
            escape(names[cell.id]),
            f"[{colour}]{progress.state}[/{colour}]" + escape(visible(_because(progress))[:80]),
            "" if known.step is None else f"{known.step:,}/{known.total or 0:,}",
            shown(known.loss, ".4f", unknown=""),
            shown(known.tokens_per_second, ",.0f", unknown=""),
            duration(known.seconds_left, unknown=""),
        )
    return result
