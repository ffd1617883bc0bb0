"""The `jaxattn` command: runs one mode, and tells in one sentence what can be mended."""

import atexit
import contextlib
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from jaxattn.commandline.help import overview
from jaxattn.commandline.own import with_own_texts
from jaxattn.commandline.parse import parse
from jaxattn.console import say
from jaxattn.data.told import forget
from jaxattn.disk import sentence
from jaxattn.errors import InputError
from jaxattn.memory import memory_sentence, out_of_memory
from jaxattn.request import settle
from jaxattn.signals import STOPPING, noticed, watch
from jaxattn.startup import collector_paused, use_huge_pages
from jaxattn.streams import forget_output, settle_streams

_WARNED: set[str] = set()
"""What a command has warned of: Python forgets it whenever a library changes what is shown."""


def main() -> None:
    """The `jaxattn` command."""
    use_huge_pages()
    settle_streams()
    watch()
    sys.excepthook = _uncaught
    ended: list[int] = []
    # What is registered first is called last, when all else is done.
    atexit.register(lambda: _leave(ended[0]) if ended else None)
    ended.append(run(sys.argv[1:]))
    sys.exit(ended[0])


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Shows an exception, unless it is the answer of a disk to which nobody listens any more.

    TensorStore writes a checkpoint in many parts; the first that fails ends the waiting for all.
    """
    if not (kind is RuntimeError and str(error) == "Event loop is closed"):
        sys.__excepthook__(kind, error, traceback)


def _leave(code: int) -> NoReturn:
    """Ends the process with its exit code, without tidying up its memory.

    Libraries in C that do so may crash or, with CUDA's driver gone, end with a code of their own;
    and Python takes half a second to look for garbage.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs one command line.

    The exit code is 2 after an error the user can mend, 1 after any other, and 128 + its number
    after a signal that asked to stop.
    """
    _WARNED.clear()
    forget()
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # reads two of six arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        code = _run(argv)
        # Now, while an error can be told: the last lines may find the disk full or nobody there.
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt as error:
        noticed()
        return _fail("interrupted", 128 + getattr(error, "number", signal.SIGINT))
    except BrokenPipeError as error:
        if error.filename:
            return _fail(f"{error.filename}: its reader has gone before all was written", 1)
        # The reader of our output has gone (`| head`); nothing is left to say or flush to it.
        forget_output()
        return 1
    except OSError as error:
        if not (told := sentence(error)):
            raise
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            return _fail(told, 2)
        # What waits in the buffer would be tried again when Python ends.
        forget_output()
        return _fail(told, 2)
    except Exception as error:
        if type(error).__name__ == "InterruptedRun":
            asked = [number for number in STOPPING if number.name in str(error)]
            code = 128 + (asked[0] if asked else signal.SIGTERM)
            return _fail(f"{error}; continue with --resume", code)
        if type(error).__name__ == "NonFiniteError":
            return _fail(f"the run failed: {error}", 1)
        if out_of_memory(error):
            return _fail(memory_sentence(error), 1)
        raise


def _run(argv: Sequence[str]) -> int:
    if not argv:
        print(overview(), file=sys.stderr)
        return 2
    request = parse(argv)
    if request is None:
        return 0
    if request.data:
        request = with_own_texts(request)
        if request.dry_run:
            # What the modes would refuse is refused now.
            request.resolved()
            return 0
    settle(request)
    with collector_paused():
        mode = importlib.import_module(f"jaxattn.modes.{request.mode.file}")
    return mode.run(request) or 0


def _fail(sentence: str, code: int) -> int:
    say(f"jaxattn: {sentence}")
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # JAX says it of every program; that the cache cannot be written to has been said once.
    of_cache = "persistent compilation cache entry" in str(message)
    if issubclass(category, UserWarning) and not of_cache and str(message) not in _WARNED:
        _WARNED.add(str(message))
        say(f"warning: {message}")
