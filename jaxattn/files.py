"""Files written whole or not at all, and the JSON and YAML that runs are made of."""

import functools
import glob
import hashlib
import json
import os
import platform
import shutil
import stat
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxattn.disk import naming
from jaxattn.errors import InputError, quoted

LARGEST = 2**26
"""Bytes of a small file that is read whole: results of 3,000 classes have fewer."""

LARGEST_TABLE = 2**28
"""Bytes of a table that is read whole: probabilities of 1,000 classes for 25,000 texts."""

DEEPEST = 100
"""Lists in lists and objects in objects of a file of a run folder."""

_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip

_UNFINISHED: set[Path] = set()
"""What `whole` is writing, to be removed where the process cannot end in order."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file at, or to make a folder at.

    What was written there becomes `path` when the block ends, in one step and safe on disk; when
    the block raises, it is removed and `path` is as it was. A folder has to be new. A link at
    `path` is replaced, not followed: see `given`.
    """
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.tmp")
    _remove_left(temporary)
    _UNFINISHED.add(temporary)
    try:
        with naming(path):
            yield temporary
            if temporary.is_file():
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        # Nobody knows the temporary file.
        if str(error.filename).startswith(str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        _remove(temporary)
        _UNFINISHED.discard(temporary)


@contextmanager
def given(path: Path) -> Iterator[Path]:
    """`whole`, for a path that a person gave and trusts: what a link points to is replaced whole.

    A device or a FIFO is no file to be replaced: the path is that itself, to be written to.
    """
    if path.exists() and not path.is_file():
        with naming(path):
            yield path
        return
    with whole(Path(os.path.realpath(path))) as temporary:
        yield temporary


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary)
    else:
        # On a read-only disk this is an error though nothing is there: the first one counts.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_unfinished() -> None:
    """Removes what is being written, for a process that ends now."""
    for temporary in tuple(_UNFINISHED):
        with suppress(OSError):
            _remove(temporary)


def _remove_left(temporary: Path) -> None:
    """Removes what processes that were killed have left of the same file."""
    before, _, _ = temporary.name.rpartition("-")
    with suppress(OSError):
        for left in temporary.parent.glob(f"{glob.escape(before)}-*.tmp"):
            pid = left.name[len(before) + 1 : -len(".tmp")]
            if pid.isdecimal() and not process_exists(int(pid)):
                _remove(left)


@functools.cache
def _machine() -> str:
    """A name for where numbers of processes are known: this machine, or this container of it."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def process_exists(pid: int) -> bool:
    """Whether a process of this number exists on this host."""
    if os.name == "nt":
        return True  # signal 0 is Ctrl-C there; an unknown process is given the benefit of doubt
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    A name of a file that is no UTF-8 has surrogates, which UTF-8 cannot hold: they are escaped.
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file as `write_text` does."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def require_place(folder: Path, size: int) -> None:
    """Raises InputError where a folder cannot be written to, or has no room for `size` bytes.

    To be asked before the work whose result is to be kept there.
    """
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written to; change its rights, or copy it elsewhere")
    if (free := shutil.disk_usage(folder).free) < size:
        raise InputError(
            f"{folder}: some {size:,} bytes are to be written, and {free:,} are free on its disk; "
            "make room there"
        )


def unfit(path: Path, largest: int | None = None) -> str:
    """Why a file that somebody else may have made is not opened; "" where nothing is against it.

    A FIFO or a device can be read for ever, and a file of more than `largest` bytes takes all
    memory. That it is missing is told by whoever opens it.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        return f"found {kind}, expected a file"
    if largest is not None and found.st_size > largest:
        return f"found {found.st_size:,} bytes, allowed: up to {largest:,}"
    return ""


def read_text(path: Path, largest: int = LARGEST) -> str:
    """The text of a file, line ends as they are; raises InputError naming it when that fails."""
    if why := unfit(path, largest):
        raise InputError(f"{path}: {why}")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start})") from None


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises InputError naming the file when that fails."""
    text = read_text(path)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON ({error})") from None
    level, depth = [tree], 0
    while level := [each for node in level for each in _inside(node)]:
        if (depth := depth + 1) > DEEPEST:
            raise InputError(f"{path}: not readable JSON (more than {DEEPEST} levels deep)")
    return tree


def _inside(node: Any) -> Iterable[Any]:
    """The lists and objects in one."""
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [value for value in values if isinstance(value, dict | list)]


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises InputError naming the file where it holds none."""
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise InputError(f"{path}: found {type(tree).__name__}, expected an object")
    return tree


def entry(tree: Any, name: str, kind: type, path: Path) -> Any:
    """tree[name], which has to be of this type; raises InputError naming file and entry."""
    value = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"{path}: {name}: found {quoted(value)}, expected {kind.__name__}")
    return value


def default_cache(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where caches of this user belong (XDG base directories); None, with a warning, without."""
    try:
        return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxattn"
    except RuntimeError:
        _warn("this user has no home folder")
        return None


def warn_nothing_kept(cache: Path, error: OSError) -> None:
    """Warns that the folder `cache` cannot be used; a reason is told once, as Python's warnings."""
    _warn(f"the cache {cache} cannot be written to ({error.strerror or error})")


def _warn(why: str) -> None:
    warnings.warn(
        f"{why}: later runs will make again what could have been kept; "
        "XDG_CACHE_HOME=<folder> names another folder for it",
        stacklevel=1,
    )


def real(path: Path) -> Path:
    """The absolute path without links; where links go in a circle, as far as that can be told."""
    return Path(os.path.realpath(path))


def expanded(path: str | Path) -> Path:
    """A path whose ~ is a home folder; InputError where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: ~ stands for a home folder that is not known here") from None
