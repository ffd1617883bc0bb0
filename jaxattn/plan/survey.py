"""What a run would read: splits, classes, lengths, duplicates."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxattn.config import Config, flatten, to_plain
from jaxattn.data.batches.order import BatchPlan, singly
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.data.corpora.splits import LabelledCorpus, load_labelled, load_texts
from jaxattn.data.survey import Lengths, contradictions, duplicates, measure_lengths
from jaxattn.data.tokens.encode import UNKNOWN_LIMIT, encode, encode_pieces
from jaxattn.errors import InputError
from jaxattn.plan.workload import spread
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.batches import bucket_plan, mlm_plan
from jaxattn.stages.vocabulary import known_tokenizer, make_tokenizer, source_tokenizer

VOCABULARY_CHARACTERS = 8_000_000
"""A vocabulary is made from so much text, about, which takes seconds; a run's is from all of it."""

LENGTH_CHARACTERS = 10_000_000
"""So much text of a split is tokenised, about, and at most `plan.sample_texts` texts."""

MLM_TEXTS = 200
"""Texts of which batches of pieces are shown."""

TRUNCATION_LIMIT = 0.2

FEW_EXAMPLES = 10


def survey(folder: RunFolder, config: Config, pretrain: str) -> dict[str, Any]:
    """The report, in plain types.

    Raises:
      InputError: neither labelled texts nor texts for the MLM can be read.
    """
    labelled, splits, problems = _splits(config)
    tokenizer, origin = _tokenizer(folder, config, pretrain, next(iter(splits.values())))
    counts = {
        name: min(_count(found, LENGTH_CHARACTERS), config.plan.sample_texts)
        for name, found in splits.items()
    }
    samples = {name: spread(found, counts[name]) for name, found in splits.items()}
    lengths = {name: measure_lengths(tokenizer, found) for name, found in samples.items()}
    first = next(iter(splits))
    report: dict[str, Any] = {
        "name": config.data.name,
        "options": flatten(to_plain(config.data)),
        "tokenizer": origin,
        "vocabulary": tokenizer.get_vocab_size(),
        "max_length": config.data.max_length,
        "splits": {
            name: {"texts": len(found), "sampled": len(samples[name])}
            | {"lengths": _summary(lengths[name], name, config)}
            for name, found in splits.items()
        },
        "classes": _classes(labelled),
        "duplicates": duplicates(_apart(splits)),
        "contradictions": None,
        "batches": [],
        "batches_of_sample": labelled is None or len(samples[first]) < len(splits[first]),
    }
    if labelled is not None:
        report["contradictions"] = contradictions(labelled.train.texts, labelled.train.labels)
        names = [labelled.label_names[number] for number in labelled.train.labels.tolist()]
        labels = spread(names, counts[first])
        report["batches"] = batches_of_texts(
            tokenizer, config, samples[first], lengths[first].tokens, labels
        )
    else:
        some = spread(samples[first], MLM_TEXTS)
        report["batches"] = batches_of_pieces(tokenizer, config, some)
    report["warnings"] = problems + _warnings(report)
    return report


def _splits(config: Config) -> tuple[LabelledCorpus | None, dict[str, Sequence[str]], list[str]]:
    """The labelled corpus if there is one, name -> texts of every split, and what went wrong.

    Texts for the MLM are shown where they are not just those of the training split.
    """
    problems: list[str] = []
    found: dict[str, Sequence[str]] = {}
    labelled = None
    try:
        labelled = load_labelled(config.data)
        found["train"] = labelled.train.texts
        found["validation"] = labelled.validation.texts
        found["test"] = labelled.test.texts
    except InputError as error:
        problems.append(str(error))
    if labelled is not None and not set(config.data.mlm_splits) - {
        "train",
        config.data.train_split,
    }:
        return labelled, found, []
    try:
        texts = load_texts(config.data)
        found["MLM train"], found["MLM validation"] = texts.train, texts.validation
    except InputError as error:
        if labelled is None:
            # Without texts either, it is not for want of labels.
            raise InputError(problems[0]) from error
        return labelled, found, [f"not for the MLM: {error}"]
    return labelled, found, [f"not for classification: {problem}" for problem in problems]


