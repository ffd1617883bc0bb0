"""A grid of runs, side by side, started again where it stopped."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import read_json, write_json
from jaxattn.processes import live_process, this_process
from jaxattn.runs.lock import locked
from jaxattn.signals import stop_requests
from jaxattn.sweeps.cells import Cells
from jaxattn.sweeps.grid import Cell
from jaxattn.sweeps.local import Process, check_devices
from jaxattn.sweeps.ray import cluster
from jaxattn.sweeps.schedule import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    LEFT_OUT,
    Progress,
    Start,
    first_states,
    run_cells,
)
from jaxattn.sweeps.view import View, summary

PAUSE = 0.25
"""Seconds between two looks at the cells."""


def check_all(cells: Cells) -> None:
    """Every cell, before any is run: hours later is late to hear of a mistake.

    Raises:
      InputError: cores or options that cannot be, or a run of this name with other options.
    """
    check_devices(cells.options.devices)
    for cell in cells.all:
        if cell.best is None:
            cells.check(cell)
            continue
        if all(cells.folder(other).state == FINISHED for other in cells.candidates(cell)):
            choice = cells.choose(cell)
            assert choice is not None
            cells.choices[cell.id] = choice
            cells.check(cell)
        else:
            # The options of the first stand for those that will be chosen.
            cells.config(cell)


def run_sweep(cells: Cells) -> int:
    """Runs what is missing and writes sweep.json.

    Returns:
      0, 1 if any cell is not finished, 128 + signal after a request to stop.
    """
    with locked(cells.home):
        return _run_alone(cells)


def _run_alone(cells: Cells) -> int:
    """`run_sweep` while no other process runs this sweep."""
    record = cells.home / "sweep.json"
    _must_be_alone(cells, record)
    states = first_states(cells, again=cells.request.resume)
    say(f"sweep {cells.name}: {len(cells.all)} runs: {summary(states)}")
    kept = [name for name, progress in states.items() if progress.state == FAILED]
    if kept:
        say(f"failed before, run again only with --resume: {', '.join(kept)}")
    written: dict[str, Progress] = {}

    def changed(now: Mapping[str, Progress]) -> None:
        if now != written:
            # A state is exchanged, never changed.
            written.clear()
            written.update(now)
            write_record(cells, now, record)
        view.update(now)

    with (
        _starter(cells) as start,
        stop_requests() as received,
        View(cells, states) as view,
    ):
        run_cells(
            cells,
            states,
            start,
            cells.options.parallel,
            stopping=lambda: bool(received),
            changed=changed,
            pause=PAUSE,
        )
    _say_the_end(cells, states)
    if received:
        say("the sweep was stopped; the same command goes on")
        return 128 + received[0]
    return 0 if all(progress.state == FINISHED for progress in states.values()) else 1


@contextmanager
def _starter(cells: Cells) -> Iterator[Start]:
    """What starts a cell, here or on a Ray cluster."""
    options = cells.options
    if options.executor == "ray":
        with cluster(options) as joined:
            yield lambda cell, place: joined.start(cells.call(cell), cells.log(cell))
        return

    def start(cell: Cell, place: int) -> Process:
        device = options.devices[place % len(options.devices)] if options.devices else ""
        return Process(cells.call(cell), cells.log(cell), device)

    yield start


def _must_be_alone(cells: Cells, record: Path) -> None:
    """Raises InputError while another process runs this sweep."""
    pid = live_process(read_json(record), record) if record.exists() else None
    if pid not in (None, os.getpid()):
        raise InputError(f"{cells.home} is being run by process {pid}; wait for it")
    record.parent.mkdir(parents=True, exist_ok=True)


def write_record(cells: Cells, states: Mapping[str, Progress], path: Path) -> None:
    """Writes sweep.json: what every cell is, where it stands, and the command that runs it."""
    listed = []
    for cell in cells.all:
        choice = cells.choices.get(cell.id)
        progress = states[cell.id]
        listed.append(
            {
                "run": cell.id,
                "group": cell.group,
                "axes": dict(cell.axes),
                "state": progress.state,
                "reason": progress.reason,
                "from": cell.parent.id if cell.parent else None,
                "best_of": choice and choice.cell.id,
                "best_value": choice and choice.value,
                "command": ["jaxattn", *cells.call(cell)],
            }
        )
    write_json(path, {"sweep": cells.name, **this_process(), "cells": listed})


def _say_the_end(cells: Cells, states: Mapping[str, Progress]) -> None:
    for cell in cells.all:
        progress = states[cell.id]
        if progress.state in (FAILED, INTERRUPTED, LEFT_OUT):
            say(f"{cell.id}: {progress.state}: {progress.reason}")
    for cell in cells.all:
        choice = cells.choices.get(cell.id)
        if choice is not None and cell.best is not None:
            taken = ", ".join(f"{name} = {value}" for name, value in cells.own(cell).items())
            measure = f"{cell.best.by} {choice.value or 0.0:.4f}"
            say(f"{cell.id}: {taken}, as {choice.cell.id} ({measure})")
    say(
        f"sweep {cells.name}: {summary(states)}; record: {cells.home / 'sweep.json'}; "
        f"all runs side by side: jaxattn --mode=compare --runs={cells.request.runs}"
    )
