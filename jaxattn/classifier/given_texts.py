"""The texts that Python code hands to a classifier: any sequence of strings, in chunks."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxattn.classifier.classifier import CHUNK
from jaxattn.errors import InputError, listed, quoted


def chunks(texts: Iterable[str], column: str) -> Iterator[list[str]]:
    """The texts, some at a time; `column`: what the column of texts was called in training.

    Lists, generators, arrays, and single columns of pandas, polars and pyarrow give their texts.

    Raises:
      InputError: a single text, a whole table, a set, or, when it comes to that, something that is
        no string.
    """
    names = _columns(texts)
    if names is not None:
        raise InputError(
            f"texts: found a {type(texts).__name__} with the columns "
            f"{listed([quoted(name) for name in names], 8) or '(none)'}, expected the texts of "
            f"one: {_one_of(names, column)}"
        )
    if isinstance(texts, set | frozenset):
        raise InputError(
            f"texts: found a {type(texts).__name__}, which has no order that the result could "
            "have; expected a list of texts"
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


def _columns(texts: object) -> list[Any] | None:
    """Names of the columns of a table or dict of columns; None for anything else.

    Tables are known by their attributes: pandas and polars have `columns`, pyarrow and Hugging Face
    data sets `column_names`. None of these libraries is imported.
    """
    if isinstance(texts, Mapping):
        of_columns = texts and not any(isinstance(value, str) for value in texts.values())
        return list(texts) if of_columns else None
    for attribute in ("column_names", "columns"):
        names = getattr(texts, attribute, None)
        if names is not None and not callable(names) and isinstance(names, Iterable):
            return list(names)
    return None


def _one_of(names: list[Any], column: str) -> str:
    """The call that was meant, as far as can be told."""
    parts = column.split("+")
    if all(part in names for part in parts):
        meant = ' + " " + '.join(f"texts[{part!r}]" for part in parts)
        return f"predict({meant})"
    return f"predict(texts[{quoted(names[0])}])" if len(names) == 1 else "predict(texts[<column>])"


def _checked(texts: Iterable[str]) -> Iterator[list[str]]:
    source, start = iter(texts), 0
    while chunk := list(itertools.islice(source, CHUNK)):
        for index, text in enumerate(chunk, start):
            if not isinstance(text, str):
                raise InputError(
                    f"texts[{index}]: found {quoted(text)} ({type(text).__name__}), expected "
                    "a string"
                )
            if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
                raise InputError(f"texts[{index}]: holds half of a surrogate pair")
        # A NumPy array of strings holds a subclass that tokenizers do not take.
        yield [str(text) for text in chunk]
        start += len(chunk)
