"""Whether a lower-casing vocabulary may strip accents, as BERT's uncased ones do.

In English nothing is lost: "naïve" and "naive" are one word. In Vietnamese má, mà and ma are three,
and in Hindi, Thai or Japanese the marks are vowels and parts of letters.
"""

import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from jaxattn.data.tokens.tokenise import chunks

MOST_LOST = 0.01
"""Share of the words that may become equal to a more frequent other word."""

MOST_SIGNS = 0.001
"""Share of the letters that may lose a sign that is no accent of Latin, Greek or Cyrillic."""

_NO_SIGNS = (range(0x300, 0x370), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Accents that letters of several scripts bear, and how a character is drawn, an emoji in colour:
Unicode's blocks of combining marks and of variation selectors."""


class Stripping(NamedTuple):
    """What is lost where texts are stripped of accents.

    Attributes:
        lost: share of the words that become equal to another word that is more frequent.
        signs: share of the letters and marks that are signs of a script of their own.
    """

    lost: float
    signs: float

    @property
    def harms(self) -> bool:
        """Whether accents are to be kept."""
        return self.lost > MOST_LOST or self.signs > MOST_SIGNS


def stripping(texts: Sequence[str]) -> Stripping:
    """What stripping accents would lose in these texts; their order does not count.

    Words are what stands between blanks, in lower case, without ASCII punctuation at their ends.
    """
    # Most English texts need no look at their words at all.
    if all(chunk_is_plain(chunk) for chunk in chunks(texts)):
        return Stripping(0.0, 0.0)
    counts: Counter[str] = Counter()
    for chunk in chunks(texts):
        counts.update(" ".join(chunk).lower().split())
    signs = 0
    forms: dict[str, Counter[str]] = {}
    for token, count in counts.items():
        if not token.isascii():
            # One word, however its accents are encoded.
            word = unicodedata.normalize("NFC", token.strip(string.punctuation))
            stripped, own = _stripped(word)
            signs += count * own
            if stripped:
                forms.setdefault(stripped, Counter())[word] += count
    for token, count in counts.items():
        if token.isascii() and (word := token.strip(string.punctuation)) in forms:
            forms[word][word] += count
    lost = sum(sum(form.values()) - max(form.values()) for form in forms.values())
    letters = sum(len(token) * count for token, count in counts.items())
    return Stripping(lost / max(counts.total(), 1), signs / max(letters, 1))


def chunk_is_plain(texts: Sequence[str]) -> bool:
    """Whether all are ASCII."""
    return all(text.isascii() for text in texts)


def _stripped(word: str) -> tuple[str, int]:
    """The word as BERT strips it of marks that take no room, and how many were signs."""
    decomposed = unicodedata.normalize("NFD", word)
    marks = [letter for letter in decomposed if unicodedata.category(letter) == "Mn"]
    bare = "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")
    return bare, sum(not any(ord(mark) in block for block in _NO_SIGNS) for mark in marks)
