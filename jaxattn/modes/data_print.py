"""What a run would read, as tables on the terminal."""

from typing import Any

from jaxattn.modes.tables import print_table


def print_report(report: dict[str, Any]) -> None:
    """Prints the report of `--mode=data`."""
    print(
        f"Data {report['name']}: vocabulary of {report['vocabulary']:,} ({report['tokenizer']})\n"
    )
    _print_lengths(report)
    if report["classes"]:
        _print_classes(report["classes"])
    print_table(
        "Texts that occur more than once",
        ("where", "exactly", "but for case and blanks"),
        [
            (row["where"], f"{row['exact']:,}", f"{row['normalised']:,}")
            for row in report["duplicates"]
        ],
    )
    _print_batches(report)
    for warning in report["warnings"]:
        print(f"look at: {warning}")


def _print_lengths(report: dict[str, Any]) -> None:
    print_table(
        "Texts, and their lengths in tokens with [CLS] and [SEP]",
        (
            "split", "texts", "mean", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %", "longest",
            f"cut at {report['max_length']:,}", "tokens lost", "[UNK]",
        ),
        [
            (
                name,
                f"{split['texts']:,}",
                f"{split['lengths']['mean']:,.1f}",
                *(f"{length:,}" for length in split["lengths"]["percentiles"].values()),
                f"{split['lengths']['longest']:,}",
                _share(split["lengths"]["truncated_share"]),
                _share(split["lengths"]["lost_token_share"]),
                f"{split['lengths']['unknown_share']:.2%}",
            )
            for name, split in report["splits"].items()
        ],
    )  # fmt: skip
    for name, split in report["splits"].items():
        if split["sampled"] < split["texts"]:
            print(f"The lengths of {name} are those of {split['sampled']:,} of its texts.")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _print_classes(classes: list[dict[str, Any]]) -> None:
    totals = {split: sum(row[split] for row in classes) for split in classes[0] if split != "class"}
    print_table(
        "Classes",
        ("class", *totals),
        [
            (
                row["class"],
                *(f"{row[split]:,} ({row[split] / totals[split]:.1%})" for split in totals),
            )
            for row in classes
        ],
    )


def _print_batches(report: dict[str, Any]) -> None:
    kind = "batches of those texts" if report["batches_of_sample"] else "batches of training"
    print(f"The first {kind}, a few rows of each")
    for batch in report["batches"]:
        print(
            f"  step {batch['step']}: {batch['texts']:,} rows of {batch['length']:,} tokens, "
            f"{batch['filled']:.0%} filled"
        )
        for row in batch["rows"]:
            label = "" if row["label"] is None else f"<{row['label']}> "
            print(f"    {label}{' '.join(row['text'].split())}")
    print()
