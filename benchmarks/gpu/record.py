"""What one part of the measurements finds: printed and written to a JSON file at once."""

import argparse
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Part:
    """The results of one part, and the time it has left.

    A part may be ended at any moment: whatever it has noted is in its file by then.
    """

    def __init__(self, path: Path, until: float, tiny: bool) -> None:
        """Writes nothing yet.

        Args:
          path: the JSON file.
          until: seconds since the epoch after which nothing more is begun.
          tiny: toy sizes, to rehearse on a CPU.
        """
        self.tiny = tiny
        self.results: dict[str, Any] = {}
        self._path, self._until, self._began = path, until, time.time()

    def left(self) -> float:
        """Seconds in which something may still be begun."""
        return self._until - time.time()

    def note(self, key: str, value: Any, *, show: bool = True) -> None:
        """Keeps a result under its name; `show` prints it as well."""
        self.results[key] = value
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.results, indent=1, default=str), encoding="utf-8")
        if show:
            print(f"  {key}: {value}", flush=True)

    def attempt(self, name: str, function: Callable[[], T]) -> T | None:
        """What `function` returns; None if it fails, and the failure is a result too."""
        try:
            return function()
        except Exception as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self.note(f"{name}: FAILED", text)
            return None

    def run(self, body: Callable[["Part"], None]) -> None:
        """Calls `body`; what stops it is printed and kept."""
        try:
            body(self)
        except Exception:
            traceback.print_exc()
            self.note("stopped by", traceback.format_exc(), show=False)
        self.note("seconds", round(time.time() - self._began, 1))


def main(body: Callable[[Part], None]) -> None:
    """Reads the command line of a part and runs it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--until", type=float, help="seconds since the epoch; default: no limit")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to rehearse on a CPU")
    given = parser.parse_args()
    until = float("inf") if given.until is None else given.until
    Part(given.out, until, given.tiny).run(body)
