"""The second built-in corpus: which part of a numpydoc docstring a sentence comes from.

Single words say little about it; how a sentence is built says more ("The mean of x" is a result,
"Compute the mean of x" a summary). Like pydocs it is parsed from installed packages, and follows
their versions.
"""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.config import DataConfig
from jaxattn.data.corpora.installed import (
    SPLITS,
    Document,
    documents,
    parsed,
    sources_of,
    split_of,
)
from jaxattn.data.corpora.numpydoc import SECTIONS, has_sections, sentences
from jaxattn.data.read.rows import Rows, read_rows
from jaxattn.data.read.tables import table_of_texts
from jaxattn.errors import InputError

PACKAGES = ("numpy", "scipy", "sklearn")
"""Dependencies of this package, so that they are there, in numpydoc's layout."""

ROLES = {
    "summary": "summary", "extended": "explanation", "notes": "explanation",
    "parameters": "parameters", "returns": "results", "attributes": "results",
    "examples": "examples",
}  # fmt: skip
"""Section -> class; "raises" has too few sentences to be one and is left out."""

LARGEST = {"train": 4000, "validation": 500, "test": 500}
"""Sentences of a class in each split at most; without this every third is of "parameters"."""

UNLABELLED = "unlabelled"
"""A fourth split for the MLM: all sentences of the training files, with and without a class."""

_WINDOW = 5

_Words = tuple[str, ...]

_Found = tuple[str, int, str, str | None, _Words]
"""What is counted, its number, sentence, class, words of the sentence."""


def read_pyroles(
    packages: Sequence[str] = PACKAGES,
    search_path: Sequence[str] | None = None,
    cache: Path | None = None,
) -> dict[str, Rows]:
    """Sentences labelled with their role, as three splits, and `UNLABELLED` ones.

    A source file is in one split, chosen by its path inside the package, as in pydocs. Of
    sentences with the same words (case, numbers and punctuation aside) the first one stays, in the
    order of package, path and line; where they have several roles none does. Validation and test
    sentences that share more than half of their five-word sequences with an earlier split are left
    out: docstrings are written from each other.

    Args:
        packages: top-level names.
        search_path: folders to look in; None: where Python looks for imports.
        cache: folder to keep the docstrings in until a source file changes; None: none is kept.

    Raises:
        InputError: a package is not installed.
    """
    docstrings = documents(
        sources_of(packages, search_path),
        _with_sections,
        cache=cache,
        name="pyroles",
        recipe=tuple(SECTIONS),
    )
    missing = sorted(set(packages) - {package for package, *_ in docstrings})
    if missing:
        raise InputError(
            f"data.name: pyroles is made of the docstrings of {', '.join(sorted(packages))}, and "
            f"found none of {', '.join(missing)}; install what is missing with its sources"
        )
    splits = _splits(docstrings)
    for name, most in LARGEST.items():
        splits[name] = _balanced(splits[name], most)
    return {
        name: read_rows(table_of_texts(f"pyroles {name}", (row[:4] for row in rows)), DataConfig())
        for name, rows in splits.items()
    }


def _with_sections(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of all strings with sections, by line: NumPy documents C functions in such."""
    source = file.read_bytes()
    if b"---" not in source:
        return
    tree = parsed(source)
    waiting: list[ast.AST] = [] if tree is None else [tree]
    found = []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and "---" in node.value and has_sections(node.value):
                found.append((node.lineno, node.value))
        # A formatted string is in pieces.
        elif not isinstance(node, ast.JoinedStr):
            waiting += ast.iter_child_nodes(node)
    yield from sorted(found)


def _splits(docstrings: list[Document]) -> dict[str, list[_Found]]:
    """Each sentence once, in the split of the first file that has it."""
    first: dict[_Words, _Found] = {}
    files: dict[_Words, str] = {}
    ambiguous: set[_Words] = set()
    for package, path, line, text in docstrings:
        for section, sentence in sentences(text):
            role, words = ROLES.get(section), _words(sentence)
            if words not in first:
                first[words] = (f"{package}/{path} line", line, sentence, role, words)
                files[words] = path
            elif first[words][3] != role:
                ambiguous.add(words)
    splits: dict[str, list[_Found]] = {name: [] for name in (*SPLITS, UNLABELLED)}
    for words, row in first.items():
        split = split_of(files[words])
        if split == "train":
            splits[UNLABELLED].append((*row[:3], None, words))
        if row[3] and words not in ambiguous:
            splits[split].append(row)
    seen = {window for row in splits[UNLABELLED] for window in _windows(row[4])}
    for name in SPLITS[1:]:
        splits[name] = [row for row in splits[name] if not _is_like(row[4], seen)]
        seen.update(window for row in splits[name] for window in _windows(row[4]))
    return splits


def _balanced(rows: list[_Found], most: int) -> list[_Found]:
    """At most `most` of each class, chosen by a hash of the sentence, in their order."""
    counts: Counter[str | None] = Counter()
    kept = set()
    for row in sorted(rows, key=lambda row: hashlib.sha256(row[2].encode()).digest()):
        if counts[row[3]] < most:
            counts[row[3]] += 1
            kept.add(row[4])
    return [row for row in rows if row[4] in kept]


def _words(sentence: str) -> _Words:
    return tuple(re.findall(r"[a-z]+", sentence.lower()))


def _windows(words: _Words) -> list[_Words]:
    return [words[i : i + _WINDOW] for i in range(len(words) - _WINDOW + 1)]


def _is_like(words: _Words, seen: set[_Words]) -> bool:
    windows = _windows(words)
    return sum(window in seen for window in windows) > 0.5 * len(windows)
