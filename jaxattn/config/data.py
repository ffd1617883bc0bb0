"""Options of the data and of their tokens."""

import codecs
import dataclasses

from jaxattn.config.checked import MAX_SEQ_LEN, Checked, Scope, option
from jaxattn.errors import InputError

_SMALLEST_BUCKET = 32


@dataclasses.dataclass(frozen=True)
class TokenizerConfig(Checked, path="tokenizer."):
    """The vocabulary."""

    kind: str = option(
        "wordpiece",
        "what a token is, unless tokenizer.path says it: a word piece, a byte, or a word between "
        "blanks",
        choices=("wordpiece", "bytes", "words"),
    )
    path: str = option(
        "",
        "an existing tokenizer.json, vocab.txt, or vocab.json beside merges.txt; empty: train one",
        scope=Scope.MACHINE,
    )
    vocab_size: int = option(
        8192, "largest size of a trained vocabulary; bytes are always 261", low=100, high=1_000_000
    )
    lowercase: bool = option(True, "lower-case; bytes stay as they are")
    strip_accents: str = option(
        "auto", "whether word pieces lose accents and vowel signs; auto: where they are lower-case "
        "and no more than 1% of the words of the training texts become equal to others",
        choices=("auto", "true", "false"),
    )  # fmt: skip
    min_frequency: int = option(
        2, "rarest pair that is merged in training, or rarest word that is kept", low=1
    )
    extend: int = option(
        0, "TAPT and fine-tuning: add up to so many tokens, learned on the task's training texts, "
        "to the inherited WordPiece vocabulary; for this stage only, later ones inherit the result",
        low=0, high=100_000, scope=Scope.STAGE,
    )  # fmt: skip
    extra_tokens: str = option(
        "",
        "TAPT and fine-tuning: a file of words and ##subwords to add, one a line",
        scope=Scope.STAGE | Scope.MACHINE,
    )

    def __post_init__(self) -> None:
        """As every section; a YAML file that is edited says true, not 'true'."""
        if isinstance(self.strip_accents, bool):
            object.__setattr__(self, "strip_accents", str(self.strip_accents).lower())
        super().__post_init__()


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked, path="data."):
    """What is read, how it is split, and how it is batched."""

    name: str = option(
        "pydocs",
        "the corpus: pydocs, pyroles or listops (built in), one of "
        "jaxattn/data/corpora/known.py, whose entry then fills in what is left at its default "
        "here, or a name of your own",
    )
    path: str = option(
        "",
        "a file or folder of Parquet, CSV, JSONL or texts; empty: built in, or the hub",
        scope=Scope.MACHINE,
    )
    file_part: str = option(
        "", "read only files with this part in their name (sst: sst_train, sst_dev); empty: all"
    )
    hub: str = option("", "id of a Hugging Face dataset, read when data.path is empty")
    hub_config: str = option("", "configuration name of the hub dataset")
    hub_revision: str = option("", "branch, tag or commit of the hub dataset; empty: the newest")
    streaming: bool = option(
        False,
        "read the hub row by row without a copy on the disk; data.max_examples then takes the "
        "first rows of a split instead of a sample",
    )
    separator: str = option(
        "",
        "between the cells of a CSV or TSV file: comma, tab, semicolon or pipe; empty: found out",
        choices=("", "comma", "tab", "semicolon", "pipe"),
        scope=Scope.COST_FREE,
    )
    quotes: str = option(
        "auto",
        "quote marks in CSV and TSV files are CSV's (csv) or text; auto: CSV's, but with tabs a "
        "line is a row and only a cell that is wholly quoted loses its quotes",
        choices=("auto", "csv", "text"),
        scope=Scope.COST_FREE,
    )
    header: str = option(
        "auto",
        "whether the first line of a CSV or TSV file names its columns; without, they are called "
        "1, 2, ... (label and text where there are two and it is plain which is which)",
        choices=("auto", "yes", "no"),
        scope=Scope.COST_FREE,
    )
    encoding: str = option(
        "",
        "of text files, such as cp1252; empty: UTF-8, or UTF-16 with its mark",
        scope=Scope.COST_FREE,
    )
    text_column: str = option(
        "text", "column of the text; title+description joins two with a blank between them"
    )
    label_column: str = option("label", "column of the label; empty: the texts have none")
    group_column: str = option(
        "",
        "rows with one value in this column stay in one split (a web address counts as its host); "
        "empty: only copies of a text stay together",
    )
    clean: str = option(
        "none",
        "what is taken out of texts: nothing, <br /> (a line break then), or all HTML",
        choices=("none", "breaks", "html"),
    )
    keywords: tuple[str, ...] = option(
        (), "keep only texts with one of these words, whole and in any case; empty: all texts"
    )
    keyword_column: str = option("", "where data.keywords are looked for; empty: in the text")
    keyword_characters: int = option(
        1000, "data.keywords are looked for in so many characters from the beginning", low=1
    )
    label_names: tuple[str, ...] = option((), "class names for integer labels 0, 1, ...")
    first_label: int = option(
        0, "integer label of the first of data.label_names", low=-1, high=1, scope=Scope.COST_FREE
    )
    no_label: tuple[str, ...] = option(
        (),
        "labels that mean that a text has none, such as -1; an empty one always does, and -1 where "
        "labels are numbers of named classes",
        scope=Scope.COST_FREE,
    )
    train_split: str = option("train", "split (or file name prefix) to train on")
    validation_split: str = option(
        "validation", "split to choose by; where it is missing, a share of the training split"
    )
    test_split: str = option("test", "split that is only reported")
    mlm_splits: tuple[str, ...] = option(("train",), "splits whose text pretraining reads")
    validation_fraction: float = option(
        0.1, "share of the training split held out where there is no validation split",
        low=0.001, high=0.5,
    )  # fmt: skip
    split_seed: int = option(
        0, "seed of that hold-out and of the cut into data.folds; the same for every run compared, "
        "but for the repeats of a cross-validation (study.repeats)",
        low=0, high=2**32 - 1, scope=Scope.SEED | Scope.COST_FREE,
    )  # fmt: skip
    folds: int = option(
        0, "cross-validation: into so many parts the labelled training split is cut, one of which "
        "is the test split; 0: no cross-validation", low=0, high=1000,
    )  # fmt: skip
    fold: int = option(
        0, "which of data.folds parts is the test split; --mode=study runs all unless it is given",
        low=0, scope=Scope.SEED,
    )  # fmt: skip
    max_examples: int = option(0, "use only this many examples a split; 0: all", low=0)
    max_length: int = option(
        512, "tokens per example, [CLS] and [SEP] included", low=3, high=MAX_SEQ_LEN
    )
    length_buckets: tuple[int, ...] = option(
        (), "lengths that batches are padded to; empty: powers of two up to data.max_length",
        low=3, high=MAX_SEQ_LEN,
    )  # fmt: skip
    mask_rate: float = option(0.15, "share of tokens the MLM predicts", low=0.01, high=0.9)
    whole_words: bool = option(False, "the MLM hides whole words, not single word pieces")
    packing: bool = option(
        False, "MLM: several texts share a row of data.max_length tokens and do not see each other"
    )
    truncate: str = option(
        "head", "what a classifier reads of a text that is too long: its head, its tail, or both",
        choices=("head", "tail", "head_tail"),
    )  # fmt: skip
    cache: bool = option(True, "keep tokenised texts in the user's cache folder")

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that batches are padded to."""
        if self.length_buckets:
            return self.length_buckets
        doubled = [_SMALLEST_BUCKET]
        while doubled[-1] < self.max_length:
            doubled.append(2 * doubled[-1])
        return (*doubled[:-1], self.max_length)

    def _rules(self) -> None:
        if self.encoding:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise InputError(
                    f"data.encoding: found {self.encoding!r}, allowed: an encoding such as utf-8, "
                    "utf-16, cp1252 or shift_jis"
                ) from None
        if self.folds == 1:
            raise InputError("data.folds: found 1, allowed: 0 (no cross-validation), 2 to 1000")
        if self.fold >= max(self.folds, 1):
            allowed = f"0 to {self.folds - 1}" if self.folds else "0, unless data.folds is given"
            raise InputError(f"data.fold: found {self.fold}, allowed: {allowed}")
        buckets = self.length_buckets
        if buckets and (list(buckets) != sorted(set(buckets)) or buckets[-1] != self.max_length):
            raise InputError(
                f"data.length_buckets: found {list(buckets)}, allowed: increasing lengths of which "
                f"the last is data.max_length = {self.max_length}"
            )
