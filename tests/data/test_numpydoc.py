"""Sentences of docstrings in numpydoc's layout, on made-up ones."""

import pytest

from jaxattn.data.corpora.numpydoc import has_sections, sentences

DOC = """sum_of(x, /) -> float

    Add up all the values of an array.

    Values that are missing count as nothing, see :func:`other <pkg.other>` for
    more of it. By default, e.g. for ``None``, *every* axis is added up!

    Parameters
    ----------
    x : array_like, shape (n,)
        The values that are to be added up [1]_.
        extra : int
        - If None, there is no limit to how many.
        - Short item.

        .. versionadded:: 1.2
           This was not there in earlier versions of it.

    Returns
    -------
    total : float
        The sum of all the values, as a float.

    Raises
    ------
    ValueError
        If one of the values is not a number.

    See Also
    --------
    other : This does the same thing for integers only.

    Notes
    -----
    The values are added up in pairs, so that::

        this literal block is not read at all

    the error grows slowly with their number. Two times * three is
    left as `~numpy.pi` says in ``a * b``.

    ==== =============================
    name what it is in this small table
    ==== =============================

    References
    ----------
    .. [1] A book that nobody has ever read twice.

    Examples
    --------
    We add up three values of one array:

    >>> sum_of([1, 2, 3])  # the sum of three small numbers
    6
"""


def test_each_section_and_nothing_that_gives_it_away() -> None:
    assert list(sentences(DOC)) == [
        ("summary", "Add up all the values of an array"),
        ("extended", "Values that are missing count as nothing, see other for more of it"),
        ("extended", "By default, e.g. for None, every axis is added up"),
        ("parameters", "The values that are to be added up"),
        ("parameters", "If None, there is no limit to how many"),
        ("returns", "The sum of all the values, as a float"),
        ("raises", "If one of the values is not a number"),
        ("notes", "The values are added up in pairs, so that"),
        ("notes", "the error grows slowly with their number"),
        ("notes", "Two times * three is left as numpy.pi says in a * b"),
        ("examples", "We add up three values of one array"),
    ]


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("Only five words stand here", False),
        ("Here there are exactly six words", True),
        (" ".join(["word"] * 60), True),
        (" ".join(["word"] * 61), False),
        ("x1 = y2 + z3 holds here and now", False),
        ("Here %(name)s is put in by a program", False),
    ],
)
def test_which_sentences_count(sentence: str, kept: bool) -> None:
    assert list(sentences(f"{sentence}.")) == ([("summary", sentence)] if kept else [])


def test_what_has_sections() -> None:
    assert has_sections(DOC)
    assert has_sections("A.\n\nNotes\n=====\nB.")
    assert not has_sections("A.\n\nNotes\nB.\n")
    assert not has_sections("A.\n\nSee Also\n--------\nB.")
    assert list(sentences("")) == []
