"""What a run would read: splits, classes, lengths, duplicates."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from jaxattn.config import Config, flatten, to_plain
from jaxattn.data.corpora.class_checks import SPLITS, class_counts, class_warnings, order_warnings
from jaxattn.data.corpora.splits import LabelledCorpus, load_labelled, load_texts
from jaxattn.data.survey import Lengths, contradictions, duplicates, markup, measure_lengths
from jaxattn.data.tokens.encode import UNKNOWN_LIMIT, unknown_advice
from jaxattn.errors import InputError
from jaxattn.plan.batches import BatchShown, batches_of_pieces, batches_of_texts
from jaxattn.plan.workload import spread
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.vocabulary import (
    known_tokenizer,
    make_tokenizer,
    source_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY_CHARACTERS = 8_000_000
"""A vocabulary is made from so much text, about, which takes seconds; a run's is from all of it."""

LENGTH_CHARACTERS = 10_000_000
"""So much text of a split is tokenised, about, and at most `plan.sample_texts` texts."""

MLM_TEXTS = 200
"""Texts of which batches of pieces are shown."""

TRUNCATION_LIMIT = 0.2

MARKUP_LIMIT = 0.01


class SplitRow(TypedDict):
    """A split: its texts, those whose lengths were taken, and the figures of these lengths."""

    texts: int
    sampled: int
    lengths: dict[str, Any]


ClassRow = TypedDict("ClassRow", {"class": str, "train": int, "validation": int, "test": int})
"""Texts of one class in each split."""


class Survey(TypedDict):
    """What report.json holds; `duplicates` are those of `data.survey.duplicates`."""

    name: str
    options: dict[str, Any]
    tokenizer: str
    vocabulary: int
    max_length: int
    splits: dict[str, SplitRow]
    classes: list[ClassRow]
    duplicates: list[dict[str, Any]]
    contradictions: int | None
    batches: list[BatchShown]
    batches_of_sample: bool
    warnings: list[str]


def survey(folder: RunFolder, config: Config, pretrain: str) -> Survey:
    """Reads the data and tells what they are like.

    Raises:
      InputError: neither labelled texts nor texts for the MLM can be read.
    """
    labelled, splits, problems = _splits(config)
    first = next(iter(splits))
    tokenizer, origin = _tokenizer(folder, config, pretrain, splits[first])
    counts = {
        name: min(_count(texts, LENGTH_CHARACTERS), config.plan.sample_texts)
        for name, texts in splits.items()
    }
    samples = {name: spread(texts, counts[name]) for name, texts in splits.items()}
    lengths = {name: measure_lengths(tokenizer, texts) for name, texts in samples.items()}
    if labelled is None:
        batches = batches_of_pieces(tokenizer, config, spread(samples[first], MLM_TEXTS))
    else:
        labels = spread(labelled.train.labels.tolist(), counts[first])
        batches = batches_of_texts(
            tokenizer, config, samples[first], lengths[first].tokens, labels, labelled.label_names
        )
    report: Survey = {
        "name": config.data.name,
        "options": flatten(to_plain(config.data)),
        "tokenizer": origin,
        "vocabulary": tokenizer.get_vocab_size(),
        "max_length": config.data.max_length,
        "splits": {
            name: {
                "texts": len(texts),
                "sampled": len(samples[name]),
                "lengths": _summary(lengths[name], name, config),
            }
            for name, texts in splits.items()
        },
        "classes": [] if labelled is None else _classes(labelled),
        "duplicates": duplicates(_apart(splits)),
        "contradictions": (
            None
            if labelled is None
            else contradictions(labelled.train.texts, labelled.train.labels)
        ),
        "batches": batches,
        "batches_of_sample": labelled is None or len(samples[first]) < len(splits[first]),
        "warnings": problems,
    }
    advice = unknown_advice(
        config.tokenizer, tokenizer.get_vocab_size(), inherited=pretrain not in ("", SCRATCH)
    )
    found = _warnings(report, advice) + _markup_warnings(samples[first], first)
    report["warnings"] = problems + found
    if labelled is not None:
        report["warnings"] += [*class_warnings(labelled), *order_warnings(labelled.train)]
    return report


