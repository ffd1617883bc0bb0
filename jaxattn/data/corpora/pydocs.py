"""The built-in corpus: docstrings of installed packages, to be told apart by package.

It needs no download, so that every example and test of the whole program runs offline. Nothing is
imported: the sources are parsed. Its texts follow the installed versions, so figures compare only
within one environment.
"""

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora.installed import SPLITS, documents, parsed, sources_of, split_of
from jaxattn.data.read.rows import Rows, read_rows
from jaxattn.data.read.tables import table_of_texts
from jaxattn.data.told import logger
from jaxattn.errors import InputError

PACKAGES = (
    "datasets", "flax", "huggingface_hub", "jax", "numpy", "optax", "orbax", "pandas", "scipy",
    "sklearn", "wandb",
)  # fmt: skip

_MIN_WORDS = 30

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


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
    documented = documents(
        sources_of(packages, search_path),
        _docstrings,
        cache=cache,
        name="pydocs",
        recipe=_MIN_WORDS,
    )
    splits: dict[str, list[tuple[str, int, str, str]]] = {name: [] for name in SPLITS}
    seen: set[str] = set()
    found: set[str] = set()
    for package, path, line, text in documented:
        if text not in seen:
            seen.add(text)
            found.add(package)
            splits[split_of(path)].append((f"{package}/{path} line", line, text, package))
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


def _docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the module's, classes' and functions' docstrings, by line."""
    source = file.read_bytes()
    # Parsing takes most of the time, and many files have no docstring at all.
    if b'"""' not in source and b"'''" not in source:
        return
    tree = parsed(source)
    if tree is None:
        return
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
