"""What --data=<file, folder or hub id> stands for: the options of a person's own texts, found out.

The options become flags, as if they had been typed: they are saved with the run, handed on to the
stages of a study, and can be typed the next time.
"""

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxattn.config import DataConfig, LshOptions
from jaxattn.data.corpora.known import CORPORA
from jaxattn.data.corpora.layout import Layout, find_layout
from jaxattn.errors import InputError, listed
from jaxattn.files import expanded, real

ONE_CHUNK = LshOptions().chunk_size
"""In texts of one chunk LSH sees every token, as exact attention does, at more cost."""


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


def look_at(place: str, given: Mapping[str, str], *, labelled: bool) -> Own:
    """Looks at the first rows of a file, a folder or a data set of the hub.

    Args:
      place: a path, or the id of a data set.
      given: option -> value for those that flags name, and "--config" -> file; what they settle
        is not asked.
      labelled: whether labels are needed.

    Raises:
      InputError: nothing is there, flags name other data, or what the columns are is uncertain.
    """
    for option in ("data.path", "data.hub"):
        if given.get(option, place) != place:
            raise InputError(
                f"--data={place} and --config.{option}={given[option]}: give one of them"
            )
    path = expanded(place)
    if not path.exists():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", place) and not path.suffix:
            options = {"data.name": _name(place.split("/")[1]), "data.hub": place}
            return Own(options, (f"{place}: a data set of the Hugging Face hub",))
        raise InputError(
            f"--data: there is no file or folder {place}; give one, or the id of a data set of the "
            "Hugging Face hub as owner/name"
        )
    layout = find_layout(place, _settled(given))
    for option, sentence in layout.uncertain.items():
        if option not in given and (labelled or option != "data.label_column"):
            raise InputError(f"{place}: {sentence}")
    text = given.get("data.text_column", layout.text_column)
    label = given.get("data.label_column", layout.label_column)
    if labelled and not label and "data.label_column" not in given:
        raise InputError(
            f"{place}: no column looks like a label (columns: {listed(layout.columns)}); name it "
            "by --config.data.label_column=<column>, or where there is none by "
            "--config.data.label_column= for what needs no labels (pretrain, data)"
        )
    length = int(given.get("data.max_length", guess_length(layout.texts)))
    options = {
        "data.name": _name(real(path).name if path.is_dir() else path.name.split(".")[0]),
        "data.path": place,
        "data.text_column": text,
        "data.label_column": label,
        "data.max_length": str(length),
    }
    if "--config" in given:
        # Those of the file end with a length of its own.
        options["data.length_buckets"] = ""
    said = _said(layout, text, label, length)
    if length <= ONE_CHUNK:
        options["study.attentions"] = "sdpa,performer_favor"
        said.append(f"reformer_lsh and local are left out: of {length} tokens they see every pair")
    return Own(options, tuple(said))


def guess_length(texts: Sequence[str]) -> int:
    """The power of two that holds nineteen of twenty texts in tokens, from 32 to 1,024.

    A word is taken for 1.4 tokens, a character of a script without spaces for one.
    """
    lengths = sorted(_tokens(text) for text in texts)
    if not lengths:
        return 128
    long = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    return max(32, min(1024, 1 << math.ceil(math.log2(max(long, 1)))))


_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def _tokens(text: str) -> int:
    alone = len(_WITHOUT_SPACES.findall(text))
    return 2 + alone + round(1.4 * len(_WITHOUT_SPACES.sub(" ", text).split()))


def _settled(given: Mapping[str, str]) -> DataConfig:
    """What the flags settle of the data, as texts; lists and numbers say nothing of the layout."""
    fields = {field.name: field.default for field in dataclasses.fields(DataConfig)}
    named: dict[str, Any] = {
        name: value
        for name, value in ((n.removeprefix("data."), v) for n, v in given.items())
        if isinstance(fields.get(name), str)
    }
    return DataConfig(**named)


def _said(layout: Layout, text: str, label: str, length: int) -> list[str]:
    splits = [f"{name}: {listed(files, 3)}" for name, files in layout.splits.items()]
    form = f" ({', '.join(layout.form)})" if layout.form else ""
    said = [f"{layout.path}{form}: {'; '.join(splits)}"]
    if layout.unread:
        said.append(f"not read: {listed(layout.unread, 5)}")
    said.append(f"text: {text}; label: {label or 'none'}; up to {length:,} tokens")
    return said


def _name(place: str) -> str:
    """A name for the corpus that no known one has: that would bring its classes along."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", place).strip("_-")[:40] or "texts"
    known = {*CORPORA, "pydocs", "pyroles", "listops"}
    return f"my_{name}" if name in known else name