def _splits(config: Config) -> tuple[LabelledCorpus | None, dict[str, Sequence[str]], list[str]]:
    """The labelled corpus if there is one, name -> texts of every split, and what went wrong.

    Texts for the MLM are shown where they are not just those of the training split.
    """
    problems: list[str] = []
    splits: dict[str, Sequence[str]] = {}
    labelled = None
    try:
        labelled = load_labelled(config.data)
        splits |= {name: getattr(labelled, name).texts for name in SPLITS}
    except InputError as error:
        problems.append(str(error))
    if labelled and not set(config.data.mlm_splits) - {"train", config.data.train_split}:
        return labelled, splits, []
    try:
        texts = load_texts(config.data)
        splits |= {"MLM train": texts.train, "MLM validation": texts.validation}
    except InputError as error:
        if labelled is None:
            # Without texts either, it is not for want of labels.
            raise InputError(problems[0]) from error
        return labelled, splits, [f"not for the MLM: {error}"]
    return labelled, splits, [f"not for classification: {problem}" for problem in problems]


def _apart(splits: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The splits of one task: those of classification where there are any."""
    names = [name for name in splits if not name.startswith("MLM")] or list(splits)
    return {name: splits[name] for name in names}


def _tokenizer(
    folder: RunFolder, config: Config, pretrain: str, texts: Sequence[str]
) -> tuple["Tokenizer", str]:
    """The tokenizer of the run, and where it is from."""
    if pretrain and pretrain != SCRATCH:
        return source_tokenizer(config, folder.runs, pretrain), f"of {pretrain}"
    known = known_tokenizer(folder, config, folder.runs)
    if known is not None:
        saved = str(folder.tokenizer_path) if folder.tokenizer_path.exists() else ""
        return known, saved or config.tokenizer.path or "bytes"
    sample = spread(texts, _count(texts, VOCABULARY_CHARACTERS))
    return make_tokenizer(folder, config, sample), f"made from {len(sample):,} texts"


def _classes(labelled: LabelledCorpus) -> list[ClassRow]:
    """Texts of each class in each split."""
    counts = class_counts(labelled).tolist()
    return [
        {"class": name, "train": train, "validation": validation, "test": test}
        for name, (train, validation, test) in zip(labelled.label_names, counts, strict=True)
    ]


def _summary(lengths: Lengths, split: str, config: Config) -> dict[str, Any]:
    """Figures of a split; the MLM reads long texts in pieces and cuts nothing."""
    summary = lengths.summary(config.data.max_length)
    if split.startswith("MLM"):
        summary |= {"truncated_share": None, "lost_token_share": None}
    return summary


def _count(texts: Sequence[str], characters: int) -> int:
    """So many texts hold about so many characters, judged by some of them."""
    some = spread(texts, 200)
    return max(1, round(characters / max(1.0, sum(map(len, some)) / len(some))))


def _markup_warnings(texts: Sequence[str], split: str) -> list[str]:
    share, example = markup(texts)
    if share <= MARKUP_LIMIT:
        return []
    # What lost its ampersand is no entity to a browser.
    mend = "" if example.startswith("#") else "; data.clean=html takes it out"
    return [f"{share:.0%} of the {split} texts hold mark-up, as {example!r}{mend}"]


def _warnings(report: Survey, advice: str) -> list[str]:
    """What to look at before such a run; `advice`: what can be done where much is unknown."""
    warnings = []
    # What was held out shares with the test split what the whole split shared with it.
    pooled = [row["where"] for row in report["duplicates"] if " + " in row["where"]]
    parts = {f"{name} / test" for name in ("train", "validation")} if pooled else set()
    for row in report["duplicates"]:
        if row["where"] in parts:
            continue
        more = f" ({row['normalised']:,} but for case and blanks)"
        if row["where"].startswith("within"):
            if row["exact"]:
                warnings.append(f"{row['exact']:,} texts {row['where']} repeat another one{more}")
        elif row["normalised"]:
            warnings.append(f"{row['exact']:,} texts are on both sides of {row['where']}{more}")
    if report["contradictions"]:
        warnings.append(f"{report['contradictions']:,} training texts occur with several labels")
    for name, split in report["splits"].items():
        lengths = split["lengths"]
        if (lengths["truncated_share"] or 0) > TRUNCATION_LIMIT:
            warnings.append(
                f"{lengths['truncated_share']:.0%} of the {name} texts are cut at "
                f"{report['max_length']:,} tokens, {lengths['lost_token_share']:.0%} of all tokens"
            )
        if lengths["unknown_share"] > UNKNOWN_LIMIT:
            unknown = f"{lengths['unknown_share']:.1%} of the {name} tokens are [UNK]"
            warnings.append(unknown if advice in " ".join(warnings) else f"{unknown}: {advice}")
    return warnings