def _apart(splits: dict[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The splits of one task: those of classification where there are any."""
    names = [name for name in splits if not name.startswith("MLM")] or list(splits)
    return {name: splits[name] for name in names}


def _tokenizer(
    folder: RunFolder, config: Config, pretrain: str, texts: Sequence[str]
) -> tuple[Any, str]:
    """The tokenizer of the run, and where it is from."""
    if pretrain and pretrain != SCRATCH:
        return source_tokenizer(config, folder.runs, pretrain), f"of {pretrain}"
    known = known_tokenizer(folder, config, folder.runs)
    if known is not None:
        saved = str(folder.tokenizer_path) if folder.tokenizer_path.exists() else ""
        return known, saved or config.tokenizer.path or "bytes"
    sample = spread(texts, _count(texts, VOCABULARY_CHARACTERS))
    return make_tokenizer(folder, config, sample), f"made from {len(sample):,} texts"


def _classes(labelled: LabelledCorpus | None) -> list[dict[str, Any]]:
    """Texts of each class in each split."""
    if labelled is None:
        return []
    names = labelled.label_names
    counts = {
        split: np.bincount(getattr(labelled, split).labels, minlength=len(names)).tolist()
        for split in ("train", "validation", "test")
    }
    return [
        {"class": name, **{split: found[place] for split, found in counts.items()}}
        for place, name in enumerate(names)
    ]


def _summary(lengths: Lengths, split: str, config: Config) -> dict[str, Any]:
    """Figures of a split; the MLM reads long texts in pieces and cuts nothing."""
    found = lengths.summary(config.data.max_length)
    if split.startswith("MLM"):
        found |= {"truncated_share": None, "lost_token_share": None}
    return found


def _count(texts: Sequence[str], characters: int) -> int:
    """So many texts hold about so many characters, judged by some of them."""
    some = spread(texts, 200)
    return max(1, round(characters / max(1.0, sum(map(len, some)) / len(some))))


def _warnings(report: dict[str, Any]) -> list[str]:
    """What to look at before such a run."""
    found = []
    # What was held out shares with the test split what the whole split shared with it.
    pooled = [row["where"] for row in report["duplicates"] if " + " in row["where"]]
    parts = {f"{name} / test" for name in ("train", "validation")} if pooled else set()
    for row in report["duplicates"]:
        if row["where"] in parts:
            continue
        more = f" ({row['normalised']:,} but for case and blanks)"
        if row["where"].startswith("within"):
            if row["exact"]:
                found.append(f"{row['exact']:,} texts {row['where']} repeat another one{more}")
        elif row["normalised"]:
            found.append(f"{row['exact']:,} texts are on both sides of {row['where']}{more}")
    if report["contradictions"]:
        found.append(f"{report['contradictions']:,} training texts occur with several labels")
    for row in report["classes"]:
        missing = [split for split in ("train", "validation", "test") if not row[split]]
        if missing:
            found.append(f"class {row['class']!r} has no text in {' and '.join(missing)}")
        elif row["train"] < FEW_EXAMPLES:
            found.append(f"class {row['class']!r} has {row['train']} training texts only")
    for name, split in report["splits"].items():
        lengths = split["lengths"]
        if (lengths["truncated_share"] or 0) > TRUNCATION_LIMIT:
            found.append(
                f"{lengths['truncated_share']:.0%} of the {name} texts are cut at "
                f"{report['max_length']:,} tokens, {lengths['lost_token_share']:.0%} of all tokens"
            )
        if lengths["unknown_share"] > UNKNOWN_LIMIT:
            found.append(f"{lengths['unknown_share']:.1%} of the {name} tokens are [UNK]")
    return found


BATCHES = 3

ROWS = 3
"""Batches that are shown, and rows of each."""

CHARACTERS = 160
"""Of a row that is shown."""


def batches_of_texts(
    tokenizer: Any, config: Config, texts: Sequence[str], lengths: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The first batches of fine-tuning, of texts cut at `data.max_length`.

    Args:
      tokenizer: of the run.
      config: of the run.
      texts: n texts.
      lengths: their tokens before they are cut, int [n].
      labels: their labels.
    """
    data = config.data
    plan = bucket_plan(config, np.minimum(lengths, data.max_length))

    def ids(index: int) -> list[int]:
        rows, _ = encode(tokenizer, [texts[index]], data.max_length, truncate=data.truncate)
        return rows[0].tolist()

    return _batches(tokenizer, plan, ids, labels)


def batches_of_pieces(tokenizer: Any, config: Config, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The first batches of pretraining, of pieces of at most `data.max_length`."""
    pieces, _ = encode_pieces(tokenizer, texts, config.data.max_length)
    plan = mlm_plan(config, pieces.lengths)
    return _batches(tokenizer, plan, lambda index: pieces[index].tolist(), [])


def _batches(
    tokenizer: Any,
    plan: BatchPlan | PackedPlan,
    ids: Callable[[int], list[int]],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """The first batches of a plan, some rows of each in words; `ids` gives those of a text."""
    shown = []
    for step in range(min(BATCHES, plan.steps_per_epoch)):
        if isinstance(plan, PackedPlan):
            length, numbers = plan.length, plan.batch_rows(step)
        else:
            length, indices = plan.batch_indices(step)
            numbers = singly(indices)
        found = [[token for text in row for token in ids(int(text))] for row in numbers]
        rows = []
        for row, tokens in list(zip(numbers, found, strict=True))[:ROWS]:
            words = tokenizer.decode(tokens, skip_special_tokens=False)
            text = words if len(words) <= CHARACTERS else f"{words[:CHARACTERS]}..."
            label = labels[row[0]] if labels and len(row) else None
            rows.append({"tokens": len(tokens), "label": label, "text": text})
        filled = sum(map(len, found)) / (length * len(found))
        texts = sum(map(len, numbers))
        shown.append(
            {"step": step, "length": length, "texts": texts, "filled": filled, "rows": rows}
        )
    return shown
