"""What a run writes while it goes on: metrics.csv, events.jsonl, trackers, progress."""

import csv
import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jaxattn.config import LogConfig
from jaxattn.console import say
from jaxattn.disk import naming
from jaxattn.errors import InputError
from jaxattn.files import LARGEST_TABLE, read_text, unfit, write_text
from jaxattn.runs.events import NAME as EVENTS
from jaxattn.runs.tracking import trackers

COLUMNS = (
    "step",
    "epoch",
    "split",
    "loss",
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "auroc",
    "learning_rate",
    "grad_norm",
)
"""metrics.csv holds nothing that depends on the clock, so that equal runs give equal files."""


class RunLog:
    """The log files of one run folder."""

    def __init__(
        self, folder: Path, config: LogConfig, name: str, settings: dict[str, Any]
    ) -> None:
        """Opens the files of `folder`; `name` and the flat `settings` are for trackers.

        Raises InputError where something else stands in their place, as a FIFO does for ever.
        """
        self._metrics = folder / "metrics.csv"
        self._events = folder / EVENTS
        for path in (self._metrics, self._events):
            if why := unfit(path):
                raise InputError(f"{path}: {why}; take it away, or bring the file back")
        self._trackers = trackers(folder, config, name, settings)

    def rewind(self, step: int) -> None:
        """Forgets rows of metrics.csv after `step`: a resumed run writes them again.

        Raises InputError where it is no such table; a last row that was cut short is forgotten.
        """
        text = read_text(self._metrics, LARGEST_TABLE) if self._metrics.exists() else ""
        try:
            rows = list(csv.reader(io.StringIO(text)))[1:]
            kept = [row for row in rows if len(row) == len(COLUMNS) and int(row[0]) <= step]
        except (ValueError, csv.Error) as error:
            raise InputError(
                f"{self._metrics}: not a table that training has written ({error}); restore it "
                "from a copy, or remove it to go on without the rows before"
            ) from None
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([COLUMNS, *kept])
        write_text(self._metrics, buffer.getvalue())

    def metrics(
        self, step: int, epoch: float, split: str, values: Mapping[str, float | None]
    ) -> None:
        """Appends a row; absent or None values are empty cells."""
        row: dict[str, Any] = {"step": step, "epoch": repr(epoch), "split": split}
        row |= {name: repr(value) for name, value in values.items() if value is not None}
        with (
            naming(self._metrics),
            open(self._metrics, "a", newline="", encoding="utf-8") as file,
        ):
            csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="").writerow(row)
        tracked = {f"{split}/{name}": value for name, value in values.items()}
        for tracker in self._trackers:
            tracker.log(step, tracked | {"epoch": epoch})

    def event(self, event: str, **values: Any) -> None:
        """Appends a line to events.jsonl; `time` is in seconds since 1970."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **values})
        with naming(self._events), open(self._events, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self, exit_code: int = 0) -> None:
        """Ends the tracking; 0: the run finished."""
        for tracker in self._trackers:
            tracker.close(exit_code)


class Progress:
    """Stage, step, loss, tokens/s, time left: a live bar on a terminal, else a line now and then.

    Rich prints nothing until the end where there is no terminal, hence the lines.
    """

    def __init__(self, stage: str, total: int, line_seconds: float = 15.0) -> None:
        """`total` in steps."""
        self._stage, self._total, self._line_seconds = stage, total, line_seconds
        self._bar: Any = None
        self._first: tuple[float, int] | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        """Shows the bar."""
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[note]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._stage, total=self._total, note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, loss: float, tokens_per_second: float) -> None:
        """`step`: steps done so far."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, step)
        note = f"loss {loss:.4f}  {tokens_per_second:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=note)
        elif now - self._last_line >= self._line_seconds or step == self._total:
            self._last_line = now
            seconds, steps = now - self._first[0], step - self._first[1]
            line = f"{self._stage}: step {step}/{self._total}  {note}"
            if steps:
                line += f"  {(self._total - step) * seconds / steps:,.0f} s left"
            say(line)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            say(text)
