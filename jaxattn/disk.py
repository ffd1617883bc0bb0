"""Errors of the disk, whichever library meets them: full, read-only, not ours to write to."""

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NUMBERS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG,
)  # fmt: skip

_ADVICE = {
    errno.EROFS: "; give a folder of another disk",
    errno.EACCES: "; give another place, or change its rights",
    errno.EPERM: "; give another place, or change its rights",
    errno.ENOENT: "; give another place, or look whether the name is right",
}

_TOLD = re.compile(r"(?:os_error_code='|os error |\berrno )(\d+)", re.IGNORECASE)
"""How TensorStore, libraries in Rust and pyarrow tell the number of the system's error."""


def disk_error(error: BaseException) -> int | None:
    """The number of the system's error that a file could not be written for; None for any other.

    TensorStore calls a full disk RESOURCE_EXHAUSTED, as XLA calls a full memory; its number tells
    them apart.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _NUMBERS else None
    told = _TOLD.search(str(error))
    return int(told[1]) if told and int(told[1]) in _NUMBERS else None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an error of the disk in the block an OSError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        elif error.errno is None and (number := disk_error(error)):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    except Exception as error:
        if number := disk_error(error):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def sentence(error: OSError) -> str:
    """What went wrong with which file, and what to do; "" where the error names no file."""
    where = error.filename
    if isinstance(where, bytes):
        where = os.fsdecode(where)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        if where is None:
            # Only what is printed and what is put aside for a while has no name.
            where = f"standard output or of {tempfile.gettempdir()}"
        what = (
            "no space left on the disk of"
            if error.errno == errno.ENOSPC
            else "no space left in your quota of the disk of"
        )
        return f"{what} {where}; make room there and run it again (a training: with --resume)"
    return "" if where is None else f"{where}: {error.strerror}{_ADVICE.get(error.errno or 0, '')}"
