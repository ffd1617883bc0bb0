"""Standard output and error of the command: UTF-8 whatever the locale, quiet where nobody reads."""

import codecs
import contextlib
import io
import os
import sys

ERRORS = "jaxattn.shown"
"""Name of the error handler: bytes of names that are no UTF-8 as they were, the rest escaped."""


class _Closed:
    output = False


def output_is_closed() -> bool:
    """Whether nobody can read standard output, as in `jaxattn ... >&-`."""
    return _Closed.output


class _Unheard(io.FileIO):
    """What cannot be written any more is dropped: a run goes on when its terminal has gone."""

    def write(self, data: object, /) -> int:
        """Bytes written, or taken as such."""
        try:
            return super().write(data)  # type: ignore[arg-type]  # a buffer, as typeshed calls it
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


def settle_streams() -> None:
    """Makes standard output and error of this process UTF-8; messages that nobody reads are lost.

    On output an error stays an error, since it is what a command was called for.
    """
    codecs.register_error(ERRORS, _shown)
    _fill_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=ERRORS)
    if os.name == "posix":
        with contextlib.suppress(OSError, ValueError):
            raw = io.BufferedWriter(_Unheard(sys.stderr.fileno(), "w", closefd=False))
            sys.stderr = io.TextIOWrapper(raw, "utf-8", ERRORS, line_buffering=True)
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors=ERRORS)


def _fill_closed() -> None:
    """A stream that is closed, as in `jaxattn ... 2>&-`, goes nowhere.

    Without an error stream Python prints messages among the output; and the next file that is
    opened would get its number, with all that libraries in C write there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It is given the lowest number that is free.
            os.open(os.devnull, os.O_RDWR)
    _Closed.output = sys.stdout is None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_WRONLY)
            # `settle_streams` may write to the number, of which this object must not be the owner.
            nowhere = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, nowhere)


def forget_output() -> None:
    """Nothing more is written to standard output, not even what waits in its buffer."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a name that is no UTF-8 as they are in it; half a surrogate pair as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # A byte that was no UTF-8 stands as one of these code points (PEP 383).
    if 0xDC80 <= ord(error.object[error.start]) <= 0xDCFF:
        return bytes([ord(error.object[error.start]) - 0xDC00]), error.start + 1
    text = error.object[error.start : error.start + 1]
    return text.encode("ascii", "backslashreplace"), error.start + 1
