"""What --data=<file, folder or hub id> stands for: the options of a person's own texts, found out.

The options become flags, as if they had been typed: they are saved with the run, handed on to the
stages of a study, and can be typed the next time.
"""

import dataclasses
import itertools
import re
from collections.abc import Collection
from pathlib import Path

from jaxattn.data.corpora.files import split_files
from jaxattn.data.corpora.guess import Columns, guess_columns, guess_length
from jaxattn.data.corpora.known import CORPORA
from jaxattn.data.read.formats import data_files, open_table
from jaxattn.data.read.text_files import TEXT
from jaxattn.errors import InputError

LOOKED_AT = 2000
"""Rows that are looked at."""

SHORTEST_WITH_LSH = 128
"""Shorter texts fit one or two chunks of LSH, which is exact attention at more cost there."""


@dataclasses.dataclass(frozen=True)
class Own:
    """What was found out.

    Attributes:
      options: dotted name -> value as a flag has it.
      said: what was taken for what, a line each.
    """

    options: dict[str, str]
    said: tuple[str, ...]

    def flags(self, given: Collection[str]) -> list[str]:
        """The options as flags, without those that were given."""
        return [
            f"--config.{name}={value}" for name, value in self.options.items() if name not in given
        ]


def look_at(place: str, given: dict[str, str], *, labelled: bool) -> Own:
    """Looks at the first rows of a file, a folder or a data set of the hub.

    Args:
      place: a path, or the id of a data set.
      given: the options that flags name; what they settle is not guessed.
      labelled: whether labels are needed.

    Raises:
      InputError: nothing is there, or what the columns are is uncertain.
    """
    path = Path(place).expanduser()
    if not path.exists():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", place) and not path.suffix:
            return Own(
                {"data.name": _name(place.split("/")[1]), "data.hub": place},
                (f"the data set {place} of the hub",),
            )
        raise InputError(
            f"--data: there is no file or folder {place}; give one, or the id of a data set of the "
            "Hugging Face hub as owner/name"
        )
    options = {"data.name": _name(path.stem if path.is_file() else path.resolve().name)}
    options["data.path"] = place
    said = []
    file = _training_file(path)
    columns: Columns = {}
    if file is not None:
        table = open_table(file)
        names = list(table.columns)
        rows = list(itertools.islice(table.rows(names), LOOKED_AT))
        columns = {name: [row.cells.get(name) for row in rows] for name in names}
        found = guess_columns(
            columns,
            str(file),
            text=given.get("data.text_column", ""),
            label=given.get("data.label_column"),
            labelled=labelled,
        )
        options |= {"data.text_column": found.text, "data.label_column": found.label}
        said = [f"{file}: {', '.join(found.reasons)}"]
        texts = [text for text in columns.get(found.text, ()) if isinstance(text, str)]
        options["data.max_length"] = str(guess_length(texts))
    length = int(given.get("data.max_length", options.get("data.max_length", "128")))
    if length < SHORTEST_WITH_LSH:
        options["study.attentions"] = "sdpa,performer_favor"
        said.append(f"reformer_lsh is left out: at {length} tokens it is exact attention")
    return Own(options, tuple(said))


def _training_file(path: Path) -> Path | None:
    """The table to look at; None for texts without columns."""
    if path.is_file():
        return None if path.suffix.lower() == TEXT else path
    tables = data_files(path)
    train = split_files(tables, "train", ("all",))
    return train[0] if train else tables[0] if tables else None


def _name(place: str) -> str:
    """A name for the corpus that no known one has: that would bring its classes along."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", place).strip("_-") or "texts"
    known = {*CORPORA, "pydocs", "pyroles", "listops"}
    return f"my_{name}" if name in known else name
