"""A plan, and its comparison with a finished run, as tables on the terminal."""

from typing import Any

from jaxattn.console import print_table
from jaxattn.profile.memory import GIB, LARGEST_BATCH, MIB

_PARTS = {
    "parameters": "parameters",
    "optimizer": "optimizer state",
    "gradients": "gradients",
    "activations": "activations and work space",
    "batch": "batch and sums",
    "total": "total",
}


def print_plan(plan: dict[str, Any]) -> None:
    """Prints what is needed, where it fits, and how long it takes."""
    print(
        f"Plan of {plan['kind']} {plan['exp']}: {plan['attention']}, {plan['precision']}, "
        f"batches of {plan['batch_size']:,}, up to {plan['length']:,} tokens, on {plan['device']}\n"
        f"{plan['parameters']:,} parameters; vocabulary of {plan['workload']['vocab_size']:,}; "
        f"{plan['workload']['origin']}\n"
    )
    _print_memory(plan)
    _print_devices(plan)
    _print_times(plan)


def _print_memory(plan: dict[str, Any]) -> None:
    total = plan["memory"]["total"]
    shape = f"{plan['batch_size']:,} x {plan['length']:,} tokens"
    print_table(
        f"Memory of a training step, {shape}",
        ("part", "MiB", "%"),
        [
            (name, f"{plan['memory'][part] / MIB:,.1f}", f"{plan['memory'][part] / total:.1%}")
            for part, name in _PARTS.items()
        ],
    )
    print(
        "Gradients, activations and work space are the temporaries of the compiled step; the "
        "gradients count as one\ntree like the parameters."
    )
    if plan["device_kind"] == "cpu":
        print("For a GPU they are an estimate: this is what the CPU compiler needs.")
    print()


def _print_devices(plan: dict[str, Any]) -> None:
    print_table(
        f"Where it fits, {plan['memory']['total'] / GIB:.2f} GiB needed",
        ("device", "usable GiB", "fits", "largest batch", "", "note"),
        [
            (
                row["name"],
                f"{row['usable'] / GIB:.1f}",
                "yes" if row["fits"] else "no",
                _batch(row["largest_batch"]),
                "compiled" if row["largest_batch_compiled"] else "extrapolated",
                row["note"],
            )
            for row in plan["devices"]
        ],
    )
    print(
        f"Usable: {plan['usable_share']:.0%} of the memory, which is what JAX takes (75 % unless "
        "XLA_CLIENT_MEM_FRACTION\nsays otherwise); the rest is left to the CUDA context and its "
        "libraries. The largest batch is that of the\nlongest length: compiled at this size, or "
        "extrapolated along a line through two compiled sizes.\n"
    )


def _batch(rows: int) -> str:
    if not rows:
        return "none"
    return f"{rows:,} or more" if rows >= LARGEST_BATCH else f"{rows:,}"


def _print_times(plan: dict[str, Any]) -> None:
    print_table(
        f"Time of training on {plan['device']}",
        ("length", "steps / epoch", "s / step", "tokens/s", ""),
        [
            (
                f"{row['length']:,}",
                "-" if row["steps"] is None else f"{row['steps']:,}",
                "-" if row["seconds_per_step"] is None else f"{row['seconds_per_step']:.4g}",
                "-" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:,.0f}",
                row["how"],
            )
            for row in plan["lengths"]
        ],
    )
    if plan["steps_per_epoch"] is None:
        print("The number of steps is not known.")
    else:
        for what, steps, seconds in (
            ("An epoch", "steps_per_epoch", "seconds_per_epoch"),
            ("The run", "steps", "train_seconds"),
        ):
            print(f"{what}: {plan[steps]:,} steps, {_duration(plan[seconds])}")
    print(f"Compiling {len(plan['lengths'])} programs: {_duration(plan['compile_seconds'])}")
    print("Not in it: reading the data, validating, saving.\n")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "time not known"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_check(checked: dict[str, Any]) -> None:
    """Prints what was predicted, what was recorded, and their ratio."""
    if checked["figures"]:
        print_table(
            f"The plan beside {checked['run']}",
            ("", "predicted", "recorded", "recorded / predicted"),
            [
                (
                    row["name"],
                    _figure(row["predicted"]),
                    _figure(row["recorded"]),
                    "-" if row["ratio"] is None else f"{row['ratio']:.3f}",
                )
                for row in checked["figures"]
            ],
        )
    for note in checked["notes"]:
        print(note)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


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
