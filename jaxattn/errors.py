"""The one exception that means "the user can mend this", and the hint that helps to."""

import difflib
import itertools
import reprlib
from collections.abc import Collection, Iterable

_LONGEST_SHOWN = 60

_MOST_COMPARED = 1000

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = _LONGEST_SHOWN
_shorten.maxlist = _shorten.maxtuple = _shorten.maxdict = _shorten.maxset = 3
_shorten.maxlevel = 2


class InputError(ValueError):
    """Bad input, told in one sentence: what was found, where, and what is allowed.

    The command line prints the sentence and exits with code 2; no traceback is shown.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'' or "; did you mean 'x'?" for a misspelt `name`."""
    close = difflib.get_close_matches(
        name[:_LONGEST_SHOWN], list(itertools.islice(known, _MOST_COMPARED)), n=1
    )
    return f"; did you mean {quoted(close[0])}?" if close else ""


def quoted(value: object) -> str:
    """A value that was found, as an error shows it: in quotes if it is a text, and never long."""
    shown = _shorten.repr(value)
    return shown if len(shown) <= 2 * _LONGEST_SHOWN else shown[: 2 * _LONGEST_SHOWN] + "..."


def listed(names: Collection[object], most: int = 12) -> str:
    """Names with commas between them; of more than `most` the first ones, and how many more."""
    shown = [str(name) for name in list(names)[:most]]
    shown = [name if len(name) <= _LONGEST_SHOWN else quoted(name) for name in shown]
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(shown) + more
