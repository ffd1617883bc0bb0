"""The texts that Python code hands to a classifier: any sequence of strings, in chunks."""

import itertools
import reprlib
from collections.abc import Iterable, Iterator, Mapping

from jaxattn.classifier.classifier import CHUNK
from jaxattn.errors import InputError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlist = _SHORT.maxdict = 2
"""How a value is shown that is no text: it may be large."""


def chunks(texts: Iterable[str], column: str) -> Iterator[list[str]]:
    """The texts, some at a time; `column`: what the column of texts was called in training.

    Lists, generators, arrays, and single columns of pandas, polars and pyarrow give their texts.

    Raises:
      InputError: a single text, a whole table, or, when it comes to that, something that is no
        string.
    """
    if names := _columns(texts):
        raise InputError(
            f"texts: found a {type(texts).__name__} with the columns {_listed(names)}, expected "
            f"the texts of one: {_one_of(names, column)}"
        )
    # A column of pyarrow gives scalars of its own.
    if hasattr(texts, "to_pylist"):
        texts = texts.to_pylist()
    one = isinstance(texts, str | bytes | Mapping) or getattr(texts, "ndim", 1) == 0
    if one or not isinstance(texts, Iterable):
        raise InputError(
            f"texts: found one {type(texts).__name__}, expected a list of texts, as in "
            "predict([text])"
        )
    if getattr(texts, "ndim", 1) > 1:
        raise InputError(
            f"texts: found a {type(texts).__name__} of {getattr(texts, 'ndim', 0)} dimensions, "
            "expected one; texts[:, 0] is its first column"
        )
    return _checked(texts)


def _columns(texts: object) -> list[str]:
    """Names of the columns of a table or dict of columns; [] for anything else.

    Tables are known by their attributes: pandas and polars have `columns`, pyarrow and Hugging Face
    data sets `column_names`. None of these libraries is imported.
    """
    if isinstance(texts, Mapping):
        of_columns = not any(isinstance(value, str) for value in texts.values())
        return [str(name) for name in texts] if of_columns else []
    for attribute in ("column_names", "columns"):
        names = getattr(texts, attribute, None)
        if names is not None and not callable(names) and isinstance(names, Iterable):
            return [str(name) for name in names] or ["(none)"]
    return []


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown


def _one_of(names: list[str], column: str) -> str:
    """The call that was meant, as far as can be told."""
    parts = column.split("+")
    if all(part in names for part in parts):
        meant = ' + " " + '.join(f"texts[{part!r}]" for part in parts)
        return f"predict({meant})"
    return f"predict(texts[{names[0][:40]!r}])" if len(names) == 1 else "predict(texts[<column>])"


def _checked(texts: Iterable[str]) -> Iterator[list[str]]:
    source, start = iter(texts), 0
    while chunk := list(itertools.islice(source, CHUNK)):
        for index, text in enumerate(chunk, start):
            if not isinstance(text, str):
                raise InputError(
                    f"texts[{index}]: found {_SHORT.repr(text)} ({type(text).__name__}), expected "
                    "a string"
                )
            if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
                raise InputError(f"texts[{index}]: holds half of a surrogate pair")
        # A NumPy array of strings holds a subclass that tokenizers do not take.
        yield [str(text) for text in chunk]
        start += len(chunk)
