"""The one exception that means "the user can mend this", and the hint that helps to."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, told in one sentence: what was found, where, and what is allowed.

    The command line prints the sentence and exits with code 2; no traceback is shown.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'' or "; did you mean 'x'?" for a misspelt `name`."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
