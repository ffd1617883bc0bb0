"""`finetune.class_weights` as it is written: a word, or a weight for each class."""

import csv
import math

from jaxattn.errors import InputError, did_you_mean

WORDS = ("none", "balanced")

_ALLOWED = (
    f"allowed: {', '.join(WORDS)}, or weights above 0 of classes as 'spam=5,ham=1' (a name that "
    "holds a comma in double quotes)"
)


def own_weights(text: str) -> dict[str, float] | None:
    """Class -> weight of a text such as 'spam=5,ham=1'; None for one of `WORDS`.

    Raises:
      InputError: it is neither; says what is allowed.
    """
    if text in WORDS:
        return None
    found = f"finetune.class_weights: found {text[:80]!r}"
    if "=" not in text:
        raise InputError(f"{found}; {_ALLOWED}{did_you_mean(text, WORDS)}")
    weights: dict[str, float] = {}
    # "a, b"=1 is one name to a reader of CSV if the quote stands first.
    for entry in next(csv.reader([text], skipinitialspace=True)):
        name, _, value = (part.strip() for part in entry.rpartition("="))
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if not name or not 0 < weight < math.inf:
            raise InputError(f"{found}, in which {entry[:40]!r} is no weight; {_ALLOWED}")
        if name in weights:
            raise InputError(f"{found}, in which class {name[:40]!r} has two weights; {_ALLOWED}")
        weights[name] = weight
    return weights
