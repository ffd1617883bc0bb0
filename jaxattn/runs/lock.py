"""One process writes a run at a time, whatever dies in between.

The lock is the system's own (`flock`), on a file beside the folder: it is there before the folder
is, goes with its process however that ends, and holds between machines that share the disk.
"""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jaxattn.disk import naming
from jaxattn.errors import InputError
from jaxattn.files import real

if sys.platform != "win32":
    import fcntl

PATIENCE = 1.0
"""Seconds to wait for a lock: who only asks whether it is held holds it for a moment."""

_NOT_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a disk says that has no locks; runs there are told apart by their process alone."""

_held: dict[Path, int] = {}
"""Lock file -> how often this process has taken it."""


def _lock_file(folder: Path) -> Path:
    # A link and what it points to are one run.
    folder = real(folder)
    return folder.parent / f".{folder.name}.lock"


@contextlib.contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Inside, no other process writes `folder`, which need not be there; it may be nested.

    `patience`: seconds to wait for another process.

    Raises:
      InputError: another process writes it.
    """
    path = _lock_file(folder)
    if sys.platform == "win32" or path in _held:
        _held[path] = _held.get(path, 0) + 1
        try:
            yield
        finally:
            _held[path] -= 1
            if not _held[path]:
                del _held[path]
        return
    missing = [parent for parent in path.parents if not parent.exists()]
    file = _taken(folder, path, patience)
    _held[path] = 1
    try:
        yield
    finally:
        del _held[path]
        # While it is held: who waits for this file sees that it is another than the one there.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)
        for parent in missing:
            # Nothing was written: a call that was refused leaves no folders.
            with contextlib.suppress(OSError):
                parent.rmdir()


def _taken(folder: Path, path: Path, patience: float) -> int:
    """The open lock file, locked."""
    last = time.monotonic() + patience
    while True:
        with naming(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # a call that was refused has just taken the empty folder away
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = _noted(file)
            os.close(file)
            if time.monotonic() < last:
                time.sleep(0.02)
                continue
            raise InputError(
                f"{folder} is being written by process {writer or '(not known yet)'}; wait for it"
            ) from None
        except OSError as error:
            if error.errno not in _NOT_HERE:
                os.close(file)
                raise
        if _is_at(file, path):
            # On a full disk it is not said who holds the lock; held it is all the same.
            with contextlib.suppress(OSError):
                os.ftruncate(file, 0)
                os.pwrite(file, str(os.getpid()).encode(), 0)
            return file
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`: its last holder takes it away."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (os.fstat(file).st_dev, os.fstat(file).st_ino)


def holder(folder: Path) -> int | None:
    """The other process that writes `folder`, maybe of another machine; None where none does."""
    path = _lock_file(folder)
    if sys.platform == "win32" or path in _held:
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _noted(file)
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def _noted(file: int) -> int:
    """The process that stands in an open lock file; 0 in the moment before it does."""
    said = os.pread(file, 32, 0)
    return int(said) if said.isdigit() else 0
