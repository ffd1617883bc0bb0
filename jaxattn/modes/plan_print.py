"""A plan, and its comparison with a finished run, as tables on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxattn.profile.memory import GIB, LARGEST_BATCH, MIB
from jaxattn.report.table import PLAIN_WIDTH

if TYPE_CHECKING:
    from rich.console import Console

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
    console = _console()
    print(
        f"Plan of {plan['kind']} {plan['exp']}: {plan['attention']}, {plan['precision']}, "
        f"batches of {plan['batch_size']:,}, up to {plan['length']:,} tokens, on {plan['device']}\n"
        f"{plan['parameters']:,} parameters; vocabulary of {plan['workload']['vocab_size']:,}; "
        f"{plan['workload']['origin']}\n"
    )
    _print_memory(console, plan)
    _print_devices(console, plan)
    _print_times(console, plan)


def _print_memory(console: "Console", plan: dict[str, Any]) -> None:
    total = plan["memory"]["total"]
    shape = f"{plan['batch_size']:,} x {plan['length']:,} tokens"
    _table(
        console,
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


def _print_devices(console: "Console", plan: dict[str, Any]) -> None:
    _table(
        console,
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


def _print_times(console: "Console", plan: dict[str, Any]) -> None:
    _table(
        console,
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
        _table(
            _console(),
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


def _table(
    console: "Console", title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Prints a table: the first column and words to the left, figures to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for place, heading in enumerate(headings):
        figures = place > 0 and all(row[place][:1].isdigit() or row[place] == "-" for row in rows)
        table.add_column(heading, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _console() -> "Console":
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)
