"""The built-in corpus: docstrings of installed packages, to be told apart by package.

It needs no download, so that every example and test of the whole program runs offline. Nothing is
imported: the sources are parsed. Its texts follow the installed versions, so figures compare only
within one environment.
"""

import ast
import contextlib
import gc
import hashlib
import importlib.machinery
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.read.rows import Rows, logger, read_rows
from jaxattn.data.read.tables import table_of_texts
from jaxattn.errors import InputError
from jaxattn.files import write_text

PACKAGES = (
    "datasets", "flax", "huggingface_hub", "jax", "numpy", "optax", "orbax", "pandas", "scipy",
    "sklearn", "wandb",
)  # fmt: skip

SPLITS = ("train", "validation", "test")

_MIN_WORDS = 30

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

_Source = tuple[str, str, Path]  # package, path inside it, file

_Found = tuple[str, str, int, str]  # package, path inside it, line, docstring


def read_pydocs(
    packages: Sequence[str] = PACKAGES,
    search_path: Sequence[str] | None = None,
    cache: Path | None = None,
) -> dict[str, Rows]:
    """The docstrings of at least 30 words, labelled with their package, as three splits.

    A source file is in one split, chosen by its path inside the package (80 / 10 / 10 %). Of
    exact copies the first one stays, in the order of package, path and line.

    Args:
        packages: top-level names.
        search_path: folders to look in; None: where Python looks for imports.
        cache: folder to keep the docstrings in until a source file changes; None: none is kept.

    Raises:
        InputError: fewer than two of the packages are installed.
    """
    sources = [
        (package, path, file)
        for package in sorted(packages)
        for path, file in _sources(package, search_path)
    ]
    splits: dict[str, list[tuple[str, int, str, str]]] = {name: [] for name in SPLITS}
    seen: set[str] = set()
    found: set[str] = set()
    for package, path, line, text in _cached(sources, cache):
        if text not in seen:
            seen.add(text)
            found.add(package)
            splits[_split_of(path)].append((f"{package}/{path} line", line, text, package))
    if len(found) < 2:
        raise InputError(
            f"data.name: pydocs needs two or more of these packages: {', '.join(sorted(packages))}"
        )
    missing = sorted(set(packages) - found)
    if missing:
        logger.warning("pydocs: no docstrings of %s (not installed)", ", ".join(missing))
    return {
        name: read_rows(table_of_texts(f"pydocs {name}", rows), DataConfig())
        for name, rows in splits.items()
    }


def _cached(sources: list[_Source], cache: Path | None) -> list[_Found]:
    """All docstrings of these files; parsing 90 MB of Python takes 15 s, so they are kept."""
    if cache is None:
        return _all_docstrings(sources)
    stamp = hashlib.sha256(repr((_MIN_WORDS, sys.version_info[:2])).encode())
    for package, path, file in sources:
        state = file.stat()
        stamp.update(repr((package, path, state.st_size, state.st_mtime_ns)).encode())
    kept = cache / f"pydocs-{stamp.hexdigest()[:16]}.json"
    try:
        return [(str(a), str(b), int(c), str(d)) for a, b, c, d in json.loads(kept.read_bytes())]
    except (OSError, ValueError, TypeError):
        found = _all_docstrings(sources)
    # A home that cannot be written to costs time on every start, nothing else.
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(found))
    return found


def _all_docstrings(sources: list[_Source]) -> list[_Found]:
    # Syntax trees are millions of objects without cycles: collecting them takes a quarter of the
    # time and frees nothing.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return [
            (package, path, line, text)
            for package, path, file in sources
            for line, text in _docstrings(file)
        ]
    finally:
        if was_enabled:
            gc.enable()


def _sources(package: str, search_path: Sequence[str] | None) -> list[tuple[str, Path]]:
    """The package's files after their paths inside it ("numpy/__init__.py" of jax), sorted."""
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


def _split_of(path: str) -> str:
    share = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    return SPLITS[0 if share < 0.8 else 1 if share < 0.9 else 2]


def _docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the module's, classes' and functions' docstrings, by line."""
    source = file.read_bytes()
    # Parsing takes most of the time, and many files have no docstring at all.
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return  # templates and files for other versions of Python
    found = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DOCUMENTED) and node.body:
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                found.append((node.body[0].lineno, inspect.cleandoc(text)))
        # Only statements hold definitions; walking expressions too would double the time.
        for block in _BLOCKS:
            waiting += getattr(node, block, ())
    yield from sorted(row for row in found if len(row[1].split()) >= _MIN_WORDS)
