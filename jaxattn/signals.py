"""What a signal asks of this process: the first time to save and stop, the second to leave at once.

A handler in Python waits until the main thread is back in Python, which compiling a program takes
a minute for. A thread that reads what the system's own handler writes into a pipe need not wait.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from jaxattn.files import remove_unfinished

STOPPING: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
"""What asks a process to stop: Ctrl-C, a scheduler, a terminal that is closed, a scheduler before
its time is up."""

CHILDREN: list["subprocess.Popen[bytes]"] = []
"""Processes that are told when this one leaves at once: they are to leave as well."""

ONE_REQUEST = 0.1
"""Seconds within which signals are one request: `timeout` sends its own twice."""

_PATIENCE = 5.0
"""Seconds in which a request that nobody collects has to reach the end of the command."""

_GLANCE = 0.25
"""Seconds between two looks at how far a request has come."""


class Stopped(KeyboardInterrupt):
    """A request to stop that arrived where nobody collects it; `number` is that of the signal."""

    def __init__(self, number: int) -> None:
        """Keeps the number of the signal."""
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Watched:
    """What the main thread and the one that watches know of each other."""

    watching = False
    """Whether this process is a command."""

    collecting = 0
    """How many `stop_requests` there are, which take care of the first signal."""

    raised: int | None = None
    """The first, once it has been raised: what is tidied up then the next must not disturb."""

    noticed = False
    """Whether the command knows of a request, and is on its way out."""


def watch() -> None:
    """From now on signals end this process: in order the first time, at once the second.

    To be called once, by the main thread of a process that is a command. The first raises `Stopped`
    where no `stop_requests` collects it.
    """
    _Watched.watching = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in STOPPING:
        if not is_ignored(number):
            signal.signal(number, _raise)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    unraisable = sys.unraisablehook

    def hook(what: Any) -> None:
        # Raised in a callback, such as jax's of the garbage collector, it goes no further.
        if isinstance(what.exc_value, Stopped):
            _leave(what.exc_value.number, "interrupted")
        unraisable(what)

    sys.unraisablehook = hook


def noticed() -> None:
    """The command has noticed the request and ends: it is given the time that this takes."""
    _Watched.noticed = True


def hand_on(number: int) -> None:
    """Sends a signal to all `CHILDREN` that are alive."""
    for child in CHILDREN:
        with contextlib.suppress(OSError):
            child.send_signal(number)


def is_ignored(number: signal.Signals) -> bool:
    """Whether a terminal that is closed is to be survived, as under nohup."""
    hangup = number == getattr(signal, "SIGHUP", None)
    return hangup and signal.getsignal(number) is signal.SIG_IGN


@contextlib.contextmanager
def stop_requests(tell: Callable[[int], object] | None = None) -> Iterator[list[int]]:
    """Collects the signals of `STOPPING` instead of dying of them, so that state can be saved.

    Args:
      tell: is told each of them besides.
    """
    # One that was raised before, in a library that has swallowed it, is still a request.
    received = [] if _Watched.raised is None else [_Watched.raised]

    def collect(number: int, _: object) -> None:
        received.append(number)
        if tell is not None:
            tell(number)

    previous = {
        number: signal.signal(number, collect) for number in STOPPING if not is_ignored(number)
    }
    _Watched.collecting += 1
    try:
        yield received
    finally:
        _Watched.collecting -= 1
        _Watched.noticed = _Watched.noticed or bool(received)
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Inside, the first request waits until the end, when `Stopped` is raised.

    For calls of libraries that run an event loop: what is raised within one is lost in it, and
    leaves them with half of their state. It may decorate a function.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not _Watched.watching or _Watched.collecting or not in_main:
        yield
        return
    with stop_requests() as received:
        yield
    if received:
        _Watched.raised = received[0]
        raise Stopped(received[0])


def _raise(number: int, _: object) -> None:
    if _Watched.raised is None:
        _Watched.raised = number
        raise Stopped(number)


def _watch(reader: int) -> None:
    """Waits for signals as long as the process lives."""
    first, began = _next(reader), time.monotonic()
    if _Watched.collecting:
        _tell(f"{_name(first)}: stopping in order; once more leaves at once, and saves nothing")
    while True:
        if select.select([reader], [], [], _GLANCE)[0]:
            number = _next(reader)
            if time.monotonic() - began > ONE_REQUEST:
                _leave(number, f"{_name(number)} again: left at once")
        if _Watched.collecting or _Watched.noticed:
            continue
        if time.monotonic() - began > _PATIENCE:
            # A library has swallowed it, or has not come back.
            _leave(first, "interrupted")


def _next(reader: int) -> int:
    """The number of the next signal that asks to stop."""
    while True:
        for number in os.read(reader, 1):
            if number in STOPPING:
                return number


def _name(number: int) -> str:
    return signal.Signals(number).name


def _leave(number: int, why: str) -> NoReturn:
    """Ends the process now, whatever its other threads are at."""
    _tell(f"jaxattn: {why}")
    hand_on(number)
    if "multiprocessing" in sys.modules:
        for worker in sys.modules["multiprocessing"].active_children():
            worker.kill()
    remove_unfinished()
    os._exit(128 + number)


def _tell(line: str) -> None:
    """Writes to standard error, unless that would have to wait."""
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"{line}\n".encode())
