"""A survey as tables on the terminal."""

from collections.abc import Sequence

from jaxattn.console import print_table, shown, tell
from jaxattn.data.corpora.class_checks import SPLITS
from jaxattn.plan.survey import ClassRow, Survey


def print_survey(report: Survey) -> None:
    """Prints splits, classes, duplicates, batches, and what to look at."""
    tell(f"Data {report['name']}: vocabulary of {report['vocabulary']:,} ({report['tokenizer']})\n")
    _print_lengths(report)
    if report["classes"]:
        _print_classes(report["classes"])
    print_table(
        "Texts that occur more than once",
        ("where", "exactly", "but for case and blanks"),
        [
            (row["where"], shown(row["exact"]), shown(row["normalised"]))
            for row in report["duplicates"]
        ],
    )
    _print_batches(report)
    for warning in report["warnings"]:
        tell(f"look at: {warning}")


def _print_lengths(report: Survey) -> None:
    print_table(
        "Texts, and their lengths in tokens with [CLS] and [SEP]",
        (
            "split", "texts", "mean", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %", "longest",
            f"cut at {report['max_length']:,}", "tokens lost", "[UNK]",
        ),
        [
            (
                name,
                shown(split["texts"]),
                shown(split["lengths"]["mean"], ",.1f"),
                *map(shown, split["lengths"]["percentiles"].values()),
                shown(split["lengths"]["longest"]),
                shown(split["lengths"]["truncated_share"], ".1%"),
                shown(split["lengths"]["lost_token_share"], ".1%"),
                shown(split["lengths"]["unknown_share"], ".2%"),
            )
            for name, split in report["splits"].items()
        ],
    )  # fmt: skip
    for name, split in report["splits"].items():
        if split["sampled"] < split["texts"]:
            tell(f"The lengths of {name} are those of {split['sampled']:,} of its texts.")


def _print_classes(classes: Sequence[ClassRow]) -> None:
    totals = {split: sum(row[split] for row in classes) for split in SPLITS}
    print_table(
        "Classes",
        ("class", *SPLITS),
        [
            (
                row["class"],
                *(f"{row[split]:,} ({row[split] / totals[split]:.1%})" for split in SPLITS),
            )
            for row in classes
        ],
    )


def _print_batches(report: Survey) -> None:
    kind = "batches of those texts" if report["batches_of_sample"] else "batches of training"
    tell(f"The first {kind}, a few rows of each")
    for batch in report["batches"]:
        tell(
            f"  step {batch['step']}: {batch['texts']:,} rows of {batch['length']:,} tokens, "
            f"{batch['filled']:.0%} filled"
        )
        for row in batch["rows"]:
            label = "" if row["label"] is None else f"<{row['label']}> "
            tell(f"    {label}{' '.join(row['text'].split())}")
    print()
