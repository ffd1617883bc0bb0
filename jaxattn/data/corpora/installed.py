"""Source files of installed packages, found and parsed without importing anything."""

import ast
import gc
import hashlib
import importlib.machinery
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jaxattn.files import warn_nothing_kept, write_text

SPLITS = ("train", "validation", "test")

Source = tuple[str, str, Path]
"""Package, path inside it, file."""

Document = tuple[str, str, int, str]
"""Package, path inside it, line, text."""


def sources_of(packages: Sequence[str], search_path: Sequence[str] | None = None) -> list[Source]:
    """The packages' Python files by package and path inside it ("numpy/__init__.py" of jax).

    Args:
        packages: top-level names; one that is not installed has no files.
        search_path: folders to look in; None: where Python looks for imports.
    """
    return [
        (package, path, file)
        for package in sorted(packages)
        for path, file in _files(package, search_path)
    ]


def split_of(path: str) -> str:
    """The split of a file by its path inside its package: 80 / 10 / 10 %, the same everywhere."""
    share = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    return SPLITS[0 if share < 0.8 else 1 if share < 0.9 else 2]


def documents(
    sources: Sequence[Source],
    read: Callable[[Path], Iterator[tuple[int, str]]],
    *,
    cache: Path | None,
    name: str,
    recipe: object,
) -> list[Document]:
    """What `read` finds in each file; parsing 90 MB of Python takes 15 s, so it is kept.

    Args:
        sources: files, in the order of the result.
        read: file -> (line, text).
        cache: folder to keep the result in until a file changes; None: it is not kept.
        name: of what is kept.
        recipe: what `read` depends on beside the files; another one, and all is read again.
    """
    if cache is None:
        return _read_all(sources, read)
    stamp = hashlib.sha256(repr((recipe, sys.version_info[:2])).encode())
    for package, path, file in sources:
        state = file.stat()
        stamp.update(repr((package, path, state.st_size, state.st_mtime_ns)).encode())
    kept = cache / f"{name}-{stamp.hexdigest()[:16]}.json"
    try:
        return [(str(a), str(b), int(c), str(d)) for a, b, c, d in json.loads(kept.read_bytes())]
    except (OSError, ValueError, TypeError):
        found = _read_all(sources, read)
    # A home that cannot be written to costs time on every start, nothing else.
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(found))
    except OSError as error:
        warn_nothing_kept(cache, error)
    return found


def parsed(source: bytes) -> ast.Module | None:
    """The syntax tree of a file; None for templates and files for other versions of Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _read_all(
    sources: Sequence[Source], read: Callable[[Path], Iterator[tuple[int, str]]]
) -> list[Document]:
    # Syntax trees are millions of objects without cycles: collecting them takes a quarter of the
    # time and frees nothing.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return [
            (package, path, line, text)
            for package, path, file in sources
            for line, text in read(file)
        ]
    finally:
        if was_enabled:
            gc.enable()


def _files(package: str, search_path: Sequence[str] | None) -> list[tuple[str, Path]]:
    # PathFinder only looks: unlike an import, finding a top-level name runs no code of it. It also
    # knows namespace packages such as orbax, which may lie in several folders.
    spec = importlib.machinery.PathFinder.find_spec(
        package, None if search_path is None else list(search_path)
    )
    found: dict[str, Path] = {}
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in Path(folder).rglob("*.py"):
            found.setdefault(file.relative_to(folder).as_posix(), file)
    return sorted(found.items())
