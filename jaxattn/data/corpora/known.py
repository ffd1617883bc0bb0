"""The corpora known by name: where they are, what they are called inside, how they are prepared.

`data.name = imdb` fills in the options of `DataConfig` that are left at their defaults; what a
file sets to something else, or a flag names, stays. What was filled in is part of the resolved
configuration, so that a saved run says it all. Files (`data.path`) are expected to have the columns
`text` and `label`; what a corpus is called on the hub counts only where it is read from there.

The hub could not be reached where this was written: ids and columns are from its documentation.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jaxattn.config import Config, DataConfig, replace

# Branch into which the hub converts a data set that is defined by a program; programs are not run.
_CONVERTED = "refs/convert/parquet"


@dataclasses.dataclass(frozen=True)
class KnownCorpus:
    """A published corpus.

    Attributes:
        notes: what it is, and what its preparation leaves to say.
        options: options of `DataConfig`, wherever it is read from.
        hub: further options where it is read from the hub; empty if it is not there.
        columns: label column -> further options where it is called so.
    """

    notes: str
    options: Mapping[str, Any]
    hub: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


CORPORA: dict[str, KnownCorpus] = {
    "imdb": KnownCorpus(
        "Maas et al. 2011: 25,000 / 25,000 reviews, 50,000 without labels; 123 texts are in both "
        "splits. <br /> is a line break",
        {"label_names": ("neg", "pos"), "clean": "breaks", "max_length": 512},
        {"hub": "stanfordnlp/imdb"},
    ),
    "lra_text": KnownCorpus(
        "IMDB as Long Range Arena reads it: the same reviews, nothing taken out, byte by byte",
        {"label_names": ("neg", "pos"), "max_length": 4002},
        {"hub": "stanfordnlp/imdb"},
    ),
    "agnews": KnownCorpus(
        "Zhang et al. 2015: 120,000 / 7,600 titles with descriptions, which the hub "
        "has in one text; for CSV files with both give text_column=Title+Description and "
        "label_column=Class Index, whose classes are numbered from 1",
        {"label_names": ("World", "Sports", "Business", "Sci/Tech"), "max_length": 512},
        {"hub": "fancyzhx/ag_news"},
        {"Class Index": {"first_label": 1}},
    ),
    "hyperpartisan": KnownCorpus(
        "SemEval-2019 task 4, by article: 645 articles, no published split (Longformer cut its "
        "own), so 80 / 10 / 10 % by data.split_seed; HTML is taken out, the title is not read",
        {"label_names": ("mainstream", "hyperpartisan"), "clean": "html", "max_length": 4096,
         "validation_fraction": 1 / 9},
        {"hub": "SemEvalWorkshop/hyperpartisan_news_detection", "hub_config": "byarticle",
         "hub_revision": _CONVERTED, "label_column": "hyperpartisan",
         "label_names": ("False", "True")},
    ),
    "hyperpartisan_bypublisher": KnownCorpus(
        "SemEval-2019 task 4, by publisher: 600,000 / 150,000 articles labelled by their "
        "publisher; publishers (hosts of the addresses) are held out whole, HTML is taken out",
        {"label_names": ("mainstream", "hyperpartisan"), "clean": "html", "max_length": 4096,
         "group_column": "url"},
        {"hub": "SemEvalWorkshop/hyperpartisan_news_detection", "hub_config": "bypublisher",
         "hub_revision": _CONVERTED, "label_column": "hyperpartisan",
         "label_names": ("False", "True")},
    ),
    "arxiv": KnownCorpus(
        "He et al. 2019: 28,388 / 2,500 / 2,500 papers of 11 classes, without references (no_ref: "
        "labels do not stand in the text); the names of the classes are the hub's",
        {"max_length": 8192},
        {"hub": "ccdv/arxiv-classification", "hub_config": "no_ref", "hub_revision": _CONVERTED},
    ),
    "sst5": KnownCorpus(
        "Socher et al. 2013, whole sentences: 8,544 / 1,101 / 2,210",
        {"label_names": ("very negative", "negative", "neutral", "positive", "very positive"),
         "max_length": 128, "file_part": "sst"},
        {"hub": "SetFit/sst5"},
    ),
    "cfimdb": KnownCorpus(
        "The minBERT assignment's part of Kaushik et al. 2020: 1,707 / 245 / 488 rewritten "
        "reviews. The assignment's own test labels are all 0, and the originals of its texts are "
        "in IMDB's training split with the opposite label: never fine-tune on IMDB first",
        {"label_names": ("negative", "positive"), "max_length": 512, "file_part": "cfimdb"},
    ),
    "wiki": KnownCorpus(
        "English Wikipedia for the MLM; from the hub, of all articles those with one of six "
        "words in their beginning",
        {"max_length": 512, "label_column": ""},
        {"hub": "wikimedia/wikipedia", "hub_config": "20231101.en",
         "keywords": ("film", "sport", "business", "science", "technology", "news")},
    ),
    "novels": KnownCorpus(
        "our cut of 100 English novels: author of a 3,000-word passage, 33 classes; whole novels "
        "are held out, of authors with two",
        {"group_column": "novel", "max_length": 4096, "label_names": (
            "Barclay", "Bennet", "Blackmore", "Braddon", "Burnett", "Cbronte", "Chesterton",
            "Conrad", "Corelli", "Dickens", "Doyle", "Eliot", "Ford", "Forster", "Galsworthy",
            "Gaskell", "Gissing", "Haggard", "Hardy", "James", "Kipling", "Lawrence", "Lee",
            "Lytton", "Meredith", "Morris", "Schreiner", "Stevenson", "Thackeray", "Trollope",
            "Ward", "Wcollins", "Woolf")},
    ),
    "pyroles": KnownCorpus(
        "built in: sentences of the docstrings of NumPy, SciPy and scikit-learn as they are "
        "installed, by the section they stand in; 5 classes, docs/data.md",
        {"max_length": 64},
    ),
    "neurips_topics": KnownCorpus(
        "our labels of NeurIPS 2025 papers from their keywords, 8 classes",
        {"label_names":
            ("llm", "rl", "generative", "vision", "theory", "graph", "trust", "science"),
         "max_length": 8192},
    ),
}  # fmt: skip
"""Name -> corpus."""


def filled_in(config: Config, given: Collection[str]) -> Config:
    """`config` with the options that `data.name` stands for.

    `data.max_length` is never made longer than `model.max_seq_len`, and is left alone where
    `data.length_buckets` are set.

    Args:
        config: of the run.
        given: options that are not to be touched ("data.max_length"), beside those that differ
            from their defaults.
    """
    corpus = CORPORA.get(config.data.name)
    if corpus is None:
        return config
    default = DataConfig()
    wanted = dict(corpus.options)
    if not config.data.path and config.data.hub in ("", corpus.hub.get("hub")):
        wanted |= corpus.hub
    wanted |= corpus.columns.get(config.data.label_column, {})
    if config.data.length_buckets:
        wanted.pop("max_length", None)
    if "max_length" in wanted:
        wanted["max_length"] = min(wanted["max_length"], config.model.max_seq_len)
    changes = {
        f"data.{name}": value
        for name, value in wanted.items()
        if getattr(config.data, name) == getattr(default, name) and f"data.{name}" not in given
    }
    return replace(config, changes)
