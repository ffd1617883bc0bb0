"""A sweep's cells, run side by side in the order in which they depend on each other."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from jaxattn.errors import InputError
from jaxattn.sweeps.cells import Cells
from jaxattn.sweeps.grid import Cell
from jaxattn.sweeps.local import Elsewhere

WAITING, RUNNING, FINISHED = "waiting", "running", "finished"

FAILED, INTERRUPTED, LEFT_OUT = "failed", "interrupted", "left out"

SETTLED = (FINISHED, FAILED, INTERRUPTED, LEFT_OUT)
"""States that a cell keeps until the sweep is started again."""


class Running(Protocol):
    """A cell that runs, wherever that is."""

    def ended(self) -> str | None:
        """How it ended, in words ("" where it ended well); None while it runs."""

    def stop(self) -> None:
        """Asks it to save and stop."""


Start = Callable[[Cell, int], Running]
"""Starts a cell in one of the places that there are, counted from 0."""


@dataclasses.dataclass
class Progress:
    """Where a cell stands; `reason` says why it is not finished."""

    state: str
    reason: str = ""


def first_states(cells: Cells, again: bool) -> dict[str, Progress]:
    """What the folders say, before anything is run.

    Args:
      cells: of the sweep.
      again: whether failed ones are to be run once more.
    """
    settled = (FINISHED,) if again else (FINISHED, FAILED)
    states = {}
    for cell in cells.all:
        folder = cells.folder(cell)
        state = folder.state
        known = state in settled
        states[cell.id] = Progress(state, folder.reason) if known else Progress(WAITING)
    return states


def run_cells(
    cells: Cells,
    states: dict[str, Progress],
    start: Start,
    places: int,
    *,
    stopping: Callable[[], bool],
    changed: Callable[[Mapping[str, Progress]], None],
    pause: float,
) -> None:
    """Runs what waits; what depends on a cell that came to nothing is left out.

    Args:
      cells: of the sweep.
      states: of all cells, kept up to date.
      start: starts a cell.
      places: how many run side by side.
      stopping: whether to ask all to stop.
      changed: told the states after each round.
      pause: seconds between two rounds.
    """
    running: dict[str, tuple[Cell, int, Running]] = {}
    asked = False
    while True:
        for cell, _, process in list(running.values()):
            how = process.ended()
            if how is not None:
                del running[cell.id]
                states[cell.id] = _outcome(cells, cell, how, stopping())
        if stopping() and not asked:
            asked = True
            for _, _, process in running.values():
                process.stop()
        if not asked:
            _start_ready(cells, states, start, places, running)
        changed(states)
        waiting = any(progress.state == WAITING for progress in states.values())
        if not running and (asked or not waiting):
            return
        time.sleep(pause)


def _start_ready(
    cells: Cells,
    states: dict[str, Progress],
    start: Start,
    places: int,
    running: dict[str, tuple[Cell, int, Running]],
) -> None:
    """Starts cells in free places; leaves out those that cannot be run any more."""
    for cell in cells.all:
        if states[cell.id].state != WAITING:
            continue
        hindrance = _hindrance(cells, cell, states)
        if hindrance is not None:
            if hindrance:
                states[cell.id] = Progress(LEFT_OUT, hindrance)
            continue
        folder = cells.folder(cell)
        free = sorted(set(range(places)) - {place for _, place, _ in running.values()})
        try:
            if folder.writer is not None:
                # It needs no place: it has one already.
                running[cell.id] = cell, -1, Elsewhere(folder)
            elif free:
                cells.check(cell)
                running[cell.id] = cell, free[0], start(cell, free[0])
            else:
                continue
            states[cell.id] = Progress(RUNNING)
        except InputError as error:
            states[cell.id] = Progress(LEFT_OUT, str(error))


def _hindrance(cells: Cells, cell: Cell, states: Mapping[str, Progress]) -> str | None:
    """Why a cell cannot be run: for ever, in words; for now, ""; None where it can be."""
    parent = cell.parent
    if parent is not None:
        state = states[parent.id].state
        if state != FINISHED:
            return f"{parent.id}: {_came_to(state)}" if state in SETTLED else ""
    if cell.best is None:
        return None
    among = [states[other.id].state for other in cells.candidates(cell)]
    if any(state not in SETTLED for state in among):
        return ""
    if INTERRUPTED in among:
        return f"the best of {cell.best.of} is not known: one of its runs was interrupted"
    try:
        choice = cells.choose(cell)
    except InputError as error:
        return str(error)
    if choice is None:
        return f"the best of {cell.best.of} is not known: none of its runs is finished"
    cells.choices[cell.id] = choice
    return None


def _came_to(state: str) -> str:
    return {FAILED: "failed", LEFT_OUT: "was left out"}.get(state, "was interrupted")


def _outcome(cells: Cells, cell: Cell, how: str, stopping: bool) -> Progress:
    """What became of a cell whose process has ended; its folder is told what it cannot know."""
    folder = cells.folder(cell)
    state = folder.state
    if state == FINISHED:
        return Progress(FINISHED)
    if state == INTERRUPTED or stopping:
        return Progress(INTERRUPTED, folder.reason or "the sweep was stopped")
    if state == FAILED and folder.begun:
        return Progress(FAILED, folder.reason)
    if folder.writer is not None:
        return Progress(WAITING)  # for another process, which was faster
    said = "" if how.startswith("killed") else last_line(cells, cell)
    reason = f"{how or 'it ended early'}{': ' if said else ''}{said}"
    folder.fail(reason)
    return Progress(FAILED, reason)


def last_line(cells: Cells, cell: Cell) -> str:
    """The last line that the process of a cell has said; "" where there is none."""
    lines = tail(cells, cell)
    return lines[-1].removeprefix("jaxattn: ") if lines else ""


def tail(cells: Cells, cell: Cell, size: int = 8192) -> Sequence[str]:
    """The last lines, none of them blank, that the process of a cell has said."""
    try:
        with open(cells.log(cell), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - size))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return [line for line in text.splitlines() if line.strip()]
